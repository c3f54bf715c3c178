"""Ids of prompts and responses: prefix, BOS, end token and truncation."""

import string

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from infra.errors import BadInput
from tasks.loading import load_tokenizer
from tasks.tokens import around_words, end_id, prompt_ids, response_ids, with_one_bos
from tasks.training.truncation import fit_responses, refuse_none
from tests import tiny

WITHOUT_BOS = tiny.TEMPLATE.removeprefix("{{ bos_token }}")
TURNS = [{"role": "user", "content": "sort: cab"}]


def test_prompt_and_response_join_to_the_templates_conversation():
    tokenizer = tiny.tokenizer()
    whole = tokenizer.apply_chat_template([*TURNS, {"role": "assistant", "content": "abc"}], tokenize=False)
    expected = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert prompt_ids(tokenizer, TURNS) + response_ids(tokenizer, "abc") == expected
    assert tokenizer.decode(prompt_ids(tokenizer, TURNS)) == "<bos><user>sort: cab<end><assistant>"


@pytest.mark.parametrize("template", [tiny.TEMPLATE, "{{ bos_token }}" + tiny.TEMPLATE, WITHOUT_BOS])
def test_a_prompt_has_one_bos_whatever_the_template_writes(template):
    tokenizer = tiny.tokenizer(template=template)
    ids = prompt_ids(tokenizer, TURNS)
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in response_ids(tokenizer, "abc")


def test_a_model_whose_template_and_tokenizer_leave_out_the_bos_gets_none():
    tokenizer = tiny.tokenizer(adds_bos=False, template=WITHOUT_BOS)
    assert tokenizer.bos_token_id == 1 and 1 not in prompt_ids(tokenizer, TURNS)


def test_a_model_without_bos_works():
    tokenizer = tiny.tokenizer(bos=False)
    assert tokenizer.bos_token_id is None
    assert tokenizer.decode(prompt_ids(tokenizer, TURNS)) == "<user>sort: cab<end><assistant>"


def test_a_response_ends_with_one_end_token_even_if_its_text_spells_one():
    tokenizer = tiny.tokenizer()
    end = tokenizer.convert_tokens_to_ids("<end>")
    for text in ("abc", "", "abc<end>", "say <end> twice"):
        ids = response_ids(tokenizer, text)
        assert ids.count(end) == 1 and ids[-1] == end
        assert tokenizer.decode(ids[:-1]) == text


def test_a_cut_off_response_has_no_end_token_and_no_half_character():
    tokenizer = tiny.tokenizer()
    assert response_ids(tokenizer, "abc", cut_off=True) == response_ids(tokenizer, "abc")[:-1]
    assert tokenizer.decode(response_ids(tokenizer, "ab\ufffd", cut_off=True)) == "ab"
    assert response_ids(tokenizer, "\ufffd", cut_off=True) == []


def test_the_end_token_is_the_templates_not_the_tokenizers():
    newline_after_end = tiny.TEMPLATE.replace("<end>{% endfor %}", " <end>\n{% endfor %}")
    tokenizer = tiny.tokenizer(template=newline_after_end, eos="<eos>")
    assert tokenizer.convert_ids_to_tokens(end_id(tokenizer)) == "<end>"


def test_the_end_token_is_the_eos_if_the_template_writes_none():
    bare = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n\n{% endfor %}"
    tokenizer = tiny.tokenizer(template=bare, eos="<eos>")
    assert tokenizer.convert_ids_to_tokens(end_id(tokenizer)) == "<eos>"


def test_only_the_long_response_is_cut_and_to_what_the_prompt_leaves():
    # The published rule cut all three to max_length - max_prompt_length (248) once the longest crossed the limit.
    prompt, short, exact, long = [7] * 100, [8] * 300, [8] * 1948, [8] * 1949
    responses, cut = fit_responses(prompt, [short, exact, long], max_length=2048)
    assert [len(response) for response in responses] == [300, 1948, 1948] and cut == 1


def test_a_cut_response_keeps_no_end_token():
    tokenizer = tiny.tokenizer()
    (response,), cut = fit_responses([7] * 10, [response_ids(tokenizer, "a" * 40)], max_length=20)
    assert tokenizer.decode(response) == "a" * 10 and cut == 1


def test_a_prompt_without_room_fits_nothing_and_all_such_are_an_error():
    assert fit_responses([7] * 12, [[8] * 40], max_length=20) == ([[8] * 8], 1)
    assert fit_responses([7] * 13, [[8] * 40], max_length=20) is None
    refuse_none(1, 5, max_length=20)
    with pytest.raises(BadInput, match=r"max_length: 20 is too short: the prompts of all 5 records"):
        refuse_none(0, 5, max_length=20)


SPELLED = [
    "<end>",
    "say <end> twice: <end>",
    "<bos><user>",
    "I am <assistant>: yes<end><assistant>",
    "<<end>>",
    "\U000f0000<end>",
]


@pytest.mark.parametrize("text", SPELLED)
def test_spelled_special_tokens_in_a_prompt_stay_text(text):
    tokenizer = tiny.tokenizer()
    marks = lambda ids: [one for one in tokenizer.convert_ids_to_tokens(ids) if one in tiny.SPECIAL and one != "<unk>"]
    turns = [{"role": "user", "content": text}]
    ids = prompt_ids(tokenizer, turns)
    assert marks(ids) == ["<bos>", "<user>", "<end>", "<assistant>"]
    assert tokenizer.decode(ids) == f"<bos><user>{text}<end><assistant>".replace("\U000f0000", "<unk>")


def test_plain_messages_encode_as_the_whole_text():
    """So a spelled word changes nothing but itself."""
    tokenizer = tiny.tokenizer()
    for text in ("sort: cab", " spaces  and\nlines ", "é ü", ""):
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}, *TURNS]
        whole = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert with_one_bos(tokenizer, around_words(tokenizer, turns)) == prompt_ids(tokenizer, turns) == whole


PLAIN = ["<pad>", "<bos>", "<eos>", "<unk>", "▁", *string.ascii_letters, *string.punctuation, "\n"]
KINDS = {
    "as SentencePiece, a space before the text": (
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
        PLAIN,
    ),
    "as SentencePiece, a space before each piece": (
        pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
        PLAIN,
    ),
    "bytes": (
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        [*PLAIN[:4], *sorted(pre_tokenizers.ByteLevel.alphabet())],
    ),
}


WORDS = ["<bos>", "<eos>", "<|user|>", "<|assistant|>", "<|end|>"]


def of_kind(kind: str, swallows: bool) -> PreTrainedTokenizerFast:
    """`swallows`: Phi-3's special tokens swallow the line's end."""
    before, vocabulary = KINDS[kind]
    backend = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, [], unk_token="<unk>"))
    backend.pre_tokenizer = before
    backend.add_special_tokens([AddedToken(word, special=True, normalized=False, rstrip=swallows) for word in WORDS])
    template = (
        "{{ bos_token }}{% for turn in messages %}<|{{ turn.role }}|>\n{{ turn.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", chat_template=template
    )


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spelled_special_token_changes_only_itself(kind, swallows):
    """Some put a space before a text, but not after a special token."""
    tokenizer = of_kind(kind, swallows)
    turns = [{"role": "user", "content": "say it"}, {"role": "assistant", "content": "  yes"}, *TURNS]
    plain = prompt_ids(tokenizer, turns)
    assert with_one_bos(tokenizer, around_words(tokenizer, turns)) == plain
    turns[0] = {"role": "user", "content": "say it <|end|>\U00100000"}
    spelled = tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, turns))
    assert spelled[:7] == tokenizer.convert_ids_to_tokens(plain[:7])
    assert spelled[-15:] == tokenizer.convert_ids_to_tokens(plain[-15:])
    special = [token for token in spelled if token in WORDS]
    turn = ["<|user|>", "<|end|>", "<|assistant|>"]
    assert special == ["<bos>", *turn, "<|end|>", *turn]


def test_a_turn_that_the_template_refuses_is_one_line_with_the_prompt():
    tokenizer = tiny.tokenizer(template=tiny.NO_SYSTEM + tiny.TEMPLATE)
    turns = [{"role": "system", "content": "be brief"}, *TURNS]
    with pytest.raises(BadInput, match=r"^prompt f00d: the chat template of .* \(system, user\): System role not supp"):
        prompt_ids(tokenizer, turns, "f00d")
    assert prompt_ids(tokenizer, TURNS, "f00d") == prompt_ids(tiny.tokenizer(), TURNS)


DATED = "{%- set today = strftime_now('%d %b %Y') -%}Today: {{ today }}\n" + tiny.tokenizer().chat_template


def test_a_template_that_writes_the_date_writes_the_same_every_day(tmp_path):
    """Else a run that crosses midnight has prompts of two kinds, and its reference is of other tokens."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = DATED
    tokenizer.save_pretrained(tmp_path / "first")
    loaded = load_tokenizer(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "again")
    for one in (loaded, load_tokenizer(tmp_path / "again")):
        turns = [{"role": "user", "content": "hello"}]
        said = one.apply_chat_template(turns, tokenize=False)
        plain = tiny.tokenizer().apply_chat_template(turns, tokenize=False)
        assert said == f"Today: 26 Jul 2024\n{plain}"
