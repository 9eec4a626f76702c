"""The edge: a reverse proxy on 127.0.0.1 that carries requests to the active colour.

    python -m mc_ops.environments.local.edge

A switch never drops a request: each request takes the route once, when it arrives, so what is
under way ends where it began and what comes after goes to the new colour. Bodies stream both
ways. A request is tried on another replica only when the first could not be connected to, that
is, when no byte of it was sent. Nothing about a request is logged.

What it leaves to the service: authentication, limits, errors. What it does not trust: the
client's `X-Forwarded-*` and hop-by-hop headers (RFC 9110, 7.6.1).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from mc_ops.environments.interface import Colour
from mc_ops.environments.local.edge_control import Route, read_state, write_state
from mc_ops.environments.local.layout import HOST

_HOP_BY_HOP = frozenset(
    name.lower()
    for name in (
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    )
)
_NOT_TRUSTED = frozenset(
    (
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    )
)
_NOT_FORWARDED = _HOP_BY_HOP | _NOT_TRUSTED | {"expect"}
_BODYLESS = frozenset(("GET", "HEAD", "OPTIONS"))
_WHOLE_BODY_BYTES = 262_144  # an answer of a known length up to this is sent in one write
_ASK_FIRST_BYTES = 65_536
_CONNECT_TIMEOUT_S = 2.0
_CHECK_EVERY_S = 1.0
_CHECK_TIMEOUT_S = 2.0
_FAILED_CHECKS = 2
# Below the service's own limit for an idle connection, so that it never closes one that the
# edge is just about to use.
_KEEPALIVE_S = 10.0
_DRAIN_S = 8.0

logger = logging.getLogger("mc_ops.edge")


class Edge:
    """Holds the route and carries requests; `route` is replaced whole, never changed."""

    def __init__(self, route: Route, state_file: Path) -> None:
        self.route = route
        self._state_file = state_file
        self._failed_checks: Counter[str] = Counter()
        self._unchecked: set[str] = set()
        self.under_way: Counter[str] = Counter()
        self._turn = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connection pool; to be called in the loop that serves."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=None
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=(
                "User-Agent",
                "Accept",
                "Accept-Encoding",
                "Content-Type",
            ),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections to the replicas."""
        if self._session:
            await self._session.close()

    def change(self, route: Route) -> None:
        """Store the route, then use it."""
        write_state(self._state_file, route)
        known = {url for urls in self.route.replicas.values() for url in urls}
        # A new replica gets traffic once it was seen healthy, not before.
        self._unchecked |= {u for urls in route.replicas.values() for u in urls} - known
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
        return sorted(urls[turn:] + urls[:turn], key=lambda url: not self._ready(url))

    def _ready(self, url: str) -> bool:
        return url not in self._unchecked and self._failed_checks[url] < _FAILED_CHECKS

    async def check_forever(self) -> None:
        """Ask every replica for its health, again and again."""
        while True:
            urls = [url for urls in self.route.replicas.values() for url in urls]
            await asyncio.gather(*(self._check(url) for url in urls))
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
        headers = _forwarded(request.headers, _NOT_FORWARDED)
        headers["X-Forwarded-For"] = request.remote or HOST
        headers["X-Forwarded-Proto"] = "http"
        body = None if request.method in _BODYLESS and not request.body_exists else _body(request)
        for url in self.candidates():
            self.under_way[url] += 1
            try:
                return await self._carry(request, url, headers, body)
            except aiohttp.ClientConnectorError:
                self._failed_checks[url] = _FAILED_CHECKS
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                logger.warning("replica %s broke off: %s", url, type(error).__name__)
                return _error(502, "bad-gateway", "the replica broke the connection off")
            finally:
                self.under_way[url] -= 1
        return _error(503, "no-replica", f"no replica of {self.route.active} can be reached")

    async def _carry(
        self,
        request: web.BaseRequest,
        url: str,
        headers: CIMultiDict[str],
        body: AsyncIterator[bytes] | None,
    ) -> web.StreamResponse:
        # `raw_path` is sent as the client wrote it: an edge has no opinion about escapes.
        target = URL(f"{url}{request.raw_path}", encoded=True)
        async with self.session.request(
            request.method,
            target,
            headers=headers,
            data=body,
            allow_redirects=False,
            expect100=body is not None and _is_large(request),
        ) as answer:
            kept = _forwarded(answer.headers, _HOP_BY_HOP)
            length = answer.content_length
            if request.method != "HEAD" and length is not None and length <= _WHOLE_BODY_BYTES:
                whole = await answer.read()
                return web.Response(
                    status=answer.status, reason=answer.reason, headers=kept, body=whole
                )
            return await _stream(request, answer, kept)


def _is_large(request: web.BaseRequest) -> bool:
    # A service that refuses a body by its length answers and closes without reading it. If the
    # edge is writing at that moment it gets a reset, and the answer (413, 401) is lost; so for
    # large bodies it asks first. Small ones fit into the socket's buffers.
    length = request.content_length
    return length is None or length > _ASK_FIRST_BYTES


async def _stream(
    request: web.BaseRequest, answer: aiohttp.ClientResponse, headers: CIMultiDict[str]
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
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


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async for chunk in request.content.iter_any():
        yield chunk


def _error(status: int, code: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "retryable": True}
    return web.json_response(
        {"error": error},
        status=status,
        headers={"Retry-After": "1"} if status == 503 else None,
    )


def _control(edge: Edge) -> web.Application:
    async def show(_: web.Request) -> web.Response:
        busy = {url: count for url, count in edge.under_way.items() if count}
        return web.json_response({**edge.route.as_dict(), "under_way": busy})

    async def change(request: web.Request) -> web.Response:
        try:
            edge.change(Route.from_dict(await request.json()))
        except ValueError as error:
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


async def serve(port: int, state_file: Path, control: Path) -> None:
    """Serve until SIGTERM or SIGINT; then let requests under way end, for some seconds."""
    route = read_state(state_file) or Route(active=Colour.blue, replicas={})
    edge = Edge(route, state_file)
    await edge.open()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = web.Server(
        edge.handle, handler_cancellation=True, access_log=None, auto_decompress=False
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    controller = await _serve_control(edge, control)
    await web.TCPSite(runner, HOST, port, shutdown_timeout=_DRAIN_S, backlog=1024).start()
    checks = asyncio.create_task(edge.check_forever())
    logger.info("edge listens on %s:%d", HOST, port)
    await ended.wait()
    checks.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await checks
    await runner.cleanup()
    await controller.cleanup()
    await edge.close()


def main() -> None:
    """Read the environment and serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    control = Path(os.environ["MC_EDGE_CONTROL_SOCKET"])
    control.unlink(missing_ok=True)  # a killed edge leaves its socket behind
    try:
        state_file = Path(os.environ["MC_EDGE_STATE_FILE"])
        uvloop.run(serve(int(os.environ["MC_PORT"]), state_file, control))
    finally:
        control.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
