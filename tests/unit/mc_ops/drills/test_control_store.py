"""The control store does not outlive its drill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

_DRILL = """
import sys, time
from pathlib import Path
from mc_ops.drills.control_store import ControlStore
print(ControlStore(Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_drill_that_is_killed(tmp_path: Path) -> None:
    """`kill -9` of mcctl leaves nothing running."""
    drill = subprocess.Popen(
        [sys.executable, "-c", _DRILL, str(tmp_path / "control.txt")], stdout=subprocess.PIPE
    )
    assert drill.stdout is not None
    store = psutil.Process(int(drill.stdout.readline()))
    drill.kill()
    drill.communicate()
    psutil.wait_procs([store], timeout=60)
    assert not store.is_running() or store.status() == psutil.STATUS_ZOMBIE
