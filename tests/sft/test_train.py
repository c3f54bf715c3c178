"""The SFT program: what the loss sees, and a job means one set of weights."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from infra.errors import BadInput
from tasks.program import Progress
from tasks.records import SFT_RECORD
from tasks.sft.packing import pack_samples
from tasks.sft.train import encode_records, main
from tasks.tokens import prompt_ids, response_ids
from tests import tiny

TEXTS = [("sort: cab", "abc"), ("copy: q", "q"), ("shift: hello there", "ifmmp"), ("reverse: xyz", "zyx, I think so")]
MORE = [*TEXTS, ("copy: ab", "ab"), ("sort: ba", "ab"), ("copy: long words", "long words"), ("reverse: 12", "21")]


def record(prompt: str, response: str, finish_reason: str | None = None) -> dict:
    messages = [{"role": "user", "content": prompt}]
    said = {"response": response, "source": "s", "score": 1.0, "finish_reason": finish_reason}
    return {"prompt_id": prompt, "messages": messages, **said}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("start"))


def job(start, folder, texts=TEXTS, seed=7, device_batch_size=2, **what) -> dict:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([record(*text) for text in texts], schema=SFT_RECORD), folder / "sft.parquet")
    what = {
        "learning_rate": 1e-3, "epochs": 1, "batch_size": 4, "max_length": 64, "warmup_ratio": 0.0, "max_steps": None,
        "precision": "fp32"
    } | what  # fmt: skip
    how = {
        "device_batch_size": device_batch_size, "gradient_checkpointing": False, "checkpoint_steps": 0
    }  # fmt: skip
    records = [str(folder / "sft.parquet")]
    return {"model": str(start), "records": records, "what": what, "how": how, "seed": seed, "threads": 1}


def trained(start, folder, **change) -> dict:
    settings = job(start, folder, **change)
    (folder / "out").mkdir()
    return main(settings, folder / "out", Progress(folder / "out"))


def weights(folder) -> str:
    return hashlib.sha256((folder / "out/model/model.safetensors").read_bytes()).hexdigest()


def cross_entropy_over_responses(start, texts) -> float:
    """Mean over all response tokens of the batch, from one plain forward per example."""
    model = AutoModelForCausalLM.from_pretrained(start)
    tokenizer = AutoTokenizer.from_pretrained(start)
    nats, tokens = 0.0, 0
    for prompt, response, *finish_reason in texts:
        before = prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
        after = response_ids(tokenizer, response)[: -1 if finish_reason == ["length"] else None]
        with torch.no_grad():
            log_probs = model(torch.tensor([before + after])).logits[0].double().log_softmax(-1)
        nats -= sum(log_probs[len(before) - 1 + place, token].item() for place, token in enumerate(after))
        tokens += len(after)
    return nats / tokens


def test_the_first_loss_is_the_cross_entropy_of_the_responses(start, tmp_path):
    summary = trained(start, tmp_path)
    assert summary["steps"] == 1 and summary["rows"] == 4
    assert summary["loss_first"] == pytest.approx(cross_entropy_over_responses(start, TEXTS), rel=1e-5)


@pytest.mark.parametrize("form", ["completion", "packed"])
def test_a_response_that_was_cut_off_is_learned_without_an_end(form, start, tmp_path):
    texts = [("copy: abcd", "abc", "length"), *TEXTS[:3], ("copy: q", "", "length")]  # of the last there is nothing
    summary = trained(start, tmp_path, texts=texts, form=form, max_length=512)
    if form == "completion":
        assert summary["loss_first"] == pytest.approx(cross_entropy_over_responses(start, texts[:4]), rel=1e-5)
    else:
        fed = sum(4 + len(prompt) + len(response) + 1 for prompt, response, *_ in texts[:4])
        assert summary["tokens"] == fed - 1
    assert (summary["cut_off"], summary["left_out"]) == (1, 1)


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """A mixture of experts whose configuration asks for the router's auxiliary loss, as Mixtral's does."""
    like = tiny.llama().config
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    more = ("num_key_value_heads", "initializer_range", "max_position_embeddings")
    config = MixtralConfig(
        **{name: getattr(like, name) for name in sizes + more},
        num_local_experts=4,
        output_router_logits=True,
        router_aux_loss_coef=0.5,
    )
    torch.manual_seed(0)
    return tiny.save(MixtralForCausalLM(config), tmp_path_factory.mktemp("experts"))


def test_a_mixture_of_experts_learns_the_responses_and_nothing_else(experts, tmp_path):
    """The router's auxiliary loss depends on the batch of a device, which is not hashed, and no recipe asks for it."""
    expected = cross_entropy_over_responses(experts, TEXTS)
    one, four = (trained(experts, tmp_path / str(size), device_batch_size=size, epochs=3) for size in (1, 4))
    assert one["loss_first"] == pytest.approx(expected, rel=1e-5) == four["loss_first"]
    assert one["loss_last"] == pytest.approx(four["loss_last"], rel=1e-4)
    config = json.loads((tmp_path / "4/out/model/config.json").read_text())
    assert (config["output_router_logits"], config["router_aux_loss_coef"]) == (True, 0.5)


def test_a_job_done_twice_gives_the_same_weights_whatever_the_device_batch(start, tmp_path):
    for name, change in {"one": {}, "two": {}, "other seed": {"seed": 8}}.items():
        trained(start, tmp_path / name, texts=MORE, **change)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    assert weights(tmp_path / "one") != weights(tmp_path / "other seed")
    split = trained(start, tmp_path / "split", texts=MORE, device_batch_size=1)
    steps = pq.read_table(tmp_path / "one/out/steps.parquet").to_pylist()
    assert split["loss_last"] == pytest.approx(steps[-1]["loss"], rel=1e-5)


def test_the_output_is_a_model_folder_and_one_row_per_step(start, tmp_path):
    summary = trained(start, tmp_path, batch_size=2, epochs=2, max_steps=3)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "checkpoints", "model", "progress.json", "speed.parquet", "steps.parquet"
    ]  # fmt: skip
    steps = pq.read_table(tmp_path / "out/steps.parquet").to_pylist()
    assert [step["step"] for step in steps] == [1, 2, 3] and summary["steps"] == 3
    assert steps[0]["learning_rate"] == 1e-3 > steps[2]["learning_rate"] > 0
    fed = sum(4 + len(prompt) + len(response) + 1 for prompt, response in TEXTS)  # four of the template, one end
    assert sum(step["tokens"] for step in steps[:2]) == fed
    speed = pq.read_table(tmp_path / "out/speed.parquet").to_pylist()
    assert [row["tokens"] for row in speed] == [step["tokens"] for step in steps]
    assert all(1 < row["tokens_per_second"] < 1e6 for row in speed)
    kept = json.loads((tmp_path / "out/model/generation_config.json").read_text())
    assert kept == json.loads((start / "generation_config.json").read_text())
    assert AutoTokenizer.from_pretrained(tmp_path / "out/model").chat_template == tiny.TEMPLATE
    assert json.loads((tmp_path / "out/progress.json").read_text()) == {"done": 3, "total": 3, "unit": "steps"}


def test_more_steps_than_the_epochs_hold_are_not_made_up(start, tmp_path):
    assert trained(start, tmp_path, batch_size=128, device_batch_size=2, epochs=2, max_steps=9)["steps"] == 2


def test_truncations_and_long_prompts_are_counted(start, tmp_path):
    assert trained(start, tmp_path / "cut", max_length=30)["truncated"] == 1
    less = trained(start, tmp_path / "long", max_length=29)  # "shift: hello there" has no room left
    assert (less["left_out"], less["rows"], less["steps"]) == (1, 3, 1)
    with pytest.raises(
        BadInput, match="max_length: 9 is too short: the prompts of all 4 records leave fewer than 8 tokens"
    ):
        trained(start, tmp_path / "none", max_length=9)


def test_records_that_the_template_refuses_are_counted():
    tokenizer = tiny.tokenizer(template=tiny.NO_SYSTEM + tiny.TEMPLATE)
    turns = [{"role": "user", "content": "sort: cab"}]
    plain = record("sort: cab", "abc") | {"prompt_id": "plain"}
    system = plain | {"prompt_id": "system", "messages": [{"role": "system", "content": "be brief"}, *turns]}
    samples, counts = encode_records([plain, system], tokenizer, max_length=None)
    assert [sample["name"] for sample in samples] == ["plain"] and counts["left_out"] == 1
    with pytest.raises(BadInput, match=r"all 1 records .* template refuses them"):
        encode_records([system], tokenizer, max_length=64)
    with pytest.raises(BadInput, match=r"^the model's chat template refuses the turns of all 1 records"):
        encode_records([system], tokenizer, max_length=None)


def test_a_global_batch_that_cannot_be_split_names_both_fields(start, tmp_path):
    with pytest.raises(BadInput, match=r"batch_size 3 .* how.device_batch_size 2"):
        trained(start, tmp_path, batch_size=3)


def chained(texts, seed: int) -> list[int]:
    """All samples in one chain, in the order that the seed gives."""
    tokenizer, samples = tiny.tokenizer(), []
    for prompt, response in texts:
        before = prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
        samples.append(before + response_ids(tokenizer, response))
    return [token for block in pack_samples(samples, 1, seed)[0] for token in block]


def test_packed_the_first_loss_is_the_cross_entropy_of_all_tokens(start, tmp_path):
    length, chain = 24, chained(MORE, seed=7)
    summary = trained(start, tmp_path, texts=MORE, form="packed", max_length=length, batch_size=16)
    model, nats, tokens = AutoModelForCausalLM.from_pretrained(start), 0.0, 0
    for at in range(0, len(chain) - length + 1, length):
        block = torch.tensor(chain[at : at + length])
        with torch.no_grad():
            log_probs = model(block[None]).logits[0].double().log_softmax(-1)
        nats -= log_probs[:-1].gather(1, block[1:, None]).sum().item()
        tokens += length - 1
    assert summary["loss_first"] == pytest.approx(nats / tokens, rel=1e-5)
    assert (summary["rows"], summary["packed_records"]) == (len(chain) // length, len(MORE))
    assert summary["left_over_tokens"] == len(chain) % length


def test_packing_keeps_every_token_once_in_order():
    samples = [[number] * size for number, size in enumerate((3, 1, 7, 2, 5))]
    blocks, left_over = pack_samples(samples, 4, seed=1)
    chain = [token for block in blocks for token in block]
    assert [len(block) for block in blocks] == [4] * 4 and left_over == 2
    order = list(dict.fromkeys(chain))
    assert (chain + [order[-1]] * 2)[:18] == [token for number in order for token in samples[number]]
    assert order != sorted(order) and pack_samples(samples, 4, seed=1) == (blocks, 2) != pack_samples(
        samples, 4, seed=2
    )
    (short,), nothing = pack_samples(samples, 99, seed=1)
    assert sorted(short) == sorted(token for sample in samples for token in sample) and nothing == 0


def test_lora_trains_its_targets_alone_and_leaves_a_whole_model(start, tmp_path):
    lora = {"rank": 4, "alpha": 8.0, "targets": ["q_proj"]}
    summary = trained(start, tmp_path, lora=lora, epochs=8, learning_rate=3e-2)
    assert summary["loss_last"] < summary["loss_first"]
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (start, tmp_path / "out/model"))
    changed = {name for name, value in before.named_parameters() if (value != after.get_parameter(name)).any()}
    assert changed == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}


def test_bf16_leaves_bf16_weights(start, tmp_path):
    trained(start, tmp_path, precision="bf16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out/model", dtype="auto").dtype == torch.bfloat16


def test_a_model_that_yields_no_number_stops_the_run(start, tmp_path):
    broken = AutoModelForCausalLM.from_pretrained(start)
    broken.model.norm.weight.data.fill_(float("nan"))
    tiny.save(broken, tmp_path / "broken")
    with pytest.raises(FloatingPointError, match=r"loss \[nan\] at optimizer step 0; prompt ids: \w+: "):
        trained(tmp_path / "broken", tmp_path)
    assert not (tmp_path / "out/model").exists()
