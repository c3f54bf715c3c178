"""The papers' packed form of SFT data: tokens of all samples in a chain, cut into blocks of one length.

As published (TRL 0.9.6's ConstantLengthDataset): a sample may begin in one block and end in the next, attention crosses
samples, every token has a loss, the batch size counts blocks, the last partial block is dropped. Not as published: one BOS
and one end token per sample, instead of two and a further EOS; one chain and one partial block, instead of one per buffer;
another order.
"""

import random


def pack_samples(samples: list[list[int]], length: int, seed: int) -> tuple[list[list[int]], int]:
    """Shuffles samples by the seed and cuts them into blocks of `length` tokens; returns blocks and the number of tokens left.

    If all samples together are shorter than one block, they become one shorter block.
    """
    order = random.Random(seed).sample(samples, len(samples))
    chain = [token for sample in order for token in sample]
    whole = len(chain) // length * length
    if not whole:
        return [chain], 0
    return [chain[start : start + length] for start in range(0, whole, length)], len(chain) - whole
