"""Writes the log of a program that is none of ours: `python -m mc_ops.environments.local.log_writer`.

Each line that comes is framed with its time, and the file is put aside when it has grown. It ends when
nobody is left who could write to it; it is in no record, for whom it serves does not depend on it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from mc_contract.log_lines import FILE_SETTING, LogOutput, framed

# PostgreSQL's; its LOG is what a server tells in good order
_SEVERITY = re.compile(r"\b(DEBUG|INFO|NOTICE|LOG|WARNING|ERROR|FATAL|PANIC)\d?:  ")
_LEVELS = {
    "DEBUG": "debug",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "critical",
}


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # it has to write down how the other one ended
    output = LogOutput(Path(os.environ[FILE_SETTING]))
    level = "info"
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "replace").rstrip("\n")
        if severity := _SEVERITY.search(text):
            level = _LEVELS.get(severity[1], "info")
        output.write(f"{framed(text, level=level, at=datetime.now(UTC).isoformat())}\n")


if __name__ == "__main__":
    main()
