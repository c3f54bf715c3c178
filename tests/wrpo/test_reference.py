"""The stored reference: the numbers of one plain forward each, one file for every objective, and refused if it is wrong."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, TrainingArguments

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.records import LOG_PROB, PREFERENCE_RECORD, content_id, learned_id
from tasks.stage import How, Step, What, lineage, stage
from tasks.tokens import prompt_ids, response_ids
from tasks.training.arguments import training_arguments
from tasks.training.lora import add_adapter, without_adapter
from tasks.wrpo.batches import encode_pairs
from tasks.wrpo.layout_trial import make_ready
from tasks.wrpo.preference import from_job
from tasks.wrpo.settings import ROLES, ReferenceSettings
from tasks.wrpo.stage import WRPOHow, compute_reference, distinct_responses
from tasks.wrpo.trainer import WrpoTrainer
from tasks.wrpo.verify_reference import ROUNDING, VerifyReference, compare_differences, join_reference, rows_digest
from tests import tiny
from tests.wrpo.references import log_probs, stored
from tests.wrpo.test_trainer import RECORDS, trained

ODD = [  # a record of two roles, of four, and two roles with the same words
    RECORDS[0] | {"source_best": None},
    RECORDS[1] | {"source_worst": "never"},
    RECORDS[2] | {"own_best": RECORDS[2]["source_best"]},
    *RECORDS[3:],
]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("start"))


def plainly(start, records) -> dict[str, tuple[float, int]]:
    """One forward in float64 for each response, full softmax."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(start).double(), tiny.tokenizer()
    found = {}
    for record in records:
        before = prompt_ids(tokenizer, record["messages"])
        for role in ROLES:
            if (text := record.get(role)) is not None:
                cut_off = record.get(f"{role}_finish_reason") == "length"
                after = response_ids(tokenizer, text)[: -1 if cut_off else None]
                with torch.no_grad():
                    seen = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
                value = seen.gather(1, torch.tensor(after)[:, None]).sum().item()
                found[learned_id(record["prompt_id"], text, cut_off)] = value, len(after)
    return found


@pytest.mark.parametrize("how", [{}, {"layout": "padded"}, {"device_batch_size": 5}])
def test_a_log_prob_sums_a_response_and_its_end_once_per_response(how, start, tmp_path):
    found, expected = log_probs(stored(start, ODD, tmp_path, **how)), plainly(start, ODD)
    assert found.keys() == expected.keys() and len(found) == 3 * len(ODD) - 1
    for response, (value, tokens) in expected.items():
        assert found[response] == (pytest.approx(value, rel=1e-5), tokens)


CUT = [  # the same words once cut off and once not, and a response of which nothing is left
    RECORDS[0] | {"own_worst_finish_reason": "length"},
    RECORDS[1] | {"own_worst": RECORDS[1]["own_best"], "own_worst_finish_reason": "length"},
    RECORDS[2] | {"source_best_finish_reason": "length", "own_best_finish_reason": "stop"},
    RECORDS[3] | {"own_worst_finish_reason": "length"},
    *RECORDS[4:],
]


def test_a_cut_off_response_has_no_end_in_reference_and_training(start, tmp_path):
    kept = [record for record in CUT if record["own_worst"]]
    assert log_probs(stored(start, CUT, tmp_path)) == {
        response: (pytest.approx(value, rel=1e-5) if tokens else None, tokens)
        for response, (value, tokens) in plainly(start, CUT).items()
    }
    summary, steps = trained(start, tmp_path / "trained", records=CUT, batch_size=8)
    assert (summary["cut_off"], summary["left_out"], summary["rows"]) == (3, 1, len(kept))
    for role in ROLES[:3]:
        sums = plainly(
            start, [{name: record[name] for name in record if name not in {*ROLES} - {role}} for record in kept]
        )
        assert steps[0][f"log_prob_{role}"] == pytest.approx(np.mean([value for value, _ in sums.values()]), rel=1e-5)


def test_a_finished_response_keeps_its_stored_row():
    """Its identity is what it was, so rows that were made before are found."""
    assert learned_id("p", "said", cut_off=False) == content_id("p", "said") != learned_id("p", "said", cut_off=True)


def chain(*changes: str) -> dict[str, Step]:
    return {step.label: step for step in lineage(fusion(load_recipe("demo", changes)))}


LABEL = "WRPO · reference log-probs"


def test_objectives_and_lora_share_one_reference():
    plain = chain()
    others = [
        ["wrpo.beta=0.7", "wrpo.alpha=0.2"],
        ["wrpo.learning_rate=1e-5", "wrpo.epochs=5", "wrpo.batch_size=32", "wrpo.seed=9"],
        ["wrpo.lora.rank=4", "wrpo.lora.alpha=8.0"],
        ["wrpo.schedule.kind=cosine", "wrpo.log_probs=mean"],
        ["how.wrpo.layout=padded", "how.wrpo.device_batch_size=4"],
    ]
    for changes in others:
        assert chain(*changes)[LABEL].address == plain[LABEL].address
        assert chain(*changes)["WRPO"].address != plain["WRPO"].address or "how" in changes[0]


@pytest.mark.parametrize("kind", ["wrpo-ipo", "dpo", "ipo"])
def test_another_form_of_objective_shares_it(kind, tmp_path):
    assert chain_of(kind, tmp_path)[LABEL].address == chain()[LABEL].address


@pytest.mark.parametrize("kind", ["wrpo-simpo", "simpo"])
def test_simpo_has_none_in_its_chain(kind, tmp_path):
    assert LABEL not in chain_of(kind, tmp_path)


def chain_of(kind: str, folder) -> dict[str, Step]:
    from flows.config.loading import SHIPPED

    text = (
        (SHIPPED / "demo.toml")
        .read_text()
        .replace('objective = "wrpo"\nbeta = 2.0\nalpha = 0.9', f'objective = "{kind}"')
    )
    (folder / "other.toml").write_text(text)
    return {step.label: step for step in lineage(fusion(load_recipe(str(folder / "other.toml"))))}


@pytest.mark.parametrize(
    "change", ["wrpo.precision=bf16", "wrpo.max_length=63", "sft.learning_rate=1e-3", "pairs.margin=0.5"]
)
def test_what_changes_the_numbers_makes_another_reference(change):
    assert chain(change)[LABEL].address != chain()[LABEL].address


def spoilt(file, change) -> str:
    table = pq.read_table(file, schema=LOG_PROB).to_pandas()
    change(table)
    pq.write_table(pa.Table.from_pandas(table, LOG_PROB, preserve_index=False), file)
    return str(file)


def run(start, folder, monkeypatch, change) -> None:
    from tasks.wrpo import verify_reference as joined

    whole = joined.join_reference
    monkeypatch.setattr("tasks.wrpo.train.join_reference", lambda rows, files, roles: whole(
        rows, [spoilt(file, change) for file in files], roles))  # fmt: skip
    trained(start, folder)


def test_a_reference_of_other_weights_is_refused_with_its_row(start, tmp_path, monkeypatch):
    def shift(table):
        table["log_prob"] -= table["tokens"] * 3e-4

    message = r"reference: prompt 000\d: log pi_ref of \w+_best is stored as -\d+\.\d{6} and computed as -\d+\.\d{6}; rounding"
    with pytest.raises(BadInput, match=message):
        run(start, tmp_path, monkeypatch, shift)
    assert not (tmp_path / "out/model").exists()


def test_rounding_is_let_pass(start, tmp_path, monkeypatch):
    def shift(table):
        table["log_prob"] += 1e-4 * (-1.0) ** np.arange(len(table)) * np.sqrt(table["tokens"])

    run(start, tmp_path, monkeypatch, shift)


def seen(sigma: float, shift: float, seed: int) -> list:
    """What is found of eight rows whose tokens are rounded by so much each, and shifted by so much."""
    dice = np.random.default_rng(seed)
    lengths = dice.integers(20, 600, size=24)
    return [("p", "own_best", n, 0.0, dice.normal(shift * n, sigma * np.sqrt(n))) for n in lengths.tolist()]


def test_in_bf16_what_rounding_does_passes_and_a_small_shift_is_found():
    for seed in range(300):
        compare_differences(seen(0.075, 0.0, seed), ROUNDING["bf16"])
        with pytest.raises(BadInput, match=r"reference: .* rounding allows"):
            compare_differences(seen(0.075, 0.012, seed), ROUNDING["bf16"])  # 0.02 was let pass before, at any length


@pytest.mark.parametrize("seed", range(3))
def test_a_right_reference_in_bf16_passes_in_every_layout_and_batch(seed, tmp_path):
    start = tiny.save(tiny.llama(seed=seed, layers=6), tmp_path / "start")
    for number, how in enumerate([{}, {"layout": "padded"}, {"device_batch_size": 4}]):
        trained(start, tmp_path / str(number), precision="bf16", how=how, max_steps=1)


def test_a_reference_of_no_number_is_refused(start, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="is stored as inf"):
        run(start, tmp_path, monkeypatch, lambda table: table.__setitem__("log_prob", float("inf")))


def test_a_reference_over_other_tokens_or_without_a_response_is_refused(start, tmp_path, monkeypatch):
    def cut(table):
        table.loc[2, "tokens"] += 1

    with pytest.raises(BadInput, match=r"prompt \w+: \w+ has (\d+) tokens, but \d+ are stored"):
        run(start, tmp_path / "cut", monkeypatch, cut)
    with pytest.raises(BadInput, match="tokens, but no are stored"):
        run(start, tmp_path / "gone", monkeypatch, lambda table: table.drop(3, inplace=True))


def trainer_of(model, rows, folder) -> WrpoTrainer:
    what = {"objective": {"kind": "wrpo"}, "learning_rate": 1e-3, "epochs": 1, "batch_size": 8, "warmup_ratio": 0.0}
    how = {"device_batch_size": 8, "gradient_checkpointing": False}
    job = {"what": what | {"max_steps": None, "precision": "fp32"}, "how": how, "seed": 1}
    args = training_arguments(TrainingArguments, job, len(rows), folder, remove_unused_columns=False)
    make_ready(without_adapter(model), rows, 0, "padded")
    return WrpoTrainer(model=model, args=args, rows=rows, preference=from_job(what, seed=1), pad_id=0, layout="padded")


def verify(trainer, folder, resume=None) -> None:
    state = SimpleNamespace(global_step=1 if resume else 0, is_world_process_zero=True)
    VerifyReference(trainer, "fp32", 1, folder, resume).on_train_begin(trainer.args, state, None)


def joined(start, folder) -> list[dict]:
    rows, _ = encode_pairs(RECORDS, tiny.tokenizer(), 64)
    join_reference(rows, [str(stored(start, RECORDS, folder))], ROLES[:3])
    return rows


def with_adapter(start):
    model = add_adapter(AutoModelForCausalLM.from_pretrained(start), {"rank": 4, "alpha": 32.0, "targets": []}, seed=1)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value.data)
    return model


def test_the_reference_is_the_model_without_its_adapter(start, tmp_path):
    rows, model = joined(start, tmp_path), with_adapter(start)
    trainer = trainer_of(model, rows, tmp_path)
    verify(trainer, tmp_path)
    trainer.model = trainer.model_wrapped = model.merge_and_unload()
    with pytest.raises(BadInput, match="is stored as"):
        verify(trainer, tmp_path)


def test_after_a_resume_an_adapter_s_reference_is_computed_anew(start, tmp_path):
    rows = joined(start, tmp_path)
    trainer = trainer_of(with_adapter(start), rows, tmp_path)
    verify(trainer, tmp_path)
    verify(trainer, tmp_path, resume=tmp_path)
    for row in rows:
        row["reference"] -= 0.1
    verify_digest_of(rows, tmp_path)
    with pytest.raises(BadInput, match="is stored as"):
        verify(trainer, tmp_path, resume=tmp_path)


def verify_digest_of(rows, folder) -> None:
    """As if the checkpoint had been trained against these very rows."""
    (folder / "along/reference.json").write_text(json.dumps({"sha256": rows_digest(rows)}))


def test_a_resumed_policy_needs_its_own_reference(start, tmp_path):
    rows, model = joined(start, tmp_path), AutoModelForCausalLM.from_pretrained(start)
    trainer = trainer_of(model, rows, tmp_path)
    verify(trainer, tmp_path)
    model.model.embed_tokens.weight.data *= 1.1  # trained: the model can no longer tell
    verify(trainer, tmp_path, resume=tmp_path)
    rows[3]["reference"][1] += 1e-4
    with pytest.raises(BadInput, match=r"trained with log-probs of sha256 \w{12}, but these have \w{12}"):
        verify(trainer, tmp_path, resume=tmp_path)


@stage("stand-in model", version="1")
def tiny_model(run, what: What, how: How) -> None:
    tiny.folder(run.folder / "model")


@stage("stand-in pairs", version="1")
def few_pairs(run, what: What, how: How) -> None:
    table = pa.Table.from_pylist([dict.fromkeys(PREFERENCE_RECORD.names) | row for row in ODD], PREFERENCE_RECORD)
    pq.write_table(table, run.folder / "pairs.parquet")


@stage("stand-in pairs of another rule", version="1")
def other_pairs(run, what: What, how: How) -> None:
    rows = [dict.fromkeys(PREFERENCE_RECORD.names) | row | {"own_worst": row["own_worst"] + "!"} for row in ODD]
    pq.write_table(pa.Table.from_pylist(rows, PREFERENCE_RECORD), run.folder / "pairs.parquet")


def test_the_stage_computes_each_response_once_for_all_pairs_that_hold_it(workplace, start):
    made = [
        compute_reference(LABEL, model=tiny_model(what=What()), pairs=pairs(what=What()),
                          what=ReferenceSettings(max_length=64, precision="fp32"), how=WRPOHow(device_batch_size=2))
        for pairs in (few_pairs, other_pairs)
    ]  # fmt: skip
    first, second = (workplace.made(step).counts for step in made)
    assert first["rows_made"] == first["rows"] == len(plainly(start, ODD))
    assert second["rows_made"] == len(ODD) and second["rows_found"] == second["rows"] - len(ODD)
    table = workplace.table(made[0], "reference.parquet")
    assert list(table["content_id"]) == sorted(plainly(start, ODD))
    assert table["tokens"].sum() == first["tokens"]


def test_responses_to_too_long_prompts_are_counted_without_number(workplace):
    made = lambda length: compute_reference(
        LABEL, model=tiny_model(what=What()), pairs=few_pairs(what=What()),
        what=ReferenceSettings(max_length=length, precision="fp32"), how=WRPOHow(device_batch_size=2))  # fmt: skip
    table, counts = workplace.table(made(23), "reference.parquet"), workplace.made(made(23)).counts
    assert counts["left_out"] == (table["tokens"] == 0).sum() == table["log_prob"].isna().sum() > 0
    with pytest.raises(BadInput, match=r"max_length: 9 is too short: the prompts of all"):
        workplace.made(made(9))


def test_responses_of_a_prompt_stand_together_and_once():
    found = distinct_responses(pd.DataFrame([dict.fromkeys(PREFERENCE_RECORD.names) | row for row in ODD]))
    assert list(found["prompt_id"]) == sorted(found["prompt_id"]) and found["content_id"].is_unique
