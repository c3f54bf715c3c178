"""Recipe: every decision of a run, typed and frozen. `flows/config/loading.py` reads it from its file."""

from collections.abc import Iterator
from typing import Annotated, Any, cast

from pydantic import Field, model_validator

from flows.config.collectives import NamedCollective as NamedCollective
from flows.config.collectives import check_members as refuse_collective
from flows.config.seeds import add_seeds
from flows.config.suites import AnySuite, Judge, Judged, suite_name
from infra.errors import BadInput
from tasks.checks.stage import Checking, CheckingHow
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.models.stage import SLOT, Existing, GeneratorSource, ModelFolder, RewardSource, SourceModel, check_classifier
from tasks.pairs.rules import Best, OnePairRule, OneRecordRule, PairRule, RecordRule, Wrpo
from tasks.prompts.stage import PromptSource
from tasks.responses.engines import AnyEngine, AnyLocal, EndpointEngine, Transformers, choose_engine
from tasks.responses.settings import Sampling
from tasks.scores.settings import MODELS_WITHOUT_WEIGHTS, Scoring, ScoringHow, SequenceClassifier, needed_model_kind
from tasks.sft.stage import SFT
from tasks.splits.stage import ByCategory, SplitRule
from tasks.stage import Exact, Seed
from tasks.training.settings import TrainingHow
from tasks.wrpo.settings import Objective
from tasks.wrpo.stage import WRPOHow

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class Section(Exact):
    """A part of the recipe that is not simply the settings of one stage."""


class Source(Section):
    """One of the models that are fused into the target."""

    name: str = Field(pattern=NAME)
    model: SourceModel
    sampling: Sampling | None = Field(default=None, description="sampling of this source; default: the recipe's")
    licence: str = Field(default="", description="permitted uses of its responses; does not affect the run")
    context: int = Field(
        default=0, ge=0, description="its context length in tokens, for fuse doctor to compare; 0: unknown"
    )
    notes: str = Field(default="", description="about its chat template and sampling; does not affect the run")

    @property
    def answers(self) -> bool:
        """Whether the source is a model that can answer new prompts, not a data set of existing responses."""
        return not isinstance(self.model, Existing)


class Reward(Section):
    """A reward model and its scoring settings."""

    model: RewardSource
    scoring: Scoring = SequenceClassifier(kind="sequence-classifier")

    @model_validator(mode="after")
    def check_model_kind(self) -> "Reward":
        kind, needed = self.model.kind, needed_model_kind(self.scoring.kind)
        if needed != (kind if kind in MODELS_WITHOUT_WEIGHTS.values() else "weights"):
            wanted = "a model with weights" if needed == "weights" else f"a model of kind {needed!r}"
            raise ValueError(f"scoring.kind: {self.scoring.kind!r} needs {wanted}, not one of kind {kind!r}")
        return self

    def resolve(self, field: str) -> dict:
        """The model's identity and location; refuses a folder without a sequence classifier."""
        found = self.model.resolve(field)
        if isinstance(self.scoring, SequenceClassifier) and isinstance(self.model, ModelFolder):
            check_classifier(field, self.model)
        return found


class Juror(Reward):
    """An additional reward model, for comparison in the report; its scores are not used to build training data."""

    name: str = Field(pattern=NAME)


class Evaluating(Section):
    """Evaluation on the held-out prompts: how the models answer, and the judge."""

    judge: Reward
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy decoding")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: Seed
    collectives: tuple[NamedCollective, ...] = Field(default=(), description="baselines made from the sources' answers")
    suites: tuple[AnySuite, ...] = Field(default=(), description="additional benchmarks for target, SFT and WRPO")
    open_judge: Judge | None = Field(
        default=None, description="judge at an endpoint, for open answers of suites and for pairs of answers"
    )

    @model_validator(mode="after")
    def check_suites(self) -> "Evaluating":
        names = [suite_name(suite) for suite in self.suites]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"suites: the name {twice[0]!r} is taken")
        if self.open_judge is None and any(isinstance(suite, Judged) for suite in self.suites):
            raise ValueError("open_judge: is missing, and a suite needs one")
        return self


class Execution(Section):
    """How and where stages run. Nothing here changes a result or an address."""

    sampling: AnyLocal = Transformers()
    engines: dict[str, AnyEngine] = Field(default={}, description="engines of single models, by the model's name")
    scoring: ScoringHow = ScoringHow()
    checking: CheckingHow = CheckingHow()
    judging: JudgingHow = JudgingHow()
    sft: TrainingHow = TrainingHow()
    wrpo: WRPOHow = WRPOHow()

    def engine(self, name: str) -> AnyEngine:
        return choose_engine(name, self.engines, self.sampling)


class Doctor(Section):
    """Red findings of the doctor that this recipe accepts: `check` or `model.check` -> reason."""

    accepted: dict[str, Annotated[str, Field(min_length=1)]] = Field(default={}, description="finding -> reason")


class Recipe(Section):
    """All settings of a run, from the prompts to the report."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: Seed = Field(description="seeds every stage that has no seed in its section")
    prompts: PromptSource
    target: GeneratorSource
    sources: tuple[Source, ...] = Field(min_length=1)
    reward: Reward
    jury: tuple[Juror, ...] = ()
    checks: Checking | None = Field(
        default=None, description="check responses against the prompts' gold answers; default: no checks"
    )
    split: SplitRule
    sampling: Sampling
    sft: SFT
    records: RecordRule = Best(kind="best")
    pairs: PairRule = Wrpo(kind="wrpo")
    wrpo: Objective
    evaluation: Evaluating
    how: Execution = Execution()
    doctor: Doctor = Doctor()

    @model_validator(mode="before")
    @classmethod
    def fill_seeds(cls, values: Any) -> Any:
        """Derives a seed from the recipe's for every section that needs a seed and has none."""
        return add_seeds(values)

    @model_validator(mode="after")
    def check_unique_names(self) -> "Recipe":
        names = [source.name for source in self.sources]
        for name in {name for name in names if names.count(name) > 1} | {"target", "SFT", "WRPO"} & set(names):
            raise ValueError(f"sources: the name {name!r} is taken")
        jurors = [juror.name for juror in self.jury]
        taken = {"target", "reward", "judge", *names}
        for name in {name for name in jurors if jurors.count(name) > 1} | taken & set(jurors):
            raise ValueError(f"jury: the name {name!r} is taken")
        return self

    @model_validator(mode="after")
    def check_batch_sizes(self) -> "Recipe":
        for stage in ("sft", "wrpo"):
            batch, how = getattr(self, stage).batch_size, getattr(self.how, stage)
            if batch % (how.device_batch_size * how.processes):
                shared = f" times how.{stage}.processes {how.processes}" if how.processes > 1 else ""
                raise ValueError(
                    f"{stage}.batch_size {batch} is not a multiple of how.{stage}.device_batch_size"
                    f" {how.device_batch_size}{shared}"
                )
        return self

    @model_validator(mode="after")
    def check_nf4(self) -> "Recipe":
        for stage in ("sft", "wrpo"):
            lora = getattr(self, stage).lora
            if lora and lora.base == "nf4" and getattr(self.how, stage).deepspeed:
                raise ValueError(
                    f"how.{stage}.deepspeed: DeepSpeed does not shard nf4 weights, and adapters are too small to shard:"
                    f' remove it, or set {stage}.lora.base = "full"'
                )
        return self

    @model_validator(mode="after")
    def check_engines(self) -> "Recipe":
        for name, engine in self.how.engines.items():
            if name not in {source.name for source in self.sources} | {"target", "SFT", "WRPO"}:
                raise ValueError(f"how.engines: there is no model {name!r}")
            if name in ("SFT", "WRPO") and isinstance(engine, EndpointEngine):
                raise ValueError(f"how.engines.{name}: this run trains the model, so no endpoint serves it")
        return self

    @model_validator(mode="after")
    def check_rules(self) -> "Recipe":
        """The rules use only data that the chain makes, and fill every role that the objective reads."""
        names = {source.name for source in self.sources}
        for field, rule in (("records", self.records), ("pairs", self.pairs)):
            for part in cast("Iterator[OnePairRule | OneRecordRule]", rule.each()):
                if unknown := set(getattr(part, "sources", ())) - names:
                    raise ValueError(f"{field}.sources: there is no source {min(unknown)!r}")
                if part.reads_checks and self.checks is None:
                    raise ValueError(
                        f"{field}.kind: {part.kind!r} needs checks of the responses: add a section [checks]"
                    )
        for rule in cast("Iterator[OnePairRule]", self.pairs.each()):
            if lacking := [role for role in self.wrpo.roles if role not in rule.fills]:
                raise ValueError(
                    f"pairs.kind: {rule.kind!r} does not fill {lacking[0]}, which {self.wrpo.objective!r} reads"
                )
        if self.pairs_first and self.pairs.reads_own:
            raise ValueError(
                f"split.pairable: {self.pairs.kind!r} pairs need answers of the SFT model, which is trained after the split"
            )
        return self

    @model_validator(mode="after")
    def check_collectives(self) -> "Recipe":
        answering = [source.name for source in self.sources if source.answers]
        taken = [source.name for source in self.sources] + ["target", "SFT", "WRPO"]
        for named in self.evaluation.collectives:
            if named.name in taken:
                raise ValueError(f"evaluation.collectives: the name {named.name!r} is taken")
            taken.append(named.name)
            field, members = f"evaluation.collectives.{named.name}", named.model.members or tuple(answering)
            whole = named.model.model_copy(update={"members": members})
            askable = {*answering, "target", "WRPO"} | ({"SFT"} if self.sft.form != "none" else set())
            refuse_collective(field, whole, answering, askable, self.evaluation.open_judge)
        return self

    @property
    def pairs_first(self) -> bool:
        """Whether pairs are built before the split, because the split counts only prompts that have a pair."""
        return isinstance(self.split, ByCategory) and bool(self.split.pairable)

    def refuse_open_slots(self) -> None:
        """A recipe may leave fields open that only its user can decide; the chain cannot be built before that."""
        if fields := find_open_slots(self.model_dump(mode="json")):
            raise BadInput(
                f"{', '.join(fields)}: open ({SLOT!r}); set a value with --set FIELD=VALUE (for a revision: a commit)"
            )

    def decisions(self) -> dict[str, Any]:
        """The values that can change a result, as plain data."""
        no_effect = {"sources": {"__all__": {"licence", "context", "notes"}}, "how": True, "doctor": True}
        return without_paths(self.model_dump(mode="json", exclude=no_effect, exclude_defaults=True))


def find_open_slots(value: Any, path: str = "") -> list[str]:
    """The paths of the open fields, in the form of `--set`."""
    match value:
        case dict():
            return [
                slot for name, part in value.items() for slot in find_open_slots(part, f"{path}.{name}".lstrip("."))
            ]
        case list():
            named = [
                (part.get("name", place) if isinstance(part, dict) else place, part) for place, part in enumerate(value)
            ]
            return [slot for name, part in named for slot in find_open_slots(part, f"{path}.{name}")]
    return [path] if value == SLOT else []


def without_paths(value: Any) -> Any:
    """Removes file paths: a path changes no result, and the stages' addresses already include the content of the file."""
    if isinstance(value, dict):
        return {name: without_paths(item) for name, item in value.items() if name != "path"}
    return [without_paths(item) for item in value] if isinstance(value, list) else value
