"""The recipe that the node carries to its end, and what its steps cost in proportion: GPU-hours, rounded.

Sampling: 299,380 responses of 450 tokens a source at three times the tokens/s that LambdaLabs published of vLLM 0.5.4 on
A100s; scores: 3.1M responses of 700 tokens by 8B parameters; trainings: the paper's 215 minutes, and a third of it for SFT.
"""

from flows.config.loading import load, written
from flows.config.recipe import slots
from flows.fusion import fusion
from infra.ledger import Request
from tasks.stage import Step, lineage

PROMPTS = 150
POOLS = {"sampling": "gpu-sample", "scoring": "gpu-score", "sft": "gpu-train", "wrpo": "gpu-train"}
SAMPLING = {
    **{"mistral-large-2407": 58, "deepseek-v2-0628": 50, "deepseek-coder-v2-0724": 50, "qwen2-72b": 22},
    **{"llama3-70b": 22, "yi-1-5-34b": 20, "gemma2-27b": 18, "internlm2-5-20b": 11, "phi-3-medium-4k": 8},
    **{"gemma2-9b": 5, "target": 4, "SFT": 4, "WRPO": 4, "SFT model": 4},
}
SCORING, SFT, WRPO, REFERENCE = 7.5, 10.0, 29.0, 3.0


def steps() -> list[Step]:
    """The chain of wrpo-llama3-8b, its open slots filled and its heavy stages on their pools."""
    open_slots = [field for field in slots(written("wrpo-llama3-8b")) if not field.startswith("prompts.")]
    filled = [f"{field}={'org/judge' if field.endswith('.id') else 'a' * 40}" for field in open_slots]
    prompts = [
        f"prompts={{ kind = 'skills', count = {PROMPTS} }}",
        "split.held_out=0.1",
        "split.sft=0.3",
        "split.preference=0.6",
    ]
    pools = [f"how.{stage}.work_pool={pool}" for stage, pool in POOLS.items()]
    return lineage(fusion(load("wrpo-llama3-8b", [*filled, *prompts, *pools])))


def hours(step: str, request: Request) -> float:
    """GPU-hours of a program, of which the step has as many as its rows take."""
    name = step.rpartition(" · ")[2].removeprefix("answers of ")
    match step.partition(" · ")[0]:
        case "per-model sampling" | "evaluation" if name in SAMPLING:
            return SAMPLING[name] * request.rows / (PROMPTS * 5)
        case "reward annotation" | "evaluation":
            return SCORING * request.rows / (PROMPTS * 5)
        case "SFT":
            return SFT
    return REFERENCE if step.endswith("log-probs") else WRPO
