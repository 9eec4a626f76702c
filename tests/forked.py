"""Runs `mcctl` as a process of its own, forked from one that has imported all of it.

A command's own start costs 0.5 to 1.3 CPU-seconds, of which most is importing; a fork costs a
fiftieth. All else is as at a shell: argv, environment, folder, standard streams, exit code, signals.
What tests the start itself (imports, entry point, a terminal) runs the real program.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

MCCTL = str(Path(sys.executable).with_name("mcctl"))
_REQUEST_BYTES = 1 << 20
# They read the environment as they are imported: the child imports them
_READS_ENVIRONMENT = ("typer.rich_utils", "rich.console")


def run(
    command: list[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    stdin: str | bytes | None = None,
    timeout: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(command, capture_output=True, text=True)` of a Python program, forked.

    `command` is `[program, *args]`, where `program` is a file of Python. Raises
    subprocess.TimeoutExpired, after the process was killed.
    """
    content = stdin.encode() if isinstance(stdin, str) else stdin or b""
    asked = {
        "argv": [str(word) for word in command],
        "env": dict(os.environ if env is None else env),
        "cwd": str(cwd or Path.cwd()),
    }
    with (
        tempfile.TemporaryFile() as taken,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        taken.write(content)
        taken.seek(0)
        code = _ended(asked, (taken, out, err), timeout)
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


def _text(written: IO[bytes]) -> str:
    written.seek(0)
    return io.TextIOWrapper(written, encoding="utf-8").read()


def _ended(asked: dict[str, Any], streams: tuple[IO[bytes], ...], timeout: float) -> int:
    """The exit code of the process that is begun so; negative for the signal that ended it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            handed = [theirs.fileno(), *(stream.fileno() for stream in streams)]
            request = json.dumps(asked).encode()
            assert len(request) < _REQUEST_BYTES
            socket.send_fds(_server(), [request], handed)
        pid = int(ours.recv(64))
        ours.settimeout(timeout)
        try:
            status = ours.recv(64)
        except TimeoutError as error:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(asked["argv"], timeout) from error
        assert status, "whoever waited for the process is gone"
        return os.waitstatus_to_exitcode(int(status))


@cache
def _server() -> socket.socket:
    """To a process that has imported the tool-chain; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
    process = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(asked: socket.socket) -> None:
    """Fork for each request, until nobody can ask any more."""
    import mc_ops

    for module in pkgutil.walk_packages(mc_ops.__path__, "mc_ops."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _READS_ENVIRONMENT:
        sys.modules.pop(name, None)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, handed, _, _ = socket.recv_fds(asked, _REQUEST_BYTES, 4)
        if not request:
            return
        if os.fork() == 0:
            asked.close()
            _watch(json.loads(request), handed)
        for number in handed:
            os.close(number)


def _watch(request: dict[str, Any], handed: list[int]) -> None:
    """Begin the process, tell its id, wait for it and tell its status; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    told, *streams = handed
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(request, streams)
    with socket.socket(fileno=told) as answer:
        for number in streams:
            os.close(number)
        answer.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # nobody waits any more
            answer.send(str(status).encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Run the program as its interpreter would; does not return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = request["argv"]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
