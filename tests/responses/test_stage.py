"""Which rows a model is asked for, and what is left of them: by category, out of the data set, in order, streamed."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import BadInput, SourceFailed
from tasks.records import PROMPT, RESPONSE, content_id
from tasks.responses.engines import EndpointEngine, Transformers, Vllm
from tasks.responses.sampled_prompts import select_prompts
from tasks.responses.settings import Sampling
from tasks.responses.stage import response_rows
from tasks.rows import pool
from tests.responses.steps import ids, model, sampled
from tests.responses.stub import Stub, serving

TEXTS = ("code a", "code b", "chat a", "chat b", "chat c", "maths a")


def engine(stub: Stub) -> EndpointEngine:
    return EndpointEngine(kind="endpoint", urls=(stub.url,), model="m", part_seconds=0)


def served(stub: Stub, **fields):
    return sampled(engine(stub), TEXTS, model(kind="served"), **fields)


def numbers(table: pd.DataFrame) -> dict[str, int]:
    """How many responses the prompts of each category have."""
    name = {prompt: text.split()[0] for text, prompt in ids(TEXTS).items()}
    sizes = table.groupby("prompt_id").size()
    found = {prompt: int(sizes.get(prompt, 0)) for prompt in name}
    return {kind: number for prompt, number in found.items() for kind in [name[prompt]]}


def test_each_category_is_asked_as_often_as_stated(workplace):
    with serving(Stub()) as stub:
        table = workplace.table(served(stub, n=2, by_category={"code": 3, "maths": 0}), "responses.parquet")
        assert numbers(table) == {"code": 3, "chat": 2, "maths": 0}
        assert len(stub.asked) == len(table) == 12
        more = workplace.made(served(stub, n=3))
        assert (more.counts["rows_found"], more.counts["rows_made"]) == (12, 6)
    assert len({body["seed"] for body in stub.asked}) == 18


def test_a_category_that_no_prompt_has_is_named(workplace):
    with pytest.raises(BadInput, match="no prompt has the category 'Code'; the categories are 'chat', 'code', 'maths'"):
        workplace.made(served(Stub(url="http://127.0.0.1:9/v1"), by_category={"Code": 8}))


def test_a_category_that_is_all_in_another_part_of_the_split_is_no_mistake(tmp_path):
    turns = {name: [{"role": "user", "content": name}] for name in ("chat", "code")}
    rows = [{"prompt_id": name, "messages": messages, "category": name} for name, messages in turns.items()]
    pq.write_table(pa.Table.from_pylist(rows, PROMPT), tmp_path / "prompts.parquet")
    pd.DataFrame({"prompt_id": ["chat", "code"], "part": ["sft", "preference"]}).to_parquet(tmp_path / "splits.parquet")
    what = Sampling(seed=1, by_category={"chat": 8}).on("preference")
    asked = select_prompts(tmp_path / "prompts.parquet", tmp_path / "splits.parquet", what)
    assert asked[["prompt_id", "length", "n"]].values.tolist() == [["code", 4, 5]]


def test_existing_responses_are_a_source_without_sampling(workplace):
    given = ("print(1)", "", "hello", "hi", "hey", "4")
    step = sampled(Transformers(), TEXTS, model(kind="existing"), given, by_category={"chat": 0})
    table = workplace.table(step, "responses.parquet")
    expected = {ids(TEXTS)[text]: text_ for text, text_ in zip(TEXTS, given, strict=True) if "chat" not in text}
    assert dict(zip(table["prompt_id"], table["text"], strict=True)) == expected
    assert table["prompt_id"].is_monotonic_increasing and set(table["engine"]) == {"existing"}
    assert table["content_id"].tolist() == [content_id(row.prompt_id, row.text) for row in table.itertuples()]
    assert table["tokens"].isna().all()
    assert not workplace.store.parts(step.pool) and "program_seconds" not in workplace.made(step).counts


def test_prompts_without_any_response_are_no_source(workplace):
    with pytest.raises(BadInput, match=r"none of the 6 prompts has a response"):
        workplace.made(sampled(Transformers(), TEXTS, model(kind="existing")))


def refusing(workplace, what: str):
    """A model whose template refuses prompts that hold this."""
    from tests import tiny

    folder = tiny.folder(workplace.folder / f"refuses {what}")
    rule = "{% if 'WHAT' in messages[0].content %}{{ raise_exception('not that') }}{% endif %}".replace("WHAT", what)
    tiny.tokenizer(template=rule + tiny.TEMPLATE).save_pretrained(folder)
    return model(str(folder))


def test_a_refused_prompt_is_a_row_and_others_are_answered(workplace):
    step = sampled(Transformers(), TEXTS, refusing(workplace, "maths"))
    refused = workplace.table(step, "refused.parquet")
    assert set(refused["prompt_id"]) == {ids(TEXTS)["maths a"]} and len(refused) == 2
    assert set(refused["finish_reason"]) == {"refused: the template refuses it: not that"}
    assert len(workplace.table(step, "responses.parquet")) == 10


def test_a_model_that_answers_no_prompt_has_failed_and_says_why(workplace):
    step = sampled(Transformers(), TEXTS, refusing(workplace, "maths"), by_category={"code": 0, "chat": 0})
    with pytest.raises(
        SourceFailed, match=r"none of 2 rows is a response; the first row was refused: the template .* not that"
    ):
        workplace.made(step)


def test_rows_know_neither_their_engine_nor_how_many_they_are():
    inputs = {"model": [model()]}
    identity = lambda **fields: str(response_rows(Sampling(seed=1, **fields), inputs))
    assert identity() == identity(n=8) == identity(by_category={"code": 2}) == identity(parts=("sft",))
    assert len({identity(), identity(top_k=5), identity(repetition_penalty=1.05), identity(temperature=0.1)}) == 4
    steps = [sampled(how) for how in (Transformers(), Vllm(kind="vllm"), Transformers(workers=3))]
    assert len({step.address for step in steps}) == len({step.pool for step in steps}) == 1


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_pools_extract_is_sorted_in_any_amount_of_memory(workplace, monkeypatch, size):
    monkeypatch.setattr(pool, "BUCKET", size)
    with serving(Stub()) as stub:
        workplace.made(served(stub, n=2))  # two runs: the pool's parts are in no order, and one is not asked for again
        step = served(stub, n=3, by_category={"maths": 0})
        table = workplace.table(step, "responses.parquet")
    rows = pool.read_pool(workplace.run(step), step.pool, ["prompt_id", "sample_index"])
    plain = rows[rows["prompt_id"] != ids(TEXTS)["maths a"]].sort_values(["prompt_id", "sample_index"])
    assert len(table) == 15
    pd.testing.assert_frame_equal(table, plain.reset_index(drop=True)[RESPONSE.names], check_dtype=False)
