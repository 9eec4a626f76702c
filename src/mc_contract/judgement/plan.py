"""What a canary run declares before its first request, and what follows from that alone.

The margin and the tolerance for errors are fixed by the number of pairs planned, never by what
the samples turn out to be. A run with fewer pairs than the full verdict takes is a rehearsal.
"""

from __future__ import annotations

import math

from mc_contract.judgement.samples import SamplesUnusable
from mc_contract.proportions import newcombe

FULL_MARGIN = 0.05  # the runbook's: p95 at most 5 % worse
FULL_PAIRS = 20_000  # fewer can't decide that margin (canary-method.md: 19 % false HOLD at 10,000)
FULL_ERROR_TOLERANCE = 0.005  # difference of error shares

ALPHA_HOLD = 0.01
ALPHA_PROMOTE = 0.05
# z(0.95) + z(0.99): a candidate that does not differ is promoted with probability 0.99.
DECIDABLE = 3.97
# A baseline that fails more often than this (and more than a few requests) is no measure.
BASELINE_FAILING_SHARE, _BASELINE_FAILING_REQUESTS = 0.05, 20
LEAST_ANSWERS = 20  # below that a p95 is the maximum
LEAST_SAMPLES = 300  # a side, to be judged at all
LEAST_CELL_PAIRS = 50  # of one stretch and one instance

_LOOKS = 100
# The standard error of the log p95 ratio that a run is planned with: canary-method.md measured
# 0.010 at 30,000 request pairs on simulated load; the factor is for a busy laptop.
_PLANNED_SE, _PLANNED_SE_PAIRS, _PLANNED_SAFETY = 0.010, 30_000, 1.5
_MARGIN_STEP, _WIDEST_MARGIN = 0.05, 0.25
_TOLERANCE_STEP, _WIDEST_TOLERANCE, _STRAY_ERRORS = 0.005, 0.02, 5


def is_rehearsal(*, margin: float, planned_pairs: int) -> bool:
    """Whether these parameters give less than the full verdict."""
    return margin > FULL_MARGIN or planned_pairs < FULL_PAIRS


def rehearsal_margin(planned_pairs: int) -> float:
    """The margin that this many pairs can decide, known before any is sent.

    ln(1 + margin) >= 3.97 standard errors, the margin rounded up to the next 0.05, at most 0.25.

    Raises:
        SamplesUnusable: When even 0.25 could not be decided; tells the pairs it takes.
    """
    se = _PLANNED_SAFETY * _PLANNED_SE * math.sqrt(_PLANNED_SE_PAIRS / max(planned_pairs, 1))
    steps = math.ceil(math.expm1(DECIDABLE * se) / _MARGIN_STEP)
    if steps * _MARGIN_STEP <= _WIDEST_MARGIN:
        return round(steps * _MARGIN_STEP, 2)
    widest = DECIDABLE * _PLANNED_SAFETY * _PLANNED_SE / math.log1p(_WIDEST_MARGIN)
    needed = math.ceil(_PLANNED_SE_PAIRS * widest**2)
    raise SamplesUnusable(
        f"{planned_pairs} pairs cannot decide even a margin of {_WIDEST_MARGIN}: "
        f"it takes {needed} pairs",
        hint=f"plan at least {needed} pairs (more minutes or a higher rate); "
        f"{FULL_PAIRS} for the full verdict",
    )


def error_tolerance(*, margin: float, planned_pairs: int) -> float:
    """The allowed difference of error shares, known before any request is sent.

    0.005 for the full verdict. A rehearsal must bear 5 stray errors of the candidate: the next
    0.005 above Newcombe's bound for those, at most 0.02.
    """
    if not is_rehearsal(margin=margin, planned_pairs=planned_pairs):
        return FULL_ERROR_TOLERANCE
    strays = min(_STRAY_ERRORS, planned_pairs)
    bound = newcombe(0, planned_pairs, strays, planned_pairs, alpha=ALPHA_PROMOTE)[1]
    steps = math.floor(bound / _TOLERANCE_STEP) + 1
    return min(round(steps * _TOLERANCE_STEP, 3), _WIDEST_TOLERANCE)


def look_every(planned_pairs: int) -> int:
    """Pairs between two looks."""
    return max(10, -(-planned_pairs // _LOOKS))


def looks_a_stretch(planned_pairs: int, instances: int) -> int:
    """Looks that make one stretch: its cells, one for each instance, have 50 pairs at least."""
    return -(-LEAST_CELL_PAIRS * instances // look_every(planned_pairs))


def is_failing(errors: int, requests: int) -> bool:
    """Whether a baseline fails so often that nothing can be compared with it."""
    return errors > max(_BASELINE_FAILING_REQUESTS, BASELINE_FAILING_SHARE * requests)
