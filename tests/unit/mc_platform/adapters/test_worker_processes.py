"""Worker processes end when they take too long, when nobody waits, and with their replica."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from tests.unit.mc_platform.adapters.worker_calls import busy_for_ever, die, fail, pid_after

from mc_platform.adapters.worker_processes import WorkerProcesses
from mc_platform.errors import Overdue, Unavailable


@pytest.fixture
async def workers() -> AsyncIterator[WorkerProcesses]:
    pool = WorkerProcesses(count=2, deadline_s=60.0)
    yield pool
    await pool.close()


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _eventually_gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while not _gone(pid):
            await asyncio.sleep(0.02)


async def test_a_worker_is_another_process_and_is_used_again(workers: WorkerProcesses) -> None:
    """Two calls after each other share one; what it cost is told."""
    first, cpu_s = await workers.run(pid_after, 1)
    second, _ = await workers.run(pid_after, 2)
    assert first == second != os.getpid()
    assert 0 <= cpu_s < 60
    assert os.getpgid(first) == os.getpgid(0)  # killed with the replica's group


async def test_what_takes_too_long_is_ended_with_its_worker(tmp_path: Path) -> None:
    """The next call gets a fresh one."""
    workers = WorkerProcesses(count=2, deadline_s=5.0)
    await workers.run(pid_after, 1)  # it has begun
    with pytest.raises(Overdue, match="more than 5 s"):
        await workers.run(busy_for_ever, str(tmp_path / "pid"))
    await _eventually_gone(int((tmp_path / "pid").read_text(encoding="utf-8")))
    assert (await workers.run(pid_after, 1))[0] != os.getpid()
    await workers.close()


async def test_work_that_nobody_waits_for_is_ended(
    workers: WorkerProcesses, tmp_path: Path
) -> None:
    """Its place is free at once."""
    await asyncio.gather(workers.run(pid_after, 1), workers.run(pid_after, 1))
    path = tmp_path / "pid"
    calling = asyncio.create_task(workers.run(busy_for_ever, str(path)))
    async with asyncio.timeout(60):
        while not path.exists() or not path.read_text(encoding="utf-8"):
            await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await _eventually_gone(int(path.read_text(encoding="utf-8")))


async def test_a_failure_is_told_without_what_it_quotes(workers: WorkerProcesses) -> None:
    """An exception's text may hold the message's."""
    with pytest.raises(RuntimeError, match="ValueError at fail") as failed:
        await workers.run(fail, "4111 1111 1111 1111")
    assert "4111" not in str(failed.value)


async def test_a_worker_that_dies_is_replaced(workers: WorkerProcesses) -> None:
    """Its call fails as a dependency that was down."""
    with pytest.raises(Unavailable, match="ended meanwhile"):
        await workers.run(die)
    assert (await workers.run(pid_after, 1))[0] != os.getpid()


_REPLICA = """
import asyncio, sys
from mc_platform.adapters.worker_processes import WorkerProcesses
from tests.unit.mc_platform.adapters.worker_calls import busy_for_ever
async def main():
    pool = WorkerProcesses(count=1, deadline_s=3.0)
    await asyncio.sleep(0)
    calling = asyncio.create_task(pool.run(busy_for_ever, sys.argv[1]))
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_worker_does_not_outlive_its_replica_that_is_killed(tmp_path: Path) -> None:
    """Even one that works at that moment ends, by its own alarm; nothing it held is left."""
    path = tmp_path / "pid"
    replica = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", _REPLICA, str(path)], start_new_session=True
    )
    try:
        async with asyncio.timeout(60):
            while not path.exists() or not path.read_text(encoding="utf-8"):
                await asyncio.sleep(0.01)
        family = [one.pid for one in psutil.Process(replica.pid).children(recursive=True)]
        assert int(path.read_text(encoding="utf-8")) in family
    finally:
        replica.kill()
        await asyncio.to_thread(replica.wait)
    for pid in family:
        await _eventually_gone(pid)
