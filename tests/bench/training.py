"""Cost of one training step (loss and gradient): TRL's DPO on pairs, WRPO as published, and ours; one run, one table.

`python -m tests.bench.training [--repeats N] [--rows N] [--no-memory]`, or `make bench-training`. On a CPU: a Llama of 10M
parameters in fp32, one thread, CPU seconds. Where a GPU is there: of 1.2B, bf16, gradient checkpointing, wall seconds.
`--device cpu --bf16 --size tiny` takes the GPU's way through the code, without its speed.
"""

import argparse
import copy
import ctypes
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import datasets
import torch
from accelerate.utils import send_to_device
from datasets import Dataset
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer

from tasks.wrpo.batches import RESPONSES, collate_rows, pad_triples, response_log_probs
from tasks.wrpo.layout_trial import make_ready
from tasks.wrpo.objectives import compute_wrpo_dpo_loss
from tests import tiny

BETA, ALPHA = 0.1, 0.5
SHAPES = {(256, 256): 0.72, (128, 256): 0.91, (512, 128): 0.54, (64, 384): 0.99}  # tokens -> ideal against TRL's DPO
SIZES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "cpu": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 10, "num_attention_heads": 4},
    "cuda": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
}


@dataclass(frozen=True)
class Conditions:
    """On what, and how."""

    device: torch.device
    bf16: bool  # arithmetic in bf16, with gradient checkpointing
    size: str

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


@dataclass
class Contest:
    """The same weights and rows, three ways; each way is a function that runs one step and returns log-probabilities."""

    trl_dpo: Callable[[], Tensor]
    published: Callable[[], Tensor]
    ours: Callable[[], Tensor]

    def items(self) -> list[tuple[str, Callable[[], Tensor]]]:
        return list(vars(self).items())


def model_of(vocabulary: int, on: Conditions) -> LlamaForCausalLM:
    torch.manual_seed(0)
    size = SIZES[on.size]
    shared = 4 if on.size == "cuda" else 1
    kinds = {"num_key_value_heads": size["num_attention_heads"] // shared, "max_position_embeddings": 2048}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, pad_token_id=0, **size, **kinds))
    return model.to(on.device).train()


def rows_of(prompt: int, response: int, count: int, vocabulary: int) -> list[dict]:
    seed = torch.Generator().manual_seed(1)
    ids = lambda length: torch.randint(3, vocabulary, (length,), generator=seed, dtype=torch.int32)
    return [
        {"prompt_id": str(row), "prompt": ids(prompt)} | {name: ids(response) for name in RESPONSES}
        for row in range(count)
    ]


def trl_step(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, rows: list[dict], folder: str, on: Conditions
) -> Callable:
    """TRL's own trainer, collator and loss on (own best, own worst), with its live reference."""
    text = [{"prompt": "a", "chosen": "b", "rejected": "c"}]  # it wants rows to be born with; ours come below
    trainer = DPOTrainer(
        policy,
        reference,
        DPOConfig(
            folder,
            beta=BETA,
            max_length=None,
            report_to="none",
            bf16=on.bf16,
            gradient_checkpointing=on.bf16,
            use_cpu=not on.gpu,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(text),
        processing_class=tiny.tokenizer(),
    )
    names = {"prompt_ids": "prompt", "chosen_ids": "own_best", "rejected_ids": "own_worst"}
    examples = [{key: row[name].tolist() for key, name in names.items()} for row in rows]

    def step() -> Tensor:
        inputs = trainer._prepare_inputs(trainer.data_collator(examples))
        policy.zero_grad()
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(policy, inputs)
        loss.backward()
        return loss.detach()

    return step


def published_step(policy: LlamaForCausalLM, reference: LlamaForCausalLM, rows: list[dict], on: Conditions) -> Callable:
    """WRPO as its authors run it: padded triples, full logits, the reference forward in every step."""

    def log_probs(model: LlamaForCausalLM, batch: dict) -> Tensor:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        labels = batch["shift_labels"]
        found = logits.log_softmax(-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
        return (found * (labels != -100)).sum(1).view(len(RESPONSES), -1)

    def step() -> Tensor:
        policy.zero_grad()
        batch = {name: value.to(on.device) for name, value in pad_triples(rows, 0).items()}
        with on.autocast():
            with torch.no_grad():
                before = log_probs(reference, batch)
            now = log_probs(policy, batch)
            compute_wrpo_dpo_loss(*(now - before), alpha=ALPHA, beta=BETA).mean().backward()
        return now.detach()

    return step


def our_step(policy: LlamaForCausalLM, rows: list[dict], on: Conditions) -> Callable:
    """Ours: prompts shared, reference stored."""
    with on.autocast():
        layout = make_ready(policy, rows, 0, "shared-prompt", "bf16" if on.bf16 else "fp32")
    assert layout == "shared-prompt"
    stored = [row | {"reference": torch.zeros(len(RESPONSES))} for row in rows]

    def step() -> Tensor:
        policy.zero_grad()
        batch = collate_rows(stored, 0, layout)
        batch = send_to_device({name: value for name, value in batch.items() if name != "prompt_ids"}, on.device)
        with on.autocast():
            now = response_log_probs(policy, batch)
            compute_wrpo_dpo_loss(*(now - batch["reference"]), alpha=ALPHA, beta=BETA).mean().backward()
        return now.detach()

    return step


def contest(rows: list[dict], vocabulary: int, folder: str, on: Conditions) -> Contest:
    start = model_of(vocabulary, on)
    policies = [start, copy.deepcopy(start), copy.deepcopy(start)]
    if on.bf16:
        [policy.gradient_checkpointing_enable({"use_reentrant": False}) for policy in policies]
    reference = copy.deepcopy(start).requires_grad_(False)
    return Contest(
        trl_step(policies[0], copy.deepcopy(reference), rows, folder, on),
        published_step(policies[1], reference, rows, on),
        our_step(policies[2], rows, on),
    )


def clock(on: Conditions) -> float:
    if not on.gpu:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def best_times(ways: Contest, repeats: int, on: Conditions) -> dict[str, float]:
    """Best of `repeats`, the three taking turns."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, step in ways.items():
            began = clock(on)
            step()
            best[name] = min(best.get(name, float("inf")), clock(on) - began)
    return best


def peak_memory(step: Callable, on: Conditions) -> float:
    """MB that a step takes at its peak beyond what lay there before; on a CPU in a forked child, whose peak is its own."""
    if on.gpu:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    reader, writer = os.pipe()
    ctypes.CDLL(None).malloc_trim(0)  # what earlier steps gave back to the allocator must be asked for again
    if not (child := os.fork()):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step()
        os.write(writer, str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        kilobytes = answer.read()
    os.waitpid(child, 0)
    return int(kilobytes) / 1e3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    there = "cuda" if torch.cuda.is_available() else "cpu"
    options.add_argument("--device", choices=("cpu", "cuda"), default=there)
    options.add_argument("--bf16", action="store_true", help="bf16 with gradient checkpointing, as always on a GPU")
    options.add_argument("--size", choices=SIZES, help="of the model; the device's own if not said")
    options.add_argument("--repeats", type=int, default=4)
    options.add_argument("--rows", type=int)
    options.add_argument("--no-memory", action="store_true")
    asked = options.parse_args()
    on = Conditions(torch.device(asked.device), asked.bf16 or asked.device == "cuda", asked.size or asked.device)
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    print(f"{on.device}, {'bf16, gradient checkpointing' if on.bf16 else 'fp32'}, model {on.size}\n")
    print(
        "| vocabulary | prompt:response | TRL DPO, s | published WRPO, s | ours, s | ours / TRL DPO | ideal | of ideal |",
        end="",
    )
    print(" peak MB: TRL DPO | published | ours | max Δ log-prob (relative) |\n" + "|---" * 12 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for vocabulary in {"cuda": (128_256,), "cpu": (4_096, 128_256), "tiny": (4_096,)}[on.size]:
            large = vocabulary > 10_000 and not on.gpu  # for its memory: one row of one shape is enough
            for shape, ideal in list(SHAPES.items())[: 1 if large else None]:
                rows = rows_of(*shape, 1 if large else asked.rows or (8 if on.gpu else 2), vocabulary)
                ways = contest(rows, vocabulary, folder, on)
                repeats = 1 if large else asked.repeats
                print(line(ways, vocabulary, shape, ideal, repeats, not asked.no_memory, on), flush=True)


def line(ways: Contest, vocabulary: int, shape: tuple, ideal: float, repeats: int, memory: bool, on: Conditions) -> str:
    expected = ways.published()
    apart = (expected - ways.ours()).abs()
    peaks = [f"{peak_memory(step, on):,.0f}" for _, step in ways.items()] if memory else ["–"] * 3
    best = best_times(ways, repeats, on)
    ratio = best["ours"] / best["trl_dpo"]
    cells = [
        f"{vocabulary:,}",
        f"{shape[0]}:{shape[1]}",
        *(f"{seconds:.2f}" for seconds in best.values()),
        *(f"{ratio:.2f}", f"{ideal:.2f}", f"{ideal / ratio:.0%}"),
        *peaks,
        f"{apart.max():.0e} ({(apart / expected.abs()).max():.0e})",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
