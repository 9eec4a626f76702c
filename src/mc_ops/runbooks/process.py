"""One block's bash: a process group of its own, its output in a log, an end to it on demand.

The child writes straight into the log file and the engine reads the file's growth: a killed
engine neither blocks the child nor loses its output, and what a step leaves running in the
background cannot hold the engine. Where there are secrets, a small process between masks them; it
lives as long as the last that writes. What a block means (step, check, undo) is `engine`'s.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from mc_ops.errors import CouldNotTell
from mc_ops.runbooks import mask
from mc_ops.runbooks.model import Script

POLL_S = 0.05
# The block is what comes on stdin, once the journal knows the pid, up to a NUL. An engine that is killed
# before closes the pipe, and the block ends without having begun. As an argument a block could have no
# more than 128 KiB. The variable that holds it is gone when its first line runs.
_GATE = """IFS= read -r -d '' _block || exit 3
exec </dev/null
set -euo pipefail
eval 'unset _block; '"$_block"
"""
_MASKER_S = 5.0
# How long a block may take to end after each signal before the next, harder one.
GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class Finished:
    """How a block ended; `interrupted` and `timed_out` say that the engine ended it."""

    exit: int
    duration_s: float
    output_sha256: str
    interrupted: bool = False
    timed_out: bool = False


def execute(
    script: Script,
    *,
    root: Path,
    environment: Mapping[str, str],
    log: Path,
    stream: Callable[[bytes], None],
    started: Callable[[int], None],
    interrupted: Callable[[], bool],
    secrets: tuple[str, ...] = (),
) -> Finished:
    """Run a block with `bash -euo pipefail -c` and wait for its end.

    The block begins only after `started` returned.

    Args:
        script: The block.
        root: Where it runs.
        environment: The whole environment.
        log: The file that gets stdout and stderr; it must not exist yet.
        stream: Gets the output as it grows.
        started: Gets the pid, which is also the process group's and the session's id.
        interrupted: Asked often; True ends the block.
        secrets: Values that must not get into the log.

    Raises:
        CouldNotTell: bash cannot be started, or the log cannot be written.
    """
    began = time.monotonic()
    process, masker = _start(root, environment, log, secrets)
    broken_off = timed_out = False
    with log.open("rb") as output:
        try:
            started(process.pid)
            _release(process, script)
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                stream(output.read())
                broken_off = interrupted()
                timed_out = time.monotonic() - began > script.timeout_s
                if process.returncode is None and (broken_off or timed_out):
                    break
                broken_off = timed_out = False
        finally:
            # Also when the engine itself fails here: a block never outlives its engine's error.
            if process.poll() is None:
                _end(process)
            if masker is not None:  # what a step left running in the background may hold it open
                with contextlib.suppress(subprocess.TimeoutExpired):
                    masker.wait(_MASKER_S)
        stream(output.read())
    return Finished(
        exit=process.returncode,
        duration_s=round(time.monotonic() - began, 3),
        output_sha256=hashlib.sha256(log.read_bytes()).hexdigest(),
        interrupted=broken_off,
        timed_out=timed_out,
    )


def _start(
    root: Path,
    environment: Mapping[str, str],
    log: Path,
    secrets: tuple[str, ...],
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes] | None]:
    """The block's bash, waiting for its line, and what masks its output, if anything does."""
    masker = None
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if secrets:
                masker, descriptor = _masked(descriptor, secrets)
            process = subprocess.Popen(
                ["bash", "-c", _GATE],
                cwd=root,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CouldNotTell(
            f"step cannot be started: {error.strerror}: {error.filename}",
            hint="runbook steps need bash and a writable state directory",
        ) from error
    return process, masker


def _masked(log: int, secrets: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], int]:
    """Start what masks; gives it, and the descriptor to write to. Takes the log's over."""
    reader, writer = os.pipe()
    try:
        masker = subprocess.Popen(
            [sys.executable, "-I", "-S", mask.__file__],
            env={"MASK": json.dumps(secrets)},
            stdin=reader,
            stdout=log,
            start_new_session=True,
        )
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    os.close(log)
    return masker, writer


def _release(process: subprocess.Popen[bytes], script: Script) -> None:
    """Let the block begin; one that was ended from outside meanwhile has no reader any more."""
    if process.stdin:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(script.text.encode() + b"\0")
            process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the block's whole group, then ask harder; returns when none of it is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, number):
            break
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            process.poll()  # reaps the leader, without which its group would seem alive
            if not _signal_group(process.pid, 0):
                break
            if process.returncode is not None and number == signal.SIGINT:
                break  # background children ignore SIGINT by POSIX; go on to SIGTERM at once
            time.sleep(POLL_S)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def left_over(pid: int, run_id: str) -> list[psutil.Process]:
    """Processes of a block whose engine was killed: same session, same run.

    A pid may have been given to somebody else since; the run's id in the environment tells.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == pid and process.environ().get("RUN_ID") == run_id:
                found.append(process)
    return found


def stop(processes: list[psutil.Process]) -> None:
    """Interrupt left-over processes, and kill what is still there after the grace period."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(ending)
        wait_s = 1.0 if ending == signal.SIGINT else GRACE_S
        _, processes = psutil.wait_procs(processes, timeout=wait_s)
