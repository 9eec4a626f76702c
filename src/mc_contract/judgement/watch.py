"""The watch over a running canary: HOLD as soon as the evidence suffices.

At each look an e-process on p95 exceedance and one on errors weigh all pairs so far. Both are
anytime-valid: stopping at the first crossing keeps the promised error, so the driver watches live,
and `judge` replays the very same looks from the files.

Latency: in a pair of random order either side is as likely to be the slow one, if the candidate is
no worse, whatever load both share. So pairs in which only one side exceeded the recent p95 are coin
tosses, and the e-process bets on the candidate (Ville, 1939; for betting on bounded outcomes
Waudby-Smith and Ramdas, 2024: "Estimating means of bounded random variables by betting"). That shows
*a* regression. HOLD takes more: the estimate over the stretches so far must be at least the margin,
and a t-test must reject half of it. A bad spell of one side alone is no coin toss (a noisy
neighbour); there these two keep a false HOLD away, by measurement and not by proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mc_contract.judgement.estimate import Estimate, cell_ratios, estimate_of_cells
from mc_contract.judgement.plan import (
    ALPHA_HOLD,
    LEAST_ANSWERS,
    error_tolerance,
    look_every,
    looks_a_stretch,
)
from mc_contract.judgement.statistics import log_e_value, p95, student_t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HISTORY_LOOKS = 10  # the threshold follows the load: both sides' p95 over the last tenth
_LEAST_STRETCHES = 4
_ENOUGH = -math.log(ALPHA_HOLD)


@dataclass(frozen=True, slots=True)
class Fall:
    """Where and how a verdict fell."""

    kind: str
    reason: str
    looks: int
    at_pairs: int


@dataclass(slots=True)
class EarlyHold:
    """The evidence so far; `advance` makes the looks that new pairs allow.

    A look happens every hundredth of the planned pairs, never past them.

    Attributes:
        instances: Instances a side, over which the pairs went in turn; 1 when not known.
        estimates: What each look made of all before it: (pairs, estimate or None).
    """

    margin: float
    planned_pairs: int
    instances: int = 1
    estimates: list[tuple[int, Estimate | None]] = field(default_factory=list)
    _looks: int = 0
    _worse: int = 0  # pairs in which only the candidate failed
    _better: int = 0
    _error_excess: list[float] = field(default_factory=list)  # a look each, share of requests
    _slow: int = 0  # pairs in which only the candidate exceeded the threshold
    _fast: int = 0
    _log_p95: list[float] = field(default_factory=list)  # of both sides together, a look each
    _cells: list[NDArray[np.float64]] = field(default_factory=list)  # a whole stretch each

    def advance(self, base: NDArray[np.float64], cand: NDArray[np.float64]) -> Fall | None:
        """Look at what is new.

        Args:
            base: All of the baseline's latencies so far (seconds, NaN = failed), in time order;
                what an earlier call was given must not have changed.
            cand: The candidate's, as many.

        Returns:
            The HOLD, at the first look at which the evidence suffices; None before that.
        """
        step = look_every(self.planned_pairs)
        while (self._looks + 1) * step <= min(base.size, self.planned_pairs):
            self._looks += 1
            at = self._looks * step
            # Both, so that the look on which errors decide has its estimate as well
            errors = self._errors(base[:at], cand[:at], step)
            latency = self._latency(base[:at], cand[:at], step)
            if fall := errors or latency:
                return fall
        return None

    def _errors(
        self, base: NDArray[np.float64], cand: NDArray[np.float64], step: int
    ) -> Fall | None:
        base_bad, cand_bad = np.isnan(base[-step:]), np.isnan(cand[-step:])
        self._worse += int((cand_bad & ~base_bad).sum())
        self._better += int((base_bad & ~cand_bad).sum())
        allowed = error_tolerance(margin=self.margin, planned_pairs=self.planned_pairs)
        same = base.size - self._worse - self._better
        # Evidence for half of what is allowed, as for latency.
        self._error_excess.append(float(cand_bad.mean() - base_bad.mean()))
        if log_e_value(self._worse, self._better, same, allowed=allowed / 2) < _ENOUGH:
            return None
        # Evidence of more failures, but only a candidate that seems beyond what is allowed is held.
        if float(np.mean(self._error_excess)) < allowed:
            return None
        # A stall of a few seconds fails requests in a heap, now of one side, now of the other;
        # pairs are not independent then, so the excess must show over the stretches as well.
        if not _exceeds(np.array(self._error_excess), allowed / 2):
            return None
        reason = (
            f"the candidate alone failed in {self._worse} of {base.size} pairs, the baseline alone "
            f"in {self._better} (allowed {100 * allowed:g} % more), clear after {base.size} of "
            f"{self.planned_pairs} pairs"
        )
        return Fall("errors", reason, self._looks, base.size)

    def _latency(
        self, base: NDArray[np.float64], cand: NDArray[np.float64], step: int
    ) -> Fall | None:
        self._bet(base[-step:], cand[-step:])
        stretch = step * looks_a_stretch(self.planned_pairs, self.instances)
        if base.size % stretch == 0:
            start = base.size - stretch
            self._cells.append(
                cell_ratios(base[start:], cand[start:], instances=self.instances, start=start)
            )
        cells = np.array(self._cells)
        known = estimate_of_cells(cells) if len(cells) >= _LEAST_STRETCHES else None
        self.estimates.append((base.size, known))
        if known is None or log_e_value(self._slow, self._fast, 0, allowed=0.0) < _ENOUGH:
            return None
        # Evidence of a regression, but only a candidate that seems beyond the margin is held: one
        # that is surely 3 % slower may still be shown at the horizon to be within 5 %.
        limit = math.log1p(self.margin)
        if known.mean < limit or float(np.nanmean(cells)) < limit:
            return None
        if not known.exceeds(math.log1p(self.margin / 2), alpha=ALPHA_HOLD):
            return None
        of_base, of_cand = (1000 * p95(side[~np.isnan(side)]) for side in (base, cand))
        reason = (
            f"the candidate's p95 is {100 * math.expm1(known.mean):.3g} % worse ({of_cand:.3g} ms, "
            f"baseline {of_base:.3g} ms; allowed {100 * self.margin:g} %), clear after {base.size} "
            f"of {self.planned_pairs} pairs"
        )
        return Fall("regressed", reason, self._looks, base.size)

    def _bet(self, base: NDArray[np.float64], cand: NDArray[np.float64]) -> None:
        """Count the new pairs in which one side alone exceeded what was usual before them."""
        # The bet comes before its outcome: the threshold knows only the looks before this one.
        history = [value for value in self._log_p95[-_HISTORY_LOOKS:] if not math.isnan(value)]
        if history:
            threshold = math.exp(sum(history) / len(history))
            # A pair with a failed request says nothing here; it is the errors' affair.
            both = ~(np.isnan(base) | np.isnan(cand))
            base_over, cand_over = (base > threshold) & both, (cand > threshold) & both
            self._slow += int((cand_over & ~base_over).sum())
            self._fast += int((base_over & ~cand_over).sum())
        answered = np.concatenate([base, cand])
        answered = answered[~np.isnan(answered)]
        self._log_p95.append(
            math.log(p95(answered)) if answered.size >= LEAST_ANSWERS else math.nan
        )


def _exceeds(shares: NDArray[np.float64], limit: float) -> bool:
    """Whether a t-test over looks rejects "mean at most `limit`" at the alpha of a HOLD."""
    if shares.size < _LEAST_STRETCHES:
        return False
    se = float(shares.std(ddof=1)) / math.sqrt(shares.size)
    return float(shares.mean()) - limit > student_t_quantile(1 - ALPHA_HOLD, shares.size - 1) * se
