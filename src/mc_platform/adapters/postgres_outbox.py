"""The ledger as an outbox; implements `deliver.Outbox`.

A claim is a session-level advisory lock on a connection of its own: it is free the moment its
process or its connection dies.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec

from mc_platform.adapters.postgres import DATABASE_ERRORS, Pools, unavailable
from mc_platform.deliver import Shipment


class _PostgresClaim:
    def __init__(self, connection: Any, region: str, sink: str) -> None:
        self._connection = connection
        self._key = (region, sink)

    async def next(self, limit: int) -> list[Shipment]:
        rows = await self._connection.fetch(
            "SELECT index, recorded_at, leaf FROM mc.ledger_event WHERE region = $1 AND index >= "
            "(SELECT next_index FROM mc.delivery_cursor WHERE region = $1 AND sink = $2) "
            "ORDER BY index LIMIT $3",
            *self._key,
            limit,
        )
        return [
            Shipment(row["index"], row["recorded_at"], msgspec.json.decode(row["leaf"]))
            for row in rows
        ]

    async def taken(self, next_index: int) -> None:
        await self._connection.execute(
            "UPDATE mc.delivery_cursor SET next_index = $3, updated_at = now() "
            "WHERE region = $1 AND sink = $2 AND next_index < $3",
            *self._key,
            next_index,
        )

    async def backlog(self) -> tuple[int, datetime | None]:
        row = await self._connection.fetchrow(
            "SELECT h.size - c.next_index AS waiting, e.recorded_at AS oldest "
            "FROM mc.delivery_cursor c JOIN mc.ledger_head h USING (region) "
            "LEFT JOIN mc.ledger_event e ON e.region = c.region AND e.index = c.next_index "
            "WHERE c.region = $1 AND c.sink = $2",
            *self._key,
        )
        return (0, None) if row is None else (row["waiting"], row["oldest"])


class PostgresOutbox:
    """One region's outbox."""

    def __init__(self, pools: Pools, *, region: str) -> None:
        self._pools = pools
        self._region = region

    @asynccontextmanager
    async def claim(self, sink: str) -> AsyncIterator[_PostgresClaim | None]:
        """See the protocol."""
        digest = hashlib.sha256(f"mc-outbox|{self._region}|{sink}".encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        try:
            async with self._pools.record.acquire() as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                    yield None
                    return
                try:
                    # A cursor lost in a crash means a repeat, which the event's id tells: no
                    # need to wait for the disk as the ledger does.
                    await connection.execute("SET synchronous_commit = off")
                    await connection.execute(
                        "INSERT INTO mc.delivery_cursor (region, sink, next_index) "
                        "VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
                        self._region,
                        sink,
                    )
                    yield _PostgresClaim(connection, self._region, sink)
                finally:
                    if not connection.is_closed():
                        await connection.execute("RESET synchronous_commit")
                        await connection.execute("SELECT pg_advisory_unlock($1)", lock)
        except DATABASE_ERRORS as error:
            raise unavailable("the outbox cannot be read", error) from error
