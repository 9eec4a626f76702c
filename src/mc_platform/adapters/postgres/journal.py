"""The ledger's writer: group commit into a Merkle log, one sequencer per region.

What queued while the last flush ran is the next flush: no timer, so a lone request waits for
nothing and a crowd shares one commit. Writers of several processes take turns by the region's head
row: one that finds it moved locks it and looks again, so leaf indices have no gaps. The rows, the
head and the tasks' new states are one transaction: a reply that leaves is in the log.

A flush's rows share one `recorded_at`, which is never before the last flush's, whatever the clock
does: so each partition by time holds one run of indices. `mc.ledger_id` tells for good which ids
are in the log, also those whose partition has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from mc_contract.canonical import canonical_json
from mc_contract.keepable import check_keepable
from mc_contract.ledger.entry import HEAD_DAMAGED, subject_of
from mc_contract.ledger.merkle import Frontier, ProofError, leaf_hash
from mc_platform.adapters.postgres.pools import DATABASE_ERRORS, Pools, unavailable, wrapped
from mc_platform.adapters.postgres.rows import is_large, task_columns
from mc_platform.errors import LedgerDamaged, PlatformError, Unavailable
from mc_platform.model.event import Event, Recorded
from mc_platform.model.ids import EventId
from mc_platform.model.task import Task
from mc_platform.observe import metrics

_MOST_IN_A_FLUSH = 512
_DEEPEST_DETAIL = 48
_PAUSES_S = (0.05, 0.2, 0.8)
_BAD_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)

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


_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a flush wants in the log: its events, and the bytes of each one's leaf.

    `answer_lost`: an earlier try of this same flush may have been committed.
    """

    wanted: dict[EventId, Event]
    leaves: dict[EventId, bytes]
    answer_lost: bool


_Written = tuple[Frontier, dict[EventId, tuple[int, bool]], list[str]]


@dataclass(slots=True)
class _Waiting:
    """One caller: what it wants recorded, and the future that it awaits."""

    events: Sequence[Event]
    leaves: dict[EventId, bytes] = field(repr=False)
    task: Task | None
    row: _Row = field(repr=False)
    done: asyncio.Future[list[Recorded]] = field(repr=False)


class PostgresJournal:
    """Implements `ports.Journal` and `record.Log`. `start` before use, `stop` flushes the queue.

    Args:
        require_sound: Asked before each flush; raises when nothing may be recorded.
    """

    def __init__(
        self,
        pools: Pools,
        *,
        region: str,
        on_committed: Callable[[], None] | None = None,
        require_sound: Callable[[], None] | None = None,
    ) -> None:
        self._pools = pools
        self._region = region
        self._on_committed = on_committed or (lambda: None)
        self._require_sound = require_sound or (lambda: None)
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False
        self._head: Frontier | None = None
        self._committed: Frontier | None = None  # as `_head`, but never forgotten

    @wrapped("the ledger cannot be opened")
    async def start(self) -> None:
        """Create the region's head if there is none, and begin to flush.

        Raises:
            Unavailable: the database does not answer.
        """
        await self._pools.record.execute(
            "INSERT INTO mc.ledger_head (region, size, frontier) VALUES ($1, 0, $2) "
            "ON CONFLICT DO NOTHING",
            self._region,
            Frontier().to_bytes(),
        )
        self._flusher = asyncio.create_task(self._flush_forever(), name="ledger-flush")

    async def stop(self) -> None:
        """Flush what is queued, then refuse more."""
        self._closing = True
        self._wake.set()
        if self._flusher is not None:
            await self._flusher

    async def record(self, events: Sequence[Event], task: Task | None = None) -> list[Recorded]:
        """What cannot be kept is refused here, to the caller that brought it: never to those whose
        rows share its flush.
        """
        if self._closing:
            raise Unavailable("this replica is shutting down", hint="ask another replica")
        leaves: dict[EventId, bytes] = {}
        for event in events:
            check_keepable(event.detail, most_depth=_DEEPEST_DETAIL)
            leaves.setdefault(event.id, leaf_bytes(self._region, event))
        row: _Row = ()
        if task is not None:
            apart = is_large(task)
            row = await asyncio.to_thread(task_columns, task) if apart else task_columns(task)
        future: asyncio.Future[list[Recorded]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(events, leaves, task, row, future))
        self._wake.set()
        return await future

    @wrapped("the ledger's head cannot be read")
    async def head(self) -> Frontier:
        """The region's log as it stands now.

        Raises:
            Unavailable: the database does not answer.
            LedgerDamaged: the head does not hold together.
        """
        return _head_of(
            await self._pools.record.fetchrow(
                "SELECT size, frontier FROM mc.ledger_head WHERE region = $1", self._region
            )
        )

    @wrapped("stored checkpoints cannot be read")
    async def newest_checkpoint(self) -> str | None:
        """The stored note of the greatest size.

        Raises:
            Unavailable: the database does not answer.
        """
        note: str | None = await self._pools.record.fetchval(
            "SELECT note FROM mc.ledger_checkpoint WHERE region = $1 ORDER BY size DESC LIMIT 1",
            self._region,
        )
        return note

    @wrapped("the checkpoint cannot be stored")
    async def store_checkpoint(self, size: int, note: str) -> None:
        """Keep a signed checkpoint; another replica's for the same size is as good.

        Raises:
            Unavailable: the database does not answer.
        """
        await self._pools.record.execute(
            "INSERT INTO mc.ledger_checkpoint (region, size, note) VALUES ($1, $2, $3) "
            "ON CONFLICT DO NOTHING",
            self._region,
            size,
            note,
        )

    async def _flush_forever(self) -> None:
        while self._queue or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._queue[:_MOST_IN_A_FLUSH]
                del self._queue[:_MOST_IN_A_FLUSH]
                await self._flush(batch)

    async def _flush(self, batch: list[_Waiting]) -> None:
        began = time.perf_counter()
        try:
            self._require_sound()
            results = await self._commit_insisting(batch)
        except _BAD_ROW as error:
            if len(batch) == 1:
                self._refuse(batch, unavailable("nothing was recorded", error))
                return
            for waiting in batch:  # one bad row must not refuse its neighbours: each alone
                await self._flush([waiting])
            return
        except DATABASE_ERRORS as error:
            self._refuse(batch, unavailable("nothing was recorded", error))
            return
        except PlatformError as error:
            self._head = None
            self._refuse(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - the flusher must outlive any defect
            self._head = None
            self._refuse(batch, Unavailable(f"nothing was recorded: {type(error).__name__}"))
            return
        metrics.ledger_commit.observe(time.perf_counter() - began)
        for waiting, recorded in zip(batch, results, strict=True):
            if not waiting.done.done():  # its caller may have gone
                waiting.done.set_result(recorded)
        self._on_committed()

    async def _commit_insisting(self, batch: list[_Waiting]) -> list[list[Recorded]]:
        """Commit; if the connection breaks, try again for about a second.

        A commit whose answer was lost is safe to repeat: what it wrote is found, byte for byte,
        and still counts as this batch's own.
        """
        answer_lost = False
        for pause_s in (*_PAUSES_S, None):
            try:
                return await self._commit(batch, answer_lost=answer_lost)
            except _BAD_ROW:
                raise
            except DATABASE_ERRORS:
                self._head, answer_lost = None, True  # whether it was committed is not known
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    @staticmethod
    def _refuse(batch: list[_Waiting], error: PlatformError) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    async def _commit(
        self, batch: list[_Waiting], *, answer_lost: bool = False
    ) -> list[list[Recorded]]:
        """Append at the head that this process knows; if another moved it, lock it and look."""
        wanted, leaves = _first_of_each(batch)
        plan = _Plan(wanted, leaves, answer_lost)
        async with self._pools.record.acquire() as connection:
            written = None
            if self._head is not None:
                # An event that is in the log already makes it fail: then look which.
                with suppress(asyncpg.UniqueViolationError):
                    written = await self._write(connection, self._head, plan, {}, batch)
            if written is None:
                async with connection.transaction():
                    written = await self._commit_locked(connection, plan, batch)
        self._head, places, kinds = written
        self._committed = self._head
        metrics.ledger_size.set(self._head.size)
        for kind in kinds:
            metrics.ledger_events.labels(kind).inc()
        return _told(batch, places)

    async def _commit_locked(self, connection: Any, plan: _Plan, batch: list[_Waiting]) -> _Written:
        stored = await connection.fetchrow(
            "SELECT size, frontier FROM mc.ledger_head WHERE region = $1 FOR UPDATE", self._region
        )
        # A statement of its own: one snapshot taken after the lock sees all that came before.
        known = await connection.fetch(_KNOWN, self._region, list(plan.wanted), plan.answer_lost)
        # After a lost answer the same bytes (time and decision are in them) are our own commit.
        places = {
            row["event_id"]: (
                row["index"],
                plan.answer_lost and row["leaf"] == plan.leaves[row["event_id"]],
            )
            for row in known
        }
        head = _head_of(stored)
        self._require_grown(head)
        written = await self._write(connection, head, plan, places, batch)
        if written is None:
            raise Unavailable("the ledger's head moved under its lock")
        return written

    def _require_grown(self, head: Frontier) -> None:
        """See that the log has not gone back behind what this process has committed.

        That a longer log continues it, the signer finds out.

        Raises:
            LedgerDamaged: it has.
        """
        known = self._committed or Frontier()
        if head.size < known.size or (head.size == known.size and head != known):
            raise LedgerDamaged(
                f"this process committed entry {known.size - 1}, the log has {head.size} entries "
                "now, and not those: it was set back or rewritten",
                hint="nothing is recorded; docs/explanation/ledger.md, The signer refuses",
            )

    async def _write(
        self,
        connection: Any,
        head: Frontier,
        plan: _Plan,
        known: dict[EventId, tuple[int, bool]],
        batch: list[_Waiting],
    ) -> _Written | None:
        """Write what is not known yet; None if the head is not where `head` says."""
        places, frontier = dict(known), head
        rows: list[tuple[Any, ...]] = []
        for event_id, event in plan.wanted.items():
            if event_id in known:
                continue
            leaf = plan.leaves[event_id]
            hashed = leaf_hash(leaf)
            places[event_id] = (frontier.size, True)
            rows.append(
                (
                    frontier.size,
                    event_id,
                    event.tenant,
                    event.kind.value,
                    subject_of(event.detail),
                    event.occurred_at,
                    leaf,
                    hashed,
                )
            )
            frontier = frontier.append(hashed)
        kept = _last_of_each(
            (waiting.task, waiting.row)
            for waiting, recorded in zip(batch, _told(batch, places), strict=True)
            if waiting.task is not None and (not recorded or any(place.fresh for place in recorded))
        )
        done = await connection.fetchval(
            _WRITE,
            self._region,
            head.size,
            *_columns(rows, 8),
            frontier.size,
            frontier.to_bytes(),
            *_columns([row for _, row in kept], 12),
            *_columns([(one.tenant, it, one.id) for one, _ in kept for it in one.quotable], 3),
        )
        return (frontier, places, [row[3] for row in rows]) if done else None


def _head_of(row: Any) -> Frontier:
    """The frontier in a head row; what does not hold together is never built upon."""
    why = "its row is missing"
    if row is not None:
        try:
            head = Frontier.from_bytes(bytes(row["frontier"]))
        except ProofError as error:
            why = error.message
        else:
            if head.size == row["size"]:
                return head
            why = f"its size is {row['size']}, its frontier's {head.size}"
    raise LedgerDamaged(
        f"{HEAD_DAMAGED}: {why}",
        hint="nothing is recorded until it is restored; `mcctl audit verify` tells what stands",
    )


def _first_of_each(
    batch: list[_Waiting],
) -> tuple[dict[EventId, Event], dict[EventId, bytes]]:
    """Each event once: of two with one id the first stands, whatever the second says."""
    wanted: dict[EventId, Event] = {}
    leaves: dict[EventId, bytes] = {}
    for waiting in batch:
        for event in waiting.events:
            wanted.setdefault(event.id, event)
            leaves.setdefault(event.id, waiting.leaves[event.id])
    return wanted, leaves


def _told(batch: list[_Waiting], places: dict[EventId, tuple[int, bool]]) -> list[list[Recorded]]:
    """What each caller is told: an event is fresh only for the one that brought it first."""
    brought: set[EventId] = set()
    result = []
    for waiting in batch:
        recorded = []
        for event in waiting.events:
            index, fresh = places[event.id]
            recorded.append(Recorded(event.id, index, fresh and event.id not in brought))
            brought.add(event.id)
        result.append(recorded)
    return result


def leaf_bytes(region: str, event: Event) -> bytes:
    """The bytes that the log commits to: canonical JSON of the event."""
    return canonical_json(
        {
            "v": 1,
            "region": region,
            "id": event.id,
            "kind": event.kind.value,
            "tenant": event.tenant,
            "occurred_at": event.occurred_at.isoformat(),
            "detail": dict(event.detail),
        }
    )


def _last_of_each(kept: Iterable[tuple[Task, _Row]]) -> list[tuple[Task, _Row]]:
    # INSERT .. ON CONFLICT may touch a row once in a statement; a terminal state wins.
    latest: dict[str, tuple[Task, _Row]] = {}
    for task, row in kept:
        before = latest.get(task.id)
        if before is None or not before[0].state.terminal:
            latest[task.id] = task, row
    return list(latest.values())


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
    )
