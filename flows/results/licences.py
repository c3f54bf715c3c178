"""The licences behind a model or a data set, strictest first, with what each forbids. No legal advice: the texts of the
licences decide, and a licence that the recipe does not state is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.config.recipe import Recipe
from flows.results.markdown import escape_markdown
from infra.manifest import Manifest
from tasks.models.stage import HubModel
from tasks.prompts.sets import PromptSet, PromptSets, ReadySelection

# (words in the stated licence, the hub's name, what it forbids or asks), strictest first. The first that fits counts.
KNOWN = (
    ("cc-by-nc", "cc-by-nc-4.0", "forbids commercial use; asks for attribution"),
    ("non-commercial", "other", "forbids commercial use"),
    ("research licen", "other", "forbids use other than research"),
    ("mnpl", "other", "forbids production use"),
    ("by application for commercial", "other", "forbids commercial use of the weights without an application"),
    ("openai", "other", "its terms forbid to train models that compete with it"),
    ("gemma", "gemma", "forbids the uses of its policy; models trained on its outputs are bound by its terms"),
    ("deepseek model", "deepseek", "forbids the uses that its annex lists, also for derived models"),
    (
        "llama 3.2",
        "llama3.2",
        "asks for “Llama” in the name of models trained on its outputs; forbids the uses of its policy",
    ),
    (
        "llama 3.1",
        "llama3.1",
        "asks for “Llama” in the name of models trained on its outputs; forbids the uses of its policy",
    ),
    ("llama 3", "llama3", "forbids to improve other models than Llama 3 with its outputs, and the uses of its policy"),
    ("qianwen", "tongyi-qianwen", "asks for a licence above 100 million users"),
    ("qwen", "other", "asks for a licence above 100 million users"),
    ("cc-by-sa", "cc-by-sa-4.0", "asks for attribution and the same licence"),
    ("cc-by", "cc-by-4.0", "asks for attribution"),
    ("odc-by", "odc-by", "asks for attribution"),
    ("apache", "apache-2.0", "asks to keep its notices"),
    ("mit", "mit", "asks to keep its notice"),
)
UNKNOWN = 3  # place of an unknown licence: after those that forbid commercial use


@dataclass(frozen=True)
class Licence:
    """`of`: the models and data sets under it."""

    stated: str
    hub: str
    forbids: str
    rank: float
    of: tuple[str, ...]


def find_licence(stated: str, of: tuple[str, ...]) -> Licence:
    for rank, (words, hub, forbids) in enumerate(KNOWN):
        if words in stated.lower():
            return Licence(stated, hub, forbids, rank, of)
    return Licence(stated or "not stated", "unknown", "unknown: look it up before you publish", UNKNOWN - 0.5, of)


def licences_of(recipe: Recipe, with_target: bool) -> list[Licence]:
    """The licences of everything that a recipe's data, and with `with_target` its model, are made from; strictest first."""
    stated: dict[str, list[str]] = {}
    for source in recipe.sources:
        stated.setdefault(source.licence, []).append(source.name)
    for name, licence in licences_of_prompts(recipe).items():
        stated.setdefault(licence, []).append(f"prompts {name}")
    if with_target:
        stated.setdefault("", []).append(f"target {recipe.target.title}")
    found = [find_licence(licence, tuple(names)) for licence, names in stated.items()]
    return sorted(found, key=lambda licence: (licence.rank, licence.stated))


def list_prompt_sets(recipe: Recipe) -> Sequence[PromptSet] | None:
    """The sets of a recipe's prompts; None if the prompts are a single file or hub data set, which states no licence."""
    match recipe.prompts:
        case PromptSets(sets=sets):
            return sets
        case ReadySelection() as ready:
            return ready.sets().sets
    return None


def licences_of_prompts(recipe: Recipe) -> dict[str, str]:
    sets = list_prompt_sets(recipe)
    return {recipe.prompts.kind: ""} if sets is None else {each.name: each.licence for each in sets}


def front_matter(recipe: Recipe, licences: list[Licence], model: bool) -> str:
    """The head of a card in the hub's form: the strictest licence; for a model also its base and its data sets."""
    strictest = licences[0]
    name = [f"license_name: {strictest.stated[:60]!r}"] if strictest.hub == "other" else []
    lines = [f"license: {strictest.hub}", *name]
    if model:
        lines += ["library_name: transformers", "pipeline_tag: text-generation"]
        lines += [f"base_model: {recipe.target.id}"] if isinstance(recipe.target, HubModel) else []
        lines += ["datasets:", *(f"- {name}" for name in sets)] if (sets := hub_sets(recipe)) else []
    lines.append("tags: [wrpo, preference-optimisation, model-fusion]")
    return "\n".join(lines)


def hub_sets(recipe: Recipe) -> list[str]:
    sets = list_prompt_sets(recipe)
    sources = [recipe.prompts] if sets is None else [each.source for each in sets]
    return list(dict.fromkeys(source.id for source in sources if source.kind == "hub"))


def licence_section(licences: list[Licence]) -> list[str]:
    """A card's section, strictest first."""
    rows = [
        f"| {escape_markdown(licence.stated)} | {escape_markdown(licence.forbids)} | {escape_markdown(', '.join(licence.of))} |"
        for licence in licences
    ]
    about = "As the recipe states them, strictest first. The texts of the licences decide; all of them apply together."
    return ["## Licences", "", about, "", "| licence | what it forbids or asks | of |", "|---|---|---|", *rows, ""]


def resampled_section(upstream: list[Manifest], results: list[dict]) -> list[str]:
    """What `fuse verify --resample` found for the artifacts of a lineage; nothing if it was never run."""
    if not results:
        return []
    stored, rows, equal = (sum(result[name] for result in results) for name in ("stored", "rows", "equal"))
    made = {f"{manifest.stage}/{manifest.fingerprint}": manifest for manifest in upstream}
    machine = lambda where: (where.get("machine"), where.get("cores"), where.get("gpu"))
    away = sum(machine(result["made_on"]) != machine(made[result["address"]].provenance) for result in results)
    where = f"{away} of {len(results)} times on another machine" if away else "on a machine of the same kind"
    where = "on another machine" if away == len(results) else where
    share = f"{rows / stored:.1%}" if stored else "0%"
    line = f"{share} of {stored:,} rows made again, {where}: {equal / rows:.2%} equal ({equal:,} of {rows:,})."
    drift = sorted({change for result in results for change in result["drift"]})
    return ["## Made again", "", line, *([f"Changed since: {escape_markdown('; '.join(drift))}."] if drift else []), ""]
