"""Policy denials: that there are any, and whether their share of decisions is rising.

The share of denials in the newest window is compared with that of the time before it, up to the
longest window, by Newcombe's interval for a difference of two proportions. Rising, or falling, is
said only when the interval leaves out zero, the share changed by a fifth, and there were enough
denials to look at. Denials come in bursts (one client that asks again and again), which the
interval does not know; the floors are there for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from mc_contract import numbers
from mc_contract.proportions import newcombe
from mc_ops.slo import targets
from mc_ops.slo.figure import Figure, Heading, Judged, Verdict
from mc_ops.slo.measure import Measure
from mc_ops.slo.source import Window

METRIC = "mc_policy_decisions_total"
WINDOWS = tuple(Window.parse(text) for text in ("1h", "6h", "24h"))
LEAST_DENIES = 20
LEAST_CHANGE = 0.2
LEAST_DECISIONS = 100
ALPHA = 0.01  # one-sided, at each end: the check is made every morning


class Direction(StrEnum):
    """Where the share of denials goes."""

    rising = "rising"
    steady = "steady"
    falling = "falling"
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Denials:
    """What was decided in one window; `covered_s` is how much of it the source knows."""

    window: Window
    span: str
    denies: float
    decisions: float
    covered_s: float | None

    @property
    def share(self) -> float | None:
        """Denials among decisions; None without any."""
        return self.denies / self.decisions if self.decisions > 0 else None

    def as_json(self) -> dict[str, Any]:
        """As `mcctl policy trend` prints it."""
        return {
            "window": self.span,
            "denies": self.denies,
            "decisions": self.decisions,
            "deny_share": self.share,
            "covered_s": self.covered_s,
        }


@dataclass(frozen=True, slots=True)
class Trend:
    """The verdict: a direction, why, and the 98 % interval of the share's difference."""

    direction: Direction
    reason: str
    windows: tuple[Denials, ...]
    difference: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """As `mcctl policy trend` prints it."""
        return {
            "direction": self.direction.value,
            "reason": self.reason,
            "difference": list(self.difference) if self.difference else None,
            "windows": [one.as_json() for one in self.windows],
        }


def counted(measure: Measure, windows: Sequence[Window] = WINDOWS) -> tuple[Denials, ...] | None:
    """Denials in each window, shortest first, or in the source's one span; None: no such metric."""
    asked = windows if measure.source.looks_back else windows[-1:]
    found = []
    for window in asked:
        rows = {
            key: value
            for key, value in measure.source.increases(
                METRIC, ("decision", "tenant"), window
            ).items()
            if key[1] != targets.CANARY
        }
        if not rows:
            return None
        denies = sum(value for (decision, _), value in rows.items() if decision == "deny")
        found.append(
            Denials(
                window,
                measure.source.span(window),
                denies,
                sum(rows.values()),
                measure.source.covered_s(window),
            )
        )
    return tuple(found)


def trend(windows: tuple[Denials, ...]) -> Trend:
    """Compare the shortest window with the rest of the longest."""
    newest, longest = windows[0], windows[-1]
    if newest is longest:
        return Trend(
            Direction.unknown, "one span of time has no trend: --prometheus gives one", windows
        )
    now_bad, now_all = round(newest.denies), round(newest.decisions)
    # At least zero: each window is extrapolated by itself
    before_bad = max(0, round(longest.denies) - now_bad)
    before_all = max(0, round(longest.decisions) - now_all)
    if min(now_all, before_all) < LEAST_DECISIONS:
        reason = (
            f"too few decisions to tell: {now_all} in {newest.span}, {before_all} before"
            f" (at least {LEAST_DECISIONS} each)"
        )
        return Trend(Direction.unknown, reason, windows)
    now_bad, before_bad = min(now_bad, now_all), min(before_bad, before_all)
    bounds = newcombe(before_bad, before_all, now_bad, now_all, alpha=ALPHA)
    now, before = now_bad / now_all, before_bad / before_all
    said = f"{now:.2%} denied in {newest.span}, {before:.2%} before it"
    changed = abs(now - before) >= LEAST_CHANGE * max(before, now)
    if changed and bounds[0] > 0 and now_bad >= LEAST_DENIES:
        return Trend(Direction.rising, said, windows, bounds)
    if changed and bounds[1] < 0 and before_bad >= LEAST_DENIES:
        return Trend(Direction.falling, said, windows, bounds)
    return Trend(Direction.steady, said, windows, bounds)


def policy_figures(measure: Measure) -> list[Figure]:
    """The runbook's two checks: denials are not zero, and they do not trend up."""
    found = counted(measure)
    longest = WINDOWS[-1]
    denials = Heading("policy-denies", "policy denials", "> 0", "count")
    rising = Heading("deny-trend", "trend of denials", "not rising")
    if found is None:
        return [measure.absent(heading, METRIC, longest) for heading in (denials, rising)]
    whole = found[-1]
    some = measure.figure(denials, whole.denies, _some(whole), longest)
    some = replace(some, events=whole.decisions)
    told = trend(found)
    moved = measure.figure(rising, found[0].share, _moved(told, measure), WINDOWS[0])
    return [some, replace(moved, events=found[0].decisions, detail=told.as_json())]


def _some(whole: Denials) -> Judged:
    if whole.denies > 0:
        return Judged(Verdict.met)
    if whole.decisions < LEAST_DECISIONS:
        return Judged(
            Verdict.unknown,
            f"none among only {numbers.counted(whole.decisions, 'decision')}",
            few=True,
        )
    return Judged(
        Verdict.missed,
        f"none among {numbers.counted(whole.decisions, 'decision')}: is policy enforced?",
    )


def _moved(told: Trend, measure: Measure) -> Judged:
    if not measure.source.looks_back:
        return Judged(
            Verdict.not_applicable, "replicas tell no trend, only counts; --prometheus does"
        )
    if told.direction is Direction.unknown:
        return Judged(Verdict.unknown, told.reason, few=True)
    if told.direction is Direction.rising:
        return Judged(Verdict.missed, f"rising: {told.reason}")
    return Judged(Verdict.met, f"{told.direction}: {told.reason}")
