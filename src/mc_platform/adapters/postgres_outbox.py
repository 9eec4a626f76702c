"""The ledger as an outbox; implements `deliver.Outbox`.

A claim is a session-level advisory lock on a connection of its own: it is free the moment its
process or its connection dies. A process that is stopped (SIGSTOP) keeps its connection, so the
server ends a claim's session that was silent for `_SILENT_S`, and the lock with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from mc_contract.canonical import canonical_json
from mc_platform.adapters.postgres import DATABASE_ERRORS, Pools, unavailable, wrapped
from mc_platform.adapters.postgres_rows import leaf_from
from mc_platform.deliver import Rejected, Shipment
from mc_platform.deliver.outbox import Position, Standing
from mc_platform.errors import Unavailable
from mc_platform.model.event import UNREADABLE

_ACQUIRE_TIMEOUT_S = 5.0
_SILENT_S = 20
_CHUNK = 500  # leaves decoded before requests get their turn
_REASON_MOST = 300

# A cursor lost in a crash means a repeat, which the event's id tells: no need to wait for the
# disk as the ledger does.
_BEGIN = f"SET synchronous_commit = off; SET idle_session_timeout = '{_SILENT_S}s'"
_END = "RESET synchronous_commit; RESET idle_session_timeout"

# A new cursor begins with the first event that is still in the ledger: older ones are in archives.
_NEW_CURSOR = """
INSERT INTO mc.delivery_cursor (region, sink, next_index)
SELECT $1, $2, coalesce(
    (SELECT min(index) FROM mc.ledger_event WHERE region = $1),
    (SELECT size FROM mc.ledger_head WHERE region = $1), 0)
WHERE NOT EXISTS (SELECT FROM mc.delivery_cursor WHERE region = $1 AND sink = $2)
ON CONFLICT DO NOTHING
"""

_POSITION = """
WITH cursor AS (
    SELECT next_index FROM mc.delivery_cursor WHERE region = $1 AND sink = $2
), taken AS (
    SELECT max(index) AS index FROM (
        SELECT e.index FROM mc.ledger_id e, cursor c
        WHERE e.region = $1 AND e.index < c.next_index AND NOT EXISTS (
            SELECT FROM mc.delivery_parked p
            WHERE p.region = $1 AND p.sink = $2 AND p.index = e.index)
        ORDER BY e.index DESC LIMIT 1
    ) AS last
)
SELECT c.next_index, t.index AS last_taken, (
    SELECT count(*) FROM mc.delivery_parked p
    WHERE p.region = $1 AND p.sink = $2
      AND p.index > coalesce(t.index, -1) AND p.index < c.next_index
) AS parked_since
FROM cursor c, taken t
"""

# recorded_at never falls as the index grows, so older partitions need not be looked into. The upper
# bound on the index bounds a sort, if the planner wants one, by the batch and not by the backlog.
_READ = """
SELECT index, recorded_at, leaf FROM mc.ledger_event
WHERE region = $1 AND index >= $2 AND index < $2 + $3 AND recorded_at >= (
    SELECT recorded_at FROM mc.ledger_id WHERE region = $1 AND index = $2)
ORDER BY index
"""

_ADVANCE = """
UPDATE mc.delivery_cursor SET next_index = $3, updated_at = now()
WHERE region = $1 AND sink = $2 AND next_index < $3
"""

_PARK = """
WITH parked AS (
    INSERT INTO mc.delivery_parked (region, sink, index, event_id, reason)
    SELECT $1, $2, e.index, e.event_id, r.reason
    FROM unnest($4::bigint[], $5::text[]) AS r (index, reason)
    JOIN mc.ledger_id e ON e.region = $1 AND e.index = r.index
    ON CONFLICT DO NOTHING
)
UPDATE mc.delivery_cursor SET next_index = $3, updated_at = now()
WHERE region = $1 AND sink = $2 AND next_index < $3
"""

_STANDING = """
SELECT h.size, coalesce(c.next_index, 0) AS next_index, e.recorded_at AS oldest_at, (
    SELECT count(*) FROM mc.delivery_parked WHERE region = $1 AND sink = $2
) AS parked
FROM mc.ledger_head h
LEFT JOIN mc.delivery_cursor c ON c.region = h.region AND c.sink = $2
LEFT JOIN mc.ledger_id e ON e.region = h.region AND e.index = coalesce(c.next_index, 0)
WHERE h.region = $1
"""


def shipment_of(index: int, recorded_at: datetime, raw: bytes) -> Shipment:
    """An entry to be sent; one that cannot be read is sent as an event that says so."""
    leaf = leaf_from(raw, recorded_at)
    readable = leaf["kind"] != UNREADABLE
    return Shipment(index, recorded_at, leaf, raw if readable else canonical_json(leaf))


class _PostgresClaim:
    """Implements `deliver.Claim`. One statement at a time: it is one connection."""

    def __init__(self, connection: Any, region: str, sink: str) -> None:
        self._connection = connection
        self._key = (region, sink)
        self._turn = asyncio.Lock()

    @wrapped("the outbox cannot be read")
    async def position(self) -> Position:
        """See the protocol."""
        async with self._turn:
            row = await self._connection.fetchrow(_POSITION, *self._key)
        return Position(row["next_index"], row["last_taken"], row["parked_since"])

    @wrapped("the outbox cannot be read")
    async def read(self, start: int, limit: int) -> list[Shipment]:
        """See the protocol.

        Raises:
            Unavailable: also when events are missing, which nothing that is right can do.
        """
        async with self._turn:
            rows = await self._connection.fetch(_READ, self._key[0], start, limit)
            if not rows and start < await self._size():
                # Again: they may have been recorded between the two statements
                rows = await self._connection.fetch(_READ, self._key[0], start, limit)
                if not rows:
                    raise _gap(start, "up to its head")
        batch: list[Shipment] = []
        for begin in range(0, len(rows), _CHUNK):
            batch += [shipment_of(*row) for row in rows[begin : begin + _CHUNK]]
            await asyncio.sleep(0)
        if batch and (batch[0].index != start or batch[-1].index != start + len(batch) - 1):
            raise _gap(start, f"up to {batch[-1].index}")
        return batch

    async def _size(self) -> int:
        size = await self._connection.fetchval(
            "SELECT size FROM mc.ledger_head WHERE region = $1", self._key[0]
        )
        return int(size or 0)

    @wrapped("the delivery cursor cannot be moved")
    async def settle(self, next_index: int, rejected: Sequence[Rejected]) -> None:
        """See the protocol."""
        async with self._turn:
            if not rejected:
                await self._connection.execute(_ADVANCE, *self._key, next_index)
                return
            await self._connection.execute(
                _PARK,
                *self._key,
                next_index,
                [item.index for item in rejected],
                [item.reason[:_REASON_MOST] for item in rejected],
            )

    @wrapped("the outbox cannot be read")
    async def hold(self) -> None:
        """See the protocol."""
        async with self._turn:
            await self._connection.execute("SELECT")


def _gap(start: int, where: str) -> Unavailable:
    return Unavailable(
        f"events from {start} on are not all in the ledger, expected no gap {where}",
        hint="were they archived before they were delivered?",
    )


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
            async with self._pools.record.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                    yield None
                    return
                try:
                    await connection.execute(_BEGIN)
                    await connection.execute(_NEW_CURSOR, self._region, sink)
                    yield _PostgresClaim(connection, self._region, sink)
                finally:
                    await _let_go(connection, lock)
        except DATABASE_ERRORS as error:
            raise unavailable("the outbox cannot be read", error) from error

    @wrapped("the outbox cannot be read")
    async def standing(self, sink: str) -> Standing:
        """See the protocol."""
        async with self._pools.record.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
            row = await connection.fetchrow(_STANDING, self._region, sink)
        if row is None:
            return Standing(0, 0, None, 0)
        return Standing(row["size"], row["next_index"], row["oldest_at"], row["parked"])


async def _let_go(connection: Any, lock: int) -> None:
    """Give the lock back; a connection that still may have it must not return to the pool."""
    done = False
    try:
        if not connection.is_closed():
            await connection.execute(_END)
            done = await connection.fetchval("SELECT pg_advisory_unlock($1)", lock)
    finally:
        if not done and not connection.is_closed():
            connection.terminate()
