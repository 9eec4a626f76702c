"""Where and when two sides of a canary differ: by stretch of time, and by instance.

Pure functions of the latencies (seconds, NaN = failed), in the order of the pairs. Pairs are
spread round robin: of `count` instances pair i went to instance `i % count`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_contract.judgement.estimate import log_p95_ratio
from mc_contract.judgement.plan import LEAST_ANSWERS
from mc_contract.judgement.statistics import p95, student_t_quantile
from mc_contract.judgement.verdict import Judgement, Samples, judge
from mc_contract.proportions import newcombe

Latencies = NDArray[np.float64]

BLOCKS = 15
_LEAST_BLOCKS = 4
_ALPHA = 0.01
_WORST_BLOCKS_SHARE = 0.2  # 3 of 15


@dataclass(frozen=True, slots=True)
class Blocks:
    """The candidate's p95 over the baseline's, by stretch of time.

    Attributes:
        ratios: A block each, 0.05 = 5 % slower; None where a side has too few answers for a p95.
        errors: (baseline, candidate) failed requests, a block each.
        shape: `steady`, `drift`, `burst` or `unknown` (too few answers).
        detail: The same with its figures.
        worst: Indices of the blocks that a burst is made of; empty else.
    """

    ratios: tuple[float | None, ...]
    errors: tuple[tuple[int, int], ...]
    shape: str
    detail: str
    worst: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As it appears in JSON."""
        return {
            "shape": self.shape,
            "detail": self.detail,
            "p95_difference": [None if one is None else round(one, 6) for one in self.ratios],
            "errors": [{"baseline": base, "candidate": cand} for base, cand in self.errors],
        }


def blocks_of(base: Latencies, cand: Latencies, *, margin: float) -> Blocks:
    """Cut both series into up to 15 blocks, and say how the difference is spread over them.

    Drift: the slope over the blocks differs from 0 (t-test, 0.01). Burst: without the worst fifth
    of the blocks the mean is below half of the margin, with them it is at least the margin.
    """
    count = min(BLOCKS, max(1, min(base.size, cand.size) // LEAST_ANSWERS))
    pairs = list(zip(np.array_split(base, count), np.array_split(cand, count), strict=True))
    logs = np.array([log_p95_ratio(one, other) for one, other in pairs])
    ratios = tuple(None if math.isnan(one) else math.expm1(one) for one in logs.tolist())
    errors = tuple((_failed(one), _failed(other)) for one, other in pairs)
    if count < _LEAST_BLOCKS or np.isnan(logs).any():
        return Blocks(ratios, errors, "unknown", "too few answers to compare stretches of time")
    worst = _burst(logs, margin)
    if worst:
        rest = math.expm1(float(np.delete(logs, worst).mean()))
        detail = f"{len(worst)} of {count} stretches make it; the others are {rest:+.1%}"
        return Blocks(ratios, errors, "burst", detail, worst)
    third = max(1, count // 3)
    first, last = (math.expm1(float(part.mean())) for part in (logs[:third], logs[-third:]))
    moved = f"{first:+.1%} in the first third, {last:+.1%} in the last"
    if _drifts(logs):
        return Blocks(ratios, errors, "drift", moved)
    return Blocks(ratios, errors, "steady", moved)


def _burst(logs: NDArray[np.float64], margin: float) -> tuple[int, ...]:
    if math.expm1(float(logs.mean())) < margin:
        return ()
    order = np.argsort(logs)[::-1]
    most = max(1, round(logs.size * _WORST_BLOCKS_SHARE))
    for few in range(1, most + 1):
        if math.expm1(float(np.delete(logs, order[:few]).mean())) < margin / 2:
            return tuple(sorted(int(one) for one in order[:few]))
    return ()


def _drifts(logs: NDArray[np.float64]) -> bool:
    """Whether a line through the blocks has a slope (two-sided t-test)."""
    at = np.arange(logs.size) - (logs.size - 1) / 2
    slope = float((at * logs).sum() / (at**2).sum())
    left = logs - logs.mean() - slope * at
    free = logs.size - 2
    se = math.sqrt(float((left**2).sum()) / free / float((at**2).sum()))
    return abs(slope) > student_t_quantile(1 - _ALPHA / 2, free) * se > 0


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a side, against the rest of its own side.

    Attributes:
        p95_s: None when nothing was answered.
        against_rest: Its p95 against that of its side's others at the same time, 0.05 = 5 %
            slower; None where there are no others, or too few answers.
        stands_out: Slower (or failing more often) than the others of its side, beyond the margin
            (for errors: at all) and beyond chance (0.01, divided by the number of instances).
        why: The figures of that; empty unless it stands out.
    """

    side: str
    url: str
    requests: int
    errors: int
    p95_s: float | None
    against_rest: float | None
    stands_out: bool
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As it appears in JSON."""
        rest = self.against_rest
        return {
            "side": self.side,
            "url": self.url,
            "requests": self.requests,
            "errors": self.errors,
            "p95_ms": None if self.p95_s is None else round(self.p95_s * 1000, 6),
            "against_rest_of_side": None if rest is None else round(rest, 6),
            "stands_out": self.stands_out,
        }


def instances_of(
    side: str, urls: tuple[str, ...], series: Latencies, *, margin: float
) -> list[Instance]:
    """Each instance of one side.

    Args:
        side: `baseline` or `candidate`.
        urls: In the order in which pairs were spread over them.
        series: The side's latencies.
        margin: How much slower than the others makes one stand out.
    """
    owner = np.arange(series.size) % len(urls)
    return [
        _instance(side, url, series, owner == place, margin, len(urls))
        for place, url in enumerate(urls)
    ]


def _instance(
    side: str, url: str, series: Latencies, mine: NDArray[np.bool_], margin: float, count: int
) -> Instance:
    own, rest = series[mine], series[~mine]
    answered = own[~np.isnan(own)]
    slower, against, why_slow = _slower(series, mine, margin, count)
    fails, why_fails = _fails_more(own, rest, count)
    return Instance(
        side,
        url,
        int(own.size),
        _failed(own),
        p95(answered) if answered.size else None,
        against,
        slower or fails,
        "; ".join(why for why in (why_slow, why_fails) if why),
    )


def _slower(
    series: Latencies, mine: NDArray[np.bool_], margin: float, count: int
) -> tuple[bool, float | None, str]:
    least = min(int(mine.sum()), int((~mine).sum()))
    cuts = min(BLOCKS, least // LEAST_ANSWERS)
    if count == 1 or cuts < _LEAST_BLOCKS:
        return False, None, ""
    parts = zip(np.array_split(series, cuts), np.array_split(mine, cuts), strict=True)
    logs = np.array([log_p95_ratio(part[~own], part[own]) for part, own in parts])
    logs = logs[~np.isnan(logs)]
    if logs.size < _LEAST_BLOCKS:
        return False, None, ""
    mean, se = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(logs.size)
    surely = mean > student_t_quantile(1 - _ALPHA / count, logs.size - 1) * se
    out = surely and math.expm1(mean) >= margin
    why = f"p95 {math.expm1(mean):+.1%} against the others of its side" if out else ""
    return out, math.expm1(mean), why


def _fails_more(own: Latencies, rest: Latencies, count: int) -> tuple[bool, str]:
    if not (own.size and rest.size):
        return False, ""
    low, _ = newcombe(_failed(rest), rest.size, _failed(own), own.size, alpha=_ALPHA / count)
    if low <= 0:
        return False, ""
    return (
        True,
        f"{_failed(own)} of {own.size} failed, of the others {_failed(rest)} of {rest.size}",
    )


def judged_without(
    base: Latencies, cand: Latencies, count: int, place: int, *, margin: float
) -> Judgement | None:
    """The judgement without the pairs of one of `count` instances; None if nothing is left.

    The margin is the run's; the pairs that are left count as all that were planned.
    """
    kept = np.arange(cand.size) % count != place
    if base.size != cand.size or not kept.any():
        return None
    return judge(Samples(base[kept]), Samples(cand[kept]), margin=margin)


def _failed(series: Latencies) -> int:
    return int(np.isnan(series).sum())
