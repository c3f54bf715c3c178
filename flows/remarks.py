"""What a plan says beside its steps: which checks feed nothing, and why a report will have no accuracy."""

from flows.config.recipe import Recipe
from infra.store import Store
from tasks.stage import Step, lineage


def remarks(recipe: Recipe, last: Step, store: Store) -> list[str]:
    if recipe.checks is None:
        return ["no [checks]: the report will have no accuracy"]
    readers = [name for name in ("records", "pairs") if getattr(recipe, name).reads_checks]
    if count_golds(last, store) == 0:
        asked = f", though {' and '.join(readers)} ask for them" if readers else ""
        return [f"[checks] feed nothing{asked}: no prompt has a gold; the report will have no accuracy"]
    return [] if readers else ["[checks] feed only the evaluation: neither records nor pairs read them"]


def count_golds(last: Step, store: Store) -> int | None:
    """How many prompts have a gold; None where the prompts are not selected yet, or were before this was counted."""
    prompts = next(step for step in lineage(last) if step.title == "prompt selection")
    manifest = store.manifest(prompts.stage.name, prompts.fingerprint)
    return manifest.counts.get("with_gold") if manifest else None
