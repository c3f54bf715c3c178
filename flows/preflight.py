"""What each stage of a recipe needs beside what a machine has: GPUs, their memory, host memory, disk. Downloads nothing.

Numbers are estimates from the models' configs (`tasks/doctor/memory.py`). A stage is "unknown" if its model's shape, the
machine of its work pool, or an amount of the machine is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from flows.config.loading import load_recipe
from flows.config.recipe import Recipe, find_open_slots
from infra import hub
from infra.machine import GB, Machine
from tasks.doctor import memory
from tasks.doctor.memory import Load
from tasks.doctor.shapes import Shape, known_shapes, read_shape
from tasks.evaluation.collectives.choosing import PerplexityHow
from tasks.models.stage import Existing, FolderAt, HubModel, Tiny
from tasks.models.weights import read_model_json
from tasks.responses.engines import Transformers, Vllm
from tasks.responses.settings import Sampling
from tasks.scores.settings import Reading, ScoringHow
from tasks.stage import Step, lineage
from tasks.training.settings import Training, TrainingHow
from tasks.wrpo.settings import ReferenceSettings

PROMPT = 2048  # tokens of a long prompt
READ = 1024  # tokens of a text whose perplexity is measured
OPEN = {"id": "unknown/open"}  # values for open slots, by the field's last part; any other slot is a commit
COMMIT = "0" * 40


@dataclass(frozen=True)
class Need:
    """What a stage needs of a machine, and whether the machine has it."""

    stage: str
    gpus: int = 0  # of each program
    programs: int = 1
    gpu: float | None = None  # memory of each GPU, in bytes
    host: float | None = None
    disk: float | None = None
    state: str = "unknown"  # green | red | unknown
    note: str = ""


def load_filled(name: str, overrides: list[str]) -> tuple[Recipe, list[str]]:
    """The recipe with its open slots filled by values that name nothing, and these slots: sizes do not depend on commits."""
    recipe = load_recipe(name, overrides)
    slots = find_open_slots(recipe.model_dump(mode="json"))
    fills = [f"{slot}={OPEN.get(slot.rpartition('.')[2], COMMIT)}" for slot in slots]
    return (load_recipe(name, [*overrides, *fills]) if slots else recipe), slots


def list_needs(last: Step, machine: Machine) -> list[Need]:
    """One line per kind of work: steps with the same model and settings need the same. Disk comes last."""
    shapes = Shapes()
    found: dict[Any, Need] = {}
    steps = lineage(last)
    for step in steps:
        if loads_model(step) and (key := (step.stage.name, model_name(step), repr(step.how))) not in found:
            found[key] = judge(measure(step, shapes, machine), step.how.work_pool, machine)
    return [*found.values(), *list_disk(steps, shapes, machine)]


def loads_model(step: Step) -> bool:
    """Whether the step's programs load a model that is not one of the demo's, and not a data set's responses."""
    return step.gpus > 0 and not isinstance(find_origin(step).what, Tiny | Existing)


class Shapes:
    """The shapes of a chain's models; each is looked up once."""

    def __init__(self) -> None:
        self.known: dict[str, Shape | None] = {}

    def of(self, step: Step) -> Shape | None:
        """The shape of the model that the step loads; a trained model has the shape of the model that it was."""
        model = find_origin(step)
        if model.address not in self.known:
            self.known[model.address] = look_up(model)
        return self.known[model.address]


def find_origin(step: Step) -> Step:
    """The step that obtains the model which `step` loads."""
    while inputs := step.inputs.get("reward") or step.inputs.get("model"):
        step = inputs[0]
    return step


def name_work(step: Step) -> str:
    """The step's label; scores of all sources by a reward model are one kind of work."""
    by = model_name(step).removeprefix("model · ")
    return f"{step.title} by the {by} model" if isinstance(step.how, ScoringHow) else step.label


def model_name(step: Step) -> str:
    return find_origin(step).label


def look_up(model: Step) -> Shape | None:
    if isinstance(model.what, HubModel):
        pinned = model.what.revision != COMMIT
        config, weights = hub.describe_model(model.what.id, model.what.revision) if pinned else ({}, None)
        return (read_shape(config, weights) if config else None) or known_shapes().get(model.what.id)
    if isinstance(model.how, FolderAt):
        folder = Path(model.how.path)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        return read_shape(read_model_json(folder / "config.json"), float(weights))
    return None


def measure(step: Step, shapes: Shapes, machine: Machine) -> Need:
    """What one program of the step needs, without a judgement."""
    need = Need(name_work(step), step.gpus, step.how.programs)
    if (shape := shapes.of(step)) is None:
        return replace(need, note=f"the shape of {model_name(step)} is not known")
    load = estimate(step, shape, machine)
    if load is None:
        return replace(need, note="not estimated")
    at_once = need.programs if not machine.gpus else max(1, min(need.programs, machine.gpus // max(step.gpus, 1)))
    return replace(need, gpu=load.gpu, host=at_once * load.host, note=load.note)


def estimate(step: Step, shape: Shape, machine: Machine) -> Load | None:
    how, what = step.how, step.what
    if isinstance(what, Sampling):
        length = min(shape.context, PROMPT + what.max_new_tokens)
        if isinstance(how, Vllm):
            return load_of_engine(how, shape, length, machine)
        return memory.load_of_transformers(shape, cast("Transformers", how).batch_size, length)
    if isinstance(how, ScoringHow) and isinstance(what, Reading):
        return memory.load_of_reading(shape, max(how.batch_tokens, what.max_length))
    if isinstance(how, PerplexityHow):
        return memory.load_of_reading(shape, how.batch_size * READ)
    if isinstance(how, TrainingHow) and isinstance(what, ReferenceSettings):
        base = what.base if what.base == "nf4" else ""
        return memory.load_of_reference(shape, how.processes, how.device_batch_size * what.max_length, base)
    if isinstance(how, TrainingHow) and isinstance(what, Training):
        zero, tokens = how.deepspeed, how.device_batch_size * what.max_length * len(getattr(what, "roles", ("row",)))
        return memory.load_of_training(
            shape,
            how.processes,
            zero.zero if zero else 0,
            bool(zero and zero.offload),
            tokens,
            how.gradient_checkpointing,
            what.lora.base if what.lora else "",
        )
    return None


def load_of_engine(how: Vllm, shape: Shape, length: int, machine: Machine) -> Load:
    """Of one copy of the weights; a server's further copies need the same on their own GPUs."""
    kv = 1 if how.kv_cache_dtype.startswith("fp8") else memory.KV_BYTES.get(how.dtype, 2)
    copy = how.tensor_parallel * how.pipeline_parallel
    fp8, length = how.quantization.startswith("fp8"), how.max_model_len or length
    load = memory.load_of_vllm(shape, copy, how.tensor_parallel, how.memory, length, fp8, kv, machine.gpu_memory)
    return replace(load, host=load.host * how.data_parallel)


def judge(need: Need, pool: str | None, machine: Machine) -> Need:
    """Red if an amount is too small, unknown if one is not known, otherwise green."""
    if pool and not machine.described:
        return replace(need, note=f"runs on work pool {pool}: describe its machines with --machine")
    if machine.gpus and need.gpus > machine.gpus:
        return replace(need, state="red", note=f"one program needs {need.gpus} GPUs, the machine has {machine.gpus}")
    if machine.gpus == 0:  # on cores the host's memory holds all
        need = replace(need, host=None if need.host is None or need.gpu is None else need.host + need.gpu, gpu=0.0)
    amounts = (
        ("GPU memory", need.gpu, machine.gpu_memory if machine.gpus else 0.0),
        ("host memory", need.host, machine.memory),
    )
    return judge_amounts(need, amounts)


def judge_amounts(need: Need, amounts: tuple[tuple[str, float | None, float | None], ...]) -> Need:
    too_small = [
        f"{name}: {asked / GB:,.0f} of {there / GB:,.0f} GB"
        for name, asked, there in amounts
        if asked is not None and there is not None and asked > there
    ]
    if too_small:
        return replace(need, state="red", note="; ".join(too_small))
    unknown = [name for name, asked, there in amounts if asked is None or there is None]
    if any(asked is None for _, asked, _ in amounts):
        return need  # its note says why
    if unknown:
        notes = filter(None, (need.note, f"not known: {', '.join(unknown)}"))
        return replace(need, note="; ".join(notes))
    return replace(need, state="green")


def list_disk(steps: list[Step], shapes: Shapes, machine: Machine) -> Iterator[Need]:
    """Disk: the hub's cache, checkpoints and trained models, which are all there at the end; and their sum."""
    used = {find_origin(step).address: find_origin(step) for step in steps if loads_model(step)}
    sizes = [(step, shapes.of(step)) for step in used.values() if isinstance(step.what, HubModel)]
    unknown = [step.label for step, shape in sizes if shape is None]
    kept, checkpoints = 0.0, [0.0]
    for step in steps:
        if isinstance(step.what, Training) and (shape := shapes.of(step)):
            kept += shape.parameters * (2 if step.what.precision == "bf16" else 4)
            checkpoints.append(memory.size_checkpoints(shape, step.what.lora.base if step.what.lora else ""))
    lines = {
        "disk · models of the hub": sum(shape.weights for _, shape in sizes if shape),
        "disk · checkpoints": max(checkpoints),
        "disk · trained models, in the store and in its cache": 2 * kept,
    }
    for name, size in lines.items():
        if size:
            yield Need(
                name, disk=size, state="", note=f"without {', '.join(unknown)}" if unknown and "hub" in name else ""
            )
    total = Need("disk · together", disk=sum(lines.values()))
    yield judge_amounts(total, (("disk", total.disk, machine.disk),))
