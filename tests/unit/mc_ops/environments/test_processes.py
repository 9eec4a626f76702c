"""Detached processes: started, recognised, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mc_ops.environments.local.layout import Layout
from mc_ops.environments.local.processes import (
    ProcessSpec,
    ProcessTable,
    last_lines,
    require_free_port,
)
from mc_ops.errors import CouldNotTell, UnusableInput

SLEEPS = "import time; print('awake', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('awake', flush=True); time.sleep(60)"
)
WITH_CHILD = (
    "import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', "
    "'import time; time.sleep(60)']); print('child', c.pid, flush=True); time.sleep(60)"
)


@pytest.fixture
def table(layout: Layout) -> ProcessTable:
    """An empty table."""
    return ProcessTable(layout.home / "run", layout.home / "log")


def spec(layout: Layout, code: str, word: str = "awake") -> ProcessSpec:
    """A Python one-liner that is ready once its log holds `word`."""
    log = layout.log_of("blue-1")
    return ProcessSpec(
        name="blue-1",
        argv=(sys.executable, "-c", code),
        env=dict(os.environ),
        port=layout.port_of("blue-1"),
        ready=lambda _: word in log.read_text(),
        cwd=Path("/"),
    )


def test_a_started_process_is_recorded_and_stopped(layout: Layout, table: ProcessTable) -> None:
    """It has its own session, is known by pid and creation time, and is forgotten once stopped."""
    started = table.start(spec(layout, SLEEPS))
    table.wait_ready([started], 20)
    record = table.alive("blue-1")
    assert record
    assert os.getsid(record.pid) == record.pid
    table.stop(["blue-1"], 5)
    assert table.read("blue-1") is None
    assert record.process() is None


def test_a_child_that_dies_is_reported_with_its_last_words(
    layout: Layout, table: ProcessTable
) -> None:
    """The exit status and the last log lines are in the error, at once."""
    started = table.start(spec(layout, "print('out of luck'); raise SystemExit(7)"))
    before = time.monotonic()
    with pytest.raises(CouldNotTell, match="status 7") as caught:
        table.wait_ready([started], 60)
    assert time.monotonic() - before < 30
    assert "blue-1 | out of luck" in caught.value.message
    assert table.read("blue-1") is None


def test_a_process_that_never_gets_ready_is_named(layout: Layout, table: ProcessTable) -> None:
    """Waiting ends, names who was not ready, and leaves it to the caller to stop it."""
    started = table.start(spec(layout, SLEEPS, word="never said"))
    with pytest.raises(CouldNotTell, match=r"blue-1 not ready after 0\.1 s"):
        table.wait_ready([started], 0.1)
    table.stop(["blue-1"], 5)


def test_a_stubborn_process_is_killed_after_the_grace(layout: Layout, table: ProcessTable) -> None:
    """One that ignores SIGTERM is gone all the same."""
    started = table.start(spec(layout, STUBBORN))
    table.wait_ready([started], 20)
    table.stop(["blue-1"], 0.2)
    assert started.record.process() is None


def test_what_a_killed_process_left_behind_goes_too(layout: Layout, table: ProcessTable) -> None:
    """After kill -9 of a leader, stopping its name ends the children of its session."""
    started = table.start(spec(layout, WITH_CHILD, word="child"))
    table.wait_ready([started], 20)
    child = psutil.Process(int(layout.log_of("blue-1").read_text().split()[-1]))
    os.kill(started.record.pid, signal.SIGKILL)
    started.child.wait()
    assert table.alive("blue-1") is None
    table.stop(["blue-1"], 1)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_recycled_pid_is_never_signalled(layout: Layout, table: ProcessTable) -> None:
    """A record whose pid belongs to a stranger now is dead, and the stranger lives on."""
    started = table.start(spec(layout, SLEEPS))
    table.wait_ready([started], 20)
    table.stop(["blue-1"], 5)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        kept = {**json.loads(json.dumps(_fields(started.record))), "pid": stranger.pid}
        kept["create_time"] -= 1000
        (layout.home / "run" / "blue-1.json").write_text(json.dumps(kept))
        assert table.alive("blue-1") is None
        table.stop(["blue-1"], 1)
        assert stranger.poll() is None
        assert table.read("blue-1") is None
        stranger.kill()


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}  # type: ignore[attr-defined]


def test_a_taken_port_is_named_with_its_owner(port: int) -> None:
    """Before anything is started the error says which port, for what, and who has it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(UnusableInput, match=f"port {port}, wanted for edge") as caught:
            require_free_port("edge", port)
    assert f"pid {os.getpid()}" in caught.value.message
    require_free_port("edge", port)


def test_a_damaged_record_is_told(layout: Layout, table: ProcessTable) -> None:
    """A record that is no record is an error with the file's name, not a guess."""
    (layout.home / "run" / "edge.json").write_text("{")
    with pytest.raises(CouldNotTell, match=r"run/edge\.json"):
        table.read("edge")
    (layout.home / "run" / "edge.json").write_text('{"pid": 1}')
    with pytest.raises(CouldNotTell, match="not a process record"):
        table.all()


def test_last_lines_of_no_file_and_of_none_wanted(tmp_path: Path) -> None:
    """No log has no lines, and zero lines are none."""
    assert last_lines(tmp_path / "none.log", 5) == []
    (tmp_path / "a.log").write_text("1\n2\n3\n")
    assert last_lines(tmp_path / "a.log", 2) == ["2", "3"]
    assert last_lines(tmp_path / "a.log", 0) == []
