"""PostgreSQL for the time of a backup or a restore: its tools, and a server on files of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg

from mc_ops.environments import EmbeddedDatabase
from mc_ops.errors import CouldNotTell

_LOOK_S = 0.1
_PR_SET_PDEATHSIG = 1
_TAIL = 600
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def query(url: str, statement: str, *arguments: Any) -> list[Any]:
    """Rows of one statement.

    Raises:
        CouldNotTell: the database does not answer, or refuses.
    """

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotTell(
            f"the database does not answer: {type(error).__name__}", hint="mcctl status"
        ) from error


def run_tool(database: EmbeddedDatabase, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools.

    Raises:
        CouldNotTell: it failed; the end of what it says is in the message.
    """
    done = subprocess.run(
        [str(database.binaries / name), *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CouldNotTell(f"{name} says: {(done.stderr or done.stdout).strip()[-_TAIL:]}")


@contextmanager
def serving(
    database: EmbeddedDatabase, data: Path, log: Path, settings: Mapping[str, str]
) -> Iterator[str]:
    """A server on the files in `data`, on the platform's own port; the administrator's URL.

    Raises:
        CouldNotTell: it does not start, or ends while it recovers; the end of its log is in the message.
    """
    argv = [str(database.binaries / "postgres"), "-D", str(data)]
    # No subscription works: a copy that is thrown away must confirm nothing to the peer region
    quiet = {"max_logical_replication_workers": "0"}
    for key, value in {**database.settings, **settings, **quiet}.items():
        argv += ["-c", f"{key}={value}"]
    uid, gid = database.user or (None, None)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
            preexec_fn=_end_with_us if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
        )
    try:
        _wait_ready(process, database.admin_url, log)
        yield database.admin_url
    finally:
        _stop(process)


def _end_with_us() -> None:
    """Have the kernel end the server if mcctl is killed: it would keep the platform's port."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until it serves and has recovered, as long as that takes: it ends where it cannot."""
    while process.poll() is None:
        with suppress(CouldNotTell):
            [row] = query(url, "SELECT pg_is_in_recovery() AS recovering")
            if not row["recovering"]:
                return
        time.sleep(_LOOK_S)
    said = [line for line in _lines(log) if "FATAL" in line or "PANIC" in line]
    raise CouldNotTell(f"PostgreSQL ended: {said[-1] if said else 'no reason is told'}")


def _lines(log: Path) -> Sequence[str]:
    with suppress(OSError):
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    return []


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
    if process.poll() is None:
        process.kill()
        process.wait()


def own(database: EmbeddedDatabase, folder: Path) -> None:
    """Give a folder and all in it to the server's user."""
    if database.user is None:
        return
    uid, gid = database.user
    os.chown(folder, uid, gid)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(place) / name, uid, gid, follow_symlinks=False)
