"""Where figures come from: one small interface before Prometheus and the replicas' own metrics.

A source gives what was counted, summed over replicas, and says over what time; what it means is
told elsewhere, once for both. Nothing here fills a gap: a metric that is not there gives an empty
mapping, and a replica that did not answer is named in `unread`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from mc_ops.errors import UnusableInput

Key = tuple[str, ...]
"""The values of the labels that were asked for, in that order; `""` where a series has none."""

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Window:
    """How far back to look, as text (`5m`, `24h`, `7d`) and in seconds."""

    text: str
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read `90s`, `5m`, `24h`, `7d` or `2w`.

        Raises:
            UnusableInput: it is none of these, zero, or over a year.
        """
        found = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text.strip(), re.ASCII)
        seconds = int(found[1]) * _UNITS_S[found[2]] if found else 0
        if not 0 < seconds <= _LONGEST_S:
            raise UnusableInput(
                f'not a window: "{text[:40]}"', hint="for example 5m, 24h or 7d, at most a year"
            )
        return cls(text.strip(), seconds)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the replicas used and had.

    Attributes:
        process_cpu_s: CPU-seconds of the replicas' processes; None where no replica tells it.
        replica_s: Seconds that replicas ran, summed over them; None where it is not known.
        replicas: How many replicas tell their metrics now.
    """

    process_cpu_s: float | None
    replica_s: float | None
    replicas: int


class Source(Protocol):
    """Both implementations raise `mc_ops.errors` only."""

    name: str
    """`prometheus` or `replicas`."""

    looks_back: bool
    """Whether a window can be asked for; else every answer is over the same time."""

    @property
    def unread(self) -> tuple[str, ...]:
        """Replicas that did not answer, whose events are therefore in no figure."""

    def span(self, window: Window) -> str:
        """The time that an answer for `window` is about, in words."""

    def covered_s(self, window: Window) -> float | None:
        """Of how many seconds of `window` there is data at all; None: of none."""

    def increases(self, metric: str, by: tuple[str, ...], window: Window) -> Mapping[Key, float]:
        """How much a counter grew, by those labels, summed over replicas and all other labels.

        Empty where the source has no such series. Restarts of a process are no decrease.
        """

    def levels(self, metric: str, by: tuple[str, ...]) -> Mapping[Key, float]:
        """The highest value of a gauge now, by those labels, over replicas; NaN is left out."""

    def stopped(self, metric: str) -> bool:
        """Whether a gauge was told within a day, and is not told now."""

    def capacity(self, window: Window) -> Capacity:
        """CPU time and running time of the replicas."""


def span_of(seconds: float) -> str:
    """A length of time in words, such as `2.5 h`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
