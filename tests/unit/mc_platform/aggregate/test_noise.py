"""What an answer says of its own noise is true."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.aggregate_fakes import dataset

from mc_platform.aggregate import Query
from mc_platform.aggregate.noise import answer, large_enough, margin
from mc_platform.model.dataset import MICRO

GROUP = [20, 40, 60, 180] * 25


@pytest.mark.parametrize(
    ("measure", "truth"), [("count", 100.0), ("sum", 75 * 50.0), ("mean", 37.5)]
)
def test_the_truth_lies_within_the_half_width_as_often_as_is_said(measure, truth):
    """Five of 100 may lie outside; of 1500, 75 and four standard deviations more."""
    column = dataset().columns["income"]
    query = Query("people", measure, "" if measure == "count" else "income", ())
    drawn = [answer(query, GROUP, column, MICRO // 2) for _ in range(1500)]
    outside = sum(abs(one.value - truth) > one.half_width for one in drawn)
    assert outside <= 75 + 4 * math.sqrt(75)
    assert len({one.value for one in drawn}) > 5
    assert {one.epsilon for one in drawn} == {MICRO // 2}


def test_the_scale_follows_from_the_declared_bounds_alone():
    """Not from the values: a scale that did would tell of them."""
    column = dataset().columns["income"]
    query = Query("people", "sum", "income", ())
    low, high = (answer(query, group, column, MICRO) for group in ([0] * 30, [200] * 3))
    assert low.noise_scale == high.noise_scale == 100.0
    assert low.half_width == high.half_width
    below_zero = replace(column, lower=-400)
    assert answer(query, GROUP, below_zero, MICRO).noise_scale == 200.0


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("delta", [1e-6, 1e-3])
def test_the_margin_is_the_least_that_keeps_the_hard_minimum_within_delta(epsilon, delta):
    """Noise that carries a group of minimum - 1 over the line: chance times (1 + e^epsilon)."""
    rules = dataset(test_epsilon=epsilon, test_delta=delta)
    scale = 1 / epsilon
    alpha = math.exp(-epsilon)

    def exceeded(margin):
        return (1 + math.exp(epsilon)) * alpha ** (margin + 1) / (1 + alpha)

    least = margin(scale, rules)
    assert exceeded(least) <= delta < exceeded(least - 1)


def test_a_large_group_is_answered_about():
    rules = dataset()
    assert all(large_enough(200, rules) for _ in range(200))
