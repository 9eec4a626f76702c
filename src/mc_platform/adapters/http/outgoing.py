"""Clients for outgoing HTTP: what every one of them does, and does not do, stands here.

- Nothing that a peer sets is kept: no cookies (by host name or by address), no cached credentials.
- Redirects are not followed, and proxies and `.netrc` of the environment are not used: the URL
  that is configured is the only destination.
- The request's and the reply's bytes are bounded, and so is all that surrounds the reply
  (`connection`). A compressed reply is not asked for and not unpacked, so that a few bytes cannot
  become many.
- One deadline holds from the name's look-up to the reply's last byte, however it drips.
- A request is sent once; but one of an idempotent method again, on a new connection, if the one that
  was kept from before ended without a byte of an answer.
- Whatever a peer does ends as `PeerFailed`. Its message quotes nothing of what the peer sent.

Connections are not limited here: who asks limits its requests (`mc_platform.bulkheads`), because
a wait in a pool would be taken for the peer's.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from functools import cache, partial

from aiohappyeyeballs import start_connection
from yarl import URL

from mc_platform.adapters.http.connection import Connection, NotHttp, NotTaken, Origin, Sink
from mc_platform.adapters.http.names import Names, look_ups
from mc_platform.errors import PeerFailed
from mc_platform.model.reply import Reply

MAX_SENT_BYTES = 16 * 1_048_576
_KEEP_ALIVE_S = 30.0
_NEXT_ADDRESS_S = 0.25  # RFC 8305, 5
_OWN_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "agent-workbench"}
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110, 9.2.2
_BODILESS = frozenset({"GET", "OPTIONS"})
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_IN_LINES = re.compile(r"[\r\n\0]")
_MOST_HEADS = 1024


class Outgoing:
    """Connections to one kind of peer on behalf of one tenant, or of the platform itself.

    They are opened by the first request; `close` at the end. For one event loop.

    Args:
        headers: Of every request; credentials among them, so one client serves one holder.
        tls: How servers are verified; None: by the system's CAs.
    """

    def __init__(
        self, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._headers = _by_name(_OWN_HEADERS, headers)
        self._tls = tls
        self._names = Names()
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._heads: dict[tuple[str, str], tuple[Origin, bytes]] = {}
        self._closed = False

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        most_bytes: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        whole: bool = True,
        sink: Sink | None = None,
    ) -> Reply:
        """Send one request and read its reply; any status is a reply.

        Args:
            method: HTTP method; not HEAD.
            url: Absolute `http` or `https` URL.
            timeout_s: For everything, from now to the reply's last byte.
            most_bytes: Of the reply's body.
            body: The request's.
            headers: Of this request, beside the client's own.
            params: Appended to the URL's query.
            whole: Refuse a reply that is too large or compressed; otherwise its status is what
                counts, and the body is cut at `most_bytes`.
            sink: Takes the reply as it comes; what is returned has no body then.

        Raises:
            PeerFailed: no reply came, or not one that can be taken.
        """
        if body is not None and len(body) > MAX_SENT_BYTES:
            raise PeerFailed(f"the request exceeds {MAX_SENT_BYTES} bytes", asked=False)
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        asked = False
        try:
            origin, head = self._head(method, url, headers, params)
            request = _request(method, head, body)
            kept = self._kept(origin)
            connection = kept or await self._connected(origin, deadline_s)
            while True:
                asked = True
                answer = connection.ask(
                    request,
                    deadline_s=deadline_s,
                    most_bytes=most_bytes,
                    whole=whole,
                    sink=sink,
                )
                try:
                    return await answer
                except asyncio.CancelledError:
                    connection.give_up(answer)
                    raise
                except TimeoutError:
                    raise
                except OSError:
                    if connection is not kept or kept.heard or method not in _IDEMPOTENT:
                        raise
                finally:
                    del answer  # it holds the error, whose traceback holds this frame and its body
                connection = await self._connected(origin, deadline_s)
        except TimeoutError as error:
            raise PeerFailed(
                f"no whole answer came in {timeout_s:g} s", asked=asked, late=True
            ) from error
        except NotTaken as error:
            raise PeerFailed(str(error), asked=True, answered=True) from error
        except (NotHttp, OSError, ValueError) as error:
            what = "the connection broke" if asked else "not reachable"
            raise PeerFailed(f"{what}: {type(error).__name__}", asked=asked) from error

    async def close(self) -> None:
        """Close the connections; a request under way fails, and so does each later one."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.end()
        await asyncio.sleep(0)  # their transports close in the loop's next round

    # -- requests -------------------------------------------------------------------------------

    def _head(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
    ) -> tuple[Origin, bytes]:
        """Where a request goes, and its head up to the body's length."""
        if headers is None and params is None:
            known = self._heads.get((method, url))
            if known is None:
                if len(self._heads) >= _MOST_HEADS:
                    self._heads.clear()
                known = self._heads[method, url] = _written(method, URL(url), self._headers)
            return known
        target = URL(url).extend_query(params) if params else URL(url)
        return _written(method, target, _by_name(dict(self._headers.values()), headers))

    # -- connections ----------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """See `connection.Owner`."""
        self._open.add(connection)

    def free(self, connection: Connection) -> None:
        """See `connection.Owner`."""
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_KEEP_ALIVE_S, self._swept)

    def lost(self, connection: Connection) -> None:
        """See `connection.Owner`."""
        self._open.discard(connection)

    def _kept(self, origin: Origin) -> Connection | None:
        """The connection that was used last, so that those not needed grow old."""
        idle = self._idle.get(origin)
        latest_s = asyncio.get_running_loop().time() - _KEEP_ALIVE_S
        while idle:
            connection = idle.pop()
            if connection.idle_since_s >= latest_s and connection.usable:
                return connection
            connection.end()
        return None

    def _swept(self) -> None:
        loop = asyncio.get_running_loop()
        latest_s = loop.time() - _KEEP_ALIVE_S
        for origin, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since_s < latest_s:
                    connection.end()
            idle[:] = [one for one in idle if one.usable]
            if not idle:
                del self._idle[origin]
        self._sweep = loop.call_later(_KEEP_ALIVE_S, self._swept) if self._idle else None

    async def _connected(self, origin: Origin, deadline_s: float) -> Connection:
        """A new connection.

        Raises:
            TimeoutError: the deadline passed.
            OSError, ValueError: there is none to be had.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(deadline_s):
            addresses = await self._names.addresses(origin.host, origin.port)
            tls = None
            if origin.tls:
                tls = self._tls or await _system_cas()
            _, connection = await loop.create_connection(
                partial(Connection, self, origin, loop),
                sock=await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S),
                ssl=tls,
                server_hostname=origin.host.rstrip(".") if tls else None,
            )
        if self._closed or not connection.usable:  # its peer may have closed it at once
            connection.end()
            raise ConnectionAbortedError
        return connection


class Lanes:
    """One `Outgoing` for each tenant: neither state nor a connection of one serves another."""

    def __init__(
        self, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._headers = headers
        self._tls = tls
        self._lanes: dict[str, Outgoing] = {}

    def of(self, tenant: str) -> Outgoing:
        """The tenant's; `tenant` must be one of the catalogue's, for each keeps connections."""
        if tenant not in self._lanes:
            self._lanes[tenant] = Outgoing(headers=self._headers, tls=self._tls)
        return self._lanes[tenant]

    async def close(self) -> None:
        for lane in self._lanes.values():
            await lane.close()


async def _system_cas() -> ssl.SSLContext:
    if not _by_system_cas.cache_info().currsize:  # reads files
        return await asyncio.get_running_loop().run_in_executor(look_ups(), _by_system_cas)
    return _by_system_cas()


@cache
def _by_system_cas() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _by_name(
    headers: Mapping[str, str], others: Mapping[str, str] | None
) -> dict[str, tuple[str, str]]:
    """Headers by their names in lower case, the others in place of those of the same name."""
    return {name.lower(): (name, value) for name, value in {**headers, **(others or {})}.items()}


def _written(method: str, url: URL, headers: Mapping[str, tuple[str, str]]) -> tuple[Origin, bytes]:
    """Where a request goes, and its head without the body's length.

    Raises:
        ValueError: the URL leads nowhere, or a header would be more than one line.
    """
    if url.scheme not in ("http", "https") or not url.raw_host or not url.port:
        raise ValueError("no absolute URL")
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError("credentials in a URL, which are not sent")
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    for name, value in headers.values():
        if not _TOKEN.fullmatch(name) or _NOT_IN_LINES.search(value):
            raise ValueError("no header")
        lines.append(f"{name}: {value}")
    origin = Origin(url.scheme == "https", url.raw_host, url.port)
    return origin, "".join(f"{line}\r\n" for line in lines).encode()


def _request(method: str, head: bytes, body: bytes | None) -> list[bytes]:
    if body is None:
        return [head, b"\r\n" if method in _BODILESS else b"Content-Length: 0\r\n\r\n"]
    return [head, b"Content-Length: %d\r\n\r\n" % len(body), body]
