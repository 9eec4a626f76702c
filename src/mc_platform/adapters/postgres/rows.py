"""Rows as values, each for itself: one that cannot be read is told as that, and takes no other along.

What enters a row is checked before (`mc_contract.keepable`), so such a row is of an earlier version,
or somebody has changed it. `python -m mc_platform repair` mends tasks; the ledger is never rewritten.

PostgreSQL has times that no `datetime` has: infinite ones, and years before 1 and after 9999. They are
read as `EARLIEST` or `LATEST`, by every query and in every column, and told by `see_time`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec

from mc_contract.keepable import NotKeepable, check_keepable, checked_text, json_bytes, read_json
from mc_platform.model.event import UNREADABLE, LedgerRow
from mc_platform.model.flow import DOCUMENT, Flow
from mc_platform.model.ids import ContextId, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.operation_view import OperationState, OperationView
from mc_platform.model.task import Task, TaskState
from mc_platform.observe import metrics

# The official SDK nests to 47 within a part; older rows hold what is no longer taken (32)
DEEPEST_SHOWN = 47
_LARGE_BYTES = 65_536
_AROUND = 2  # the list of parts, and a part
_MICROSECOND = timedelta(microseconds=1)
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INFINITE, _INFINITE_BEFORE = 2**63 - 1, -(2**63)
ENTRY_COLUMNS = """
    e.index, e.event_id, e.tenant, e.kind, e.subject, e.occurred_at, e.recorded_at, e.leaf,
    e.leaf_hash AS recorded_hash
"""
"""Of a row `e` of the ledger, named as the fields of `mc_contract.ledger.entry.Entry`."""
_TOLD = frozenset({"data", "metadata", "text", "raw", "url", "filename", "mediaType"})


async def read_all_times(connection: Any) -> None:
    """Have a connection read every time that PostgreSQL has, so that none fails a whole query."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=_time_stored,
        decoder=_time_read,
    )


def _time_stored(at: datetime) -> tuple[int]:
    if at in (EARLIEST, LATEST):  # so a page that ended with such a row goes on behind it
        return (_INFINITE if at == LATEST else _INFINITE_BEFORE,)
    return ((at - _EPOCH) // _MICROSECOND,)


def _time_read(stored: tuple[int]) -> datetime:
    [microseconds] = stored
    if microseconds == _INFINITE:
        return LATEST
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return EARLIEST if microseconds < 0 else LATEST - _MICROSECOND


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


def int_array(numbers: Iterable[int]) -> str:
    """Whole numbers as PostgreSQL spells an array of them, for `$1::text::bigint[]`.

    Of a list, asyncpg asks of each element whether it is a list itself, which costs three times as
    much.
    """
    return "{" + ",".join(map(str, numbers)) + "}"


def is_large(task: Task) -> bool:
    """Whether checking the task's parts would hold the event loop."""
    try:
        return len(json_bytes(task.parts)) > _LARGE_BYTES
    except (TypeError, ValueError, OverflowError, RecursionError):
        return True  # the check says why


def task_columns(task: Task) -> tuple[Any, ...]:
    """A task's columns, as the journal writes them.

    Raises:
        NotKeepable: a reader of the row could not show it.
    """
    check_keepable((task.message_id, task.context_id, task.principal, task.status_text))
    return (
        task.id,
        task.context_id,
        task.tenant,
        task.principal,
        task.message_id,
        task.request_digest,
        task.state.value,
        task.updated_at,
        checked_text(task.parts, most_depth=DEEPEST_SHOWN),
        task.status_text,
        checked_text(dict(task.governance)),
        checked_text(task.flow.as_json()),
    )


def task_from_row(row: Any) -> Task:
    """A row of `mc.task` as a value."""
    task, unreadable = read_task(row)
    if unreadable:
        metrics.unreadable_rows.labels("task").inc()
    return task


def read_task(row: Any) -> tuple[Task, dict[str, str]]:
    """A row of `mc.task` as a value, and why which of its columns cannot be shown."""
    unreadable: dict[str, str] = {}
    parts: tuple[dict[str, Any], ...] = ()
    try:
        parts = parts_from(row["parts"])
    except NotKeepable as error:
        unreadable["parts"] = f"its reply: {told(error)}"
    governance = _object(row, "governance", "its governance", unreadable)
    flow = _flow(row, unreadable)
    state = _state(row["state"], unreadable)
    see_time(row, "updated_at", unreadable)
    task = Task(
        id=TaskId(row["id"]),
        context_id=ContextId(row["context_id"]),
        tenant=TenantId(row["tenant"]),
        principal=PrincipalId(row["principal"]),
        message_id=row["message_id"],
        request_digest=row["request_digest"],
        state=state,
        updated_at=row["updated_at"],
        parts=parts,
        status_text=_said(row["status_text"], unreadable),
        governance=governance or {},
        flow=flow,
        unreadable=bool(unreadable),
    )
    return task, unreadable


def operation_from_row(row: Any) -> OperationView:
    """A row of `mc.task` as those who run the platform see an operation.

    Args:
        row: With `standing`: how it stands, as SQL tells it.
    """
    unreadable: dict[str, str] = {}
    governance = _object(row, "governance", "its governance", unreadable)
    state = OperationState.failed
    if row["standing"] in OperationState.__members__:
        state = OperationState(row["standing"])
    else:
        unreadable["outcome"] = "its outcome is none that an operation has"
    see_time(row, "created_at", unreadable)
    see_time(row, "updated_at", unreadable)
    if unreadable:
        metrics.unreadable_rows.labels("task").inc()
    return OperationView(
        id=OperationId(row["id"]),
        tenant=TenantId(row["tenant"]),
        principal=PrincipalId(row["principal"]),
        operation=row["operation"],
        state=state,
        started_at=row["created_at"],
        updated_at=row["updated_at"],
        said=_said(row["status_text"], unreadable),
        governance=governance or {},
    )


def _said(status_text: str, unreadable: Mapping[str, str]) -> str:
    """The row's sentence, with what of it cannot be shown."""
    if not unreadable:
        return status_text
    why = f"the content cannot be shown: {'; '.join(unreadable.values())}"
    return f"{status_text}; {why}" if status_text else why


def see_time(row: Any, column: str, unreadable: dict[str, str]) -> None:
    """Note a time of which `read_all_times` has no `datetime`."""
    if not EARLIEST < row[column] < LATEST - _MICROSECOND:
        what = "its start" if column == "created_at" else "its time"
        unreadable[column] = f"{what} is infinite, or of no year from 1 to 9999"


def _flow(row: Any, unreadable: dict[str, str]) -> Flow:
    found = _object(row, "flow", "its labels", unreadable)
    try:
        if found is not None:
            return msgspec.convert(found, Flow)
    except msgspec.ValidationError as error:
        unreadable["flow"] = f"its labels: {error}"
    return Flow(origins=frozenset({DOCUMENT}))  # what nobody can read may be anybody's words


def _state(stored: str, unreadable: dict[str, str]) -> TaskState:
    try:
        return TaskState(stored)
    except ValueError:
        unreadable["state"] = "its state is none that a task has"
        return TaskState.failed


def _object(row: Any, column: str, what: str, unreadable: dict[str, str]) -> dict[str, Any] | None:
    try:
        found = read_json(row[column], recorded=True)
        if isinstance(found, dict):
            return found
        unreadable[column] = f"{what} is no object"
    except NotKeepable as error:
        unreadable[column] = f"{what}: {told(error)}"
    return None


def ledger_row(row: Any) -> LedgerRow:
    """A row of `mc.ledger_event` by its index, time and leaf."""
    return LedgerRow(row["index"], row["recorded_at"], leaf_from(row["leaf"], row["recorded_at"]))


def leaf_from(raw: bytes, recorded_at: Any) -> dict[str, Any]:
    """A leaf as a value; what is no event is told as one that cannot be read."""
    why = "it is no event"
    try:
        leaf = msgspec.json.decode(raw)
        if (
            isinstance(leaf, dict)
            and isinstance(leaf.get("id"), str)
            and isinstance(leaf.get("kind"), str)
            and isinstance(leaf.get("occurred_at"), str)
            and isinstance(leaf.get("detail"), dict)
        ):
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
