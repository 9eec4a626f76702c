"""The statements that DBOS makes around each step, and again and again when idle, made shorter.

DBOS asks before a step whether it has been done (two queries, in a transaction), and keeps its
result afterwards (a lock on the operation's row, an insert and its commit). Here each of the two is
one statement on a connection in autocommit. Each takes the ordinary case only: the step is not
known, the operation is not cancelled, and this run still owns it. In any other case, and after any
error, DBOS's own method is called and decides, retries or raises, with the same arguments; so no
rule of DBOS is written twice. `tests/unit/mc_platform/enact/test_engine_rows.py` holds both
against DBOS's own methods.

Likewise its look at a queue: four times a second DBOS reads the queue's settings and the partitions
in which something waits. The settings, which this very code writes at launch, are read anew every
`_SETTINGS_KEPT_S`; and partitions only when one statement has found that anything waits at all.

What is asked before a step answers `signals` as well, for the first question in that step's body.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from dbos._context import current_owner_xid
from psycopg import sql

from mc_platform.enact.saga import Signals
from mc_platform.model.ids import OperationId, TenantId

if TYPE_CHECKING:
    from sqlalchemy import Engine

CANCEL = "cancel_requested"
"""The attribute of an operation that keeps the wish to cancel it."""

_BEFORE = """
SELECT w.attributes, w.recovery_attempts, w.status = 'CANCELLED' OR EXISTS (
    SELECT FROM {engine}.operation_outputs o
    WHERE o.workflow_uuid = w.workflow_uuid AND o.function_id = %(step)s)
FROM {engine}.workflow_status w WHERE w.workflow_uuid = %(operation)s
"""
_KEEP = """
WITH owned AS (
    SELECT w.workflow_uuid FROM {engine}.workflow_status w
    WHERE w.workflow_uuid = %(operation)s AND w.owner_xid = %(owner)s FOR NO KEY UPDATE
)
INSERT INTO {engine}.operation_outputs (workflow_uuid, function_id, function_name, output,
    serialization, started_at_epoch_ms, completed_at_epoch_ms, application_name,
    retention_timestamp)
SELECT workflow_uuid, %(step)s, %(name)s, %(output)s, %(serialization)s, %(started)s,
    %(completed)s, %(application)s, (extract(epoch FROM now()) * 1000)::bigint
FROM owned ON CONFLICT DO NOTHING
"""
# Operations that were begun in a term of their tenant's home; as `sealed.as_kept` writes it
_FORM = r'^{"namedArgs":{},"positionalArgs":\[{"tenant":"([^"]+)","sealed":"[^"]+","home":(\d+)[,}]'
_UNENDED = """
SELECT w.workflow_uuid, begun.part[1], begun.part[2]::bigint
FROM {engine}.workflow_status w JOIN {engine}.workflow_input i USING (workflow_uuid)
CROSS JOIN LATERAL regexp_match(i.inputs, %(form)s) AS begun (part)
WHERE w.status IN ('PENDING', 'ENQUEUED') AND begun.part IS NOT NULL LIMIT 1000
"""
_GIVE_UP = """
WITH gone AS (
    SELECT w.workflow_uuid AS id FROM {engine}.workflow_status w
    JOIN {engine}.workflow_input i USING (workflow_uuid)
    WHERE w.workflow_uuid = %(operation)s AND w.status IN ('PENDING', 'ENQUEUED')
      AND (regexp_match(i.inputs, %(form)s))[2]::bigint < %(term)s
    FOR UPDATE OF w
), input AS (
    DELETE FROM {engine}.workflow_input USING gone WHERE workflow_uuid = gone.id
), steps AS (
    DELETE FROM {engine}.operation_outputs USING gone WHERE workflow_uuid = gone.id
)
DELETE FROM {engine}.workflow_status USING gone WHERE workflow_uuid = gone.id
"""
# Its number stands before all steps. A version that cannot open what is sealed takes no operation that has
# a step, so what waits in the queue is not moved to one (`adapters/postgres/leases`).
_MARK_SEALED = """
INSERT INTO {engine}.operation_outputs (workflow_uuid, function_id, function_name,
    retention_timestamp)
SELECT workflow_uuid, 0, 'mc.sealed', created_at
FROM {engine}.workflow_status WHERE workflow_uuid = %(operation)s ON CONFLICT DO NOTHING
"""
_SIGNALS = """
SELECT attributes, recovery_attempts FROM {engine}.workflow_status WHERE workflow_uuid = %(operation)s
"""
_WAITS = """
SELECT EXISTS (SELECT FROM {engine}.workflow_status
    WHERE queue_name = %(queue)s AND status = 'ENQUEUED')
"""
_SETTINGS_KEPT_S = 30.0
_STATUS = "SELECT status FROM {engine}.workflow_status WHERE workflow_uuid = %(operation)s"


@dataclass(frozen=True, slots=True)
class Unended:
    """An operation that the engine has, and the term of its tenant's home in which it was begun."""

    id: OperationId
    tenant: TenantId
    term: int


class EngineRows:
    """DBOS's rows of one operation, read and written by one statement each.

    Args:
        engine: The pool that DBOS has as well.
        schema: DBOS's schema.
    """

    def __init__(self, engine: Engine, schema: str) -> None:
        self._engine = engine
        names = {"engine": sql.Identifier(schema)}
        self._before = sql.SQL(_BEFORE).format(**names)
        self._keep = sql.SQL(_KEEP).format(**names)
        self._signals = sql.SQL(_SIGNALS).format(**names)
        self._waits = sql.SQL(_WAITS).format(**names)
        self._status = sql.SQL(_STATUS).format(**names)
        self._unended = sql.SQL(_UNENDED).format(**names)
        self._give_up = sql.SQL(_GIVE_UP).format(**names)
        self._mark_sealed = sql.SQL(_MARK_SEALED).format(**names)
        self._asked = threading.local()

    def shorten(self, system_database: Any) -> None:
        """Put the statements before the methods of DBOS that they stand for.

        Args:
            system_database: `DBOS._sys_db`, when DBOS is launched.
        """
        check = system_database.check_operation_execution
        keep = system_database.record_operation_result
        application = system_database.app_name

        def check_first(operation_id: str, step: int, name: str, **more: Any) -> Any:
            if not more and self._may_begin(operation_id, step):
                return None
            return check(operation_id, step, name, **more)

        def keep_first(result: Mapping[str, Any], **more: Any) -> None:
            if more or result["error"] is not None or result["child_workflow_id"] is not None:
                keep(result, **more)
                return
            completed = int(time.time() * 1000)
            if not self._kept(result, completed, application):
                # With the same time: if only the answer was lost, DBOS knows its own row by it
                keep(result, completed_at_epoch_ms=completed)

        system_database.check_operation_execution = check_first
        system_database.record_operation_result = keep_first
        self._look_seldom(system_database)

    def _look_seldom(self, system_database: Any) -> None:
        partitions, settings = system_database.get_queue_partitions, system_database.get_queue
        read: dict[str, tuple[float, Any]] = {}

        def partitions_if_any(queue: str) -> Any:
            return partitions(queue) if self._anything_waits(queue) else []

        def settings_kept(queue: str, **more: Any) -> Any:
            read_at, found = read.get(queue, (0.0, None))
            if more or found is None or time.monotonic() - read_at > _SETTINGS_KEPT_S:
                found = settings(queue, **more)
                read[queue] = time.monotonic(), found
            return found

        system_database.get_queue_partitions = partitions_if_any
        system_database.get_queue = settings_kept

    def signals(self, operation_id: OperationId) -> Signals:
        """What is to be known before each step; raises if the database does not answer."""
        asked, self._asked.signals = getattr(self._asked, "signals", None), None
        if asked is not None and asked[0] == operation_id:
            found: Signals = asked[1]
            return found
        row = self._row(self._signals, {"operation": operation_id})
        return Signals() if row is None else _signals(row)

    def status(self, operation_id: OperationId) -> str | None:
        """DBOS's word for where the operation is; None if it is unknown."""
        row = self._row(self._status, {"operation": operation_id})
        return None if row is None else str(row[0])

    def unended(self) -> list[Unended]:
        """Operations that have not ended and were begun in a term of a home."""
        with self._connection() as connection:
            rows = connection.execute(self._unended, {"form": _FORM}).fetchall()
        return [Unended(OperationId(name), TenantId(tenant), term) for name, tenant, term in rows]

    def give_up(self, operation_id: OperationId, term: int) -> bool:
        """Remove the rows of an operation that was begun before that term; False if there is none."""
        values = {"operation": operation_id, "term": term, "form": _FORM}
        with self._connection() as connection:
            return connection.execute(self._give_up, values).rowcount > 0

    def mark_sealed(self, operation_id: OperationId) -> None:
        """Keep a queued operation from versions that cannot open it."""
        with self._connection() as connection:
            connection.execute(self._mark_sealed, {"operation": operation_id})

    def _anything_waits(self, queue: str) -> bool:
        try:
            row = self._row(self._waits, {"queue": queue})
        except Exception:  # noqa: BLE001 DBOS looks itself, and has its own way with errors
            return True
        return row is None or bool(row[0])

    def _may_begin(self, operation_id: str, step: int) -> bool:
        self._asked.signals = None
        try:
            row = self._row(self._before, {"operation": operation_id, "step": step})
        except Exception:  # noqa: BLE001 DBOS asks again, and has its own way with errors
            return False
        if row is None or row[2]:
            return False
        self._asked.signals = operation_id, _signals(row)
        return True

    def _kept(self, result: Mapping[str, Any], completed: int, application: str | None) -> bool:
        owner = current_owner_xid(result["workflow_uuid"])
        if owner is None:
            return False
        values = {
            "operation": result["workflow_uuid"],
            "owner": owner,
            "step": result["function_id"],
            "name": result["function_name"],
            "output": result["output"],
            "serialization": result["serialization"],
            "started": result["started_at_epoch_ms"],
            "completed": completed,
            "application": application,
        }
        try:
            with self._connection() as connection:
                return connection.execute(self._keep, values).rowcount == 1
        except Exception:  # noqa: BLE001 as above
            return False

    def _row(self, query: sql.Composed, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        with self._connection() as connection:
            return connection.execute(query, values).fetchone()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        try:
            connection.autocommit = True
            yield connection
            connection.autocommit = False
        except BaseException:
            pooled.invalidate()
            raise
        finally:
            pooled.close()


def _signals(row: tuple[Any, ...]) -> Signals:
    attributes, recovery_attempts = row[:2]
    return Signals(
        cancel_requested=bool((attributes or {}).get(CANCEL)),
        recovered=(recovery_attempts or 0) > 1,
    )
