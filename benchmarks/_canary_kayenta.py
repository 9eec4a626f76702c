"""What Kayenta's judge would say of two sides: its Mann-Whitney classifier, to compare ours with.

It decides nothing here. A side is High (or Low) when the confidence interval of the shift between
the sides (candidate minus baseline) lies wholly beyond `tolerance` times the shift's estimate, and
the effect size is beyond its threshold. All else is Pass, the undecided too: that is the
difference to a judgement that wants evidence for PROMOTE.

After Kayenta (github.com/spinnaker/kayenta: kayenta-judge, kayenta-mannwhitney), whose interval
is that of R's `wilcox.test`: normal approximation with correction for ties and continuity,
inverted with Brent's method (R. Brent, "Algorithms for Minimization without Derivatives", 1973,
ch. 4) to a tolerance of 1e-4. The tolerance is kept: where nearly all values are tied, Kayenta's
verdict hangs on it. Differences, both without randomness: two constant sides get no noise added,
and no matrix of all differences is made (30,000 a side take about 0.07 s of CPU).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Direction = Literal["increase", "decrease", "either"]
Label = Literal["Pass", "High", "Low", "Nodata"]
Effect = Literal["mean_ratio", "cles"]
Missing = Literal["remove", "replace"]

# What Kayenta's judge (NetflixACAJudge) gives its classifier
TOLERANCE, CONFIDENCE = 0.25, 0.98
NO_EFFECT: dict[Effect, float] = {"mean_ratio": 1.0, "cles": 0.5}

_ROOT_TOLERANCE = 1e-4
_MOST_STEPS = 1000
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Shift:
    """The shift from the baseline to the candidate: its estimate (Hodges-Lehmann) and interval."""

    low: float
    high: float
    estimate: float


def kayenta_classify(
    baseline: NDArray[np.float64],
    candidate: NDArray[np.float64],
    *,
    direction: Direction = "increase",
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
    effect: Effect = "mean_ratio",
    allowed_decrease: float | None = None,
    allowed_increase: float | None = None,
    missing: Missing = "remove",
    outlier_factor: float | None = None,
) -> Label:
    """Classify the candidate's values as Kayenta's judge does.

    Args:
        baseline: Values in any unit and order; NaN is a missing value.
        candidate: Likewise; as many or not.
        direction: Which change matters.
        tolerance: Share of the estimated shift that the interval must lie beyond.
        confidence: Of the two-sided interval.
        effect: How the effect size is measured.
        allowed_decrease: Low only at or below this effect size; None: 1 (ratio) or 0.5 (cles).
        allowed_increase: High only at or above this effect size; None: likewise.
        missing: Drop missing values, or take them as 0; a side without values is then Pass.
        outlier_factor: Drop values beyond this many quartile distances (Kayenta: 3); None: none.

    Returns:
        `Nodata` when a side has no values (and they are not replaced).
    """
    base, cand = (_prepared(side, missing, outlier_factor) for side in (baseline, candidate))
    if not (base.size and cand.size):
        return "Nodata" if missing == "remove" else "Pass"
    if np.array_equal(np.sort(base), np.sort(cand)) or np.ptp(np.concatenate((base, cand))) == 0:
        return "Pass"
    shift = mann_whitney(cand, base, confidence=confidence)
    size = effect_size(base, cand, effect)
    beyond = tolerance * abs(shift.estimate)
    highest = NO_EFFECT[effect] if allowed_increase is None else allowed_increase
    lowest = NO_EFFECT[effect] if allowed_decrease is None else allowed_decrease
    # An effect size that cannot be computed (a mean of 0) is not asked about
    if direction != "decrease" and shift.low > beyond and not size < highest:
        return "High"
    if direction != "increase" and shift.high < -beyond and not size > lowest:
        return "Low"
    return "Pass"


def effect_size(
    baseline: NDArray[np.float64], candidate: NDArray[np.float64], effect: Effect
) -> float:
    """The candidate's mean over the baseline's (NaN when one is 0), or the common language effect.

    The latter is the share of pairs in which the candidate is higher, a tie counting half
    (Vargha and Delaney, 2000). Neither side may be empty.
    """
    if effect == "cles":
        return _Ranks(candidate, baseline).higher(0.0) / (candidate.size * baseline.size)
    base, cand = float(baseline.mean()), float(candidate.mean())
    return cand / base if base and cand else math.nan


def mann_whitney(
    x: NDArray[np.float64], y: NDArray[np.float64], *, confidence: float = 0.95
) -> Shift:
    """The location shift x - y with its two-sided interval, by inverting the Mann-Whitney test.

    Neither side may be empty or hold NaN. Two constant sides give their difference thrice.
    """
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        apart = float(x[0] - y[0])
        return Shift(apart, apart, apart)
    ranks = _Ranks(x, y)
    least, most = float(x.min() - y.max()), float(x.max() - y.min())
    at_least, at_most = ranks.z(least), ranks.z(most)

    def where(quantile: float) -> float:
        if at_least - quantile <= 0:
            return least
        if at_most - quantile >= 0:
            return most
        return _root(lambda mu: ranks.z(mu) - quantile, (least, at_least - quantile),
                     (most, at_most - quantile))  # fmt: skip

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = _root(ranks.z, (least, at_least), (most, at_most))
    return Shift(where(z), where(-z), middle)


def rank_z(x: NDArray[np.float64], y: NDArray[np.float64], shift: float = 0.0) -> float:
    """The Mann-Whitney test's z for "x is y plus `shift`"; above 0 when x is higher than that."""
    return _Ranks(x, y).z(shift)


def iqr_outliers(
    values: NDArray[np.float64], factor: float, *, reduced: bool = False
) -> NDArray[np.bool_]:
    """Which values lie over `factor` quartile distances beyond the quartiles.

    With `reduced`, as Kayenta's judge has it, never a value within the 1st and 99th percentile.
    """
    if not values.size:
        return np.zeros(0, dtype=bool)
    p01, p25, p75, p99 = np.percentile(values, (1, 25, 75, 99))
    low, high = p25 - factor * (p75 - p25), p75 + factor * (p75 - p25)
    if reduced:
        low, high = min(low, p01), max(high, p99)
    outside: NDArray[np.bool_] = (values < low) | (values > high)
    return outside


def _prepared(
    side: NDArray[np.float64], missing: Missing, outlier_factor: float | None
) -> NDArray[np.float64]:
    values = np.asarray(side, dtype=np.float64)
    values = np.nan_to_num(values, nan=0.0) if missing == "replace" else values[~np.isnan(values)]
    if outlier_factor is None:
        return values
    return values[~iqr_outliers(values, outlier_factor, reduced=True)]


class _Ranks:
    """Two samples sorted once, so that the test at any shift costs one search of x in y."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self._n, self._m = x.size, y.size
        self._x, self._x_counts = np.unique(x, return_counts=True)
        self._y, self._y_counts = np.unique(y, return_counts=True)
        self._y_below = np.concatenate(([0], np.cumsum(self._y_counts)))

    def _shifted(self, mu: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The distinct values of x - mu with their counts: rounding may merge what x told apart."""
        shifted = self._x - mu
        first = np.concatenate(([True], shifted[1:] != shifted[:-1]))
        if first.all():
            return shifted, self._x_counts
        return shifted[first], np.add.reduceat(self._x_counts, np.flatnonzero(first))

    def _counts(self, mu: float) -> tuple[float, float]:
        """Pairs with x - mu above y (ties half), and the sum of t^3 - t over tied groups."""
        shifted, counts = self._shifted(mu)
        at = np.searchsorted(self._y, shifted)
        tied = at < self._y.size
        tied[tied] = self._y[at[tied]] == shifted[tied]
        in_x, in_y = counts[tied], self._y_counts[at[tied]]
        higher = float(counts @ self._y_below[at]) + 0.5 * float(in_x @ in_y)
        ties = _cubes(counts) + _cubes(self._y_counts)
        return higher, ties + _cubes(in_x + in_y) - _cubes(in_x) - _cubes(in_y)

    def higher(self, mu: float) -> float:
        """In how many pairs x - mu is above y; a tie is half a pair."""
        return self._counts(mu)[0]

    def z(self, mu: float) -> float:
        """The test's z for a shift of mu: falls from positive to negative as mu grows."""
        higher, ties = self._counts(mu)
        above = higher - self._n * self._m / 2
        total = self._n + self._m
        variance = self._n * self._m / 12 * (total + 1 - ties / (total * (total - 1)))
        return float((above - 0.5 * np.sign(above)) / math.sqrt(variance))


def _cubes(counts: NDArray[np.int64]) -> float:
    sizes = counts.astype(np.float64)  # the cube of a big group overflows 64 bits
    return float((sizes**3 - sizes).sum())


def _root(
    function: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]
) -> float:
    """Where `function` crosses zero between two points (place, value): Brent's method.

    `last` is the step before, `best` the nearest so far, `other` the end across the root.
    """
    last, best, other = low, high, low
    if last[1] == 0:
        return last[0]
    for _ in range(_MOST_STEPS):
        before = best[0] - last[0]
        if abs(other[1]) < abs(best[1]):
            last, best, other = best, other, best
        closest = 2 * _EPSILON * abs(best[0]) + _ROOT_TOLERANCE / 2
        half = (other[0] - best[0]) / 2
        if abs(half) <= closest or best[1] == 0:
            break
        step = half
        if abs(before) >= closest and abs(last[1]) > abs(best[1]):
            step = _interpolated(last, best, other, before=before, closest=closest) or half
        if abs(step) < closest:
            step = math.copysign(closest, step)
        last, best = best, (best[0] + step, function(best[0] + step))
        if best[1] * other[1] > 0:
            other = last
    return best[0]


def _interpolated(
    last: tuple[float, float],
    best: tuple[float, float],
    other: tuple[float, float],
    *,
    before: float,
    closest: float,
) -> float | None:
    """The step to where a line, or an inverse parabola, meets zero; None when it goes astray."""
    across = other[0] - best[0]
    ratio = best[1] / last[1]
    if last[0] == other[0]:  # two points only: a line
        up, down = across * ratio, 1.0 - ratio
    else:
        far, near = last[1] / other[1], best[1] / other[1]
        up = ratio * (across * far * (far - near) - (best[0] - last[0]) * (near - 1.0))
        down = (far - 1.0) * (near - 1.0) * (ratio - 1.0)
    up, down = abs(up), -down if up > 0 else down
    if up < 0.75 * across * down - abs(closest * down) / 2 and up < abs(before * down / 2):
        return up / down
    return None
