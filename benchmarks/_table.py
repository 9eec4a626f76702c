"""The figures of a benchmark: rows beside a peer, and series over a size; printed as Markdown tables.

A script builds `Row`s and `Series`, and ends with `return finish(figures, given.rows)`. With `--rows
FILE` they are also appended to a file of JSON lines, from which `bench.py` prints one table at its
end. CONTRIBUTING.md tells how a script adds a row. All values are one for each round, in the order
of the rounds; a figure that is printed is their median, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import math
import resource
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
_CONTROL_STEPS = 200_000
CONTROL = "control loop"


def median(values: Sequence[float]) -> float:
    """The middle one of them."""
    return statistics.median(values)


def _number(value: float) -> str:
    """Three significant digits, or a whole number of thousands: `0.814`, `7,250`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and the lowest and the highest: `0.81 (0.79 to 0.84)`."""
    text = f"{_number(median(values))}{unit}"
    return text if len(values) < 2 else f"{text} ({_number(min(values))} to {_number(max(values))})"


@dataclass(frozen=True, slots=True)
class Limit:
    """A target; met or not by a median."""

    text: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text}: {'met' if self.met else 'MISSED'}"


def _limit(value: float, at_least: float | None, at_most: float | None) -> Limit | None:
    if at_least is not None:
        return Limit(f">= {at_least:g}", value >= at_least)
    return None if at_most is None else Limit(f"<= {at_most:g}", value <= at_most)


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Row:
    """One measured thing beside a peer, from interleaved rounds of one run.

    Attributes:
        what: What is measured, with its conditions: "proxy, 16 clients". With `beside` the row's key.
        beside: The peer; `CONTROL` for the loop, nothing for a figure that stands alone.
        values: Ours divided by the peer's, one for each round.
        unit: "x" of a ratio; "ms" and the like if the target is of an absolute figure.
        at_least, at_most: The target of the median; at most one of them.
        cpu_us: Microseconds of our CPU for one unit, one for each round; empty if not measured.
        peer_cpu_us: The same of the peer, in the same rounds: what CPU is compared by over machines.
        per: The unit of CPU: "request", "event".
        note: Why a target is missed, or why there are no values.
    """

    what: str
    beside: str = "-"
    values: tuple[float, ...] = ()
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    cpu_us: tuple[float, ...] = ()
    peer_cpu_us: tuple[float, ...] = ()
    per: str = "request"
    note: str = ""
    kind: Literal["row"] = "row"

    def __post_init__(self) -> None:
        if self.at_least is not None and self.at_most is not None:
            raise ValueError(f"{self.key}: at_least or at_most, not both")
        if not self.values and not self.note:
            raise ValueError(f"{self.key}: a row without values needs a note that says why")
        if self.peer_cpu_us and len(self.peer_cpu_us) != len(self.cpu_us):
            raise ValueError(f"{self.key}: CPU of {len(self.cpu_us)} rounds and of the peer's"
                             f" {len(self.peer_cpu_us)}")  # fmt: skip
        if any(value <= 0 for value in (*self.cpu_us, *self.peer_cpu_us)):
            raise ValueError(f"{self.key}: CPU of a round is not above 0; make rounds longer")

    @property
    def key(self) -> str:
        """What names the row, in the baseline as well."""
        return f"{self.what} / {self.beside}"

    @property
    def limits(self) -> list[Limit]:
        """The target, if there is one and something to hold against it."""
        if not self.values:
            return []
        limit = _limit(median(self.values), self.at_least, self.at_most)
        return [] if limit is None else [limit]

    @property
    def relative_cpu(self) -> tuple[float, ...]:
        """Our CPU of a unit in units of the peer's, round by round; empty if not measured."""
        if not self.peer_cpu_us:
            return ()
        return tuple(a / b for a, b in zip(self.cpu_us, self.peer_cpu_us, strict=True))

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        unit = "" if self.unit == "x" else f" {self.unit}"
        figures = _spread(self.values, unit) if self.values else "-"
        cpu = f"{_number(median(self.cpu_us))} us/{self.per}" if self.cpu_us else "-"
        relative = _spread(self.relative_cpu) if self.peer_cpu_us else "-"
        target = "".join(map(str, self.limits)) or "-"
        return (
            self.what, self.beside, figures, cpu, relative, target, self.note,
        )  # fmt: skip


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Series:
    """What something costs at growing sizes.

    Attributes:
        what: What is measured, with its conditions: "start-up", "ledger events/s, 1 ms away".
        size: What grows: "tenants".
        unit: Of a value: "CPU ms a request", "events/s".
        points: Each size with its values, one for each round; sizes grow.
        at_most, at_least: Pairs of a size and the most (least) that its value may be in units of
            the first size's value: ((10_000, 1.1),) says flat; ((2, 1.8), (4, 3.0)) says it adds up.
    """

    what: str
    size: str
    unit: str
    points: tuple[tuple[float, tuple[float, ...]], ...]
    at_most: tuple[tuple[float, float], ...] = ()
    at_least: tuple[tuple[float, float], ...] = ()
    note: str = ""
    kind: Literal["series"] = "series"

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.points]
        if not sizes or sizes != sorted(set(sizes)) or sizes[0] <= 0:
            raise ValueError(f"{self.what}: sizes must be above 0 and grow, got {sizes}")
        if any(not values or min(values) <= 0 for _, values in self.points):
            raise ValueError(f"{self.what}: each size needs values above 0")
        if unknown := {size for size, _ in (*self.at_most, *self.at_least)} - set(sizes):
            raise ValueError(f"{self.what}: no value at {sorted(unknown)}, which has a target")

    @property
    def exponent(self) -> float | None:
        """The slope of a line through the medians, both axes logarithmic: 0 flat, 1 linear."""
        if len(self.points) < 2:
            return None
        sizes = [math.log(size) for size, _ in self.points]
        values = [math.log(median(values)) for _, values in self.points]
        return statistics.linear_regression(sizes, values).slope

    @property
    def limits(self) -> list[Limit]:
        """The targets, each at its size."""
        value = {size: median(values) for size, values in self.points}
        first = value[self.points[0][0]]
        found = [(size, _limit(value[size] / first, None, most)) for size, most in self.at_most]
        found += [(size, _limit(value[size] / first, least, None)) for size, least in self.at_least]
        return [Limit(f"at {size:g} {one.text} x", one.met) for size, one in found if one]

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        first = median(self.points[0][1])
        figures = ", ".join(
            f"{size:g}: {_spread(values)}" + (f" = {median(values) / first:.2f}x" if at else "")
            for at, (size, values) in enumerate(self.points)
        )
        exponent = "-" if self.exponent is None else f"{self.exponent:.2f}"
        targets = "; ".join(map(str, self.limits)) or "-"
        return (self.what, self.size, self.unit, figures, exponent, targets, self.note)


Figure = Row | Series
_LINE: TypeAdapter[Figure] = TypeAdapter(Figure)
_HEADINGS = {
    Row: ("what", "beside", "figure", "CPU", "CPU, peer = 1", "target", "note"),
    Series: ("what", "by", "unit", "size: value", "exponent", "target", "note"),
}


def tables(figures: Iterable[Figure]) -> str:
    """Rows and series as two Markdown tables; one without lines is left out."""
    figures = list(figures)
    made = []
    for kind, heading in _HEADINGS.items():
        lines = [one.cells() for one in figures if isinstance(one, kind)]
        if not lines:
            continue
        widths = [max(map(len, column)) for column in zip(heading, *lines, strict=True)]
        rule = tuple("-" * width for width in widths)
        made.append("\n".join(
            "| " + " | ".join(map(str.ljust, cells, widths)) + " |"
            for cells in (heading, rule, *lines)
        ))  # fmt: skip
    return "\n\n".join(made)


def end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end this script as an exit does, so that it stops what it has started."""

    def leave(number: int, _frame: object) -> None:
        for one in (signal.SIGTERM, signal.SIGHUP):  # a second one must not leave half of it behind
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, leave)


def add_option(options: argparse.ArgumentParser) -> None:
    """`--rows FILE` of a script, which ends in order by a signal."""
    end_by_signals()
    options.add_argument("--rows", type=Path, metavar="FILE", help="append the figures, as JSON")


def finish(figures: Sequence[Figure], rows: Path | None) -> int:
    """Print the tables; append to `rows`; the script's exit code: 1 if a target is missed."""
    print(tables(figures))
    if rows is not None:
        rows.parent.mkdir(parents=True, exist_ok=True)
        with rows.open("ab") as file:
            file.writelines(_LINE.dump_json(one) + b"\n" for one in figures)
    return int(not all(limit.met for one in figures for limit in one.limits))


def read(rows: Path) -> list[Figure]:
    """What scripts have appended.

    Raises:
        pydantic.ValidationError: a line is none that `finish` writes.
    """
    return [_LINE.validate_json(line) for line in rows.read_bytes().splitlines()]


def cpu_s_of(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, that this process and its ended children spend on `work`."""

    def spent() -> float:
        both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in both)

    before = spent()
    work()
    return spent() - before


def control_us() -> float:
    """Microseconds of CPU of a fixed loop of dict, string and integer work: the peer of what has none."""
    began = time.process_time()
    table: dict[str, int] = {}
    for step in range(_CONTROL_STEPS):
        name = f"key-{step & 1023}"
        table[name] = table.get(name, 0) + step
    return (time.process_time() - began) * 1e6
