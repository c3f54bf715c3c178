"""Recipe: every decision of a run, typed and frozen. `flows/config/loading.py` reads it from its file."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from flows.config.collectives import Named as NamedCollective
from flows.config.collectives import refuse as refuse_collective
from flows.config.seeds import sown
from flows.config.suites import AnySuite, Judge, Judged, name_of
from infra.errors import BadInput
from tasks.checks.stage import Checking, CheckingHow
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.models.stage import SLOT, Existing, Folder, GeneratorSource, RewardSource, SourceModel, check_classifier
from tasks.pairs.rules import Best, PairRule, RecordRule, Wrpo
from tasks.prompts.stage import PromptSource
from tasks.responses.engines import AnyEngine, AnyLocal, Endpoint, Transformers
from tasks.responses.settings import Sampling
from tasks.scores.settings import READS, Scoring, ScoringHow, SequenceClassifier
from tasks.sft.stage import SFT
from tasks.splits.stage import ByCategory, SplitRule
from tasks.stage import Exact, Seed
from tasks.training.settings import TrainingHow
from tasks.wrpo.settings import Objective
from tasks.wrpo.stage import WRPOHow

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class Section(Exact):
    """A part of the recipe that is not a stage's settings as it stands."""


class Source(Section):
    """One of the models that are fused into the target."""

    name: str = Field(pattern=NAME)
    model: SourceModel
    sampling: Sampling | None = Field(None, description="its own sampling; none: the recipe's")
    licence: str = Field("", description="what its responses may be used for; changes nothing")
    context: int = Field(0, ge=0, description="tokens that it is said to read; fuse doctor compares. 0: not said")
    notes: str = Field("", description="of its chat template and its sampling; changes nothing")

    @property
    def answers(self) -> bool:
        """Whether it can be asked anew: responses that a data set holds are no model."""
        return not isinstance(self.model, Existing)


class Reward(Section):
    """A reward model and how it reads."""

    model: RewardSource
    scoring: Scoring = SequenceClassifier(kind="sequence-classifier")

    @model_validator(mode="after")
    def readable(self) -> "Reward":
        given, scoring = self.model.kind, self.scoring.kind
        if READS.get(scoring, given if given not in READS.values() else "weights") != given:
            raise ValueError(f"scoring.kind: {scoring!r} does not read a model of kind {given!r}")
        return self

    def resolve(self, field: str) -> dict:
        """The model's identity and place; a folder that holds no classifier is refused."""
        found = self.model.resolve(field)
        if isinstance(self.scoring, SequenceClassifier) and isinstance(self.model, Folder):
            check_classifier(field, self.model)
        return found


class Juror(Reward):
    """A reward model more: it scores what the sources said, and builds nothing. The report sets it beside the others."""

    name: str = Field(pattern=NAME)


class Evaluating(Section):
    """On the held-out prompts: how the models answer, and who judges."""

    judge: Reward
    temperature: float = Field(0.0, ge=0, description="0 is greedy decoding")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: Seed
    collectives: tuple[NamedCollective, ...] = Field((), description="baselines made of the sources' answers")
    suites: tuple[AnySuite, ...] = Field(
        (), description="benchmarks that target, SFT and WRPO are evaluated on as well"
    )
    open_judge: Judge | None = Field(None, description="at an endpoint, of the suites' open answers and of pairs")

    @model_validator(mode="after")
    def judged(self) -> "Evaluating":
        names = [name_of(suite) for suite in self.suites]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"suites: the name {twice[0]!r} is taken")
        if self.open_judge is None and any(isinstance(suite, Judged) for suite in self.suites):
            raise ValueError("open_judge: is missing, and a suite needs one")
        return self


class Hows(Section):
    """Speed and place: nothing here changes a result or an address."""

    sampling: AnyLocal = Transformers()
    engines: dict[str, AnyEngine] = Field({}, description="models with an engine of their own, by name")
    scoring: ScoringHow = ScoringHow()
    checking: CheckingHow = CheckingHow()
    judging: JudgingHow = JudgingHow()
    sft: TrainingHow = TrainingHow()
    wrpo: WRPOHow = WRPOHow()

    def engine(self, name: str) -> AnyEngine:
        return self.engines.get(name, self.sampling)


class Doctor(Section):
    """What the doctor finds red and this recipe accepts: `check` or `model.check` -> why."""

    accepted: dict[str, Annotated[str, Field(min_length=1)]] = Field({}, description="the findings and the reasons")


class Recipe(Section):
    """A run, from the prompts to the report."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: Seed = Field(description="seeds every stage that states none of its own")
    prompts: PromptSource
    target: GeneratorSource
    sources: tuple[Source, ...] = Field(min_length=1)
    reward: Reward
    jury: tuple[Juror, ...] = ()
    checks: Checking | None = Field(
        None, description="which responses are correct, by the prompts' gold; none: not asked"
    )
    split: SplitRule
    sampling: Sampling
    sft: SFT
    records: RecordRule = Best(kind="best")
    pairs: PairRule = Wrpo(kind="wrpo")
    wrpo: Objective
    evaluation: Evaluating
    how: Hows = Hows()
    doctor: Doctor = Doctor()

    @model_validator(mode="before")
    @classmethod
    def sow(cls, values: Any) -> Any:
        """Gives every section that takes a seed and states none one that follows from the recipe's."""
        return sown(values)

    @model_validator(mode="after")
    def distinct(self) -> "Recipe":
        names = [source.name for source in self.sources]
        for name in {name for name in names if names.count(name) > 1} | {"target", "SFT", "WRPO"} & set(names):
            raise ValueError(f"sources: the name {name!r} is taken")
        jurors = [juror.name for juror in self.jury]
        taken = {"target", "reward", "judge", *names}
        for name in {name for name in jurors if jurors.count(name) > 1} | taken & set(jurors):
            raise ValueError(f"jury: the name {name!r} is taken")
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
    def quantised_whole(self) -> "Recipe":
        for stage in ("sft", "wrpo"):
            lora = getattr(self, stage).lora
            if lora and lora.base == "nf4" and getattr(self.how, stage).deepspeed:
                raise ValueError(
                    f"how.{stage}.deepspeed: weights in nf4 are not shared out, and adapters leave nothing worth sharing:"
                    f' leave it out, or {stage}.lora.base = "full"'
                )
        return self

    @model_validator(mode="after")
    def engines_have_models(self) -> "Recipe":
        for name, engine in self.how.engines.items():
            if name not in {source.name for source in self.sources} | {"target", "SFT", "WRPO"}:
                raise ValueError(f"how.engines: there is no model {name!r}")
            if name in ("SFT", "WRPO") and isinstance(engine, Endpoint):
                raise ValueError(f"how.engines.{name}: it is trained here, and no endpoint has it")
        return self

    @model_validator(mode="after")
    def answerable(self) -> "Recipe":
        """The rules ask for nothing that the chain does not make, and fill what the objective reads."""
        names = {source.name for source in self.sources}
        for field, rule in (("records", self.records), ("pairs", self.pairs)):
            for one in rule.each():
                if unknown := set(getattr(one, "sources", ())) - names:
                    raise ValueError(f"{field}.sources: there is no source {min(unknown)!r}")
                if one.reads_checks and self.checks is None:
                    raise ValueError(
                        f"{field}.kind: {one.kind!r} needs checks of the responses: add a section [checks]"
                    )
        for rule in self.pairs.each():
            if lacking := [role for role in self.wrpo.roles if role not in rule.fills]:
                raise ValueError(
                    f"pairs.kind: {rule.kind!r} fills no {lacking[0]}, which {self.wrpo.objective!r} reads"
                )
        if self.pairs_first and self.pairs.reads_own:
            raise ValueError(
                f"split.pairable: {self.pairs.kind!r} pairs are of the SFT model, which comes after splitting"
            )
        return self

    @model_validator(mode="after")
    def collectives_have_members(self) -> "Recipe":
        answering = [source.name for source in self.sources if source.answers]
        taken = [source.name for source in self.sources] + ["target", "SFT", "WRPO"]
        for one in self.evaluation.collectives:
            if one.name in taken:
                raise ValueError(f"evaluation.collectives: the name {one.name!r} is taken")
            taken.append(one.name)
            field, members = f"evaluation.collectives.{one.name}", one.model.members or tuple(answering)
            whole = one.model.model_copy(update={"members": members})
            asked = {*answering, "target", "WRPO"} | ({"SFT"} if self.sft.form != "none" else set())
            refuse_collective(field, whole, answering, asked, self.evaluation.open_judge)
        return self

    @property
    def pairs_first(self) -> bool:
        """Whether the split counts only prompts that leave a pair."""
        return isinstance(self.split, ByCategory) and bool(self.split.pairable)

    def refuse_open_slots(self) -> None:
        """A recipe may leave to its user what only they can know; its chain cannot be made before they decided."""
        if fields := slots(self.model_dump(mode="json")):
            raise BadInput(
                f"{', '.join(fields)}: open ({SLOT!r}); decide with --set FIELD=VALUE, a revision is a commit"
            )

    def decisions(self) -> dict[str, Any]:
        """All of it that changes a result, as plain values."""
        said = {"sources": {"__all__": {"licence", "context", "notes"}}, "how": True, "doctor": True}
        return without_paths(self.model_dump(mode="json", exclude=said, exclude_defaults=True))


def slots(value: Any, path: str = "") -> list[str]:
    """The fields that are open, as `--set` names them."""
    match value:
        case dict():
            return [slot for name, part in value.items() for slot in slots(part, f"{path}.{name}".lstrip("."))]
        case list():
            named = [
                (part.get("name", place) if isinstance(part, dict) else place, part) for place, part in enumerate(value)
            ]
            return [slot for name, part in named for slot in slots(part, f"{path}.{name}")]
    return [path] if value == SLOT else []


def without_paths(value: Any) -> Any:
    """Where a file lies decides nothing: what stands in it is in the addresses of the stages that read it."""
    if isinstance(value, dict):
        return {name: without_paths(item) for name, item in value.items() if name != "path"}
    return [without_paths(item) for item in value] if isinstance(value, list) else value
