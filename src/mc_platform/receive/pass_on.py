"""Requests that the tenant's home region has to answer are passed on to it, once.

The application says so itself, by the refusal `HomeElsewhere`, which it raises where it knows what a
request means. Its answer is held back here; the request goes to the home as it came, with the caller's
own credential, and the home's answer comes back as it comes, streams too. Where the home cannot be asked
the refusal that was held back is the answer: it says where to go, in the format that the caller speaks.

A request that was passed on bears the header `MC-Passed-On` and is not passed on again: while a home
moves, two regions must not send it to and fro. Reasons: docs/adr/0007-operations-are-passed-on.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_platform.bulkheads import Slots
from mc_platform.errors import HomeElsewhere, PeerFailed
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.middleware import route_of
from mc_platform.receive.wire_errors import begin_homes, clear_note

PASSED_ON = "MC-Passed-On"
_PASSED_ON = PASSED_ON.lower().encode()
_SENT = frozenset(
    {
        b"authorization", b"content-type", b"accept", b"a2a-version", b"a2a-extensions",
        b"x-a2a-extensions", b"traceparent", b"tracestate",
    }
)  # fmt: skip
_RETURNED = ("content-type", "retry-after", "cache-control")
_NOT_KNOWN_THERE = 401
_log = structlog.get_logger()


class Taker(Protocol):
    """Takes an answer as it comes."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head has come."""

    def piece(self, piece: bytes) -> None:
        """More of its body has come."""


class PeerRegions(Protocol):
    """The other regions. Behind it: HTTP; memory in tests."""

    names: frozenset[str]

    async def ask(
        self,
        region: str,
        tenant: str,
        method: str,
        target: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        taker: Taker,
    ) -> None:
        """Ask a region; return when its answer is whole.

        Raises:
            PeerFailed: it does not answer, or its answer broke off.
        """


@dataclass(frozen=True, slots=True)
class PassOn:
    """The ASGI layer around the routes, behind the middleware; only where there are several regions.

    Attributes:
        region: This one's name.
        slots: Places for requests that are passed on, so that a slow peer takes no more than these.
    """

    app: ASGIApp
    peers: PeerRegions
    region: str
    slots: Slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or have the home answer."""
        principal = scope.get("state", {}).get(PRINCIPAL)
        if scope["type"] != "http" or not isinstance(principal, Principal):
            await self.app(scope, receive, send)
            return
        note = begin_homes()
        first = await receive() if scope["method"] in ("POST", "PUT", "PATCH") else None
        held = _Held(send, note)
        await self.app(scope, receive if first is None else _again(first, receive), held)
        if not note:
            return
        body = None if first is None else first.get("body", b"")
        if not await self._passed(scope, principal, note[0], body, send):
            if route_of(scope["path"]).startswith("a2a"):
                metrics.add(metrics.a2a_requests, 1, "error", principal.tenant)
            await held.release()

    async def _passed(
        self,
        scope: Scope,
        principal: Principal,
        refusal: HomeElsewhere,
        body: bytes | None,
        send: Send,
    ) -> bool:
        """Whether the home's answer was sent; if not, nothing was."""
        again = any(name == _PASSED_ON for name, _ in scope["headers"])
        if again or refusal.home not in self.peers.names:
            return False
        slot = await self.slots.take(principal.tenant)
        answer = _Answer(send)
        try:
            await answer.relay(
                self.peers.ask(
                    refusal.home,
                    principal.tenant,
                    scope["method"],
                    _target(scope),
                    body=body,
                    headers=_headers(scope, self.region),
                    taker=answer,
                )
            )
        except PeerFailed as error:
            if answer.begun:
                raise
            _log.warning("home_does_not_answer", home=refusal.home, reason=error.message)
        finally:
            slot.release()
            outcome = "answered" if answer.begun else "refused"
            metrics.add(metrics.home_passed_on, 1, outcome, principal.tenant)
        return answer.begun


class _Held:
    """Holds back the start of an answer until it is known whether it is one to pass on."""

    def __init__(self, send: Send, note: list[HomeElsewhere]) -> None:
        self._send = send
        self._note = note
        self._kept: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if self._note or message["type"] == "http.response.start":
            self._kept.append(message)
            return
        await self.release()
        await self._send(message)

    async def release(self) -> None:
        """Send what was held back."""
        kept, self._kept = self._kept, []
        for message in kept:
            await self._send(message)


class _Answer:
    """The home's answer on its way to the caller."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._came: asyncio.Queue[Message | None] = asyncio.Queue()
        self._refused = False
        self.begun = False

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        # The credential was good here: it has not reached the home yet, or was revoked there just now
        self._refused = status == _NOT_KNOWN_THERE
        returned = [
            (name.encode(), headers[name].encode("latin-1"))
            for name in _RETURNED
            if name in headers
        ]
        self._came.put_nowait(
            {"type": "http.response.start", "status": status, "headers": returned}
        )

    def piece(self, piece: bytes) -> None:
        self._came.put_nowait({"type": "http.response.body", "body": piece, "more_body": True})

    async def relay(self, asking: Coroutine[Any, Any, None]) -> None:
        """Send on what comes, until it is whole.

        Raises:
            PeerFailed: it does not come, or broke off.
        """
        asked = asyncio.ensure_future(asking)
        asked.add_done_callback(lambda _: self._came.put_nowait(None))
        try:
            while (message := await self._came.get()) is not None:
                if self._refused:
                    continue
                if not self.begun:
                    clear_note()
                    self.begun = True
                await self._send(message)
            asked.result()
        finally:
            asked.cancel()
        if self.begun:
            await self._send({"type": "http.response.body", "body": b""})


def _target(scope: Scope) -> str:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.partition(b"?")[0].decode("ascii")
    query = scope["query_string"].decode("ascii")
    return f"{path}?{query}" if query else path


def _headers(scope: Scope, region: str) -> dict[str, str]:
    sent = {
        name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _SENT
    }
    return {**sent, PASSED_ON: region}


def _again(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def read() -> Message:
        return waiting.pop() if waiting else await receive()

    return read
