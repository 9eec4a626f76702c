"""Histories of a tenant's home, given to porcupine (tests/porcupine) as a register."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent / "porcupine"


@dataclass(frozen=True)
class Step:
    """One look at the home by a client, or a move that it waited for; times in nanoseconds."""

    client: int
    call: int
    end: int
    term: int
    moved: bool = False


def is_linearizable(steps: Iterable[Step]) -> bool:
    """Whether a register could have answered so; skips the test where porcupine cannot be built."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed, so porcupine cannot be asked")
    built = subprocess.run(
        [go, "build", "-o", "/dev/null", "."],
        cwd=_FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"porcupine cannot be built: {built.stderr[-300:]}")
    lines = []
    for step in steps:
        told = asdict(step)
        told["return"] = told.pop("end")
        lines.append(json.dumps(told))
    done = subprocess.run(
        [go, "run", "."],
        cwd=_FOLDER,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[:1] in (["ok"], ["illegal"]), done.stdout + done.stderr
    return done.stdout.startswith("ok")
