"""The files of a canary run that is looked into: found by name, by folder, or the newest HOLD.

A run of GitHub's is downloaded by `gh`, into a folder of its own outside `$MC_HOME/runs`: what
packs evidence of the newest canary must not find it there.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_ops.canary_folder import (
    BASE,
    CAND,
    FINISHED,
    SAMPLES,
    VERDICT,
    canaries,
    canary_in,
    read_verdict,
)
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.files import json_object, read_limited

ARTIFACT = "canary-samples"
DEFAULT_RATE = 50.0
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
    for place in canaries(runs, VERDICT):
        with suppress(UnusableInput):  # somebody else's file
            if read_verdict(place).get("verdict") == "HOLD":
                return place
    raise CouldNotTell(
        f"no canary on HOLD under {runs}", hint="name a run, or its folder with --dir DIR"
    )


def require_canary(folder: Path) -> Path:
    """The folder itself, or `canary` below it: the one with a verdict, or with samples alone.

    Raises:
        UnusableInput: Neither has any.
    """
    found = canary_in(folder, VERDICT) or canary_in(folder, *SAMPLES)
    if found is None:
        raise UnusableInput(
            f"{folder} holds no canary", hint=f"expected {BASE} and {CAND}, or {VERDICT}"
        )
    return found


def read_files(folder: Path) -> CanaryFiles:
    """What the folder has.

    Raises:
        UnusableInput: A file cannot be read, is too large, or the verdict is not JSON; or one
            sample file is missing.
    """
    base, cand, told = (
        read_limited(folder / name) if (folder / name).exists() else None for name in FINISHED
    )
    if (base is None) != (cand is None):
        missing = BASE if base is None else CAND
        raise UnusableInput(f"{folder} lacks {missing}", hint="both sides are needed to compare")
    verdict = None if told is None else json_object(folder / VERDICT, told)
    if verdict is not None and verdict.get("verdict") not in ("HOLD", "PROMOTE"):
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
            encoding="utf-8",
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
        said = done.stderr.strip().split("\n")
        raise CouldNotTell(
            f"gh could not download {ARTIFACT} of run {run_id}: {said[0] or 'no reason'}",
            hint="gh run list --workflow=canary-analysis.yml",
        )
    return require_canary(into)
