"""A benchmark that is ended by a signal stops what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Begins a benchmark in place of the first; what that has started ends by its own `finally`
BENCH = """
import sys
sys.path.insert(0, "benchmarks")
import bench
bench.BESIDE, bench._DRILLS = (), {"drill": ["-c", %r]}
bench.main()
"""
DRILL = """
import argparse, sys, time
sys.path.insert(0, "benchmarks")
import _table
_table.add_option(argparse.ArgumentParser())
try:
    print("started", flush=True)
    time.sleep(60)
finally:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_a_benchmark_started_is_stopped_when_a_signal_ends_it(number: int) -> None:
    """The signal goes to `bench.py` alone, which waits until its script has put all away."""
    with subprocess.Popen(
        [sys.executable, "-c", BENCH % DRILL], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        assert any(line.strip() == "started" for line in bench.stdout)
        os.kill(bench.pid, number)
        assert "stopped" in bench.stdout.read()
        assert bench.wait(60) == 128 + number
