"""What it costs in CPU to call `mcctl`, beside a Python that does nothing.

Each command is run seven times; the median of the user and system CPU-seconds of its process counts.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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
    """The median CPU-seconds of a command, of its own and of its children."""
    taken = []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=env, capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def main() -> int:
    """Print a line for each command; 1 if one takes more than it may."""
    mcctl = str(Path(sys.executable).parent / "mcctl")
    slow = 0
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"MC_HOME": home}
        print(f"{'python -c pass':<28}{cpu_s([sys.executable, '-c', 'pass'], env):.3f} CPU-s")
        for words, most in COMMANDS.items():
            completes = words == ("completion",)
            command = [mcctl] if completes else [mcctl, *words]
            taken = cpu_s(command, env | COMPLETION if completes else env)
            slow += taken > most
            name = f"mcctl {' '.join(words)}"
            print(f"{name:<28}{taken:.3f} CPU-s, at most {most} is wanted")
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
