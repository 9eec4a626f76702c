"""The service's own `policy` command, run as a process of the same interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from mc_ops.errors import CouldNotTell, UnusableInput

_SERVICE = (sys.executable, "-m", "mc_platform")
_TIMEOUT_S = 600.0
_HOLDS, _FINDING, _USAGE = 0, 1, 2


def ask_service(
    arguments: Sequence[str], *, stdin: str = "", service: Sequence[str] = _SERVICE
) -> tuple[dict[str, Any], bool]:
    """Run `policy ARGUMENTS`.

    Args:
        arguments: The command and its options.
        stdin: What it is given to read.
        service: The workbench's command.

    Returns:
        Its report, and whether what was asked holds.

    Raises:
        UnusableInput: it cannot use its input.
        CouldNotTell: it did not end well.
    """
    try:
        done = subprocess.run(
            [*service, "policy", *arguments],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CouldNotTell(f"the policy command did not finish: {type(error).__name__}") from error
    if done.returncode < 0:
        raise UnusableInput(
            f"the policy engine crashed on the set (signal {-done.returncode})",
            hint="a condition nests too deeply, or is too long: split it",
        )
    if done.returncode == _USAGE:
        message, hint = _said(done.stderr)
        raise UnusableInput(message, hint=hint)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = None
    if done.returncode not in (_HOLDS, _FINDING) or not isinstance(report, dict):
        raise CouldNotTell(f"the policy command failed: {_said(done.stderr)[0]}")
    return report, done.returncode == _HOLDS


def _said(stderr: str) -> tuple[str, str]:
    """The message and the hint of the service's error."""
    lines = (stderr.strip() or "it printed nothing").split("\n")
    hint = next((line.strip().removeprefix("-> ") for line in lines if "-> " in line), "")
    messages = [line for line in lines if line.startswith("error: ")] or [lines[-1]]
    return messages[0].removeprefix("error: "), hint
