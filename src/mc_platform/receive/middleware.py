"""The middleware: an ASGI layer around every route.

Measures and counts each request, refuses what is too large or not authenticated before any
parsing, applies the rehearsal's fault switches, and lets public paths through. Its refusals are
JSON; a JSON-RPC client sees the HTTP status.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_contract.keepable import NotKeepable, read_json
from mc_contract.log_lines import trace_id
from mc_platform.authenticate import GuardedAuthenticator
from mc_platform.bulkheads import client_left
from mc_platform.errors import (
    BadRequest,
    HeadTooLarge,
    MethodNotAllowed,
    NotAuthenticated,
    PlatformError,
    RequestTimeout,
    RequestTooLarge,
    Unavailable,
)
from mc_platform.model.shape import ShapeLimits, shape_problem
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics
from mc_platform.observe.cost import Metered
from mc_platform.receive.connections import Connections
from mc_platform.receive.detail import DETAIL, DetailRule
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.peers import Peers
from mc_platform.receive.turns import LARGE_BYTES, Arrivals, Turns
from mc_platform.receive.wire_errors import answer, begin_note, failure, retry_after

_DETAILED = frozenset({"/health", "/metrics"})  # what they tell depends on who asks
_SIGNED = frozenset({"/witness/add-checkpoint"})  # the body's own signature is the credential
_MOST_SIGNED_BYTES = 32 * 1024
_PUBLIC = _DETAILED | {
    "/.well-known/agent-card.json",
    "/ledger/checkpoint",
    "/ledger/checkpoint/cosigned",
}
_MOST_HEAD_BYTES = 32_768
_FAILURE = 500
_log = structlog.get_logger()
_LENGTH_DIGITS = 19
_SMALL_BODY_BYTES = 8192
_QUICK_S = 0.25
_DRAINED = 4  # times the limit
_SHAPE = ShapeLimits()
_ROUTES = {
    "/": "a2a",
    "/a2a": "a2a",
    "/a2a/": "a2a",
    "/graphql": "graphql",
    "/health": "health",
    "/metrics": "metrics",
    "/.well-known/agent-card.json": "card",
    "/ledger/checkpoint": "ledger",
    "/ledger/checkpoint/cosigned": "ledger",
    "/witness/add-checkpoint": "witness",
}
_PREFIXES = (("/v1/", "a2a_rest"), ("/audit/", "audit"), ("/operator/", "operator"))


def route_of(path: str) -> str:
    """A bounded name for a path: never the caller's text."""
    known = _ROUTES.get(path)
    return known or next((name for start, name in _PREFIXES if path.startswith(start)), "other")


@dataclass(slots=True)
class GatewayMiddleware:
    """Wraps the application.

    Attributes:
        peers: Knows where a request comes from.
        detail: Who may see what strangers may not.
        connections: Is told what is under way.
        body_timeout_s: How long all of a body may take.
        slow_factor: 2 makes every A2A request take twice as long (a fault switch).
        error_ratio: This share of A2A requests is answered 503 (a fault switch).
    """

    app: ASGIApp
    _: KW_ONLY
    authenticator: GuardedAuthenticator
    peers: Peers
    detail: DetailRule
    connections: Connections
    max_body_bytes: int
    body_timeout_s: float
    tenants: frozenset[str]
    shape: ShapeLimits = _SHAPE
    slow_factor: float = 1.0
    error_ratio: float = 0.0
    large_bodies: Turns = field(init=False, default_factory=lambda: Turns("large bodies"))
    arrivals: Arrivals = field(init=False, default_factory=Arrivals)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one HTTP request; other scopes go straight through."""
        # No coroutine of its own, as each step of the request would go through it
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        visit = _Visit(self, scope, receive, send)
        return Metered(visit.serve(), visit.end)


class _Visit:
    """One request in the middleware."""

    def __init__(
        self, middleware: GatewayMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._connection = middleware.connections.begun(scope)
        self._receive_raw = receive
        self._send_raw = send
        self._began = time.perf_counter()
        self._route = route_of(scope["path"])
        self._tenant = metrics.UNKNOWN_TENANT
        self._declared_bytes: int | None = None
        self._status = 500
        self._started = False
        self._closes = False
        self._body: bytes | None = b""
        self._watching: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[Message] | None = None
        self._most_bytes = middleware.max_body_bytes
        if scope["path"] in _SIGNED:
            self._most_bytes = min(self._most_bytes, _MOST_SIGNED_BYTES)

    async def serve(self) -> None:
        """Check, then hand on."""
        middleware = self._middleware
        begin_note()
        try:
            self._refuse_declared_size()
            path = self._scope["path"]
            if path in _SIGNED:
                if self._scope["method"] != "POST":
                    raise MethodNotAllowed("POST")
                self._body = await self._read_body()
            elif path not in _PUBLIC:
                principal = await self._authenticate(self._authorization())
                has_body = self._scope["method"] in ("POST", "PUT", "PATCH")
                if has_body:
                    self._body = await self._read_body()
                    if len(self._body) > LARGE_BYTES:
                        await middleware.large_bodies.take(principal.tenant, len(self._body))
                await middleware.arrivals.begin(principal.tenant)
                if has_body:
                    if self._route.startswith("a2a"):
                        client_left.set(self._left)
                        loop = asyncio.get_running_loop()
                        self._watching = loop.call_later(_QUICK_S, self._watch)
                    self._refuse_unreadable()
                    if len(self._body or b"") > _SMALL_BODY_BYTES:
                        await asyncio.sleep(0)  # what was read so far, and what follows, take turns
            elif self._scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("GET, HEAD")
            elif path in _DETAILED:
                await self._find_detail()
            if middleware.error_ratio > 0.0 and self._route.startswith("a2a"):
                self._maybe_fail()
            await middleware.app(self._scope, self._receive, self._send)
        except PlatformError as error:
            if self._started:
                raise
            refusal = await answer(Request(self._scope), error)
            await refusal(self._scope, self._receive, self._send)

    def end(self, cpu_s: float) -> None:
        """Tell the metrics what became of it, and its connection that it is free."""
        self._middleware.connections.ended(self._connection, closed=self._closes)
        if self._watching is not None:
            self._watching.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        why = failure()
        # What probes are answered, `Health` tells when it changes
        if (why or self._status >= _FAILURE) and self._started and self._route != "health":
            self._tell_failure(why)
        elapsed_s = time.perf_counter() - self._began
        metrics.count_answer(self._status, self._route, self._tenant, elapsed_s, cpu_s)

    def _tell_failure(self, why: dict[str, Any]) -> None:
        header = dict(self._scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        trace = {"trace": found} if (found := trace_id(header)) else {}
        fields = {"status": self._status, "route": self._route, "tenant": self._tenant}
        if "home" in why:  # why the home could not be asked is a line of its own
            _log.info("request_referred", **fields | trace | why)
        else:
            _log.warning("request_failed", **fields | trace | why)

    def _authorization(self) -> str | None:
        given = [value for name, value in self._scope["headers"] if name == b"authorization"]
        if len(given) > 1:  # which of them counts must not depend on who reads
            raise BadRequest("more than one Authorization header")
        return given[0].decode("latin-1") if given else None

    async def _authenticate(self, authorization: str | None) -> Principal:
        middleware = self._middleware
        principal = await middleware.authenticator.authenticate(
            authorization, lambda: middleware.peers.client(self._scope)
        )
        self._scope.setdefault("state", {})[PRINCIPAL] = principal
        if principal.tenant in self._middleware.tenants:
            self._tenant = principal.tenant
        return principal

    async def _find_detail(self) -> None:
        """See whether the client is local or has the scrape credential; else who it is, if told."""
        authorization = self._authorization()
        allowed = self._middleware.peers.local(self._scope) or self._middleware.detail.opens(
            authorization
        )
        self._scope.setdefault("state", {})[DETAIL] = allowed
        may_be_nobody = self._scope["path"] == "/health"
        if allowed or (may_be_nobody and authorization is None):
            return
        try:
            await self._authenticate(authorization)
        except Unavailable:
            if not may_be_nobody:  # it must answer when the database does not
                raise
        except NotAuthenticated as error:
            raise NotAuthenticated(
                error.message,
                hint="ask from this machine, or send the scrape credential "
                "(MC_SCRAPE_TOKEN_FILE), an operator's or an auditor's as a bearer token",
            ) from None

    def _refuse_declared_size(self) -> None:
        scope = self._scope
        head = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
        head += sum(map(len, chain.from_iterable(scope["headers"])))
        if head > _MOST_HEAD_BYTES:
            raise HeadTooLarge(
                f"the request line and its headers exceed {_MOST_HEAD_BYTES} bytes",
                hint="send shorter headers",
            )
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"")
        if not declared.isdigit():
            return
        # Its first digits are enough to refuse it by; of thousands of them Python makes no number
        size_bytes = int(declared.lstrip(b"0")[:_LENGTH_DIGITS] or b"0")
        if size_bytes > self._most_bytes:
            raise self._too_large()
        if b"transfer-encoding" not in headers:
            self._declared_bytes = size_bytes

    def _too_large(self) -> RequestTooLarge:
        limit = self._most_bytes
        return RequestTooLarge(f"the body exceeds {limit} bytes", hint="send less in one message")

    def _maybe_fail(self) -> None:
        ratio = self._middleware.error_ratio
        if random.random() < ratio:  # noqa: S311 - a rehearsal's fault, no secret
            raise Unavailable("fault switch MC_FAULT_ERROR_RATIO answered this request")

    async def _read_body(self) -> bytes:
        """The whole body, read here so that the limit is kept whatever the client declared."""
        limit_s = self._middleware.body_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._read_all()
        except TimeoutError:
            raise RequestTimeout(
                f"the body was not whole after {limit_s:g} s", hint="send it in one go"
            ) from None

    async def _read_all(self) -> bytes:
        chunks: list[bytes] = []
        received = 0
        while True:
            message = await self._receive_raw()
            if message["type"] == "http.disconnect":
                raise BadRequest("the client went away before its body was whole")
            chunk = message.get("body", b"")
            received += len(chunk)
            too_large = received > self._most_bytes
            # The server tells the end of a body apart, which would be one more pause for nothing
            ended = received == self._declared_bytes or not message.get("more_body", False)
            # A connection that is closed on a client that writes loses the answer: what is not much
            # more than may come is read to its end, and not kept
            if too_large and (ended or received > _DRAINED * self._most_bytes):
                raise self._too_large()
            if not too_large:
                chunks.append(chunk)
            if ended:
                return b"".join(chunks)

    def _refuse_unreadable(self) -> None:
        """Refuse what is no JSON before any parser that is less strict sees it.

        What holds more than is parsed here is refused before anything is decoded; what cannot be
        kept, here or, for A2A, by `ExactJson`, which reads the body then.

        Raises:
            RequestTooLarge, BadRequest.
        """
        problem = shape_problem(self._body or b"", self._middleware.shape)
        if problem:
            raise RequestTooLarge(
                f"the body holds {problem}",
                hint="send a table as one text or file part (CSV), or in several messages",
            )
        if self._route.startswith("a2a"):
            return
        try:
            read_json(self._body or b"")
        except NotKeepable as error:
            raise BadRequest(f"the body cannot be taken: {error.message}") from None

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if self._leaving is not None:
            return await asyncio.shield(self._leaving)
        if self._watching is not None:
            self._watching.cancel()  # who is asked for the client's end here finds it
        return await self._receive_raw()

    def _watch(self) -> None:
        if not self._started:
            self._leaving = asyncio.ensure_future(self._end_of_client())

    async def _end_of_client(self) -> Message:
        while (message := await self._receive_raw())["type"] != "http.disconnect":
            pass  # the end of the body, which was known by its length
        return message

    def _left(self) -> bool:
        """Whether the client has closed its connection; of a request that was quick it is not known."""
        return not self._started and self._leaving is not None and self._leaving.done()

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._route.startswith("a2a") and self._middleware.slow_factor > 1.0:
                elapsed = time.perf_counter() - self._began
                await asyncio.sleep(elapsed * (self._middleware.slow_factor - 1.0))
            self._status = message["status"]
            self._started = True
            message = _with_retry_after(message)
            if self._middleware.connections.closing:
                self._closes = True
                headers = [*message.get("headers", []), (b"connection", b"close")]
                message = {**message, "headers": headers}
        await self._send_raw(message)


def _with_retry_after(message: Message) -> Message:
    told = retry_after(message["status"])
    if told is None:
        return message
    headers = list(message.get("headers", []))
    if any(name.lower() == told[0] for name, _ in headers):
        return message
    return {**message, "headers": [*headers, told]}
