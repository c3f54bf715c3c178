"""The price of a plan: for every step p50 and p90 of seconds, GPU-hours, money; its tokens, disk and memory; and the source of
its speed: published figures, or this store's own artifacts of the same kind on the same kind of machine.

p90 is p50 times exp(1.28 s) plus one second, where s is the spread of the logarithm: large for published figures, small for a
model of the same size on the same kind of machine. A sum of p90 assumes that all steps are slow together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.plan import Planned
from flows.pricing.amounts import predict_counts
from flows.pricing.jobs import Job, Jobs
from flows.pricing.machines import MachineKind, machine_of, machine_that_made
from flows.pricing.memory import Space, space_of
from flows.pricing.model_sizes import anchors
from flows.pricing.prices import CORES, Prices
from flows.pricing.seconds import anchor_seconds
from flows.pricing.work import Work, work_of
from infra.store import Store

SPREADS = {"same size": 0.15, "another size": 0.25, "published": 0.35}
UNKNOWN_SIZE = 0.5  # further spread where the size of the model is assumed
P90 = 1.2816  # of the standard normal distribution
SLACK = 1.0  # seconds
VARIED = ("model", "reward-annotation", "reward-checks", "prompt-selection")  # stages whose kinds differ in speed
NEWEST = 5  # artifacts that give one correction


@dataclass(frozen=True)
class Range:
    p50: float
    p90: float

    def __mul__(self, factor: float) -> "Range":
        return Range(self.p50 * factor, self.p90 * factor)

    def __add__(self, other: "Range") -> "Range":
        return Range(self.p50 + other.p50, self.p90 + other.p90)


NOTHING = Range(0.0, 0.0)


@dataclass(frozen=True)
class Estimate:
    """`seconds` are of all programs together, `wall` of the step if its programs run at once."""

    address: str
    label: str
    seconds: Range
    wall: Range
    machine: MachineKind
    gpu_hours: Range
    dollars: Range | None  # None: a price is missing
    tokens: float
    space: Space
    source: str
    programs: int
    needs: tuple[str, ...]  # addresses of its inputs
    kilowatt_hours: float


def estimate_plan(planned: Sequence[Planned], store: Store, prices: Prices) -> list[Estimate]:
    """An estimate for each step that would run."""
    jobs = Jobs(planned, store)
    predict_counts(jobs)
    runs = {entry.step.address for entry in planned if entry.runs}
    return [estimate_step(job, jobs, prices) for job in jobs.steps if job.address in runs]


def estimate_step(job: Job, jobs: Jobs, prices: Prices) -> Estimate:
    work = work_of(job, jobs)
    machine = machine_of(job, work.size, prices)
    factor, level, evidence = find_correction(job, work, machine, jobs)
    p50 = anchor_seconds(work, machine, job.programs, checks_of(job)) * factor
    unknown = UNKNOWN_SIZE if work.size and not work.size.known and level == "published" else 0.0
    p90 = p50 * math.exp(P90 * math.hypot(SPREADS[level], unknown)) + SLACK
    seconds = Range(p50, p90)
    dollars = price_step(job, work, machine, seconds, prices)
    return Estimate(
        job.address,
        job.label,
        seconds,
        seconds * (1 / max(1, job.programs)),
        machine,
        seconds * (machine.gpus / 3600),
        dollars,
        work.tokens,
        space_of(job, work, machine),
        f"{level}{f', {evidence} artifacts' if evidence > 1 else ', 1 artifact' if evidence else ''}"
        + (", size of the model assumed" if unknown else ""),
        max(1, job.programs),
        tuple(address for addresses in job.inputs.values() for address in addresses),
        p50 / 3600 * watts_of(machine, prices) * prices.overhead / 1000 if work.kind != "asks" else 0.0,
    )


@dataclass(frozen=True)
class Measured:
    """An artifact as evidence: measured over published seconds, of a kind of work on a kind of machine."""

    alike: tuple[str, ...]  # stage's variant, kind of work, engine, machine
    work: float  # operations per token; 1 without a model
    ratio: float


def find_correction(job: Job, work: Work, machine: MachineKind, jobs: Jobs) -> tuple[float, str, int]:
    """The median of measured over published seconds, of artifacts of this kind on this kind of machine: those of models
    of the same size, else of the nearest size. With its level and the number of artifacts."""
    alike, own = (variant_of(job), work.kind, work.engine, machine.name), work.size.work if work.size else 1.0
    found = [
        (abs(math.log(one.work / own)), one.ratio) for one in measure_artifacts(job.stage, jobs) if one.alike == alike
    ]
    if not found:
        return 1.0, "published", 0
    nearest = min(near for near, _ in found)
    ratios = sorted([ratio for near, ratio in found if near <= nearest + 0.01][:NEWEST])
    middle = math.sqrt(ratios[(len(ratios) - 1) // 2] * ratios[len(ratios) // 2])
    return middle, "same size" if nearest < 0.01 else "another size", len(ratios)


def measure_artifacts(stage: str, jobs: Jobs) -> list[Measured]:
    """The stage's artifacts that were made in one go, newest first."""
    if stage not in jobs.measured:
        clean = [job for job in jobs.artifacts(stage) if is_clean(job) and measured_seconds(job)]
        jobs.measured[stage] = [measure_artifact(job, jobs) for job in clean]
    return jobs.measured[stage]


def measure_artifact(job: Job, jobs: Jobs) -> Measured:
    work, machine = work_of(job, jobs), machine_that_made(job)
    ratio = measured_seconds(job) / anchor_seconds(work, machine, 1, checks_of(job))
    return Measured(
        (variant_of(job), work.kind, work.engine, machine.name), work.size.work if work.size else 1.0, ratio
    )


def checks_of(job: Job) -> str:
    return str(job.what.get("kind", "by-gold")) if job.stage == "reward-checks" else ""


def variant_of(job: Job) -> str:
    """Jobs of another variant have another speed for the same work."""
    return str(job.what.get("kind", "")) if job.stage in VARIED else ""


def is_clean(job: Job) -> bool:
    """Whether the artifact was made in one go: its seconds are then those of its work."""
    counts = job.counts
    return not counts.get("restarts") and "resumed_at" not in counts and counts.get("rows_made", 1) > 0


def measured_seconds(job: Job) -> float:
    """The seconds of its programs, without the time in which they waited; without programs those of the step."""
    return float(job.counts.get("program_seconds", job.manifest.seconds if job.manifest else 0.0))


def price_step(job: Job, work: Work, machine: MachineKind, seconds: Range, prices: Prices) -> Range | None:
    if work.kind == "asks":
        return price_tokens(job, work, prices)
    rate = prices.hour.get(machine.kind, 0.0 if machine.kind == CORES else None)
    return None if rate is None else seconds * (max(1, machine.gpus) * rate / 3600)


def price_tokens(job: Job, work: Work, prices: Prices) -> Range | None:
    """An endpoint's tokens at the prices of the user's file, else of the recipe; None if neither has any."""
    name, how = getattr(job.how, "model", ""), job.how
    given = prices.tokens.get(name)
    price_in = given.input if given else getattr(how, "price_in", 0.0)
    price_out = given.output if given else getattr(how, "price_out", 0.0)
    if not given and not price_in and not price_out:
        return None
    p50 = (work.read * price_in + work.tokens * price_out) / 1e6
    return Range(p50, p50 * math.exp(P90 * 0.15))


def watts_of(machine: MachineKind, prices: Prices) -> float:
    """The power of one program's GPUs, or of its cores."""
    if machine.kind in prices.watts:
        return prices.watts[machine.kind] * max(1, machine.gpus)
    if machine.on_cores:
        return anchors()["cores"]["watts"] * machine.threads
    return anchors()["gpus"][machine.kind]["watts"] * machine.gpus
