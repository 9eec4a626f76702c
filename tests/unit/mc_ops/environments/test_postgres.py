"""The embedded PostgreSQL, for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import asyncpg
import pytest

from mc_ops.environments.local import keyring, postgres
from mc_ops.environments.local.layout import Layout
from mc_ops.environments.local.processes import ProcessTable, Started

pytestmark = pytest.mark.slow


@dataclass
class Database:
    """A cluster, and the means to start and stop its server."""

    layout: Layout
    server: postgres.Server
    table: ProcessTable

    def start(self) -> Started:
        """Start the server and wait until it is ready."""
        started = self.table.start(postgres.specification(self.layout, self.server))
        self.table.wait_ready([started], 30)
        return started

    async def ask(self, query: str) -> object:
        """Ask as superuser."""
        urls = keyring.database_urls(self.layout, None)
        connection = await asyncpg.connect(urls.admin)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


@pytest.fixture
def database(layout: Layout) -> Iterator[Database]:
    """A new cluster, its server not started; whatever runs at the end is stopped."""
    keyring.prepare_secrets(layout)
    keyring.database_urls(layout, None)
    server = postgres.locate(layout)
    assert postgres.initialise(server, keyring.superuser_password(layout))
    found = Database(layout, server, ProcessTable(layout.home / "run", layout.home / "log"))
    yield found
    found.table.stop(["postgres"], 10)
    # The temp folder of root's tests is private, so the data may be elsewhere.
    shutil.rmtree(postgres.data_home(layout))


async def test_cluster_is_made_once_and_serves(database: Database) -> None:
    """initdb runs once; the server speaks logical WAL on its own port, not as root."""
    password = keyring.superuser_password(database.layout)
    assert not postgres.initialise(database.server, password)
    started = database.start()
    assert await database.ask("SHOW wal_level") == "logical"
    assert await database.ask("SHOW max_connections") == "200"
    assert await database.ask("SHOW listen_addresses") == "127.0.0.1"
    assert not (database.server.data.parent / "initdb.password").exists()
    assert password not in " ".join(started.record.argv)
    process = started.record.process()
    assert process
    assert process.uids().effective != 0


async def test_a_wrong_password_is_refused(database: Database) -> None:
    """There is no way in without the password, not even from this machine."""
    database.start()
    port = database.layout.port_of("postgres")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://postgres:wrong@127.0.0.1:{port}/postgres")


async def test_a_killed_server_is_dead_and_recovers(database: Database) -> None:
    """kill -9 is detected, and the next start recovers what was committed."""
    started = database.start()
    await database.ask("CREATE TABLE kept (n int)")
    await database.ask("INSERT INTO kept VALUES (41)")
    os.kill(started.record.pid, signal.SIGKILL)
    started.child.wait()
    assert database.table.alive("postgres") is None
    assert (database.server.data / "postmaster.pid").exists()
    postgres.clear_stale_pid(database.server)
    database.start()
    assert await database.ask("SELECT n FROM kept") == 41


async def test_a_stale_pid_that_a_stranger_has_is_cleared(database: Database) -> None:
    """A pid file whose number another process got does not keep the server from starting."""
    database.start()
    pid_file = database.server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    database.table.stop(["postgres"], 10)
    uid = database.server.user[0] if database.server.user else None
    with subprocess.Popen(["sleep", "60"], user=uid) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
        if database.server.user:
            os.chown(pid_file, *database.server.user)
        assert postgres.clear_stale_pid(database.server)
        database.start()
        assert await database.ask("SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_an_interrupted_initdb_is_never_used(layout: Layout) -> None:
    """A half-made cluster is thrown away, not started."""
    keyring.database_urls(layout, None)
    server = postgres.locate(layout)
    unfinished = server.data.parent / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "litter").touch()
    assert postgres.initialise(server, keyring.superuser_password(layout))
    assert not unfinished.exists()
    assert not (server.data / "litter").exists()
    shutil.rmtree(postgres.data_home(layout))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change users")
async def test_a_home_and_wheel_that_only_root_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a private checkout, root's server runs on copies in a place that its user can enter."""
    place = Path(mkdtemp(dir="/var/tmp", prefix="mc-test-"))
    before = os.umask(0o077)
    try:
        monkeypatch.setattr(postgres, "_ROOTS_PLACE", place / "lib")
        monkeypatch.setattr(postgres, "_passable", lambda path: place in path.parents)
        (place / "lib").mkdir()
        place.chmod(0o755)
        layout = Layout(tmp_path / "private", 19_000)
        layout.prepare()
        (tmp_path / "private").chmod(0o700)
        keyring.database_urls(layout, None)
        server = postgres.locate(layout)
        assert place in server.binaries.parents
        assert place in server.data.parents
        assert postgres.initialise(server, keyring.superuser_password(layout))
        database = Database(layout, server, ProcessTable(layout.home / "run", layout.home / "log"))
        database.start()
        assert await database.ask("SELECT 1") == 1
        database.table.stop(["postgres"], 10)
        assert postgres.locate(layout) == server
    finally:
        os.umask(before)
        shutil.rmtree(place)
