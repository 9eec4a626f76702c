"""Detached processes: started, recognised, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mc_ops.environments.local.layout import Layout
from mc_ops.environments.local.logs import last_lines
from mc_ops.environments.local.processes import ProcessSpec, ProcessTable, find_leader
from mc_ops.environments.local.start import require_free_port
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


def test_a_stopped_process_carries_on(layout: Layout, table: ProcessTable) -> None:
    """Only one that a signal has stopped is continued, and said to have been."""
    started = table.start(spec(layout, SLEEPS))
    table.wait_ready([started], 20)
    record = table.alive("blue-1")
    assert record
    process = psutil.Process(record.pid)
    assert not table.carry_on("blue-1")
    table.signal_all(["blue-1"], signal.SIGSTOP)
    while process.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    assert table.carry_on("blue-1")
    while process.status() == psutil.STATUS_STOPPED:
        time.sleep(0.01)
    table.stop(["blue-1"], 5)
    assert not table.carry_on("blue-1")


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
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(UnusableInput, match=f"port {port}, wanted for edge") as caught,
    ):
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


@pytest.mark.parametrize(
    "text",
    ['{"pid": 0}', "[]", '{"name": "blue-1", "argv": 3}', "\x00"],
)
def test_damaged_records_are_listed_and_hide_no_other(
    text: str, layout: Layout, table: ProcessTable
) -> None:
    """Whatever is in one, the others are read, and its process can be recorded anew."""
    started = table.start(spec(layout, SLEEPS))
    table.wait_ready([started], 20)
    (layout.home / "run" / "edge.json").write_text(text)
    assert table.names() == ["blue-1", "edge"]
    assert table.damaged() == ["edge"]
    table.forget("edge")
    (layout.home / "run" / "blue-1.json").write_text(text)
    found = find_leader(lambda process: process.pid == started.record.pid)
    assert found
    table.adopt("blue-1", found, started.record.port, {})
    assert table.damaged() == []
    table.stop(["blue-1"], 5)
    assert started.record.process() is None


@pytest.mark.parametrize("pid", [0, -1, 1, "7", None])
def test_a_record_of_an_impossible_pid_is_damaged(
    pid: object, layout: Layout, table: ProcessTable
) -> None:
    """A pid that would mean a whole group of processes is never signalled."""
    started = table.start(spec(layout, SLEEPS))
    path = layout.home / "run" / "blue-1.json"
    whole = path.read_text()
    path.write_text(json.dumps({**json.loads(whole), "pid": pid}))
    assert table.damaged() == ["blue-1"]
    path.write_text(whole)
    table.stop(["blue-1"], 5)
    assert started.record.process() is None


def test_a_failure_shows_what_this_start_wrote(layout: Layout, table: ProcessTable) -> None:
    """Last words of an earlier start are not shown; status 2 says that its input is unusable."""
    layout.log_of("blue-1").write_text("an older failure\n")
    started = table.start(spec(layout, "print('bad setting'); raise SystemExit(2)"))
    with pytest.raises(UnusableInput, match="status 2") as caught:
        table.wait_ready([started], 60)
    assert "blue-1 | bad setting" in caught.value.message
    assert "older" not in caught.value.message


@pytest.mark.parametrize("count", [1, 3, 500, 1000, 5000])
def test_last_lines_are_whole_however_long(count: int, tmp_path: Path) -> None:
    """As many lines as were asked for, none of them cut, beyond any block's size."""
    lines = [f"{number} {'é' * (number % 700)}" for number in range(1000)]
    (tmp_path / "a.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert last_lines(tmp_path / "a.log", count) == lines[-count:]
    (tmp_path / "b.log").write_text("x" * 200_000 + "\n" + "y" * 200_000)
    assert [len(line) for line in last_lines(tmp_path / "b.log", count)] == [200_000] * min(
        count, 2
    )
    assert last_lines(tmp_path / "b.log", count, start=200_001) == ["y" * 200_000]


def test_the_port_of_another_platform_is_told_with_its_home(
    layout: Layout, table: ProcessTable, port: int
) -> None:
    """Its owner is named with the MC_HOME that it was started for."""
    listens = (
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); "
        "print('awake', flush=True); time.sleep(60)"
    )
    env = {**os.environ, "MC_HOME": "/other/home", "MC_PORT": str(port), "MC_EDGE_STATE_FILE": "x"}
    table.wait_ready([table.start(replace(spec(layout, listens), env=env))], 20)
    with pytest.raises(UnusableInput, match="the edge of an MC Platform, MC_HOME=/other/home") as c:
        require_free_port("edge", port)
    assert "MC_HOME=/other/home mcctl down" in c.value.hint
    table.stop(["blue-1"], 5)


def test_last_lines_of_no_file_and_of_none_wanted(tmp_path: Path) -> None:
    """No log has no lines, and zero lines are none."""
    assert last_lines(tmp_path / "none.log", 5) == []
    (tmp_path / "a.log").write_text("1\n2\n3\n")
    assert last_lines(tmp_path / "a.log", 2) == ["2", "3"]
    assert last_lines(tmp_path / "a.log", 0) == []


def test_logs_and_records_are_private_whatever_the_umask(
    layout: Layout, table: ProcessTable
) -> None:
    """Only their owner reads them, and a log that was open to others is closed to them."""
    before = os.umask(0)
    try:
        table.wait_ready([table.start(spec(layout, SLEEPS))], 20)
        log, record = layout.log_of("blue-1"), layout.home / "run" / "blue-1.json"
        assert [path.stat().st_mode & 0o777 for path in (log, record)] == [0o600, 0o600]
        table.stop(["blue-1"], 5)
        log.chmod(0o644)
        with log.open("ab") as file:
            file.truncate(21_000_000)
        table.start(spec(layout, SLEEPS))
        rotated = log.with_suffix(".log.1")
        assert [path.stat().st_mode & 0o777 for path in (log, rotated)] == [0o600, 0o600]
    finally:
        os.umask(before)
        table.stop(["blue-1"], 5)


def test_a_log_that_is_a_link_is_refused(layout: Layout, table: ProcessTable) -> None:
    """A link in a log's place would let its target be written to and its mode be changed."""
    target = layout.home / "elsewhere"
    target.write_text("")
    layout.log_of("blue-1").symlink_to(target)
    with pytest.raises(CouldNotTell, match=r"blue-1\.log"):
        table.start(spec(layout, SLEEPS))
    assert target.read_text() == ""


def test_the_time_of_a_signal_is_taken_between_the_look_up_and_the_first_one(
    layout: Layout, table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look processes up is slow on a busy machine, and nothing is broken yet while it lasts."""
    started = table.start(spec(layout, WITH_CHILD, "child"))
    table.wait_ready([started], 20)
    order: list[str] = []
    look_up, send = psutil.Process.children, os.kill

    def children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
        order.append("look up")
        return look_up(process, recursive=recursive)

    def kill(pid: int, number: int) -> None:
        order.append("signal")
        send(pid, number)

    def clock() -> float:
        order.append("clock")
        return 7.0

    monkeypatch.setattr(psutil.Process, "children", children)
    with monkeypatch.context() as kills:
        kills.setattr(os, "kill", kill)
        sent = table.signal_all(["blue-1"], signal.SIGSTOP, (), clock)
    assert order == ["look up", "clock", "signal", "signal"]
    assert (sent.names, sent.at_s) == (("blue-1",), 7.0)
    table.stop(["blue-1"], 0)
