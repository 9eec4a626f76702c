"""What tests start is as a user would start it, and in nobody else's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import ports

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
