"""What `make bench` says of a script that ended without a figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BENCH = """
import sys, pathlib
sys.path.insert(0, "benchmarks")
import bench
bench.HERE = pathlib.Path(sys.argv.pop())
bench.BESIDE, bench._DRILLS = ("breaks",), {}
sys.exit(bench.main())
"""


def test_a_script_that_breaks_is_named_as_not_measured(tmp_path: Path) -> None:
    """A traceback ends with 1, as a missed target does; only the second leaves a row."""
    (tmp_path / "breaks.py").write_text("raise RuntimeError('the gateway refused')")
    ended = subprocess.run(
        [sys.executable, "-c", BENCH, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "not measured: breaks (it ended without a figure)" in ended.stderr
