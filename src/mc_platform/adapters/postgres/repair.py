"""Rows of tasks that no reader could show, made readable: what cannot be kept is named in its place.

Such rows are of versions that did not check what they recorded, or somebody has changed them. A value
that cannot be kept becomes a text that says so; all else stays as it is:

    parts, governance      value by value
    flow                   what readers take it for: a conversation with content from outside
    state                  failed, if it is none that a task has
    created_at, updated_at the other one of the two, or else the time of the repair

A row's text columns need none of it: PostgreSQL holds no text that a reader could not show. Each repair
is in the ledger, with digests of what the row held and holds, before the row is changed; the ledger
itself is never rewritten. Nor are the engine's own tables: what it cannot read of an operation is told
as that operation's end (`enact.engine`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from mc_contract.keepable import MOST_DEPTH, NotKeepable, check_keepable, json_text
from mc_platform.adapters.downstream_a2a import is_a2a_part
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.adapters.postgres.rows import DEEPEST_SHOWN, read_task, see_time
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, TenantId
from mc_platform.model.label import Part, without_nulls

_BATCH = 200
_NAMESPACE = uuid.UUID("5b0b6a39-2f0c-5a54-9df8-7e1f4c1c0c1e")
_COLUMNS = ("parts", "governance", "flow", "state", "created_at", "updated_at")
_CHANGE = """
UPDATE mc.task SET parts = $2::json, governance = $3::json, flow = $4::json, state = $5,
    created_at = $6, updated_at = $7
WHERE id = $1 AND parts::text = $8 AND governance::text = $9 AND flow::text = $10 AND state = $11
"""


@dataclass(frozen=True, slots=True)
class Repair:
    """A row that cannot be shown, and what it is to hold instead, by column."""

    task_id: str
    tenant: TenantId
    why: str
    stored: Mapping[str, Any]
    mended: Mapping[str, Any]


class TaskRepair:
    """Finds and mends rows of one database; `journal` is started."""

    def __init__(self, pools: Pools, journal: PostgresJournal) -> None:
        self._pools = pools
        self._journal = journal

    @wrapped("tasks cannot be read")
    async def found(self, at: datetime, after: str = "") -> tuple[list[Repair], str | None]:
        """The next rows that cannot be shown, of a batch of all; and where the next batch begins.

        Args:
            at: The time of the repair.
            after: Where this batch begins.
        """
        rows = await self._pools.record.fetch(
            "SELECT * FROM mc.task WHERE id > $1 ORDER BY id LIMIT $2", after, _BATCH
        )
        repairs = [
            Repair(
                task_id=row["id"],
                tenant=TenantId(row["tenant"]),
                why="; ".join(why.values()),
                stored={column: row[column] for column in _COLUMNS},
                mended=mended_row(row, why, at),
            )
            for row in rows
            if (why := why_not_shown(row))
        ]
        return repairs, rows[-1]["id"] if len(rows) == _BATCH else None

    @wrapped("a task cannot be mended")
    async def mend(self, repair: Repair, *, by: str, reason: str, at: datetime) -> None:
        """Tell the ledger, then change the row."""
        before, after = (_digest(columns) for columns in (repair.stored, repair.mended))
        event = Event(
            id=EventId(str(uuid.uuid5(_NAMESPACE, f"{repair.task_id}|{before}"))),
            kind=Kind.task_repaired,
            tenant=repair.tenant,
            occurred_at=at,
            detail={
                "subject": repair.task_id,
                "principal": by,
                "reason": reason,
                "what": repair.why,
                "before": before,
                "after": after,
            },
        )
        await self._journal.record([event])
        await self._pools.record.execute(
            _CHANGE,
            repair.task_id,
            *(repair.mended[column] for column in _COLUMNS),
            *(repair.stored[column] for column in _COLUMNS[:4]),
        )


def why_not_shown(row: Mapping[str, Any]) -> dict[str, str]:
    """Why a reader could not show a row, by column; empty if every one can show all of it."""
    task, why = read_task(row)
    see_time(row, "created_at", why)
    odd = (at for at, part in enumerate(task.parts) if not is_a2a_part(without_nulls(part)))
    if (at := next(odd, None)) is not None:
        why["parts"] = f"its reply: [{at}] is no A2A part"
    return why


def mended_row(row: Mapping[str, Any], why: Mapping[str, str], at: datetime) -> dict[str, Any]:
    """The row's columns as they can be shown; those that could be are as they were."""
    task, _ = read_task(row)
    mended = {column: row[column] for column in _COLUMNS}
    if "parts" in why:
        mended["parts"] = json_text(mended_parts(row["parts"]))
    if "governance" in why:
        mended["governance"] = json_text(mended_object(row["governance"]))
    if "flow" in why:
        mended["flow"] = json_text(task.flow.as_json())
    mended["state"] = task.state.value
    times = ("created_at", "updated_at")
    known_at = next((row[column] for column in times if column not in why), at)
    return mended | {column: known_at for column in times if column in why}


def mended_parts(stored: str) -> list[Part]:
    """Stored parts as they can be shown, however broken they are."""
    try:
        parts = _loaded(stored)
    except (ValueError, RecursionError):
        return [{"text": "[not kept: no JSON]"}]
    if not isinstance(parts, list):
        return [{"text": "[not kept: no list of parts]"}]
    return [_mended_part(part) for part in parts]


def mended_object(stored: str) -> dict[str, Any]:
    """A stored object as it can be shown; empty if it is none."""
    try:
        mended = _mended(_loaded(stored), MOST_DEPTH - 1)
    except (ValueError, RecursionError):
        return {}
    return mended if isinstance(mended, dict) else {}


def _loaded(stored: str) -> Any:
    # As text: Python itself refuses to read an integer of many thousand digits
    return json.loads(stored, parse_int=Decimal, parse_float=_decimal)


def _mended_part(part: Any) -> Part:
    mended = _mended(part, DEEPEST_SHOWN)
    if isinstance(mended, dict):
        shown: Part = without_nulls(mended)
        if is_a2a_part(shown):
            return shown
    return {"text": "[not kept: no A2A part]"}


def _mended(value: Any, deeper: int) -> Any:
    """The value as it can be shown, with at most `deeper` lists and objects within each other in it."""
    if isinstance(value, dict | list):
        if deeper < 0:
            return "[not kept: nested too deep]"
        if isinstance(value, list):
            return [_mended(inner, deeper - 1) for inner in value]
        return {_text(key): _mended(inner, deeper - 1) for key, inner in value.items()}
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Decimal):
        try:
            check_keepable(value)
        except NotKeepable as error:
            return f"[not kept: {error.kind}]"
        return _number(value)
    return value


def _number(value: Decimal) -> int | float | Decimal:
    if value.as_tuple().exponent == 0:
        return int(value)
    near = float(value)
    return near if Decimal(repr(near)) == value else value


def _decimal(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:  # its exponent is beyond what any number has
        return "[not kept: number out of range]"


def _text(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _digest(columns: Mapping[str, Any]) -> str:
    told = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in columns.items()
    }
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
