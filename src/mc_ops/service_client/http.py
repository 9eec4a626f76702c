"""What every client of an HTTP service here has: a place, headers, and connections to close."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

import httpx

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.outgoing.clients import open_client


class HttpClient:
    """Asks one server, by `outgoing`; close it, or use it as a context manager."""

    BELOW: ClassVar[str] = ""
    """What paths are appended to, below the URL."""
    HEADERS: ClassVar[Mapping[str, str]] = {}
    """Of every request."""
    TIMEOUT_S: ClassVar[float] = 30.0

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_s: float | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: Where the server is.
            token: A bearer token, if it asks for one.
            timeout_s: How long each call may take; default `TIMEOUT_S`.
            transport: Another way to send, for tests.
        """
        self.url = url.rstrip("/")
        self._http = open_client(
            base_url=f"{self.url}{self.BELOW}",
            headers={**self.HEADERS, **bearer(token)},
            timeout_s=self.TIMEOUT_S if timeout_s is None else timeout_s,
            transport=transport,
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

    def reach(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Like `ask`, of the platform.

        Raises:
            CouldNotTell: It does not answer.
            UnusableInput: A value is too long for a URL.
        """
        try:
            return self.ask(method, path, **more)
        except httpx.InvalidURL as error:
            raise UnusableInput(
                f"a value cannot be asked for: {str(error).lower()}",
                hint="is it the id or the name that you mean?",
            ) from error
        except httpx.HTTPError as error:
            raise CouldNotTell(
                f"{self.url} does not answer ({type(error).__name__})",
                hint="is it running? mcctl status",
            ) from error

    def close(self) -> None:
        """Close its connections."""
        self._http.close()


def bearer(token: str | None) -> dict[str, str]:
    """The header that shows a token; none without one."""
    return {"Authorization": f"Bearer {token}"} if token else {}
