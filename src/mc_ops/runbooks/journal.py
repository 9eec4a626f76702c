"""The append-only, fsynced record of a run: what was about to happen, and what did.

One JSON object a line, in `<run folder>/journal.jsonl`. A line is on disk before what it
announces begins, so that a run killed at any instant can be told apart from one that went on.
Each line has the SHA-256 of the line before it (`prev`): one that was changed, put in or taken out
afterwards is found, unless all that follow it were made anew, too. Two processes may write: the
engine, and whoever approves a gate; each appends under the file's lock.
Values of environment variables whose names say that they are secret are masked before writing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.runbooks.mask import forms_of
from mc_ops.runbooks.secret_values import SHORTEST_SECRET

FILE = "journal.jsonl"
Event = dict[str, Any]

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|_KEY$|^KEY$|WEBHOOK|DATABASE_URL"
)


class Journal:
    """One process's hold on a run's journal.

    Args:
        folder: The run's folder; it must exist.
        clock: Now, as an aware UTC datetime.
        environment: Where to look for secret values to mask.
        secrets: More values to mask.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], datetime],
        environment: Mapping[str, str],
        secrets: Iterable[str] = (),
    ) -> None:
        self._path = folder / FILE
        self._clock = clock
        named = {value for name, value in environment.items() if _SECRET_NAME.search(name)}
        long_enough = {one for one in named if len(one) >= SHORTEST_SECRET}
        forms = {form for secret in {*long_enough, *secrets} for form in forms_of(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)
        self._reader = _Reader(str(self._path))
        self._descriptor: int | None = None

    @contextmanager
    def held(self) -> Iterator[list[Event]]:
        """Keep others from writing; gives the events that this process has not seen yet.

        Raises:
            CouldNotTell: The file cannot be opened.
            UnusableInput: It is damaged.
        """
        if self._descriptor is not None:
            yield []
            return
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            yield self._catch_up(self._descriptor)
        finally:
            os.close(self._descriptor)  # and with it the lock
            self._descriptor = None

    def append(self, event: str, **fields: object) -> list[Event]:
        """Write one event and wait until it is on disk.

        Returns:
            What others wrote since this process last looked, and then the event as written.

        Raises:
            CouldNotTell: The disk refused; nothing may go on without its record.
        """
        at = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self.held() as before:
            line = {"seq": self._reader.next, "prev": self._reader.last, "at": at, "event": event}
            masked = {**line, **self.masked(fields)}
            data = (json.dumps(masked, ensure_ascii=False, allow_nan=False) + "\n").encode()
            assert self._descriptor is not None
            try:
                _write(self._descriptor, data)
                os.fsync(self._descriptor)
            except OSError as error:
                raise self._unwritable(error) from error
            return [*before, *self._reader.take(data)]

    def news(self) -> list[Event]:
        """What others wrote since this process last looked."""
        with self.held() as events:
            return events

    def _catch_up(self, descriptor: int) -> list[Event]:
        """Read on, and cut off a line torn by a kill: the next one begins on a line of its own."""
        data = b""
        while chunk := os.pread(descriptor, 1 << 20, self._reader.size + len(data)):
            data += chunk
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.truncate(self._path, self._reader.size + whole)
        return self._reader.take(data[:whole])

    def _unwritable(self, error: OSError) -> CouldNotTell:
        return CouldNotTell(
            f"journal {self._path} cannot be written: {error.strerror}",
            hint="free the disk, then resume the run",
        )

    def masked(self, value: Any) -> Any:
        """A JSON value as it is written: without the secrets."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {key: self.masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(item) for item in value]
        return value


class _Reader:
    """Reads a journal's lines in order, from whichever process, and holds each to its place."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._chained = False  # journals of earlier versions begin without `prev`
        self.size, self.next, self.last = 0, 0, ""

    def take(self, data: bytes) -> list[Event]:
        """The events of whole lines.

        Raises:
            UnusableInput: A line is damaged, or does not follow from the one before.
        """
        events = []
        for line in data.split(b"\n")[:-1]:
            events.append(self._event(line))
            self.next += 1
            self.last = hashlib.sha256(line).hexdigest()
            self.size += len(line) + 1
        return events

    def _event(self, line: bytes) -> Event:
        where = f"journal {self._path} is damaged on line {self.next + 1}"
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UnusableInput(where) from error
        if not isinstance(event, dict) or event.get("seq") != self.next:
            raise UnusableInput(f"{where}: out of order")
        self._chained = self._chained or "prev" in event
        if self._chained and event.get("prev") != self.last:
            raise UnusableInput(f"{where}: it does not follow from the line before")
        return event


def _write(descriptor: int, data: bytes) -> None:
    """All of it: a disk that is almost full takes a part, and says no to the next call alone."""
    while data:
        data = data[os.write(descriptor, data) :]


def read(folder: Path) -> list[Event]:
    """The events of a run, in order; a last line torn by a kill is left out.

    Raises:
        UnusableInput: The journal cannot be read, or a line is damaged.
    """
    path = folder / FILE
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise UnusableInput(f"journal {path} cannot be read: {error.strerror}") from error
    return _Reader(str(path)).take(data)
