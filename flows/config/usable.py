"""Refuses recipes with prompts that no rule could use, before a run pays for sampling them."""

from typing import cast

from flows.config.recipe import Recipe
from infra.errors import BadInput
from tasks.pairs.rules import OnePairRule, OneRecordRule, Rule
from tasks.prompts.filters import HasGold, HasTests
from tasks.prompts.sets import PromptSet, PromptSets, ReadySelection


def refuse_unusable_prompts(recipe: Recipe) -> None:
    """If all rules for a category need checks of the responses, then each of its prompts needs a gold answer."""
    for prompt_set in list_sets(recipe):
        category = prompt_set.category
        rules = [rule for part in (recipe.records, recipe.pairs) for rule in find_rules(part, category)]
        if category and rules and all(rule.reads_checks for rule in rules) and not has_gold_always(prompt_set):
            kinds = " and ".join(dict.fromkeys(repr(rule.kind) for rule in rules))
            raise BadInput(
                f"prompts.sets.{prompt_set.name}: prompts of {category!r} are used only by {kinds}, which need gold answers to "
                'check responses, but its prompts may have none: add the filter {kind = "has-gold"}, and name '
                "columns.gold, or columns.tests"
            )


def list_sets(recipe: Recipe) -> tuple[PromptSet, ...]:
    match recipe.prompts:
        case PromptSets() as chosen:
            return chosen.sets
        case ReadySelection() as chosen:
            return chosen.sets().sets
    return ()


def find_rules(rule: Rule, category: str) -> list[OnePairRule | OneRecordRule]:
    by_category = getattr(rule, "rules", None)
    found = list(rule.each()) if by_category is None else [by_category[category]] if category in by_category else []
    return cast("list[OnePairRule | OneRecordRule]", found)


def has_gold_always(prompt_set: PromptSet) -> bool:
    return any(
        isinstance(each, HasGold) or (isinstance(each, HasTests) and each.where == "gold")
        for each in prompt_set.filters
    )
