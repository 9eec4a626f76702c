"""Rows of a dataset over HTTP; implements `aggregate.Rows`.

`GET <url>?tenant=<tenant>` answers `{"rows": [{...}, ...]}`, one row a person. What is not as
declared is refused whole: a row left out would be an answer about other people. So is a key that stands
twice, of which nobody knows which counts. No error quotes a row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from mc_contract.keepable import NotKeepable, check_keys
from mc_platform.adapters.http import Lanes
from mc_platform.errors import AgentFailed, PeerFailed
from mc_platform.model.dataset import Column, Dataset, Table
from mc_platform.model.ids import TenantId

_TIMEOUT_S = 10.0
_GREATEST_BYTES = 64 * 1024 * 1024
_MOST_ROWS = 200_000
_MOST_VALUES = 8_000_000  # an empty list is three bytes of text, and twenty times that in memory
_OK = 200


class HttpRows:
    """Reads rows anew for each query; each tenant has connections of its own."""

    def __init__(self) -> None:
        self._lanes = Lanes()

    async def read(self, dataset: Dataset, tenant: TenantId) -> Table:
        try:
            reply = await self._lanes.of(tenant).exchange(
                "GET",
                dataset.url,
                params={"tenant": tenant},
                timeout_s=_TIMEOUT_S,
                most_bytes=_GREATEST_BYTES,
            )
        except PeerFailed as error:
            raise _failed(dataset, f"its source: {error.message}") from error
        if reply.status != _OK:
            raise _failed(dataset, f"its source answers {reply.status}")
        # In a thread: a large table would keep everybody else waiting
        return await asyncio.to_thread(_parsed, reply.body, dataset)

    async def close(self) -> None:
        await self._lanes.close()


def _parsed(body: bytes, dataset: Dataset) -> Table:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise _failed(dataset, f"its source answers more than {_MOST_VALUES} values")
    try:
        answered = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _failed(dataset, "its source does not answer JSON that can be read") from None
    rows = answered.get("rows") if isinstance(answered, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _failed(dataset, "its source does not answer a list `rows`")
    try:
        check_keys(body, answered, most_values=_MOST_VALUES)
    except NotKeepable as error:
        raise _failed(dataset, f"its source's answer {error.why}") from None
    return table_from(rows, dataset)


def table_from(rows: list[dict[str, Any]], dataset: Dataset) -> Table:
    """Rows as a table, numbers clamped and in steps.

    Raises:
        AgentFailed: there are too many, a person has two, or a value is not as declared.
    """
    if len(rows) > _MOST_ROWS:
        raise _failed(dataset, f"it has more than {_MOST_ROWS} rows")
    units = tuple(row.get(dataset.unit) for row in rows)
    if not all(isinstance(unit, str) and unit for unit in units):
        raise _failed(dataset, f"a row has no text {dataset.unit!r}")
    if len(set(units)) != len(units):
        raise _failed(dataset, f"two rows have the same {dataset.unit!r}")
    columns = {
        name: tuple(_value(row, column, dataset) for row in rows)
        for name, column in dataset.columns.items()
    }
    return Table(tuple(str(unit) for unit in units), columns)


def _value(row: Mapping[str, Any], column: Column, dataset: Dataset) -> int | str:
    value = row.get(column.name)
    if not column.is_number:
        if value in column.values:
            return str(value)
        raise _failed(dataset, f"a row's {column.name!r} is none of the declared values")
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return column.clamped(value)
        except ValueError:
            pass
    raise _failed(dataset, f"a row's {column.name!r} is no finite number")


def _failed(dataset: Dataset, why: str) -> AgentFailed:
    return AgentFailed(
        f"dataset {dataset.name!r} cannot be read: {why}",
        hint="the operator's task: the source must answer as the catalogue declares it",
    )
