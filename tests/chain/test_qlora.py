"""The whole chain with adapters on a base in NF4, as a user runs it: plan, run, run again; it leaves ordinary models."""

import math

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.store import Store
from tests.chain.small import fuse, manifests, states, write_recipe
from tests.test_quantised import needs_bitsandbytes

LORA = "lora = { rank = 4, alpha = 8, base = 'nf4' }"


@needs_bitsandbytes
@pytest.mark.heavy
def test_a_run_with_quantised_bases_ends_in_a_working_model(tmp_path):
    recipe, space = write_recipe(tmp_path, sources=1), tmp_path / "space"
    text = recipe.read_text().replace('target = { kind = "tiny", hidden = 16', 'target = { kind = "tiny", hidden = 64')
    recipe.write_text(text.replace("batch_size = 8, max_length = 64 }", f"batch_size = 8, max_length = 64, {LORA} }}"))
    assert recipe.read_text().count("nf4") == 2
    planned = states(fuse(space, "plan", str(recipe)).stdout)
    assert {planned[step] for step in ("SFT", "WRPO · reference log-probs", "WRPO")} == {"to do"}
    answer = fuse(space, "run", str(recipe))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "nothing to do" in fuse(space, "run", str(recipe)).stdout
    store = Store(str(space / "store"), tmp_path / "cache")
    made = {address.partition("/")[0]: store.manifest(*address.split("/")) for address in manifests(space / "store")}
    assert made["reference-log-probs"].what == {"max_length": 64, "precision": "fp32", "base": "nf4"}
    steps = pq.read_table(store.fetch(made["wrpo"]) / "steps.parquet").to_pylist()
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    for stage in ("sft", "wrpo"):
        folder = store.fetch(made[stage]) / "model"
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        asked = tokenizer("copy: abc", return_tensors="pt")
        assert model.generate(**asked, max_new_tokens=4, do_sample=False).shape[1] > asked["input_ids"].shape[1]
        assert not getattr(model, "is_quantized", False) and "quantization_config" not in model.config.to_dict()
