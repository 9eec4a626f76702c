"""The folder of backups: what is in it, by which names, and whether it is whole.

    FOLDER/ID/manifest.json, base.sealed, files.sealed     a backup
    FOLDER/ID.unfinished/                                  one that is being made, or was cut short
    FOLDER/wal/LINE/SEGMENT.sealed                         the WAL archive, a folder for each line
    FOLDER/wal/LINE/archived.json                          how far it goes

A line is one unbroken run of WAL: it begins with a backup, and ends with a restore or a gap. A
backup can be brought forward along its line alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from mc_contract.canonical import canonical_json
from mc_ops.backups.keys import BackupKey
from mc_ops.backups.sealed import Label, sync_folder
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.files import lock, read_json_object, write_atomically

_FORMAT, _VERSION = "mc-backup", 1
_SEGMENT = re.compile(r"[0-9A-F]{24}")
_PER_LOG = 256  # segments of 16 MiB in what a segment's middle eight digits count
BASE, FILES = "base.sealed", "files.sealed"
SEALED = ".sealed"
SEGMENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup's description, which its key authenticates.

    Attributes:
        platform: The database's system identifier.
        line: The line of WAL that brings it forward.
        bytes: Of the sealed files.
        database_bytes: Of the files of the database, as they were sent.
        ended_at: From this time on it can be restored to.
    """

    id: str
    platform: str
    region: str
    line: str
    key_id: str
    began_at: str
    ended_at: str
    bytes: int
    database_bytes: int

    def label(self, name: str) -> Label:
        """What its sealed file of that name says of itself."""
        return Label(self.platform, self.id, name)


@dataclass(frozen=True, slots=True)
class Archived:
    """How far a line of WAL goes; the time is of the last segment's arrival."""

    segment: str
    at: str
    gap: str = ""


class Store:
    """One folder of backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, backup: Backup, name: str) -> Path:
        """The place of one of its files."""
        return self.folder / backup.id / name

    def line(self, line: str) -> Path:
        """The folder of a line of WAL."""
        return self.folder / "wal" / line

    # -- backups ------------------------------------------------------------------------------

    def backups(self) -> list[Backup]:
        """Those that are finished, the oldest first; their descriptions are not authenticated.

        Raises:
            CouldNotTell: a description is damaged.
        """
        found = sorted(self.folder.glob("*/manifest.json")) if self.folder.is_dir() else []
        return sorted((_backup(self._read(path)) for path in found), key=lambda one: one.ended_at)

    def get(self, id: str, key: BackupKey) -> Backup:
        """One of them, its description authenticated.

        Raises:
            UnusableInput: there is none.
            Finding: another key sealed it, or its description was changed.
        """
        path = self.folder / id / "manifest.json"
        if "/" in id or not path.exists():
            known = ", ".join(one.id for one in self.backups()) or "none"
            raise UnusableInput(f'no backup "{id}" in {self.folder}', hint=f"there are: {known}")
        value = self._read(path)
        backup = _backup(value)
        if backup.key_id != key.id:
            raise Finding(
                f"backup {id} is sealed with the key {backup.key_id}, the key given is {key.id}",
                hint="name its key file: --key, or MC_BACKUP_KEY_FILE",
            )
        if value.get("mac") != key.mac(_body(backup)) or backup.id != id:
            raise Finding(f"the description of backup {id} was changed")
        return backup

    def _read(self, path: Path) -> dict[str, Any]:
        value = read_json_object(path, "this backup cannot be used: move its folder away")
        return value or {}

    def finish(self, backup: Backup, key: BackupKey) -> None:
        """Describe an unfinished one, and give it its name."""
        unfinished = self.unfinished(backup.id)
        value = {"format": _FORMAT, "version": _VERSION, **asdict(backup)}
        value["mac"] = key.mac(_body(backup))
        write_atomically(unfinished / "manifest.json", json.dumps(value, indent=2) + "\n")
        sync_folder(unfinished)
        unfinished.rename(self.folder / backup.id)
        sync_folder(self.folder)

    def unfinished(self, id: str) -> Path:
        """The folder of one that is being made."""
        return self.folder / f"{id}.unfinished"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While no other mcctl makes a backup here; what a killed one left is removed.

        Raises:
            CouldNotTell: another one does, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self.folder / "lock").open("w") as file:
                if not lock(file, 0):
                    raise CouldNotTell(
                        f"another mcctl makes a backup in {self.folder}", hint="wait for its end"
                    )
                for left in self.folder.glob("*.unfinished"):
                    shutil.rmtree(left)
                yield
        except OSError as error:
            raise CouldNotTell(
                f"the backup in {self.folder} cannot be written: {error.strerror}",
                hint="nothing of it is kept; make room, or name another folder: --folder",
            ) from error

    # -- the WAL archive ------------------------------------------------------------------------

    def segments(self, line: str) -> list[str]:
        """The archived segments of a line, in order."""
        names = (path.name.removesuffix(SEALED) for path in self.line(line).glob(f"*{SEALED}"))
        return sorted(name for name in names if _SEGMENT.fullmatch(name))

    def archived(self, line: str) -> Archived | None:
        """How far the line goes; None: nothing was archived yet."""
        value = read_json_object(self.line(line) / "archived.json", "it is written anew")
        return None if value is None else Archived(**value)


def require_room(folder: Path, wanted: int, why: str, hint: str) -> None:
    """See that a folder's disk has so many bytes free.

    Raises:
        CouldNotTell: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise CouldNotTell(
            f"{folder} has {free // 2**20} MiB free, {why} {wanted // 2**20} MiB", hint=hint
        )


def is_segment(name: str) -> bool:
    """Whether a file of that name is a whole segment of WAL."""
    return _SEGMENT.fullmatch(name) is not None


def number_of(segment: str) -> int:
    """Its place in its timeline."""
    return int(segment[8:16], 16) * _PER_LOG + int(segment[16:], 16)


def first_gap(segments: Sequence[str]) -> str:
    """The first place where a run of segments is not unbroken; empty: it is."""
    for before, after in pairwise(segments):
        if number_of(after) != number_of(before) + 1:
            return f"between {before} and {after}"
    return ""


def _body(backup: Backup) -> bytes:
    return canonical_json(asdict(backup))


def _backup(value: dict[str, Any]) -> Backup:
    try:
        if (value["format"], value["version"]) != (_FORMAT, _VERSION):
            raise ValueError
        found = Backup(**{key: value[key] for key in Backup.__slots__})
        datetime.fromisoformat(found.ended_at)
    except (KeyError, TypeError, ValueError) as error:
        raise CouldNotTell(
            "a backup's description is damaged, or of a later version",
            hint="move its folder away",
        ) from error
    return found
