"""The append-only, fsynced record of a run: what was about to happen, and what did.

One JSON object a line, in `<run folder>/journal.jsonl`. A line is on disk before what it
announces begins, so that a run killed at any instant can be told apart from one that went on.
Values of environment variables whose names say that they are secret are masked before writing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mc_ops.errors import CouldNotTell, UnusableInput

FILE = "journal.jsonl"
Event = dict[str, Any]

_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|_KEY$|^KEY$|WEBHOOK|DATABASE_URL"
)
_SHORTEST_SECRET = 6  # masking shorter values would eat ordinary words


class Journal:
    """Writer of one run's journal.

    Args:
        folder: The run's folder; it must exist.
        clock: Now, as an aware UTC datetime.
        environment: Where to look for secret values to mask.
    """

    def __init__(
        self, folder: Path, *, clock: Callable[[], datetime], environment: Mapping[str, str]
    ) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._secrets = sorted(
            {
                value
                for name, value in environment.items()
                if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
            },
            key=len,
            reverse=True,
        )
        self._mend()
        self._next = len(read(folder))

    def append(self, event: str, **fields: object) -> Event:
        """Write one event and wait until it is on disk.

        Raises:
            CouldNotTell: The disk refused; nothing may go on without its record.
        """
        at = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"seq": self._next, "at": at, "event": event, **fields}
        masked = self._masked(line)
        data = (json.dumps(masked, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CouldNotTell(
                f"journal {self._path} cannot be written: {error.strerror}",
                hint="free the disk, then resume the run",
            ) from error
        self._next += 1
        written: Event = json.loads(data)
        return written

    def _mend(self) -> None:
        """Cut off a line torn by a kill, so that the next one begins on a line of its own."""
        if self._path.exists():
            data = self._path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                os.truncate(self._path, whole)

    def _masked(self, value: object) -> object:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {key: self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        return value


def read(folder: Path) -> list[Event]:
    """The events of a run, in order; a last line torn by a kill is left out.

    Raises:
        UnusableInput: The journal is absent, or a line that is not the last is damaged.
    """
    path = folder / FILE
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise UnusableInput(f"journal {path} cannot be read: {error.strerror}") from error
    events: list[Event] = []
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is torn
        try:
            event = json.loads(line)
        except ValueError as error:
            raise UnusableInput(f"journal {path} is damaged on line {number}") from error
        if not isinstance(event, dict) or event.get("seq") != number - 1:
            raise UnusableInput(f"journal {path} is damaged on line {number}: out of order")
        events.append(event)
    return events
