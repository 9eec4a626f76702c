"""Reads what there is after a run: the ledger and its checkpoint, tasks, SIEM, effects, file.

Reads only; judges nothing. It reads the database as its superuser, so that no part of the service
can stand between what is stored and what is counted. Columns that it does not need may change.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mc_contract.ledger.checkpoint import CheckpointError, parse_checkpoint, verify_checkpoint

from .platform import CrashPlatform

_CHECKPOINT_PATIENCE_S = 20.0
_OPEN = ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One leaf as the database holds it; `content` is its decoded JSON."""

    index: int
    id: str
    raw: bytes
    leaf_hash: bytes
    recorded_at: datetime
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.content["kind"])

    @property
    def tenant(self) -> str:
        return str(self.content["tenant"])

    @property
    def detail(self) -> Mapping[str, Any]:
        detail = self.content["detail"]
        assert isinstance(detail, dict)
        return detail

    @property
    def subject(self) -> str:
        """The task, operation or decision that it is about."""
        return str(self.detail.get("operation_id") or self.detail.get("subject") or "")


@dataclass(frozen=True, slots=True)
class Delivered:
    """One event as the SIEM stored it, in the order of its arrival."""

    id: str
    index: int
    leaf: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The log's signed head: its size and root."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task's row."""

    id: str
    state: str
    operation: bool
    message_id: str


@dataclass(frozen=True, slots=True)
class Filed:
    """One event in the file backup."""

    id: str
    index: int


@dataclass(frozen=True, slots=True)
class World:
    """All that there is after a run.

    Attributes:
        head: A checkpoint, its signature checked; None when none could be had, `head_problem`
            says why.
        effects: What the receiver applied, in order: verb `do` or `undo`, thing, key of the `do`.
    """

    ledger: list[LedgerEvent]
    tasks: list[StoredTask]
    siem: list[Delivered]
    effects: list[Mapping[str, Any]]
    head: Head | None
    head_problem: str = ""
    filed: list[Filed] = field(default_factory=list)


class SiemFile:
    """Follows what the SIEM writes; `ids` and `lines` grow with each `read_on`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.ids: set[str] = set()
        self.events: list[Delivered] = []

    def read_on(self) -> None:
        """Take in the whole lines that came since the last time."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        # A torn line was never acknowledged; the receiver drops it when it starts.
        whole = content.rfind(b"\n") + 1
        self._offset += whole
        found = delivered(content[:whole])
        self.events += found
        self.ids |= {event.id for event in found}


def delivered(lines: bytes) -> list[Delivered]:
    """What the lines of the SIEM's file hold."""
    found = []
    for line in lines.splitlines():
        event = json.loads(line)
        metadata = event["metadata"]
        found.append(Delivered(str(metadata["uid"]), int(metadata["sequence"]), event["unmapped"]))
    return found


def gather(platform: CrashPlatform, siem: SiemFile) -> World:
    """Read everything, from a platform that is at rest.

    Raises:
        psycopg.Error, httpx.HTTPError: a source does not answer; nothing can be told then.
    """
    with platform.database() as database:
        events, rows = list(ledger(database)), list(tasks(database))
    head, problem = signed_head(
        platform.layout.url, platform.ledger_public_key.read_bytes(), len(events)
    )
    siem.read_on()
    answer = httpx.get(f"{platform.url_of('fulfilment-agent')}/effects", timeout=30)
    return World(
        ledger=events,
        tasks=rows,
        siem=siem.events,
        effects=answer.json()["effects"],
        head=head,
        head_problem=problem,
        filed=list(filed(platform.audit_folder)),
    )


def ledger_size(database: psycopg.Connection[Any]) -> int:
    """How many events the region's log has."""
    row = database.execute("SELECT coalesce(max(index) + 1, 0) FROM mc.ledger_event").fetchone()
    return int(row[0]) if row else 0


def open_tasks(database: psycopg.Connection[Any]) -> tuple[int, int]:
    """How many operations and how many questions have not ended."""
    return (
        _count(database, "governance->>'operation_id' IS NOT NULL"),
        _count(database, "governance->>'operation_id' IS NULL"),
    )


def filed(folder: Path) -> Iterator[Filed]:
    """What the backup file and its rotated predecessors hold, oldest file first."""
    paths = [path for path in folder.glob("*") if path.is_file() and "jsonl" in path.name]
    for path in sorted(paths, key=lambda one: one.stat().st_mtime):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                event = json.loads(line)
                yield Filed(id=str(event["id"]), index=int(event["index"]))


def _count(database: psycopg.Connection[Any], which: str) -> int:
    query = f"SELECT count(*) FROM mc.task WHERE state = ANY(%s) AND {which}"
    row = database.execute(query.encode(), [list(_OPEN)]).fetchone()
    return int(row[0]) if row else 0


def ledger(database: psycopg.Connection[Any]) -> Iterator[LedgerEvent]:
    """All leaves, in order."""
    rows = database.execute(
        "SELECT index, event_id, leaf, leaf_hash, recorded_at FROM mc.ledger_event "
        "ORDER BY region, index"
    )
    for index, event_id, leaf, leaf_hash, recorded_at in rows:
        raw = bytes(leaf)
        content = json.loads(raw)
        yield LedgerEvent(index, str(event_id), raw, bytes(leaf_hash), recorded_at, content)


def tasks(database: psycopg.Connection[Any]) -> Iterator[StoredTask]:
    """All tasks."""
    rows = database.execute(
        "SELECT id, state, governance->>'operation_id' IS NOT NULL, message_id FROM mc.task"
    )
    for task_id, state, operation, message_id in rows:
        yield StoredTask(str(task_id), str(state), bool(operation), str(message_id))


def signed_head(url: str, public_key: bytes, size: int) -> tuple[Head | None, str]:
    """The checkpoint of at least `size` leaves, its signature checked; or why there is none."""
    key = load_pem_public_key(public_key)
    assert isinstance(key, Ed25519PublicKey)
    deadline = time.monotonic() + _CHECKPOINT_PATIENCE_S
    while True:
        try:
            answer = httpx.get(f"{url}/ledger/checkpoint", timeout=10)
            answer.raise_for_status()
            note = answer.text
            origin = parse_checkpoint(note.split("\n\n")[0] + "\n").origin
            found = verify_checkpoint(note, {origin: key})
        except (httpx.HTTPError, CheckpointError) as error:
            found, problem = None, f"{type(error).__name__}: {error}"
        else:
            problem = ""
        if found is not None and found.size >= size:
            return Head(found.size, found.root), ""
        if time.monotonic() > deadline:
            head = Head(found.size, found.root) if found else None
            return head, problem or f"the checkpoint has size {found.size}, the log {size}"  # type: ignore[union-attr]  # no problem means found
        time.sleep(0.25)
