"""The few statistics that the canary verdict needs, written out so that a verdict can be redone.

Student's t, the nearest-rank p95, and an e-value for paired yes/no outcomes. Pure functions of numbers; which of them decides what is
`mc_contract.judgement.verdict`'s.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The bets of the e-value: shares of the stake put on "the candidate is worse". A mixture needs no
# guess of how much worse; each is < 1, so that no single outcome can ruin it.
_BETS = np.array([0.1, 0.2, 0.4, 0.6, 0.8, 0.9])
_CONVERGED = 1e-15  # of the continued fraction, relative


def p95(values: NDArray[np.float64]) -> float:
    """The smallest value with at least 95 % of all at or below it (values must not be empty)."""
    at = -(-95 * values.size // 100) - 1
    return float(np.partition(values, at)[at])


def runbook_p95(values: NDArray[np.float64]) -> float:
    """The runbook's own figure, `sorted(xs)[int(0.95*n)-1]`, one rank too low, kept to compare."""
    at = int(0.95 * values.size) - 1
    return float(np.partition(values, at)[at])


def log_e_value(worse: int, better: int, same: int, *, allowed: float) -> float:
    """Evidence against "the candidate is worse in at most `allowed` of the pairs, net".

    Each pair is worse, better or the same. exp(result) is the wealth of a gambler who bets on
    "worse": if the claim is true it exceeds 1/alpha with probability at most alpha, however often
    one looks (Ville's inequality).

    Args:
        worse: Pairs in which only the candidate had the bad outcome.
        better: Pairs in which only the baseline had it.
        same: Pairs in which both or neither had it.
        allowed: Net share of worse pairs that is still acceptable, below 0.1.
    """
    wealth = (
        worse * np.log1p(_BETS * (1 - allowed))
        + better * np.log1p(-_BETS * (1 + allowed))
        + same * np.log1p(-_BETS * allowed)
    )
    return float(np.logaddexp.reduce(wealth) - math.log(_BETS.size))


def student_t_cdf(t: float, df: int) -> float:
    """P(T <= t) for Student's t with `df` degrees of freedom."""
    middle = t * t / (df + t * t)
    if middle < 0.5:  # 1 - middle would round a small t away
        return 0.5 + math.copysign(0.5 * _incomplete_beta(0.5, df / 2, middle), t)
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=256)
def student_t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, for 0.5 <= p < 1 (bisection on the distribution function)."""
    low, high = 0.0, 1.0
    while student_t_cdf(high, df) < p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below this point
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(400):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        fraction *= c * d
        if abs(1 - c * d) < _CONVERGED:
            break
    return front * (fraction - 1) / a
