"""Applies the numbered files of a folder once each, in order, while the service goes on.

A file is applied in a transaction. One that begins with `-- outside a transaction` is applied statement
by statement instead, as `CREATE INDEX CONCURRENTLY` demands; cut short, it is begun again from its
first statement, so each of its statements must bear a repeat.

A statement that waits for a table's lock makes everybody wait who comes after it, readers too. So no
file waits longer than `_LOCK_TIMEOUT` at a time: it gives up, whoever queued goes on, and it is tried
again, for `PATIENCE_S` in all. What is made or dropped `CONCURRENTLY` waits for transactions that began
before it, with nobody behind it: that wait alone may last as long as the patience. A landed file that
sets a timeout of its own keeps it.

An index that is made `CONCURRENTLY` and is cut short stays behind, invalid. It is dropped before
its statement is tried again, in the same run or after a crash; one that is valid is not made anew, if
its statement says `IF NOT EXISTS`.

docs/how-to/migrations.md shows how to write a file.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib.resources.abc import Traversable
from time import monotonic
from typing import Any

import asyncpg
import structlog

from mc_platform.errors import Unavailable

PATIENCE_S = 90.0
_LOCK_TIMEOUT = "1s"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
# A runner that was killed: the server ends what it does for it, and does not wait for its end
_LOOK_FOR_THE_RUNNER = "SET client_connection_check_interval = '1s'"
_NO_TRANSACTION = "-- outside a transaction\n"
_APPLIED = "INSERT INTO mc.schema_migration (name) VALUES ($1)"
_CONCURRENTLY = re.compile(r"(CREATE( UNIQUE)?|DROP) INDEX CONCURRENTLY\b|REINDEX\b", re.IGNORECASE)
_MAKES_INDEX = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<index>\w+)"
    r"\s+ON\s+(?P<schema>\w+)\.(?P<table>\w+)",
    re.IGNORECASE,
)
_IS_INVALID = """
SELECT EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = $2 AND NOT i.indisvalid)
"""
_log = structlog.get_logger()


async def apply_files(connection: Any, scripts: Iterable[Traversable]) -> list[str]:
    """Apply the `.sql` files that are not applied yet; return their names.

    The caller holds a lock by which no two runs of it are in one database.

    Raises:
        Unavailable: other transactions held a file's tables for too long; those before it are applied.
        asyncpg.PostgresError: a statement failed.
    """
    await connection.execute(_LOOK_FOR_THE_RUNNER)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS mc")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS mc.schema_migration "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    rows = await connection.fetch("SELECT name FROM mc.schema_migration")
    done = {row["name"] for row in rows}
    waiting = [one for one in scripts if one.name.endswith(".sql") and one.name not in done]
    for script in sorted(waiting, key=lambda item: item.name):
        await _apply(connection, script.name, script.read_text(encoding="utf-8"))
    return sorted(script.name for script in waiting)


async def _apply(connection: Any, name: str, text: str) -> None:
    if not text.startswith(_NO_TRANSACTION):
        await _patiently(name, partial(_whole, connection, name, text))
        return
    own_timeout = "lock_timeout" in text
    for statement in statements(text):
        await _patiently(name, partial(_one, connection, statement, own_timeout=own_timeout))
    await connection.execute("RESET lock_timeout")
    await connection.execute(_APPLIED, name)


async def _whole(connection: Any, name: str, text: str) -> None:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
        await connection.execute(text)
        await connection.execute(_APPLIED, name)


async def _one(connection: Any, statement: str, *, own_timeout: bool) -> None:
    if not own_timeout:
        limit = f"{PATIENCE_S:.0f}s" if _CONCURRENTLY.match(statement) else _LOCK_TIMEOUT
        await connection.execute(f"SET lock_timeout = '{limit}'")
    if (made := _MAKES_INDEX.match(statement)) and await connection.fetchval(
        _IS_INVALID, made["schema"], made["index"]
    ):
        await connection.execute(f"DROP INDEX CONCURRENTLY {made['schema']}.{made['index']}")
    await connection.execute(statement)


async def _patiently(name: str, act: Callable[[], Awaitable[None]]) -> None:
    """Do it, again and again if other transactions are in the way.

    Raises:
        Unavailable: they were for as long as the patience lasts.
    """
    end, pause = monotonic() + PATIENCE_S, _FIRST_PAUSE_S
    while True:
        try:
            await act()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if monotonic() + pause > end:
                raise Unavailable(
                    f"{name} is not applied: another transaction held its tables for too long",
                    hint="run it again when no dump or long query runs; what is applied stays",
                ) from error
        else:
            return
        _log.info("migration_waits", file=name, pause_s=pause)
        # Not in step with whatever takes the lock at regular times
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def statements(text: str) -> list[str]:
    """The statements of a file, each ended by a `;` at a line's end; none holds one within."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [one for part in code.split(";\n") if (one := part.strip().removesuffix(";"))]
