"""Recipe: every decision of a run, typed and frozen. A TOML file holds its values; `--set a.b=c` overrides them."""

import contextlib
import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from infra.errors import BadInput
from tasks.checks.stage import Checking, CheckingHow
from tasks.models.stage import SLOT, Existing, GeneratorSource, RewardSource, SourceModel
from tasks.pairs.rules import Best, PairRule, RecordRule, Wrpo
from tasks.prompts.stage import PromptSource
from tasks.responses.engines import AnyEngine, AnyLocal, Endpoint, Transformers
from tasks.responses.stage import Sampling
from tasks.scores.kinds import READS, Scoring, ScoringHow, SequenceClassifier
from tasks.sft.stage import SFT
from tasks.splits.stage import ByCategory, SplitRule
from tasks.stage import Exact, Seed
from tasks.training import TrainingHow
from tasks.wrpo.settings import Objective
from tasks.wrpo.settings import names as objectives
from tasks.wrpo.stage import WRPOHow

SHIPPED = Path(__file__).with_name("recipes")
MODELS = {"tiny", "tiny-reward", "folder", "hub", "existing", "served", "program"}
SCORINGS = {"sequence-classifier", "armorm", "endpoint", "program"}
ENGINES = {"transformers", "vllm", "endpoint"}
PROMPTS = {"skills", "file", "hub", "sets", "selection"}
FILTERS = {"length", "language", "no-code", "no-mathematics", "has-gold", "has-tests"}
SCHEDULES = {"linear", "static", "cosine", "gap"}
SPLITS = {"shares", "by-category", "given"}
RULES = {"wrpo", "on-policy", "hybrid", "same-source", "math", "code", "best", "best-correct", "given"}
KINDS = MODELS | SCORINGS | ENGINES | PROMPTS | FILTERS | SPLITS | RULES | set(objectives())
NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"
DEEPEST = 32  # sections around a field: more than any recipe has
SEEDED = ("prompts", "split", "sampling", "sft", "wrpo", "evaluation")
UNSEEDED = {"prompts": PROMPTS - {"skills"}, "split": {"given"}}  # kinds of these sections that draw nothing


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


class Juror(Reward):
    """A reward model more: it scores what the sources said, and builds nothing. The report sets it beside the others."""

    name: str = Field(pattern=NAME)


class Evaluating(Section):
    """On the held-out prompts: how the models answer, and who judges."""

    judge: Reward
    temperature: float = Field(0.0, ge=0, description="0 is greedy decoding")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    seed: Seed


class Hows(Section):
    """Speed and place: nothing here changes a result or an address."""

    sampling: AnyLocal = Transformers()
    engines: dict[str, AnyEngine] = Field({}, description="models with an engine of their own, by name")
    scoring: ScoringHow = ScoringHow()
    checking: CheckingHow = CheckingHow()
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
        if not isinstance(values, dict) or type(values.get("seed")) is not int:
            return {"seed": None, **values} if isinstance(values, dict) else values
        values = {name: dict(part) if isinstance(part, dict) else part for name, part in values.items()}
        for name in SEEDED:
            section = values.get(name)
            if isinstance(section, dict) and section.get("kind") not in list(UNSEEDED.get(name, ())):
                section.setdefault("seed", derived(values["seed"], name))
        values["target"] = sown_model(values, values.get("target"), "target")
        values["reward"] = sown_reward(values, values.get("reward"), "reward")
        if isinstance(evaluation := values.get("evaluation"), dict):
            evaluation["judge"] = sown_reward(values, evaluation.get("judge"), "judge")
        if isinstance(values.get("jury"), list | tuple):
            values["jury"] = [
                sown_reward(values, juror, f"juror {juror.get('name')}") if isinstance(juror, dict) else juror
                for juror in values["jury"]
            ]
        if isinstance(values.get("sources"), list | tuple):
            values["sources"] = [sown_source(values, source) for source in values["sources"]]
        return values

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


def derived(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=4).digest())


def sown_model(values: dict, model: Any, name: str) -> Any:
    if isinstance(model, dict) and str(model.get("kind", "")).startswith("tiny"):
        return {"seed": derived(values["seed"], name), **model}
    return model


def sown_reward(values: dict, reward: Any, name: str) -> Any:
    return {**reward, "model": sown_model(values, reward.get("model"), name)} if isinstance(reward, dict) else reward


def sown_source(values: dict, source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    grown = {**source, "model": sown_model(values, source.get("model"), f"source {source.get('name')}")}
    if isinstance(sampling := grown.get("sampling"), dict):
        shared = values.get("sampling")
        grown["sampling"] = {**shared, **sampling} if isinstance(shared, dict) else sampling
    return grown


def without_paths(value: Any) -> Any:
    """Where a file lies decides nothing: what stands in it is in the addresses of the stages that read it."""
    if isinstance(value, dict):
        return {name: without_paths(item) for name, item in value.items() if name != "path"}
    return [without_paths(item) for item in value] if isinstance(value, list) else value


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by path, or by the name of one that is shipped, with `a.b=c` overrides applied before it is read."""
    return validated(written(name, overrides), str(find(name)))


def written(name: str, overrides: Sequence[str] = ()) -> dict:
    """What stands in the recipe's file, overridden, and not looked at yet."""
    values = read_toml(find(name))
    for override in overrides:
        apply(values, override)
    return values


def read_toml(file: Path) -> dict:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:  # bad syntax, bad UTF-8, numbers and nesting beyond measure
        raise BadInput(f"{file}: not TOML: {problem}") from problem


def validated(values: dict, origin: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as problem:
        raise BadInput(f"{origin}: {describe(problem)}") from problem


def find(name: str) -> Path:
    for file in (Path(name), SHIPPED / f"{name}.toml"):
        with contextlib.suppress(OSError):
            if file.is_file():
                return file
    shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise BadInput(f"recipe: there is no file {name!r:.80}, and no shipped recipe of that name ({shipped})")


def apply(values: dict, override: str) -> None:
    """`wrpo.alpha=0.3`, `sources.1.model.steps=50` or `sources.sorter.model.steps=50`; the value is TOML, or else text."""
    path, equals, text = override.partition("=")
    if not equals or path.endswith(".") or not path:
        raise BadInput(f"--set {override}: write FIELD=VALUE, for example wrpo.alpha=0.3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError as problem:
        raise BadInput(f"--set {path}: nested too deeply") from problem
    except ValueError:
        value = text
    section, last = section_of(values, path, f"--set {override}")
    section[last] = value


def section_of(values: dict, path: str, origin: str) -> tuple[dict, str]:
    """The section that a dotted path leads into, and the last name of the path."""
    *parents, last = path.split(".")
    if len(parents) > DEEPEST:
        raise BadInput(f"{origin:.80}…: no field lies {len(parents)} sections deep")
    place: Any = values
    for part in parents:
        place = step_into(place, part, origin)
    if isinstance(place, list):
        raise BadInput(f"{origin}: {path} is a list; name one of its fields")
    return place, last


def step_into(place: Any, part: str, origin: str) -> Any:
    if isinstance(place, list):
        named = [item for item in place if isinstance(item, dict) and item.get("name") == part]
        if named or part in map(str, range(len(place))):
            return named[0] if named else place[int(part)]
        raise BadInput(f"{origin}: there is no {part!r} in the list")
    found = place.setdefault(part, {})
    if not isinstance(found, dict | list):
        raise BadInput(f"{origin}: {part} is a value, not a section")
    return found


def field_path(place: Sequence[str | int]) -> list[str]:
    """As the recipe has it: without the kinds that say which variant of a field was tried. A kind may be a field's name
    too (`sets` in `sets`), so it is taken out only where it does not follow a kind or begin the path."""
    path, kind, above = [], True, ""
    for part in place:
        named = above in ("rules", "engines", "how")  # a name of the user's own, or a section under how
        kind = not named and not kind and (part in KINDS or (above == "schedule" and part in SCHEDULES))
        path += [] if kind else [str(part)]
        above = part
    return path


def describe(problem: ValidationError) -> str:
    """Every complaint on a line: the field, what is wrong with it, and the value that stands there."""
    lines = []
    for error in problem.errors():
        field = ".".join(field_path(error["loc"]))
        match error["type"]:
            case "extra_forbidden":
                lines.append(f"{field}: there is no such field (value {error['input']!r:.80})")
            case "missing":
                lines.append(f"{field}: is missing")
            case _:
                lines.append(
                    f"{field or 'recipe'}: {error['msg'].removeprefix('Value error, ')}, not {error['input']!r:.80}"
                    if field
                    else error["msg"].removeprefix("Value error, ")
                )
    return "; ".join(lines)
