"""Series of the canary's metrics as `metrics.json` holds them: read strictly, gaps kept as gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from mc_contract.metric_judgement.config import MetricsUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIDES = ("baseline", "candidate")
_MOST_POINTS = 11_000  # Prometheus gives no more
_LATEST_S, _LARGEST = 1e12, 1e100  # the square of a larger one fits no float


@dataclass(frozen=True, slots=True)
class Window:
    """When one side was measured: `start_s` and `end_s` in Unix seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """One side's values in time order; what Prometheus gave as NaN or infinite is left out.

    Attributes:
        offsets_ms: Milliseconds since the side's window began, strictly rising.
        values: As many, finite, in the metric's unit.
    """

    offsets_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def n(self) -> int:
        """How many values there are."""
        return int(self.values.size)


def series_of(times_s: Sequence[float], values: Sequence[float | None], window: Window) -> Series:
    """Make a series of Unix times and values; None and what is not finite is a gap.

    Raises:
        MetricsUnusable: When the times do not rise, or leave the window.
    """
    offsets = np.array([round((at - window.start_s) * 1000) for at in times_s], dtype=np.int64)
    numbers = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    length = round((window.end_s - window.start_s) * 1000)
    if offsets.size != numbers.size or offsets.size > _MOST_POINTS:
        raise MetricsUnusable(f"{offsets.size} times for {numbers.size} values")
    if offsets.size and not (
        (np.diff(offsets) > 0).all() and offsets[0] >= 0 and offsets[-1] <= length
    ):
        raise MetricsUnusable("the times must rise, and lie within the window")
    there = np.isfinite(numbers)
    return Series(offsets[there], numbers[there])


def parse_window(raw: object) -> dict[str, Window]:
    """Each side's window, from `{baseline: {start, end}, candidate: {...}}`, times as in ISO 8601.

    Raises:
        MetricsUnusable: When a time is missing or has no time zone, or an end is not after it.
    """
    windows = {}
    for side in SIDES:
        told = raw.get(side) if isinstance(raw, Mapping) else None
        try:
            start, end = (datetime.fromisoformat(told[key]) for key in ("start", "end"))  # type: ignore[index]
            if start.tzinfo is None or end.tzinfo is None or end <= start:
                raise ValueError
        except (TypeError, KeyError, ValueError) as cause:
            raise MetricsUnusable(
                f"window of the {side}: expected start and end with a time zone, start first"
            ) from cause
        windows[side] = Window(start.timestamp(), end.timestamp())
    return windows


def parse_series(
    name: str, raw: object, windows: Mapping[str, Window]
) -> tuple[Series | None, Series | None]:
    """Both sides' series of one metric; None for a side that could not be asked.

    Raises:
        MetricsUnusable: When a side is neither null nor `{times, values}`.
    """
    if not isinstance(raw, Mapping) or not set(SIDES) <= set(raw):
        raise MetricsUnusable(f"series {name}: expected baseline and candidate")
    try:
        base, cand = (
            None if raw[side] is None else series_of(*_columns(raw[side]), windows[side])
            for side in SIDES
        )
    except MetricsUnusable as error:
        raise MetricsUnusable(f"series {name}: {error.message}") from error
    return base, cand


def _columns(raw: object) -> tuple[list[float], list[float | None]]:
    times: Any = raw.get("times") if isinstance(raw, Mapping) else None
    values: Any = raw.get("values") if isinstance(raw, Mapping) else None
    if not isinstance(times, list) or not isinstance(values, list):
        raise MetricsUnusable("expected times and values")
    if not all(_is_number(at, _LATEST_S) for at in times) or not all(
        value is None or _is_number(value, _LARGEST) for value in values
    ):
        raise MetricsUnusable("times and values must be numbers; a gap's value is null")
    return times, values


def _is_number(value: object, largest: float) -> bool:
    """A finite number up to `largest`: compared, since an int of JSON may fit no float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= largest
