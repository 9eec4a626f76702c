"""httpx clients whose answers are whole, bounded and in time when they are returned."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpcore
import httpx

MOST_BYTES = 64 * 1024 * 1024  # of an answer; /metrics of a busy replica has 1 MiB
_OWN_HEADERS = {"Accept-Encoding": "identity"}
_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


class AnswerWithoutEnd(httpx.TransportError):
    """An answer is too large, or does not come whole in the time that the call may take."""


class AnswerPacked(httpx.TransportError):
    """An answer is compressed, which was not asked for: it is not unpacked."""


def open_client(
    *,
    timeout_s: float,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    most_bytes: int = MOST_BYTES,
    verify: ssl.SSLContext | None = None,
    socket: Path | None = None,
    transport: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """A client; it has read an answer's whole body when it returns it.

    Args:
        timeout_s: For a whole call, unless the call itself says another; names are looked up by
            the system, within its own time.
        base_url: What paths are appended to.
        headers: Of every request.
        most_bytes: Of an answer's body: beyond them the call raises `AnswerWithoutEnd`.
        verify: How servers are verified; None: by the system's CAs, or those of `SSL_CERT_FILE`.
        socket: A Unix socket to connect to, whatever the URL says.
        transport: Another way to send, for tests.
    """
    return httpx.Client(
        base_url=base_url,
        headers={**_OWN_HEADERS, **(headers or {})},
        timeout=timeout_s,
        transport=_Whole(transport or _network(verify, socket), most_bytes),
        cookies=_no_cookies(),
        trust_env=False,
        follow_redirects=False,
    )


def open_async_client(
    *, timeout_s: float, most_connections: int, most_bytes: int = MOST_BYTES
) -> httpx.AsyncClient:
    """As `open_client`, for an event loop."""
    return httpx.AsyncClient(
        headers=_OWN_HEADERS,
        timeout=timeout_s,
        transport=_WholeAsync(
            httpx.AsyncHTTPTransport(
                verify=_usual_cas(),
                trust_env=False,
                limits=httpx.Limits(max_connections=most_connections),
            ),
            most_bytes,
        ),
        cookies=_no_cookies(),
        trust_env=False,
        follow_redirects=False,
    )


def _no_cookies() -> CookieJar:
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


@lru_cache(maxsize=1)
def _usual_cas() -> ssl.SSLContext:
    """The system's CAs; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for curl's and Go's programs.

    Where a system has none, those that come with httpx.
    """
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context = httpx.create_ssl_context(trust_env=False)
    return context


def _network(verify: ssl.SSLContext | None, socket: Path | None) -> httpx.BaseTransport:
    context = verify or _usual_cas()
    transport = httpx.HTTPTransport(verify=context, trust_env=False)
    # httpx passes no network backend on, and its own bounds each read alone: headers that drip would
    # hold a call for ever
    transport._pool = httpcore.ConnectionPool(
        ssl_context=context,
        max_connections=100,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        uds=None if socket is None else str(socket),
        network_backend=_InTime(),
    )
    return transport


class _Answer(httpx.Response):
    """An answer of which nothing raises but what httpx says of it."""

    def json(self, **more: Any) -> Any:
        """As httpx's; what nests deeper than Python follows is no JSON to us."""
        try:
            return super().json(**more)
        except RecursionError as error:
            raise ValueError("the answer nests too deep") from error


class _Whole(httpx.BaseTransport):
    """Reads each answer whole before it is returned."""

    def __init__(self, inner: httpx.BaseTransport, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        began_at = time.monotonic()
        ends_at = began_at + _timeout_s(request)
        token = _ends_at.set(ends_at)
        try:
            answer = self._inner.handle_request(request)
            try:
                _require_plain(answer, request)
                body = bytearray()
                assert isinstance(answer.stream, httpx.SyncByteStream)
                for piece in answer.stream:
                    body += piece
                    if len(body) > self._most_bytes or time.monotonic() > ends_at:
                        raise AnswerWithoutEnd("the answer does not end", request=request)
            except httpx.TimeoutException as error:
                raise AnswerWithoutEnd("the answer does not end", request=request) from error
            finally:
                answer.close()
        finally:
            _ends_at.reset(token)
        return _read_answer(answer, bytes(body), began_at)

    def close(self) -> None:
        self._inner.close()


class _WholeAsync(httpx.AsyncBaseTransport):
    """As `_Whole`, for an event loop."""

    def __init__(self, inner: httpx.AsyncBaseTransport, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began_at, timeout_s = time.monotonic(), _timeout_s(request)
        try:
            async with asyncio.timeout(None if math.isinf(timeout_s) else timeout_s):
                answer = await self._inner.handle_async_request(request)
                try:
                    _require_plain(answer, request)
                    body = bytearray()
                    assert isinstance(answer.stream, httpx.AsyncByteStream)
                    async for piece in answer.stream:
                        body += piece
                        if len(body) > self._most_bytes:
                            raise AnswerWithoutEnd("the answer does not end", request=request)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise AnswerWithoutEnd("the answer does not end", request=request) from error
        return _read_answer(answer, bytes(body), began_at)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _timeout_s(request: httpx.Request) -> float:
    read_s = request.extensions.get("timeout", {}).get("read")
    return math.inf if read_s is None else float(read_s)


def _require_plain(answer: httpx.Response, request: httpx.Request) -> None:
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise AnswerPacked("the answer is compressed", request=request)


def _read_answer(answer: httpx.Response, body: bytes, began_at: float) -> httpx.Response:
    framing = (b"content-encoding", b"content-length", b"transfer-encoding")
    # As they came: a peer may send any bytes
    headers = [(key, told) for key, told in answer.headers.raw if key.lower() not in framing]
    told = _Answer(answer.status_code, headers=headers, content=body, extensions=answer.extensions)
    told.encoding = "utf-8"  # a peer's choice of decoder may be one that raises anything
    told.elapsed = timedelta(seconds=time.monotonic() - began_at)
    return told


class _InTime(httpcore.SyncBackend):
    """Connections whose every read and write ends when the call must."""

    def connect_tcp(self, *args: Any, **more: Any) -> httpcore.NetworkStream:
        return _InTimeStream(super().connect_tcp(*args, **_in_time(more)))

    def connect_unix_socket(self, *args: Any, **more: Any) -> httpcore.NetworkStream:
        return _InTimeStream(super().connect_unix_socket(*args, **_in_time(more)))


class _InTimeStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left_s(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, _left_s(timeout))
        return _InTimeStream(inner)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _in_time(more: dict[str, Any]) -> dict[str, Any]:
    return {**more, "timeout": _left_s(more.get("timeout"))}


def _left_s(timeout_s: float | None) -> float | None:
    ends_at = _ends_at.get()
    if math.isinf(ends_at):
        return timeout_s
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout("the time of the whole call is over")
    return left_s if timeout_s is None else min(timeout_s, left_s)


__all__ = ["AnswerPacked", "AnswerWithoutEnd", "open_async_client", "open_client"]
