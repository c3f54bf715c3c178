"""Which prompts of a recipe no rule could use: of these nothing is sampled, since sampling is what a run pays for."""

from flows.config.recipe import Recipe
from infra.errors import BadInput
from tasks.pairs.rules import Rule
from tasks.prompts.filters import HasGold, HasTests
from tasks.prompts.sets import PromptSet, PromptSets, ReadySelection


def refuse_unusable_prompts(recipe: Recipe) -> None:
    """Every rule for a category may ask which responses are correct. Then each of its prompts needs a gold."""
    for one in list_sets(recipe):
        rules = [rule for whole in (recipe.records, recipe.pairs) for rule in find_rules(whole, one.category)]
        if one.category and rules and all(rule.reads_checks for rule in rules) and not has_gold_always(one):
            kinds = " and ".join(dict.fromkeys(repr(rule.kind) for rule in rules))
            raise BadInput(
                f"prompts.sets.{one.name}: prompts of {one.category!r} are used only by {kinds}, which need something to check "
                'responses with, and its prompts may have nothing: add the filter {kind = "has-gold"}, and name '
                "columns.gold, or columns.tests"
            )


def list_sets(recipe: Recipe) -> tuple[PromptSet, ...]:
    match recipe.prompts:
        case PromptSets() as chosen:
            return chosen.sets
        case ReadySelection() as chosen:
            return chosen.sets().sets
    return ()


def find_rules(whole: Rule, category: str) -> list[Rule]:
    by_category = getattr(whole, "rules", None)
    return list(whole.each()) if by_category is None else [by_category[category]] if category in by_category else []


def has_gold_always(one: PromptSet) -> bool:
    return any(
        isinstance(each, HasGold) or (isinstance(each, HasTests) and each.where == "gold") for each in one.filters
    )
