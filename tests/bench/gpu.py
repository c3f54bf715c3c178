"""Verifies the attention of the shared prompt on this machine's GPU, and measures a training step beside TRL's DPO.

`python -m tests.bench.gpu`, less than ten minutes on one GPU. `--small` takes the same way through the code with a tiny model;
on a machine without a GPU it is the only way, with stand-ins for the GPU's kernel.

First table: the largest relative error of outputs and gradients against fp32, of the kernel alone and of a whole model. Second
table, per shape of prompt and response: seconds of a step, tokens of prompts and responses a second, the share of the GPU's
peak arithmetic that the model's own operations use (MFU), and peak memory beyond the weights.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import datasets
import torch
from accelerate.utils import send_to_device
from transformers import LlamaForCausalLM

from tasks.wrpo import layout_trial, shared_prompt
from tasks.wrpo.batches import RESPONSES, lay_out, response_log_probs
from tasks.wrpo.layout_trial import make_ready
from tasks.wrpo.line_attention import find_kernel_fault
from tests.bench.training import Conditions, best_times, contest, model_of, peak_memory, rows_of
from tests.wrpo.kernels import CpuFlashKernel

SHAPES = [(1024, 512), (512, 512), (2048, 512), (256, 768)]  # tokens of a prompt and of each response
HEADS = [(32, 8, 128), (32, 32, 128), (16, 8, 64), (14, 2, 64), (16, 8, 256)]  # heads, heads of keys, size
PEAKS = {
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "A40": 150,
    "A10": 125,
    "4090": 165,
}  # TFLOP/s, bf16
SECONDS = 540.0  # after which no further shape is begun


@dataclass(frozen=True)
class Error:
    """Relative errors against the same numbers in fp32."""

    log_probs: float
    gradient: float


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--small", action="store_true", help="a tiny model and short rows")
    options.add_argument("--rows", type=int, help="of a batch; 4, or 2 if small")
    asked = options.parse_args()
    gpu = torch.cuda.is_available()
    if not gpu and not asked.small:
        print("no GPU is visible; --small runs the same code on the CPU")
        return 2
    began, on = time.monotonic(), conditions(gpu, asked.small)
    if not gpu:
        stand_in()
    datasets.disable_progress_bars()
    print(f"{torch.cuda.get_device_name() if gpu else 'CPU'}, torch {torch.__version__}, commit {commit()}\n")
    sound = verify_kernel(on) & verify_model(on)
    if sound:
        measure(on, asked.rows or (2 if asked.small else 4), asked.small, began)
    print("\nthe attention agrees with the padded way" if sound else "\nTHE ATTENTION DIFFERS FROM THE PADDED WAY")
    return 0 if sound else 1


def conditions(gpu: bool, small: bool) -> Conditions:
    return Conditions(torch.device("cuda" if gpu else "cpu"), bf16=gpu, size="tiny" if small else "cuda")


def stand_in() -> None:
    """Takes the GPU's way on a CPU."""
    shared_prompt.KERNEL = CpuFlashKernel()
    layout_trial.find_objection = lambda *given: None


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def verify_kernel(on: Conditions) -> bool:
    kind, sound = torch.bfloat16 if on.bf16 else torch.float32, True
    print("| heads | heads of keys | size | kernel |\n|---|---|---|---|")
    for heads, key_heads, size in HEADS:
        problem = find_kernel_fault(shared_prompt.KERNEL, on.device, kind, heads, key_heads, size)
        sound &= problem is None
        print(f"| {heads} | {key_heads} | {size} | {problem or 'agrees'} |", flush=True)
    return sound


def verify_model(on: Conditions) -> bool:
    """A whole model in the step's precision against itself padded in fp32: the packed line may err no more than twice as much
    as the padded layout does in the same precision."""
    rows = [one for shape in ((40, 30), (7, 90), (1, 12), (130, 5)) for one in rows_of(*shape, 1, 1000)]
    exact = told(on, rows, "padded", rounded=False)
    print("\n| layout | log-probabilities differ by | gradient differs by |\n|---|---|---|")
    found = {}
    for way in ("padded", shared_prompt.NAME):
        values = told(on, rows, way, rounded=on.bf16)
        found[way] = Error(
            *(((one - other).norm() / other.norm()).item() for one, other in zip(values, exact, strict=True))
        )
        print(f"| {way} | {found[way].log_probs:.1e} | {found[way].gradient:.1e} |", flush=True)
    ours, padded = found[shared_prompt.NAME], found["padded"]
    return ours.log_probs <= 2 * padded.log_probs + 1e-4 and ours.gradient <= 2 * padded.gradient + 1e-4


def told(on: Conditions, rows: list[dict], way: str, rounded: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the rows' responses, and the gradient of a sum that weighs each of them differently."""
    model = model_of(1000, Conditions(on.device, bf16=False, size="tiny")).eval()
    with torch.autocast(on.device.type, torch.bfloat16, enabled=rounded):
        assert make_ready(model, rows, 0, way, "bf16" if rounded else "fp32") == way
        if way == shared_prompt.NAME:
            refuse_mask(model)
        batch = send_to_device(lay_out(rows, 0, way), on.device)
        found = response_log_probs(model, batch)
        (found * torch.linspace(-1, 1, found.numel(), device=on.device).view_as(found)).sum().backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    return found.detach().double().cpu(), gradient.double().cpu()


def refuse_mask(model: LlamaForCausalLM) -> None:
    used = model.config._attn_implementation
    assert used == shared_prompt.LINE, f"the model computes the shared prompt by {used}: the reason stands above"


def measure(on: Conditions, count: int, small: bool, began: float) -> None:
    vocabulary = 1000 if small else 128_256
    print("\n| prompt:response | way | s a step | tokens/s | MFU | peak MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for prompt, response in [(24, 16)] if small else SHAPES:
            if time.monotonic() - began > SECONDS:
                print(f"| {prompt}:{response} | not measured: {SECONDS:.0f} s are over | | | | |")
                continue
            rows = rows_of(prompt, response, count, vocabulary)
            ways = contest(rows, vocabulary, folder, on)
            best = best_times(ways, 2 if small else 5, on)
            plain = model_of(vocabulary, Conditions(torch.device("cpu"), on.bf16, on.size))
            for name, step in ways.items():
                work = Work(plain, prompt, response, count, name)
                peak = f"{peak_memory(step, on):,.0f}" if on.gpu else "–"
                share = work.share_of_peak(best[name], on)
                cells = [
                    f"{prompt}:{response}",
                    name,
                    f"{best[name]:.3f}",
                    f"{work.tokens / best[name]:,.0f}",
                    share,
                    peak,
                ]
                print(f"| {' | '.join(cells)} |", flush=True)


@dataclass(frozen=True)
class Work:
    """What one step computes, in one of the three ways."""

    model: LlamaForCausalLM
    prompt: int
    response: int
    rows: int
    way: str

    @property
    def responses(self) -> int:
        return 2 if self.way == "trl_dpo" else len(RESPONSES)

    @property
    def tokens(self) -> int:
        """Tokens of prompts and responses, a prompt counted once per response, as training logs count them."""
        return self.rows * self.responses * (self.prompt + self.response)

    @property
    def operations(self) -> float:
        """Floating-point operations that the step needs: 2 for each weight and token forward, 4 backward, the same for attention
        over the keys that a token sees; recomputing for gradient checkpointing does not count."""
        shared = self.way == "ours"
        prompts = 1 if shared else self.responses
        fed = self.rows * (prompts * self.prompt + self.responses * self.response)
        seen = self.rows * (
            prompts * self.prompt**2 / 2 + self.responses * (self.response * self.prompt + self.response**2 / 2)
        )
        config = self.model.config
        layers = sum(parameter.numel() for parameter in self.model.model.layers.parameters())
        head = self.model.lm_head.weight.numel() * self.rows * self.responses * self.response
        attention = 2 * config.num_hidden_layers * config.hidden_size * seen
        passes = 3 if shared else 4  # the others also ask the reference, forward only
        return 2 * passes * (layers * fed + head + attention)

    def share_of_peak(self, seconds: float, on: Conditions) -> str:
        known = [peak for name, peak in PEAKS.items() if on.gpu and name in torch.cuda.get_device_name()]
        return f"{self.operations / seconds / known[0] / 1e12:.0%}" if known else "–"


if __name__ == "__main__":
    sys.exit(main())
