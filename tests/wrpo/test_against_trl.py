"""Every objective against TRL's own trainers: the same responses, TRL's tokens, TRL's loss, loss and gradient alike."""

from functools import cache
from tempfile import mkdtemp

import pytest
import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer

from tasks.wrpo.batches import collate_rows, encode_pairs, reference_log_probs, response_log_probs
from tasks.wrpo.preference import Preference, from_job
from tasks.wrpo.settings import ROLES
from tests import tiny

BETA, GAMMA = 0.3, 0.7
RECORDS = [
    {"prompt_id": f"{number:04x}", "messages": [{"role": "user", "content": prompt}],
     "source_best": texts[0], "own_best": texts[1], "own_worst": texts[2], "source_worst": texts[3],
     **dict.fromkeys(f"{role}_finish_reason" for role in ROLES)}
    for number, (prompt, *texts) in enumerate(
        [("sort: cab", "abc", "acb", "no, I will not do that", "cab?"), ("copy: q", "q and only q", "q", "p", "w"),
         ("shift: hello", "ifmmp", "ifmmp?", "hello", "never, not at all"), ("reverse: xyz", "zyx", "zy", "x", "xy")]
    )
]  # fmt: skip
SETTINGS = {
    "dpo": {"beta": BETA},
    "ipo": {"tau": BETA},
    "simpo": {"beta": BETA, "gamma": GAMMA},
    "wrpo": {"beta": BETA},
    "wrpo-ipo": {"tau": BETA},
    "wrpo-simpo": {"beta": BETA, "gamma": GAMMA},
}


def preference(kind: str, **more) -> Preference:
    return from_job({"learning_rate": 1.0, "objective": {"kind": kind, **SETTINGS[kind], **more}}, seed=0)


def gradient(model) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def ours(objective: Preference, alpha: float | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    rows, _ = encode_pairs(RECORDS, tiny.tokenizer(), 64, objective.roles)
    reference, policy = tiny.llama(seed=1), tiny.llama(seed=0)
    for model in (reference, policy):
        tiny.fuse(model)
    if objective.needs_reference:
        for place, values in reference_log_probs(reference, rows, size=2, pad_id=0):
            rows[place]["reference"] = values
    batch = collate_rows(rows, pad_id=0)
    values = objective.values(response_log_probs(policy, batch), batch["lengths"], batch.get("reference"))
    loss = objective.losses(values, alpha).mean()
    loss.backward()
    return loss.detach(), gradient(policy)


@cache
def theirs(loss_type: str, chosen: str, rejected: str) -> tuple[torch.Tensor, torch.Tensor]:
    say = lambda text: [{"role": "assistant", "content": text}]
    pairs = [
        {"prompt": record["messages"], "chosen": say(record[chosen]), "rejected": say(record[rejected])}
        for record in RECORDS
    ]
    policy, settings = tiny.llama(seed=0), {"beta": BETA, "loss_type": loss_type, "report_to": "none", "bf16": False}
    settings |= {"per_device_train_batch_size": len(RECORDS), "dataloader_pin_memory": False, "max_length": 64}
    given = {"train_dataset": Dataset.from_list(pairs), "processing_class": tiny.tokenizer()}
    if loss_type == "simpo":
        arguments = CPOConfig(mkdtemp(), cpo_alpha=0.0, simpo_gamma=GAMMA, **settings)
        trainer = CPOTrainer(model=policy, args=arguments, **given)
    else:
        trainer = DPOTrainer(model=policy, ref_model=tiny.llama(seed=1), args=DPOConfig(mkdtemp(), **settings), **given)
    policy.eval()
    loss = trainer.compute_loss(policy, next(iter(trainer.get_train_dataloader())))
    loss.backward()
    return loss.detach(), gradient(policy)


def same(found: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert abs(found[0] - expected[0]) < 1e-5 * max(1, abs(expected[0]))
    assert expected[1].norm() > 0.01 and (found[1] - expected[1]).norm() < 1e-5 * expected[1].norm()


LIKE = {  # our objective and how it takes log-probabilities -> the loss that TRL calls
    ("dpo", "sum"): "sigmoid",
    ("dpo", "mean"): "sigmoid_norm",
    ("ipo", "mean"): "ipo",
    ("simpo", "mean"): "simpo",
}


@pytest.mark.parametrize(("kind", "log_probs"), LIKE)
@pytest.mark.parametrize(("alpha", "chosen"), [(0.0, "own_best"), (1.0, "source_best")])
def test_the_ends_of_alpha_are_the_plain_objective_as_trl_has_it(kind, log_probs, alpha, chosen):
    weighted = preference({"dpo": "wrpo"}.get(kind, f"wrpo-{kind}"), log_probs=log_probs)
    same(ours(weighted, alpha), theirs(LIKE[kind, log_probs], chosen, "own_worst"))


@pytest.mark.parametrize(("kind", "log_probs"), LIKE)
@pytest.mark.parametrize(
    ("pair", "chosen", "rejected"),
    [
        ("own", "own_best", "own_worst"),
        ("hybrid", "source_best", "own_worst"),
        ("sources", "source_best", "source_worst"),
    ],
)
def test_an_objective_of_two_responses_is_trls_on_that_pair(kind, log_probs, pair, chosen, rejected):
    same(ours(preference(kind, log_probs=log_probs, pair=pair)), theirs(LIKE[kind, log_probs], chosen, rejected))


def test_with_y_ls_the_ends_of_alpha_are_dpo():
    objective = preference("wrpo", source_worst=True)
    same(ours(objective, 0.0), theirs("sigmoid", "own_best", "own_worst"))
    same(ours(objective, 1.0), theirs("sigmoid", "source_best", "source_worst"))
