"""Sampling: the distribution, the nucleus, each row's own noise, greedy decoding, and where an answer ends."""

import itertools
import math
import random
from collections import Counter

import pandas as pd
import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from infra.errors import BadInput
from tasks.records import content_id
from tasks.responses.settings import Sampling
from tasks.responses.stage import list_wanted, row_seed
from tasks.responses.transformers_program import sample_batch
from tasks.responses.transformers_sampling import SeededChoice
from tasks.tokens import prompt_ids
from tests import tiny

PLAIN = {"top_k": 0, "repetition_penalty": 1.0, "max_new_tokens": 24}
GREEDY = {**PLAIN, "temperature": 0.0, "top_p": 1.0}
SAMPLED = {**PLAIN, "temperature": 1.0, "top_p": 0.95}
QUESTIONS = ("a", "what is it?", "sort: hgfedcba", "x" * 30, "why", "no?")


def rows(*questions: str, seed: int = 0) -> list[dict]:
    return [
        {
            "prompt_id": f"id of {question}",
            "sample_index": 0,
            "seed": row_seed(seed, "model", question, 0),
            "messages": [{"role": "user", "content": question}],
        }
        for question in questions
    ]


def choices(logits: list[float], noise: list[float], temperature: float, top_p: float) -> list[int]:
    """What SeededChoice takes at these places of the noise."""
    choice = SeededChoice([0] * len(noise), 3, temperature, top_p, 1)
    choice.noise = torch.tensor(noise, dtype=torch.float64).unsqueeze(-1)
    scores = torch.tensor([logits] * len(noise))
    return choice(torch.zeros((len(noise), 3), dtype=torch.long), scores).argmax(-1).tolist()


def naive_nucleus(logits: list[float], temperature: float, top_p: float) -> dict[int, float]:
    """The smallest set of likeliest tokens whose mass reaches top_p, renormalised."""
    weights = [math.exp(value / temperature) for value in logits]
    kept, mass = {}, 0.0
    for token in sorted(range(len(logits)), key=lambda token: (-weights[token], token)):
        if mass >= top_p:
            break
        kept[token] = weights[token] / sum(weights)
        mass += kept[token]
    return {token: share / mass for token, share in kept.items()}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_tokens_come_as_often_as_softmax_with_temperature_says(temperature):
    logits, draws = torch.tensor([1.2, -0.3, 0.0, 2.0, 0.7, -1.0]), 20_000
    seeds = [row_seed(7, "model", "prompt", index) for index in range(draws)]
    step = SeededChoice(seeds, 5, temperature, 1.0, 3)
    expected = torch.softmax(logits.double() / temperature, -1) * draws
    for place in range(3):  # at every step of an answer, not only the first
        chosen = step(torch.zeros((draws, 5 + place), dtype=torch.long), logits.expand(draws, -1)).argmax(-1)
        seen = torch.bincount(chosen, minlength=6)
        assert ((seen - expected) ** 2 / expected).sum() < 25.7  # chi-square, 5 degrees of freedom: 1 in 10,000


def test_a_row_s_steps_are_independent_of_each_other():
    draws = 20_000
    step = SeededChoice([row_seed(7, "model", "prompt", index) for index in range(draws)], 5, 1.0, 1.0, 2)
    one, other = (
        step(torch.zeros((draws, 5 + place), dtype=torch.long), torch.zeros(draws, 2)).argmax(-1) for place in (0, 1)
    )
    assert abs(int((one == other).sum()) - draws / 2) < 5 * math.sqrt(draws / 4)


def test_the_nucleus_is_the_smallest_set_whose_mass_reaches_top_p():
    source, grid = random.Random(3), [(place + 0.5) / 4000 for place in range(4000)]
    for _ in range(60):
        logits = [float(torch.tensor(source.gauss(0, 1))) for _ in range(12)]
        temperature, top_p = source.choice((0.7, 1.0, 1.5)), source.uniform(0.05, 0.98)
        expected = naive_nucleus(logits, temperature, top_p)
        seen = Counter(choices(logits, grid, temperature, top_p))
        assert set(seen) == set(expected)
        assert all(abs(seen[token] / 4000 - share) < 1 / 1000 for token, share in expected.items())


@pytest.mark.parametrize(
    ("top_p", "size"), [(0.1, 1), (0.25, 1), (0.2501, 2), (0.5, 2), (0.75, 3), (0.76, 4), (1.0, 4)]
)
def test_a_mass_that_reaches_top_p_exactly_is_enough(top_p, size):
    """Four equal tokens have a quarter each, exactly; the extreme ends of the noise stay inside."""
    noise = [0.0, *(place / 64 for place in range(64)), 1 - 2**-53]
    assert set(choices([0.0] * 4, noise, 1.0, top_p)) == set(range(size))


def test_a_token_of_no_probability_is_never_chosen():
    minus = float("-inf")
    assert set(choices([minus, 0.0, minus, 0.0], [0.0, 0.3, 0.6, 1 - 2**-53], 1.0, 1.0)) == {1, 3}


def test_a_row_is_answered_alike_alone_in_any_batch_and_in_any_order():
    model, tokenizer = tiny.llama().eval(), tiny.tokenizer()
    alone = [sample_batch(model, tokenizer, [row], SAMPLED)[0] for row in rows(*QUESTIONS)]
    together = sample_batch(model, tokenizer, rows(*QUESTIONS), SAMPLED)
    reversed_ = sample_batch(model, tokenizer, rows(*QUESTIONS)[::-1], SAMPLED)[::-1]
    others = sample_batch(model, tokenizer, rows("another", "y" * 50, *QUESTIONS[:3]), SAMPLED)[2:]
    assert together == alone and reversed_ == alone and others == alone[:3]
    assert len({made["text"] for made in alone}) == len(alone)


def test_samples_of_a_prompt_share_its_computation_exactly():
    model, tokenizer = tiny.llama().eval(), tiny.tokenizer()
    asked = [
        {**row, "sample_index": index, "seed": row_seed(1, "model", row["prompt_id"], index)}
        for row in rows("a", "what is it?", "x" * 30)
        for index in range(4)
    ]
    alone = [sample_batch(model, tokenizer, [row], SAMPLED)[0] for row in asked]
    read = []
    model.model.embed_tokens.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].shape))
    assert sample_batch(model, tokenizer, asked, SAMPLED) == alone
    assert read[0] == (3, 33) and read[1] == (12, 1)  # every prompt once, then a token of each sample
    mixed = [asked[place] for place in (7, 0, 9, 4, 1, 11)]
    assert sample_batch(model, tokenizer, mixed, SAMPLED) == [alone[place] for place in (7, 0, 9, 4, 1, 11)]


def test_top_p_counts_among_the_likeliest_k_tokens():
    logits, grid = [3.0, 2.0, 1.0, 0.0], [(place + 0.5) / 4000 for place in range(4000)]
    noise = torch.tensor(grid, dtype=torch.float64).unsqueeze(-1)
    weights = [math.exp(value) for value in logits[:2]]
    for top_p, expected in ((1.0, {0: weights[0] / sum(weights), 1: weights[1] / sum(weights)}), (0.7, {0: 1.0})):
        choice = SeededChoice([0] * 4000, 3, 1.0, top_p, 1, top_k=2)
        choice.noise = noise
        made = choice(torch.zeros((4000, 3), dtype=torch.long), torch.tensor([logits] * 4000)).argmax(-1).tolist()
        seen = Counter(made)
        assert set(seen) == set(expected)
        assert all(abs(seen[token] / 4000 - share) < 1 / 1000 for token, share in expected.items())


def test_a_repetition_penalty_ignores_padding():
    model, tokenizer = tiny.llama(seed=2).eval(), tiny.tokenizer()
    penalised = {**GREEDY, "repetition_penalty": 1.3}
    made = sample_batch(model, tokenizer, rows(*QUESTIONS), penalised)
    assert made != sample_batch(model, tokenizer, rows(*QUESTIONS), GREEDY)
    for row, found in zip(rows(*QUESTIONS), made, strict=True):
        ids = torch.tensor([prompt_ids(tokenizer, row["messages"])])
        config = GenerationConfig(
            max_new_tokens=24, do_sample=False, repetition_penalty=1.3, eos_token_id=5, pad_token_id=0
        )
        alone = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, ids.shape[1] :]
        assert found["text"] == tokenizer.decode(alone, skip_special_tokens=True)


def test_a_prompt_that_the_template_refuses_is_a_row():
    from tasks.responses.token_rows import Reader

    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + tiny.TEMPLATE
    row = {"prompt_id": "f00d", "sample_index": 0, "seed": 1, "messages": [{"role": "system", "content": "be brief"}]}
    said = Reader(tiny.tokenizer(template=refuses), 64, 8)(row)
    assert said["text"] == "" and said["finish_reason"] == "refused: the template refuses it: no system role"


def test_a_prompt_gets_the_rest_of_the_context_or_says_why_not():
    from tasks.responses.token_rows import Reader, TokenRequest

    read, tokenizer = Reader(tiny.tokenizer(), 16, 8), tiny.tokenizer()
    short, tight, long = (read(row) for row in rows("abc", "a" * 10, "a" * 12))
    assert isinstance(short, TokenRequest) and (len(short.ids), short.room) == (7, 8)
    assert isinstance(tight, TokenRequest) and (len(tight.ids), tight.room) == (14, 2)
    assert long["finish_reason"] == "refused: too long: 16 tokens, context 16" and long["tokens"] == 0
    from tasks.responses.transformers_program import generate_answers

    made = generate_answers(tiny.llama().eval(), tokenizer, [short, tight], GREEDY)
    assert [one["tokens"] for one in made] == [8, 2] and made[1]["finish_reason"] == "length"


def test_another_seed_gives_another_answer():
    model, tokenizer = tiny.llama().eval(), tiny.tokenizer()
    one, other = (sample_batch(model, tokenizer, rows("what?", seed=seed), SAMPLED)[0]["text"] for seed in (0, 1))
    assert one != other


def test_eight_samples_extend_five():
    prompts = pd.DataFrame({"prompt_id": ["p", "q"], "length": [1, 3]})
    keys = lambda n: {tuple(row) for row in list_wanted(prompts.assign(n=n), Sampling(n=n, seed=3), "model").values}
    five, eight = keys(5), keys(8)
    assert len(five) == 10 and len(eight) == 16 and five < eight


def test_runs_models_prompts_and_indices_each_have_seeds_of_their_own():
    everything = list(itertools.product((0, 1), ("m", "n"), ("p", "q", "p1"), range(12)))
    assert len({row_seed(*one) for one in everything}) == len(everything)


def test_greedy_takes_the_likeliest_token_each_time():
    model, tokenizer = tiny.llama(seed=4).eval(), tiny.tokenizer()
    made = sample_batch(model, tokenizer, rows(*QUESTIONS), GREEDY)
    for row, found in zip(rows(*QUESTIONS), made, strict=True):
        ids = prompt_ids(tokenizer, row["messages"])
        start = len(ids)
        while len(ids) - start < 24 and 5 not in ids[start:]:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert found["text"] == tokenizer.decode(ids[start:], skip_special_tokens=True)
        assert (found["prompt_tokens"], found["tokens"]) == (start, len(ids) - start)


def scripted(follows: dict[str, str], own_end: int | list[int] | None) -> LlamaForCausalLM:
    """A Llama whose next token follows from the last one alone: nothing but embedding and head, both written by hand."""
    vocabulary = tiny.tokenizer().get_vocab()
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(len(vocabulary), 128))
        for last, following in follows.items():
            model.lm_head.weight[vocabulary[following], vocabulary[last]] = 1.0
    model.generation_config = GenerationConfig(eos_token_id=own_end)
    return model


HELLO = {"<assistant>": "h", "h": "i", "i": "<end>", "<end>": "h"}


@pytest.mark.parametrize("temperature", [0.0, 0.1])
@pytest.mark.parametrize("own_end", [None, 2, [2, 3]])
def test_an_answer_ends_at_the_templates_end_token(own_end, temperature):
    what = {**PLAIN, "temperature": temperature, "top_p": 1.0, "max_new_tokens": 9}
    made = sample_batch(scripted(HELLO, own_end), tiny.tokenizer(), rows("say it"), what)[0]
    assert (made["text"], made["finish_reason"], made["tokens"]) == ("hi", "stop", 3)
    assert made["prompt_tokens"] == len("say it") + 4 and made["content_id"] == content_id("id of say it", "hi")


def test_the_models_own_end_token_ends_an_answer_too():
    follows = {"<assistant>": "h", "h": "i", "i": "<eos>", "<eos>": "h"}
    made = sample_batch(scripted(follows, 2), tiny.tokenizer(), rows("say it"), GREEDY)[0]
    assert (made["text"], made["finish_reason"], made["tokens"]) == ("hi", "stop", 3)


@pytest.mark.parametrize(("room", "text", "reason", "tokens"), [(2, "hi", "length", 2), (3, "hi", "stop", 3)])
def test_an_answer_that_has_no_room_for_its_end_token_was_cut(room, text, reason, tokens):
    made = sample_batch(scripted(HELLO, None), tiny.tokenizer(), rows("a", "bcd"), {**GREEDY, "max_new_tokens": room})
    assert {(one["text"], one["finish_reason"], one["tokens"]) for one in made} == {(text, reason, tokens)}


@pytest.mark.parametrize(
    "own",
    [
        {"repetition_penalty": 1.3},  # as Qwen's models have it
        {"top_k": 3, "top_p": 0.3, "temperature": 0.3, "do_sample": True},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 20},
        {"num_beams": 3},
        {"max_time": 0.001},
        {"stop_strings": ["a"]},
        {"prompt_lookup_num_tokens": 2},
    ],
)
def test_a_models_own_sampling_defaults_decide_nothing(own):
    tokenizer = tiny.tokenizer()
    for what in (GREEDY, SAMPLED):
        model, opinionated = tiny.llama(seed=2).eval(), tiny.llama(seed=2).eval()
        opinionated.generation_config = GenerationConfig(eos_token_id=[5], **own)
        made = [sample_batch(each, tokenizer, rows(*QUESTIONS), what) for each in (model, opinionated)]
        assert made[0] == made[1]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_numbers_are_refused(temperature):
    model = scripted(HELLO, None)
    with torch.no_grad():
        model.lm_head.weight[40] = float("nan")
    with pytest.raises(BadInput, match="not finite numbers"):
        sample_batch(model, tiny.tokenizer(), rows("say it"), {**SAMPLED, "temperature": temperature})
