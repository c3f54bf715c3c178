"""What is wrong with a recipe, in its own words: the field as the file has it, the complaint, and the value."""

from collections.abc import Sequence

from pydantic import ValidationError

from tasks.wrpo.settings import names as objectives

MODELS = {"tiny", "tiny-reward", "folder", "hub", "existing", "served", "program"}
SCORINGS = {"sequence-classifier", "armorm", "endpoint", "program"}
ENGINES = {"transformers", "vllm", "endpoint"}
PROMPTS = {"skills", "file", "hub", "sets", "selection"}
FILTERS = {"length", "language", "no-code", "no-mathematics", "has-gold", "has-tests"}
SCHEDULES = {"linear", "static", "cosine", "gap"}
SPLITS = {"shares", "by-category", "given"}
RULES = {"wrpo", "on-policy", "hybrid", "same-source", "math", "code", "best", "best-correct", "given"}
COLLECTIVES = {"best-by-reward", "lowest-perplexity", "pairwise", "mixture-of-agents"}
SUITES = {"alpaca-eval", "arena-hard", "mt-bench", "align-bench", "checked", "lm-eval", "livebench"}
KINDS = MODELS | SCORINGS | ENGINES | PROMPTS | FILTERS | SPLITS | RULES | COLLECTIVES | SUITES | set(objectives())


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
            case "secret":  # may stand in the value
                lines.append(f"{field}: {error['msg']}")
            case _:
                lines.append(
                    f"{field or 'recipe'}: {error['msg'].removeprefix('Value error, ')}, not {error['input']!r:.80}"
                    if field
                    else error["msg"].removeprefix("Value error, ")
                )
    return "; ".join(lines)
