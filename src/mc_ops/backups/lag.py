"""How far the WAL archive is behind the database, and what that could cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mc_ops.backups.server import query
from mc_ops.backups.store import SEGMENT_BYTES, Store, number_of
from mc_ops.backups.wanted import SLOT, Wanted
from mc_ops.environments import EmbeddedDatabase
from mc_ops.errors import CouldNotTell

_IDLE_BYTES = 8192  # what an idle server writes into a new segment
_LAG = """
SELECT active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS written
FROM pg_replication_slots WHERE slot_name = $1
"""
_LOOK_S, _ARCHIVED_WITHIN_S = 0.1, 60.0


@dataclass(frozen=True, slots=True)
class Lag:
    """The archive of the line that is written.

    Attributes:
        archived_at: When the last segment was archived; empty: none was.
        behind_s: How long ago that was.
        pending_bytes: How much WAL was written since, which the spool and the server alone have; None:
            the server does not run.
        problem: Why WAL is not archived, or was lost; empty: all is well.
    """

    line: str
    archived_at: str
    behind_s: float | None
    pending_bytes: int | None
    problem: str


def lag_of(database: EmbeddedDatabase, store: Store, wanted: Wanted) -> Lag:
    """How the archive stands."""
    archived = store.archived(wanted.line)
    at = archived.at if archived else ""
    behind = (
        (datetime.now(UTC) - datetime.fromisoformat(archived.at)).total_seconds()
        if archived
        else None
    )
    problem, pending = "", None
    if archived is not None and archived.gap:
        problem = f"WAL is missing {archived.gap}: make a backup, which begins a new line"
    if not database.running:
        return Lag(wanted.line, at, behind, None, problem or "the platform is down")
    try:
        rows = query(database.admin_url, _LAG, SLOT)
    except CouldNotTell as error:
        return Lag(wanted.line, at, behind, None, problem or error.message)
    if not rows or rows[0]["wal_status"] == "lost":
        problem = problem or "the server gave up WAL that was not archived: make a backup"
    else:
        ends = (number_of(archived.segment) + 1) * SEGMENT_BYTES if archived else 0
        pending = max(0, rows[0]["written"] - ends) if archived else None
        if not rows[0]["active"]:
            problem = problem or "the archiver does not stream: mcctl up, mcctl logs wal-archiver"
    waiting = (pending or 0) > _IDLE_BYTES
    if not problem and waiting and behind is not None and behind > 3 * wanted.wal_s + 60:
        problem = f"nothing was archived for {behind:.0f} s: mcctl logs wal-archiver"
    return Lag(wanted.line, at, behind, pending, problem)


def archive_written(database: EmbeddedDatabase, folder: Path, line: str) -> None:
    """Have all WAL that was written so far archived, and wait until it is.

    Raises:
        CouldNotTell: it is not, after a while.
    """
    [row] = query(
        database.admin_url, "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS segment"
    )
    query(database.admin_url, "SELECT pg_switch_wal()")
    deadline = time.monotonic() + _ARCHIVED_WITHIN_S
    store, last = Store(folder), number_of(row["segment"])
    while not any(number_of(name) >= last for name in store.segments(line)[-1:]):
        if time.monotonic() > deadline:
            raise CouldNotTell(
                f"the WAL is not archived within {_ARCHIVED_WITHIN_S:g} s", hint="mcctl backup list"
            )
        time.sleep(_LOOK_S)
