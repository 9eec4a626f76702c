"""Detached child processes that outlive `mcctl`: start, recognise, wait for, and stop them.

Each process has its own session (a terminal's Ctrl-C does not reach it), one log file, and a
record `run/<name>.json`. A record names a process by pid *and* creation time: pids are reused,
and a stranger that got one of ours must never be signalled. What a process does is not known
here; readiness is a condition that the caller's specification names.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO

import psutil

from mc_contract.log_lines import FILE_SETTING
from mc_ops.environments.interface import Signalled
from mc_ops.environments.local import log_writer
from mc_ops.environments.local.layout import DATABASES
from mc_ops.environments.local.logs import last_lines, open_log
from mc_ops.environments.signals import uninterrupted
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object, write_atomically
from mc_ops.outgoing.loopback import ask

_POLL_S = 0.05
_GRACE_S = 10.0
_PROBE_TIMEOUT_S = 2.0
_LOG_TAIL_LINES = 12
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
        foreign: Whether it is none of our programs: its log is written by `log_writer`.
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
    foreign: bool = False


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
    log_offset: int = 0  # where its log began, in bytes; older records do not have it

    def has_usable_values(self, name: str) -> bool:
        """Whether the values, read from a file, are what a record of `name` may hold."""
        numbers = (self.pid, self.port, self.stop_signal, self.log_offset)
        times = (self.create_time, self.started_at)
        return (
            self.name == name
            and all(isinstance(number, int) for number in numbers)
            and self.pid > 1  # 0 and below would mean whole groups of processes to a signal
            and all(isinstance(when, int | float) for when in times)
            and isinstance(self.settings, dict)
        )

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
    writer: subprocess.Popen[bytes] | None = None

    def ended(self) -> int | None:
        """The status with which it ended, when all that it wrote is in its log; None while it lives."""
        status = self.child.poll()
        if status is not None and self.writer is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.writer.wait(_GRACE_S)
        return status


def http_probe(port: int, path: str) -> Probe:
    """Ready when a path of a local port answers 200."""

    def probe(_: int) -> bool:
        answer = ask(port, path, _PROBE_TIMEOUT_S)
        return answer is not None and answer[0] == HTTPStatus.OK

    return probe


def find_leader(recognised: Callable[[psutil.Process], bool]) -> psutil.Process | None:
    """The leader of a session that `recognised` knows, of those whose details may be read."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            leads = os.getsid(process.pid) == process.pid
            if leads and not _is_zombie(process.pid) and recognised(process):
                return process
    return None


class ProcessTable:
    """The processes of one platform: its records under `run/`, its logs under `log/`."""

    def __init__(self, run: Path, log: Path) -> None:
        self._run = run
        self._log = log

    def read(self, name: str) -> ProcessRecord | None:
        """The record of a process, alive or not; None if it was not started or was stopped."""
        hint = "`mcctl up` or `mcctl down` looks for its process and mends the record"
        kept = read_json_object(self._run / f"{name}.json", hint)
        if kept is None:
            return None
        with contextlib.suppress(TypeError, KeyError):
            record = ProcessRecord(**{**kept, "argv": tuple(kept["argv"])})
            if record.has_usable_values(name):
                return record
        raise CouldNotTell(f"{self._run / name}.json is not a process record", hint=hint)

    def names(self) -> list[str]:
        """The processes that have a record, whatever is in it."""
        return sorted(path.stem for path in self._run.glob("*.json"))

    def all(self) -> tuple[ProcessRecord, ...]:
        """Every record, by name.

        Raises:
            CouldNotTell: one of them is damaged.
        """
        return tuple(record for name in self.names() if (record := self.read(name)))

    def damaged(self) -> list[str]:
        """The names of records that cannot be read."""
        found = []
        for name in self.names():
            try:
                self.read(name)
            except CouldNotTell:
                found.append(name)
        return found

    def adopt(
        self, name: str, process: psutil.Process, port: int, settings: Mapping[str, str]
    ) -> None:
        """Record a living process anew, whose record was damaged."""
        self._write(
            ProcessRecord(
                name=name,
                pid=process.pid,
                create_time=process.create_time(),
                port=port,
                argv=tuple(process.cmdline()),
                started_at=process.create_time(),
                stop_signal=int(signal.SIGINT if name in DATABASES else signal.SIGTERM),
                settings=dict(settings),
            )
        )

    def forget(self, name: str) -> None:
        """Remove a record, and signal nobody."""
        (self._run / f"{name}.json").unlink(missing_ok=True)

    def _write(self, record: ProcessRecord) -> None:
        write_atomically(self._run / f"{record.name}.json", json.dumps(asdict(record), indent=2))

    def alive(self, name: str) -> ProcessRecord | None:
        """The record of a process that lives; None otherwise."""
        record = self.read(name)
        return record if record and record.process() else None

    def start(self, spec: ProcessSpec) -> Started:
        """Start a process in the background; does not wait until it is ready.

        The caller has seen that no process of that name is alive and that its port is free.

        Raises:
            CouldNotTell: the program cannot be executed, or its log not be written.
        """
        log = self._log / f"{spec.name}.log"
        uid, gid = spec.user or (None, None)
        with contextlib.ExitStack() as stack:
            output: IO[bytes] = stack.enter_context(open_log(log))
            stack.enter_context(uninterrupted())
            offset = os.fstat(output.fileno()).st_size
            writer: subprocess.Popen[bytes] | None = None
            try:
                if spec.foreign:
                    writer = _start_writer(log, output)
                    assert writer.stdin is not None
                    output = stack.enter_context(writer.stdin)
                child = subprocess.Popen(
                    spec.argv,
                    env={**spec.env, **({} if spec.foreign else {FILE_SETTING: str(log)})},
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
                log_offset=offset,
            )
            self._write(record)
        return Started(spec=spec, record=record, child=child, writer=writer)

    def wait_ready(self, started: Sequence[Started], timeout_s: float) -> None:
        """Wait until each is ready.

        Raises:
            CouldNotTell: one died (told at once, with its exit and last log lines), or is not
                ready after `timeout_s` seconds.
            UnusableInput: one ended with status 2, which says that what it was given is unusable.
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
                    f"{names} not ready after {timeout_s:g} s{self.tail_of(waiting[0].record)}",
                    hint=self._where(waiting[0]),
                )
            time.sleep(_POLL_S if waiting else 0)

    def _complain_if_dead(self, one: Started) -> None:
        status = one.ended()
        if status is None:
            return
        self.forget(one.spec.name)
        how = f"signal {-status}" if status < 0 else f"status {status}"
        kind = UnusableInput if status == UnusableInput.exit_code else CouldNotTell
        raise kind(
            f"{one.spec.name} ended with {how} while it started{self.tail_of(one.record)}",
            hint=self._where(one),
        )

    def _where(self, one: Started) -> str:
        return f"mcctl logs {one.spec.name} ({self._log / one.spec.name}.log)"

    def tail_of(self, record: ProcessRecord) -> str:
        """The last lines that a process wrote since it was started, for an error's message."""
        return self.tail(record.name, record.log_offset)

    def tail(self, name: str, since: int = 0) -> str:
        """The last lines of a log after byte `since`, each on a line of its own."""
        lines = last_lines(self._log / f"{name}.log", _LOG_TAIL_LINES, start=since)
        return "".join(f"\n    {name} | {line}" for line in lines)

    def signal_all(
        self,
        names: Sequence[str],
        number: int,
        also: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> Signalled:
        """Send a signal to processes with all that they started, and to `also`, as one instant.

        What they started is found first: a database's sessions are in no group of its leader's. That
        takes time on a busy machine, so the clock is read after it.
        """
        found = [(name, record.process()) for name in names if (record := self.read(name))]
        told: list[psutil.Process] = []
        for _, process in found:
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    told += [process, *process.children(recursive=True)]
        at_s = clock()
        for pid in (*(one.pid for one in told), *also):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGKILL:  # one that is still dying would be taken for alive
            psutil.wait_procs(told, timeout=_GRACE_S)
        return Signalled(tuple(name for name, process in found if process is not None), at_s)

    def carry_on(self, name: str) -> bool:
        """Continue a process that a signal has stopped; false if it is not stopped, or not there."""
        record = self.alive(name)
        if record is None or not stands_still(record):
            return False
        return bool(self.signal_all([name], signal.SIGCONT))

    def stop(self, names: Sequence[str], grace_s: float = _GRACE_S) -> None:
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
            self.forget(record.name)


def _start_writer(log: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    names = ("PATH", "PYTHONPATH")
    env = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.Popen(
        (sys.executable, "-m", log_writer.__name__),
        env={**env, FILE_SETTING: str(log)},
        cwd=Path.cwd(),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


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
    if _is_strangers(record):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(record.pid, signal.SIGKILL)


def _has_members(record: ProcessRecord) -> bool:
    """Whether killed members of its session are still on their way out (and hold its port)."""
    if _is_strangers(record):
        return False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == record.pid and not _is_zombie(process.pid):
                return True
    return False


def _is_strangers(record: ProcessRecord) -> bool:
    """Whether the number is another process's by now."""
    gone = record.process() is None
    return gone and psutil.pid_exists(record.pid) and not _is_zombie(record.pid)


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def stands_still(record: ProcessRecord) -> bool:
    """Whether a process lives, and a signal has stopped it."""
    process = record.process()
    try:
        return process is not None and process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False
