"""The edge: a reverse proxy on 127.0.0.1 that carries requests to the active colour.

    python -m mc_ops.environments.local.edge

A switch never drops a request: each request takes the route once, when it arrives, so what is
under way ends where it began and what comes after goes to the new colour. Bodies stream both
ways. A request is tried on another replica only when the first could not be connected to, that
is, when no byte of it was sent. Nothing of a request is logged; of an answered 5xx its cause is.

What it leaves to the service: authentication, limits, errors. What it does not trust: the
client's `X-Forwarded-*` and hop-by-hop headers (RFC 9110, 7.6.1), a target that is no path (the
edge is no open proxy), credentials that are not single and well-formed, and that an announced
body comes: a small one must be whole, a large one begun, before a replica is asked. How long a
client may take, and how many connections it may have: `edge_bounds`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import structlog
import uvloop
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from mc_contract import log_lines
from mc_contract.numbers import whole_number
from mc_ops.environments.interface import Colour
from mc_ops.environments.local.edge_bounds import (
    SERVER,
    BoundedServer,
    Bounds,
    Connection,
    allow_handles,
    error_answer,
    read_bounds,
)
from mc_ops.environments.local.edge_control import Route, read_state, write_state
from mc_ops.environments.workspace import HOST
from mc_ops.errors import UnusableInput
from mc_ops.outgoing.sessions import open_session

_HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
))  # fmt: skip
_NOT_TRUSTED = frozenset((
    "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
))  # fmt: skip
# What proxies add; a client that is behind one may name it in `Connection`, to have it dropped
_OF_PROXIES = ("x-forwarded-", "x-envoy-", "cf-", "forwarded", "via", "x-real-ip", "true-client-ip")
_NOT_FORWARDED = _HOP_BY_HOP | _NOT_TRUSTED | {"expect"}
_WHOLE_BODY_BYTES = 262_144  # an answer of a known length up to this is sent in one write
_ASK_FIRST_BYTES = 65_536
# RFC 9112, 3.2.1: a path and perhaps a query, in visible ASCII, without a fragment.
_ORIGIN_FORM = re.compile(r"/[!\"$-~]*")
# RFC 9110, 11.4, and for bearer tokens the stricter form of RFC 6750, 2.1.
_CREDENTIALS = re.compile(
    r"(?i:bearer)(?: +[A-Za-z0-9._~+/-]+=*)?"
    r"|(?!(?i:bearer)(?: |$))[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: +[!-~][ -~]*)?"
)
_CONNECT_TIMEOUT_S = 2.0
_CHECK_EVERY_S = 1.0
_CHECK_TIMEOUT_S = 2.0
_FAILED_CHECKS = 2
_DRAIN_S = 8.0

_log = structlog.get_logger()


class _Refused(Exception):
    """The request goes no further; its answer tells the client why."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.answer = error_answer(status, code, message, retryable=status == 408)
        self.answer.force_close()  # what else the client sends on this connection is in doubt


class _Body:
    """A request's body, as it comes; its client's silence and faults end it as `_Refused`.

    `refused` keeps that: the HTTP client wraps whatever ends an upload into an error of its own.
    """

    def __init__(self, request: web.BaseRequest, bounds: Bounds) -> None:
        self._request = request
        self._bounds = bounds
        self._late_at = asyncio.get_running_loop().time() + bounds.body_timeout_s
        self._begun = b""
        self.refused: _Refused | None = None

    async def begin(self) -> bytes | AsyncIterator[bytes]:
        """Wait for the whole of a small body, or for the beginning of a large one.

        No replica is asked before, so silent clients take no replica's time from the others.
        """
        expects = self._request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        if expects and self._request.transport:
            self._request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        begun = bytearray()
        connection = self._request.protocol
        assert isinstance(connection, Connection)
        connection.awaits_body = True
        try:
            while len(begun) <= _ASK_FIRST_BYTES:
                chunk = await self._next()
                if not chunk:
                    return bytes(begun)
                begun += chunk
        finally:
            connection.awaits_body = False
        self._begun = bytes(begun)
        return self._all()

    async def _all(self) -> AsyncIterator[bytes]:
        chunk = self._begun
        self._begun = b""
        while chunk:
            yield chunk
            chunk = await self._next()

    async def _next(self) -> bytes:
        idle_s = self._bounds.body_idle_s
        silent_at = asyncio.get_running_loop().time() + idle_s
        try:
            async with asyncio.timeout_at(min(silent_at, self._late_at)):
                return await self._request.content.readany()
        except TimeoutError:
            message = f"nothing of the announced body came for {idle_s:g} s"
            if self._late_at <= silent_at:
                message = f"the body was not whole after {self._bounds.body_timeout_s:g} s"
            self.refused = _Refused(408, "request-timeout", message)
        except web.RequestPayloadError:
            self.refused = _Refused(400, "bad-request", "the body is not what its headers say")
        raise self.refused


class Edge:
    """Holds the route and carries requests; `route` is replaced whole, never changed."""

    def __init__(self, route: Route, state_file: Path, *, bounds: Bounds | None = None) -> None:
        self.route = route
        self.bounds = bounds or Bounds()
        self._state_file = state_file
        self._failed_checks: Counter[str] = Counter()
        self._unchecked: set[str] = set()
        self.under_way: Counter[str] = Counter()
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool; to be called in the loop that serves."""
        self._session = open_session(
            keepalive_s=self.bounds.replica_keepalive_s,
            connect_s=_CONNECT_TIMEOUT_S,
            without_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def change(self, route: Route) -> None:
        """Store the route, then use it."""
        write_state(self._state_file, route)
        # A new replica gets traffic once it was seen healthy, not before.
        self._unchecked |= set(route.urls) - set(self.route.urls)
        self.route = route

    def candidates(self) -> list[str]:
        """The active colour's replicas, the one whose turn it is first.

        Those that failed their checks come last rather than never: if all failed, perhaps the
        check is what is slow, and a refusal would be worse than a try.
        """
        urls = self.route.replicas.get(self.route.active, ())
        if len(urls) < 2:
            return list(urls)
        self._turn += 1
        turn = self._turn % len(urls)
        return sorted(urls[turn:] + urls[:turn], key=lambda url: not self.ready(url))

    def ready(self, url: str) -> bool:
        """Whether a replica was seen healthy, and was at the last looks."""
        return url not in self._unchecked and self._failed_checks[url] < _FAILED_CHECKS

    async def check_forever(self) -> None:
        """Ask every replica for its health, again and again."""
        while True:
            await asyncio.gather(*(self._check(url) for url in self.route.urls))
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _check(self, url: str) -> None:
        try:
            timeout = aiohttp.ClientTimeout(total=_CHECK_TIMEOUT_S)
            async with self.session.get(f"{url}/health", timeout=timeout) as answer:
                healthy = answer.status == web.HTTPOk.status_code
        except (aiohttp.ClientError, TimeoutError):
            healthy = False
        if healthy:
            self._failed_checks[url] = 0
            self._unchecked.discard(url)
        else:
            self._failed_checks[url] += 1

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool of connections to replicas; `open` must have been called."""
        assert self._session is not None
        return self._session

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Carry one request to a replica and its answer back."""
        body = _Body(request, self.bounds)
        try:
            _require_plain(request)
            data = await body.begin() if request.body_exists else None
            return await self._carry_to_one(request, body, data)
        except _Refused as refused:
            return refused.answer

    async def _carry_to_one(
        self, request: web.BaseRequest, body: _Body, data: bytes | AsyncIterator[bytes] | None
    ) -> web.StreamResponse:
        headers = _forwarded(request.headers, _NOT_FORWARDED)
        # Behind a proxy that says so the client is not known to us, and so is nobody of this
        # machine; a name for it is not believed either (RFC 7239, 6.3).
        forwarded = any(name.lower().startswith(_OF_PROXIES) for name in request.headers)
        client = request.remote or HOST
        headers["X-Forwarded-For"] = f"unknown, {client}" if forwarded else client
        headers["X-Forwarded-Proto"] = "http"
        for url in self.candidates():
            self.under_way[url] += 1
            try:
                return await self._carry(request, url, headers, data)
            except aiohttp.ClientConnectorError:
                self._failed_checks[url] = _FAILED_CHECKS
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                if body.refused:
                    raise body.refused from None
                _tell_failure(request, 502, cause="bad-gateway", replica=url, error=error)
                return error_answer(502, "bad-gateway", "the replica broke the connection off")
            finally:
                self.under_way[url] -= 1
        _tell_failure(request, 503, cause="no-replica", colour=self.route.active)
        return error_answer(503, "no-replica", f"no replica of {self.route.active} can be reached")

    async def _carry(
        self,
        request: web.BaseRequest,
        url: str,
        headers: CIMultiDict[str],
        data: bytes | AsyncIterator[bytes] | None,
    ) -> web.StreamResponse:
        async with self.session.request(
            request.method,
            _target(url, request.raw_path),
            headers=headers,
            data=data,
            allow_redirects=False,
            # A service that refuses a body by its length answers and closes without reading it.
            # If the edge is writing at that moment it gets a reset, and the answer (413, 401) is
            # lost; so for large bodies it asks first. Small ones fit into the socket's buffers.
            expect100=data is not None and not isinstance(data, bytes),
        ) as answer:
            if answer.status >= web.HTTPInternalServerError.status_code:
                _tell_failure(request, answer.status, cause="replica", replica=url)
            kept = _forwarded(answer.headers, _HOP_BY_HOP)
            kept.setdefault(hdrs.SERVER, SERVER)
            length = answer.content_length
            if request.method != "HEAD" and length is not None and length <= _WHOLE_BODY_BYTES:
                whole = await answer.read()
                return web.Response(
                    status=answer.status, reason=answer.reason, headers=kept, body=whole
                )
            return await _stream(request, answer, kept, self.bounds.write_timeout_s)


def _tell_failure(
    request: web.BaseRequest, status: int, *, error: Exception | None = None, **fields: str
) -> None:
    """Log a 5xx that is answered: why (what a replica answers, it logs itself), and the trace."""
    if error is not None:
        fields["error"] = type(error).__name__
    if trace := log_lines.trace_id(request.headers.get("traceparent")):
        fields["trace"] = trace
    _log.warning("request_failed", status=status, **fields)


def _require_plain(request: web.BaseRequest) -> None:
    """See that the request means one thing, whoever reads it.

    Raises:
        _Refused: its target is no path, or its headers or credentials are not well-formed.
    """
    if request.method == hdrs.METH_CONNECT:
        raise _Refused(405, "method-not-allowed", "CONNECT is for proxies, and this is none")
    if not _ORIGIN_FORM.fullmatch(request.raw_path):
        raise _Refused(400, "bad-request", "the request target is not a path and a query in ASCII")
    if any("\ud800" <= char <= "\udfff" for value in request.headers.values() for char in value):
        raise _Refused(400, "bad-request", "a header is not UTF-8")
    credentials = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(credentials) > 1 or not all(map(_CREDENTIALS.fullmatch, credentials)):
        raise _Refused(400, "bad-request", "expected one well-formed Authorization header")


def _target(replica: str, raw_path: str) -> URL:
    """A path on a replica, sent as the client wrote it: an edge has no opinion about escapes."""
    base = URL(replica)
    path, _, query = raw_path.partition("?")
    target = URL.build(
        scheme=base.scheme,
        host=base.host or "",
        port=base.explicit_port,
        path=path,
        query_string=query,
        encoded=True,
    )
    assert (target.host, target.port, target.user) == (base.host, base.port, None)
    return target


async def _stream(
    request: web.BaseRequest,
    answer: aiohttp.ClientResponse,
    headers: CIMultiDict[str],
    write_timeout_s: float,
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            async with asyncio.timeout(write_timeout_s):
                await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError):
        # The status is out already. Cutting the connection is the only way left to tell the
        # client that this is not the whole answer.
        if request.transport:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def _forwarded(headers: CIMultiDictProxy[str], without: frozenset[str]) -> CIMultiDict[str]:
    named = {
        token.strip().lower()
        for value in headers.getall(hdrs.CONNECTION, ())
        for token in value.split(",")
    }
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in without and name.lower() not in named
    )


def _control(edge: Edge) -> web.Application:
    async def show(_: web.Request) -> web.Response:
        busy = {url: count for url, count in edge.under_way.items() if count}
        ready = [url for url in edge.route.urls if edge.ready(url)]
        return web.json_response({**edge.route.as_dict(), "under_way": busy, "ready": ready})

    async def change(request: web.Request) -> web.Response:
        try:
            edge.change(Route.from_dict(await request.json()))
        except (ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return await show(request)

    app = web.Application()
    app.add_routes([web.get("/route", show), web.put("/route", change)])
    return app


async def _serve_control(edge: Edge, path: Path) -> web.AppRunner:
    runner = web.AppRunner(_control(edge), access_log=None)
    await runner.setup()
    before = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(before)
    return runner


def make_server(edge: Edge) -> BoundedServer:
    return BoundedServer(edge.handle, bounds=edge.bounds)


def only_own_words(record: logging.LogRecord) -> bool:
    """A logging filter: strip a record of all that may quote a request.

    That is every traceback, exception text and message; what is the edge's own takes another way. The
    HTTP server, for one, logs a malformed header with the token in it.
    """
    kind = record.exc_info[0] if record.exc_info else None
    record.exc_info = record.exc_text = record.stack_info = None
    record.msg, record.args = f"{record.name} reports a fault", ()
    if kind:
        record.msg = f"{record.msg}: {kind.__name__}"
    return True


async def serve(port: int, state_file: Path, control: Path) -> None:
    """Serve until SIGTERM or SIGINT; then let requests under way end, for some seconds."""
    route = read_state(state_file) or Route(active=Colour.blue, replicas={})
    edge = Edge(route, state_file, bounds=read_bounds(os.environ))
    allow_handles()
    await edge.open()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    runner = web.ServerRunner(make_server(edge))
    await runner.setup()
    controller = await _serve_control(edge, control)
    await web.TCPSite(runner, HOST, port, shutdown_timeout=_DRAIN_S, backlog=1024).start()
    checks = asyncio.create_task(edge.check_forever())
    _log.info("edge_listens", host=HOST, port=port)
    await ended.wait()
    checks.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await checks
    await runner.cleanup()
    await controller.cleanup()
    await edge.close()


def main() -> None:
    log_lines.configure()
    for handler in logging.getLogger().handlers:
        handler.addFilter(only_own_words)
    control = Path(os.environ["MC_EDGE_CONTROL_SOCKET"])
    control.unlink(missing_ok=True)  # a killed edge leaves its socket behind
    try:
        state_file = Path(os.environ["MC_EDGE_STATE_FILE"])
        uvloop.run(serve(whole_number(os.environ["MC_PORT"]), state_file, control))
    except UnusableInput as error:
        _log.error("settings_unusable", reason=error.message)
        sys.exit(UnusableInput.exit_code)
    finally:
        control.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
