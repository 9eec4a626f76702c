"""OpenDP's discrete Laplace noise over whole steps: the answer, and the test of the group size.

Neighbouring tables differ in one person, who is in one or not. All arithmetic before the noise is
of integers, so no rounding of floats tells anything of what was added up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from mc_platform.aggregate.query import Query
from mc_platform.model.dataset import MICRO, Column, Dataset

_MISSED = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What is released, and how far from the truth it may lie; never the truth itself.

    Attributes:
        value: In the column's unit, or persons.
        epsilon: Spent on it, in millionths.
        noise_scale: Scale of the Laplace noise, in the value's unit; of a mean, of its numerator
            over the noisy count.
        half_width: In 95 of 100 draws or more the truth is no farther from the value.
    """

    value: float
    epsilon: int
    noise_scale: float
    half_width: float


def large_enough(persons: int, dataset: Dataset) -> bool:
    """Whether a group may be answered about: noisily, but never below `minimum_group`.

    The noisy count must reach the minimum and a margin. The margin makes the hard minimum change
    the outcome so seldom that the test stays (test_epsilon, test_delta) differentially private.
    """
    noisy, scale = _noised(persons, 1, dataset.test_epsilon)
    wanted = dataset.minimum_group + margin(scale, dataset)
    return noisy >= wanted and persons >= dataset.minimum_group


def margin(scale: float, dataset: Dataset) -> int:
    """The least m at which noise of more than m comes seldom enough for `test_delta`."""
    alpha = math.exp(-1 / scale)
    seldom = dataset.test_delta / (1 + math.exp(dataset.test_epsilon / MICRO))
    return max(0, math.ceil(-scale * math.log(seldom * (1 + alpha))) - 1)


def answer(query: Query, values: Sequence[int], column: Column | None, epsilon: int) -> Answer:
    """Draw the noise.

    Args:
        values: Of the selected persons, in steps and within the column's bounds; for a count
            their number alone matters.
        epsilon: All that may be spent, in millionths; a mean spends half on its count.
    """
    if query.measure == "count" or column is None:
        noisy, scale = _noised(len(values), 1, epsilon)
        return Answer(float(noisy), epsilon, scale, float(_half_width(scale, _MISSED)))
    step = column.step
    if query.measure == "sum":
        noisy, scale = _noised(sum(values), max(abs(column.lower), abs(column.upper)), epsilon)
        width = _half_width(scale, _MISSED)
        return Answer(_told(noisy, step), epsilon, _told(scale, step), _told(width, step))
    return _mean(values, column, epsilon)


def _mean(values: Sequence[int], column: Column, epsilon: int) -> Answer:
    middle = (column.lower + column.upper) // 2
    reach = max(column.upper - middle, middle - column.lower)
    total, total_scale = _noised(sum(value - middle for value in values), reach, epsilon // 2)
    count, count_scale = _noised(len(values), 1, epsilon - epsilon // 2)
    persons = max(1, count)
    mean = min(max(middle + total / persons, column.lower), column.upper)
    # Each half misses 2.5 of 100 times; a count that is off by one moves the mean by `reach` at most
    off = _half_width(total_scale, _MISSED / 2) + reach * _half_width(count_scale, _MISSED / 2)
    width = min(off / persons, column.upper - column.lower)
    step = column.step
    return Answer(
        _told(mean, step), epsilon, _told(total_scale / persons, step), _told(width, step)
    )


@cache
def load() -> Any:
    """OpenDP, which takes 20 MB and a quarter of a second: in a thread, when it is first asked."""
    import opendp.prelude as dp

    dp.enable_features("contrib")  # OpenDP keeps what has a written proof but no audit behind it
    return dp


def _laplace(scale: float) -> Any:
    dp = load()
    space = dp.atom_domain(T="i64"), dp.absolute_distance(T="i64")
    return dp.m.make_laplace(*space, scale=scale)


def _noised(value: int, sensitivity: int, epsilon: int) -> tuple[int, float]:
    """The value with noise, and the noise's scale: the least that keeps to epsilon."""
    budget = epsilon / MICRO
    scale = sensitivity / budget
    measurement = _laplace(scale)
    while not measurement.check(sensitivity, budget):
        scale *= 1 + 1e-12
        measurement = _laplace(scale)
    return int(measurement(value)), scale


def _half_width(scale: float, missed: float) -> int:
    """The least w at which noise lies beyond ±w with a chance of `missed` at most."""
    alpha = math.exp(-1 / scale)
    return max(0, math.ceil(-scale * math.log(missed * (1 + alpha) / 2)) - 1)


def _told(steps: float, step: Decimal) -> float:
    return float(Decimal(str(steps)) * step)
