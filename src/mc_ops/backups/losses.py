"""What a restore loses, one by one, and from which source each loss is known.

A source tells of events or tasks that were acknowledged: the database that is to be replaced, the
SIEM's store, the backup file of delivery, a client's own list. Each is looked up in the restored database;
what is not there is lost. What no source tells is not in the report: it says what is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mc_ops.backups.server import query
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited

_AT_ONCE = 1000
_ACCEPTED, _ANSWERED = "request.accepted", "reply.released"
_EVENTS = "SELECT DISTINCT event_id FROM mc.ledger_id WHERE event_id = ANY($1::text[])"
_TASKS = """
SELECT id, operation IS NULL AND state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING') AS unanswered
FROM mc.task WHERE id = ANY($1::text[])
"""
_LATER = """
SELECT event_id, tenant, kind, subject, occurred_at FROM mc.ledger_event
WHERE (region = $1 AND index >= $2) OR NOT region = ANY ($3::text[])
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One event that a source has; `event` is empty where a client tells of a task alone."""

    event: str
    task: str
    tenant: str
    kind: str
    at: str


@dataclass(slots=True)
class Lost:
    """What is lost of one task, or of one event that is about none.

    Attributes:
        whole: Whether the restored database does not know the task at all.
        request: Whether a request is lost with it: as a whole, or a question's answer. An operation
            that is there goes on, but a question without an answer ends as failed.
    """

    task: str
    tenant: str = ""
    whole: bool = True
    request: bool = False
    at: str = ""
    kinds: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "tenant": self.tenant,
            "whole": self.whole,
            "at": self.at,
            "kinds": sorted(self.kinds),
            "sources": sorted(self.sources),
        }


@dataclass(slots=True)
class Source:
    """What one source told: how much, how much of it is lost, or why it could not be read."""

    name: str
    place: str
    told: int = 0
    lost: int = 0
    problem: str = ""


class Losses:
    """Gathers them against one restored database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lost: dict[str, Lost] = {}
        self.sources: list[Source] = []

    def add(self, source: Source, told: Iterable[Told]) -> None:
        """Look up what a source tells."""
        self.sources.append(source)
        each = iter(told)
        while batch := list(islice(each, _AT_ONCE)):
            source.told += len(batch)
            known = self._known(_EVENTS, [item.event for item in batch if item.event])
            tasks = self._known(_TASKS, [item.task for item in batch if item.task])
            for item in batch:
                unanswered = tasks.get(item.task, True)
                if item.event in known if item.event else not unanswered:
                    continue
                source.lost += 1
                lost = self._note(item, source.name, whole=item.task not in tasks)
                lost.request |= unanswered and item.kind in ("", _ACCEPTED, _ANSWERED)

    def unread(self, name: str, place: str, problem: str) -> None:
        """A source that could not be read."""
        self.sources.append(Source(name, place, problem=problem))

    def _known(self, statement: str, ids: Sequence[str]) -> dict[str, Any]:
        """What there is of them, by id: the last column."""
        return {row[0]: row[-1] for row in query(self._url, statement, list(ids))} if ids else {}

    def _note(self, item: Told, source: str, *, whole: bool) -> Lost:
        lost = self._lost.setdefault(item.task or item.event, Lost(item.task or item.event))
        lost.whole = whole
        lost.tenant = lost.tenant or item.tenant
        lost.at = min(filter(None, (lost.at, item.at)), default="")
        lost.kinds |= {item.kind} if item.kind else set()
        lost.sources.add(source)
        return lost

    @property
    def lost(self) -> list[Lost]:
        """All that is lost, the oldest first; those without a time last."""
        return sorted(self._lost.values(), key=lambda one: (not one.at, one.at, one.task))

    @property
    def requests(self) -> int:
        """How many accepted requests, or answers to them, are lost."""
        return sum(one.request for one in self._lost.values())


def of_database(url: str, log: str, size: int, logs: Sequence[str]) -> list[Told]:
    """What a database has beyond a log's size, and in logs that the restored one does not know."""
    rows = query(url, _LATER, log, size, list(logs))
    return [
        Told(
            row["event_id"],
            row["subject"],
            row["tenant"],
            row["kind"],
            row["occurred_at"].isoformat(),
        )
        for row in rows
    ]


def of_lines(path: Path, region: str) -> Iterator[Told]:
    """A region's events in a file of JSON lines: the SIEM receiver's store, or the backup file of delivery.

    Regions may share a SIEM, and what another one recorded is not this one's to lose. A last line that is torn is left out: it was never acknowledged.
    """
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                whole = json.loads(line)
                leaf = whole.get("unmapped", whole)
                detail = leaf["detail"]
                if str(leaf["region"]).partition("/")[0] != region:
                    continue
                yield Told(
                    str(leaf["id"]),
                    str(detail.get("operation_id") or detail.get("subject") or ""),
                    str(leaf["tenant"]),
                    str(leaf["kind"]),
                    str(leaf["occurred_at"]),
                )
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UnusableInput(
                    f"{path} holds a line that is no event of the ledger",
                    hint="name the store of the sample SIEM receiver, or AUDIT_FILE_PATH's file",
                ) from error


def of_clients(path: Path) -> list[Told]:
    """Tasks that a client's ledger names: ids one a line, or JSON: ids, or objects with `task`.

    Raises:
        UnusableInput: it is neither.
    """
    text = read_limited(path).decode("utf-8-sig", errors="replace")
    if text.lstrip()[:1] not in ("[", "{"):
        ids = [line.strip() for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
        return [_told(path, {"task": task}) for task in ids]
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UnusableInput(f"{path} is not JSON: {error}") from error
    items = value.get("acknowledged") if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise UnusableInput(
            f"{path} holds no list of tasks", hint='[{"task": ID, "at": TIME}, ...]'
        )
    return [_told(path, item if isinstance(item, dict) else {"task": item}) for item in items]


def _told(path: Path, item: dict[str, Any]) -> Told:
    unknown = item.keys() - {"task", "tenant", "at"}
    task = item.get("task")
    if unknown or not isinstance(task, str) or not task or any(map(str.isspace, task)):
        raise UnusableInput(
            f"{path} names a task as {json.dumps(item)[:120]}",
            hint='a task is an id, or {"task": ID, "tenant": TENANT, "at": TIME}',
        )
    return Told("", task, str(item.get("tenant", "")), "", str(item.get("at", "")))
