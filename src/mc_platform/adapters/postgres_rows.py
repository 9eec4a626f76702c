"""Rows as values, each for itself: one that cannot be read is told as that, and takes no other along.

What enters a row is checked before (`mc_contract.keepable`), so such a row is of an earlier version,
or somebody has changed it. `python -m mc_platform repair` mends tasks; the ledger is never rewritten.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from mc_contract.keepable import NotKeepable, read_json
from mc_platform.model.event import UNREADABLE, LedgerRow
from mc_platform.model.flow import DOCUMENT, Flow, flow_from
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.task import Task, TaskState
from mc_platform.observe import metrics

# The official SDK nests to 47 within a part; older rows hold what is no longer taken (32)
DEEPEST_SHOWN = 47
_AROUND = 2  # the list of parts, and a part
_EVENT = (("id", str), ("kind", str), ("occurred_at", str), ("detail", dict))
_TOLD = frozenset({"data", "metadata", "text", "raw", "url", "filename", "mediaType"})


def why_unreadable(parts: str) -> str:
    """Why a task's stored parts cannot be shown; empty if they can."""
    try:
        parts_from(parts)
    except NotKeepable as error:
        return told(error)
    return ""


def parts_from(stored: str) -> tuple[dict[str, Any], ...]:
    """A task's stored parts.

    Raises:
        NotKeepable: some reader could not show them.
    """
    parts = read_json(stored, most_depth=DEEPEST_SHOWN + _AROUND, recorded=True)
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise NotKeepable((), "is no list of parts", "no parts")
    return tuple(parts)


def told(error: NotKeepable) -> str:
    """Where and why, without a word of the content."""
    return f"{error.where(_TOLD)} {error.why}"


def task_from_row(row: Any) -> Task:
    """A row of `mc.task` as a value."""
    unreadable: list[str] = []
    parts: tuple[dict[str, Any], ...] = ()
    try:
        parts = parts_from(row["parts"])
    except NotKeepable as error:
        unreadable.append(f"its reply: {told(error)}")
    governance = _object(row["governance"], "its governance", unreadable)
    flow = _flow(row["flow"], unreadable)
    state = _state(row["state"], unreadable)
    status_text = row["status_text"]
    if unreadable:
        metrics.unreadable_rows.labels("task").inc()
        why = f"the content cannot be shown: {'; '.join(unreadable)}"
        status_text = f"{status_text}; {why}" if status_text else why
    return Task(
        id=TaskId(row["id"]),
        context_id=ContextId(row["context_id"]),
        tenant=TenantId(row["tenant"]),
        principal=PrincipalId(row["principal"]),
        message_id=row["message_id"],
        request_digest=row["request_digest"],
        state=state,
        updated_at=row["updated_at"],
        parts=parts,
        status_text=status_text,
        governance=governance or {},
        flow=flow,
        unreadable=bool(unreadable),
    )


def _flow(stored: str, unreadable: list[str]) -> Flow:
    found = _object(stored, "its labels", unreadable)
    try:
        if found is not None:
            return flow_from(found)
    except ValueError as error:
        unreadable.append(f"its labels: {error}")
    return Flow(origins=frozenset({DOCUMENT}))  # what nobody can read may be anybody's words


def _state(stored: str, unreadable: list[str]) -> TaskState:
    try:
        return TaskState(stored)
    except ValueError:
        unreadable.append("its state is none that a task has")
        return TaskState.failed


def _object(stored: str, what: str, unreadable: list[str]) -> dict[str, Any] | None:
    try:
        found = read_json(stored, recorded=True)
        if isinstance(found, dict):
            return found
        unreadable.append(f"{what} is no object")
    except NotKeepable as error:
        unreadable.append(f"{what}: {told(error)}")
    return None


def governance_from(stored: str) -> dict[str, Any]:
    """What a task's governance column holds; empty, and counted, if it cannot be read."""
    found = _object(stored, "", [])
    if found is None:
        metrics.unreadable_rows.labels("task").inc()
    return found or {}


def ledger_row(row: Any) -> LedgerRow:
    """A row of `mc.ledger_event` by its index, time and leaf."""
    return LedgerRow(row["index"], row["recorded_at"], leaf_from(row["leaf"], row["recorded_at"]))


def leaf_from(raw: bytes, recorded_at: Any) -> dict[str, Any]:
    """A leaf as a value; what is no event is told as one that cannot be read."""
    why = "it is no event"
    try:
        leaf = msgspec.json.decode(raw)
        if isinstance(leaf, dict) and all(isinstance(leaf.get(key), of) for key, of in _EVENT):
            datetime.fromisoformat(leaf["occurred_at"])
            return leaf
    except (ValueError, RecursionError):  # msgspec's are of that kind; a time that is none, too
        why = "it is not JSON, or its time is none"
    return unreadable_leaf(raw, recorded_at, f"the entry cannot be shown: {why}")


def unreadable_leaf(raw: bytes, recorded_at: Any, reason: str) -> dict[str, Any]:
    """What is told in the place of a leaf that is no event, or not the one that was recorded."""
    metrics.unreadable_rows.labels("ledger").inc()
    return {
        "id": f"unreadable-{sha256(raw).hexdigest()[:32]}",
        "kind": UNREADABLE,
        "tenant": "",
        "region": "",
        "occurred_at": recorded_at.isoformat(),
        "detail": {"subject": "", "reason": reason},
    }
