"""A connection of one's own to PostgreSQL, for what must not wait for a pool that requests share."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql


class OwnConnection:
    """Blocking; statements of several threads take turns. Made at first use, and again after a fault.

    Args:
        url: `postgresql://` URL.
        application_name: As `pg_stat_activity` shows it.
        statement_timeout_ms: The longest that one statement may take.
        more: Further parameters of libpq.
    """

    def __init__(
        self, url: str, *, application_name: str, statement_timeout_ms: int, **more: Any
    ) -> None:
        self.turn = threading.RLock()
        self._url = url
        self._parameters = {
            "application_name": application_name,
            "options": f"-c statement_timeout={statement_timeout_ms}",
            **more,
        }
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def execute(self, text: str | sql.Composed, values: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement; none where it has no result.

        Raises:
            psycopg.Error: the database does not answer, or refuses.
        """
        with self.turn:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self._url, autocommit=True, **self._parameters)
            try:
                done = self._connection.execute(text, values)
                return done.fetchall() if done.description else []
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close it; the next statement makes another one."""
        with self.turn:
            kept, self._connection = self._connection, None
            if kept is not None:
                with suppress(psycopg.Error):
                    kept.close()
