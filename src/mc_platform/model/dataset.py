"""Datasets: tables of a tenant's customers over which the platform answers aggregates.

Declared by an operator under `[datasets.NAME]` of the catalogue. One row is one person. Numbers
are counted in whole steps (`step = 0.01`: cents), so all that is added up is integers. No IO here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from mc_contract.configuration import Form, HttpUrl, SetOf, Strict, Text, Word, known
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
        test_epsilon: What the test of the group size spends; see docs/explanation/aggregates.md.
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


ColumnName = Annotated[
    str,
    StringConstraints(pattern=f"^{NAME.pattern}$"),
    Form("a name of a-z, 0-9, _ or -, at most 64 characters"),
]
DatasetName = ColumnName
_Number = Annotated[float, Field(ge=-_GREATEST, le=_GREATEST)]
_Epsilon = Annotated[float, Field(ge=LEAST_EPSILON / MICRO, le=_MOST_EPSILON / MICRO)]


class ColumnTable(Strict):
    """`[datasets.NAME.columns]` of the file: declared values, or bounds."""

    values: (
        Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=_MOST_VALUES)]
        | None
    ) = None
    lower: _Number | None = None
    upper: _Number | None = None
    step: Annotated[float, Field(gt=0, le=_GREATEST)] = 1.0

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """It is a category or a number."""
        if "values" in raw and not raw.keys().isdisjoint({"lower", "upper", "step"}):
            yield "", "has values as well as bounds; it is one or the other"
        elif "values" not in raw:
            for key in ("lower", "upper"):
                if key not in raw:
                    yield key, "is missing, must be a number (or declare `values`)"

    @model_validator(mode="after")
    def _bounds(self) -> ColumnTable:
        if self.lower is None or self.upper is None:
            return self
        lower, upper, step = map(_exact, (self.lower, self.upper, self.step))
        if lower >= upper:
            raise ValueError("lower must be below upper")
        if lower % step or upper % step or max(abs(lower), abs(upper)) / step > _MOST_STEPS:
            raise ValueError("bounds must be whole multiples of step, at most 2^40 of them")
        return self

    def build(self, name: str) -> Column:
        """The column."""
        if self.values is not None:
            return Column(name, values=tuple(sorted(set(self.values))))
        lower, upper, step = map(_exact, (self.lower or 0.0, self.upper or 0.0, self.step))
        return Column(name, lower=int(lower / step), upper=int(upper / step), step=step)


class DatasetTable(Strict):
    """`[datasets.NAME]` of the file."""

    url: HttpUrl
    tenants: SetOf[Annotated[Word, known("tenants")]]
    unit: Text
    columns: Annotated[dict[ColumnName, ColumnTable], Field(min_length=1)]
    minimum_group: Annotated[int, Field(ge=2, le=100_000)] = 10
    query_epsilon: _Epsilon = 0.5
    most_epsilon: _Epsilon = 2.0
    test_epsilon: _Epsilon = 0.5
    test_delta: Annotated[float, Field(ge=1e-12, le=1e-2)] = 1e-4
    principal_epsilon: _Epsilon = 10.0
    tenant_epsilon: _Epsilon = 30.0
    period_days: Annotated[int, Field(ge=1, le=3660)] = 30

    @model_validator(mode="after")
    def _hold_together(self) -> DatasetTable:
        found = []
        if self.unit in self.columns:
            found.append(f"unit {self.unit!r} is also a column: a query could single a person out")
        if self.query_epsilon > self.most_epsilon:
            found.append("query_epsilon is above most_epsilon")
        if self.principal_epsilon > self.tenant_epsilon:
            found.append("principal_epsilon is above tenant_epsilon")
        if found:
            raise ValueError("; ".join(found))
        return self

    def build(self, name: str) -> Dataset:
        """The dataset."""
        fields = dict(self)
        fields["columns"] = {key: column.build(key) for key, column in self.columns.items()}
        fields |= {key: _micro(fields[key]) for key in fields if key.endswith("_epsilon")}
        return Dataset(name=name, **fields)


def _exact(value: float) -> Decimal:
    return Decimal(int(value)) if value.is_integer() else Decimal(str(value))


def _micro(epsilon: float) -> int:
    return int(Decimal(str(epsilon)) * MICRO)


def micro_epsilon(value: Any) -> int | None:
    """An epsilon in whole millionths, rounded down; None if it is no number of 0.01 or more."""
    if not is_number(value):
        return None
    micro = _micro(value)
    return micro if micro >= LEAST_EPSILON else None


def epsilon_text(micro: int) -> str:
    """An epsilon as people and the ledger read it, e.g. `0.5`."""
    return f"{(Decimal(micro) / MICRO).normalize():f}"


def is_number(value: Any) -> bool:
    """Whether JSON's value is a number within the bounds, which keep out NaN and infinities as well."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -_GREATEST <= value <= _GREATEST
