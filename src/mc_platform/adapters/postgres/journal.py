"""The ledger's writer: group commit into a Merkle log, one sequencer per region.

What queued while the last flush ran is the next flush: no timer, so a lone request waits for
nothing and a crowd shares one commit. A flush is one call of `mc.record_batch`, so one round trip:
writers of several processes take turns by the region's head row, which the call locks, so leaf
indices have no gaps. The rows, the head and the tasks' new states are one transaction: a reply that
leaves is in the log.

A flush's rows share one `recorded_at`, which is never before the last flush's, whatever the clock
does: so each partition by time holds one run of indices. `mc.ledger_id` tells for good which ids
are in the log, also those whose partition has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import asyncpg

from mc_contract.canonical import canonical_json
from mc_contract.keepable import check_keepable
from mc_contract.ledger.entry import HEAD_DAMAGED, subject_of
from mc_contract.ledger.merkle import HASH_BYTES, Frontier, ProofError, leaf_hash
from mc_platform.adapters.postgres.flush import (
    RECORD,
    RECORD_UNLESS_QUOTED,
    Row,
    Rows,
    Waiting,
    told,
)
from mc_platform.adapters.postgres.pools import DATABASE_ERRORS, Pools, unavailable, wrapped
from mc_platform.adapters.postgres.rows import is_large, task_columns
from mc_platform.adapters.postgres.turns import joined
from mc_platform.errors import LedgerDamaged, PlatformError, Unavailable
from mc_platform.model.event import Event, Recorded
from mc_platform.model.ids import EventId, TaskId
from mc_platform.model.task import Task
from mc_platform.observe import metrics

_MOST_IN_A_FLUSH = 512
_MOST_ASKED = 2048  # digests that a flush looks up, and those of one caller more
_DEEPEST_DETAIL = 48
_PAUSES_S = (0.05, 0.2, 0.8)
_HELD_S = 1.0  # to take a connection from the pool and give it back costs a sixth of a lone flush
_MOST_SESSIONS = 64
_ONE_TASK = "task_tenant_message_id_key"  # of mc.task: a message makes one
_BAD_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)


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
        self._queue: list[Waiting] = []
        self._wake = asyncio.Event()
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False
        # The greatest head that this process knows to be committed: its size, and as it is stored
        self._committed = 0, Frontier().to_bytes()
        self._held: Any = None  # what gives the writer's connection, while it is held
        self._connection: Any = None
        self._flushes = 0
        self._idle_look: asyncio.TimerHandle | None = None
        self._planned: dict[int, int] = {}  # by session: how many digits the log's size had

    @wrapped("the ledger cannot be opened")
    async def start(self) -> None:
        """Create the region's head if there is none, and begin to flush.

        Raises:
            Unavailable: the database does not answer.
            LedgerDamaged: the log has ended: a restore began another epoch.
        """
        await self._pools.record.execute(
            "INSERT INTO mc.ledger_head (region, size, frontier) VALUES ($1, 0, $2) "
            "ON CONFLICT DO NOTHING",
            self._region,
            Frontier().to_bytes(),
        )
        if await self._pools.record.fetchval(
            "SELECT ended_at FROM mc.ledger_head WHERE region = $1", self._region
        ):
            raise LedgerDamaged(
                f"the log {self._region} has ended: a restore began the region's next epoch",
                hint="start the replica again: it takes the region's newest log",
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
        recorded = await self._record(events, task)
        assert recorded is not None  # nothing was asked
        return recorded

    def record_unless_quoted(
        self, event: Event, task: Task, digests: Sequence[int]
    ) -> Awaitable[list[Recorded] | None]:
        """Both in one statement, so in one round trip."""
        return self._record([event], task, digests)

    async def _record(
        self, events: Sequence[Event], task: Task | None, unless_quoted: Sequence[int] = ()
    ) -> list[Recorded] | None:
        if self._closing:
            raise Unavailable("this replica is shutting down", hint="ask another replica")
        rows = []
        for event in events:
            check_keepable(event.detail, most_depth=_DEEPEST_DETAIL)
            rows.append(event_row(self._region, event))
        row: Row = ()
        if task is not None:
            apart = is_large(task)
            row = await asyncio.to_thread(task_columns, task) if apart else task_columns(task)
        future: asyncio.Future[list[Recorded] | None] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(rows, task, row, future, unless_quoted))
        self._wake.set()
        return await future

    @wrapped("the ledger cannot be read")
    async def knows(self, ids: Sequence[EventId]) -> bool:
        found: bool = await self._pools.record.fetchval(
            "SELECT EXISTS (SELECT FROM mc.ledger_id WHERE region = $1 AND event_id = ANY($2))",
            self._region,
            ids,
        )
        return found

    @wrapped("the ledger's head cannot be read")
    async def head(self) -> Frontier:
        """The region's log as it stands now.

        Raises:
            Unavailable: the database does not answer.
            LedgerDamaged: the head does not hold together.
        """
        row = await self._pools.record.fetchrow(
            "SELECT size, frontier FROM mc.ledger_head WHERE region = $1", self._region
        )
        return _head_of(*(row or (None, None)))

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
                await joined(lambda: len(self._queue), most=_MOST_IN_A_FLUSH)
                await self._flush(self._next_batch())
            if self._closing or self._idle_look is None:
                await self._let_go()

    def _next_batch(self) -> list[Waiting]:
        """What queued, in order; only one state of a task is written in a flush, the others wait."""
        batch: list[Waiting] = []
        rest: list[Waiting] = []
        taken: set[EventId] = set()
        waits: set[EventId] = set()  # of what waits for the next flush: nobody overtakes it there
        tasks: set[TaskId] = set()
        asked = 0
        for at, waiting in enumerate(self._queue):
            if len(batch) == _MOST_IN_A_FLUSH or asked > _MOST_ASKED:
                rest += self._queue[at:]
                break
            ids = {row[0] for row in waiting.events}
            task = waiting.task if not ids or not ids <= taken else None
            if (task is not None and task.id in tasks) or not ids.isdisjoint(waits):
                rest.append(waiting)
                waits |= ids
                continue
            if task is not None:
                tasks.add(task.id)
            taken |= ids
            asked += len(waiting.unless_quoted)
            batch.append(waiting)
        self._queue = rest
        return batch

    async def _flush(self, batch: list[Waiting]) -> None:
        began = time.perf_counter()
        try:
            self._require_sound()
            results = await self._commit_insisting(batch)
        except _BAD_ROW as error:
            if len(batch) == 1:
                if _is_known_message(error):
                    _tell_known(batch[0])
                else:
                    self._refuse(batch, unavailable("nothing was recorded", error))
                return
            half = len(batch) // 2  # one bad row must not refuse its neighbours
            await self._flush(batch[:half])
            await self._flush(batch[half:])
            return
        except DATABASE_ERRORS as error:
            self._refuse(batch, unavailable("nothing was recorded", error))
            return
        except PlatformError as error:
            self._refuse(batch, error)
            return
        except Exception as error:  # noqa: BLE001 - the flusher must outlive any defect
            self._refuse(batch, Unavailable(f"nothing was recorded: {type(error).__name__}"))
            return
        metrics.ledger_commit.observe(time.perf_counter() - began)
        for waiting, recorded in zip(batch, results, strict=True):
            if not waiting.done.done():  # its caller may have gone
                waiting.done.set_result(recorded)
        self._on_committed()

    async def _commit_insisting(self, batch: list[Waiting]) -> list[list[Recorded] | None]:
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
                answer_lost = True  # whether it was committed is not known
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    @staticmethod
    def _refuse(batch: list[Waiting], error: PlatformError) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(error)

    async def _commit(
        self, batch: list[Waiting], *, answer_lost: bool = False
    ) -> list[list[Recorded] | None]:
        """What each caller is told; if some quote, they are told so, and the others' is written then."""
        rows = Rows(batch)
        statement = RECORD_UNLESS_QUOTED if rows.asked else RECORD
        answer = await self._asked(statement, self._committed[1], answer_lost, *rows.arguments())
        if not rows.asked or answer["quoting"] is None:
            return [*told(batch, self._learned(answer, rows.events))]
        others = rows.without(answer["quoting"], batch)
        for waiting in others:
            waiting.unless_quoted = ()  # that was looked up now
        recorded = await self._commit(others, answer_lost=answer_lost) if others else ()
        by_caller = dict(zip(others, recorded, strict=True))
        return [by_caller.get(waiting) for waiting in batch]

    async def _asked(self, statement: str, *arguments: Any) -> Any:
        """The database's answer to a flush; the connection is held until none has come for a while."""
        if self._held is not None and _has_ended(self._connection):
            await self._let_go()
        if self._held is None:
            held = self._pools.writing()
            self._connection = await held.__aenter__()
            self._held = held
            self._look_again_whether_idle()
        self._flushes += 1
        try:
            await self._plan_anew()
            return await self._connection.fetchrow(statement, self._region, *arguments)
        except BaseException:
            await self._let_go()  # it may be broken
            raise

    async def _plan_anew(self) -> None:
        """Have a session forget its plans each time that the log has grown tenfold.

        A session plans once. One that did while the tables were empty, and known to be by ANALYZE,
        reads all of the log to look an event's id up, until the tables are analysed again.
        """
        session, digits = self._connection.get_server_pid(), len(str(self._committed[0]))
        if self._planned.pop(session, digits) != digits:
            await self._connection.execute("DISCARD PLANS")
        self._planned[session] = digits
        if len(self._planned) > _MOST_SESSIONS:  # a pool closes what is idle: most have ended
            del self._planned[next(iter(self._planned))]

    def _look_again_whether_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._idle_look = loop.call_later(_HELD_S, self._look_whether_idle, self._flushes)

    def _look_whether_idle(self, flushes: int) -> None:
        """Have the connection given back if there was no flush since the last look."""
        if self._flushes != flushes:
            self._look_again_whether_idle()
            return
        self._idle_look = None
        self._wake.set()

    async def _let_go(self) -> None:
        """Give the writer's connection back; one that the pool cannot take back, it has closed."""
        held, self._held, self._connection = self._held, None, None
        if self._idle_look is not None:
            self._idle_look.cancel()
            self._idle_look = None
        if held is not None:
            # What was committed is told already, and the flusher must outlive a server that is gone
            with suppress(*DATABASE_ERRORS):
                await held.__aexit__(None, None, None)

    def _learned(self, answer: Any, rows: dict[EventId, Row]) -> dict[EventId, tuple[int, bool]]:
        """Where each event stands, and whether it is fresh; the head that was left is kept.

        Raises:
            LedgerDamaged: nothing was written, as the head does not hold together or went back.
        """
        size, head = _sound_head(answer["head_size"], answer["head_frontier"])
        self._require_grown(size, head)
        if not answer["written"]:
            raise Unavailable("the database refused the ledger's head, which holds together")
        self._committed = size, head
        metrics.ledger_size.set(size)
        places: dict[EventId, tuple[int, bool]] = {}
        if answer["known_ids"]:
            known = (answer[name] for name in ("known_ids", "known_indices", "known_own"))
            places = {event_id: (index, own) for event_id, index, own in zip(*known, strict=True)}
        index, kinds = size - (len(rows) - len(places)), []
        for event_id, row in rows.items():
            if event_id not in places:
                places[event_id] = (index, True)
                index += 1
                kinds.append(row[2])
        for kind in set(kinds):
            _counted(kind).inc(kinds.count(kind))
        return places

    def _require_grown(self, size: int, head: bytes) -> None:
        """See that the log has not gone back behind what this process has committed.

        That a longer log continues it, the signer finds out.

        Raises:
            LedgerDamaged: it has.
        """
        known_size, known = self._committed
        if size < known_size or (size == known_size and head != known):
            raise LedgerDamaged(
                f"this process committed entry {known_size - 1}, the log has {size} entries "
                "now, and not those: it was set back or rewritten",
                hint="nothing is recorded; docs/explanation/ledger.md, The signer refuses",
            )


_counted = cache(metrics.ledger_events.labels)  # kinds are few


def _is_known_message(error: Exception) -> bool:
    """Whether the message has a task under another id, which another identity key made."""
    unique = isinstance(error, asyncpg.UniqueViolationError)
    return unique and getattr(error, "constraint_name", None) == _ONE_TASK


def _tell_known(waiting: Waiting) -> None:
    if not waiting.done.done():
        waiting.done.set_result([Recorded(row[0], -1, fresh=False) for row in waiting.events])


def _has_ended(connection: Any) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has taken it back, as it ended
        return True


def _sound_head(size: int | None, frontier: bytes | None) -> tuple[int, bytes]:
    """A head row that holds together, as it is stored; as `_head_of`, without reading each hash."""
    if (
        size is not None
        and frontier is not None
        and size >= 0
        and frontier[:8] == size.to_bytes(8, "big")
        and len(frontier) == 8 + HASH_BYTES * size.bit_count()
    ):
        return size, frontier
    head = _head_of(size, frontier)  # raises, as it finds out why not
    return head.size, head.to_bytes()


def _head_of(size: int | None, frontier: bytes | None) -> Frontier:
    """The frontier in a head row; what does not hold together is never built upon.

    Raises:
        LedgerDamaged: it does not.
    """
    why = "its row is missing"
    if frontier is not None:
        try:
            head = Frontier.from_bytes(frontier)
        except ProofError as error:
            why = error.message
        else:
            if head.size == size:
                return head
            why = f"its size is {size}, its frontier's {head.size}"
    raise LedgerDamaged(
        f"{HEAD_DAMAGED}: {why}",
        hint="nothing is recorded until it is restored; `mcctl audit verify` tells what stands",
    )


def event_row(region: str, event: Event) -> Row:
    """The columns of an event from its id on: of `mc.ledger_event`, but for place and time."""
    leaf = leaf_bytes(region, event)
    return (
        event.id,
        event.tenant,
        event.kind.value,
        subject_of(event.detail),
        event.occurred_at,
        leaf,
        leaf_hash(leaf),
    )


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
