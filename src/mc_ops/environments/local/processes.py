"""Detached child processes that outlive `mcctl`: start, recognise, wait for, and stop them.

Each process has its own session (a terminal's Ctrl-C does not reach it), one log file, and a
record `run/<name>.json`. A record names a process by pid *and* creation time: pids are reused,
and a stranger that got one of ours must never be signalled. What a process does is not known
here; readiness is a condition that the caller's specification names.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mc_ops.environments.local.layout import HOST, read_json_object, write_atomically
from mc_ops.errors import CouldNotTell, UnusableInput

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_LOG_TAIL_LINES = 12
_LOG_ROTATE_BYTES = 20_000_000
# /proc counts in hundredths of a second, and a clock step shifts what psutil computes from it.
_SAME_CREATION_S = 2.0

Probe = Callable[[int], bool]  # takes the pid of the process that was started


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to start.

    Attributes:
        argv: Program and arguments; never a secret, any user can list them.
        env: The whole environment of the child.
        ready: True once the process serves; called again and again until then.
        user: The unprivileged uid and gid to run as, when mcctl is root.
        stop_signal: What asks it to end in good order.
        settings: Recorded and shown, to see later how it was started; never a secret.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    port: int
    ready: Probe
    cwd: Path
    user: tuple[int, int] | None = None
    stop_signal: int = signal.SIGTERM
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What `run/<name>.json` holds; `create_time` and `started_at` are Unix seconds."""

    name: str
    pid: int
    create_time: float
    port: int
    argv: tuple[str, ...]
    started_at: float
    stop_signal: int
    settings: dict[str, str]

    def process(self) -> psutil.Process | None:
        """The living process that this record means; None if it is gone."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.create_time) > _SAME_CREATION_S:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.Error:
            return None


@dataclass(slots=True)
class Started:
    """A process that this call started and may still have to be waited for."""

    spec: ProcessSpec
    record: ProcessRecord
    child: subprocess.Popen[bytes]


def ask(port: int, path: str, timeout_s: float) -> tuple[int, bytes] | None:
    """GET a path of a local process; its status and body, or None when it does not answer.

    Plain `http.client`: readiness is asked for dozens of times, and an HTTP library that loads
    its certificates each time would keep the very processes waiting that are starting.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def http_probe(port: int, path: str) -> Probe:
    """Ready when a path of a local port answers 200."""

    def probe(_: int) -> bool:
        answer = ask(port, path, _PROBE_TIMEOUT_S)
        return answer is not None and answer[0] == http.client.OK

    return probe


def require_free_port(name: str, port: int) -> None:
    """See that `port` can be bound, before anything is started.

    Raises:
        UnusableInput: it is taken; the message says by whom, if the system tells.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UnusableInput(
                f"port {port}, wanted for {name}, is taken by {_owner_of(port)}",
                hint="stop that process, or set MC_EDGE_PORT to another range",
            ) from error


def _owner_of(port: int) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            listening = connection.status == psutil.CONN_LISTEN
            if listening and address and address.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"


class ProcessTable:
    """The processes of one platform: its records under `run/`, its logs under `log/`."""

    def __init__(self, run: Path, log: Path) -> None:
        self._run = run
        self._log = log

    def read(self, name: str) -> ProcessRecord | None:
        """The record of a process, alive or not; None if it was not started or was stopped."""
        kept = read_json_object(self._run / f"{name}.json")
        if kept is None:
            return None
        try:
            return ProcessRecord(**{**kept, "argv": tuple(kept["argv"])})
        except (TypeError, KeyError) as error:
            raise CouldNotTell(
                f"{self._run / name}.json is not a process record",
                hint="remove the file after looking for the process it names",
            ) from error

    def all(self) -> tuple[ProcessRecord, ...]:
        """Every record, by name."""
        names = sorted(path.stem for path in self._run.glob("*.json"))
        return tuple(record for name in names if (record := self.read(name)))

    def alive(self, name: str) -> ProcessRecord | None:
        """The record of a process that lives; None otherwise."""
        record = self.read(name)
        return record if record and record.process() else None

    def start(self, spec: ProcessSpec) -> Started:
        """Start a process in the background; does not wait until it is ready.

        The caller has seen that no process of that name is alive and that its port is free.

        Raises:
            CouldNotTell: the program cannot be executed.
        """
        log = self._log / f"{spec.name}.log"
        if log.exists() and log.stat().st_size > _LOG_ROTATE_BYTES:
            log.replace(log.with_suffix(".log.1"))
        uid, gid = spec.user or (None, None)
        with log.open("ab") as output, uninterrupted():
            try:
                child = subprocess.Popen(
                    spec.argv,
                    env=dict(spec.env),
                    cwd=spec.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=uid,
                    group=gid,
                    extra_groups=None if uid is None else [],
                )
            except OSError as error:
                raise CouldNotTell(f"{spec.name} cannot be started: {error}") from error
            record = ProcessRecord(
                name=spec.name,
                pid=child.pid,
                create_time=psutil.Process(child.pid).create_time(),
                port=spec.port,
                argv=spec.argv,
                started_at=time.time(),
                stop_signal=int(spec.stop_signal),
                settings=dict(spec.settings),
            )
            write_atomically(self._run / f"{spec.name}.json", json.dumps(asdict(record), indent=2))
        return Started(spec=spec, record=record, child=child)

    def wait_ready(self, started: Sequence[Started], timeout_s: float) -> None:
        """Wait until each is ready.

        Raises:
            CouldNotTell: one died (told at once, with its exit and last log lines), or is not
                ready after `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        waiting = list(started)
        while waiting:
            for one in waiting:
                self._complain_if_dead(one)
            waiting = [one for one in waiting if not one.spec.ready(one.record.pid)]
            if waiting and time.monotonic() > deadline:
                names = ", ".join(one.spec.name for one in waiting)
                raise CouldNotTell(
                    f"{names} not ready after {timeout_s:g} s{self.tail(waiting[0].spec.name)}",
                    hint=f"mcctl logs {waiting[0].spec.name}",
                )
            time.sleep(_POLL_S if waiting else 0)

    def _complain_if_dead(self, one: Started) -> None:
        status = one.child.poll()
        if status is None:
            return
        (self._run / f"{one.spec.name}.json").unlink(missing_ok=True)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise CouldNotTell(
            f"{one.spec.name} ended with {how} while it started{self.tail(one.spec.name)}",
            hint=f"mcctl logs {one.spec.name}",
        )

    def tail(self, name: str) -> str:
        """The last lines of a log, each on a line of its own, for an error's message."""
        lines = last_lines(self._log / f"{name}.log", _LOG_TAIL_LINES)
        return "".join(f"\n    {name} | {line}" for line in lines)

    def stop(self, names: Sequence[str], grace_s: float) -> None:
        """Stop processes side by side: ask, wait `grace_s` seconds, then kill; forget them.

        One that is gone already, or whose pid belongs to another process now, is only forgotten.
        """
        records = [record for name in names if (record := self.read(name))]
        for record in records:
            _signal(record, record.stop_signal)
        deadline = time.monotonic() + grace_s
        while any(_lives(record) for record in records) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for record in records:
            # Ended in good order or not: nothing of its session may stay behind.
            _kill_session(record)
        while any(_lives(record) or _has_members(record) for record in records):
            time.sleep(_POLL_S)
        for record in records:
            (self._run / f"{record.name}.json").unlink(missing_ok=True)


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log, reading no more than its last 64 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65_536))
            return file.read().decode("utf-8", "replace").splitlines()[-count:] if count else []
    except FileNotFoundError:
        return []


def _lives(record: ProcessRecord) -> bool:
    # A child of this very process stays a zombie until it is waited for.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(record.pid, os.WNOHANG)
    return record.process() is not None


def _signal(record: ProcessRecord, number: int) -> None:
    process = record.process()
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if process:
            process.send_signal(number)


def _kill_session(record: ProcessRecord) -> None:
    # A leader that died leaves its group's number taken while a member lives, so a group of
    # that number whose leader is gone can only be ours; a living stranger has its own.
    process = record.process()
    if process is None and psutil.pid_exists(record.pid) and not _is_zombie(record.pid):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(record.pid, signal.SIGKILL)


def _has_members(record: ProcessRecord) -> bool:
    """Whether killed members of its session are still on their way out (and hold its port)."""
    if record.process() is None and psutil.pid_exists(record.pid) and not _is_zombie(record.pid):
        return False  # the number is a stranger's now
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == record.pid and not _is_zombie(process.pid):
                return True
    return False


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block is through: a child's birth, a clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, Any]] = []
    before = {
        int(number): signal.signal(number, lambda *event: held.append(event))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, _ in held[:1]:
            signal.raise_signal(number)
