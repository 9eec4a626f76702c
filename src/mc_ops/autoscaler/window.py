"""The smallest downward window that would have stopped an oscillation, by replay.

answer = smallest_window(Trace.from_replicas(series, window_s=300), Rules())
"""

from __future__ import annotations

from dataclasses import dataclass

from mc_ops.autoscaler.oscillation import busiest_hour, reversal_times
from mc_ops.autoscaler.replay import SYNC_S, Rules, Trace, replay

CALM_PER_HOUR = 1
"""Reversals in one hour that a window may leave."""
LONGEST_WINDOW_S = 3600
"""The API refuses a longer `stabilizationWindowSeconds`."""


@dataclass(frozen=True, slots=True)
class Window:
    """The smallest downward window that stops the oscillation.

    Attributes:
        seconds: None when none does.
        why: What was found, in words.
        before: Reversals in the busiest hour by replay with the window as it is.
        after: The same with the new window; None when there is none.
        replayed: The replicas with the new window (with the longest, when there is none).
    """

    seconds: int | None
    why: str
    before: float
    after: float | None
    replayed: tuple[tuple[float, int], ...]


def smallest_window(trace: Trace, rules: Rules) -> Window:
    """The smallest `stabilizationWindowSeconds` with at most one reversal in any hour, by replay.

    Every multiple of 15 s is tried from 0 (from the trace's own window, when the trace is of
    replicas) to the API's 3600: between two of them nothing changes, for recommendations come
    every 15 s.
    """
    before = busiest_hour(reversal_times(replay(trace, rules)))
    replayed: list[tuple[float, int]] = []
    left = before
    for seconds in range(trace.passed_s, LONGEST_WINDOW_S + 1, SYNC_S):
        replayed = replay(trace, rules.with_window(seconds))
        left = busiest_hour(reversal_times(replayed))
        if left <= CALM_PER_HOUR:
            return Window(
                seconds,
                f"{seconds} s leave {left} reversals in the busiest hour, by replay",
                float(before),
                float(left),
                tuple(replayed),
            )
    return Window(
        None,
        f"no window stops it: the API's longest, {LONGEST_WINDOW_S} s, leaves {left} reversals "
        "in the busiest hour, by replay",
        float(before),
        None,
        tuple(replayed),
    )
