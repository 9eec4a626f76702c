"""How much worse the candidate's p95 is: one estimate over many short stretches of time.

The samples are cut into up to 100 stretches of time, and each stretch by instance; such a cell has
both sides' answers of the same moments, so load that both sides share cancels out in it. A cell's
figure is ln(candidate's p95 / baseline's), each p95 smoothed over the quantiles 0.90 to 0.98: a bare
p95 jumps when it lies in a gap between fast and slow answers, and wastes what its neighbours tell.
Quantiles are counted over all requests, failed ones being the slowest: who fails what would have taken
long is not faster for it. The range ends where the failures of either side begin.

Over the cells a 20 % trimmed mean is taken (Yuen, 1974: "The two-sample trimmed t for unequal
population variances"), so that a noisy neighbour who slows one instance for a while does not decide.
Its standard error is Yuen's from the winsorised cells, or that of up to 15 clusters of neighbouring
stretches, whichever is larger: what lasts for many stretches makes them alike.

What trimming could hide, a candidate that is slow now and then, the judgement looks for over the
whole window (all of it as one cell). Pure functions; seconds in, NaN for a failed request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mc_contract.judgement.plan import ALPHA_PROMOTE, LEAST_ANSWERS, LEAST_CELL_PAIRS
from mc_contract.judgement.statistics import student_t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTHED = (0.90, 0.98)  # the quantiles over which a p95 is smoothed
MOST_STRETCHES = 100
_TRIM = 0.2
_CLUSTERS, _LEAST_CLUSTERS = 15, 5
_LEAST_USABLE_CELLS = 0.8  # share of cells with enough answers
_LEAST_TOP = 0.92  # where the smoothed range may end at the lowest, because of failures


@dataclass(frozen=True, slots=True)
class Estimate:
    """Log p95 ratio, its standard error, and the t quantile (one-sided 0.05) for its bounds."""

    mean: float
    se: float
    df: int

    @property
    def low(self) -> float:
        """The lower end of the 90 % interval."""
        return self.mean - self._half

    @property
    def high(self) -> float:
        """The upper end of the 90 % interval."""
        return self.mean + self._half

    @property
    def _half(self) -> float:
        return student_t_quantile(1 - ALPHA_PROMOTE, self.df) * self.se

    def exceeds(self, limit: float, *, alpha: float) -> bool:
        """Whether a one-sided t-test at `alpha` rejects "at most `limit`"."""
        return self.mean - limit > student_t_quantile(1 - alpha, self.df) * self.se


def stretches_of(pairs: int, instances: int) -> int:
    """Into how many stretches so many pairs are cut: 100, or fewer for cells of 50 pairs each."""
    return max(1, min(MOST_STRETCHES, pairs // (LEAST_CELL_PAIRS * instances)))


def estimate(
    base: NDArray[np.float64], cand: NDArray[np.float64], *, instances: int = 1
) -> Estimate | None:
    """The estimate over all samples.

    Args:
        base: The baseline's latencies in time order, seconds, NaN where failed; not empty.
        cand: The candidate's, as many.
        instances: Instances a side, over which requests went in turn; 1 when not known.

    Returns:
        None when too many cells have too few answers for a p95.
    """
    count = stretches_of(base.size, instances)
    cells = [
        cell_ratios(base[at], cand[at], instances=instances, start=int(at[0]))
        for at in np.array_split(np.arange(base.size), count)
    ]
    return estimate_of_cells(np.array(cells))


def estimate_of_cells(cells: NDArray[np.float64]) -> Estimate | None:
    """The trimmed mean and its standard error.

    Args:
        cells: Log ratios, shape (stretches, instances), stretches in time order; NaN where a cell
            has too few answers.

    Returns:
        None when fewer than four cells, or fewer than 80 % of them, are usable.
    """
    usable = ~np.isnan(cells)
    values = np.sort(cells[usable])
    cut = int(_TRIM * values.size)
    kept = values.size - 2 * cut
    if values.size < 4 or values.size < _LEAST_USABLE_CELLS * cells.size or kept < 2:
        return None
    mean = float(values[cut : values.size - cut].mean())
    low, high = values[cut], values[values.size - cut - 1]
    winsorised = np.clip(cells, low, high)
    centre = float(winsorised[usable].mean())
    se = float(winsorised[usable].std(ddof=1)) * math.sqrt((values.size - 1) / (kept * (kept - 1)))
    df = kept - 1
    clusters = min(_CLUSTERS, len(cells) // 2)
    if clusters >= _LEAST_CLUSTERS:
        off_centre = np.where(usable, winsorised - centre, 0.0).sum(axis=1)
        sums = np.array([part.sum() for part in np.array_split(off_centre, clusters)])
        clustered = math.sqrt(clusters / (clusters - 1) * float((sums**2).sum())) / kept
        if clustered > se:
            se, df = clustered, clusters - 1
    return Estimate(mean, se, df)


def cell_ratios(
    base: NDArray[np.float64], cand: NDArray[np.float64], *, instances: int = 1, start: int = 0
) -> NDArray[np.float64]:
    """Log p95 ratios of one stretch, one for each instance, shape (instances,).

    Args:
        base: The stretch's latencies of the baseline.
        cand: And of the candidate.
        instances: Instances a side; the request at position p went to instance p % instances.
        start: The position of the stretch's first pair.
    """
    return np.array(
        [
            log_p95_ratio(base[(at - start) % instances :: instances],
                       cand[(at - start) % instances :: instances])
            for at in range(instances)
        ]
    )  # fmt: skip


def log_p95_ratio(base: NDArray[np.float64], cand: NDArray[np.float64]) -> float:
    """Ln of candidate's smoothed p95 over baseline's; NaN if a side has too few answers.

    Failed requests (NaN) are the slowest. Where over 8 % of a side failed there are too few answers.
    """
    answered = base[~np.isnan(base)], cand[~np.isnan(cand)]
    if min(side.size for side in answered) < LEAST_ANSWERS:
        return math.nan
    top = min(SMOOTHED[1], answered[0].size / base.size, answered[1].size / cand.size)
    if top < _LEAST_TOP:
        return math.nan
    before, after = (
        _smoothed_log_p95(values, of, top)
        for values, of in zip(answered, (base.size, cand.size), strict=True)
    )
    return after - before


def _smoothed_log_p95(values: NDArray[np.float64], n: int, top: float) -> float:
    """The mean of the log quantile function from the lower end of `SMOOTHED` to `top`.

    Order statistic i (of n, from 0) stands for the quantiles i/n to (i + 1)/n; of n requests
    `values` are those that were answered, as many as `top` needs.
    """
    first, last = SMOOTHED[0] * n, top * n
    begin, end = math.floor(first), min(values.size, math.ceil(last))
    upper = np.sort(np.partition(values, begin)[begin:])[: end - begin]
    at = np.arange(begin, end)
    weights = np.minimum(at + 1, last) - np.maximum(at, first)
    return float(np.log(upper) @ weights / weights.sum())
