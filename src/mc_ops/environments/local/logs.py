"""The logs of the local platform's processes: the last lines, then each new one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mc_ops.environments.interface import LogLine
from mc_ops.environments.local.processes import end_of_whole_lines, last_lines
from mc_ops.errors import UnusableInput

_POLL_S = 0.2


def read_logs(folder: Path, names: Sequence[str], *, lines: int, follow: bool) -> Iterator[LogLine]:
    """Yield the last `lines` lines of each log; with `follow`, go on until closed.

    Raises:
        UnusableInput: a name has no log here.
    """
    known = sorted(path.stem for path in folder.glob("*.log"))
    for name in names:
        if name not in known:
            raise UnusableInput(
                f'there is no log of "{name}"',
                hint=f"known: {', '.join(known) or 'none, the platform was never started'}",
            )
    return _lines(folder, list(names) or known, lines, follow)


def _lines(folder: Path, names: list[str], lines: int, follow: bool) -> Iterator[LogLine]:
    # A line that is still being written is told when it is whole, if somebody waits for that.
    positions = {n: end_of_whole_lines(folder / f"{n}.log") for n in names} if follow else {}
    for name in names:
        for text in last_lines(folder / f"{name}.log", lines, end=positions.get(name)):
            yield LogLine(name, text)
    while follow:
        quiet = True
        for name in names:
            path = folder / f"{name}.log"
            size = path.stat().st_size if path.exists() else 0
            if size < positions[name]:
                positions[name] = 0  # it was begun anew
            if size == positions[name]:
                continue
            with path.open("rb") as file:
                file.seek(positions[name])
                *whole, rest = file.read().split(b"\n")
                positions[name] = file.tell() - len(rest)
            for line in whole:
                yield LogLine(name, line.decode("utf-8", "replace"))
                quiet = False
        if quiet:
            time.sleep(_POLL_S)
