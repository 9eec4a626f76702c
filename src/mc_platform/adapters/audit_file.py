"""The backup file: JSON lines of the leaves with their index, for the time that the SIEM is down.

A batch is taken when it is fsynced. The file is 0600 in a folder 0700; at its size limit it becomes
`NAME.1`, what was `NAME.1` becomes `NAME.2`, and so on. Only as many as asked are kept, but a file
with an event that the SIEM has not taken is never removed. A write that failed in the middle (a
full disk) is cut back to the last whole line; so is a line that a crash tore, when the file is
opened again: its event was not acknowledged, and comes again. Two processes may not write at once:
the claim on the outbox sees to that.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from mc_platform.deliver import Rejected, Shipment, SinkRefused
from mc_platform.observe import metrics

_TAIL_BYTES = 65_536
_NO_INDEX = 2**63
_log = structlog.get_logger()


class AuditFile:
    """Implements `deliver.Backup`; `close` it at the end.

    Args:
        max_bytes: No file grows beyond it, but for one line that is longer.
        keep: How many rotated files are kept at most, once the SIEM has their events.
    """

    name = "file"
    most = 1000

    def __init__(self, path: Path, *, max_bytes: int = 67_108_864, keep: int = 10) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._delivered = 0
        self._kept_until = 0  # when the SIEM is beyond this index, there may be files to remove
        self._over_limit = False
        # A thread goes on when the one who awaits it is cancelled: the next must wait for it.
        self._writing = threading.Lock()

    async def delivered(self, next_index: int) -> None:
        self._delivered = next_index  # it goes back once, where the next epoch's log begins
        if self._delivered <= self._kept_until:
            return
        try:
            await asyncio.to_thread(self._alone, self._remove_old)
        except OSError as error:
            metrics.audit_file_errors.inc()
            _log.error("audit_file_not_removed", reason=type(error).__name__)
            self._kept_until = self._delivered

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        """Nothing is refused for good."""
        lines = [b'{"index":%d,%b\n' % (item.index, item.raw[1:]) for item in batch]
        try:
            await asyncio.to_thread(self._alone, lambda: self._append(lines))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SinkRefused(f"{type(error).__name__}: {reason}") from error
        return ()

    async def close(self) -> None:
        await asyncio.to_thread(self._alone, self._close)

    def _alone(self, work: Callable[[], None]) -> None:
        with self._writing:
            work()

    def _append(self, lines: list[bytes]) -> None:
        size = self._open()
        for piece in self._pieces(lines, size):
            if size and size + len(piece) > self._max_bytes:
                self._rotate()
                size = self._open()
            self._write(piece, size)
            size += len(piece)

    def _pieces(self, lines: list[bytes], size: int) -> Iterator[bytes]:
        """Runs of whole lines, each of which fits into the current file or into a new one."""
        run: list[bytes] = []
        room = self._max_bytes - size
        for line in lines:
            if len(line) > room and (run or size):
                if run:
                    yield b"".join(run)
                run, room, size = [], self._max_bytes, 0
            run.append(line)
            room -= len(line)
            size += len(line)
        if run:
            yield b"".join(run)

    def _write(self, data: bytes, size: int) -> None:
        assert self._descriptor is not None
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fsync(self._descriptor)
        except OSError:
            # After a failed fsync the kernel may call lost pages clean: begin with a new descriptor.
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
                os.fsync(self._descriptor)
            self._close()
            raise

    # -- opening ------------------------------------------------------------------------------

    def _open(self) -> int:
        """Have the file of this path open, whole lines only; its size.

        Raises:
            OSError: among them ELOOP for a symbolic link, PermissionError for a file that others
                own or may write.
        """
        if self._descriptor is not None and not self._still_there(self._descriptor):
            self._close()
        if self._descriptor is None:
            self._descriptor = self._open_checked()
            metrics.audit_file_rotated.set(len(self._rotated()))
        return os.fstat(self._descriptor).st_size

    def _still_there(self, descriptor: int) -> bool:
        try:
            at_path, opened = os.lstat(self._path), os.fstat(descriptor)
        except FileNotFoundError:
            return False
        return (at_path.st_dev, at_path.st_ino) == (opened.st_dev, opened.st_ino)

    def _open_checked(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        try:
            self._check(os.fstat(descriptor))
            os.fchmod(descriptor, 0o600)
            _cut_torn_line(descriptor)
            sync_folder(self._path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise OSError("the audit file's path is not a regular file")
        if found.st_uid != os.geteuid():
            raise PermissionError("the audit file belongs to another user")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError("the audit file can be written by others")

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # -- rotation -----------------------------------------------------------------------------

    def _rotate(self) -> None:
        self._close()
        numbers = self._rotated()
        # From the first free number downwards, so that no rename meets a file; a crash in between
        # leaves a free number, and the next rotation uses it.
        free = next(n for n in range(1, len(numbers) + 2) if n not in numbers)
        for number in range(free, 1, -1):
            self._numbered(number - 1).rename(self._numbered(number))
        self._path.rename(self._numbered(1))
        self._remove_old()
        sync_folder(self._path.parent)

    def _rotated(self) -> set[int]:
        prefix = f"{self._path.name}."
        folder = self._path.parent
        names = [item.name for item in folder.iterdir()] if folder.exists() else []
        tails = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        return {int(tail) for tail in tails if tail.isascii() and tail.isdigit()}

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _remove_old(self) -> None:
        """Remove what is beyond the limit, oldest first, as far as the SIEM has it."""
        numbers = sorted(self._rotated(), reverse=True)
        self._kept_until = _NO_INDEX
        while len(numbers) > self._keep:
            oldest = self._numbered(numbers[0])
            self._kept_until = _last_index(oldest)
            if self._kept_until >= self._delivered:
                break
            oldest.unlink()
            numbers.pop(0)
        metrics.audit_file_rotated.set(len(numbers))
        self._tell_limit(len(numbers))

    def _tell_limit(self, files: int) -> None:
        over_limit = files > self._keep
        if over_limit and not self._over_limit:
            _log.warning(
                "audit_file_limit_exceeded",
                files=files,
                keep=self._keep,
                reason="the SIEM has not taken the events of the oldest",
            )
        self._over_limit = over_limit


def _cut_torn_line(descriptor: int) -> None:
    """Cut the file back to its last newline."""
    size = os.fstat(descriptor).st_size
    whole = size
    while whole > 0:
        begin = max(0, whole - _TAIL_BYTES)
        newline = os.pread(descriptor, whole - begin, begin).rfind(b"\n")
        if newline >= 0:
            whole = begin + newline + 1
            break
        whole = begin
    if whole != size:
        os.ftruncate(descriptor, whole)
        os.fsync(descriptor)
        _log.warning("audit_file_repaired", cut_bytes=size - whole)


def _last_index(path: Path) -> int:
    """The index of the file's last event; `_NO_INDEX` if that cannot be told."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail, begin = b"", size
        while begin > 0 and tail.rstrip(b"\n").count(b"\n") == 0:
            begin = max(0, begin - _TAIL_BYTES)
            file.seek(begin)
            tail = file.read(size - begin)
    try:
        return int(json.loads(tail.splitlines()[-1])["index"])
    except (ValueError, KeyError, TypeError, IndexError):
        return _NO_INDEX


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
