"""A quantile out of a histogram's buckets, as Prometheus' `histogram_quantile` has it.

Inside of a bucket it goes by a straight line, so it is a guess between two edges; at an edge it is
exact. The limits of the targets are edges, and whether a target is met is judged by counting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile in the unit of the edges.

    Attributes:
        value: None where nothing was observed, or it lies above every finite edge.
        above: The highest finite edge, where it lies above that.
    """

    value: float | None
    above: float | None = None


def quantile(q: float, buckets: Mapping[float, float]) -> Quantile:
    """The `q`-quantile (0 < q < 1) of cumulative counts by upper edge, `inf` among them."""
    edges = sorted(buckets)
    if not edges or edges[-1] != math.inf:
        return Quantile(None)
    total = max(buckets.values())  # cumulative: a sum of floats may fall by a rounding error
    if total <= 0:
        return Quantile(None)
    rank, below, count_below = q * total, 0.0, 0.0
    for edge in edges:
        count = max(count_below, buckets[edge])
        if count >= rank:
            if edge == math.inf:
                return Quantile(None, above=below)
            if count == count_below:
                return Quantile(below)
            return Quantile(below + (edge - below) * (rank - count_below) / (count - count_below))
        below, count_below = edge, count
    return Quantile(None, above=below)  # only by a rounding error in the last bucket


def at_most(edge: float, buckets: Mapping[float, float]) -> float | None:
    """How many observations were at or below an edge; None if that is no edge."""
    for known, count in buckets.items():
        if math.isclose(known, edge, rel_tol=1e-9):
            return count
    return None
