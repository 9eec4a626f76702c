"""The canary verdict: may the candidate take over, judging by what both sides answered?

PROMOTE is a claim that needs evidence, so the null hypothesis is that the candidate is worse:

1. Early HOLD, at looks every hundredth of the planned pairs: as soon as an e-process shows, at
   alpha 0.01, that the candidate exceeds the recent p95 more often than the baseline does, the
   estimate is at least the margin, and a t-test at 0.01 rejects half of it; or as soon as an
   e-process and a t-test show that its errors exceed the baseline's by half of the allowed.
2. PROMOTE only at the horizon (all planned pairs there), if a t-test over many stretches of time
   rejects "p95 ratio >= 1 + margin" at 0.05, the p95 of the whole window is not estimated beyond
   the margin either, and Newcombe's upper bound on the error difference is below the allowed.
3. All else is HOLD: regressed, errors, or inconclusive with the pairs that would have been needed.

How the ratio is estimated is `judgement.estimate`'s, the looks are `judgement.watch`'s.
The verdict is a pure function of the two sample files and the declared parameters (margin,
planned pairs, instances), so anyone who has those can redo it: `rejudge`. What is not checked here: that the
samples are true, and that both sides were measured side by side.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mc_contract.judgement.estimate import Estimate, estimate, log_p95_ratio
from mc_contract.judgement.plan import (
    ALPHA_PROMOTE,
    DECIDABLE,
    FULL_MARGIN,
    FULL_PAIRS,
    LEAST_SAMPLES,
    error_tolerance,
    is_failing,
    is_rehearsal,
    look_every,
    rehearsal_margin,
)
from mc_contract.judgement.samples import (
    Samples,
    SamplesUnusable,
    format_samples,
    parse_samples,
    samples_of,
)
from mc_contract.judgement.statistics import p95, runbook_p95
from mc_contract.judgement.watch import EarlyHold, Fall
from mc_contract.proportions import newcombe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "FULL_MARGIN",
    "FULL_PAIRS",
    "METHOD",
    "MOST_INSTANCES",
    "EarlyHold",
    "Judgement",
    "Look",
    "Samples",
    "SamplesUnusable",
    "error_tolerance",
    "format_samples",
    "history",
    "is_failing",
    "is_rehearsal",
    "judge",
    "look_every",
    "parse_samples",
    "rehearsal_margin",
    "rejudge",
    "samples_of",
]

MOST_INSTANCES = 100
MOST_PAIRS = 10**9  # planned; far above any run, far below what a float cannot hold

METHOD = (
    "non-inferiority on p95, 3: one-sided t-test at 0.05 on the trimmed mean of smoothed log p95 "
    "ratios over stretches of time and instances, failed requests being the slowest, and Newcombe's "
    "bound on the error difference; early HOLD by paired e-processes at 0.01"
)


@dataclass(frozen=True, slots=True)
class Side:
    """One side's figures; `p95_s` is None when every request failed."""

    n: int
    errors: int
    p95_s: float | None

    def as_dict(self) -> dict[str, Any]:
        """`{n, errors, p95_ms}`."""
        return {"n": self.n, "errors": self.errors, "p95_ms": _rounded(self.p95_s, 1000.0)}


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with everything that led to it.

    Attributes:
        kind: promoted, regressed, inconclusive or errors.
        regression: How much worse the candidate's p95 is (0.05 = 5 %), the trimmed mean over
            stretches of time.
        interval: Its 90 % interval; PROMOTE needs the upper end below `margin`.
        error_bound: Newcombe's upper bound (95 %) on candidate minus baseline error share.
        looks: At how many points the samples were looked at until the verdict fell.
        decided_at_pairs: How many pairs (or requests a side) it took.
        pairs_needed: Pairs that decide this margin in 99 of 100 cases when nothing differs.
        runbook: The runbook's own figure and what its bare rule would have said.
    """

    promote: bool
    kind: str
    reason: str
    baseline: Side
    candidate: Side
    regression: float | None
    interval: tuple[float, float] | None
    margin: float
    error_tolerance: float
    error_bound: float | None
    planned_pairs: int
    instances: int
    paired: bool
    looks: int
    decided_at_pairs: int
    pairs_needed: int | None
    rehearsal: bool
    runbook: dict[str, Any]

    @property
    def verdict(self) -> str:
        """`PROMOTE` or `HOLD`."""
        return "PROMOTE" if self.promote else "HOLD"

    def as_dict(self) -> dict[str, Any]:
        """The judgement as JSON; figures rounded so that two machines print the same."""
        told = {"verdict": self.verdict, **asdict(self), "method": METHOD}
        del told["promote"]
        return told | {
            "baseline": self.baseline.as_dict(),
            "candidate": self.candidate.as_dict(),
            "regression": _rounded(self.regression),
            "interval": [_rounded(end) for end in self.interval] if self.interval else None,
            "error_bound": _rounded(self.error_bound),
        }


@dataclass(frozen=True, slots=True)
class Look:
    """What the pairs up to one point said: the regression (0.05 = 5 %) and its 90 % interval.

    The interval is that of one look, not of all together; None where too few pairs are there.
    """

    at_pairs: int
    regression: float | None
    low: float | None
    high: float | None


def rejudge(baseline: bytes, candidate: bytes, parameters: Mapping[str, object]) -> Judgement:
    """Redo a verdict from the bytes of the two sample files and its declared parameters.

    Args:
        baseline: `base.lat`.
        candidate: `cand.lat`.
        parameters: `margin`, `planned_pairs` and `instances` (1 when absent) as declared before
            the run; others are ignored.

    Raises:
        SamplesUnusable: When a file or a parameter cannot be used.
    """
    margin = parameters.get("margin")
    if isinstance(margin, bool) or not isinstance(margin, int | float) or abs(margin) > MOST_PAIRS:
        raise SamplesUnusable(f"parameter margin: expected a number, got {_shown(margin)}")
    return judge(
        parse_samples(baseline),
        parse_samples(candidate),
        margin=float(margin),
        planned_pairs=_whole("planned_pairs", parameters.get("planned_pairs")),
        instances=_whole("instances", parameters.get("instances", 1)),
    )


def judge(
    baseline: Samples,
    candidate: Samples,
    *,
    margin: float = FULL_MARGIN,
    planned_pairs: int | None = None,
    instances: int = 1,
) -> Judgement:
    """Judge the candidate against the baseline; pure and deterministic.

    Args:
        baseline: Samples in time order; paired by position when both sides have as many.
        candidate: Likewise.
        margin: How much worse the p95 may be (0.05 = 5 %), in (0, 1].
        planned_pairs: The horizon declared before the run; None: what is there is all.
        instances: Instances a side, over which the requests went in turn; 1 when they are not
            known, or not as many on both sides.

    Raises:
        SamplesUnusable: When the margin, the planned pairs or the instances make no sense.
    """
    return _case(baseline, candidate, margin, planned_pairs, instances).judgement()


def history(
    baseline: Samples,
    candidate: Samples,
    *,
    margin: float = FULL_MARGIN,
    planned_pairs: int | None = None,
    instances: int = 1,
) -> list[Look]:
    """What each look made of the pairs so far, up to where the verdict fell; for pictures.

    Empty for samples that are not paired. Arguments and errors as for `judge`.
    """
    return _case(baseline, candidate, margin, planned_pairs, instances).history()


def _case(
    baseline: Samples,
    candidate: Samples,
    margin: float,
    planned_pairs: int | None,
    instances: int,
) -> _Case:
    if not (math.isfinite(margin) and 0 < margin <= 1):
        raise SamplesUnusable(f"margin must be above 0 and at most 1, got {margin}")
    n = min(baseline.n, candidate.n)
    planned = n if planned_pairs is None else planned_pairs
    if not 1 <= planned <= MOST_PAIRS:
        raise SamplesUnusable(f"planned pairs must be 1 to {MOST_PAIRS}, got {_shown(planned)}")
    if not 1 <= instances <= MOST_INSTANCES:
        raise SamplesUnusable(f"instances must be 1 to {MOST_INSTANCES}, got {_shown(instances)}")
    present = max(baseline.n, candidate.n)
    if planned_pairs is not None and planned < present:
        raise SamplesUnusable(
            f"planned pairs are {planned}, but the files have {present}",
            hint="planned pairs are declared before the run: see parameters in its verdict.json",
        )
    return _Case(
        baseline.latencies_s,
        candidate.latencies_s,
        margin=margin,
        planned=planned,
        instances=instances,
        tolerance=error_tolerance(margin=margin, planned_pairs=planned),
    )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SamplesUnusable(f"parameter {name}: expected a whole number, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A parameter for a message; Python refuses to spell an integer of thousands of digits."""
    if isinstance(value, int) and abs(value) > MOST_PAIRS:
        return "a number that is too large"
    return repr(value)[:100]


@dataclass(frozen=True, slots=True)
class _Case:
    """Two series (seconds, NaN = failed) and what they are judged by."""

    base: NDArray[np.float64]
    cand: NDArray[np.float64]
    margin: float
    planned: int
    instances: int
    tolerance: float

    @property
    def n(self) -> int:
        return min(self.base.size, self.cand.size)

    @property
    def paired(self) -> bool:
        return self.base.size == self.cand.size

    def _watch(self) -> EarlyHold:
        return EarlyHold(self.margin, self.planned, self.instances)

    def history(self) -> list[Look]:
        if not self.paired:
            return []
        watch = self._watch()
        fell = watch.advance(self.base, self.cand)
        looks = [_look(at, known) for at, known in watch.estimates]
        if fell is None:
            looks = [look for look in looks if look.at_pairs < self.n]
            looks.append(_look(self.n, self._estimate()))
        return looks

    def judgement(self) -> Judgement:
        known = self._estimate()
        bound = self._error_bounds()
        needed = self._pairs_needed(known)
        early = self._watch().advance(self.base, self.cand) if self.paired else None
        fall = early or self._at_the_end(known, bound, needed)
        base, cand = _side(self.base), _side(self.cand)
        regression: float | None = None
        if known is not None:
            regression = math.expm1(known.mean)
        elif base.p95_s is not None and cand.p95_s is not None:
            regression = cand.p95_s / base.p95_s - 1
        return Judgement(
            promote=fall.kind == "promoted",
            kind=fall.kind,
            reason=fall.reason,
            baseline=base,
            candidate=cand,
            regression=regression,
            interval=(math.expm1(known.low), math.expm1(known.high)) if known else None,
            margin=self.margin,
            error_tolerance=self.tolerance,
            error_bound=bound[1],
            planned_pairs=self.planned,
            instances=self.instances,
            paired=self.paired,
            looks=fall.looks,
            decided_at_pairs=fall.at_pairs,
            pairs_needed=needed,
            rehearsal=is_rehearsal(margin=self.margin, planned_pairs=self.planned),
            runbook=_runbook_rule(self.base, self.cand),
        )

    def _at_the_end(
        self,
        known: Estimate | None,
        error_bounds: tuple[float, float],
        needed: int | None,
    ) -> Fall:
        # Over 60 lines: the endings stand one after another, in the order of their precedence
        looks = 1 + (self.n - 1) // look_every(self.planned) if self.paired else 1

        def fall(kind: str, reason: str) -> Fall:
            return Fall(kind, reason, looks, self.n)

        if error_bounds[1] >= self.tolerance and error_bounds[0] > 0:
            low, high = error_bounds
            return fall(
                "errors",
                f"the candidate fails {100 * low:.2f} % to {100 * high:.2f} % more of its requests "
                f"than the baseline (allowed {100 * self.tolerance:g} %)",
            )
        failed = int(np.isnan(self.base).sum())
        if is_failing(failed, self.base.size):
            return fall(
                "inconclusive",
                f"the baseline failed {failed} of {self.base.size} requests: too many to compare "
                "with it",
            )
        if known is None:
            return fall(
                "inconclusive",
                f"too few answers: at least {LEAST_SAMPLES} a side are needed, throughout the run",
            )
        mean, margin = _percent(known.mean), f"{100 * self.margin:g} %"
        interval = f"90 % interval {_percent(known.low)} to {_percent(known.high)}"
        if known.low > 0 and math.expm1(known.mean) >= self.margin:
            return fall(
                "regressed",
                f"the candidate's p95 is {mean.removeprefix('+')} worse ({interval}; allowed {margin})",
            )
        change = f"the candidate's p95 is {mean} against the baseline's ({interval})"
        wanted = f"about {needed} pairs would decide it" if needed else "more pairs are needed"
        if self.n < self.planned:
            return fall(
                "inconclusive",
                f"stopped at {self.n} of {self.planned} planned pairs; so far {change}",
            )
        if error_bounds[1] >= self.tolerance:
            return fall(
                "inconclusive",
                f"the candidate may fail up to {100 * error_bounds[1]:.2f} % more of its requests "
                f"(allowed {100 * self.tolerance:g} %): more pairs are needed",
            )
        if math.expm1(known.high) >= self.margin:
            return fall(
                "inconclusive", f"{change}: not shown to be less than {margin} worse; {wanted}"
            )
        whole = math.expm1(log_p95_ratio(self.base, self.cand))
        if not whole < self.margin:  # nor if it is no number
            # A candidate that is slow now and then, or its neighbour was: no test tells which.
            return fall(
                "inconclusive",
                f"{change} in most of the run, but {100 * whole:+.3g} % over all of it: it was slow "
                "now and then; compare more instances a side",
            )
        return fall("promoted", f"{change}: shown to be less than {margin} worse")

    def _estimate(self) -> Estimate | None:
        """The estimate over all samples, if there are enough of them."""
        if self.n < LEAST_SAMPLES:
            return None
        if self.paired:
            return estimate(self.base, self.cand, instances=self.instances)
        # Which instance had which is not known, and a p95 of fewer answers is biased downwards:
        # of the longer side as many are compared, spread evenly over the time.
        base, cand = (
            side[np.arange(self.n) * side.size // self.n] for side in (self.base, self.cand)
        )
        return estimate(base, cand)

    def _error_bounds(self) -> tuple[float, float]:
        base_bad, cand_bad = int(np.isnan(self.base).sum()), int(np.isnan(self.cand).sum())
        return newcombe(base_bad, self.base.size, cand_bad, self.cand.size, alpha=ALPHA_PROMOTE)

    def _pairs_needed(self, known: Estimate | None) -> int | None:
        if known is None:
            return None if self.n >= LEAST_SAMPLES else LEAST_SAMPLES
        noise = DECIDABLE * known.se / math.log1p(self.margin)
        return max(LEAST_SAMPLES, math.ceil(self.n * noise**2))


def _look(at_pairs: int, known: Estimate | None) -> Look:
    if known is None:
        return Look(at_pairs, None, None, None)
    return Look(at_pairs, *(math.expm1(end) for end in (known.mean, known.low, known.high)))


def _side(series: NDArray[np.float64]) -> Side:
    answered = series[~np.isnan(series)]
    return Side(
        n=series.size,
        errors=series.size - answered.size,
        p95_s=p95(answered) if answered.size else None,
    )


def _runbook_rule(base: NDArray[np.float64], cand: NDArray[np.float64]) -> dict[str, Any]:
    """The runbook's figure beside ours: p95 by its index formula, a bare 5 % rule."""
    base, cand = base[~np.isnan(base)], cand[~np.isnan(cand)]
    if not (base.size and cand.size):
        return {"baseline_p95_ms": None, "candidate_p95_ms": None, "regression_percent": None}
    base_p95, cand_p95 = runbook_p95(base), runbook_p95(cand)
    regression = cand_p95 / base_p95 - 1
    return {
        "baseline_p95_ms": _rounded(base_p95, 1000.0),
        "candidate_p95_ms": _rounded(cand_p95, 1000.0),
        "regression_percent": _rounded(regression, 100.0),
        "verdict": "HOLD" if regression > FULL_MARGIN else "PROMOTE",
    }


def _percent(log_ratio: float) -> str:
    return f"{100 * math.expm1(log_ratio):+.3g} %"


def _rounded(value: float | None, factor: float = 1.0) -> float | None:
    """Six digits behind the point, `factor` applied; None stays None."""
    return None if value is None else round(value * factor, 6)
