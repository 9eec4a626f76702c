"""Rows of a dataset over HTTP; implements `aggregate.Rows`.

`GET <url>?tenant=<tenant>` answers `{"rows": [{...}, ...]}`, one row a person. What is not as
declared is refused whole: a row left out would be an answer about other people. No error quotes a
row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from mc_platform.errors import AgentFailed
from mc_platform.model.dataset import Column, Dataset, Table
from mc_platform.model.ids import TenantId

_TIMEOUT = aiohttp.ClientTimeout(total=10, sock_connect=3)
_GREATEST_BYTES = 64 * 1024 * 1024
_MOST_ROWS = 200_000
_OK = 200


class _Rows(msgspec.Struct):
    rows: list[dict[str, Any]]


class HttpRows:
    """Reads rows anew for each query; connections are opened at the first."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def read(self, dataset: Dataset, tenant: TenantId) -> Table:
        """See the protocol."""
        try:
            async with self._open().get(
                dataset.url, params={"tenant": tenant}, allow_redirects=False
            ) as response:
                if response.status != _OK:
                    raise _failed(dataset, f"its source answers {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _GREATEST_BYTES:
                        raise _failed(dataset, f"it has more than {_GREATEST_BYTES} bytes")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failed(dataset, f"its source: {type(error).__name__}") from error
        # In a thread: a large table would keep everybody else waiting
        return await asyncio.to_thread(_parsed, bytes(body), dataset)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self._session


def _parsed(body: bytes, dataset: Dataset) -> Table:
    try:
        rows = msgspec.json.decode(body, type=_Rows).rows
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _failed(dataset, "its source does not answer a list `rows`") from None
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
