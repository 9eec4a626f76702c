"""The playbook "HPA Oscillation": does it oscillate, why the window does not hold it, which would.

    diagnosis = diagnose(recorded, Rules(min_replicas=3, max_replicas=20), window_s=300)

With a measured load the load is replayed. Without one, or where the load's replay does not show
the oscillation that was recorded, the recorded replicas are (`Trace.from_replicas`).
"""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from mc_contract.numbers import counted
from mc_ops.autoscaler.oscillation import (
    THRESHOLD_PER_HOUR,
    Oscillation,
    Series,
    moves_of,
    oscillation,
    reversal_times,
    values_at,
)
from mc_ops.autoscaler.record import Recorded, judged
from mc_ops.autoscaler.replay import DEFAULT_WINDOW_S, SYNC_S, Rules, Trace
from mc_ops.autoscaler.window import CALM_PER_HOUR, Window, smallest_window

_LATE_S = 2 * SYNC_S  # a sync may be late, and a record may be coarse


class HpaVerdict(Enum):
    """What was found."""

    oscillating = "oscillating"
    calm = "not oscillating"
    stopped = "stopped since the rules were changed"
    could_not_tell = "could not tell"


@dataclass(frozen=True, slots=True)
class HpaDiagnosis:
    """What was found, and what would have stopped it.

    Attributes:
        found: The reversals that were recorded.
        rules: By which was replayed; `rules.down.window_s` is the window as it is.
        window: The answer; None unless it oscillates.
        method: `load` or `replicas`: what was replayed; None when nothing was.
        notes: What a reader must know: of the record, and of the replay.
        before: What was recorded before the rules were changed, where it oscillated by them; `found` is
            what was since then.
        stopped: Whether that is over: after so long it would have shown, window and all.
    """

    recorded: Recorded
    found: Oscillation
    rules: Rules
    window: Window | None
    method: str | None
    notes: tuple[str, ...]
    before: Oscillation | None = None
    stopped: bool = False

    @property
    def verdict(self) -> HpaVerdict:
        """Oscillating, calm, stopped by a change, or could not tell for want of an hour."""
        if self.found.oscillating:
            return HpaVerdict.oscillating
        if self.stopped:
            return HpaVerdict.stopped
        return HpaVerdict.calm if self.found.enough else HpaVerdict.could_not_tell

    @property
    def proposed_s(self) -> int | None:
        """The window to set: None where there is nothing to set, or nothing known that helps."""
        return self.window.seconds if self.window else None

    @property
    def mean_replicas(self) -> tuple[float, float | None]:
        """On average over the record: as recorded, and by replay with the proposed window."""
        window = self.window
        then = mean_of(window.replayed) if window and window.seconds is not None else None
        return mean_of(self.recorded.replicas), then

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis as it appears in JSON."""
        window = self.window
        now, then = self.mean_replicas
        return {
            "verdict": self.verdict.name,
            "source": self.recorded.source,
            "recorded": self.found.as_dict(),
            "before_change": self.before.as_dict() if self.before else None,
            "window_now_s": self.rules.down.window_s,
            "window_proposed_s": self.proposed_s,
            "replayed": self.method,
            "reversals_per_hour_now_by_replay": window.before if window else None,
            "reversals_per_hour_then_by_replay": window.after if window else None,
            "mean_replicas_recorded": round(now, 3),
            "mean_replicas_then_by_replay": None if then is None else round(then, 3),
            "why": window.why if window else self.found.why,
            "notes": list(self.notes),
        }


def diagnose(
    recorded: Recorded, rules: Rules | None, *, target: float | None = None, window_s: int | None
) -> HpaDiagnosis:
    """Look at a record, and look for the window.

    Args:
        recorded: The replicas, and the load if it was measured.
        rules: Of the HPA; None: its bounds are taken from the record, the rest is the default.
        target: What one replica should carry, in the unit of the load; needed with a load.
        window_s: The downward window that the HPA had then; None: see `assumed_window`.

    Raises:
        UnusableInput: The record is none, or the target is not above 0.
    """
    if recorded.changed_s is not None:
        series, since = since_change(recorded)
        if (before := oscillation(series)).oscillating:
            found_since = diagnose(since, rules, target=target, window_s=window_s)
            return _after_change(before, reversal_times(series), found_since)
    found = judged(recorded)
    counts = [count for _, count in recorded.replicas]
    bounded = rules is not None
    rules = rules or Rules(min_replicas=min(counts), max_replicas=max(counts))
    # Of times that are guessed nothing can be concluded on how long a replica was held
    then_s = window_s
    if then_s is None:
        then_s = DEFAULT_WINDOW_S if recorded.guessed else assumed_window(recorded.replicas)
    rules = rules.with_window(then_s)
    if not found.oscillating:
        return HpaDiagnosis(recorded, found, rules, None, None, recorded.notes)
    notes = [*recorded.notes]
    if recorded.guessed:
        notes.append(
            "so the window is an estimate: --prometheus URL or --series FILE has the times themselves"
        )
    if recorded.load is not None and not bounded:
        notes.append(f"bounds are not known; {min(counts)} to {max(counts)} as recorded")
    if window_s is None:
        notes.append(f"the window then is not known; taken as {then_s} s")
    elif not recorded.guessed and (
        sooner := sum(gap < window_s - _LATE_S for gap in _held(recorded.replicas))
    ):
        notes.append(
            f"{counted(sooner, 'time')} replicas went down sooner after going up than a window of "
            f"{window_s} s allows: it was shorter then, or something else scales too"
        )
    return _with_window(HpaDiagnosis(recorded, found, rules, None, None, tuple(notes)), target)


def since_change(recorded: Recorded) -> tuple[Series, Recorded]:
    """The replicas before the rules were last changed, and the record since then."""
    at = recorded.changed_s
    assert at is not None
    before = [point for point in recorded.replicas if point[0] <= at]
    [count] = values_at(recorded.replicas, [at])
    since = ((at, count), *(point for point in recorded.replicas if point[0] > at))
    kept = replace(recorded, replicas=since, changed_s=None, most=recorded.most_since)
    return [*before, (at, count)], kept


def _after_change(before: Oscillation, times: list[float], since: HpaDiagnosis) -> HpaDiagnosis:
    """What was found since the rules were changed, beside the oscillation that there was before."""
    needed_s = since.rules.down.window_s + THRESHOLD_PER_HOUR * (times[-1] - times[0]) / (
        len(times) - 1
    )
    found, most = since.found, since.recorded.most
    quiet = found.reversals <= CALM_PER_HOUR and (most is None or most <= CALM_PER_HOUR + 1)
    lasted = found.window_s >= needed_s
    if found.oscillating:
        note = "it oscillates since the rules were changed, and did before"
    elif quiet and lasted:
        note = "no hour has passed since then, and the load may have ended: look again"
    elif quiet:
        note = (
            f"{needed_s - found.window_s:.0f} s more without a reversal would show that it stopped"
        )
    else:
        note = "whether it goes on cannot be told from these events"
    return replace(
        since,
        before=before,
        stopped=quiet and lasted and not found.oscillating,
        notes=(*since.notes, note),
    )


def mean_of(series: Series) -> float:
    """Replicas on average over time; the last point ends the series."""
    whole_s = series[-1][0] - series[0][0]
    if whole_s <= 0:
        return float(series[0][1])
    return (
        sum((after - at) * count for (at, count), (after, _) in itertools.pairwise(series))
        / whole_s
    )


def assumed_window(series: Series) -> int:
    """The longest window that the record allows, up to the default.

    With a window of W seconds no replica goes within W after one came.
    """
    shortest = min(_held(series), default=float(DEFAULT_WINDOW_S))
    return min(DEFAULT_WINDOW_S, max(0, int(shortest) // SYNC_S * SYNC_S))


def _held(series: Series) -> list[float]:
    """Seconds from each move up to the move down that follows it."""
    return [
        down_at - up_at
        for (up_at, up), (down_at, again_up) in itertools.pairwise(moves_of(series))
        if up and not again_up
    ]


def _with_window(diagnosis: HpaDiagnosis, target: float | None) -> HpaDiagnosis:
    recorded, rules, notes = diagnosis.recorded, diagnosis.rules, list(diagnosis.notes)
    if recorded.load is not None and target is not None:
        [begun] = values_at(recorded.replicas, [recorded.load[0][0]])
        trace = Trace.from_load(recorded.load, target=target, replicas=begun)
        window = smallest_window(trace, rules)
        if window.before >= THRESHOLD_PER_HOUR:
            return replace(diagnosis, window=window, method="load")
        notes.append(
            f"the load, replayed, gives {counted(window.before, 'reversal')} an hour where "
            f"{diagnosis.found.reversals_per_hour:.0f} were recorded: target, bounds or rules are "
            "others, or something else scales too; so the replicas were replayed"
        )
    trace = Trace.from_replicas(recorded.replicas, window_s=rules.down.window_s)
    window = smallest_window(trace, rules)
    if window.before <= CALM_PER_HOUR:
        why = (
            "at one look every 15 s, as the HPA looks, the record does not oscillate: what moves "
            "the replicas is not this HPA alone"
        )
        window = replace(window, seconds=None, after=None, why=why)
    notes.append(
        "replayed from the replicas: they show the demand only as the window let it through, so "
        "a shorter window than now cannot be told; the load is taken to be the same with more "
        "replicas"
    )
    return replace(diagnosis, window=window, method="replicas", notes=tuple(notes))


def window_command(name: str, namespace: str | None, change: Mapping[str, Any]) -> str:
    """The `kubectl` command that merges this change into the HPA."""
    where = f" --namespace {shlex.quote(namespace)}" if namespace else ""
    body = shlex.quote(json.dumps(change, separators=(",", ":")))
    return f"kubectl patch hpa {shlex.quote(name)}{where} --type=merge --patch {body}"


def window_change(seconds: int | None, *, had_behavior: bool = True) -> dict[str, Any]:
    """The merge patch that sets the downward window; None takes it out again.

    Args:
        seconds: `stabilizationWindowSeconds`.
        had_behavior: Whether the HPA had any `behavior` before; if not, it is taken out whole.
    """
    if seconds is None and not had_behavior:
        return {"spec": {"behavior": None}}
    return {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": seconds}}}}
