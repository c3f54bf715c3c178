"""The recipe: overrides, seeds, and complaints that name the field and the value."""

import pytest

from flows.config.loading import SHIPPED, load_recipe
from flows.config.recipe import find_open_slots
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.stage import lineage
from tests.chain.small import write_recipe

EVERY_SHIPPED = sorted(file.stem for file in SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("name", EVERY_SHIPPED)
def test_every_shipped_recipe_makes_a_chain_once_its_slots_are_decided(name, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n')
    commit = "0123456789abcdef" * 2 + "01234567"
    choices = {"path": tmp_path / "prompts.jsonl", "id": "someone/judge"}  # all else is a commit
    open_slots = find_open_slots(load_recipe(name).model_dump(mode="json"))
    decided = [f"{field}={choices.get(field.rpartition('.')[2], commit)}" for field in open_slots]
    assert bool(decided) == (name != "demo")
    for place, decision in enumerate(decided):
        with pytest.raises(BadInput) as problem:
            fusion(load_recipe(name, decided[:place]))
        assert str(problem.value).startswith(decision.partition("=")[0]) and "\n" not in str(problem.value)
    assert lineage(fusion(load_recipe(name, decided)))[-1].stage.title == "report"


def test_an_open_slot_is_refused_without_the_chain_too():
    with pytest.raises(BadInput, match=r"^target\.revision: 'pin-me' is only a placeholder"):
        load_recipe("wrpo-llama3-8b").target.resolve("target")


PUBLISHED = {  # SFT's learning rate, then preference optimisation: WRPO's Table 6, FuseChat-3.0's README
    "wrpo-llama3-8b": (7e-6, {"learning_rate": 3e-7, "beta": 0.01, "alpha": 0.1}),
    "wrpo-llama3-8b-simpo": (7e-6, {"learning_rate": 6e-7, "beta": 10, "gamma": 0, "alpha": 0.5}),
    "wrpo-llama3-8b-ipo": (7e-6, {"learning_rate": 1e-6, "tau": 0.01, "alpha": 0.1}),
    "fusechat3-llama3.1-8b": (5e-6, {"learning_rate": 8e-7, "beta": 10, "log_probs": "mean"}),
    "fusechat3-qwen2.5-7b": (2e-6, {"learning_rate": 3e-7, "beta": 0.01, "log_probs": "sum"}),
    "fusechat3-gemma2-9b": (2e-6, {"learning_rate": 5e-7, "beta": 0.01, "log_probs": "sum"}),
    "fusechat3-llama3.2-3b": (5e-6, {"learning_rate": 1e-6, "beta": 10, "log_probs": "mean"}),
    "fusechat3-llama3.2-1b": (5e-6, {"learning_rate": 1e-6, "beta": 10, "log_probs": "mean"}),
}


def test_the_papers_recipes_hold_the_published_numbers():
    assert {*PUBLISHED, "demo"} == set(EVERY_SHIPPED)
    for name, (rate, fields) in PUBLISHED.items():
        recipe = load_recipe(name)
        assert recipe.sft.learning_rate == rate
        assert {field: getattr(recipe.wrpo, field) for field in fields} == fields
        for part in (recipe.sft, recipe.wrpo):
            assert (part.batch_size, part.max_length, part.warmup_ratio) == (128, 2048, 0.1)


def test_fusechats_recipes_choose_by_category_and_check_answers():
    for name in (name for name in EVERY_SHIPPED if name.startswith("fusechat3")):
        recipe = load_recipe(name)
        rules = {category: rule.kind for category, rule in recipe.pairs.rules.items()}
        assert rules == {"instruction following": "same-source", "mathematics": "math", "coding": "code"}
        windows = {
            category: rule.gap and (rule.gap.low, rule.gap.high) for category, rule in recipe.pairs.rules.items()
        }
        assert windows == {"instruction following": (0.01, 0.1), "mathematics": (0.01, 0.1), "coding": None}
        assert recipe.checks is not None and recipe.records.rules.keys() == {*rules, "Chinese"}


def test_an_override_reaches_nested_fields_and_list_items():
    recipe = load_recipe("demo", ["wrpo.alpha=0.3", "sources.0.model.steps=7"])
    name = recipe.sources[1].name
    again = load_recipe("demo", [f"sources.{name}.model.steps=9"])
    assert recipe.wrpo.alpha == 0.3 and recipe.sources[0].model.steps == 7 and again.sources[1].model.steps == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("wrpo.gamma=1", "wrpo.gamma: there is no such field (value 1)"),
        ("wrpo.objective='kto'", "wrpo: Input tag 'kto' found using 'objective' does not match"),
        ("wrpo.objective='dpo'", "wrpo.alpha: there is no such field (value 0.9)"),
        ("wrpo.schedule={kind='gap', scale=0}", "wrpo.schedule.scale: Input should be greater than 0, not 0"),
        ("wrpo.schedule={kind='linear', scale=1}", "wrpo.schedule.scale: there is no such field"),
        ("sft.form='chunks'", "sft.form: Input should be 'completion', 'packed' or 'none', not 'chunks'"),
        ("wrpo.lora={rank=0, alpha=1}", "wrpo.lora.rank: Input should be greater than 0, not 0"),
        ("sources.0.model={kind='hub', id='a/b', revision='main'}", "sources.0.model.revision: "),
        ("target={kind='hub', id='a/b', revision='pin-me'}", "target.revision: open ('pin-me')"),
        ("wrpo.beta=lots", "wrpo.beta: Input should be a valid number"),
        ("wrpo.beta=-1", "wrpo.beta: Input should be greater than 0, not -1"),
        ("wrpo.beta=nan", "wrpo.beta"),
        ("split.sft=0.9", "not 1"),
        ("colour='red'", "colour: there is no such field"),
        ("name='../../etc'", "name: "),
        ("sources.0.name='../up'", "sources.0.name: "),
        ("sources.nobody.model.steps=1", "no 'nobody' in the list"),
        ("wrpo", "write FIELD=VALUE"),
        ("seed.x=1", "seed is a value"),
        ("prompts.kind='gold'", "prompts"),
        ("target={kind='hub', id='a/b', revision='main'}", "revision"),
        ("target={kind='folder', path='/nowhere'}", "target.path: there is no folder '/nowhere'"),
        ("prompts={kind='file', path='/nowhere.jsonl'}", "prompts.path: there is no file '/nowhere.jsonl'"),
        ("sources=[]", "sources: "),
        ("sampling.n=0", "sampling.n: Input should be greater than 0, not 0"),
        ("pairs.kind='best'", "pairs: "),
        ("pairs.margin=-1", "pairs.margin: Input should be greater than or equal to 0, not -1"),
        ("pairs.rank=3", "pairs.rank: "),
        ("pairs={kind='hybrid', rank=2}", "pairs.rank: there is no such field (value 2)"),
        ("pairs={kind='same-source', gap={low=0.2, high=0.1}}", "pairs.gap: high 0.1 is below low 0.2"),
        ("pairs={kind='same-source', gap={low=2, unit='quantile'}}", "pairs.gap: a quantile must be in [0, 1]"),
        ("pairs.sources=['nobody']", "pairs.sources: there is no source 'nobody'"),
        ("pairs={kind='by-category', rules={math={kind='math', gap={low=-1}}}}", "pairs.rules.math.gap.low: "),
        ("wrpo.source_worst=true", "pairs.kind: 'wrpo' does not fill source_worst, which 'wrpo' reads"),
        (
            "wrpo={objective='dpo', pair='sources', learning_rate=1e-6}",
            "pairs.kind: 'wrpo' does not fill source_worst, which",
        ),
        ("pairs={kind='same-source'}", "pairs.kind: 'same-source' does not fill own_best, which 'wrpo' reads"),
        ("checks={seconds=0}", "checks.seconds: Input should be greater than 0, not 0"),
        ("checks.where='here'", "checks.where: there is no such field (value 'here')"),
        ("checks.kind='verbatim'", "checks.kind: Input should be 'by-gold' or 'exact', not 'verbatim'"),
        (
            "split={kind='by-category', held_out=0.1, sft=0.4, pairable=['copy']}",
            "split.pairable: 'wrpo' pairs need answers of",
        ),
        ("how.engines.nobody={kind='vllm'}", "how.engines: there is no model 'nobody'"),
        (
            "how.engines.SFT={kind='endpoint', urls=['http://u/v1'], model='m'}",
            "how.engines.SFT: this run trains the model",
        ),
        ("how.engines.mirror={kind='vllm', workers=0}", "how.engines.mirror.workers: Input should be greater than 0"),
        (
            "how.engines.mirror={kind='endpoint', urls=['http://u/v1'], model='m', api_key='x'}",
            "mirror.api_key: there is no such",
        ),
        ("how.sampling={kind='endpoint', urls=['http://u/v1'], model='m'}", "how.sampling: Input tag 'endpoint' found"),
        ("evaluation.suites=[{suite='checked', foo=1}]", "evaluation.suites.0.foo: there is no such field (value 1)"),
        (
            "evaluation.collectives=[{name='x', model={kind='pairwise', foo=1}}]",
            "evaluation.collectives.0.model.foo: there is no such",
        ),
        ("target={kind='existing'}", "target: Input tag 'existing' found"),
        ("sampling.by_category={copy=-1}", "by_category: 'copy' must not be negative"),
        ("split={kind='given', seed=1}", "split.seed: there is no such field"),
    ],
)
def test_a_bad_field_is_named_with_its_value(override, message):
    with pytest.raises(BadInput) as problem:
        fusion(load_recipe("demo", [override]))
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(("field", "kind"), [("pairs", "math"), ("records", "best-correct")])
def test_a_rule_about_correctness_needs_checks(tmp_path, field, kind):
    recipe = str(write_recipe(tmp_path))
    with pytest.raises(BadInput, match=f"{field}.kind: '{kind}' needs checks of the responses"):
        load_recipe(recipe, [f"{field}={{kind='{kind}'}}"])


def test_a_missing_recipe_names_the_shipped_ones():
    with pytest.raises(BadInput, match=r"no shipped recipe.*demo"):
        load_recipe("nosuch")


def test_a_recipe_that_is_no_toml_says_where(tmp_path):
    (tmp_path / "broken.toml").write_text('name = "x"\nseed = =\n')
    with pytest.raises(BadInput, match=r"not TOML.*line 2"):
        load_recipe(str(tmp_path / "broken.toml"))


def test_the_seed_changes_every_seeded_stage_and_how_changes_none():
    addresses = lambda *overrides: {step.address for step in lineage(fusion(load_recipe("demo", overrides)))}
    assert not addresses() & addresses("seed=99")
    assert addresses() == addresses("how.sampling.batch_size=3", "how.wrpo.device_batch_size=4")


def test_an_engine_and_what_is_said_of_a_source_change_no_address():
    addresses = lambda *overrides: [step.address for step in lineage(fusion(load_recipe("demo", overrides)))]
    said = ("sources.mirror.licence=free", "sources.mirror.context=8192", "sources.mirror.notes=none")
    assert addresses() == addresses("how.engines.mirror={kind='vllm'}", *said)
    how = {
        step.label: step.how.kind
        for step in lineage(fusion(load_recipe("demo", ["how.engines.SFT={kind='vllm'}"])))
        if step.title == "per-model sampling"
    }
    assert how["per-model sampling · SFT model"] == "vllm" and how["per-model sampling · mirror"] == "transformers"


def test_responses_that_a_set_holds_are_a_source_and_no_opponent():
    chain = {
        step.label: step for step in lineage(fusion(load_recipe("demo", ["sources.mirror.model={kind='existing'}"])))
    }
    assert "per-model sampling · mirror" in chain and "evaluation · answers of mirror" not in chain
    assert chain["evaluation · results"].what.opponents == ("sorter", "roller")


def test_the_papers_sources_are_sampled_as_published():
    assert len(load_recipe("wrpo-llama3-8b").sources) == 10
    sources = {source.name: source for source in load_recipe("fusechat3-llama3.1-8b").sources}
    asked = {name: source.sampling.by_category for name, source in sources.items()}
    assert all(
        by["coding"] == 8 and by["mathematics"] == 0
        for name, by in asked.items()
        if "math" not in name and by["coding"]
    )
    assert asked["qwen2-5-72b"]["Chinese"] == 1 and asked["gemma2-27b"]["Chinese"] == 0
    assert asked["llama3-1-405b-existing"]["coding"] == 0 and not sources["llama3-1-405b-existing"].answers
    qwen = sources["qwen2-5-72b"].sampling
    assert (qwen.temperature, qwen.top_p, qwen.repetition_penalty, qwen.n) == (0.7, 0.8, 1.05, 5)
    assert all(source.licence and source.context for source in sources.values() if source.answers)


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(BadInput, match="is taken"):
        recipe = load_recipe("demo")
        load_recipe("demo", [f"sources.0.name='{recipe.sources[1].name}'"])


def dpo(pair):
    return f"wrpo={{objective='dpo', pair='{pair}', learning_rate=1e-4, batch_size=16, max_length=64}}"


def inputs_of(title, *overrides):
    (step,) = [step for step in lineage(fusion(load_recipe("demo", overrides))) if step.label == title]
    return {name: [item.label for item in items] for name, items in step.inputs.items() if items}


def test_pairs_read_only_what_their_rule_asks_for():
    """A source that no rule names, or an SFT model whose responses none reads, must not change the pairs' address."""
    every = [f"per-model sampling · {name}" for name in ("mirror", "sorter", "roller")]
    assert inputs_of("pairs")["responses"] == every and "own_responses" in inputs_of("pairs")
    assert inputs_of("pairs", "pairs.sources=['roller', 'mirror']")["responses"] == [every[0], every[2]]
    assert "responses" not in inputs_of("pairs", "pairs={kind='on-policy'}", dpo("own"))
    assert "own_responses" not in inputs_of("pairs", "pairs={kind='same-source'}", dpo("sources"))
    assert "responses" not in inputs_of("SFT records", "records={kind='given'}")


def test_pairs_come_before_the_split_where_it_counts_them():
    split = "split={kind='by-category', held_out=0.1, sft=0.4, pairable=['copy']}"
    both = (split, "pairs={kind='same-source'}", dpo("sources"))
    assert inputs_of("splitting", *both)["pairs"] == ["pairs · before splitting"]
    assert "splits" not in inputs_of("pairs · before splitting", *both)
    assert "pairs" not in inputs_of("splitting")


def test_the_checks_of_a_recipe_judge_the_held_out_answers_of_every_model(tmp_path):
    recipe = load_recipe("demo", ["evaluation.collectives=[{name='best', model={kind='best-by-reward'}}]"])
    (evaluation,) = fusion(recipe).inputs["evaluation"]
    answers, checks = (evaluation.inputs[name] for name in ("answers", "checks"))
    assert len(answers) == 7 and recipe.checks.kind == "exact"
    for said, checked in zip(answers, checks, strict=True):
        assert checked.inputs["responses"] == (said,) and checked.what == recipe.checks
        assert checked.inputs["model"] == said.inputs.get("model", (said,))
    (without,) = fusion(load_recipe(str(write_recipe(tmp_path)))).inputs["evaluation"]
    assert without.inputs["checks"] == ()
