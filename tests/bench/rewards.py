"""Candidates scored per second: one at a time as the published scripts do, in batches sorted by length, and with each prompt
computed once for its candidates. The same model, the same candidates, one run, one table; their scores are compared.

`python -m tests.bench.rewards [--prompts N] [--candidates N] [--repeats N]`, or `make bench-rewards`. On a CPU: a Llama of
30M parameters in fp32, one thread, CPU seconds. Where a GPU is there: of 1.2B, bf16, wall seconds.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

from tasks.loading import load_tokenizer
from tasks.scores.scorer import Scorer
from tests import tiny

GPU = torch.cuda.is_available()
SHAPES = [(128, 128), (256, 64), (512, 64), (1024, 64)]  # mean tokens of a prompt, of a candidate
SIZES = {
    False: {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
    True: {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
}
READING = {"kind": "sequence-classifier", "max_length": 4096, "too_long": "flag"}


def save_model(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer()
    shape = {"num_key_value_heads": SIZES[GPU]["num_attention_heads"] // 4, "max_position_embeddings": 4096}
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, **SIZES[GPU], **shape)
    model = LlamaForSequenceClassification(config)
    model.to(torch.bfloat16 if GPU else torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def candidates(prompt: int, response: int, prompts: int, each: int) -> list[dict]:
    """Lengths spread evenly from half the mean to one and a half of it; the candidates of a prompt stand together."""
    draw = random.Random(1)
    words = lambda mean: "".join(draw.choice("abcdefgh ") for _ in range(draw.randint(mean // 2, mean + mean // 2)))
    made = [([{"role": "user", "content": words(prompt)}], number) for number in range(prompts)]
    return [
        {"content_id": f"{number}-{place}", "messages": messages, "text": words(response)}
        for messages, number in made
        for place in range(each)
    ]


def one_by_one(folder: Path) -> Callable[[list[dict]], list[float]]:
    """SimPO's reward_model_annotate.py in small: the conversation through the template, one forward, its logit."""
    tokenizer = load_tokenizer(folder)
    device = "cuda" if GPU else "cpu"
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="auto").to(device).eval()

    @torch.no_grad()
    def score(rows: list[dict]) -> list[float]:
        found = []
        for row in rows:
            turns = [*row["messages"], {"role": "assistant", "content": row["text"]}]
            ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
            found.append(model(ids.to(device)).logits.float().item())
        return found

    return score


def ours(folder: Path, layout: str) -> Callable[[list[dict]], list[float]]:
    scorer = Scorer(str(folder), READING, batch_size=64 if GPU else 4, batch_tokens=65_536)

    def score(rows: list[dict]) -> list[float]:
        scorer.layout = layout
        return [row["score"] for row in scorer.score(rows)]

    return score


def seconds(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    clock = time.perf_counter if GPU else time.process_time
    if GPU:
        torch.cuda.synchronize()
    start = clock()
    found = work()
    return clock() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64 if GPU else 6)
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        ways = {
            "one by one": one_by_one(Path(folder)),
            "padded": ours(Path(folder), "padded"),
            "shared prompt": ours(Path(folder), "shared-prompt"),
        }
        kind = "wall" if GPU else "CPU"
        print(f"candidates per {kind} second, {asked.candidates} to a prompt, best of {asked.repeats}")
        print(
            f"{'prompt:candidate':18}"
            + "".join(f"{name:>15}" for name in ways)
            + "   to one by one   to padded   apart"
        )
        for shape in SHAPES:
            measure(shape, ways, asked)


def measure(shape: tuple[int, int], ways: dict[str, Callable], asked: argparse.Namespace) -> None:
    rows = candidates(*shape, asked.prompts, asked.candidates)
    for way in ways.values():
        way(rows[: asked.candidates])  # warm
    took, scores = dict.fromkeys(ways, float("inf")), {}
    for _ in range(asked.repeats):  # in turn, so that a busy machine is busy for all of them
        for name, way in ways.items():
            time_taken, scores[name] = seconds(lambda way=way: way(rows))
            took[name] = min(took[name], time_taken)
    found = torch.tensor(list(scores.values()))
    apart = (found - found[0]).abs().max().item() / found[0].std().item()
    rates = [len(rows) / took[name] for name in ways]
    print(
        f"{f'{shape[0]}:{shape[1]}':18}" + "".join(f"{rate:15.2f}" for rate in rates),
        f"{rates[2] / rates[0]:14.2f}× {rates[2] / rates[1]:10.2f}× {apart:7.0e}",
        flush=True,
    )


if __name__ == "__main__":
    main()
