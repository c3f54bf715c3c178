"""Notes below a plan: checks that have no effect, and why a report will have no accuracy."""

from typing import cast

from flows.config.recipe import Recipe
from infra.store import Store
from tasks.stage import Step, lineage


def list_remarks(recipe: Recipe, last: Step, store: Store) -> list[str]:
    if recipe.checks is None:
        return ["no [checks]: the report will have no accuracy"]
    readers = [name for name in ("records", "pairs") if getattr(recipe, name).reads_checks]
    if count_golds(last, store) == 0:
        users = f", although {' and '.join(readers)} need them" if readers else ""
        return [f"[checks] have no effect{users}: no prompt has a gold answer; the report will have no accuracy"]
    return [] if readers else ["only the evaluation uses [checks]: neither records nor pairs read them"]


def count_golds(last: Step, store: Store) -> int | None:
    """The number of prompts with a gold answer; None if the prompts are not selected yet, or an older version of this stage
    selected them without counting."""
    prompts = next(step for step in lineage(last) if step.title == "prompt selection")
    manifest = store.manifest(prompts.stage.name, prompts.fingerprint)
    return cast("int | None", manifest.counts.get("with_gold")) if manifest else None
