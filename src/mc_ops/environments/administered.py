"""What a command of the service, run by `administer`, printed: its report, and what it said beside it."""

from __future__ import annotations

import json
from subprocess import CompletedProcess
from typing import Any


def report_of(done: CompletedProcess[str]) -> dict[str, Any]:
    """The report of a command that succeeded: the last line of its output, as JSON."""
    report: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return report


def said_by(done: CompletedProcess[str]) -> list[str]:
    """The lines on its stderr, of which U+2028 in a text makes no more; `status N` if there is none."""
    return (done.stderr.strip() or f"status {done.returncode}").split("\n")
