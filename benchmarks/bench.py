"""Run the benchmarks one after the other, print one table, and compare it with `baseline.json`.

    make bench                        beside their peers, then the comparison
    make bench BASELINE=write         the same, and keep the figures as the new baseline
    make bench-scale [FULL=1]         what things cost at growing sizes
    python benchmarks/bench.py --only gateway decisions

Exit 0; 1 if a row costs more CPU than in the baseline; 3 if a benchmark could not measure. A missed
target stands in the table, and is no failure of the run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _baseline
import _table

HERE = Path(__file__).parent
BESIDE = (
    *("screening", "decisions", "cli", "gateway", "reading", "asking"),
    *("durability", "delivery", "load"),
)
# Those that are there run; each bounds itself to about two minutes unless it is given `--full`
SCALE = ("tenants", "policies", "exports", "ledger", "tasks", "replicas", "memory")
# What is accounted for under load, and has no rows
_DRILLS = {"siege": ["-m", "tests.siege", "--minutes", "2", "--quiet", "30"]}
_SCALE_MOST_S = 900.0
_ENDS_WITHIN_S = 60.0
_MEASURED = (
    0,
    1,
)  # a script's exit codes: all targets met, one missed; a traceback ends with 1 too


def _run(command: list[str], most_s: float | None) -> str | None:
    """Run it to its end; why it did not measure, or None."""
    print(f"\n== {' '.join(Path(word).name for word in command)}", flush=True)
    process = subprocess.Popen([sys.executable, *command])
    try:
        code = process.wait(most_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"did not end within what was left of {_SCALE_MOST_S:.0f} s; FULL=1 has no limit"
    except (
        BaseException
    ):  # a signal: the terminal's reached the script as well, another one did not
        _end(process)
        raise
    return None if code in _MEASURED else f"exit {code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a script, so that it stops what it has started."""
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _size(rows: Path) -> int:
    return rows.stat().st_size if rows.exists() else 0


def _run_all(given: argparse.Namespace, rows: Path) -> dict[str, str]:
    """Run what is asked for; which could not measure, and why."""
    failed, began = {}, time.monotonic()
    for name in SCALE if given.scale else (*BESIDE, *_DRILLS):
        if given.only and name not in given.only:
            continue
        if given.scale and not (HERE / f"{name}.py").exists():
            continue
        command = _DRILLS.get(name, [str(HERE / f"{name}.py"), "--rows", str(rows)])
        if given.full:
            command.append("--full")
        bounded = given.scale and not given.full
        left_s = max(1.0, _SCALE_MOST_S - (time.monotonic() - began)) if bounded else None
        had = _size(rows)
        why = _run(command, left_s)
        if why is None and name not in _DRILLS and _size(rows) == had:
            why = "it ended without a figure"
        if why is not None:
            failed[name] = why
    return failed


def main() -> int:
    """Run, print, compare."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--scale", action="store_true", help="the series instead of the rows")
    options.add_argument("--full", action="store_true", help="with --scale: all sizes, no limit")
    options.add_argument("--only", nargs="+", choices=[*BESIDE, *_DRILLS, *SCALE], metavar="NAME")
    options.add_argument("--baseline", choices=["check", "write"], default="check")
    given = options.parse_args()
    _table.end_by_signals()
    if given.full and not given.scale:
        options.error("--full needs --scale")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        failed = _run_all(given, rows)
        figures = _table.read(rows) if rows.exists() else []
    print(f"\n{_baseline.Machine.here()}\n\n{_table.tables(figures)}\n", flush=True)
    for name, why in failed.items():
        print(f"not measured: {name} ({why})", file=sys.stderr)
    worse = compare(figures, write=given.baseline == "write") if not given.scale else []
    return 1 if worse else 3 if failed else 0


def compare(figures: list[_table.Figure], *, write: bool) -> list[str]:
    """Which rows are worse than in the baseline; prints them."""
    if write:
        _baseline.write(figures, _baseline.FILE)
        print(f"kept as the baseline: {_baseline.FILE.name}")
        return []
    if not _baseline.FILE.exists():
        print("there is no baseline: make bench BASELINE=write keeps one")
        return []
    worse = _baseline.worse(figures, _baseline.read(_baseline.FILE))
    for line in worse:
        print(f"worse than the baseline: {line}", file=sys.stderr)
    if worse:
        print("if it is meant to be: make bench BASELINE=write", file=sys.stderr)
    return worse


if __name__ == "__main__":
    sys.exit(main())
