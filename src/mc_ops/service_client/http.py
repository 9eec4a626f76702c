"""What every client of an HTTP service here has: a place, headers, and connections to close."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import httpx

_MOST_BYTES = 64 * 1024 * 1024  # of an answer, unpacked; /metrics of a busy replica has 1 MiB


class AnswerWithoutEnd(httpx.TransportError):
    """An answer is too large, or its body takes longer than the whole call may."""


class HttpClient:
    """Asks one server; close it, or use it as a context manager. Proxies of the shell are not used.

    Whoever answers must not hold up or fill the memory of who asks: see `ask`.
    """

    def __init__(
        self,
        url: str,
        base_url: str,
        *,
        headers: dict[str, str],
        timeout_s: float,
        transport: httpx.BaseTransport | None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: Where the server is, for messages.
            base_url: What paths are appended to.
            headers: Of every request.
            timeout_s: How long each call may take.
            transport: Another way to send, for tests.
        """
        self.url = url
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=base_url,
            headers=headers,
            timeout=timeout_s,
            transport=transport,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        """Use the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self.close()

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request, and read the whole answer.

        Raises:
            httpx.HTTPError: As httpx does; `AnswerWithoutEnd` at 64 MiB, or when the body alone
                takes longer than the timeout, which httpx has for each piece of it.
        """
        body = bytearray()
        with self._http.stream(method, path, **more) as answer:
            late = time.monotonic() + self._timeout_s
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > _MOST_BYTES or time.monotonic() > late:
                    raise AnswerWithoutEnd("the answer does not end", request=answer.request)
        packed = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(key, told) for key, told in answer.headers.multi_items() if key not in packed]
        return httpx.Response(
            answer.status_code, headers=headers, content=bytes(body), request=answer.request
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
