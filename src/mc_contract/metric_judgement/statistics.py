"""The change between two metric series, with an interval: what the metric judgement decides by.

Points of one metric are not independent: a rate over a minute, asked every 15 s, tells each
second four times, and load drifts. So of points that overlap one of as many as overlap is kept, each
series is cut into time blocks long enough to be nearly independent, and only the means of blocks
are compared: at most 15, and none are compared with fewer than 5. The interval is the wider, at each end, of two one-sided 95 % bounds over the blocks:

- by ranks (Wilcoxon signed-rank for pairs, Mann-Whitney else; exact distributions), which one wild
  block cannot move; the estimate is theirs, Hodges and Lehmann's;
- by Student's t (Welch's else), since ranks do not see that a few blocks are far off: a candidate
  that fails in bursts has the same median as one that never fails.

Being the wider of two it errs towards "cannot tell", never towards "equal".
Pure functions of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mc_contract.judgement.statistics import student_t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALPHA = 0.05  # one-sided, at each end
MOST_BLOCKS = 15  # as many as the latency judgement has
LEAST_BLOCKS = 5  # fewer have no rank bound at 0.05: the rarest of 2^4 signs has 1/16


@dataclass(frozen=True, slots=True)
class Change:
    """Candidate minus baseline in the metric's unit, by blocks.

    Attributes:
        estimate: Hodges and Lehmann's.
        low: Lower end; 95 % one-sided.
        high: Upper end; likewise.
        level: The baseline's mean over blocks, which a relative change is relative to.
        blocks: How many blocks were compared (of the side with fewer, if they are not paired).
        block_points: How many points that do not overlap a block has at least.
    """

    estimate: float
    low: float
    high: float
    level: float
    blocks: int
    block_points: int


@dataclass(frozen=True, slots=True)
class TooFew:
    """There are fewer than `LEAST_BLOCKS` independent blocks; `points` are those without overlap."""

    points: int
    blocks: int
    block_points: int


def paired_change(
    base: NDArray[np.float64], cand: NDArray[np.float64], *, overlap: int
) -> Change | TooFew:
    """The change between series that have a value each at the same times, in time order.

    Args:
        base: The baseline's values, at least one, finite.
        cand: The candidate's, as many.
        overlap: How many neighbouring points share what they measure; of so many one is kept.
    """
    base, cand = base[::overlap], cand[::overlap]
    differences = cand - base
    length = correlation_length(differences)
    blocks = min(MOST_BLOCKS, differences.size // length)
    if blocks < LEAST_BLOCKS:
        return TooFew(differences.size, blocks, length)
    means = _block_means(differences, blocks)
    low, high = signed_rank_bounds(means)
    spread = student_t_quantile(1 - ALPHA, blocks - 1) * means.std(ddof=1) / math.sqrt(blocks)
    return Change(
        estimate=float(np.median(_walsh(means))),
        low=min(low, float(means.mean() - spread)),
        high=max(high, float(means.mean() + spread)),
        level=float(_block_means(base, blocks).mean()),
        blocks=blocks,
        block_points=differences.size // blocks,
    )


def unpaired_change(
    base: NDArray[np.float64], cand: NDArray[np.float64], *, overlap: int
) -> Change | TooFew:
    """The change between series that do not share their times; arguments as in `paired_change`."""
    base, cand = base[::overlap], cand[::overlap]
    lengths = [correlation_length(side) for side in (base, cand)]
    counts = [
        min(MOST_BLOCKS, side.size // length)
        for side, length in zip((base, cand), lengths, strict=True)
    ]
    if min(counts) < LEAST_BLOCKS:
        return TooFew(min(base.size, cand.size), min(counts), max(lengths))
    b, c = _block_means(base, counts[0]), _block_means(cand, counts[1])
    apart = np.sort(np.subtract.outer(c, b).ravel())
    rank = rank_sum_critical(c.size, b.size)
    spread = _welch_spread(b, c)
    mean = float(c.mean() - b.mean())
    return Change(
        estimate=float(np.median(apart)),
        low=min(float(apart[rank]), mean - spread),
        high=max(float(apart[-1 - rank]), mean + spread),
        level=float(b.mean()),
        blocks=min(counts),
        block_points=min(base.size // counts[0], cand.size // counts[1]),
    )


def correlation_length(values: NDArray[np.float64]) -> int:
    """How many points a block needs, so that the means of neighbouring blocks hardly correlate.

    Twice the integrated autocorrelation time less 1, rounded up, where that time is 1 + 2 * (the
    autocorrelations before the first within its standard error, 1/sqrt(n)); 1 for a constant.
    """
    centred = values - values.mean()
    power = float(centred @ centred)
    if power <= 0:
        return 1
    total, noise = 1.0, 1 / math.sqrt(values.size)
    for lag in range(1, values.size // 2):
        correlation = float(centred[:-lag] @ centred[lag:]) / power
        if correlation <= noise:
            break
        total += 2 * correlation
    return math.ceil(2 * total - 1 - 1e-9)


def signed_rank_bounds(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Wilcoxon's exact bounds on the centre of paired differences, 95 % one-sided each."""
    walsh = _walsh(differences)
    rank = signed_rank_critical(differences.size)
    return float(walsh[rank]), float(walsh[-1 - rank])


@lru_cache(maxsize=64)
def signed_rank_critical(n: int) -> int:
    """The largest c with P(W <= c) <= 0.05, W the signed-rank statistic of n differences.

    The bounds are the Walsh averages of that rank, counted from 0. `n` is at least 5.
    """
    counts = [1]
    for rank in range(1, n + 1):
        wider = counts + [0] * rank
        for at, count in enumerate(counts):
            wider[at + rank] += count
        counts = wider
    return _critical(counts)


@lru_cache(maxsize=256)
def rank_sum_critical(m: int, n: int) -> int:
    """The largest c with P(U <= c) <= 0.05, U Mann and Whitney's statistic; m, n at least 5."""
    # ways[i][u]: of i values of one side among j of the other, how many orders have U = u
    ways = [[1]] * (m + 1)
    for j in range(1, n + 1):
        row = [[1]]
        for i in range(1, m + 1):
            # the largest value of all is of the first side (above all j), or of the second
            above = [0] * j + row[i - 1]
            below = ways[i]
            size = max(len(above), len(below))
            row.append(
                [
                    (above[u] if u < len(above) else 0) + (below[u] if u < len(below) else 0)
                    for u in range(size)
                ]
            )
        ways = row
    return _critical(ways[m])


def _critical(counts: list[int]) -> int:
    total, below = sum(counts), 0
    for at, count in enumerate(counts):
        below += count
        if below > ALPHA * total:
            return at - 1
    raise AssertionError("all orders together are more than 5 % of themselves")


def _walsh(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means of all pairs of values, each with itself too, sorted."""
    rows, columns = np.triu_indices(values.size)
    return np.sort((values[rows] + values[columns]) / 2)


def _block_means(values: NDArray[np.float64], blocks: int) -> NDArray[np.float64]:
    return np.array([block.mean() for block in np.array_split(values, blocks)])


def _welch_spread(base: NDArray[np.float64], cand: NDArray[np.float64]) -> float:
    of_base, of_cand = base.var(ddof=1) / base.size, cand.var(ddof=1) / cand.size
    both = float(of_base + of_cand)
    if both == 0:
        return 0.0
    share = float(of_base) / both  # not the squares: those of tiny variances are 0
    freedom = 1 / (share**2 / (base.size - 1) + (1 - share) ** 2 / (cand.size - 1))
    # whole degrees of freedom, rounded down: a wider interval
    return student_t_quantile(1 - ALPHA, max(1, int(freedom))) * math.sqrt(both)
