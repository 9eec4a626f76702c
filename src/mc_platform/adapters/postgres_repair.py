"""Rows of tasks that no reader could show, made readable: what cannot be kept is named in its place.

Such rows are of versions that did not check what they recorded. A value that cannot be kept becomes
a text that says so; all else stays as it is. Each repair is in the ledger, with digests of what the
row held and holds, before the row is changed; the ledger itself is never rewritten.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from mc_contract.keepable import NotKeepable, check_keepable, json_text
from mc_platform.adapters.downstream_a2a import is_a2a_part
from mc_platform.adapters.postgres import Pools, wrapped
from mc_platform.adapters.postgres_journal import PostgresJournal
from mc_platform.adapters.postgres_rows import DEEPEST_SHOWN, parts_from, why_unreadable
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, TenantId
from mc_platform.model.label import Part, without_nulls

_BATCH = 200
_NAMESPACE = uuid.UUID("5b0b6a39-2f0c-5a54-9df8-7e1f4c1c0c1e")


@dataclass(frozen=True, slots=True)
class Repair:
    """A row that cannot be shown, and what it is to hold instead."""

    task_id: str
    tenant: TenantId
    why: str
    stored: str
    mended: str


class TaskRepair:
    """Finds and mends rows of one database; `journal` is started."""

    def __init__(self, pools: Pools, journal: PostgresJournal) -> None:
        self._pools = pools
        self._journal = journal

    @wrapped("tasks cannot be read")
    async def found(self, after: str = "") -> tuple[list[Repair], str | None]:
        """The next rows that cannot be shown, of a batch of all; and where the next batch begins."""
        rows = await self._pools.record.fetch(
            "SELECT id, tenant, parts FROM mc.task WHERE id > $1 ORDER BY id LIMIT $2",
            after,
            _BATCH,
        )
        repairs = [
            Repair(
                task_id=row["id"],
                tenant=TenantId(row["tenant"]),
                why=why,
                stored=row["parts"],
                mended=json_text(mended_parts(row["parts"])),
            )
            for row in rows
            if (why := why_not_shown(row["parts"]))
        ]
        return repairs, rows[-1]["id"] if len(rows) == _BATCH else None

    @wrapped("a task cannot be mended")
    async def mend(self, repair: Repair, *, by: str, reason: str, at: datetime) -> None:
        """Tell the ledger, then change the row."""
        before, after = (_digest(text) for text in (repair.stored, repair.mended))
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
            "UPDATE mc.task SET parts = $2::json WHERE id = $1 AND parts::text = $3",
            repair.task_id,
            repair.mended,
            repair.stored,
        )


def why_not_shown(stored: str) -> str:
    """Why a reader could not show stored parts; empty if every one can."""
    why = why_unreadable(stored)
    if why:
        return why
    parts = enumerate(parts_from(stored))
    at = next((at for at, part in parts if not is_a2a_part(without_nulls(part))), None)
    return "" if at is None else f"[{at}] is no A2A part"


def mended_parts(stored: str) -> list[Part]:
    """Stored parts as they can be shown, however broken they are."""
    try:
        # As text: Python itself refuses to read an integer of many thousand digits
        parts = json.loads(stored, parse_int=Decimal, parse_float=_decimal)
    except (ValueError, RecursionError):
        return [{"text": "[not kept: no JSON]"}]
    if not isinstance(parts, list):
        return [{"text": "[not kept: no list of parts]"}]
    return [_mended_part(part) for part in parts]


def _mended_part(part: Any) -> Part:
    mended = _mended(part, 0)
    if isinstance(mended, dict):
        shown: Part = without_nulls(mended)
        if is_a2a_part(shown):
            return shown
    return {"text": "[not kept: no A2A part]"}


def _mended(value: Any, depth: int) -> Any:
    if isinstance(value, dict | list):
        if depth > DEEPEST_SHOWN:
            return "[not kept: nested too deep]"
        if isinstance(value, list):
            return [_mended(inner, depth + 1) for inner in value]
        return {_text(key): _mended(inner, depth + 1) for key, inner in value.items()}
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


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
