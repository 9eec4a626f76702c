"""Who sees more of `/health` and `/metrics` than a stranger: the credential of a scraper.

It is a file of its own and no row of the database: a Prometheus must be answered while the database
is down, and its credential must open nothing else.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from mc_platform.errors import Misconfigured

DETAIL = "detail"
"""Key of the request's state: whether the client may see everything."""

_SHORTEST = 32


class DetailRule:
    """Knows the scrape credential; a file that was changed counts from the next request on."""

    def __init__(self, file: Path | None) -> None:
        """Read the file.

        Raises:
            Misconfigured: it cannot be read, or holds no token that could not be guessed.
        """
        self._file = file
        self._token = b""
        self._stamp: tuple[int, int] | None = None
        if file is None:
            return
        try:
            self._refresh(file)
        except OSError as error:
            raise Misconfigured(
                f"MC_SCRAPE_TOKEN_FILE cannot be read: {type(error).__name__}",
                hint="it must hold one bearer token, or the setting be left out",
            ) from error
        if not self._token:
            raise Misconfigured(
                f"MC_SCRAPE_TOKEN_FILE must hold one token of {_SHORTEST} characters or more"
            )

    def opens(self, authorization: str | None) -> bool:
        """Whether the header presents the scrape credential."""
        if self._file is None or authorization is None:
            return False
        try:
            self._refresh(self._file)
        except OSError:
            self._token, self._stamp = b"", None  # a credential that was taken away opens nothing
        scheme, _, given = authorization.partition(" ")
        presented = given.strip().encode("latin-1", "replace")
        same = hmac.compare_digest(presented, self._token)
        return same and bool(self._token) and scheme.lower() == "bearer"

    def _refresh(self, file: Path) -> None:
        found = file.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            token = file.read_bytes().strip()
            self._token = token if len(token) >= _SHORTEST and len(token.split()) == 1 else b""
            self._stamp = stamp
