"""The journal's writer before migration 0030: the oracle of what it records, and its neighbour.

While a new version is rolled out both write one log: this one by an optimistic statement, and by a
lock over three round trips where another moved the head.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg

from mc_contract.ledger.merkle import Frontier
from mc_platform.adapters.postgres.flush import _columns, told
from mc_platform.adapters.postgres.journal import PostgresJournal

# One statement, so one round trip: it writes only if the head is where the writer thinks it is.
_WRITE = """
WITH head AS (
    UPDATE mc.ledger_head
    SET size = $11, frontier = $12, updated_at = greatest(clock_timestamp(), updated_at)
    WHERE region = $1 AND size = $2
    RETURNING region, updated_at AS recorded_at
), written AS (
    INSERT INTO mc.ledger_event
        (region, recorded_at, index, event_id, tenant, kind, subject, occurred_at, leaf, leaf_hash)
    SELECT head.region, head.recorded_at, new.* FROM head, unnest($3::bigint[], $4::text[],
        $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::bytea[], $10::bytea[]) AS new
), registered AS (
    INSERT INTO mc.ledger_id (region, recorded_at, index, event_id)
    SELECT head.region, head.recorded_at, new.* FROM head, unnest($3::bigint[], $4::text[]) AS new
), tasks AS (
    INSERT INTO mc.task AS old
        (id, context_id, tenant, principal, message_id, request_digest, state,
         updated_at, parts, status_text, governance, flow)
    SELECT id, context_id, tenant, principal, message_id, request_digest, state,
           updated_at, parts::json, status_text, governance::json, flow::json
    FROM head, unnest($13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                      $18::text[], $19::text[], $20::timestamptz[], $21::text[], $22::text[],
                      $23::text[], $24::text[])
        AS new (id, context_id, tenant, principal, message_id, request_digest, state,
                updated_at, parts, status_text, governance, flow)
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, updated_at = excluded.updated_at, parts = excluded.parts,
        status_text = excluded.status_text, governance = excluded.governance
    WHERE old.state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')
), quotable AS (
    INSERT INTO mc.quotable (tenant, digest, task_id)
    SELECT new.* FROM head, unnest($25::text[], $26::bigint[], $27::text[]) AS new
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM head
"""

# An id's event may be in a file by now; then its leaf is NULL. OFFSET 0 keeps the planner from
# joining the whole log: it must look up each id, however little it knows about the tables yet.
_KNOWN = """
SELECT i.event_id, i.index, e.leaf FROM unnest($2::text[]) AS wanted (event_id)
CROSS JOIN LATERAL (
    SELECT * FROM mc.ledger_id WHERE region = $1 AND event_id = wanted.event_id OFFSET 0
) AS i
LEFT JOIN LATERAL (
    SELECT leaf FROM mc.ledger_event
    WHERE $3 AND region = $1 AND index = i.index AND recorded_at = i.recorded_at OFFSET 0
) AS e ON true
"""


class EarlierJournal(PostgresJournal):
    """As `PostgresJournal`, with the statements of the version before."""

    _seen: Frontier | None = None

    async def _commit(self, batch, *, answer_lost=False):
        async with self._pools.record.acquire() as connection:
            written = None
            if self._seen is not None and not answer_lost:
                with suppress(asyncpg.UniqueViolationError):
                    written = await self._write(connection, self._seen, {}, batch)
            if written is None:
                async with connection.transaction():
                    written = await self._write_locked(connection, answer_lost, batch)
        self._seen, places = written
        self._committed = self._seen.size, self._seen.to_bytes()
        return told(batch, places)

    async def _write_locked(self, connection, answer_lost, batch):
        stored = await connection.fetchrow(
            "SELECT size, frontier FROM mc.ledger_head WHERE region = $1 FOR UPDATE", self._region
        )
        wanted = _first_of_each(batch)
        known = await connection.fetch(_KNOWN, self._region, list(wanted), answer_lost)
        places = {
            row["event_id"]: (
                row["index"],
                answer_lost and row["leaf"] == wanted[row["event_id"]][5],
            )
            for row in known
        }
        head = Frontier.from_bytes(stored["frontier"])
        self._require_grown(head.size, head.to_bytes())
        return await self._write(connection, head, places, batch)

    async def _write(self, connection, head, known, batch):
        places, frontier, rows = dict(known), head, []
        for event_id, row in _first_of_each(batch).items():
            if event_id not in known:
                places[event_id] = (frontier.size, True)
                rows.append((frontier.size, *row))
                frontier = frontier.append(row[-1])
        kept = {}
        for waiting, recorded in zip(batch, told(batch, places), strict=True):
            if waiting.task is not None and (not recorded or any(it.fresh for it in recorded)):
                before = kept.get(waiting.task.id)
                if before is None or not before.task.state.terminal:
                    kept[waiting.task.id] = waiting
        tasks = [waiting.task for waiting in kept.values()]
        done = await connection.fetchval(
            _WRITE,
            self._region,
            head.size,
            *_columns(rows, 8),
            frontier.size,
            frontier.to_bytes(),
            *_columns([waiting.row for waiting in kept.values()], 12),
            *_columns([(one.tenant, it, one.id) for one in tasks for it in one.quotable], 3),
        )
        return (frontier, places) if done else None


def _first_of_each(batch):
    wanted = {}
    for waiting in batch:
        for row in waiting.events:
            wanted.setdefault(row[0], row)
    return wanted
