"""The objectives against hand arithmetic, limiting cases and finite differences."""

import math

import pytest
import torch

from tasks.wrpo.objectives import (
    compute_dpo_loss,
    compute_ipo_loss,
    compute_simpo_loss,
    compute_wrpo_dpo_loss,
    compute_wrpo_ipo_loss,
    compute_wrpo_simpo_loss,
    reward_metrics,
)

RATIOS = [torch.tensor(values) for values in ([3.0, -1.0, 0.5], [1.0, 0.0, -2.0], [-1.0, 2.0, 0.25])]


def test_a_value_computed_by_hand():
    # 0.1 (0.25 * 4 + 0.75 * 2 - (-1)) = 0.35; -log sigma(0.35) = log(1 + e^-0.35)
    loss = compute_wrpo_dpo_loss(torch.tensor([4.0]), torch.tensor([2.0]), torch.tensor([-1.0]), alpha=0.25, beta=0.1)
    torch.testing.assert_close(loss, torch.tensor([math.log1p(math.exp(-0.35))]))


def test_a_policy_that_equals_its_reference_loses_ln_2_at_any_alpha():
    zeros = torch.zeros(4)
    for alpha in (0.0, 0.3, 1.0):
        torch.testing.assert_close(
            compute_wrpo_dpo_loss(zeros, zeros, zeros, alpha, beta=0.1), torch.full((4,), math.log(2))
        )


def test_tokens_common_to_the_three_responses_cancel():
    source_best, own_best, own_worst = RATIOS
    shifted = compute_wrpo_dpo_loss(source_best + 5, own_best + 5, own_worst + 5, alpha=0.3, beta=0.1)
    torch.testing.assert_close(shifted, compute_wrpo_dpo_loss(*RATIOS, alpha=0.3, beta=0.1))


def test_the_gradient_is_shared_out_by_alpha():
    ratios = [values.clone().requires_grad_() for values in RATIOS]
    compute_wrpo_dpo_loss(*ratios, alpha=0.3, beta=0.1).sum().backward()
    source_best, own_best, own_worst = (values.grad for values in ratios)
    torch.testing.assert_close(source_best, -0.3 * own_worst)
    torch.testing.assert_close(own_best, -0.7 * own_worst)
    assert (own_worst > 0).all()


def test_every_objective_has_the_value_computed_by_hand():
    # y_ws, y_wt, y_l, y_ls = 4, 2, -1, 3; a = 1/4: preferred 2.5; rejected -1, with y_ls 0
    source_best, own_best, own_worst, source_worst = (torch.tensor([value]) for value in (4.0, 2.0, -1.0, 3.0))
    softplus = lambda value: math.log1p(math.exp(value))
    triple = source_best, own_best, own_worst
    for found, expected in [
        (compute_dpo_loss(source_best, own_worst, beta=0.1), softplus(-0.5)),  # 0.1 (4 + 1)
        (compute_ipo_loss(source_best, own_worst, tau=0.25), 9),  # (5 - 2)^2
        (compute_simpo_loss(source_best, own_worst, beta=2, gamma=1), softplus(-9)),  # 2 * 5 - 1
        (compute_wrpo_simpo_loss(*triple, alpha=0.25, beta=2, gamma=1), softplus(-6)),  # 2 * 3.5 - 1
        (compute_wrpo_ipo_loss(*triple, alpha=0.25, tau=0.25), 2.25),  # (3.5 - 2)^2
        (
            compute_wrpo_dpo_loss(*triple, alpha=0.25, beta=0.1, source_worst=source_worst),
            softplus(-0.25),
        ),  # 0.1 (2.5 - 0)
        (compute_wrpo_simpo_loss(*triple, alpha=0.25, beta=2, gamma=1, source_worst=source_worst), softplus(-4)),
        (compute_wrpo_ipo_loss(*triple, alpha=0.25, tau=0.25, source_worst=source_worst), 0.25),
    ]:
        torch.testing.assert_close(found, torch.tensor([float(expected)]))


def test_ipo_at_the_papers_tau_asks_for_50_nats():
    zeros = torch.zeros(2)
    torch.testing.assert_close(
        compute_wrpo_ipo_loss(zeros, zeros, zeros, alpha=0.1, tau=0.01), torch.full((2,), 2500.0)
    )
    torch.testing.assert_close(compute_wrpo_ipo_loss(zeros + 50, zeros + 50, zeros, alpha=0.1, tau=0.01), zeros)


@pytest.mark.parametrize(
    "objective",
    [
        lambda *values: compute_wrpo_dpo_loss(*values[:3], alpha=0.3, beta=0.7),
        lambda *values: compute_wrpo_dpo_loss(*values[:3], alpha=0.3, beta=0.7, source_worst=values[3]),
        lambda *values: compute_wrpo_simpo_loss(*values[:3], alpha=0.3, beta=0.7, gamma=0.2),
        lambda *values: compute_wrpo_simpo_loss(*values[:3], alpha=0.3, beta=0.7, gamma=0.2, source_worst=values[3]),
        lambda *values: compute_wrpo_ipo_loss(*values[:3], alpha=0.3, tau=0.4),
        lambda *values: compute_wrpo_ipo_loss(*values[:3], alpha=0.3, tau=0.4, source_worst=values[3]),
        lambda *values: compute_dpo_loss(*values[:2], beta=0.7),
        lambda *values: compute_simpo_loss(*values[:2], beta=0.7, gamma=0.2),
        lambda *values: compute_ipo_loss(*values[:2], tau=0.4),
    ],
)
def test_gradients_agree_with_finite_differences(objective):
    values = [torch.tensor(of, dtype=torch.float64) for of in ([3.0, -1], [1, 0.0], [-1, 2.0], [0.5, 0.25])]
    found = [value.clone().requires_grad_() for value in values]
    objective(*found).sum().backward()
    for place, value in enumerate(found):
        for example in range(2):
            nudge = torch.zeros(2, dtype=torch.float64)
            nudge[example] = 1e-5
            up, down = (
                objective(*[other + sign * nudge * (at == place) for at, other in enumerate(values)]).sum()
                for sign in (1, -1)
            )
            gradient = 0.0 if value.grad is None else value.grad[example].item()
            assert gradient == pytest.approx((up - down).item() / 2e-5, abs=1e-8)


def test_metrics_are_per_example_and_by_hand():
    found = reward_metrics(*RATIOS, alpha=0.5, beta=0.1)
    assert {values.shape for values in found.values()} == {(3,)}
    torch.testing.assert_close(found["margin"], torch.tensor([0.3, -0.25, -0.1]))
    torch.testing.assert_close(found["reward_own_worst"], torch.tensor([-0.1, 0.2, 0.025]))
    assert found["accuracy_weighted"].tolist() == [1, 0, 0]
    assert found["accuracy_source"].tolist() == [1, 0, 1]
    assert found["accuracy_own"].tolist() == [1, 0, 0]


def test_accuracies_of_a_batch_are_those_of_its_examples_alone():
    # The published pivot accuracy compared (B,) with (B, 1) and mixed the examples of a batch.
    whole = reward_metrics(*RATIOS, alpha=0.5, beta=0.1)
    for place in range(3):
        alone = reward_metrics(*(values[place : place + 1] for values in RATIOS), alpha=0.5, beta=0.1)
        assert {name: value.item() for name, value in alone.items()} == {
            name: value[place].item() for name, value in whole.items()
        }
