"""A recipe's own suites and collective baselines: what they add to the chain, and what they leave as it was."""

import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.stage import lineage
from tests.evaluation.made import folder_of

ONES = {
    "best": '{ kind = "best-by-reward" }',
    "least": '{ kind = "lowest-perplexity", members = ["mirror", "roller"] }',
    "pairs": '{ kind = "pairwise" }',
    "mix": '{ kind = "mixture-of-agents", aggregator = "SFT" }',
}
JUDGE = 'evaluation.open_judge={ model = "stub-1" }'


def chain(*names: str, more: tuple[str, ...] = ()):
    listed = ", ".join(f'{{ name = "{name}", model = {ONES[name]} }}' for name in names)
    return fusion(load_recipe("demo", [f"evaluation.collectives=[{listed}]", *more]))


def labels(last) -> dict[str, str]:
    return {step.address: step.label for step in lineage(last)}


def test_three_baselines_sample_nothing_and_the_mixture_once():
    plain = labels(fusion(load_recipe("demo")))
    added = [step for step in lineage(chain(*ONES, more=(JUDGE,))) if step.address not in plain]
    sampled = [step.label for step in added if step.stage.title == "per-model sampling"]
    assert sampled == ["evaluation · mixture for mix"]
    read = {step.label for step in added if step.stage.title in ("SFT", "WRPO", "pairs", "splitting")}
    assert not read  # nothing of the method itself moved
    evaluation = next(step for step in added if step.stage.title == "evaluation")
    assert evaluation.what.collectives == tuple(ONES) and len(evaluation.inputs["answers"]) == 6 + 4


def test_without_baselines_the_evaluation_is_where_it_was():
    evaluation = fusion(load_recipe("demo")).inputs["evaluation"][0]
    assert "collectives" not in evaluation.what.model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ('[{ name = "x", model = { kind = "pairwise" } }]', "evaluation.collectives.x: 'pairwise' needs a judge"),
        ('[{ name = "SFT", model = { kind = "best-by-reward" } }]', "the name 'SFT' is taken"),
        ('[{ name = "x", model = { kind = "best-by-reward", members = ["mirror"] } }]', "needs at least two members"),
        (
            '[{ name = "x", model = { kind = "best-by-reward", members = ["mirror", "me"] } }]',
            "there is no model 'me' before",
        ),
        ('[{ name = "x", model = { kind = "mixture-of-agents", aggregator = "me" } }]', "no model 'me'"),
    ],
)
def test_a_mistake_is_named(override, complaint):
    with pytest.raises(BadInput) as problem:
        load_recipe("demo", [f"evaluation.collectives={override}"])
    assert complaint in str(problem.value)


def test_a_recipes_suites_run_for_target_sft_and_wrpo(tmp_path):
    folder = folder_of("arena-hard", tmp_path / "suite", 4)
    suites = f'evaluation.suites=[{{ suite = "arena-hard", path = "{folder}" }}]'
    with pytest.raises(BadInput, match="open_judge: is missing"):
        load_recipe("demo", [suites])
    recipe = load_recipe("demo", [suites, JUDGE, "how.judging.price_in=2.0"])
    last = fusion(recipe)
    assert last.what.suites == ("arena-hard",) and "price_in" not in str(last.what)
    (results,) = last.inputs["suites"]
    assert results.what.models == ("target", "SFT", "WRPO") and results.what.judge == "stub-1"
    judged = next(step for step in lineage(last) if step.label == "arena-hard · judging WRPO")
    assert judged.how.price_in == 2.0
    assert judged.inputs["responses"][0].inputs["model"][0] is last.inputs["wrpo"][0]
