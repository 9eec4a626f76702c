"""What it costs in CPU to call `mcctl`, beside a Python that does nothing.

Each command, and the Python, is run seven times in turn; user and system CPU-seconds of its process
and of the processes that it waits for count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _table import Row, add_option, cpu_s_of, finish

RUNS = 7
COMPLETION = {"_MCCTL_COMPLETE": "complete_bash", "COMP_WORDS": "mcctl ", "COMP_CWORD": "1"}
# The words after `mcctl`, and the most CPU-seconds that they may take
COMMANDS = {
    ("--help",): 0.25,
    ("--version",): 0.25,
    ("policy", "apply", "--help"): 0.25,
    ("up", "--bogus"): 0.25,
    ("up", "--colour", "pink"): 0.25,
    ("operations", "show"): 0.25,
    ("completion",): 0.25,
    ("status",): 0.4,
}


def cpu_s(command: list[str], env: dict[str, str]) -> float:
    """The CPU-seconds of a command, of its own and of its children."""
    return cpu_s_of(lambda: subprocess.run(command, env=env, capture_output=True, check=False))


def _row(words: tuple[str, ...], most: float, env: dict[str, str]) -> Row:
    mcctl = str(Path(sys.executable).parent / "mcctl")
    completes = words == ("completion",)
    command = [mcctl] if completes else [mcctl, *words]
    pairs = [
        (
            cpu_s(command, env | COMPLETION if completes else env),
            cpu_s([sys.executable, "-c", "pass"], env),
        )
        for _ in range(RUNS)
    ]
    return Row(
        what=f"mcctl {' '.join(words)}",
        beside="python -c pass",
        values=tuple(ours for ours, _ in pairs),
        unit="CPU-s",
        at_most=most,
        cpu_us=tuple(ours * 1e6 for ours, _ in pairs),
        peer_cpu_us=tuple(bare * 1e6 for _, bare in pairs),
        per="call",
    )


def main() -> int:
    """Measure; 1 if a command takes more than it may."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_option(options)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"MC_HOME": home}
        return finish([_row(words, most, env) for words, most in COMMANDS.items()], given.rows)


if __name__ == "__main__":
    raise SystemExit(main())
