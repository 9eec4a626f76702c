"""What was recorded of an HPA: its replicas over time, and the load if somebody measured it.

Sources: a CSV file, Prometheus, events (`incidents.hpa_oscillation.events`); and the HPA's own spec
for the rules.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from mc_contract.numbers import number, whole_number
from mc_ops.autoscaler.oscillation import THRESHOLD_PER_HOUR, Oscillation, oscillation
from mc_ops.autoscaler.replay import (
    DEFAULT_TOLERANCE,
    DEFAULT_WINDOW_S,
    DOWN,
    UP,
    Direction,
    Policy,
    Rules,
)
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.service_client import RangeSeries

GAP_S = 300.0
_MOST_REPLICAS = 1_000_000
_LONGEST_NUMBER = 20
_MOST_ROWS = 1_000_000
_Figure = TypeVar("_Figure", int, float)
_LATEST_S = 4_102_444_800  # the year 2100; milliseconds are beyond it


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record to examine.

    Attributes:
        replicas: (Unix seconds, replicas) in time order; the last point ends the record.
        load: (Unix seconds, total of the metric over all replicas); None: nobody measured it.
        source: Where it is from, in words.
        notes: What a reader must know about it.
        guessed: How many of its times are not known, but taken as spread evenly.
        gap_s: Longer without a point, nobody looked; infinite where a point is made at each change.
        most: How often the replicas may have moved in the last hour, where the record cannot tell each
            move; None where it does.
        doubt: Why it cannot, in words.
        changed_s: When the HPA's rules were last changed; None where that is before the record.
        most_since: Like `most`, since then.
    """

    replicas: tuple[tuple[float, int], ...]
    load: tuple[tuple[float, float], ...] | None
    source: str
    notes: tuple[str, ...] = ()
    guessed: int = 0
    gap_s: float = math.inf
    most: int | None = None
    doubt: str = ""
    changed_s: float | None = None
    most_since: int | None = None


def judged(recorded: Recorded) -> Oscillation:
    """Whether it oscillates; that it does not is never said of moves that may have been and are not told."""
    found = oscillation(recorded.replicas, gap_s=recorded.gap_s)
    if found.oscillating or recorded.most is None or recorded.most < THRESHOLD_PER_HOUR:
        return found
    return replace(found, enough=False, why=f"{found.why}; {recorded.doubt}")


def stamp(at: datetime) -> float:
    """Unix seconds.

    Raises:
        UnusableInput: It has no time zone.
    """
    if at.tzinfo is None:
        raise UnusableInput(f"the time {at.isoformat()} has no time zone", hint="end it with Z")
    return at.timestamp()


# -- a file ---------------------------------------------------------------------------------------


def read_csv(text: str) -> Recorded:
    """A file `time,replicas` or `time,replicas,load`, with that header.

    `time` is in Unix seconds or ISO 8601 with a zone; `load` is the total over all replicas.

    Raises:
        UnusableInput: A row is none; the message names the first such line.
    """
    try:
        return _of_rows(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UnusableInput(f"the series is no CSV: {error}") from error


def _of_rows(rows: Any) -> Recorded:
    header = [name.strip() for name in next(rows, [])]
    if header not in (["time", "replicas"], ["time", "replicas", "load"]):
        raise UnusableInput(
            f"the series begins with {','.join(header)[:60]!r}",
            hint="expected the header time,replicas or time,replicas,load; Grafana's export has another, "
            "and times without a zone",
        )
    replicas: list[tuple[float, int]] = []
    load: list[tuple[float, float]] = []
    for row in rows:
        if len(row) < len(header) and not "".join(row).strip():
            continue
        if len(replicas) == _MOST_ROWS:
            raise UnusableInput(f"the series has over {_MOST_ROWS} rows")
        try:
            at, count, value = _row(row, len(header))
        except ValueError as error:
            raise UnusableInput(
                f"the series, line {rows.line_num}: {error}",
                hint="leave out rows that have no figure; times are Unix seconds, or end with Z",
            ) from error
        replicas.append((at, count))
        load.append((at, value))
    if not replicas:
        raise UnusableInput("the series has no rows")
    if any(after[0] < before[0] for before, after in itertools.pairwise(replicas)):
        raise UnusableInput("the series is not in time order")
    has_load = len(header) == len(("time", "replicas", "load"))
    return Recorded(
        tuple(replicas), tuple(load) if has_load else None, "a file", _gaps(replicas, "the series")
    )


def _row(row: Sequence[str], width: int) -> tuple[float, int, float]:
    if len(row) != width:
        raise ValueError(f"expected {width} values, got {len(row)}")
    if len(row[1]) > _LONGEST_NUMBER:
        raise ValueError(f"no Deployment has over {_MOST_REPLICAS} replicas")
    count = _figure("replicas", row[1], _whole)
    value = _figure("load", row[2], number) if width > len(("time", "replicas")) else 0.0
    if count > _MOST_REPLICAS:
        raise ValueError(f"no Deployment has over {_MOST_REPLICAS} replicas")
    if count < 0 or value < 0:
        raise ValueError("replicas and load must be 0 or more")
    return _time(row[0].strip()), count, value


def _figure(name: str, text: str, read: Callable[[str], _Figure]) -> _Figure:
    try:
        return read(text.strip())
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _whole(text: str) -> int:
    """A whole number, also as spreadsheets and data frames write one: `3.0`."""
    value = number(text)
    return int(value) if value.is_integer() else whole_number(text)


def _time(text: str) -> float:
    try:
        at = number(text)
    except ValueError:
        try:
            at = stamp(datetime.fromisoformat(text))
        except UnusableInput as error:
            raise ValueError(error.message) from error
        except ValueError:
            at = -1.0
    if not 0 <= at <= _LATEST_S:
        raise ValueError(f"{text[:40]} is no time, expected Unix seconds or ISO 8601")
    return at


# -- Prometheus -----------------------------------------------------------------------------------


def recorded_of_ranges(
    replicas: Sequence[RangeSeries], load: Sequence[RangeSeries] | None
) -> Recorded:
    """What two range queries gave.

    Raises:
        CouldNotTell: A query gave nothing.
        UnusableInput: A query gave several series.
    """
    counts = _only(replicas, "replicas")
    points = tuple((at, round(value)) for at, value in counts)
    notes = _gaps(points, "the replicas")
    loads = None if load is None else _only(load, "load")
    if loads is not None:
        notes += _gaps(loads, "the load")
    return Recorded(points, loads, "Prometheus", notes, gap_s=GAP_S)


def _only(found: Sequence[RangeSeries], what: str) -> tuple[tuple[float, float], ...]:
    if len(found) > 1:
        raise UnusableInput(
            f"the query of the {what} gives {len(found)} series, expected one",
            hint="put sum(...) around it",
        )
    points = [
        (at, value)
        for series in found
        for at, value in zip(series.times, series.values, strict=True)
        if math.isfinite(value) and value >= 0
    ]
    if not points:
        raise CouldNotTell(
            f"the query of the {what} gives nothing",
            hint=f"--{what}-query EXPRESSION names another; try it in Prometheus' own page",
        )
    return tuple(points)


def _gaps(points: Sequence[tuple[float, float]], what: str) -> tuple[str, ...]:
    widest = max((after[0] - before[0] for before, after in itertools.pairwise(points)), default=0)
    if widest <= GAP_S:
        return ()
    return (f"{what} have a gap of {widest / 60:.0f} min: the last value is taken to hold",)


# -- the rules ------------------------------------------------------------------------------------


def rules_of(spec: Mapping[str, Any]) -> Rules:
    """The rules in an HPA's `spec` (`autoscaling/v2`); what it leaves out has Kubernetes' default.

    Raises:
        CouldNotTell: The spec is none.
    """
    behavior = spec.get("behavior") or {}
    try:
        return Rules(
            min_replicas=int(spec.get("minReplicas") or 1),
            max_replicas=int(spec["maxReplicas"]),
            up=_direction(behavior.get("scaleUp") or {}, UP, 0),
            down=_direction(behavior.get("scaleDown") or {}, DOWN, DEFAULT_WINDOW_S),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CouldNotTell(
            f"the HPA's spec cannot be read: {type(error).__name__}",
            hint="kubectl get hpa NAME -o yaml",
        ) from error


def _direction(told: Mapping[str, Any], default: Direction, window_s: int) -> Direction:
    policies = tuple(
        Policy(int(one["periodSeconds"]), pods=int(one["value"]))
        if one["type"] == "Pods"
        else Policy(int(one["periodSeconds"]), percent=int(one["value"]))
        for one in told.get("policies") or []
    )
    window = told.get("stabilizationWindowSeconds")
    tolerance = told.get("tolerance")
    return Direction(
        policies or default.policies,
        window_s if window is None else int(window),
        select=str(told.get("selectPolicy") or "Max"),
        tolerance=DEFAULT_TOLERANCE if tolerance is None else _quantity(str(tolerance)),
    )


def _quantity(text: str) -> float:
    """A Kubernetes quantity, as far as a tolerance is one: `0.05` or `50m`."""
    return float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
