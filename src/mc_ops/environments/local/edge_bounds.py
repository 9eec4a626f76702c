"""What one client may take of the edge: time for a head, a body and an answer; connections.

aiohttp bounds how long a connection is idle, and nothing else. Here each connection has a deadline
for all of a head, and for an answer that its client does not read; and of an address that has too
many connections the oldest one ends that keeps the edge waiting, so whoever asks is served, whatever
others of the same address keep open. What ends so is told why, in words that quote nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import resource
from collections.abc import Mapping
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Any, cast

from aiohttp import hdrs, web
from aiohttp.http_exceptions import LineTooLong

from mc_contract.numbers import number, whole_number
from mc_ops.errors import UnusableInput

SERVER = "agent-workbench"  # not aiohttp's own words, which tell its version and Python's
_MOST_HEAD_BYTES = 32_768
_MOST_HANDLES = 65_536
_CLIENT_KEEPALIVE_S = 75.0
_LINGER_S = 1.0  # for what a client goes on to send after a refusal, so that it reads that
# Below the service's own limit for an idle connection, so that it never closes one that the
# edge is just about to use.
_REPLICA_KEEPALIVE_S = 10.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of an edge; the replica behind it has the same, by the same settings.

    Attributes:
        head_timeout_s: For all of a request line and its headers, from the first byte on.
        body_timeout_s: For all of a body.
        write_timeout_s: For an answer of up to 256 KiB, or for each 64 KiB of a longer one.
        connections: How many at once.
        connections_per_peer: How many of one address.
        body_idle_s: Silence in the middle of a body.
    """

    head_timeout_s: float = 30.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    connections: int = 4096
    connections_per_peer: int = 1024
    body_idle_s: float = 15.0

    @property
    def client_keepalive_s(self) -> float:
        """How long a client may be idle after an answer."""
        return min(_CLIENT_KEEPALIVE_S, 2.5 * self.head_timeout_s)

    @property
    def replica_keepalive_s(self) -> float:
        """How long a connection to a replica is kept for the next request."""
        return min(_REPLICA_KEEPALIVE_S, self.head_timeout_s / 3)


def read_bounds(env: Mapping[str, str]) -> Bounds:
    """The limits that the environment gives (`MC_HEAD_TIMEOUT_S` and so on); see docs/reference/settings.md.

    Raises:
        UnusableInput: a value is no positive number; every problem is told.
    """
    found: dict[str, Any] = {}
    problems = []
    for field in fields(Bounds):
        text = env.get(name := f"MC_{field.name.upper()}", "")
        if not text or field.name == "body_idle_s":
            continue
        whole = isinstance(field.default, int)
        try:
            value = whole_number(text) if whole else number(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            what = "a whole number above 0" if whole else "a number of seconds above 0"
            problems.append(f"{name}: expected {what}")
        found[field.name] = value
    if problems:
        raise UnusableInput("; ".join(problems), hint="docs/reference/settings.md")
    return Bounds(**found)


def allow_handles() -> None:
    """A request takes two handles, and the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_HANDLES if hard == resource.RLIM_INFINITY else min(hard, _MOST_HANDLES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a system may bound it lower than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def error_body(code: str, message: str, *, retryable: bool) -> bytes:
    """An error in the form that the service's have."""
    error = {"code": code, "message": message, "retryable": retryable}
    return json.dumps({"error": error}).encode()


def error_answer(status: int, code: str, message: str, *, retryable: bool = True) -> web.Response:
    """An error as an answer."""
    answer = web.Response(
        status=status,
        body=error_body(code, message, retryable=retryable),
        content_type="application/json",
        charset="utf-8",
        headers={hdrs.SERVER: SERVER},
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = "1"
    return answer


class BoundedServer(web.Server):
    """An aiohttp server whose connections keep within `bounds`."""

    def __init__(self, handler: Any, *, bounds: Bounds) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=bounds.client_keepalive_s,
            lingering_time=_LINGER_S,
        )
        self.bounds = bounds
        self._of_peer: dict[str, dict[Connection, None]] = {}
        self._open = 0

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)

    def admit(self, one: Connection) -> None:
        """Count a new connection; end another one, or this one, if there are too many."""
        others = self._of_peer.setdefault(one.peer, {})
        others[one] = None
        self._open += 1
        bounds = self.bounds
        if len(others) > bounds.connections_per_peer or self._open > bounds.connections:
            # Of the address that has most of all, if the address itself is within its share
            most = max(self._of_peer.values(), key=len)
            found = others if len(others) > bounds.connections_per_peer else most
            victim = next((other for other in found if other is not one and other.waits), one)
            victim.end(429, "rate-limited", "too many connections of your address")

    def forget(self, one: Connection) -> None:
        """Count it no more."""
        others = self._of_peer.get(one.peer, {})
        if one in others:
            del others[one]
            self._open -= 1
            if not others:
                del self._of_peer[one.peer]


class Connection(web.RequestHandler):
    """One client's connection.

    Attributes:
        peer: The client's address.
        awaits_body: Whether a request waits for a body that is not there yet.
    """

    def __init__(
        self, server: BoundedServer, *, loop: asyncio.AbstractEventLoop, **more: Any
    ) -> None:
        super().__init__(server, loop=loop, **more)
        self._server = server
        self._bounds = server.bounds
        self._socket: asyncio.Transport | None = None  # `transport` is forgotten while it closes
        self._late: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._ended = False
        self.peer = ""
        self.awaits_body = False

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: for a request, or for the rest of one."""
        return not self._ended and (self._idle or self.awaits_body)

    @property
    def _idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit it, and give it time for its first request."""
        self._socket = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        name = self._socket.get_extra_info("peername")
        self.peer = str(name[0]) if name else ""
        super().connection_made(transport)
        self._give_time()
        self._server.admit(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.forget(self)
        self._take_time_away()
        self._socket = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that goes on for too long, or is too long, ends the connection."""
        if self._ended:
            return
        known = self._request_count
        if self._idle and self._late is None:
            self._give_time()
        super().data_received(data)
        if self._request_count > known:
            self._take_time_away()
        elif self._late is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                message = f"the request line and its headers exceed {_MOST_HEAD_BYTES} bytes"
                self.end(431, "head-too-large", message)

    def _give_time(self) -> None:
        self._head_bytes = 0
        self._late = self._loop.call_later(self._bounds.head_timeout_s, self._is_late)

    def _take_time_away(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        if not self._head_bytes:  # there is nothing to answer
            self._give_up()
            return
        limit_s = self._bounds.head_timeout_s
        self.end(408, "request-timeout", f"the headers were not whole after {limit_s:g} s")

    def end(self, status: int, code: str, message: str) -> None:
        """Tell the client why, and close."""
        if self._socket is not None and not self._ended:
            body = error_body(code, message, retryable=status != 431)
            retry = "Retry-After: 1\r\n" if status == 429 else ""
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                f"Content-Type: application/json; charset=utf-8\r\n{retry}"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self._socket.write(head.encode() + body)
        self._give_up()

    def _give_up(self) -> None:
        self._ended = True
        self._take_time_away()
        self.force_close()

    def force_close(self) -> None:
        """Close; what a client has not read by the limit is dropped."""
        super().force_close()
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        transport = self._socket
        if transport is not None and transport.get_write_buffer_size():
            self._loop.call_later(
                self._bounds.write_timeout_s, self._drop_unread, transport, self._request_count
            )

    def _drop_unread(self, transport: asyncio.Transport, requests: int) -> None:
        same = self._socket is transport and requests == self._request_count
        if same and transport.get_write_buffer_size():
            transport.abort()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer, or its end, in time."""
        self.awaits_body = False
        try:
            async with asyncio.timeout(self._bounds.write_timeout_s):
                found = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self._socket is not None:
                self._socket.abort()
            return resp, True
        self._flush_in_time()
        return found

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """What is no HTTP, in JSON; a defect is logged by its type."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log_exception("the edge failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        code, told = "bad-request", "the request is not well-formed HTTP"
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            status, code, told = 431, "head-too-large", "the request line or a header is too long"
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            code, told = "internal", "the edge failed"
        answer = error_answer(status, code, told, retryable=False)
        answer.force_close()
        return answer
