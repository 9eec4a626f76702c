"""Answers to `sync` tenants, held back until the peer region has what they tell.

Whatever leaves is held: a task, a page of tasks, a query's answer, each event of a stream, refusals too,
for any of them can tell a client that something is recorded. What only says "not now" is not.
Where the peer does not confirm, the client is told so in the format that it speaks; a stream that has
begun breaks off, and is subscribed to again.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_platform.errors import PeerAway
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics
from mc_platform.ports import PeerCopies
from mc_platform.receive.fast_path import refusal
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.middleware import route_of
from mc_platform.receive.wire_errors import answer, to_wire

_NOT_NOW = (429, 503)


@dataclass(frozen=True, slots=True)
class HeldAnswers:
    """The ASGI layer around the routes; only where the catalogue has `sync` tenants."""

    app: ASGIApp
    copies: PeerCopies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, when the peer has it."""
        principal = scope.get("state", {}).get(PRINCIPAL)
        if not isinstance(principal, Principal) or principal.tenant not in self.copies.tenants:
            await self.app(scope, receive, send)
            return
        held = _Held(self.copies, principal.tenant, send)
        try:
            await self.app(scope, receive, held)
        except Exception:
            if held.refused is None:
                raise
        if held.refused is None:
            return
        if held.begun:
            raise held.refused
        await (await _refused(scope, held))(scope, receive, send)


class _Held:
    """Sends an answer's start with the first of its body, and either once the peer has it."""

    def __init__(self, copies: PeerCopies, tenant: TenantId, send: Send) -> None:
        self._copies = copies
        self.tenant = tenant
        self._send = send
        self._start: MutableMapping[str, Any] | None = None
        self._not_now = False
        self.begun = False
        self.refused: PeerAway | None = None
        self.withheld = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._not_now = message["status"] in _NOT_NOW
            self._start = message
            return
        told = message.get("body", b"") or self._start is not None
        if told and not self._not_now:
            try:
                await self._copies.require(self.tenant)
            except PeerAway as error:
                self.refused, self.withheld = error, message.get("body", b"")
                raise
        if self._start is not None:
            start, self._start, self.begun = self._start, None, True
            await self._send(start)
        await self._send(message)


async def _refused(scope: Scope, held: _Held) -> Response:
    assert held.refused is not None
    route = route_of(scope["path"])
    if not route.startswith("a2a"):
        return await answer(Request(scope), held.refused)
    metrics.add(metrics.a2a_requests, 1, "error", held.tenant)
    call = _id_of(held.withheld) if route == "a2a" else None
    return await refusal(call, to_wire(held.refused))


def _id_of(withheld: bytes) -> str | int:
    """The id of the JSON-RPC call that an answer, or a stream's first event, is for."""
    event = withheld.partition(b"data:")[2].partition(b"\n")[0]
    try:
        found = json.loads(withheld if withheld.startswith(b"{") else event)["id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, (str, int)) else ""
