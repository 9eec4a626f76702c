"""The files of a canary run: `base.lat`, `cand.lat`, `verdict.json`; and judging files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mc_contract.judgement.verdict import (
    Judgement,
    Samples,
    SamplesUnusable,
    format_samples,
    judge,
    parse_samples,
)
from mc_ops.canary_folder import BASE, CAND, METRICS, VERDICT
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited, writing


def check_out_dir(folder: Path) -> None:
    """Refuse a folder that cannot take a run; makes nothing.

    Raises:
        UnusableInput: When it is a file, cannot be looked at, or has another run's samples.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise UnusableInput(f"cannot make the folder {folder}: there is a file of that name")
        taken = [name for name in (BASE, CAND, VERDICT, METRICS) if (folder / name).exists()]
    except OSError as error:
        raise UnusableInput(f"cannot make the folder {folder}: {error.strerror}") from error
    if taken:
        raise UnusableInput(
            f"{folder} already has {', '.join(taken)}",
            hint="give another --out-dir: samples of two runs must not mix",
        )


def make_out_dir(folder: Path) -> None:
    """Make the run's folder, once there is something to write.

    Raises:
        UnusableInput: When it cannot be made, or has another run's samples.
    """
    check_out_dir(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnusableInput(f"cannot make the folder {folder}: {error.strerror}") from error


def write_run(folder: Path, base: Samples, cand: Samples, verdict: dict[str, Any]) -> None:
    """Write the samples, then the verdict about them (last, so that it never lacks its samples).

    Raises:
        CouldNotTell: When a file cannot be written.
    """
    with writing(folder):
        (folder / BASE).write_bytes(format_samples(base))
        (folder / CAND).write_bytes(format_samples(cand))
    write_verdict(folder, verdict)


def write_verdict(folder: Path, verdict: dict[str, Any]) -> None:
    """Write `verdict.json` alone: a smoke check that failed has no samples.

    Raises:
        CouldNotTell: When it cannot be written.
    """
    write_json(folder / VERDICT, verdict, indent=2)


def write_json(path: Path, told: Mapping[str, Any], *, indent: int) -> None:
    """Write one JSON object.

    Raises:
        CouldNotTell: When it cannot be written.
    """
    text = json.dumps(told, indent=indent, allow_nan=False) + "\n"
    with writing(path.parent):
        path.write_text(text, encoding="utf-8")


def read_samples(path: Path) -> Samples:
    """Read one sample file.

    Raises:
        UnusableInput: When it cannot be read, is not a regular file (a device may have no end),
            is larger than 256 MiB, or is not a sample file.
    """
    data = read_limited(path)
    try:
        return parse_samples(data)
    except SamplesUnusable as error:
        raise UnusableInput(f"{path}: {error.message}", hint=error.hint) from error


def judge_files(
    base: Path,
    cand: Path,
    *,
    margin: float,
    planned_pairs: int | None,
    instances: int = 1,
) -> Judgement:
    """Judge two files alone.

    Raises:
        UnusableInput: When a file or parameter cannot be used: a latency that nothing can have,
            fewer planned pairs than there are, no instance at all.
    """
    sides = [read_samples(path) for path in (base, cand)]
    try:
        return judge(*sides, margin=margin, planned_pairs=planned_pairs, instances=instances)
    except SamplesUnusable as error:
        raise UnusableInput(error.message, hint=error.hint) from error
