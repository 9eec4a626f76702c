"""Operation leases in PostgreSQL; implements `enact.leases.Leases`.

Blocking, on one connection of its own: a heartbeat must not wait for a pool that requests share. Its
statements take turns, and none takes longer than `_STATEMENT_TIMEOUT_MS`, a fraction of a lease. It
reads the engine's table of operations (and, in one place, moves those that no code has begun to
another version); the rest of that schema is the engine's alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from psycopg import sql

from mc_platform.adapters.postgres.own_connection import OwnConnection
from mc_platform.enact.leases import Holder, Renewal, Waiting

_CLAIM = """
INSERT INTO mc.operation_lease (executor_id, instance, application_version, expires_at)
VALUES (%(executor)s, %(instance)s, %(version)s, clock_timestamp() + %(ttl)s * interval '1 second')
ON CONFLICT (executor_id) DO {conflict}
"""
_TAKE_OVER = """UPDATE SET
    instance = excluded.instance, application_version = excluded.application_version,
    expires_at = excluded.expires_at, lost = false
"""
_RENEW = """
WITH mine AS (
    SELECT executor_id, lost FROM mc.operation_lease
    WHERE executor_id = %(executor)s AND instance = %(instance)s FOR UPDATE
)
UPDATE mc.operation_lease AS lease
SET expires_at = clock_timestamp() + %(ttl)s * interval '1 second', lost = false
FROM mine WHERE lease.executor_id = mine.executor_id
RETURNING mine.lost
"""
_MARK = "UPDATE mc.operation_lease SET lost = true WHERE NOT lost AND expires_at < now()"
_FORGET = "DELETE FROM mc.operation_lease WHERE lost AND expires_at < now() - interval '1 hour'"
_ABANDONED = """
SELECT DISTINCT w.executor_id FROM {engine}.workflow_status w
WHERE w.status = 'PENDING' AND w.application_version = %(version)s
  AND NOT EXISTS (SELECT FROM mc.operation_lease l
                  WHERE l.executor_id = w.executor_id AND NOT l.lost)
"""
_UNRUN = """
SELECT w.workflow_uuid FROM {engine}.workflow_status w
WHERE w.status = 'PENDING' AND w.executor_id = %(executor)s
  AND w.application_version = %(version)s
  AND w.updated_at < (extract(epoch FROM clock_timestamp()) - %(older)s) * 1000
  AND w.workflow_uuid <> ALL (%(running)s)
"""
_REASSIGN = """
UPDATE {engine}.workflow_status w SET application_version = %(version)s
WHERE w.status = 'ENQUEUED' AND w.application_version <> %(version)s
  AND NOT EXISTS (SELECT FROM {engine}.operation_outputs o
                  WHERE o.workflow_uuid = w.workflow_uuid AND o.function_id > 0)
  AND NOT EXISTS (SELECT FROM mc.operation_lease l
                  WHERE l.application_version = w.application_version AND NOT l.lost)
  AND w.recovery_attempts = 0
"""
_WAITING = """
SELECT count(*) FILTER (WHERE w.status = 'ENQUEUED' AND held.version IS NOT NULL),
       count(*) FILTER (WHERE held.version IS NULL)
FROM {engine}.workflow_status w
LEFT JOIN (SELECT DISTINCT application_version AS version FROM mc.operation_lease
           WHERE NOT lost AND expires_at > now()) held
  ON held.version = w.application_version
WHERE w.status IN ('ENQUEUED', 'PENDING')
"""
_LIVE = (
    "SELECT executor_id, application_version FROM mc.operation_lease "
    "WHERE NOT lost AND expires_at > now()"
)
_CONNECT_TIMEOUT_S = 3
_STATEMENT_TIMEOUT_MS = 2000
_LIVE_KEPT_S = 0.5


class PostgresLeases:
    """Leases of one region's replicas.

    Args:
        database_url: `postgresql://` URL of the service's role.
        engine_schema: The operation engine's schema.
        application_name: As `pg_stat_activity` shows it.
    """

    def __init__(
        self, database_url: str, *, engine_schema: str, application_name: str = "operation-lease"
    ) -> None:
        self._engine = sql.Identifier(engine_schema)
        self._own = OwnConnection(
            database_url,
            application_name=application_name,
            statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
            connect_timeout=_CONNECT_TIMEOUT_S,
        )
        self._live: tuple[float, dict[str, str]] = (-math.inf, {})

    def claim(self, holder: Holder, ttl_s: float) -> None:
        self._run(_CLAIM.replace("{conflict}", _TAKE_OVER), _named(holder, ttl_s))

    def renew(self, holder: Holder, ttl_s: float) -> Renewal:
        rows = self._run(_RENEW, _named(holder, ttl_s))
        if not rows:
            # Long lost leases are forgotten: who comes back then finds none, or another's
            again = _CLAIM.replace("{conflict}", "NOTHING") + " RETURNING executor_id"
            made = self._run(again, _named(holder, ttl_s))
            return Renewal.lost if made else Renewal.superseded
        return Renewal.lost if rows[0][0] else Renewal.kept

    def release(self, holder: Holder) -> None:
        """Also close the connection; the next call makes another one."""
        try:
            self._run(
                "DELETE FROM mc.operation_lease "
                "WHERE executor_id = %(executor)s AND instance = %(instance)s",
                _named(holder, 0),
            )
        finally:
            self._own.close()

    def unrun(self, holder: Holder, running: Sequence[str], older_than_s: float) -> Sequence[str]:
        values = {**_named(holder, 0), "running": list(running), "older": older_than_s}
        return [row[0] for row in self._run(_UNRUN, values)]

    def abandoned(self, application_version: str) -> Sequence[str]:
        # Committed first: a holder that renews from now on learns that it has lost
        self._run(_MARK, {})
        self._run(_FORGET, {})
        return [row[0] for row in self._run(_ABANDONED, {"version": application_version})]

    def reassign(self, application_version: str) -> int:
        return len(
            self._run(_REASSIGN + "RETURNING w.workflow_uuid", {"version": application_version})
        )

    def waiting(self) -> Waiting:
        [(queued, for_version)] = self._run(_WAITING, {})
        return Waiting(queued, for_version)

    def live(self) -> dict[str, str]:
        """At most `_LIVE_KEPT_S` old: whoever lists operations asks, and must not delay a heartbeat."""
        with self._own.turn:
            read_at, found = self._live
            if time.monotonic() - read_at > _LIVE_KEPT_S:
                found = {row[0]: row[1] for row in self._run(_LIVE, {})}
                self._live = time.monotonic(), found
            return dict(found)

    def _run(self, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._own.execute(sql.SQL(text).format(engine=self._engine), values)


def _named(holder: Holder, ttl_s: float) -> dict[str, Any]:
    return {
        "executor": holder.executor_id,
        "instance": holder.instance,
        "version": holder.application_version,
        "ttl": ttl_s,
    }
