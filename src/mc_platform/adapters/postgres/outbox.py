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
from mc_contract.ledger.merkle import leaf_hash
from mc_platform.adapters.postgres.pools import DATABASE_ERRORS, Pools, unavailable, wrapped
from mc_platform.adapters.postgres.rows import leaf_from, unreadable_leaf
from mc_platform.deliver import Rejected, Shipment
from mc_platform.deliver.guard import WINDOW, Offered
from mc_platform.deliver.outbox import MOST_BATCH_BYTES, LogDelivered, Position, Standing
from mc_platform.errors import LedgerDamaged, Unavailable
from mc_platform.model.event import UNREADABLE

_SILENT_S = 20
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

_FORMER = """
SELECT h.region FROM mc.ledger_head h
LEFT JOIN mc.delivery_cursor c ON c.region = h.region AND c.sink = $2
WHERE h.region = ANY($1::text[]) AND coalesce(c.next_index, 0) < h.size
    AND (c.next_index IS NOT NULL OR EXISTS (SELECT FROM mc.ledger_event e WHERE e.region = h.region))
ORDER BY array_position($1::text[], h.region) LIMIT 1
"""

_POSITION = """
SELECT c.next_index, h.size FROM mc.delivery_cursor c JOIN mc.ledger_head h USING (region)
WHERE c.region = $1 AND c.sink = $2
"""

# An event that has left the ledger has no kind here.
_RECENT = """
SELECT coalesce(e.kind, '') AS kind, p.index IS NULL OR EXISTS (
    SELECT FROM mc.dead_letter_resend r
    WHERE r.region = $1 AND r.sink = $2 AND r.index = i.index AND r.taken
) AS taken
FROM mc.ledger_id i
LEFT JOIN mc.ledger_event e
    ON e.region = $1 AND e.index = i.index AND e.recorded_at = i.recorded_at
LEFT JOIN mc.delivery_parked p ON p.region = $1 AND p.sink = $2 AND p.index = i.index
WHERE i.region = $1 AND i.index >= $3 AND i.index < $4
ORDER BY i.index
"""

# recorded_at never falls as the index grows, so older partitions need not be looked into. The upper
# bound on the index bounds a sort, if the planner wants one, by the batch and not by the backlog.
# The one that exceeds the bytes is the last, so that there is always one.
_READ = f"""
SELECT index, recorded_at, leaf, leaf_hash FROM (
    SELECT index, recorded_at, leaf, leaf_hash,
        coalesce(sum(octet_length(leaf)) OVER (
            ORDER BY index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM mc.ledger_event
    WHERE region = $1 AND index >= $2 AND index < $2 + $3 AND recorded_at >= (
        SELECT recorded_at FROM mc.ledger_id WHERE region = $1 AND index = $2)
) AS e WHERE before < {MOST_BATCH_BYTES} ORDER BY index
"""  # noqa: S608 - a number of ours

_ADVANCE = """
UPDATE mc.delivery_cursor SET next_index = $3, updated_at = now(), failing = NULL
WHERE region = $1 AND sink = $2 AND next_index >= $4 AND next_index < $3
"""

_PARK = """
WITH parked AS (
    INSERT INTO mc.delivery_parked (region, sink, index, event_id, reason)
    SELECT $1, $2, e.index, e.event_id, r.reason
    FROM unnest($5::bigint[], $6::text[]) AS r (index, reason)
    JOIN mc.ledger_id e ON e.region = $1 AND e.index = r.index
    ON CONFLICT DO NOTHING
)
UPDATE mc.delivery_cursor SET next_index = $3, updated_at = now(), failing = NULL
WHERE region = $1 AND sink = $2 AND next_index >= $4 AND next_index < $3
"""

_SET_BACK = """
SELECT next_index < $3 FROM mc.delivery_cursor WHERE region = $1 AND sink = $2
"""
_CHANGED = "it is not what was recorded"
_MOVED = "somebody else has moved the delivery cursor"

_FAIL = """
UPDATE mc.delivery_cursor SET failing = $3, failing_at = clock_timestamp()
WHERE region = $1 AND sink = $2
"""

# By the database's clock, whichever replica asks. Recorded times never fall, so after a step back of
# that clock one may be ahead of it: such an event waits for no time yet.
_STANDING = """
SELECT h.size, coalesce(c.next_index, 0) AS next_index,
    greatest(0, extract(epoch FROM clock_timestamp() - e.recorded_at))::float8 AS oldest_s,
    (SELECT count(*) FROM mc.delivery_parked p WHERE p.region = $1 AND p.sink = $2 AND NOT EXISTS (
        SELECT FROM mc.dead_letter_resend r
        WHERE (r.region, r.sink, r.index) = (p.region, p.sink, p.index) AND r.taken)
    ) AS dead_letters,
    CASE WHEN c.failing_at > c.updated_at THEN c.failing END AS failing,
    greatest(0, (SELECT max(next_index) FROM mc.delivery_cursor WHERE region = $1) - h.size) AS ahead
FROM mc.ledger_head h
LEFT JOIN mc.delivery_cursor c ON c.region = h.region AND c.sink = $2
LEFT JOIN mc.ledger_id e ON e.region = h.region AND e.index = coalesce(c.next_index, 0)
    AND e.index < h.size
WHERE h.region = $1
"""

# A dead letter is an index and an id: what is sent is what the ledger has recorded under both, by the
# hash that a kept tile has of it.
_WANTED_AGAIN = f"""
SELECT index, recorded_at, leaf, hash FROM (
    SELECT r.index, e.recorded_at, e.leaf, coalesce(
            substring(t.hashes FROM (r.index % 256)::int * 32 + 1 FOR 32), e.leaf_hash) AS hash,
        coalesce(sum(octet_length(e.leaf)) OVER (
            ORDER BY r.index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM (
        SELECT DISTINCT index FROM mc.dead_letter_resend
        WHERE region = $1 AND sink = $2 AND settled_at IS NULL ORDER BY index LIMIT $3
    ) AS r
    JOIN mc.delivery_parked p ON p.region = $1 AND p.sink = $2 AND p.index = r.index
    LEFT JOIN mc.ledger_id i
        ON i.region = $1 AND i.index = r.index AND i.event_id = p.event_id
    LEFT JOIN mc.ledger_event e
        ON e.region = $1 AND e.index = i.index AND e.recorded_at = i.recorded_at
    LEFT JOIN mc.ledger_tile t ON t.region = $1 AND t.level = 0 AND t.index = r.index / 256
) AS w WHERE before < {MOST_BATCH_BYTES} ORDER BY index
"""  # noqa: S608 - a number of ours

_SETTLE_AGAIN = """
UPDATE mc.dead_letter_resend r SET settled_at = now(), taken = new.reason IS NULL, reason = new.reason
FROM unnest($3::bigint[], $4::text[]) AS new (index, reason)
WHERE r.region = $1 AND r.sink = $2 AND r.index = new.index AND r.settled_at IS NULL
"""


def shipment_of(index: int, recorded_at: datetime, raw: bytes, recorded_hash: bytes) -> Shipment:
    """An entry to be sent; one that cannot be read, or was changed, is sent as an event that says so."""
    if leaf_hash(raw) == recorded_hash:
        leaf = leaf_from(raw, recorded_at)
    else:
        leaf = unreadable_leaf(raw, recorded_at, _CHANGED)
    readable = leaf["kind"] != UNREADABLE
    return Shipment(index, recorded_at, leaf, raw if readable else canonical_json(leaf))


class _PostgresClaim:
    """Implements `deliver.Claim`. One statement at a time: it is one connection."""

    def __init__(self, connection: Any, region: str, sink: str, *, ended: bool = False) -> None:
        self._connection = connection
        self._key = (region, sink)
        self._ended = ended  # it is a former log, and does not grow
        self._turn = asyncio.Lock()
        self._at = -1  # not known yet

    @wrapped("the outbox cannot be read")
    async def position(self) -> Position:
        async with self._turn:
            row = await self._connection.fetchrow(_POSITION, *self._key)
            if row is None:
                raise Unavailable("the delivery cursor is missing, or the ledger's head")
            at, size = row["next_index"], row["size"]
            if at > size:
                raise _beyond(at, size)
            recent = await self._connection.fetch(_RECENT, *self._key, at - WINDOW, at)
            self._at = at
        return Position(at, [Offered(item["kind"], item["taken"]) for item in recent])

    @wrapped("the outbox cannot be read")
    async def read(self, start: int, limit: int) -> list[Shipment]:
        """Raise `Unavailable` also when events are missing, which nothing that is right can do."""
        async with self._turn:
            rows = await self._connection.fetch(_READ, self._key[0], start, limit)
            size = start if rows else await self._size()
            if start > size:
                raise _beyond(start, size)
            if start < size:
                # Again: they may have been recorded between the two statements
                rows = await self._connection.fetch(_READ, self._key[0], start, limit)
                if not rows:
                    raise _gap(start, "up to its head")
        batch = await asyncio.to_thread(lambda: [shipment_of(*row) for row in rows])
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
        """Raise `Unavailable` also when somebody else has moved the cursor; `position` tells where it is."""
        async with self._turn:
            moved = await self._connection.execute(
                _PARK if rejected else _ADVANCE, *self._key, next_index, self._at, *_lists(rejected)
            )
            if 0 <= self._at < next_index:
                if moved == "UPDATE 0":
                    raise Unavailable(_MOVED)
                self._at = next_index

    @wrapped("the state of delivery cannot be told")
    async def fail(self, reason: str) -> None:
        async with self._turn:
            await self._connection.execute(_FAIL, *self._key, reason[:_REASON_MOST])

    @wrapped("the dead letters cannot be read")
    async def wanted_again(self, limit: int) -> list[Shipment | Rejected]:
        async with self._turn:
            rows = await self._connection.fetch(_WANTED_AGAIN, *self._key, limit)
        return await asyncio.to_thread(lambda: [_again(*row) for row in rows])

    @wrapped("what became of dead letters cannot be kept")
    async def settle_again(self, taken: Sequence[int], rejected: Sequence[Rejected]) -> None:
        async with self._turn:
            await self._connection.execute(
                _SETTLE_AGAIN,
                *self._key,
                [*taken, *(item.index for item in rejected)],
                [*(None for _ in taken), *(item.reason[:_REASON_MOST] for item in rejected)],
            )

    @wrapped("the outbox cannot be read")
    async def hold(self) -> None:
        """Raise `Unavailable` also when somebody else has set the cursor back; `LogDelivered` at a former log's end."""
        async with self._turn:
            if await self._connection.fetchval(_SET_BACK, *self._key, self._at):
                raise Unavailable(_MOVED)
            if self._ended and self._at >= await self._size():
                raise LogDelivered(self._key[0])


def _again(
    index: int, recorded_at: datetime, raw: bytes | None, recorded_hash: bytes
) -> Shipment | Rejected:
    if raw is None:
        return Rejected(index, "the event has left the ledger, or has another id there")
    if leaf_hash(raw) != recorded_hash:
        return Rejected(index, f"the ledger's entry: {_CHANGED}")
    return shipment_of(index, recorded_at, raw, recorded_hash)


def _lists(rejected: Sequence[Rejected]) -> Sequence[list[Any]]:
    if not rejected:
        return ()
    return [item.index for item in rejected], [item.reason[:_REASON_MOST] for item in rejected]


def _gap(start: int, where: str) -> Unavailable:
    return Unavailable(
        f"events from {start} on are not all in the ledger, expected no gap {where}",
        hint="were they archived before they were delivered?",
    )


def _beyond(cursor: int, size: int) -> LedgerDamaged:
    return LedgerDamaged(
        f"the delivery cursor is {cursor}, the log has {size} entries: it was set back",
        hint="docs/explanation/ledger.md, The signer refuses",
    )


class PostgresOutbox:
    """One region's outbox: its logs of earlier epochs to their ends, the oldest first, then its log.

    A sink gets a former log from its first event that is still in the ledger, too, if it has no cursor
    there. `standing` tells of the log that is being delivered.
    """

    def __init__(self, pools: Pools, *, region: str, former: Sequence[str] = ()) -> None:
        self._pools = pools
        self._region = region
        self._former = former

    @asynccontextmanager
    async def claim(self, sink: str) -> AsyncIterator[_PostgresClaim | None]:
        first = self._former[0] if self._former else self._region
        digest = hashlib.sha256(f"mc-outbox|{first}|{sink}".encode()).digest()
        lock = int.from_bytes(digest[:8], "big", signed=True)
        try:
            async with self._pools.record.acquire() as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                    yield None
                    return
                try:
                    await connection.execute(_BEGIN)
                    log = await self._undelivered(connection, sink)
                    await connection.execute(_NEW_CURSOR, log, sink)
                    yield _PostgresClaim(connection, log, sink, ended=log != self._region)
                finally:
                    await _let_go(connection, lock)
        except DATABASE_ERRORS as error:
            raise unavailable("the outbox cannot be read", error) from error

    @wrapped("the outbox cannot be read")
    async def standing(self, sink: str) -> Standing:
        log = await self._undelivered(self._pools.record, sink)
        row = await self._pools.record.fetchrow(_STANDING, log, sink)
        return Standing() if row is None else Standing(**row)

    async def _undelivered(self, connection: Any, sink: str) -> str:
        """The oldest log that the sink does not have whole; the one that is written, if it has."""
        if not self._former:
            return self._region
        log = await connection.fetchval(_FORMER, list(self._former), sink)
        return self._region if log is None else str(log)


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
