"""Requests that a side refused for want of a place: a full machine's doing, or the candidate's?

A full machine refuses on both sides, in heaps, now more here and now more there; a candidate with
fewer places refuses more all along. Nothing here promotes: what is told is only whether a HOLD that
rests on refusals is a finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mc_contract.proportions import binomial_tail

if TYPE_CHECKING:
    from mc_ops.canary.driver import Sampled

_STRETCHES = 20
_ALPHA = 0.05
_TIMES = 10  # a heap has tens, so one side may have so many times what the other has; no more


@dataclass(frozen=True, slots=True)
class Refusals:
    """How many requests each side refused.

    Attributes:
        alike: Both did, and the candidate neither in clearly more stretches of time nor more than
            ten times as many.
    """

    baseline: int
    candidate: int
    alike: bool


def refusals_of(sampled: Sampled) -> Refusals:
    """Count them, and compare both sides."""
    base, cand = int(sampled.base_refused.sum()), int(sampled.cand_refused.sum())
    alike = base > 0 and 0 < cand <= _TIMES * base and not _in_more_stretches(sampled)
    return Refusals(base, cand, alike)


def _in_more_stretches(sampled: Sampled) -> bool:
    """Whether a sign test over stretches of time finds more on the candidate's side."""
    step = math.ceil(sampled.base_refused.size / _STRETCHES)
    starts = np.arange(0, sampled.base_refused.size, step)
    base, cand = (
        np.add.reduceat(side.astype(int), starts)
        for side in (sampled.base_refused, sampled.cand_refused)
    )
    more, fewer = int((cand > base).sum()), int((cand < base).sum())
    return binomial_tail(more, more + fewer, 0.5) <= _ALPHA
