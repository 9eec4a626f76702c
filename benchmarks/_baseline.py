"""Rows of an earlier run, kept in `baseline.json`: is a unit dearer in CPU than it was?

CPU seconds of two machines cannot be compared. So a row is compared by what it costs in units of
its peer's cost in the same rounds (`Row.relative_cpu`); a peer that is a program of others, or the
control loop, meets the same machine and load. A row is worse if its median is more than a tenth
above the baseline's and its lowest round is above the baseline's highest. A row whose peer's CPU is
not measured is not compared.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from _table import CONTROL, Figure, Row, control_us, median
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

FILE = Path(__file__).with_name("baseline.json")
MOST_WORSE = 0.10
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Machine:
    """On what was measured; for a reader, nothing is computed from it."""

    processor: str
    cores: int
    system: str
    python: str
    control_us: float  # of the control loop, the median of five

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        return cls(
            processor=_processor(),
            cores=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            python=platform.python_version(),
            control_us=round(median([control_us() for _ in range(_ROUNDS)])),
        )

    def __str__(self) -> str:
        return (
            f"{self.cores} cores of {self.processor}, {self.system}, Python {self.python};"
            f" {CONTROL} {self.control_us:.0f} us"
        )


def _processor() -> str:
    """The processor's name as Linux tells it, or as the platform does."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Cost:
    """What a row's unit cost: in units of its peer's in each round, and in microseconds (median)."""

    relative_cpu: tuple[float, ...]
    cpu_us: float

    @classmethod
    def of(cls, row: Row) -> Cost:
        """The cost of a row, in four significant digits."""
        relative = tuple(float(f"{one:.4g}") for one in row.relative_cpu)
        return cls(relative_cpu=relative, cpu_us=float(f"{median(row.cpu_us):.4g}"))


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Baseline:
    """The costs of a run, by `Row.key`, and its machine."""

    machine: Machine
    rows: Mapping[str, Cost]
    schema_version: int = 1


_JSON = TypeAdapter(Baseline)


def write(figures: Iterable[Figure], file: Path) -> None:
    """Keep the costs of these rows, a line each; rows of the file that were not measured now stay."""
    rows = dict(read(file).rows) if file.exists() else {}
    rows |= {one.key: Cost.of(one) for one in figures if isinstance(one, Row) and one.relative_cpu}
    machine = json.dumps(asdict(Machine.here()))
    lines = [f"  {json.dumps(key)}: {json.dumps(asdict(rows[key]))}" for key in sorted(rows)]
    inner = ",\n".join(lines)
    file.write_text(
        f'{{\n "schema_version": 1,\n "machine": {machine},\n "rows": {{\n{inner}\n }}\n}}\n',
        encoding="utf-8",
    )


def read(file: Path) -> Baseline:
    """The rows of the file.

    Raises:
        pydantic.ValidationError: it is none that `write` writes.
    """
    return _JSON.validate_json(file.read_bytes())


def worse(figures: Iterable[Figure], baseline: Baseline) -> list[str]:
    """A line for each row that costs more CPU than in the baseline; empty if none does."""
    found = []
    for now in figures:
        before = baseline.rows.get(now.key) if isinstance(now, Row) else None
        if not isinstance(now, Row) or before is None:
            continue
        cost, cost_before = now.relative_cpu, before.relative_cpu
        if not cost:
            continue
        growth = median(cost) / median(cost_before) - 1
        if growth > MOST_WORSE and min(cost) > max(cost_before):
            found.append(
                f"{now.key}: CPU a {now.per} is {median(cost):.3g} times the peer's"
                f" ({min(cost):.3g} to {max(cost):.3g}), in the baseline"
                f" {median(cost_before):.3g} ({min(cost_before):.3g} to {max(cost_before):.3g}):"
                f" {growth:+.0%}, {MOST_WORSE:.0%} is allowed"
            )
    return found
