"""Rewards: batches against single rows, against transformers' own forward; what is cut says so; no reward model, no score."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from infra.errors import BadInput
from tasks.records import SCORE
from tasks.scores.score import score

TEXTS = ("", "a", "abc", "it spells <end> and <user> out", "z" * 60, "Hello, world! " * 4)


def reward_model(path, labels: int = 1, pad: bool = True):
    config = tiny.llama().config
    config.num_labels, config.pad_token_id = labels, 0 if pad else None
    torch.manual_seed(11)
    LlamaForSequenceClassification(config).save_pretrained(path)
    tokenizer = tiny.tokenizer()
    if not pad:
        tokenizer.pad_token = None
    tokenizer.save_pretrained(path)
    return path


def turns(number: int) -> list[dict]:
    return [{"role": "user", "content": "why? " * (number + 1)}]


def scores(model, out, batch_size: int, max_length: int = 512) -> dict[str, dict]:
    """By content id, as the program leaves them."""
    out.mkdir()
    rows = [{"content_id": f"{n}", "messages": turns(n), "text": text} for n, text in enumerate(TEXTS)]
    file = out / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    job = {
        "model": str(model),
        "rows": str(file),
        "what": {"max_length": max_length},
        "how": {"batch_size": batch_size, "batches_per_part": 1},
        "threads": 1,
    }
    score(job, out, lambda done, total: None)
    found = [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part, schema=SCORE).to_pylist()]
    assert [row["content_id"] for row in found] == [row["content_id"] for row in rows]
    return {row["content_id"]: row for row in found}


def whole_ids(number: int, text: str) -> list[int]:
    """The conversation in the template's words, one id per character; special tokens only where the template puts them."""
    ids = tiny.tokenizer().get_vocab()
    words = ["<bos>", "<user>", *turns(number)[0]["content"], "<end>", "<assistant>", *text, "<end>"]
    return [ids[word] for word in words]


def forward(model, ids: list[int]) -> float:
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    return loaded(torch.tensor([ids])).logits.item()


def test_many_at_once_score_as_one_at_a_time(tmp_path):
    model = reward_model(tmp_path / "model")
    together, alone = scores(model, tmp_path / "all", len(TEXTS)), scores(model, tmp_path / "one", 1)
    assert together.keys() == alone.keys()
    assert all(abs(together[key]["score"] - alone[key]["score"]) < 1e-6 for key in alone)
    assert len({row["score"] for row in alone.values()}) == len(TEXTS)


def test_a_score_is_the_models_logit_at_the_end_of_the_conversation(tmp_path):
    model = reward_model(tmp_path / "model")
    found = scores(model, tmp_path / "all", len(TEXTS))
    for number, text in enumerate(TEXTS):
        ids = whole_ids(number, text)
        assert found[f"{number}"]["score"] == pytest.approx(forward(model, ids), abs=1e-5)
        assert (found[f"{number}"]["tokens"], found[f"{number}"]["truncated"]) == (len(ids), False)


def test_what_is_longer_than_the_limit_is_cut_at_its_end_and_says_so(tmp_path):
    model = reward_model(tmp_path / "model")
    limit = len(whole_ids(2, TEXTS[2]))
    found = scores(model, tmp_path / "all", len(TEXTS), limit)
    for number, text in enumerate(TEXTS):
        ids = whole_ids(number, text)
        row = found[f"{number}"]
        assert (row["tokens"], row["truncated"]) == (min(len(ids), limit), len(ids) > limit)
        assert row["score"] == pytest.approx(forward(model, ids[:limit]), abs=1e-5)
    assert {row["truncated"] for row in found.values()} == {True, False}


def test_a_tokenizer_without_a_pad_token_scores_the_same(tmp_path):
    with_pad = scores(reward_model(tmp_path / "padded"), tmp_path / "one", len(TEXTS))
    without = scores(reward_model(tmp_path / "bare", pad=False), tmp_path / "other", len(TEXTS))
    assert {key: row["score"] for key, row in with_pad.items()} == {key: row["score"] for key, row in without.items()}


def test_a_classifier_with_two_labels_is_no_reward_model(tmp_path):
    with pytest.raises(BadInput, match=r"has 2 labels, a reward model has 1"):
        scores(reward_model(tmp_path / "model", labels=2), tmp_path / "out", 2)


def test_a_model_without_a_score_head_is_refused_rather_than_given_a_random_one(tmp_path):
    model = tiny.llama()
    model.config.num_labels = 1
    with pytest.raises(BadInput, match=r"lacks weights that .* needs: score\.weight"):
        scores(tiny.save(model, tmp_path / "model"), tmp_path / "out", 2)
