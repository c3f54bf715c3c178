"""Program: trains one of the demo's networks from a seed: a tiny Llama that generates or a tiny Llama that scores answers.

JOB {what, threads}; writes OUT/model.
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
    train_kind = teach_speaking if what["kind"] == "tiny" else teach_judging
    model, tokens = train_kind(what, tokenizer, random.Random(f"lessons {what['seed']}"), progress)
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
    """Regression of the answer's score at its end token.

    Two probes, used only in training, speed up learning from random weights. A probe on a middle layer predicts the right
    letter at each position; a probe on the second-to-last layer predicts whether the given letter is right. The last layer
    then only has to average."""
    model = LlamaForSequenceClassification(shape(what, tokenizer, num_labels=1))
    letter_probe, right_probe = torch.nn.Linear(what["hidden"], len(tokenizer)), torch.nn.Linear(what["hidden"], 1)

    def loss(batch: list[Lesson]) -> tuple[torch.Tensor, int]:
        ids, mask, starts = encode(tokenizer, batch)
        right, letter = letter_targets(tokenizer, batch, starts, ids.shape)
        outputs = model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        last = outputs.last_hidden_state[torch.arange(len(batch)), mask.sum(1) - 1]
        score_loss = F.mse_loss(
            model.score(last).squeeze(-1), torch.tensor([lessons.worth(lesson) for lesson in batch])
        )
        has_right, has_letter = ~right.isnan(), letter != -100
        right_loss = F.mse_loss(right_probe(outputs.hidden_states[-2][has_right]).squeeze(-1), right[has_right])
        middle = outputs.hidden_states[what["layers"] // 2]
        letter_loss = F.cross_entropy(letter_probe(middle[has_letter]), letter[has_letter])
        return score_loss + right_loss + letter_loss, int(mask.sum())

    everything = torch.nn.ModuleList([model, letter_probe, right_probe])
    draw = lambda: loss([lessons.judging(source) for _ in range(what["batch_size"])])
    return model, train(everything, what, progress, draw)


def letter_targets(
    tokenizer, batch: list[Lesson], starts: list[int], size: torch.Size
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each position of an answer: 1 if its letter is right, else -1; and the token id of the right letter."""
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
    """Token ids in the format of the chat template, padded on the right; the attention mask; the start of each answer."""
    vocabulary = tokenizer.get_vocab()
    rows, starts = [], []
    for lesson in batch:
        head = ["<bos>", "<user>", *lesson.question, "<end>", "<assistant>"]
        starts.append(len(head))
        rows.append([vocabulary[token] for token in (*head, *lesson.answer, "<end>")])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, tokenizer.pad_token_id)
    return ids, (ids != tokenizer.pad_token_id).long(), starts


def train(model: torch.nn.Module, what: dict, progress: Progress, next_loss) -> int:
    """Trains with AdamW, linear warm-up and decay; returns the number of tokens."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=what["learning_rate"], weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    warmup, steps, tokens = max(1, int(what["steps"] * WARMUP)), what["steps"], 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = what["learning_rate"] * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        loss, batch_tokens = next_loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += batch_tokens
        progress(step + 1, steps, "steps")
    model.eval()
    return tokens


if __name__ == "__main__":
    run(pretrain)
