"""The WRPO loss and its schedule against hand arithmetic and limiting cases."""

import math

import torch

from tasks.wrpo.objectives import reward_metrics, wrpo_dpo
from tasks.wrpo.schedules import linear_alpha

RATIOS = [torch.tensor(values) for values in ([3.0, -1.0, 0.5], [1.0, 0.0, -2.0], [-1.0, 2.0, 0.25])]


def test_a_value_computed_by_hand():
    # 0.1 (0.25 * 4 + 0.75 * 2 - (-1)) = 0.35; -log sigma(0.35) = log(1 + e^-0.35)
    loss = wrpo_dpo(torch.tensor([4.0]), torch.tensor([2.0]), torch.tensor([-1.0]), alpha=0.25, beta=0.1)
    torch.testing.assert_close(loss, torch.tensor([math.log1p(math.exp(-0.35))]))


def test_a_policy_that_equals_its_reference_loses_ln_2_at_any_alpha():
    zeros = torch.zeros(4)
    for alpha in (0.0, 0.3, 1.0):
        torch.testing.assert_close(wrpo_dpo(zeros, zeros, zeros, alpha, beta=0.1), torch.full((4,), math.log(2)))


def test_tokens_common_to_the_three_responses_cancel():
    source_best, own_best, own_worst = RATIOS
    shifted = wrpo_dpo(source_best + 5, own_best + 5, own_worst + 5, alpha=0.3, beta=0.1)
    torch.testing.assert_close(shifted, wrpo_dpo(*RATIOS, alpha=0.3, beta=0.1))


def test_the_gradient_is_shared_out_by_alpha():
    ratios = [values.clone().requires_grad_() for values in RATIOS]
    wrpo_dpo(*ratios, alpha=0.3, beta=0.1).sum().backward()
    source_best, own_best, own_worst = (values.grad for values in ratios)
    torch.testing.assert_close(source_best, -0.3 * own_worst)
    torch.testing.assert_close(own_best, -0.7 * own_worst)
    assert (own_worst > 0).all()


def test_alpha_starts_at_exactly_0_and_stops_one_step_short_of_its_maximum():
    assert [linear_alpha(step, 4, 0.1) for step in range(4)] == [0.0, 0.025, 0.05, 0.1 * 3 / 4]
    assert linear_alpha(4, 4, 0.1) == 0.1


def test_alpha_of_a_run_without_steps_divides_by_nothing():
    assert linear_alpha(0, 0, 0.1) == 0.0


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
