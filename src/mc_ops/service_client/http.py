"""What every client of an HTTP service here has: a place, headers, and connections to close."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx


class HttpClient:
    """Asks one server; close it, or use it as a context manager. Proxies of the shell are not used."""

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

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
