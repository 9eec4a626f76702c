"""`mcctl` itself: usage errors exit 2 and say so, wherever they are made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MCCTL = str(Path(sys.executable).parent / "mcctl")


def _run(*args):
    return subprocess.run([MCCTL, *args], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    "args",
    [("bogus",), ("up", "--bogus"), ("canary", "judge"), ("evidence", "bogus"), ("runbook", "run")],
    ids=" ".join,
)
def test_usage_errors_exit_2_without_a_traceback(args):
    """An unknown verb or option, or a missing argument, is a usage error on stderr."""
    done = _run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: mcctl" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_verb():
    """`mcctl --help` knows all verbs, although each is imported only when it is wanted."""
    done = _run("--help")
    assert done.returncode == 0
    for verb in ("up", "down", "status", "logs", "scale", "wait", "cutover"):
        assert f"\n  {verb} " in done.stdout
    for group in ("canary", "evidence", "runbook", "preflight"):
        assert f"\n  {group} " in done.stdout


def test_version_is_the_packages():
    """`mcctl --version` prints the version alone."""
    from importlib.metadata import version

    assert _run("--version").stdout.strip() == version("mc-platform")
