"""Datasets: tables of a tenant's customers over which the platform answers aggregates.

Declared by an operator under `[datasets.NAME]` of the catalogue. One row is one person. Numbers
are counted in whole steps (`step = 0.01`: cents), so all that is added up is integers. No IO here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mc_platform.model.ids import TenantId

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MICRO = 1_000_000
"""Epsilon is kept in whole millionths: sums of them are exact."""
LEAST_EPSILON = 10_000
_MOST_EPSILON = 100 * MICRO
_MOST_STEPS = 1 << 40
_MOST_VALUES = 1000
_GREATEST = 1 << 53


@dataclass(frozen=True, slots=True)
class Column:
    """What a query may name: a category with declared values, or a number with declared bounds.

    Attributes:
        values: Of a category; empty for a number.
        lower, upper: Bounds of a number, in steps; what lies outside is clamped.
        step: What one step is, in the column's unit.
    """

    name: str
    values: tuple[str, ...] = ()
    lower: int = 0
    upper: int = 0
    step: Decimal = Decimal(1)

    @property
    def is_number(self) -> bool:
        """Whether it can be added up."""
        return not self.values

    def clamped(self, value: float | str) -> int:
        """A number in steps, within the bounds.

        Raises:
            ValueError: it is not finite.
        """
        exact = Decimal(str(value))
        if not exact.is_finite():
            raise ValueError(f"{self.name} is not finite")
        least, most = self.lower * self.step, self.upper * self.step
        return round(min(max(exact, least), most) / self.step)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset and the rules of its aggregates; epsilons are in millionths.

    Attributes:
        url: Where its rows are read; `?tenant=` is added.
        tenants: Whose data it holds; each sees only its own.
        unit: The field that names the person; it can be in no query.
        minimum_group: No fewer persons are ever answered about, or told apart by two answers.
        query_epsilon: What a query spends if it names none.
        most_epsilon: What one query may spend.
        test_epsilon: What the test of the group size spends; see docs/aggregates.md.
        test_delta: The chance by which that test may exceed its epsilon.
        principal_epsilon, tenant_epsilon: What may be spent in `period_days`.
    """

    name: str
    url: str
    tenants: frozenset[TenantId]
    unit: str
    columns: Mapping[str, Column]
    minimum_group: int = 10
    query_epsilon: int = MICRO // 2
    most_epsilon: int = 2 * MICRO
    test_epsilon: int = MICRO // 2
    test_delta: float = 1e-4
    principal_epsilon: int = 10 * MICRO
    tenant_epsilon: int = 30 * MICRO
    period_days: int = 30


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one tenant: persons, and for each column a value a person (steps, or a word)."""

    units: tuple[str, ...]
    columns: Mapping[str, tuple[int | str, ...]]


def parse_datasets(
    raw: Mapping[str, Any], tenants: Collection[str] | None = None
) -> tuple[dict[str, Dataset], list[str]]:
    """The datasets of a parsed catalogue, and all that is wrong with them.

    Args:
        raw: The whole document; its table `datasets` is read.
        tenants: Those declared; None does not check them.
    """
    table = raw.get("datasets", {})
    if not isinstance(table, Mapping):
        return {}, [f"[datasets] must be a table of tables, got {type(table).__name__}"]
    datasets: dict[str, Dataset] = {}
    problems: list[str] = []
    for name, row in table.items():
        reader = _Reader(f"datasets.{name}")
        made = reader.dataset(str(name), row, tenants)
        problems += reader.problems
        if made is not None and not reader.problems:
            datasets[made.name] = made
    return datasets, problems


_KEYS = (
    "url", "tenants", "unit", "columns", "minimum_group", "query_epsilon", "most_epsilon",
    "test_epsilon", "test_delta", "principal_epsilon", "tenant_epsilon", "period_days",
)  # fmt: skip


class _Reader:
    """Reads one `[datasets.NAME]`; notes problems and goes on."""

    def __init__(self, where: str) -> None:
        self.problems: list[str] = []
        self._where = where

    def dataset(self, name: str, row: Any, tenants: Collection[str] | None) -> Dataset | None:
        if not isinstance(row, Mapping):
            self._note(f"must be a table, got {type(row).__name__}")
            return None
        if not NAME.fullmatch(name):
            self._note("its name must be a-z, 0-9, _ or -, at most 64 characters")
        self._unknown(row, _KEYS)
        unit = self._text(row, "unit")
        columns = self._columns(row.get("columns"))
        if unit in columns:
            self._note(f"unit {unit!r} is also a column: a query could single a person out")
        made = Dataset(
            name=name,
            url=self._text(row, "url"),
            tenants=frozenset(TenantId(one) for one in self._words(row, "tenants", tenants)),
            unit=unit,
            columns=columns,
            minimum_group=self._whole(row, "minimum_group", 10, 2, 100_000),
            query_epsilon=self._epsilon(row, "query_epsilon", MICRO // 2),
            most_epsilon=self._epsilon(row, "most_epsilon", 2 * MICRO),
            test_epsilon=self._epsilon(row, "test_epsilon", MICRO // 2),
            test_delta=self._delta(row),
            principal_epsilon=self._epsilon(row, "principal_epsilon", 10 * MICRO),
            tenant_epsilon=self._epsilon(row, "tenant_epsilon", 30 * MICRO),
            period_days=self._whole(row, "period_days", 30, 1, 3660),
        )
        if made.query_epsilon > made.most_epsilon:
            self._note("query_epsilon is above most_epsilon")
        if made.principal_epsilon > made.tenant_epsilon:
            self._note("principal_epsilon is above tenant_epsilon")
        return made

    def _columns(self, raw: Any) -> dict[str, Column]:
        if not isinstance(raw, Mapping) or not raw:
            self._note("columns must be a table of tables with one column at least")
            return {}
        return {str(name): self._column(str(name), row) for name, row in raw.items()}

    def _column(self, name: str, row: Any) -> Column:
        where = f"columns.{name}"
        if not NAME.fullmatch(name):
            self._note(f"{where}: a name must be a-z, 0-9, _ or -, at most 64 characters")
        if not isinstance(row, Mapping):
            self._note(f"{where} must be a table")
            return Column(name)
        self._unknown(row, ("values", "lower", "upper", "step"), where)
        if "values" in row:
            values = row["values"]
            usable = isinstance(values, list) and 0 < len(values) <= _MOST_VALUES
            if not usable or not all(isinstance(value, str) and value for value in values):
                self._note(f"{where}.values must be a list of 1 to {_MOST_VALUES} words")
                return Column(name)
            if set(row) > {"values"}:
                self._note(f"{where} has values as well as bounds; it is one or the other")
            return Column(name, values=tuple(sorted(set(values))))
        return self._number(name, where, row)

    def _number(self, name: str, where: str, row: Mapping[str, Any]) -> Column:
        given = {key: row.get(key) for key in ("lower", "upper")} | {"step": row.get("step", 1)}
        for key, value in given.items():
            if not _is_number(value):
                self._note(f"{where}.{key} is {value!r}, must be a number (or declare `values`)")
                return Column(name)
        lower, upper, step = (Decimal(str(given[key])) for key in ("lower", "upper", "step"))
        if step <= 0 or lower >= upper:
            self._note(f"{where}: step must be above 0, and lower below upper")
            return Column(name)
        if lower % step or upper % step or max(abs(lower), abs(upper)) / step > _MOST_STEPS:
            self._note(f"{where}: bounds must be whole multiples of step, at most 2^40 of them")
            return Column(name)
        return Column(name, lower=int(lower / step), upper=int(upper / step), step=step)

    def _note(self, problem: str) -> None:
        self.problems.append(f"{self._where}: {problem}")

    def _unknown(self, row: Mapping[str, Any], known: Collection[str], where: str = "") -> None:
        for key in sorted(set(row) - set(known)):
            at = f"{where}: " if where else ""
            self._note(f"{at}unknown key {key!r}; known: {', '.join(known)}")

    def _text(self, row: Mapping[str, Any], key: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value:
            self._note(f"{key} is missing, or no text")
            return ""
        return value

    def _words(
        self, row: Mapping[str, Any], key: str, known: Collection[str] | None
    ) -> tuple[str, ...]:
        value = row.get(key)
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            self._note(f"{key} must be a list of words")
            return ()
        for one in value:
            if known is not None and one not in known:
                self._note(f"{key}: {one!r} is not in the catalogue")
        return tuple(value)

    def _whole(self, row: Mapping[str, Any], key: str, usual: int, least: int, most: int) -> int:
        value = row.get(key, usual)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self._note(f"{key} is {value!r}, must be a whole number from {least} to {most}")
            return usual
        return value

    def _epsilon(self, row: Mapping[str, Any], key: str, usual: int) -> int:
        if key not in row:
            return usual
        micro = micro_epsilon(row[key])
        if micro is None or micro > _MOST_EPSILON:
            self._note(f"{key} is {row[key]!r}, must be from 0.01 to {_MOST_EPSILON // MICRO}")
            return usual
        return micro

    def _delta(self, row: Mapping[str, Any]) -> float:
        value = row.get("test_delta", 1e-4)
        if not _is_number(value) or not 1e-12 <= value <= 1e-2:
            self._note(f"test_delta is {value!r}, must be from 1e-12 to 0.01")
            return 1e-4
        return float(value)


def micro_epsilon(value: Any) -> int | None:
    """An epsilon in whole millionths, rounded down; None if it is no number of 0.01 or more."""
    if not _is_number(value):
        return None
    micro = int(Decimal(str(value)) * MICRO)
    return micro if micro >= LEAST_EPSILON else None


def epsilon_text(micro: int) -> str:
    """An epsilon as people and the ledger read it, e.g. `0.5`."""
    return f"{(Decimal(micro) / MICRO).normalize():f}"


def _is_number(value: Any) -> bool:
    # The bounds keep out NaN and infinities as well
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_GREATEST <= value <= _GREATEST
