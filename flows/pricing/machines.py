"""The machine of a step: the kind of its GPUs, or cores; and how an artifact's manifest names the machine that made it."""

from dataclasses import dataclass

from flows.pricing.jobs import Job
from flows.pricing.model_sizes import ASSUMED, ModelSize, anchors
from flows.pricing.prices import CORES, Prices
from infra.gpus import name_gpus
from infra.settings import count_cores, settings

LARGE = ASSUMED / 16  # a model with more parameters is not planned for cores unless the user says so


@dataclass(frozen=True)
class MachineKind:
    """`gpus`: of each program; 0: it computes on `threads` cores."""

    kind: str  # a name in anchors.toml, or cpu
    gpus: int = 0
    threads: int = 1
    name: str = ""  # artifacts of machines with the same name are evidence

    @property
    def on_cores(self) -> bool:
        return self.kind == CORES


def machine_of(job: Job, size: ModelSize | None, prices: Prices) -> MachineKind:
    """Where a planned step would run: as the prices say, else on this machine; large models never on its cores."""
    found = [kind for name in name_gpus() if (kind := kind_of_gpu(name))]
    pool = job.how.work_pool if job.how else None
    kind = prices.pools.get(pool or "", prices.gpu) or (found[0] if found else "")
    if not kind and size and size.parameters > LARGE:
        kind = "H100"
    if not job.gpus or kind in ("", CORES):
        return MachineKind(CORES, 0, settings().threads_beside(len(found)), name_cores(count_cores()))
    return MachineKind(kind, job.gpus, 1, kind)


def machine_that_made(job: Job) -> MachineKind:
    """The machine of an artifact, as far as its manifest names it."""
    made = job.manifest.provenance if job.manifest else {}
    kind = kind_of_gpu(str(made.get("gpu", "")))
    if kind and (gpus := int(made.get("gpus_of_a_program", 0))):
        return MachineKind(kind, gpus, 1, kind)
    cores = int(made.get("cores", 0))
    return MachineKind(CORES, 0, settings().threads_beside(0) if cores == count_cores() else 1, name_cores(cores))


def name_cores(cores: int) -> str:
    return f"{cores} cores"


def kind_of_gpu(name: str) -> str:
    """`NVIDIA H100 80GB HBM3` → H100."""
    return next((kind for kind in anchors()["gpus"] if kind in name), "")
