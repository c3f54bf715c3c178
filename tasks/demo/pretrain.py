"""Program: makes one of the demo's networks from a seed, a tiny Llama that speaks or a tiny Llama that judges.

JOB {what, threads}; leaves OUT/model.
"""

import random
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tasks.demo import lessons
from tasks.demo.lessons import Lesson
from tasks.demo.tokenizer import make_tokenizer
from tasks.program import Progress, run

HEADS, WARMUP = 4, 0.1
Batch = tuple[torch.Tensor, torch.Tensor, list[int]]


def pretrain(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    what = job["what"]
    torch.manual_seed(what["seed"])
    tokenizer = make_tokenizer()
    make = teach_speaking if what["kind"] == "tiny" else teach_judging
    model, tokens = make(what, tokenizer, random.Random(f"lessons {what['seed']}"), progress)
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    return {"parameters": sum(each.numel() for each in model.parameters()), "steps": what["steps"], "tokens": tokens}


def teach_speaking(what: dict, tokenizer, source: random.Random, progress: Progress) -> tuple[LlamaForCausalLM, int]:
    """Next-token prediction on the answers."""
    model = LlamaForCausalLM(shape(what, tokenizer))

    def loss(batch: list[Lesson]) -> tuple[torch.Tensor, int]:
        ids, mask, starts = encode(tokenizer, batch)
        labels = ids.masked_fill(mask == 0, -100)
        for row, start in enumerate(starts):
            labels[row, :start] = -100
        hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
        answered = labels[:, 1:] != -100
        return F.cross_entropy(model.lm_head(hidden[answered]), labels[:, 1:][answered]), int(mask.sum())

    tokens = train(
        model,
        what,
        progress,
        lambda: loss([lessons.speaking(source, what["skills"], what["noise"]) for _ in range(what["batch_size"])]),
    )
    return model, tokens


def teach_judging(
    what: dict, tokenizer, source: random.Random, progress: Progress
) -> tuple[LlamaForSequenceClassification, int]:
    """Regression of an answer's worth at its end token. As it starts from nothing, two throw-away probes help: one on a
    middle layer names the right letter of each place, one on the last layer but one says whether the letter there is
    right; the last layer then only has to sum up."""
    model = LlamaForSequenceClassification(shape(what, tokenizer, num_labels=1))
    name, judge = torch.nn.Linear(what["hidden"], len(tokenizer)), torch.nn.Linear(what["hidden"], 1)

    def loss(batch: list[Lesson]) -> tuple[torch.Tensor, int]:
        ids, mask, starts = encode(tokenizer, batch)
        right, letter = letter_targets(tokenizer, batch, starts, ids.shape)
        seen = model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        last = seen.last_hidden_state[torch.arange(len(batch)), mask.sum(1) - 1]
        worth = F.mse_loss(model.score(last).squeeze(-1), torch.tensor([lessons.worth(lesson) for lesson in batch]))
        judged, named = ~right.isnan(), letter != -100
        each = F.mse_loss(judge(seen.hidden_states[-2][judged]).squeeze(-1), right[judged])
        middle = seen.hidden_states[what["layers"] // 2]
        return worth + each + F.cross_entropy(name(middle[named]), letter[named]), int(mask.sum())

    everything = torch.nn.ModuleList([model, name, judge])
    draw = lambda: loss([lessons.judging(source) for _ in range(what["batch_size"])])
    return model, train(everything, what, progress, draw)


def letter_targets(
    tokenizer, batch: list[Lesson], starts: list[int], size: torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """At each letter of an answer: 1 or -1 for right or wrong, and the id of the letter that would be right there."""
    right, letter = torch.full(size, float("nan")), torch.full(size, -100)
    vocabulary = tokenizer.get_vocab()
    for row, (lesson, start) in enumerate(zip(batch, starts, strict=True)):
        for place, given in enumerate(lesson.answer):
            right[row, start + place] = 1.0 if lesson.right[place : place + 1] == given else -1.0
        for place in range(len(lesson.answer) + 1):
            letter[row, start + place] = vocabulary[lesson.right[place] if place < len(lesson.right) else "<end>"]
    return right, letter


def shape(what: dict, tokenizer, **more) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=what["hidden"],
        intermediate_size=2 * what["hidden"],
        num_hidden_layers=what["layers"],
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=128,
        attention_bias=True,
        initializer_range=0.08,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


def encode(tokenizer, batch: list[Lesson]) -> Batch:
    """Question and answer as the chat template writes them, padded on the right; and where each answer starts."""
    vocabulary = tokenizer.get_vocab()
    rows, starts = [], []
    for lesson in batch:
        head = ["<bos>", "<user>", *lesson.question, "<end>", "<assistant>"]
        starts.append(len(head))
        rows.append([vocabulary[token] for token in (*head, *lesson.answer, "<end>")])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, tokenizer.pad_token_id)
    return ids, (ids != tokenizer.pad_token_id).long(), starts


def train(model: torch.nn.Module, what: dict, progress: Progress, next_loss) -> int:
    """AdamW with linear warm-up and decay; returns the tokens seen."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=what["learning_rate"], weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    warmup, steps, tokens = max(1, int(what["steps"] * WARMUP)), what["steps"], 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = what["learning_rate"] * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        loss, seen = next_loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += seen
        progress(step + 1, steps, "steps")
    model.eval()
    return tokens


if __name__ == "__main__":
    run(pretrain)
