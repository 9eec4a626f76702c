"""What every client of an HTTP service here has: a place, headers, and connections to close."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from mc_ops.outgoing.clients import open_client


class HttpClient:
    """Asks one server, by `outgoing`; close it, or use it as a context manager."""

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
        self._http = open_client(
            base_url=base_url, headers=headers, timeout_s=timeout_s, transport=transport
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
            httpx.HTTPError: As httpx does, and as `open_client` says.
        """
        return self._http.request(method, path, **more)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
