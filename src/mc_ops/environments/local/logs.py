"""The log files of the local platform's processes: opened to write, read to the last line and on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mc_ops.environments.interface import LogLine
from mc_ops.errors import CouldNotTell, UnusableInput

_POLL_S = 0.2
_LOG_ROTATE_BYTES = 20_000_000
_BLOCK_BYTES = 65_536


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


def open_log(path: Path) -> BinaryIO:
    """A log to append to, which only this user reads; one that grew large is put aside first.

    Raises:
        CouldNotTell: it cannot be opened, or is a link.
    """
    try:
        handle = _open_private(path)
        if os.fstat(handle).st_size > _LOG_ROTATE_BYTES:
            os.close(handle)
            path.replace(path.with_suffix(".log.1"))
            handle = _open_private(path)
    except OSError as error:
        raise CouldNotTell(f"the log {path} cannot be opened: {error.strerror}") from error
    return os.fdopen(handle, "ab")


def _open_private(path: Path) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    # Whatever the umask, and whatever an earlier version made it.
    os.fchmod(handle, 0o600)
    return handle


def last_lines(path: Path, count: int, *, start: int = 0, end: int | None = None) -> list[str]:
    """The last `count` lines of a log, however long, between two places in it.

    Args:
        path: The log; no lines if there is none.
        count: How many lines at most.
        start: The byte where to begin; 0 if the log is shorter, for it was begun anew then.
        end: The byte where to end; None for the end of the log.
    """
    blocks: list[bytes] = []
    newlines = 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            first = start if start <= size else 0
            for _, block in _backwards(file, first, size if end is None else min(end, size)):
                blocks.append(block)
                newlines += block.count(b"\n")
                # One more than lines: the one that ends the line before the first wanted.
                if newlines > count:
                    break
    except FileNotFoundError:
        return []
    lines = b"".join(reversed(blocks)).split(b"\n")
    if not lines[-1]:
        del lines[-1]
    return [line.decode("utf-8", "replace") for line in lines[-count:]] if count else []


def end_of_whole_lines(path: Path) -> int:
    """Where in a log the last line ends that is whole; 0 if there is none."""
    with path.open("rb") as file:
        for begin, block in _backwards(file, 0, file.seek(0, os.SEEK_END)):
            if (found := block.rfind(b"\n")) >= 0:
                return begin + found + 1
    return 0


def _backwards(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """What stands between two places, in blocks, the last one first: where it begins, and it."""
    while end > start:
        begin = max(start, end - _BLOCK_BYTES)
        file.seek(begin)
        yield begin, file.read(end - begin)
        end = begin
