"""The files of a canary run that is looked into: found by name, by folder, or the newest HOLD.

A run of GitHub's is downloaded by `gh`, into a folder of its own outside `$MC_HOME/runs`: what
packs evidence of the newest canary must not find it there.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

BASE, CAND, VERDICT = "base.lat", "cand.lat", "verdict.json"
ARTIFACT = "canary-samples"
DEFAULT_RATE = 50.0
LARGEST_BYTES = 256 * 1024 * 1024
_LARGEST_VERDICT_BYTES = 1024 * 1024
_DOWNLOAD_S = 300.0
_GH_NOT_AUTHENTICATED = 4


@dataclass(frozen=True, slots=True)
class CanaryFiles:
    """A run's files.

    Attributes:
        base, cand: The bytes of the sample files; None where the run has none (a smoke check that
            failed).
        verdict: `verdict.json`; None where the run has none (samples alone).
    """

    folder: Path
    base: bytes | None
    cand: bytes | None
    verdict: Mapping[str, Any] | None


def urls_of(told: Mapping[str, Any], side: str) -> tuple[str, ...]:
    """The instances of a side, as the verdict names them; empty if it does not."""
    urls = told.get("urls")
    listed = urls.get(side) if isinstance(urls, dict) else None
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def failures_of(told: Mapping[str, Any], side: str) -> dict[str, int]:
    """Why a side's requests failed, and how many so; empty if the verdict does not tell."""
    failures = told.get("failures")
    counted = failures.get(side) if isinstance(failures, dict) else None
    if not isinstance(counted, dict):
        return {}
    return {str(kind): count for kind, count in counted.items() if isinstance(count, int)}


def rate_of(told: Mapping[str, Any]) -> float:
    """Pairs a second; the canary's default if the verdict does not tell."""
    parameters = told.get("parameters")
    rate = parameters.get("rate_pairs_per_s") if isinstance(parameters, dict) else None
    usable = isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0
    return float(rate) if usable and rate is not None else DEFAULT_RATE


def newest_hold(runs: Path) -> Path:
    """The folder of the newest run on HOLD, by when its verdict was written.

    Raises:
        CouldNotTell: There is none.
    """
    holds = [place for place in _places(runs) if _says(place, "HOLD")]
    if not holds:
        raise CouldNotTell(
            f"no canary on HOLD under {runs}", hint="name a run, or its folder with --dir DIR"
        )
    return max(holds, key=lambda place: (place / VERDICT).stat().st_mtime)


def run_named(runs: Path, name: str) -> Path:
    """The folder of the run of that name: `runs/NAME` or `runs/NAME/canary`.

    Raises:
        UnusableInput: There is none, or the name is a path.
    """
    if Path(name).name != name or name in (".", ".."):
        raise UnusableInput(f'"{name}" is not the name of a run', hint="for a folder: --dir DIR")
    return canary_in(runs / name)


def canary_in(folder: Path) -> Path:
    """The folder itself, or `canary` below it: the one with files of a canary.

    Raises:
        UnusableInput: Neither has any.
    """
    for place in (folder, folder / "canary"):
        if (place / VERDICT).is_file() or all((place / name).is_file() for name in (BASE, CAND)):
            return place
    raise UnusableInput(
        f"{folder} holds no canary", hint=f"expected {BASE} and {CAND}, or {VERDICT}"
    )


def read_files(folder: Path) -> CanaryFiles:
    """What the folder has.

    Raises:
        UnusableInput: A file cannot be read, is too large, or the verdict is not JSON; or one
            sample file is missing.
    """
    base, cand = (_read(folder / name, LARGEST_BYTES) for name in (BASE, CAND))
    if (base is None) != (cand is None):
        missing = BASE if base is None else CAND
        raise UnusableInput(f"{folder} lacks {missing}", hint="both sides are needed to compare")
    data = _read(folder / VERDICT, _LARGEST_VERDICT_BYTES)
    if data is None:
        return CanaryFiles(folder, base, cand, None)
    try:
        verdict = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{folder / VERDICT} is not JSON") from error
    if not isinstance(verdict, dict) or verdict.get("verdict") not in ("HOLD", "PROMOTE"):
        raise UnusableInput(f"{folder / VERDICT} is not a canary's verdict")
    return CanaryFiles(folder, base, cand, verdict)


def download(run_id: str, into: Path) -> Path:
    """The samples of a run of GitHub's workflow, by `gh`.

    Args:
        run_id: The number of the run.
        into: An empty folder.

    Returns:
        The folder with the files.

    Raises:
        CouldNotTell: `gh` is not installed, or could not download it.
        NotAllowed: `gh` is not logged in.
        UnusableInput: What was downloaded holds no canary.
    """
    command = ["gh", "run", "download", run_id, "--name", ARTIFACT, "--dir", str(into)]
    gh = shutil.which("gh")
    if gh is None:
        raise CouldNotTell(
            "gh is not installed, so the run's samples cannot be downloaded",
            hint=f"where it is: {' '.join(command[:-1])} DIR; then --dir DIR",
        )
    try:
        done = subprocess.run(
            [gh, *command[1:]],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_DOWNLOAD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CouldNotTell(f"gh did not download run {run_id} in {_DOWNLOAD_S:.0f} s") from error
    except OSError as error:
        raise CouldNotTell(f"gh cannot be run: {error.strerror}") from error
    if done.returncode == _GH_NOT_AUTHENTICATED:
        raise NotAllowed("gh is not logged in to GitHub", hint="gh auth login")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise CouldNotTell(
            f"gh could not download {ARTIFACT} of run {run_id}: {said[0] if said else 'no reason'}",
            hint="gh run list --workflow=canary-analysis.yml",
        )
    return canary_in(into)


def _places(runs: Path) -> Iterator[Path]:
    if not runs.is_dir():
        return
    for folder in runs.iterdir():
        for place in (folder, folder / "canary"):
            if (place / VERDICT).is_file():
                yield place


def _says(place: Path, word: str) -> bool:
    """Whether its verdict is that; samples, which may be large, are not read."""
    try:
        told = json.loads(_read(place / VERDICT, _LARGEST_VERDICT_BYTES) or b"")
    except (UnusableInput, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("verdict") == word


def _read(path: Path, most: int) -> bytes | None:
    """The bytes; None when there is no such file."""
    try:
        # Non-blocking: to open a pipe that nobody writes to would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableInput(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UnusableInput(f"{path} is not a regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise UnusableInput(f"{path} has over {most} bytes")
    return data
