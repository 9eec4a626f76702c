"""Reading the ledger: for a tenant, for audit, its tiles (`record.AuditLedger` and `TileStore`).

An auditor reads a lot and is in no hurry: one connection of the recorder's pool at a time, so that
the journal always finds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from mc_contract.ledger.entry import Entry
from mc_contract.ledger.tiles import TileId, split_hashes
from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.adapters.postgres.rows import ENTRY_COLUMNS, ledger_row
from mc_platform.errors import BadRequest, NotFound
from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import TenantId
from mc_platform.record import Archive, StoredCheckpoint, Wanted
from mc_platform.record.ledger import MOST_PAGE_BYTES

# OFFSET 0 in a join keeps the planner from reading a whole table: each row is looked up.
_BEFORE = """
coalesce(sum(octet_length(leaf)) OVER (
    ORDER BY index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
"""
_ENTRIES = f"""
SELECT {ENTRY_COLUMNS}, coalesce(i.event_id, '') AS registered_id FROM (
    SELECT *, {_BEFORE}, row_number() OVER (ORDER BY index) AS number FROM (
        SELECT * FROM mc.ledger_event WHERE region = $1 AND index >= $2 ORDER BY index LIMIT $3
    ) AS all_of_them
) AS e LEFT JOIN LATERAL (
    SELECT event_id FROM mc.ledger_id WHERE region = $1 AND index = e.index OFFSET 0
) AS i ON true
WHERE e.before < {MOST_PAGE_BYTES} OR e.number = 2
ORDER BY e.index, e.recorded_at, e.event_id
"""  # noqa: S608 - the columns are ours
# `$6` bounds from above by index what `until` bounds by time, so that proofs have one size.
_OF_TENANT = f"""
SELECT {ENTRY_COLUMNS} FROM (
    SELECT *, {_BEFORE} FROM (
        SELECT * FROM mc.ledger_event
        WHERE region = $1 AND tenant = $2 AND ($3::timestamptz IS NULL OR recorded_at >= $3)
          AND ($4::timestamptz IS NULL OR recorded_at < $4) AND index > $5 AND index < $6
        ORDER BY index LIMIT $7
    ) AS all_of_them
) AS e WHERE before < {MOST_PAGE_BYTES} ORDER BY index
"""  # noqa: S608 - the columns are ours
_SEEN = """
SELECT min(index) AS index, count(*) AS rows FROM (
    SELECT index FROM mc.ledger_event
    WHERE region = $1 AND index < $2 AND index >= $3 AND {} ORDER BY index DESC LIMIT $4
) AS newest
"""
_MATCHING = f"""
SELECT {ENTRY_COLUMNS} FROM (
    SELECT *, coalesce(sum(octet_length(leaf)) OVER (
        ORDER BY index DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM (
        SELECT * FROM mc.ledger_event
        WHERE region = $1 AND index < $2 AND index >= $3 AND {{}}
          AND (cardinality($4::text[]) = 0 OR kind = ANY ($4)) AND ($5::text IS NULL OR subject = $5)
          AND (NOT $6::boolean OR position('"allowed":false'::bytea IN leaf) > 0)
        ORDER BY index DESC LIMIT $7
    ) AS all_of_them
) AS e WHERE before < {MOST_PAGE_BYTES} ORDER BY index DESC
"""  # noqa: S608 - the columns are ours
_TELLING = """
SELECT min(index) AS index FROM (
    SELECT index, leaf FROM mc.ledger_event WHERE region = $1 AND index >= $2 ORDER BY index LIMIT $3
) AS near WHERE position($4::bytea IN leaf) > 0
"""
_MOST_SEEN = 20_000  # rows that one page looks at
_NEAR_ROWS = 10_000
_NEAR_PAGES = 20
_CLOCKS_APART = timedelta(seconds=2)
_TILES = """
SELECT tile.* FROM unnest($2::smallint[], $3::bigint[]) AS wanted (level, index)
CROSS JOIN LATERAL (
    SELECT level, index, hashes FROM mc.ledger_tile
    WHERE region = $1 AND level = wanted.level AND index = wanted.index OFFSET 0
) AS tile
"""


class PostgresRecords:
    """A tenant's part of a region's logs, under row-level security; implements `ports.Records`.

    Args:
        region: The log that is written.
        former: Those of earlier epochs.
    """

    def __init__(self, pools: Pools, *, region: str, former: Sequence[str] = ()) -> None:
        self._pools = pools
        self._region = region
        self._former = former

    @wrapped("the ledger cannot be read")
    async def newest(
        self, tenant: TenantId, *, limit: int, before: int | None, log: str | None = None
    ) -> list[LedgerRow]:
        if log is not None and log not in (self._region, *self._former):
            known = ", ".join([*self._former, self._region])
            raise BadRequest(f"log is none of this region's: {known}")
        async with self._pools.as_tenant(tenant) as connection:
            rows = await connection.fetch(
                "SELECT index, recorded_at, leaf FROM mc.ledger_event "
                "WHERE tenant = $1 AND region = $2 AND ($3::bigint IS NULL OR index < $3) "
                "ORDER BY index DESC LIMIT $4",
                tenant,
                log or self._region,
                before,
                limit,
            )
        return [ledger_row(row) for row in rows]


class PostgresLedger:
    """One region's log."""

    def __init__(self, pools: Pools, *, region: str) -> None:
        self._pools = pools
        self.region = region
        self._one_at_a_time = asyncio.Semaphore(1)

    @wrapped("the ledger cannot be read")
    async def entries(self, start: int, limit: int) -> list[Entry]:
        rows = await self._fetch(_ENTRIES, start, limit)
        return [Entry(**row) for row in rows]

    @wrapped("checkpoints cannot be read")
    async def checkpoints(self, from_size: int, limit: int) -> list[StoredCheckpoint]:
        rows = await self._fetch(
            "SELECT size, note, created_at FROM mc.ledger_checkpoint "
            "WHERE region = $1 AND size >= $2 ORDER BY size LIMIT $3",
            from_size,
            limit,
        )
        return [StoredCheckpoint(**row) for row in rows]

    @wrapped("checkpoints cannot be read")
    async def newest_note(self) -> str:
        """The stored checkpoint of the greatest size.

        Raises:
            NotFound: none is stored.
        """
        rows = await self._fetch(
            "SELECT note FROM mc.ledger_checkpoint WHERE region = $1 ORDER BY size DESC LIMIT 1"
        )
        if not rows:
            raise NotFound(f"no checkpoint of {self.region} is stored")
        return str(rows[0]["note"])

    @wrapped("the ledger's ids cannot be read")
    async def index_of(self, *event_ids: str) -> int | None:
        rows = await self._fetch(
            "SELECT index FROM mc.ledger_id WHERE region = $1 AND event_id = ANY($2)", event_ids
        )
        return min((row["index"] for row in rows), default=None)

    @wrapped("the ledger cannot be read")
    async def of_tenant(
        self,
        tenant: str,
        *,
        since: datetime | None,
        until: datetime | None,
        after_index: int,
        below: int,
        limit: int,
    ) -> list[Entry]:
        rows = await self._fetch(_OF_TENANT, tenant, since, until, after_index, below, limit)
        return [Entry(**row) for row in rows]

    @wrapped("the ledger cannot be read")
    async def index_of_decision(self, decision: str, second: int) -> int | None:
        told = f'"decision":"{decision}"'.encode()
        start = await self._first_since(datetime.fromtimestamp(second, UTC) - _CLOCKS_APART)
        for page in range(_NEAR_PAGES):
            rows = await self._fetch(_TELLING, start + page * _NEAR_ROWS, _NEAR_ROWS, told)
            if rows[0]["index"] is not None:
                return int(rows[0]["index"])
        return None

    @wrapped("the ledger cannot be read")
    async def matching(
        self, wanted: Wanted, *, before: int, limit: int
    ) -> tuple[list[Entry], int | None]:
        start = await self._first_since(wanted.since) if wanted.since else 0
        end = min(before, await self._first_since(wanted.until)) if wanted.until else before
        # Not `$n IS NULL OR`: a plan for any tenant would not take the tenants' index
        whose = "true" if wanted.tenant is None else "tenant = ${}"
        tenant = () if wanted.tenant is None else (wanted.tenant,)
        [seen] = await self._fetch(_SEEN.format(whose.format(5)), end, start, _MOST_SEEN, *tenant)
        if not seen["rows"]:
            return [], None
        asked = (list(wanted.kinds), wanted.subject, wanted.denied, limit, *tenant)
        rows = await self._fetch(_MATCHING.format(whose.format(8)), end, seen["index"], *asked)
        found = [Entry(**row) for row in rows]
        if len(found) == limit or sum(len(entry.leaf) for entry in found) >= MOST_PAGE_BYTES:
            return found, found[-1].index
        return found, seen["index"] if seen["rows"] == _MOST_SEEN else None

    async def _first_since(self, at: datetime) -> int:
        """The first index that was recorded at this time or later: `recorded_at` never falls as it grows."""
        low, high = 0, await self.size()
        while low < high:
            middle = (low + high) // 2
            rows = await self._fetch(
                "SELECT index, recorded_at FROM mc.ledger_event WHERE region = $1 AND index >= $2 "
                "ORDER BY index LIMIT 1",
                middle,
            )
            if not rows or rows[0]["recorded_at"] >= at:
                high = middle
            else:
                low = rows[0]["index"] + 1
        return low

    @wrapped("the index of archives cannot be read")
    async def archives(self) -> list[Archive]:
        rows = await self._fetch(
            "SELECT first_index, last_index, file, encode(sha256, 'hex') AS sha256, "
            "frontier_before, frontier_after, checkpoint, archived_at "
            "FROM mc.ledger_archive WHERE region = $1 ORDER BY first_index"
        )
        return [Archive(**row) for row in rows]

    # -- tiles --------------------------------------------------------------------------------

    @wrapped("the ledger's head cannot be read")
    async def size(self) -> int:
        rows = await self._fetch("SELECT size FROM mc.ledger_head WHERE region = $1")
        return rows[0]["size"] if rows else 0

    @wrapped("tiles cannot be read")
    async def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, list[bytes]]:
        if not wanted:
            return {}
        rows = await self._fetch(
            _TILES, [tile.level for tile in wanted], [tile.index for tile in wanted]
        )
        return {TileId(row["level"], row["index"]): split_hashes(row["hashes"]) for row in rows}

    @wrapped("tiles cannot be read")
    async def tile_hashes(self, first: int, count: int) -> list[tuple[int, bytes]]:
        rows = await self._fetch(
            "SELECT index, hashes FROM mc.ledger_tile WHERE region = $1 AND level = 0 "
            "AND index >= $2 ORDER BY index LIMIT $3",
            first,
            count,
        )
        return [(row["index"], row["hashes"]) for row in rows]

    @wrapped("tiles cannot be read")
    async def tile_count(self, level: int) -> int:
        rows = await self._fetch(
            "SELECT coalesce(max(index) + 1, 0) AS tiles FROM mc.ledger_tile "
            "WHERE region = $1 AND level = $2",
            level,
        )
        return int(rows[0]["tiles"])

    @wrapped("tiles cannot be read")
    async def tile_roots(self, level: int, first: int, count: int) -> list[bytes]:
        rows = await self._fetch(
            "SELECT index, root AS hash FROM mc.ledger_tile WHERE region = $1 AND level = $2 "
            "AND index >= $3 AND index < $4 ORDER BY index",
            level,
            first,
            first + count,
        )
        return _without_gap(rows, first)

    @wrapped("the ledger cannot be read")
    async def leaf_hashes(self, first: int, count: int) -> list[bytes]:
        rows = await self._fetch(
            "SELECT index, leaf_hash AS hash FROM mc.ledger_event WHERE region = $1 "
            "AND index >= $2 AND index < $3 ORDER BY index",
            first,
            first + count,
        )
        return _without_gap(rows, first)

    @wrapped("a tile cannot be stored")
    async def store_tile(self, tile: TileId, hashes: Sequence[bytes], root: bytes) -> None:
        async with self._connection() as connection:
            await connection.execute(
                "INSERT INTO mc.ledger_tile (region, level, index, hashes, root) "
                "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                self.region,
                tile.level,
                tile.index,
                b"".join(hashes),
                root,
            )

    @wrapped("partitions cannot be made")
    async def ensure_partitions(self) -> list[str]:
        """Make this month's and the next month's partition; return the names of new ones.

        Raises:
            Unavailable: the database does not answer, or is busy; what is recorded meanwhile goes
                to the default partition, and moves when its own is made.
        """
        async with self._connection() as connection:
            rows = await connection.fetch("SELECT * FROM mc.ensure_ledger_partitions()")
        return [row[0] for row in rows]

    async def _fetch(self, statement: str, *arguments: Any) -> list[Any]:
        async with self._connection() as connection:
            rows: list[Any] = await connection.fetch(statement, self.region, *arguments)
            return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        async with self._one_at_a_time, self._pools.record.acquire() as connection:
            yield connection


def _without_gap(rows: Sequence[Any], first: int) -> list[bytes]:
    return [row["hash"] for at, row in enumerate(rows, first) if row["index"] == at]
