"""Rewards: batches against single rows, against transformers' own forward; what is cut says so; no reward model, no score."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

from infra.errors import BadInput
from tests import tiny
from tests.scores.scoring import scored

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


def scores(model, out, batch_size: int, max_length: int = 512, **what) -> dict[str, dict]:
    rows = [{"content_id": f"{n}", "messages": turns(n), "text": text} for n, text in enumerate(TEXTS)]
    return scored(model, out, rows, batch_size, max_length=max_length, **what)[0]


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
    """But where no token of the response is left there is no score of it."""
    model = reward_model(tmp_path / "model")
    limit = 30
    found = scores(model, tmp_path / "all", len(TEXTS), limit)
    for number, text in enumerate(TEXTS):
        ids, row = whole_ids(number, text), found[f"{number}"]
        if (prompt := len(whole_ids(number, "")) - 1) >= limit:
            assert row["score"] is None and not row["truncated"]
            assert row["reason"] == f"the prompt has {prompt} tokens, of at most {limit}"
        else:
            assert (row["tokens"], row["truncated"]) == (min(len(ids), limit), len(ids) > limit)
            assert row["score"] == pytest.approx(forward(model, ids[:limit]), abs=1e-5) and row["reason"] is None
    assert {(row["score"] is None, row["truncated"]) for row in found.values()} == {
        (False, False),
        (False, True),
        (True, False),
    }


def test_what_is_longer_than_the_limit_may_be_skipped_and_its_row_says_why(tmp_path):
    model = reward_model(tmp_path / "model")
    limit = len(whole_ids(2, TEXTS[2]))
    found, whole = (
        scores(model, tmp_path / name, 2, length, too_long="skip") for name, length in (("some", limit), ("all", 512))
    )
    for number, text in enumerate(TEXTS):
        row, length = found[f"{number}"], len(whole_ids(number, text))
        assert not row["truncated"]
        if length > limit:
            assert (row["score"], row["reason"]) == (None, f"{length} tokens, of at most {limit}")
        else:
            assert row["score"] == pytest.approx(whole[f"{number}"]["score"], abs=1e-6)
    assert {row["score"] is None for row in found.values()} == {True, False}


def test_a_score_that_is_no_number_stops_the_program_and_names_its_row(tmp_path):
    model = reward_model(tmp_path / "model")
    broken = LlamaForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        broken.model.embed_tokens.weight[tiny.tokenizer().get_vocab()["z"]] = float("nan")
    broken.save_pretrained(model)
    with pytest.raises(BadInput, match="the score of content 4 is nan"):
        scores(model, tmp_path / "out", 1)
    assert len(list((tmp_path / "out").glob("part-*"))) == 4, "what was scored before it is kept"


def test_a_tokenizer_without_a_pad_token_scores_the_same(tmp_path):
    with_pad = scores(reward_model(tmp_path / "padded"), tmp_path / "one", len(TEXTS))
    without = scores(reward_model(tmp_path / "bare", pad=False), tmp_path / "other", len(TEXTS))
    assert {key: row["score"] for key, row in with_pad.items()} == {key: row["score"] for key, row in without.items()}


def test_a_classifier_with_two_labels_is_no_reward_model(tmp_path):
    with pytest.raises(BadInput, match=r"has 2 labels, but a reward model has exactly 1"):
        scores(reward_model(tmp_path / "model", labels=2), tmp_path / "out", 2)


def test_a_model_without_a_score_head_is_refused(tmp_path):
    model = tiny.llama()
    model.config.num_labels = 1
    with pytest.raises(BadInput, match=r"lacks weights that .* needs: score\.weight"):
        scores(tiny.save(model, tmp_path / "model"), tmp_path / "out", 2)
