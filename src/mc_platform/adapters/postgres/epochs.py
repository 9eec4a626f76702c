"""Epochs of a region's log: which logs there are, and how a restored database begins the next.

`begin_epoch` is an administrator's act on a database that a restore has just brought back and that no
replica uses. In one transaction it ends the former log where the database ends it, makes the new
one with its first entry, halts autonomy, and ends the subscription to a peer; so a crash leaves all of it or none.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from mc_contract.ledger.checkpoint import MAX_NOTE_BYTES, Checkpoint, CheckpointError, LogKeys
from mc_contract.ledger.epochs import EpochError, LogName
from mc_contract.ledger.export import region_of, verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, ProofError, leaf_hash
from mc_platform.adapters.postgres.journal import event_row
from mc_platform.adapters.postgres.migrate import administrator
from mc_platform.adapters.postgres.pools import wrapped
from mc_platform.adapters.postgres.replication import leave_peer
from mc_platform.errors import LedgerDamaged, Misconfigured, Unavailable
from mc_platform.model.autonomy import ALL, Source
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId
from mc_platform.model.tenant import PLATFORM

_PAGE = 5000
_LOGS = "SELECT log FROM mc.ledger_epoch WHERE region = $1 ORDER BY epoch"
_PEER = "SELECT peer FROM mc.region_peer"
_INSERT_EVENT = """
INSERT INTO mc.ledger_event
    (region, recorded_at, index, event_id, tenant, kind, subject, occurred_at, leaf, leaf_hash)
VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9)
"""
_OPEN = """
SELECT id, tenant, operation, state, created_at FROM mc.task
WHERE operation IS NOT NULL AND outcome IS NULL
    AND state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING') ORDER BY created_at, id LIMIT $1
"""
_MOST_TOLD = 1000


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """What an administrator says of a restore.

    Attributes:
        restore: The restore's id; a repeat with the same one begins nothing anew.
        restored_to: The point in time, or in words how far the restore went.
        backup: The backup's id.
        report: SHA-256 of the restore's report of what is lost; empty if there is none.
        hold: Whether autonomy is halted until a person resumes it.
    """

    region: str
    restore: str
    restored_to: str
    backup: str
    report: str
    by: str
    reason: str
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """A signed checkpoint of one of the region's logs, and where it was known from."""

    name: LogName
    checkpoint: Checkpoint
    note: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "log": str(self.name),
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "note": self.note,
            "source": self.source,
        }


async def logs_of(database_url: str, region: str) -> tuple[str, ...]:
    """The region's logs, the oldest first; the last is the one that is written.

    Raises:
        Unavailable: the database does not answer, or is not migrated.
    """
    try:
        connection = await asyncpg.connect(database_url)
        try:
            return (region, *(row["log"] for row in await connection.fetch(_LOGS, region)))
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(
            f"the region's logs cannot be read: {type(error).__name__}",
            hint="is the database there and migrated? python -m mc_platform migrate",
        ) from error


def signed_notes(
    region: str, key: LogKeys, folder: Path | None, files: Sequence[Path]
) -> list[Known]:
    """Checkpoints of the region's logs from the signer's memory and from files.

    Raises:
        Misconfigured: a file cannot be read, or holds no checkpoint of this region by this key.
    """
    # Of this region alone: another's may be in the same folder, by another key
    names = (f"signer-{region}.note", f"signer-{region}.e*.note")
    remembered = [path for name in names for path in sorted(folder.glob(name))] if folder else []
    found: list[Known] = []
    for path, source in [*((p, "signer") for p in remembered), *((p, "file") for p in files)]:
        try:
            note = path.read_bytes()[:MAX_NOTE_BYTES].decode()
            found.append(_known(note, key, source))
        except (OSError, ValueError, CheckpointError, EpochError) as error:
            raise Misconfigured(
                f"{path.name} holds no checkpoint that the ledger's key signed: {error}",
                hint="name a note as `mcctl audit verify --save-checkpoint` writes it; "
                "MC_LEDGER_KEY_FILE must be the key of the restored platform",
            ) from error
        if found[-1].name.region != region and source == "file":
            raise Misconfigured(
                f"{path.name} is a checkpoint of {found[-1].name}, the region is {region}"
            )
    return [known for known in found if known.name.region == region]


def _known(note: str, key: LogKeys, source: str) -> Known:
    checkpoint = verify_log_checkpoint(note, key)
    return Known(LogName.parse(region_of(checkpoint)), checkpoint, note, source)


@wrapped("the new epoch cannot begin")
async def begin_epoch(
    admin_url: str, new: NewEpoch, key: LogKeys, known: Sequence[Known]
) -> dict[str, Any]:
    """End the log that the database holds, and begin the region's next.

    Args:
        admin_url: Of the restored database itself.
        known: Checkpoints that are known from outside of the database.

    Returns:
        The new log's name and its first entry's detail, with operations that are in flight and the peer's
        name, from which nothing comes until replication is repaired.

    Raises:
        Misconfigured: replicas use the database.
        LedgerDamaged: what was restored does not hold together, or is not what was signed.
        Unavailable: the database does not answer.
    """
    async with administrator(admin_url) as connection, connection.transaction():
        await connection.execute("LOCK mc.ledger_epoch IN EXCLUSIVE MODE")
        logs = [new.region, *(row["log"] for row in await connection.fetch(_LOGS, new.region))]
        again = await connection.fetchval(
            "SELECT log FROM mc.ledger_epoch WHERE restore = $1", new.restore
        )
        await _require_no_replica(connection)
        if again is None:
            detail = await _begin(connection, new, logs[-1], key, known)
        else:
            leaf = await connection.fetchval(
                "SELECT convert_from(leaf, 'UTF8')::json ->> 'detail' FROM mc.ledger_event "
                "WHERE region = $1 AND index = 0",
                again,
            )
            detail = json.loads(leaf)
        peer = await leave_peer(connection) if again is None else await connection.fetchval(_PEER)
        open_operations = await connection.fetch(_OPEN, _MOST_TOLD)
        halted = await connection.fetchval(
            "SELECT halted FROM mc.autonomy_switch WHERE scope = $1 ORDER BY number DESC LIMIT 1",
            ALL,
        )
    return {
        "began": again is None,
        **detail,
        "halted": bool(halted),
        "peer": peer,
        "in_flight": [
            {
                "task": row["id"],
                "tenant": row["tenant"],
                "operation": row["operation"],
                "began_at": row["created_at"].isoformat(),
            }
            for row in open_operations
        ],
    }


async def _require_no_replica(connection: Any) -> None:
    others = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = 'mc_service'"
    )
    if others:
        raise Misconfigured(
            f"{others} sessions of replicas use the database", hint="stop the replicas first"
        )


async def _begin(
    connection: Any, new: NewEpoch, log: str, key: LogKeys, known: Sequence[Known]
) -> dict[str, Any]:
    stored = await connection.fetch(
        "SELECT note FROM mc.ledger_checkpoint WHERE region = $1 ORDER BY size DESC LIMIT 1", log
    )
    known = [*known]
    for row in stored:
        with suppress(CheckpointError, EpochError):
            known.append(_known(row["note"], key, "database"))
    former = await _checked(connection, log, [k for k in known if str(k.name) == log])
    last = max(known, key=lambda k: (k.name.epoch, k.checkpoint.size), default=None)
    epochs = [LogName.parse(log).epoch, *(item.name.epoch for item in known)]
    name = LogName(new.region, max(epochs) + 1)
    now = await connection.fetchval("SELECT clock_timestamp()")
    detail = {
        "subject": str(name),
        "epoch": name.epoch,
        "former": {"log": log, "size": former.size, "root": former.root().hex()},
        "last_signed": None if last is None else last.as_dict(),
        "restore": new.restore,
        "restored_to": new.restored_to,
        "backup": new.backup,
        "report": new.report,
        "by": new.by,
        "reason": new.reason,
    }
    await _write(connection, new, name, detail, log, now)
    return detail


async def _write(
    connection: Any, new: NewEpoch, name: LogName, detail: dict[str, Any], log: str, now: datetime
) -> None:
    event = Event(
        id=EventId(str(uuid.uuid5(uuid.NAMESPACE_URL, f"mc-epoch:{name}:{new.restore}"))),
        kind=Kind.ledger_epoch_began,
        tenant=PLATFORM,
        occurred_at=now.astimezone(UTC),
        detail=detail,
    )
    row = event_row(str(name), event)
    frontier = Frontier().append(row[-1]).to_bytes()
    await connection.execute(
        "INSERT INTO mc.ledger_epoch (region, epoch, log, restore) VALUES ($1, $2, $3, $4)",
        new.region,
        name.epoch,
        str(name),
        new.restore,
    )
    await connection.execute("SELECT mc.ensure_ledger_partitions()")
    await connection.execute(_INSERT_EVENT, str(name), now, *row)
    await connection.execute(
        "INSERT INTO mc.ledger_id (region, recorded_at, index, event_id) VALUES ($1, $2, 0, $3)",
        str(name),
        now,
        event.id,
    )
    await connection.execute(
        "INSERT INTO mc.ledger_head (region, size, frontier, updated_at) VALUES ($1, 1, $2, $3)",
        str(name),
        frontier,
        now,
    )
    await connection.execute("UPDATE mc.ledger_head SET ended_at = $2 WHERE region = $1", log, now)
    if new.hold:
        await connection.execute(
            "INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source) "
            "VALUES ($1, $2, true, $3, $4, $5)",
            uuid.uuid4(),
            ALL,
            f"restored from a backup: {new.reason}",
            new.by,
            Source.operator.value,
        )


async def _checked(connection: Any, log: str, signed: Sequence[Known]) -> Frontier:
    """The log's head, after each entry was hashed and held against it and against what was signed.

    Raises:
        LedgerDamaged: they do not agree, or the database has no such log.
    """
    head = await connection.fetchrow(
        "SELECT size, frontier FROM mc.ledger_head WHERE region = $1 AND ended_at IS NULL", log
    )
    if head is None:
        raise LedgerDamaged(f"the restored database has no log {log}")
    begins = await connection.fetchval(
        "SELECT frontier_after FROM mc.ledger_archive WHERE region = $1 "
        "ORDER BY first_index DESC LIMIT 1",
        log,
    )
    wanted = {known.checkpoint.size: known.checkpoint.root for known in signed}
    try:
        frontier = Frontier() if begins is None else Frontier.from_bytes(begins)
        at = frontier.size
        while rows := await connection.fetch(
            "SELECT index, leaf FROM mc.ledger_event WHERE region = $1 AND index >= $2 "
            "ORDER BY index LIMIT $3",
            log,
            at,
            _PAGE,
        ):
            for row in rows:
                if row["index"] != frontier.size:
                    raise LedgerDamaged(f"entry {frontier.size} of {log} is not in the database")
                frontier = frontier.append(leaf_hash(row["leaf"]))
                if frontier.size in wanted and wanted[frontier.size] != frontier.root():
                    raise LedgerDamaged(
                        f"the first {frontier.size} entries of {log} are not what was signed"
                    )
            at = frontier.size
        stored = Frontier.from_bytes(head["frontier"])
    except ProofError as error:
        raise LedgerDamaged(f"the head of {log} does not hold together: {error}") from error
    if (stored.size, stored.root()) != (frontier.size, frontier.root()) or head[
        "size"
    ] != stored.size:
        raise LedgerDamaged(
            f"the entries of {log} do not give its head (size {head['size']})",
            hint="restore another backup; this one holds a ledger that was changed",
        )
    return frontier
