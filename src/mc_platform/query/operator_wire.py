"""The operator's HTTP as it is written: bodies and parameters read, answers as JSON.

Pure but for awaiting a request's body. What cannot be understood is `BadRequest`.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import uuid
from collections.abc import Collection
from datetime import datetime
from enum import Enum
from typing import Any, Literal, TypeVar

import msgspec
import msgspec.inspect
from starlette.requests import Request

from mc_platform.enact.breaker import Count
from mc_platform.errors import BadRequest
from mc_platform.model.autonomy import AutonomyStatus, Scope, Thrown
from mc_platform.model.engine_state import EngineState, Phase
from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import OperationId, TenantId
from mc_platform.model.operation_view import OperationFilter, OperationState, OperationView
from mc_platform.query.parameters import read_instant, read_number, refuse_unknown

_MOST, _USUAL = 500, 50
_MOST_SAID = 300
_PATH = re.compile(r" - at `\$\.?([^`]*)`\Z")
_VIEW = ("id", "tenant", "principal", "operation", "state", "started_at", "updated_at", "said")
_SWITCH = ("id", "halted", "reason", "principal", "source", "at", "region")
_Body = TypeVar("_Body", bound=msgspec.Struct)


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why an operation is cancelled; may be left out."""

    reason: str = ""


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why something is done that needs no other word."""

    reason: str


class ResolveBody(msgspec.Struct, forbid_unknown_fields=True):
    """How and why a stuck operation is resolved."""

    mode: Literal["retry", "accept"]
    reason: str


class ThrowBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which scope is halted or resumed, and why."""

    scope: str
    reason: str


class Alert(msgspec.Struct, rename="camel"):
    """One alert, as far as it matters here."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: datetime


class Notification(msgspec.Struct):
    """What Alertmanager sends: version 4 of its webhook."""

    version: Literal["4"]
    alerts: list[Alert]


async def read_body(request: Request, kind: type[_Body]) -> _Body:
    """A request's JSON body of that kind.

    Raises:
        BadRequest: it is not JSON, or not that.
    """
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.ValidationError as error:
        # Its text names the field; what it may quote is the caller's own word
        said = str(error)
        cut = said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}..."
        raise BadRequest(
            f"the body is not what it must be: {cut}", hint=_accepted(kind, said)
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not JSON") from None


def _accepted(kind: type[_Body], said: str) -> str:
    """What can stand where an error says that something else does: words, or fields of an object.

    Empty where anything can.
    """
    path = _PATH.search(said)
    at: Any = msgspec.inspect.type_info(kind)
    for name in re.findall(r"[^.\[\]]+", path[1] if path else ""):
        if isinstance(at, msgspec.inspect.ListType):
            at = at.item_type
        elif isinstance(at, msgspec.inspect.StructType):
            at = {field.encode_name: field.type for field in at.fields}.get(name)
    words: list[Any] = []
    if isinstance(at, msgspec.inspect.EnumType):
        words = [one.value for one in at.cls]
    elif isinstance(at, msgspec.inspect.LiteralType):
        words = list(at.values)
    elif isinstance(at, msgspec.inspect.StructType) and at.forbid_unknown_fields:
        words = [field.encode_name for field in at.fields]
    return f"known: {', '.join(map(str, words))}" if words else ""


def known_tenant(name: str, tenants: Collection[str]) -> TenantId:
    """The tenant of that name.

    Raises:
        BadRequest: it is none of them.
    """
    if name not in tenants:
        raise BadRequest(
            f"unknown tenant {name[:64]!r}", hint=f"known: {', '.join(sorted(tenants))}"
        )
    return TenantId(name)


def read_filter(request: Request) -> OperationFilter:
    """The parameters of a list.

    Raises:
        BadRequest: one is unknown or cannot be understood.
    """
    refuse_unknown(request, "tenant", "state", "since", "limit", "before")
    given = request.query_params
    return OperationFilter(
        limit=read_number(request, "limit", least=1, most=_MOST, usual=_USUAL),
        tenant=TenantId(given["tenant"]) if given.get("tenant") else None,
        state=_standing(given["state"]) if given.get("state") else None,
        since_at=read_instant(given["since"], "since") if given.get("since") else None,
        before=_position(given["before"]) if given.get("before") else None,
    )


def _standing(text: str) -> OperationState:
    if text not in OperationState.__members__:
        raise BadRequest("unknown state", hint=f"known: {', '.join(OperationState)}")
    return OperationState(text)


def _position(text: str) -> tuple[datetime, OperationId]:
    at, _, operation_id = text.partition("~")
    return read_instant(at, "before"), OperationId(operation_id)


def cursor(view: OperationView) -> str:
    """Where a page ends, for the parameter `before`."""
    return f"{view.started_at.isoformat()}~{view.id}"


def view_json(view: OperationView, engine: EngineState | None) -> dict[str, Any]:
    """An operation, with the engine's word if it has one."""
    governance = view.governance
    running = engine is not None and engine.phase is not Phase.ended
    return {
        **fields_json(view, *_VIEW),
        "canceled": governance.get("canceled") is True,
        "effects": governance.get("effects"),
        "effects_undone": governance.get("effects_undone"),
        "engine": fields_json(engine) if running else None,
    }


def event_json(row: LedgerRow) -> dict[str, Any]:
    """One line of a timeline."""
    leaf = row.leaf
    return {
        "index": row.index,
        "id": leaf["id"],
        "kind": leaf["kind"],
        "occurred_at": leaf["occurred_at"],
        "recorded_at": row.recorded_at.isoformat(),
        "detail": leaf["detail"],
    }


def scope_json(scope: Scope, status: AutonomyStatus, count: Count | None) -> dict[str, Any]:
    """Where the switch of a scope stands, and what the breaker counts of it."""
    holding = status.switches.get(scope)
    halting = status.halt_of(TenantId(scope))
    return {
        "scope": scope,
        "halted": halting is not None,
        "by": None if halting is None else halting.scope,
        "switch": None if holding is None else fields_json(holding, *_SWITCH),
        "ended": None if count is None else count.ended,
        "compensated": None if count is None else count.compensated,
    }


def thrown_json(scope: str, thrown: Thrown) -> dict[str, Any]:
    """What a throw came to."""
    return {
        "scope": scope,
        "changed": thrown.changed,
        "halted": thrown.switch is not None and thrown.switch.halted,
        "switch": None if thrown.switch is None else fields_json(thrown.switch, *_SWITCH),
    }


def fields_json(value: Any, *names: str) -> dict[str, Any]:
    """A dataclass as JSON: the fields that are named, or all."""
    names = names or tuple(field.name for field in dataclasses.fields(value))
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return base64_text(value)
        case uuid.UUID():
            return str(value)
        case Enum():
            return value.value
    return value


def base64_text(value: bytes) -> str:
    """Bytes as JSON's text has them."""
    return base64.b64encode(value).decode()
