"""Models whose positions depend on the longest row of a batch: trained, measured and sampled so that no row sees another."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import LlamaForCausalLM

from infra.errors import BadInput
from tasks.program import Progress
from tasks.responses.stage import row_seed
from tasks.responses.transformers_program import generate
from tests import tiny
from tests.sft.test_train import trained as sft_trained
from tests.wrpo.references import stored
from tests.wrpo.test_trainer import RECORDS
from tests.wrpo.test_trainer import trained as wrpo_trained

LIMIT = 28
KINDS = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 8,
        "long_factor": [1.0 + 3 * number for number in range(8)],
        "original_max_position_embeddings": LIMIT,
        "factor": 4.0,
    },
}


@pytest.fixture(scope="module", params=KINDS)
def start(request, tmp_path_factory):
    """Beyond 28 tokens its positions follow from the longest row."""
    config = tiny.llama().config
    config.rope_parameters = KINDS[request.param] | {"rope_theta": 10000.0}
    config.max_position_embeddings = LIMIT if request.param == "dynamic" else 4 * LIMIT
    return tiny.save(LlamaForCausalLM(config), tmp_path_factory.mktemp(request.param))


def test_rows_beyond_the_limit_are_refused_with_the_setting_that_helps(start, tmp_path):
    message = rf"max_length: the longest row has \d+ tokens.* beyond {LIMIT} tokens.*{LIMIT}"
    with pytest.raises(BadInput, match=f"wrpo.{message}"):
        stored(start, RECORDS, tmp_path / "reference")
    with pytest.raises(BadInput, match=f"wrpo.{message}"):
        wrpo_trained(start, tmp_path / "wrpo", objective={"kind": "simpo"})
    with pytest.raises(BadInput, match=f"sft.{message}"):
        sft_trained(start, tmp_path / "sft")


def test_rows_within_the_limit_are_learned(start, tmp_path):
    wrpo_trained(start, tmp_path / "wrpo", max_length=LIMIT)
    sft_trained(start, tmp_path / "sft", max_length=LIMIT)


def sampled(start, folder, questions: list[str], batch_size: int) -> dict[str, str]:
    """Prompt id -> text, by the program."""
    folder.mkdir()
    prompts = [{"prompt_id": one, "messages": [{"role": "user", "content": one}]} for one in questions]
    rows = [
        {"prompt_id": one, "sample_index": index, "seed": row_seed(0, "m", one, index)}
        for one in questions
        for index in range(2)
    ]
    for name, table in (("prompts", prompts), ("rows", rows)):
        pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")
    what = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "max_new_tokens": 12}
    how = {"batch_size": batch_size, "part_seconds": 1e9, "batches_per_part": 100}
    job = {"model": str(start), "what": what, "how": how, "threads": 1}
    generate(job | {name: str(folder / f"{name}.parquet") for name in ("rows", "prompts")}, folder, Progress(folder))
    found = [row for part in folder.glob("part-*") for row in pq.read_table(part).to_pylist()]
    assert len(found) == len(rows)
    return {f"{row['prompt_id']} {row['sample_index']}": row["text"] for row in found}


def test_a_response_does_not_depend_on_the_rows_beside_it(start, tmp_path):
    """Some rows stay within the limit, some cross it, and of a model that reads more some begin beyond it."""
    questions = ["a", "w" * 22, "why", "x" * 14, "sort: hgfedcba", "y" * 30, "no?", "z" * 35]
    alone = {}
    for number, question in enumerate(questions):
        alone |= sampled(start, tmp_path / str(number), [question], 1)
    assert sampled(start, tmp_path / "together", questions, 16) == alone
    assert sampled(start, tmp_path / "otherwise", questions[::-1], 3) == alone


def test_the_doctor_says_what_becomes_of_long_rows(start):
    from tasks.doctor.examine import findings

    lengths = {"max_new_tokens": 12, "context": 0, "scored": 0}
    told = {"name": "m", "folder": str(start), "origin": "here", "answers": True, "classifies": False, **lengths}
    for trained, red in ((LIMIT, False), (LIMIT + 1, True), (0, False)):
        (said,) = [one for one in findings(told | {"trained": trained}, []) if one.check == "positions"]
        assert said.red == red and f"beyond {LIMIT} tokens" in said.text
    kind = json.loads((start / "config.json").read_text())["rope_parameters"]["rope_type"]
    assert kind in said.text
