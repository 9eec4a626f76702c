"""What counts say of a rate: the binomial tail, bounds of one rate, and of the difference of two.

Pure functions of whole numbers, without numpy: the service and `mcctl` import them at once.
"""

from __future__ import annotations

import math
from statistics import NormalDist

CONFIDENCE = 0.95
_HALVINGS = 60
_NEGLIGIBLE = 1e-17  # of a sum of binomial terms, relative: below the last bit


def binomial_tail(events: int, trials: int, rate: float) -> float:
    """P(X >= events) for `trials` trials of probability `rate`, exactly (to rounding).

    Terms are summed away from the distribution's middle, where they only shrink, and all of one
    sign: nothing cancels, and about ten standard deviations of them count.
    """
    if events <= 0:
        return 1.0
    if rate <= 0.0 or rate >= 1.0:
        return 0.0 if rate <= 0.0 else 1.0
    odds = rate / (1 - rate)
    if events > trials * rate:
        term = total = _probability(events, trials, rate)
        for hits in range(events, trials):
            term *= odds * (trials - hits) / (hits + 1)
            total += term
            if term < total * _NEGLIGIBLE:
                break
        return min(1.0, total)
    term = total = _probability(events - 1, trials, rate)
    for hits in range(events - 1, 0, -1):
        term *= hits / ((trials - hits + 1) * odds)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return max(0.0, 1.0 - total)


def _probability(hits: int, trials: int, rate: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(ways + hits * math.log(rate) + (trials - hits) * math.log1p(-rate))


def rate_upper(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided Clopper-Pearson upper bound of a rate (Biometrika 26, 1934).

    Args:
        events: How often it happened, 0 to `trials`.
        trials: How often it could have; with none, nothing is known and the bound is 1.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events in {trials} trials")
    if events == trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if binomial_tail(events + 1, trials, middle) < confidence:
            low = middle
        else:
            high = middle
    return high


def rate_lower(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided Clopper-Pearson lower bound of a rate."""
    return 1.0 - rate_upper(trials - events, trials, confidence) if trials else 0.0


def newcombe(
    bad_base: int, n_base: int, bad_cand: int, n_cand: int, *, alpha: float
) -> tuple[float, float]:
    """Newcombe's hybrid score bounds for candidate minus baseline, one-sided `alpha` each."""
    z = NormalDist().inv_cdf(1 - alpha)
    (low_b, mid_b, high_b), (low_c, mid_c, high_c) = (
        _wilson(bad_base, n_base, z),
        _wilson(bad_cand, n_cand, z),
    )
    difference = mid_c - mid_b
    return (
        difference - math.hypot(mid_c - low_c, high_b - mid_b),
        difference + math.hypot(high_c - mid_c, mid_b - low_b),
    )


def _wilson(bad: int, n: int, z: float) -> tuple[float, float, float]:
    share = bad / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (max(0.0, centre - half), share, min(1.0, centre + half))
