"""Models small enough for a test: a random Llama of two layers, a tokenizer of single characters, a chat template."""

import json
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl.trainer.utils import add_fused_lm_head

SPECIAL = ["<pad>", "<bos>", "<eos>", "<user>", "<assistant>", "<end>", "<unk>"]
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(bos: bool = True, adds_bos: bool = True, template: str = TEMPLATE, eos: str = "<end>"):
    """`bos`: the model has one. `adds_bos`: the tokenizer, too, puts it in front of a text."""
    letters = string.ascii_letters + string.digits + string.punctuation + " \n"
    vocabulary = {token: place for place, token in enumerate([*SPECIAL, *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.Fuse()
    if bos and adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>" if bos else None,
        eos_token=eos,
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["<user>", "<assistant>", "<end>"],
        chat_template=template,
    )


def llama(seed: int = 0, scale: float = 0.2, layers: int = 2, hidden: int = 32) -> LlamaForCausalLM:
    """Random weights large enough that log-probabilities differ visibly between responses."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(string.ascii_letters + string.digits + string.punctuation) + 2,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=scale,
        bos_token_id=1,
        eos_token_id=5,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


def fuse(model: LlamaForCausalLM) -> None:
    """What the trainer does to a model before it asks for log-probabilities."""
    add_fused_lm_head(model.eval())


def folder(path: Path, seed: int = 0) -> Path:
    return save(llama(seed), path)


def save(model: LlamaForCausalLM, path: Path) -> Path:
    """A model folder, with tokenizer and generation config."""
    model.generation_config = GenerationConfig()
    model.save_pretrained(path)
    tokenizer().save_pretrained(path)
    # As some published models have it: transformers loads a temperature without sampling, but refuses to save it.
    generation = {"bos_token_id": 1, "eos_token_id": [5], "pad_token_id": 0, "do_sample": False, "temperature": 0.6}
    (path / "generation_config.json").write_text(json.dumps(generation))
    return path
