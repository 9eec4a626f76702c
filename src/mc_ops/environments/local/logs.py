"""The log files of the local platform's processes: opened to write, read to the last line and on.

A process puts its file aside as `NAME.log.1` when that has grown, and writes on in another; reading goes
over both.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from mc_contract.log_lines import MOST_BYTES, aside_of, open_private, put_aside
from mc_ops.environments.interface import LogFilter, LogLine
from mc_ops.environments.log_lines import in_order, merged, read_line
from mc_ops.errors import CouldNotTell, UnusableInput

_POLL_S = 0.2
_BLOCK_BYTES = 65_536


def read_logs(
    folders: Mapping[str, Path], names: Sequence[str], wanted: LogFilter
) -> Iterator[LogLine]:
    """Yield the lines that are wanted of each log, in the order of their times over all logs.

    With `follow`, go on until closed; without names, also with logs that begin meanwhile.

    Args:
        folders: Where logs are, by what their names begin with.

    Raises:
        UnusableInput: a name has no log here.
        CouldNotTell: there is no log at all, and nobody waits for one.
    """
    known = _known(folders)
    if not known and not names and not wanted.follow:
        raise CouldNotTell(
            f"no log is kept in {', '.join(map(str, folders.values()))}", hint="start it: mcctl up"
        )
    for name in names:
        if name not in known:
            raise UnusableInput(
                f'there is no log of "{name}"',
                hint=f"known: {', '.join(known) or 'none, the platform was never started'}",
            )
    return _lines(folders, {name: known[name] for name in names} or known, bool(names), wanted)


def _known(folders: Mapping[str, Path]) -> dict[str, Path]:
    return {
        f"{prefix}{path.stem}": path
        for prefix, folder in folders.items()
        for path in sorted(folder.glob("*.log"))
    }


def _lines(
    folders: Mapping[str, Path], paths: Mapping[str, Path], named: bool, wanted: LogFilter
) -> Iterator[LogLine]:
    with contextlib.ExitStack() as stack:
        logs = {
            name: stack.enter_context(contextlib.closing(_Log(name, path, wanted)))
            for name, path in paths.items()
        }
        yield from merged([log.last() for log in logs.values()])
        while wanted.follow:
            new = list(merged([log.more() for log in logs.values()]))
            yield from new
            if not new:
                time.sleep(_POLL_S)
            for name, path in () if named else _known(folders).items():
                if name not in logs:
                    log = _Log(name, path, wanted, end=0)
                    logs[name] = stack.enter_context(contextlib.closing(log))


class _Log:
    """One process's log, read from an open file: what is put aside meanwhile is read to its end.

    Args:
        end: Where to follow from; None for the end of the last whole line.
    """

    def __init__(self, name: str, path: Path, wanted: LogFilter, end: int | None = None) -> None:
        self._name, self._path, self._wanted = name, path, wanted
        self._file: BinaryIO = path.open("rb")
        size = self._file.seek(0, os.SEEK_END)
        if end is None:
            # A line that is still being written is told when it is whole, if somebody waits for that.
            end = _end_of_whole_lines(self._file) if wanted.follow else size
        self._position = end
        self._at = 0.0
        self._is_aside = False

    def close(self) -> None:
        self._file.close()

    def last(self) -> list[LogLine]:
        """The last lines that are wanted."""
        since_s = self._wanted.since_s
        found: list[LogLine] = []
        without_time: list[str] = []
        for text in self._backwards():
            without_time.append(text)
            at = read_line(text).at
            if at is None and (since_s or len(without_time) != self._wanted.lines):
                continue
            if at is not None and at < since_s:
                break
            found += self._of_one_time(without_time, at or 0.0)
            without_time.clear()
            if self._wanted.lines is not None and len(found) >= self._wanted.lines:
                break
        else:
            found += self._of_one_time(without_time, 0.0) if not since_s else []
        found = in_order(found[: self._wanted.lines][::-1])
        self._at = found[-1].at if found else 0.0
        return found

    def _of_one_time(self, texts: Sequence[str], at: float) -> Iterator[LogLine]:
        for text in texts:
            if self._wanted.takes(text):
                yield LogLine(self._name, read_line(text).text, at)

    def _backwards(self) -> Iterator[str]:
        yield from _lines_backwards(self._file, 0, self._position)
        try:
            with aside_of(self._path).open("rb") as before:
                # Else it is this very file, which was put aside since it was opened
                if not os.path.samestat(os.fstat(before.fileno()), os.fstat(self._file.fileno())):
                    yield from _lines_backwards(before, 0, before.seek(0, os.SEEK_END))
        except FileNotFoundError:
            return

    def more(self) -> list[LogLine]:
        """What was written since, in whole lines."""
        self._file.seek(self._position)
        *whole, rest = self._file.read().split(b"\n")
        self._position = self._file.tell() - len(rest)
        if not whole:
            whole = self._read_on(rest)
        texts = [line.decode("utf-8", "replace") for line in whole]
        found = []
        for text in texts:
            line = read_line(text)
            self._at = max(self._at, line.at or 0.0)
            if self._wanted.takes(text):
                found.append(LogLine(self._name, line.text, self._at))
        return found

    def _read_on(self, rest: bytes) -> list[bytes]:
        """Turn to the file that is written now, if another one is; the old one's unended line."""
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return []
        if os.path.samestat(now, os.fstat(self._file.fileno())):
            if now.st_size < self._position:
                self._position = 0  # it was begun anew
            return []
        if not self._is_aside:
            self._is_aside = True  # its writer may be in the middle of turning, so look once more
            return []
        self._file.close()
        self._file = self._path.open("rb")
        self._position, self._is_aside = 0, False
        return [rest] if rest else []


def open_log(path: Path) -> BinaryIO:
    """A log to append to, which only this user reads; one that grew large is put aside first.

    Raises:
        CouldNotTell: it cannot be opened, or is a link.
    """
    try:
        handle = open_private(path)
        if os.fstat(handle).st_size > MOST_BYTES:
            os.close(handle)
            handle = put_aside(path)
    except OSError as error:
        raise CouldNotTell(f"the log {path} cannot be opened: {error.strerror}") from error
    return os.fdopen(handle, "ab")


def last_lines(path: Path, count: int, *, start: int = 0) -> list[str]:
    """The last `count` lines of a log, however long, after a place in it.

    Args:
        path: The log; no lines if there is none.
        count: How many lines at most.
        start: The byte where to begin; 0 if the log is shorter, for it was begun anew then.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            lines = _lines_backwards(file, start if start <= size else 0, size)
            return list(islice(lines, count))[::-1]
    except FileNotFoundError:
        return []


def _end_of_whole_lines(file: BinaryIO) -> int:
    """Where the last line ends that is whole; 0 if there is none."""
    for begin, block in _backwards(file, 0, file.seek(0, os.SEEK_END)):
        if (found := block.rfind(b"\n")) >= 0:
            return begin + found + 1
    return 0


def _lines_backwards(file: BinaryIO, start: int, end: int) -> Iterator[str]:
    """The lines between two places, the last one first."""
    pieces: list[bytes] = []  # of a line whose beginning is not found yet, the last one first
    is_last = True
    for _, block in _backwards(file, start, end):
        head, *lines = block.split(b"\n")
        if lines:
            lines[-1] += b"".join(reversed(pieces))
            pieces = []
            if is_last and not lines[-1]:
                del lines[-1]  # what follows the last newline is no line
            is_last = False
        yield from (line.decode("utf-8", "replace") for line in reversed(lines))
        pieces.append(head)
    if pieces:
        yield b"".join(reversed(pieces)).decode("utf-8", "replace")


def _backwards(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """What stands between two places, in blocks, the last one first: where it begins, and it."""
    while end > start:
        begin = max(start, end - _BLOCK_BYTES)
        file.seek(begin)
        yield begin, file.read(end - begin)
        end = begin
