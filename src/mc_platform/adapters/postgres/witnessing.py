"""What witnesses cosigned of this region's log, and what it cosigned of others'.

Implements `record.CosignedLog` and `record.WitnessStore`. Nobody is in a hurry: one connection of the
recorder's pool at a time for each of the two, so that the journal always finds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import groupby
from typing import Any

from mc_platform.adapters.postgres.pools import DATABASE_ERRORS, Pools, wrapped
from mc_platform.errors import Unavailable
from mc_platform.record.witness import WitnessTurn
from mc_platform.record.witnesses import CosignedNote, Standing, merged

_STANDING = """
SELECT wanted.witness, coalesce(newest.size, 0) AS size, newest.note, waiting.created_at AS waiting_since
FROM unnest($2::text[]) AS wanted (witness)
LEFT JOIN LATERAL (
    SELECT size, note FROM mc.ledger_cosigned AS c
    WHERE c.region = $1 AND c.witness = wanted.witness ORDER BY size DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM mc.ledger_checkpoint AS c
    WHERE c.region = $1 AND c.size > coalesce(newest.size, 0) ORDER BY c.size LIMIT 1
) AS waiting ON true
"""
_NEWEST = """
SELECT size, witness, note FROM mc.ledger_cosigned
WHERE region = $1 ORDER BY size DESC, witness LIMIT $2
"""
_TURN_WAIT_MS = 2000


class PostgresCosignedLog:
    """Cosigned checkpoints of one region's log; rows are only added."""

    def __init__(self, pools: Pools, *, region: str) -> None:
        self._pools = pools
        self._region = region

    @wrapped("cosigned checkpoints cannot be read")
    async def standing(self, witnesses: Sequence[str]) -> Mapping[str, Standing]:
        rows = await self._pools.record.fetch(_STANDING, self._region, list(witnesses))
        return {
            row["witness"]: Standing(row["size"], row["waiting_since"], row["note"]) for row in rows
        }

    @wrapped("cosigned checkpoints cannot be read")
    async def asked_within(self, age_s: float) -> bool:
        found: bool = await self._pools.record.fetchval(
            "SELECT coalesce((SELECT clock_timestamp() - created_at < make_interval(secs => $2) "
            "FROM mc.ledger_cosigned WHERE region = $1 ORDER BY size DESC LIMIT 1), false)",
            self._region,
            age_s,
        )
        return found

    @wrapped("a cosigned checkpoint cannot be stored")
    async def store_cosigned(self, size: int, witness: str, note: str, at: datetime) -> None:
        await self._pools.record.execute(
            "INSERT INTO mc.ledger_cosigned (region, size, witness, note, cosigned_at) "
            "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            self._region,
            size,
            witness,
            note,
            at,
        )

    async def cosigned(self, limit: int) -> list[CosignedNote]:
        return await self.of_log(self._region, limit)

    @wrapped("cosigned checkpoints cannot be read")
    async def of_log(self, log: str, limit: int) -> list[CosignedNote]:
        """The same of any of the region's logs: that of a former epoch is submitted no more."""
        rows = await self._pools.record.fetch(_NEWEST, log, limit)
        return [
            CosignedNote(size, merged([row["note"] for row in found]), _names(found))
            for size, group in groupby(rows, key=_size)
            for found in _by_text(list(group))
        ]


class PostgresWitnessStore:
    """The last note that this region's witness cosigned of each log."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._one_at_a_time = asyncio.Semaphore(1)

    @asynccontextmanager
    async def turn(self, key_id: str, origin: str) -> AsyncIterator[WitnessTurn]:
        try:
            async with (
                self._one_at_a_time,
                self._pools.record.acquire() as connection,
                connection.transaction(),
            ):
                await connection.execute(
                    "SELECT set_config('lock_timeout', $1, true)", str(_TURN_WAIT_MS)
                )
                await connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended($1 || $2, 42))", key_id, origin
                )
                note = await connection.fetchval(
                    "SELECT note FROM mc.witnessed_log WHERE key_id = $1 AND origin = $2",
                    key_id,
                    origin,
                )
                yield _Turn(connection, key_id, origin, note)
        except DATABASE_ERRORS as error:
            raise Unavailable(
                f"what was cosigned cannot be kept: {type(error).__name__}"
            ) from error


class _Turn:
    def __init__(self, connection: Any, key_id: str, origin: str, note: str | None) -> None:
        self._connection = connection
        self._key_id = key_id
        self._origin = origin
        self.note = note

    async def keep(self, size: int, note: str) -> None:
        await self._connection.execute(
            "INSERT INTO mc.witnessed_log AS kept (key_id, origin, size, note) "
            "VALUES ($1, $2, $3, $4) ON CONFLICT (key_id, origin) DO UPDATE "
            "SET size = excluded.size, note = excluded.note, updated_at = now()",
            self._key_id,
            self._origin,
            size,
            note,
        )


def _size(row: Any) -> int:
    size: int = row["size"]
    return size


def _names(rows: Sequence[Any]) -> frozenset[str]:
    return frozenset(row["witness"] for row in rows)


def _by_text(rows: Sequence[Any]) -> list[list[Any]]:
    """Rows of one size by their checkpoint: one, unless somebody forged another."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["note"].partition("\n\n")[0], []).append(row)
    return list(found.values())
