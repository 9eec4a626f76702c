"""Does an autoscaler oscillate? Told from nothing but its replicas over time.

    found = oscillation([(0.0, 3), (60.0, 6), (420.0, 3), ...])

Pure Python, since `mcctl` imports it at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mc_ops.errors import UnusableInput

THRESHOLD_PER_HOUR = 4
"""Reversals in one hour from which on a series oscillates."""
WITHIN_S = 15 * 60.0
"""Two opposite moves further apart than this follow the load; they are no reversal."""
_HOUR_S = 3600.0
_Value = TypeVar("_Value", int, float)

Series = Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Oscillation:
    """Whether a replica series oscillates.

    Attributes:
        oscillating: 4 or more reversals in one hour, the two moves of each within 15 min.
        reversals_per_hour: Those in the busiest hour (in the whole, where it is shorter).
        reversals: Those in the whole series.
        start_s: Unix time of the first point.
        end_s: Unix time of the last point.
        threshold: Reversals an hour from which on it oscillates.
        enough: Whether "does not oscillate" can be said: the series has a whole hour. That it does
            oscillate can be said of less.
        why: The same in words.
    """

    oscillating: bool
    reversals_per_hour: float
    reversals: int
    start_s: float
    end_s: float
    threshold: int
    enough: bool
    why: str

    @property
    def window_s(self) -> float:
        """Seconds examined."""
        return self.end_s - self.start_s

    def as_dict(self) -> dict[str, object]:
        """The answer as it appears in JSON; times in Unix seconds."""
        return {
            "oscillating": self.oscillating if self.oscillating or self.enough else None,
            "reversals_per_hour": self.reversals_per_hour,
            "reversals": self.reversals,
            "threshold_per_hour": self.threshold,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "enough": self.enough,
            "why": self.why,
        }


def oscillation(series: Series, *, gap_s: float = math.inf) -> Oscillation:
    """Count the reversals of a replica series, and say whether it oscillates.

    Args:
        series: (Unix seconds, replicas), in time order; a count holds until the next point. The
            last point ends what was examined, so repeat the count there if it did not change.
        gap_s: Longer without a point, nobody looked, as where a sampler was down: "does not
            oscillate" takes a whole hour without that.

    Raises:
        UnusableInput: The series is empty, not in time order, or has a count below 0.
    """
    check_series(series)
    times = reversal_times(series)
    start_s, end_s = series[0][0], series[-1][0]
    busiest = busiest_hour(times)
    oscillating = busiest >= THRESHOLD_PER_HOUR
    enough = _longest_s(series, gap_s) >= _HOUR_S
    counted = f"{busiest} reversal{'' if busiest == 1 else 's'}"
    span_s = end_s - start_s
    told = f"{counted} in{' the busiest hour of' if enough else ''} {_minutes(span_s)}"
    if not (oscillating or enough):
        told += f"; an hour of data {'without a gap ' if span_s >= _HOUR_S else ''}is needed"
    told += f" ({THRESHOLD_PER_HOUR} an hour = oscillating)"
    return Oscillation(
        oscillating=oscillating,
        reversals_per_hour=float(busiest),
        reversals=len(times),
        start_s=start_s,
        end_s=end_s,
        threshold=THRESHOLD_PER_HOUR,
        enough=enough,
        why=told,
    )


def reversal_times(series: Series) -> list[float]:
    """When the replicas turned round: the time of each move that undoes the direction of the last.

    Only where the two are at most 15 min apart; `series` as in `oscillation`.
    """
    return [
        at
        for (before_at, before_up), (at, up) in itertools.pairwise(moves_of(series))
        if up != before_up and at - before_at <= WITHIN_S
    ]


def moves_of(series: Series) -> list[tuple[float, bool]]:
    """When the replicas changed, and whether they went up."""
    return [
        (at, now > before) for (_, before), (at, now) in itertools.pairwise(series) if now != before
    ]


def values_at(series: Sequence[tuple[float, _Value]], times: Iterable[float]) -> Iterator[_Value]:
    """The value that holds at each of the times, which rise; before the series, its first."""
    following = 1
    for at in times:
        while following < len(series) and series[following][0] <= at:
            following += 1
        yield series[following - 1][1]


def busiest_hour(times: Sequence[float]) -> int:
    """The most of them in any stretch that is shorter than an hour, or just one."""
    most, first = 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= _HOUR_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def _longest_s(series: Series, gap_s: float) -> float:
    """Seconds of the longest stretch in which no two points are further apart than that."""
    begun_s, longest_s = series[0][0], 0.0
    for (before_s, _), (at, _) in itertools.pairwise(series):
        begun_s = at if at - before_s > gap_s else begun_s
        longest_s = max(longest_s, at - begun_s)
    return longest_s


def check_series(series: Series) -> None:
    """Refuse what is no replica series.

    Raises:
        UnusableInput: It is empty, not in time order, or has a count below 0.
    """
    if not series:
        raise UnusableInput("the replica series is empty")
    if any(after[0] < before[0] for before, after in itertools.pairwise(series)):
        raise UnusableInput("the replica series is not in time order")
    if any(not math.isfinite(at) or count < 0 for at, count in series):
        raise UnusableInput("the replica series has a count below 0, or a time that is no number")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
