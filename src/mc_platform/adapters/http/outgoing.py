"""Clients for outgoing HTTP: what every one of them does, and does not do, stands here.

- Nothing that a peer sets is kept: no cookies (by host name or by address), no cached credentials.
- Redirects are not followed, and proxies and `.netrc` of the environment are not used: the URL
  that is configured is the only destination.
- The request's and the reply's bytes are bounded, and so is all that surrounds the reply (`framing`). A compressed
  reply is not asked for and not unpacked, so that a few bytes cannot become many.
- One deadline holds from the name's look-up to the reply's last byte, however it drips.
- Whatever a peer does ends as `PeerFailed`. Its message quotes nothing of what the peer sent.

Connections are not limited here: who asks limits its requests (`mc_platform.bulkheads`), because
a wait in a pool would be taken for the peer's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import HttpProcessingError

from mc_platform.adapters.http.framing import TooMuchFraming, bounded
from mc_platform.errors import PeerFailed
from mc_platform.model.reply import Reply

MAX_SENT_BYTES = 16 * 1_048_576
_MAX_LINE_BYTES, _MAX_HEADERS = 8_190, 64
_KEEP_ALIVE_S = 30.0
_LOOK_UPS_AT_ONCE = 64
_OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "agent-workbench"}


@dataclass(slots=True)
class _Progress:
    """How far a request has come."""

    sent: bool = False


class Outgoing:
    """Connections to one kind of peer on behalf of one tenant, or of the platform itself.

    They are opened by the first request; `close` at the end.

    Args:
        headers: Of every request; credentials among them, so one client serves one holder.
        tls: How servers are verified; None: by the system's CAs.
    """

    def __init__(
        self, *, headers: Mapping[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._headers = {**_OWN_HEADERS, **(headers or {})}
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

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
    ) -> Reply:
        """Send one request and read its reply; any status is a reply.

        Args:
            method: HTTP method.
            url: Absolute `http` or `https` URL.
            timeout_s: For everything, from now to the reply's last byte.
            most_bytes: Of the reply's body.
            body: The request's.
            headers: Of this request, beside the client's own.
            params: Appended to the URL's query.
            whole: Refuse a reply that is too large or compressed; otherwise its status is what
                counts, and the body is cut at `most_bytes`.

        Raises:
            PeerFailed: no reply came, or not one that can be taken.
        """
        if body is not None and len(body) > MAX_SENT_BYTES:
            raise PeerFailed(f"the request exceeds {MAX_SENT_BYTES} bytes", asked=False)
        progress = _Progress()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._open().request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    params=params,
                    allow_redirects=False,
                    trace_request_ctx=progress,
                ) as response,
            ):
                content = await _read(response, most_bytes, whole)
                return Reply(response.status, response.headers, content)
        except TimeoutError as error:
            raise PeerFailed(
                f"no whole answer came in {timeout_s:g} s", asked=progress.sent, late=True
            ) from error
        except TooMuchFraming as error:
            raise _unusable("the answer has more framing than its content needs") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            # ValueError: what the HTTP library lets through of a malformed status or header
            what = "the connection broke" if progress.sent else "not reachable"
            raise PeerFailed(f"{what}: {type(error).__name__}", asked=progress.sent) from error

    async def close(self) -> None:
        """Close the connections; a request under way fails."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=bounded(
                    aiohttp.TCPConnector(
                        limit=0,
                        keepalive_timeout=_KEEP_ALIVE_S,
                        ssl=self._tls or True,
                        resolver=_Names(),
                    )
                ),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=_MAX_LINE_BYTES,
                max_field_size=_MAX_LINE_BYTES,
                max_headers=_MAX_HEADERS,
                trace_configs=[_tracing()],
            )
        return self._session


class _Names(AbstractResolver):
    """Looks names up in threads of their own.

    A name whose servers do not answer holds a thread for half a minute: in the loop's common threads
    a few of them would hold up everybody's work, and the looks-up of other agents with it.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As `socket.getaddrinfo` says."""
        look_up = partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        found = await asyncio.get_running_loop().run_in_executor(_look_ups(), look_up)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=proto,
                flags=numeric,
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """The threads are the process's."""


@cache
def _look_ups() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_LOOK_UPS_AT_ONCE, "name-look-up")


class Lanes:
    """One `Outgoing` for each tenant: neither state nor a connection of one serves another."""

    def __init__(self, *, headers: Mapping[str, str] | None = None) -> None:
        self._headers = headers
        self._lanes: dict[str, Outgoing] = {}

    def of(self, tenant: str) -> Outgoing:
        """The tenant's; `tenant` must be one of the catalogue's, for each keeps connections."""
        if tenant not in self._lanes:
            self._lanes[tenant] = Outgoing(headers=self._headers)
        return self._lanes[tenant]

    async def close(self) -> None:
        for lane in self._lanes.values():
            await lane.close()


async def _read(response: aiohttp.ClientResponse, most_bytes: int, whole: bool) -> bytes:
    if whole:
        encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise _unusable("the answer is compressed, which was not asked for")
        if (response.content_length or 0) > most_bytes:
            raise _too_large(most_bytes)
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most_bytes:
            if whole:
                raise _too_large(most_bytes)
            break
    return bytes(body[:most_bytes])


def _too_large(most_bytes: int) -> PeerFailed:
    return _unusable(f"the answer exceeds {most_bytes} bytes")


def _unusable(why: str) -> PeerFailed:
    return PeerFailed(why, asked=True, answered=True)


def _tracing() -> aiohttp.TraceConfig:
    async def sent(_session: object, context: Any, _params: object) -> None:
        context.trace_request_ctx.sent = True

    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(sent)
    return tracing
