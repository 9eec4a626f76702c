"""A PostgreSQL of a benchmark's own, as durable as a real one, and how much CPU it takes.

The server is started as `mcctl up` starts it: fsync and synchronous_commit are PostgreSQL's own
defaults, on, and both are asked of the server before anything is measured.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from mc_ops.environments.local import postgres
from mc_ops.environments.local.layout import Layout
from mc_platform.adapters.postgres.migrate import SERVICE_ROLE, database_url, migrate_schema
from mc_platform.enact import migrate_engine

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_DURABLE = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database: `owner_url` is the administrator's, `service_url` the service's."""

    owner_url: str
    service_url: str
    pid: int
    sync_ms: float  # the median of a synced write of one page, on the same disk

    def cpu_s(self) -> dict[int, float]:
        """CPU seconds so far of each process of the server, by pid."""
        server = psutil.Process(self.pid)
        spent = {}
        for process in (server, *server.children()):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[process.pid] = times.user + times.system
        return spent


def cpu_between(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds spent between two looks, by processes that were there at the second."""
    return sum(spent - before.get(pid, 0.0) for pid, spent in after.items())


@contextmanager
def durable_postgres(peer_engine_schema: str) -> Iterator[Database]:
    """Run a server with the service's schema, and a second engine schema for a peer's use."""
    home = Path(tempfile.mkdtemp(prefix="mc-bench-"))
    home.chmod(0o711)
    port = _free_port()
    layout = Layout(home=home)
    layout = Layout(home=home, edge_port=port - (layout.port_of("postgres") - layout.edge_port))
    server = postgres.locate(layout)
    password = secrets.token_urlsafe(24)
    process: subprocess.Popen[bytes] | None = None
    try:
        postgres.initialise(server, password)
        start = postgres.specification(layout, server)
        uid, gid = server.user or (None, None)
        with (home / "postgres.log").open("wb") as log:
            process = subprocess.Popen(
                start.argv,
                env=dict(start.env),
                cwd=start.cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        admin_url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        _wait_until_up(admin_url, process)
        service_url = f"postgresql://{SERVICE_ROLE}:{password}@127.0.0.1:{port}/mc"
        asyncio.run(migrate_schema(admin_url=admin_url, service_url=service_url))
        owner_url = database_url(admin_url, "mc")
        migrate_engine(owner_url, SERVICE_ROLE)
        migrate_engine(owner_url, SERVICE_ROLE, schema=peer_engine_schema)
        _require_durable(service_url)
        yield Database(owner_url, service_url, process.pid, _sync_ms(home))
    finally:
        if process is not None:
            _stop(process, start.stop_signal)
        shutil.rmtree(server.data.parent, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def _require_durable(url: str) -> None:
    with psycopg.connect(url) as connection:
        for name in _DURABLE:
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row != ("on",):
                raise RuntimeError(f"{name} is {row}, expected on: nothing here would be durable")


def _sync_ms(folder: Path) -> float:
    page = bytes(8192)
    took = []
    with (folder / "sync-probe").open("wb", buffering=0) as file:
        for _ in range(50):
            began = time.perf_counter()
            file.write(page)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _stop(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    process.send_signal(stop_signal)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
