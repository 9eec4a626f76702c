"""What a query says: checked against the dataset's columns, and brought into one canonical form.

Two wordings of the same conditions become one query: conditions on a column are intersected,
bounds are clipped and rounded inwards to steps, lists are sorted, and what excludes nothing goes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mc_platform.errors import BadRequest
from mc_platform.model.dataset import Column, Dataset, epsilon_text, is_number, micro_epsilon

MEASURES = ("count", "sum", "mean")
_OPS = ("eq", "in", "between")
_MOST_CONDITIONS = 8


@dataclass(frozen=True, slots=True)
class Condition:
    """What one column must be: one of `values`, or from `lower` to `upper` steps, both within."""

    column: str
    values: tuple[str, ...] = ()
    lower: int = 0
    upper: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query; the conditions are sorted by column, one a column.

    Attributes:
        column: What is added up; empty for a count.
    """

    dataset: str
    measure: str
    column: str
    where: tuple[Condition, ...]

    def conditions_text(self) -> str:
        """The conditions alone, the same for all that mean the same."""
        told = [
            [one.column, list(one.values)] if one.values else [one.column, one.lower, one.upper]
            for one in self.where
        ]
        return json.dumps([self.dataset, told], separators=(",", ":"))

    def text(self) -> str:
        """The whole query, the same for all that mean the same. Its epsilon is no part of it."""
        return json.dumps([self.measure, self.column, self.conditions_text()])


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, and the epsilon (millionths) that its answer may spend."""

    query: Query
    epsilon: int


def read_query(raw: Mapping[str, Any], dataset: Dataset) -> Asked:
    """Check a request: `measure`, `column`, `where`, `epsilon`.

    Raises:
        BadRequest: with the first thing that is wrong, and what would be right.
    """
    measure = raw.get("measure")
    if measure not in MEASURES:
        raise BadRequest("measure is unknown", hint=f"one of: {', '.join(MEASURES)}")
    return Asked(
        query=Query(
            dataset=dataset.name,
            measure=str(measure),
            column=_measured(raw.get("column"), str(measure), dataset),
            where=_where(raw.get("where") or (), dataset),
        ),
        epsilon=_epsilon(raw.get("epsilon"), dataset),
    )


def _measured(column: Any, measure: str, dataset: Dataset) -> str:
    if measure == "count":
        if column not in (None, ""):
            raise BadRequest("a count takes no column", hint="leave `column` out")
        return ""
    numbers = sorted(name for name, one in dataset.columns.items() if one.is_number)
    if column not in numbers:
        raise BadRequest(
            f"a {measure} needs a column that is a number", hint=f"one of: {', '.join(numbers)}"
        )
    return str(column)


def _epsilon(given: Any, dataset: Dataset) -> int:
    if given is None:
        return dataset.query_epsilon
    micro = micro_epsilon(given)
    if micro is None or micro > dataset.most_epsilon:
        raise BadRequest(
            f"epsilon must be a number from 0.01 to {epsilon_text(dataset.most_epsilon)}",
            hint=f"leave it out for {epsilon_text(dataset.query_epsilon)}",
        )
    return micro


def _where(raw: Sequence[Any], dataset: Dataset) -> tuple[Condition, ...]:
    if len(raw) > _MOST_CONDITIONS:
        raise BadRequest(f"where has {len(raw)} conditions, at most {_MOST_CONDITIONS}")
    found: dict[str, Condition] = {}
    for place, row in enumerate(raw):
        at = f"where[{place}]"
        if not isinstance(row, Mapping) or set(row) != {"column", "op", "value"}:
            raise BadRequest(f"{at} must have `column`, `op` and `value`, and nothing else")
        name = row["column"]
        column = dataset.columns.get(name) if isinstance(name, str) else None
        if column is None:
            raise BadRequest(
                f"{at}: no such column", hint=f"one of: {', '.join(sorted(dataset.columns))}"
            )
        one = _condition(at, column, row["op"], row["value"])
        found[column.name] = _both(at, found[column.name], one) if column.name in found else one
    return tuple(
        found[name]
        for name in sorted(found)
        if not _excludes_nothing(found[name], dataset.columns[name])
    )


def _condition(at: str, column: Column, op: Any, value: Any) -> Condition:
    if op not in _OPS:
        raise BadRequest(f"{at}: op is unknown", hint=f"one of: {', '.join(_OPS)}")
    if column.is_number:
        return _range(at, column, op, value)
    if op == "between":
        raise BadRequest(f"{at}: `between` is for numbers", hint="use `eq` or `in`")
    words = [value] if op == "eq" else value
    usable = isinstance(words, list) and words and all(isinstance(one, str) for one in words)
    if not usable or not set(words) <= set(column.values):
        raise BadRequest(
            f"{at}: value is none of the column's", hint=f"known: {', '.join(column.values)}"
        )
    return Condition(column.name, values=tuple(sorted(set(words))))


def _range(at: str, column: Column, op: Any, value: Any) -> Condition:
    if op == "in":
        raise BadRequest(f"{at}: `in` is for categories", hint="use `eq` or `between`")
    pair = [value, value] if op == "eq" else value
    if not isinstance(pair, list) or len(pair) != 2 or not all(map(is_number, pair)):
        wanted = "a number" if op == "eq" else "two numbers, the lower first"
        raise BadRequest(f"{at}: value must be {wanted}")
    low, high = (Decimal(str(one)) / column.step for one in pair)
    lower = max(column.lower, math.ceil(low))
    upper = min(column.upper, math.floor(high))
    if lower > upper:
        least, most = column.lower * column.step, column.upper * column.step
        raise BadRequest(
            f"{at}: no value lies there",
            hint=f"bounds: {least} to {most} in steps of {column.step}",
        )
    return Condition(column.name, lower=lower, upper=upper)


def _both(at: str, one: Condition, other: Condition) -> Condition:
    if one.values:
        values = tuple(sorted(set(one.values) & set(other.values)))
        if not values:
            raise BadRequest(f"{at}: excludes all that an earlier condition leaves")
        return Condition(one.column, values=values)
    lower, upper = max(one.lower, other.lower), min(one.upper, other.upper)
    if lower > upper:
        raise BadRequest(f"{at}: excludes all that an earlier condition leaves")
    return Condition(one.column, lower=lower, upper=upper)


def _excludes_nothing(one: Condition, column: Column) -> bool:
    # A table holds declared words only (`read_table`), so all of them exclude nobody
    if one.values:
        return len(one.values) == len(column.values)
    return (one.lower, one.upper) == (column.lower, column.upper)
