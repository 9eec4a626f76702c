"""The folder of a canary: where it is, and what stands in its files.

A run keeps its files in `$MC_HOME/runs/RUN`, a runbook's run in `canary/` below that. Nothing here
is believed yet: whether a verdict follows from its samples is for the callers to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.files import json_object, read_limited

BASE, CAND, VERDICT, METRICS = "base.lat", "cand.lat", "verdict.json", "metrics.json"
SAMPLES = (BASE, CAND)
FINISHED = (*SAMPLES, VERDICT)
_BELOW = "canary"


def canary_in(folder: Path, *names: str) -> Path | None:
    """`folder`, or `canary` below it: the first that has these files (default: all of `FINISHED`)."""
    for place in (folder, folder / _BELOW):
        with suppress(OSError):  # no name that a file can have, or a folder that is not ours
            if all((place / name).is_file() for name in names or FINISHED) and not _is_past(place):
                return place
    return None


def _is_past(folder: Path) -> bool:
    """Whether the verdict is of metrics of the past, which is none of a canary."""
    try:
        return read_verdict(folder).get("kind") == "retrospective"
    except UnusableInput:  # none, or it is told where it is read
        return False


def canaries(runs: Path, *names: str) -> Iterator[Path]:
    """The folders of all runs' canaries that have these files, the newest verdict first."""
    folders = [folder for folder in runs.iterdir() if folder.is_dir()] if runs.is_dir() else []
    found = [place for folder in folders if (place := canary_in(folder, *names))]
    yield from sorted(found, key=lambda place: (place / VERDICT).stat().st_mtime, reverse=True)


def find_canary(wanted: str, runs: Path, *, samples_suffice: bool = False) -> Path:
    """The folder of a canary.

    Args:
        wanted: A folder, or the name of a run under `runs`; the canary may be in it, or in
            `canary/` below it.
        runs: `$MC_HOME/runs`.
        samples_suffice: Take samples without a verdict, too.

    Raises:
        UnusableInput: there is none.
    """
    named = [runs / wanted] if wanted not in (".", "..") and "/" not in wanted else []
    for place in (Path(wanted), *named):
        found = canary_in(place, VERDICT) or (samples_suffice and canary_in(place, *SAMPLES))
        if found:
            return found.resolve()
    raise UnusableInput(
        f"{wanted!r} is no run with a canary's verdict{' or samples' * samples_suffice}",
        hint=f"a folder with {VERDICT}, or the name of a run in {runs}; a retrospective is no canary",
    )


def run_of(folder: Path) -> str:
    """The name of the run whose canary a folder has."""
    found = folder.resolve()
    return found.parent.name if found.name == _BELOW else found.name


def read_verdict(folder: Path) -> dict[str, Any]:
    """What `verdict.json` says.

    Raises:
        UnusableInput: It is missing, unreadable, or no JSON object.
    """
    return json_object(folder / VERDICT, read_limited(folder / VERDICT))


def urls_of(verdict: object, side: str) -> tuple[str, ...]:
    """The addresses that a verdict names for a side; none if it names none."""
    urls = verdict.get("urls") if isinstance(verdict, Mapping) else None
    listed = urls.get(side) if isinstance(urls, Mapping) else None
    return tuple(url for url in listed if isinstance(url, str)) if isinstance(listed, list) else ()
