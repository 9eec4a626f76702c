"""What tests start is as a user would start it, and in nobody else's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests import forked, ports

ROOT = Path(__file__).parents[2]
BEGIN_ANOTHER = """
import subprocess, tests.conftest
subprocess.run(["grep", "SigIgn", "/proc/self/status"], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what is ignored")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_children_of_tests_that_ignore_a_signal_do_not(number: signal.Signals) -> None:
    """As under `nohup make test &`: what a test interrupts ends, as it does at a terminal."""
    made = subprocess.run(
        ["sh", "-c", f'trap "" {number.value}; exec "$0" -c "$1"', sys.executable, BEGIN_ANOTHER],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not int(made.stdout.split()[1], 16) & 1 << (number - 1)


def test_a_block_of_ports_is_nobody_elses_until_it_is_given_back() -> None:
    """Neither this process nor another one that runs tests is given it meanwhile."""
    code = "from tests import ports; print(*[ports.take_block() for _ in range(6)])"
    with ports.free_block() as first, ports.free_block() as second:
        assert first != second
        other = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert not {first, second} & set(map(int, other.stdout.split()))


def test_a_forked_program_is_as_one_that_was_started(tmp_path: Path) -> None:
    """Output, exit code, argv, environment, folder, standard input, and the signal that ended it."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "print(sys.argv[1:], os.environ['WHAT'], os.getcwd(), sys.stdin.read())\n"
        "print('careful', file=sys.stderr)\n"
        "if sys.argv[1] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if sys.argv[1] == 'raise': raise ValueError('no')\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    env = {"WHAT": "é", "PYTHONUTF8": "1"}
    for argument in ("0", "3", "die", "raise"):
        command = [str(program), argument]
        forked_one = forked.run(command, env=env, cwd=tmp_path, stdin="typed")
        started = subprocess.run(
            [sys.executable, *command],
            env=env,
            cwd=tmp_path,
            input="typed",
            capture_output=True,
            text=True,
            check=False,
        )
        assert forked_one.returncode == started.returncode
        if argument in {"0", "3"}:
            assert (forked_one.stdout, forked_one.stderr) == (started.stdout, started.stderr)
        if argument == "raise":
            assert forked_one.stderr.endswith("ValueError: no\n")


def test_a_forked_program_that_takes_too_long_is_killed(
    tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    """As `subprocess.run` does, and what it wrote is not waited for."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        forked.run([str(program)], cwd=tmp_path, timeout=2)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid), what="the program is gone")
