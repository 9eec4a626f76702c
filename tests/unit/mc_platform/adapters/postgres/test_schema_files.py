"""Migrations while the service goes on: locks that are waited for briefly, indexes cut short."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from mc_platform.adapters.postgres import schema_files
from mc_platform.adapters.postgres.migrate import database_url, migrate_schema, service_database
from mc_platform.adapters.postgres.schema_files import apply_files, statements
from mc_platform.errors import Unavailable

MIGRATIONS = Path(schema_files.__file__).parents[2] / "migrations"
Connect = Callable[[], Any]
_RUN = """
import asyncio, sys
from pathlib import Path
import asyncpg
from mc_platform.adapters.postgres.schema_files import apply_files
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    await apply_files(connection, Path(sys.argv[2]).iterdir())
asyncio.run(main())
"""


@pytest.fixture
async def own_url(database) -> str:
    """A migrated database of the test's own, as its owner reaches it."""
    service_url = f"{database.service_url}_{uuid.uuid4().hex[:6]}"
    await migrate_schema(admin_url=database.admin_url, service_url=service_url)
    return database_url(database.admin_url, service_database(service_url))


@pytest.fixture
async def connect(own_url) -> AsyncIterator[Connect]:
    """Gives connections to it, and closes them."""
    async with AsyncExitStack() as stack:

        async def one() -> Any:
            connection = await asyncpg.connect(own_url)
            stack.push_async_callback(connection.close, timeout=5)
            return connection

        yield one


async def _until(true: Callable[[], Any], what: str) -> None:
    async with asyncio.timeout(60):
        while not await true():
            await asyncio.sleep(0.02)
    assert what


async def test_writers_go_on_while_a_reader_keeps_a_migration_waiting(
    connect, tmp_path, monkeypatch
):
    """A long reader holds the table; what queues behind the migration waits for moments only.

    Without a lock timeout each write would wait for the reader, which ends after all of them.
    """
    tries = []
    whole = schema_files._whole

    async def counted(*given):
        tries.append(given)
        await whole(*given)

    monkeypatch.setattr(schema_files, "_whole", counted)
    (tmp_path / "9001_column.sql").write_text("ALTER TABLE mc.task ADD COLUMN noted text;\n")
    reader, writer, runner = [await connect() for _ in range(3)]
    await writer.execute(
        "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, "
        "parts, status_text, governance, updated_at) "
        "VALUES ('t', 'c', 'T', 'p', 'm', 'd', 'working', '[]', '', '{}', now())"
    )
    columns = await _columns(writer)
    async with reader.transaction():
        await reader.execute("SELECT count(*) FROM mc.task")
        migration = asyncio.create_task(apply_files(runner, tmp_path.iterdir()))
        async with asyncio.timeout(60):
            while len(tries) < 3:
                done = await writer.execute("UPDATE mc.task SET updated_at = now() WHERE id = 't'")
                assert done == "UPDATE 1"
                await asyncio.sleep(0.01)
        assert not migration.done()
        assert await _columns(writer) == columns
    assert await migration == ["9001_column.sql"]
    assert await _columns(writer) == columns + 1
    assert await apply_files(runner, tmp_path.iterdir()) == []


async def _columns(connection: Any) -> int:
    return await connection.fetchval(
        "SELECT count(*) FROM information_schema.columns "
        "WHERE table_schema = 'mc' AND table_name = 'task'"
    )


async def test_patience_ends_and_what_was_tried_is_undone(connect, tmp_path, monkeypatch):
    """Whoever holds the table for ever is told of; a run later applies all of the file."""
    monkeypatch.setattr(schema_files, "PATIENCE_S", 0.1)
    sql = "CREATE TABLE mc.made (id int);\nALTER TABLE mc.task ADD COLUMN noted text;\n"
    (tmp_path / "9001_both.sql").write_text(sql)
    reader, runner = await connect(), await connect()
    async with reader.transaction():
        await reader.execute("SELECT count(*) FROM mc.task")
        with pytest.raises(Unavailable, match="9001_both") as caught:
            await apply_files(runner, tmp_path.iterdir())
    assert "run it again" in caught.value.hint
    assert await reader.fetchval("SELECT to_regclass('mc.made')") is None
    assert await apply_files(runner, tmp_path.iterdir()) == ["9001_both.sql"]


_INDEXES = """-- outside a transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS first_made ON mc.operation_lease (expires_at, lost);
CREATE INDEX CONCURRENTLY IF NOT EXISTS cut_short ON mc.task (updated_at, tenant);
"""


async def test_a_run_that_is_killed_amid_an_index_is_repeated_to_its_end(
    own_url, connect, tmp_path
):
    """The index that was cut short is made anew, the one that was ready is kept.

    The server ends what it did for the killed run, though its wait would have gone on.
    """
    (tmp_path / "9001_indexes.sql").write_text(_INDEXES)
    writer, looker = await connect(), await connect()
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("UPDATE mc.task SET updated_at = updated_at WHERE false")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RUN, own_url, str(tmp_path)
    )
    try:
        await _until(lambda: _invalid(looker), "the second index is begun")
        backend = await looker.fetchval(_MAKING)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    await _until(lambda: looker.fetchval(_GONE, backend), "the server noticed")
    assert await _invalid(looker) == ["cut_short"]
    first = await looker.fetchval("SELECT 'mc.first_made'::regclass::oid")
    await transaction.rollback()

    assert await apply_files(await connect(), tmp_path.iterdir()) == ["9001_indexes.sql"]
    assert await _invalid(looker) == []
    assert await looker.fetchval("SELECT 'mc.first_made'::regclass::oid") == first
    assert await looker.fetchval("SELECT to_regclass('mc.cut_short')") is not None


_MAKING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONC%'
"""
_GONE = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"


async def _invalid(connection: Any) -> list[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "WHERE NOT i.indisvalid"
    )
    return [row["relname"] for row in rows]


async def test_an_index_that_waits_stops_nobody_and_is_given_up_in_the_end(
    connect, tmp_path, monkeypatch
):
    """It waits for an older transaction only; given up, it leaves an invalid one, which goes first."""
    monkeypatch.setattr(schema_files, "PATIENCE_S", 1.0)
    (tmp_path / "9001_indexes.sql").write_text(_INDEXES)
    writer, other, runner = [await connect() for _ in range(3)]
    async with writer.transaction():
        await writer.execute("UPDATE mc.task SET updated_at = updated_at WHERE false")
        migration = asyncio.create_task(apply_files(runner, tmp_path.iterdir()))
        async with asyncio.timeout(60):
            while not migration.done():
                await other.execute("UPDATE mc.task SET updated_at = updated_at WHERE false")
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await migration
    assert await _invalid(other) == ["cut_short"]
    assert await apply_files(runner, tmp_path.iterdir()) == ["9001_indexes.sql"]
    assert await _invalid(other) == []


def test_every_index_that_is_made_concurrently_is_recognised():
    """By its statement, so that a leftover of it is found; in the form that is written here."""
    made = [
        statement
        for file in sorted(MIGRATIONS.glob("*.sql"))
        for statement in statements(file.read_text(encoding="utf-8"))
        if "INDEX CONCURRENTLY" in statement.upper() and statement.upper().startswith("CREATE")
    ]
    assert len(made) >= 5
    assert [one for one in made if not schema_files._MAKES_INDEX.match(one)] == []
