"""A prompt computed once for all its responses: the scores are those of the plain way, and where it cannot be, it is not."""

import random

import numpy as np
import pytest
import torch
from transformers import LlamaForSequenceClassification, LlamaModel

from infra.errors import OutOfMemory
from tasks.scores import reading
from tasks.scores.conversation import Conversations
from tasks.scores.grouping import even_lists, group_by_prompt
from tests import tiny
from tests.scores import armo
from tests.scores.scoring import scored
from tests.test_tokens import KINDS, TURNS, of_kind

PAIRS = (("(", "<"), (")", ">"))
MERGING = (  # a template without special tokens, whose words grow into a response's
    "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def classifier(path, template: str = tiny.TEMPLATE):
    config = tiny.llama().config
    config.num_labels = 1
    torch.manual_seed(11)
    LlamaForSequenceClassification(config).save_pretrained(path)
    tiny.tokenizer(template=template).save_pretrained(path)
    return path


def rows(prompts: int, responses: int, seed: int = 0) -> list[dict]:
    """Prompts and responses of many lengths; some prompts with one response alone."""
    draw = random.Random(seed)
    words = lambda most: "".join(draw.choice("abcdefgh ") for _ in range(draw.randint(1, most)))
    made = []
    for prompt in range(prompts):
        messages = [{"role": "user", "content": words(120)}]
        for number in range(responses if prompt % 4 else 1):
            made.append({"content_id": f"{prompt}-{number}", "messages": messages, "text": words(80)})
    return made


@pytest.mark.parametrize("kind", ["sequence-classifier", "armorm"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_shared_prompts_score_as_padded_rows(tmp_path, kind, batch_size):
    model = armo.save(tmp_path / "model") if kind == "armorm" else classifier(tmp_path / "model")
    asked = rows(12, 6)
    shared, summary = scored(model, tmp_path / "shared", asked, batch_size, kind=kind)
    padded, other = scored(model, tmp_path / "padded", asked, 5, "padded", kind=kind)
    assert (summary["layout"], other["layout"]) == ("shared-prompt", "padded")
    assert summary["tokens_made"] == other["tokens_made"] and summary["read_apart"] == 0
    assert all(shared[key]["score"] == pytest.approx(padded[key]["score"], abs=1e-4) for key in padded)
    assert np.std([row["score"] for row in padded.values()]) > 0.02


def test_a_prompt_is_fed_once_however_many_responses_it_has(tmp_path, monkeypatch):
    """Counted in the backbone's own forwards."""
    fed = []
    whole, on = reading.read_whole, reading.go_on
    monkeypatch.setattr(
        reading, "read_whole", lambda *given: (fed.append(sum(len(t.ids) for t in given[1])), whole(*given))[1]
    )
    monkeypatch.setattr(reading, "go_on", lambda *given: (fed.append(sum(map(len, given[-1]))), on(*given))[1])
    model, asked = classifier(tmp_path / "model"), [row for row in rows(12, 6) if not row["content_id"].endswith("x")]
    scored(model, tmp_path / "padded", asked, layout="padded")
    all_tokens, fed[:] = sum(fed), []
    scored(model, tmp_path / "shared", asked)
    tried = 6  # texts that are read both ways first
    assert sum(fed) < 0.75 * all_tokens + tried * 250


def test_tokens_that_cross_the_prompts_end_are_read_together(tmp_path):
    tokenizer = tiny.tokenizer(template=MERGING)
    tokenizer.add_tokens([": y", "n\n"])
    model = classifier(tmp_path / "model")
    large = LlamaForSequenceClassification.from_pretrained(model)
    large.resize_token_embeddings(len(tokenizer))
    large.save_pretrained(model)
    tokenizer.save_pretrained(model)
    asked = [
        {"content_id": f"{number}", "messages": [{"role": "user", "content": "why?"}], "text": text}
        for number, text in enumerate(["maybe", "yes", "x", "yonder", "then"])
    ]
    found, summary = scored(model, tmp_path / "out", asked)
    assert (summary["layout"], summary["read_apart"]) == ("shared-prompt", 2)
    loaded = LlamaForSequenceClassification.from_pretrained(model).eval()
    for row in asked:
        turns = [*row["messages"], {"role": "assistant", "content": row["text"]}]
        ids = tokenizer("<bos>" + tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)[
            "input_ids"
        ]
        with torch.no_grad():
            assert found[row["content_id"]]["score"] == pytest.approx(
                loaded(torch.tensor([ids])).logits.item(), abs=1e-5
            )


def test_a_layout_that_would_give_other_scores_is_not_used(tmp_path, monkeypatch):
    """As if a model's attention read its cache wrongly: seen on the first rows, before any score is kept."""
    right = reading.go_on

    def wrong(backbone, layers, mask, which, rest):
        return right(backbone, [(keys * 1.05, values) for keys, values in layers], mask, which, rest)

    monkeypatch.setattr(reading, "go_on", wrong)
    model, asked = classifier(tmp_path / "model"), rows(6, 4)
    found, summary = scored(model, tmp_path / "out", asked)
    assert summary["layout"] == "padded"
    monkeypatch.undo()
    assert found == scored(model, tmp_path / "padded", asked, layout="padded")[0]


THINKING = tiny.TEMPLATE.replace("{{ turn.content }}", "{{ turn.content.split('</think>')[-1] | trim }}")


@pytest.mark.parametrize("template", [tiny.TEMPLATE, THINKING, armo.TEMPLATE, MERGING])
@pytest.mark.parametrize("text", ["", "plain", "  spaces  ", "a <thought></think> then", "words\n\n"])
def test_a_text_is_what_the_template_writes_for_the_whole_conversation(template, text):
    tokenizer = tiny.tokenizer(template=template)
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "3"},
    ]
    read = Conversations(tokenizer)(turns, text)
    written = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": text}], tokenize=False)
    ids = tokenizer(written.removeprefix("<bos>"), add_special_tokens=False)["input_ids"]
    assert read.ids == [1, *ids]
    assert read.ids[: read.prompt] == Conversations(tokenizer)(turns, "another").ids[: read.prompt]


@pytest.mark.parametrize("spelled", [False, True])
@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_the_whole_conversation_in_tokenizers_of_other_kinds_too(kind, swallows, spelled):
    """Some put a space before a text that is encoded alone. A word that spells a special token is read as the letters it
    is made of: what it says between other signs is read so anyway."""
    tokenizer = of_kind(kind, swallows)
    sign = "<|end|>" if spelled else "(|end|)"
    for text in (f"{sign}", f"so {sign} it is", f"{sign} \nand{sign}{sign}", f"  {sign}  "):
        read = Conversations(tokenizer)(TURNS, text)
        plain = tokenizer.apply_chat_template(
            [*TURNS, {"role": "assistant", "content": text.replace("<|end|>", "(|end|)")}], tokenize=False
        )
        ids = tokenizer(plain.removeprefix("<bos>"), add_special_tokens=False)["input_ids"]
        letters = {tokenizer.convert_tokens_to_ids(one): tokenizer.convert_tokens_to_ids(other) for one, other in PAIRS}
        assert read.ids == [tokenizer.bos_token_id, *(letters.get(one, one) if spelled else one for one in ids)]
        assert read.ids[: read.prompt] == Conversations(tokenizer)(TURNS, "another").ids[: read.prompt] and read.shared


def test_even_batches_are_no_larger_than_asked_and_of_about_one_size():
    for count in range(40):
        for size in (1, 3, 7, 64):
            lists = list(even_lists(list(range(count)), size))
            assert [item for some in lists for item in some] == list(range(count))
            assert not lists or max(map(len, lists)) <= size
            assert len(lists) == -(-count // size)


def test_every_text_is_read_once_alone_or_with_its_prompts_others():
    conversations = Conversations(tiny.tokenizer())
    texts = [conversations(row["messages"], row["text"]) for row in rows(9, 5)]
    alone, groups = group_by_prompt(texts, 8, 65_536)
    groups = list(groups)
    assert sorted([*alone, *(index for some in groups for index in some)]) == list(range(len(texts)))
    prompts = [{texts[index].prompt_ids for index in some} for some in groups]
    assert all(not one & other for place, one in enumerate(prompts) for other in prompts[:place])
    assert max(map(len, prompts)) == 2


@pytest.mark.parametrize("layout", ["shared-prompt", "padded"])
def test_no_batch_has_more_tokens_than_the_recipe_allows(tmp_path, monkeypatch, layout):
    """Counted in the backbone's own forwards, padding included; the scores are those of batches by rows alone."""
    model, asked, widest = classifier(tmp_path / "model"), rows(12, 6), []
    forward = LlamaModel.forward

    def seen(self, input_ids=None, **parts):
        widest.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **parts)

    monkeypatch.setattr(LlamaModel, "forward", seen)
    whole, _ = scored(model, tmp_path / "whole", asked, 64, layout)
    limit = 6 * max(row["tokens"] for row in whole.values())  # as many as the trial of a layout reads
    assert max(widest) > limit
    widest.clear()
    small, _ = scored(model, tmp_path / "small", asked, 64, layout, batch_tokens=limit)
    assert max(widest) <= limit
    assert all(small[key]["score"] == pytest.approx(whole[key]["score"], abs=1e-4) for key in whole)


@pytest.mark.parametrize("layout", ["shared-prompt", "padded"])
def test_a_batch_too_large_for_memory_is_read_in_halves(tmp_path, monkeypatch, caplog, layout):
    model, asked, failed = classifier(tmp_path / "model"), rows(12, 6), []
    whole, _ = scored(model, tmp_path / "whole", asked, 64, layout)
    forward = LlamaModel.forward

    def short_of_memory(self, input_ids=None, **parts):
        if len(input_ids) > 7:
            failed.append(len(input_ids))
            raise torch.OutOfMemoryError("tried to allocate too much")
        return forward(self, input_ids=input_ids, **parts)

    monkeypatch.setattr(LlamaModel, "forward", short_of_memory)
    halved, summary = scored(model, tmp_path / "halved", asked, 32, layout)
    assert halved.keys() == whole.keys() and summary["batches_halved"] == len(failed) in range(1, 8)
    assert all(halved[key]["score"] == pytest.approx(whole[key]["score"], abs=1e-4) for key in whole)
    assert (
        "out of memory with 32 responses at the same time: batches have half the size" in caplog.text
        or layout == "shared-prompt"
    )


def test_one_response_that_is_too_large_for_memory_ends_the_step(tmp_path, monkeypatch):
    model, asked, forward = classifier(tmp_path / "model"), rows(12, 3), LlamaModel.forward
    asked[-1]["text"] = "a" * 300

    def short_of_memory(self, input_ids=None, **parts):
        if input_ids.shape[1] > 300:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return forward(self, input_ids=input_ids, **parts)

    monkeypatch.setattr(LlamaModel, "forward", short_of_memory)
    with pytest.raises(OutOfMemory, match=r"out of memory with a single response: lower .*scoring.max_length"):
        scored(model, tmp_path / "out", asked, 4, "padded")
