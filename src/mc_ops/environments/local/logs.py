"""The logs of the local platform's processes: the last lines, then each new one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mc_ops.environments.interface import LogLine
from mc_ops.environments.local.processes import last_lines
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
    # Sizes are taken first: a line written meanwhile may be told twice but is never missed.
    positions = {name: (folder / f"{name}.log").stat().st_size for name in names}
    for name in names:
        for text in last_lines(folder / f"{name}.log", lines):
            yield LogLine(name, text)
    rest = dict.fromkeys(names, "")
    while follow:
        quiet = True
        for name in names:
            path = folder / f"{name}.log"
            size = path.stat().st_size if path.exists() else 0
            if size == positions[name]:
                continue
            start = positions[name] if size > positions[name] else 0  # it was begun anew
            with path.open("rb") as file:
                file.seek(start)
                text = rest[name] + file.read().decode("utf-8", "replace")
                positions[name] = file.tell()
            *whole, rest[name] = text.split("\n")
            for line in whole:
                yield LogLine(name, line)
            quiet = False
        if quiet:
            time.sleep(_POLL_S)
