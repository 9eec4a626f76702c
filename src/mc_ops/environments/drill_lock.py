"""One drill at a time: its lock, in which whoever looks sees which one is under way."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mc_ops.errors import CouldNotTell
from mc_ops.files import lock

LOCK = "drill.lock"
_LOOKED_AT_S = 0.5  # who only looks has it for a moment


@dataclass(frozen=True, slots=True)
class RunningDrill:
    """A drill that is under way; `began_at` is ISO 8601 in UTC."""

    run: str
    scenario: str
    began_at: str


def running_drill(home: Path) -> RunningDrill | None:
    """The drill that is under way on this platform, or on the one that this is the second region of."""
    return _held(home) or _held(home.parent)


def _held(home: Path) -> RunningDrill | None:
    try:
        with (home / LOCK).open(encoding="utf-8") as file:
            if lock(file, 0, fcntl.LOCK_SH):  # two who look must not take each other for a drill
                return None
            return RunningDrill(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None


def require_no_drill(home: Path) -> None:
    """See that no drill is under way.

    Raises:
        CouldNotTell: one is: what it broke would be mended amid it, or what it mends changed.
    """
    if drill := running_drill(home):
        raise CouldNotTell(
            f"a drill is under way on this platform: {drill.scenario}, since {drill.began_at} ({drill.run})",
            hint="wait until it has ended: mcctl status shows it; Ctrl-C where it runs ends it at once",
        )


@contextmanager
def only_drill(home: Path, drill: RunningDrill) -> Iterator[None]:
    """Hold the platform's drill lock.

    Raises:
        CouldNotTell: another drill is under way.
    """
    with (home / LOCK).open("a+", encoding="utf-8") as file:
        if not lock(file, _LOOKED_AT_S):
            other = running_drill(home)
            told = f": {other.scenario}, since {other.began_at} ({other.run})" if other else ""
            raise CouldNotTell(
                f"a drill is under way on this platform{told}", hint="wait until it has ended"
            )
        file.truncate(0)
        file.write(
            json.dumps({"run": drill.run, "scenario": drill.scenario, "began_at": drill.began_at})
        )
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
