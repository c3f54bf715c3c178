"""The papers' packed form of SFT data: samples in a chain, cut into blocks of one length. Knows tokens only, no text.

As published (TRL 0.9.6's ConstantLengthDataset): a sample may begin in one block and end in the next, attention reaches
across samples, loss falls on every token, a batch counts blocks, the last partial block is dropped. Not as published: one
BOS and one end token per sample instead of two and a further EOS; one chain, so one partial block and not one per buffer;
another order.
"""

import random


def pack_samples(samples: list[list[int]], length: int, seed: int) -> tuple[list[list[int]], int]:
    """Blocks of `length` tokens in an order drawn from the seed, and how many tokens were left over at the end.

    Data that fill no block at all are one shorter block.
    """
    order = random.Random(seed).sample(samples, len(samples))
    chain = [token for sample in order for token in sample]
    whole = len(chain) // length * length
    if not whole:
        return [chain], 0
    return [chain[start : start + length] for start in range(0, whole, length)], len(chain) - whole
