"""The files of a canary run: `base.lat`, `cand.lat`, `verdict.json`; and judging files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mc_contract.judgement import (
    Judgement,
    Samples,
    SamplesUnusable,
    format_samples,
    judge,
    parse_samples,
)
from mc_ops.errors import CouldNotTell, UnusableInput

BASE, CAND, VERDICT = "base.lat", "cand.lat", "verdict.json"
_LARGEST_BYTES = 512 * 1024 * 1024


def make_out_dir(folder: Path) -> None:
    """Make the run's folder.

    Raises:
        UnusableInput: When it cannot be made, or has another run's samples.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInput(f"cannot make the folder {folder}: {error.strerror}") from error
    taken = [name for name in (BASE, CAND, VERDICT) if (folder / name).exists()]
    if taken:
        raise UnusableInput(
            f"{folder} already has {', '.join(taken)}",
            hint="give another --out-dir: samples of two runs must not mix",
        )


def write_run(folder: Path, base: Samples, cand: Samples, verdict: dict[str, Any]) -> None:
    """Write the samples, then the verdict about them (last, so that it never lacks its samples).

    Raises:
        CouldNotTell: When a file cannot be written.
    """
    try:
        (folder / BASE).write_bytes(format_samples(base))
        (folder / CAND).write_bytes(format_samples(cand))
    except OSError as error:
        raise CouldNotTell(f"cannot write to {folder}: {error.strerror}") from error
    write_verdict(folder, verdict)


def write_verdict(folder: Path, verdict: dict[str, Any]) -> None:
    """Write `verdict.json` alone: a smoke check that failed has no samples.

    Raises:
        CouldNotTell: When it cannot be written.
    """
    text = json.dumps(verdict, indent=2, allow_nan=False) + "\n"
    try:
        (folder / VERDICT).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CouldNotTell(f"cannot write to {folder}: {error.strerror}") from error


def read_samples(path: Path) -> Samples:
    """Read one sample file.

    Raises:
        UnusableInput: When it cannot be read, or is not a sample file.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UnusableInput(f"{path} is larger than {_LARGEST_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"cannot read {path}: {error.strerror}") from error
    try:
        return parse_samples(data)
    except SamplesUnusable as error:
        raise UnusableInput(f"{path}: {error.message}", hint=error.hint) from error


def judge_files(base: Path, cand: Path, *, margin: float, planned_pairs: int | None) -> Judgement:
    """Judge two files alone.

    Raises:
        UnusableInput: When a file or parameter cannot be used.
    """
    try:
        return judge(
            read_samples(base), read_samples(cand), margin=margin, planned_pairs=planned_pairs
        )
    except SamplesUnusable as error:
        raise UnusableInput(error.message, hint=error.hint) from error
