"""Bring a backup back beside the platform: unsealed, verified, with the WAL that it is to replay.

Nothing of the platform is touched. What is staged is removed again unless a restore takes it over.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil

from mc_contract.numbers import counted
from mc_ops.backups.keys import BackupKey
from mc_ops.backups.manifest import verify_files
from mc_ops.backups.sealed import (
    Count,
    Label,
    Readable,
    counting,
    private,
    uncounted,
    unseal,
)
from mc_ops.backups.server import own
from mc_ops.backups.store import (
    BASE,
    SEALED,
    SEGMENT_BYTES,
    Archived,
    Backup,
    Store,
    first_gap,
    is_segment,
    number_of,
    require_room,
)
from mc_ops.environments import EmbeddedDatabase
from mc_ops.environments.interface import Say
from mc_ops.errors import CouldNotTell, Finding
from mc_ops.files import lock

PLACE, JOURNAL = "restoring", "restoring.json"
"""Beside the database's files: what is brought back, and what a restore writes before its renames."""
_START = re.compile(rb"START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)")
_AFTER = timedelta(minutes=10)  # a segment is archived at most so long after what it holds
_ENDING_S = 30.0
_UNTOUCHED = "nothing of the platform was changed; make room and repeat"


@dataclass(frozen=True, slots=True)
class Staged:
    """A backup's files, as PostgreSQL can start on them.

    Attributes:
        segments: How many segments of WAL follow those in the backup.
        wal_until: When the last of them was archived; the backup's end, if there is none.
    """

    place: Path
    segments: int
    wal_until: datetime

    @property
    def data(self) -> Path:
        """The database's files."""
        return self.place / "data"

    def recovery(self, to: datetime | None) -> dict[str, str]:
        """The server's settings for the recovery up to a time, or to the end of the WAL."""
        wal = shlex.quote(str(self.place / "wal")).replace("%", "%%")
        settings = {
            "restore_command": f'cp {wal}/%f "%p"',
            "recovery_target_timeline": "current",
            "recovery_target_action": "promote",
        }
        if to is not None:
            settings["recovery_target_time"] = to.astimezone(UTC).isoformat()
        return settings


@contextmanager
def staged(
    database: EmbeddedDatabase,
    store: Store,
    backup: Backup,
    key: BackupKey,
    *,
    to: datetime | None,
    spool: Path | None,
    say: Say,
    count: Count = uncounted,
    name: str = PLACE,
) -> Iterator[Staged]:
    """Unseal a backup and its WAL beside the platform's data, and verify all of it.

    Args:
        to: The time to which the WAL is wanted; None: all of it.
        spool: Where segments wait that are not archived yet, if the platform is this machine's.
        count: Is told how much of the database and its WAL is unsealed.

    Raises:
        Finding: a file is not what was sealed, the files are not what the backup's manifest says,
            or the WAL has a gap.
        CouldNotTell: there is no room.
    """
    place = database.data.parent / name
    clear(place)
    try:
        place.mkdir(parents=True, mode=0o711)
        place.parent.chmod(0o711)  # whatever the umask, the server's user has to get through
        (place / "wal").mkdir(mode=0o711)
        say(f"unsealing backup {backup.id}")
        wanted = backup.database_bytes + len(store.segments(backup.line)) * SEGMENT_BYTES
        require_room(place, wanted, "the restore needs up to", _UNTOUCHED)
        start = _extract(store, backup, key, place / "data", partial(count, wanted))
        verify_files(database, place / "data", backup.platform)
        segments, until = _wal(store, backup, key, place, start, to, spool, say, count)
        (place / "data" / "recovery.signal").touch()
        own(database, place)
        yield Staged(place, segments, until)
    except OSError as error:
        raise CouldNotTell(
            f"{place} cannot be written: {error.strerror}",
            hint=_UNTOUCHED,
        ) from error
    finally:
        if not (place.parent / JOURNAL).exists():  # else a restore was cut in two, and needs it
            clear(place)


def clear(place: Path) -> None:
    """Remove what is staged; a server that a killed restore left on it is ended first."""
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        pid = int((place / "data" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        process = psutil.Process(pid)
        if Path(process.cwd()) == place / "data":
            process.send_signal(signal.SIGQUIT)
            process.wait(_ENDING_S)
    shutil.rmtree(place, ignore_errors=True)


def _extract(
    store: Store, backup: Backup, key: BackupKey, data: Path, count: Callable[[int], None]
) -> str:
    """Unseal the database's files; the segment at which their replay starts."""
    source = Readable(counting(unseal(store.path(backup, BASE), key, backup.label(BASE)), count))
    data.mkdir(mode=0o700)
    with tarfile.open(fileobj=source, mode="r|", bufsize=262_144) as tar:
        tar.extractall(data, filter="data")
    source.drain()
    for folder, folders, files in os.walk(data):
        for name in folders:
            (Path(folder) / name).chmod(0o700)
        for name in files:
            (Path(folder) / name).chmod(0o600)
    found = _START.search((data / "backup_label").read_bytes())
    if found is None:
        raise Finding("the backup does not say where its WAL starts")
    return found[1].decode()


def _wal(
    store: Store,
    backup: Backup,
    key: BackupKey,
    place: Path,
    start: str,
    to: datetime | None,
    spool: Path | None,
    say: Say,
    count: Count,
) -> tuple[int, datetime]:
    """Unseal the segments that follow those in the backup, and see that none is missing."""
    inside = sorted(p.name for p in (place / "data" / "pg_wal").iterdir() if is_segment(p.name))
    ends = number_of(inside[-1]) if inside else number_of(start) - 1
    noted = store.archived(backup.line)  # before its segments are listed: the archiver may go on
    names = [name for name in store.segments(backup.line) if number_of(name) > ends]
    until = datetime.fromisoformat(backup.ended_at)
    if to is None:  # to a time PostgreSQL itself refuses to stop short of it
        _require_end(noted, backup, max([ends, *map(number_of, names)]))
    if names:
        say(f"unsealing {counted(len(names), 'segment')} of WAL")
    planned = backup.database_bytes + len(names) * SEGMENT_BYTES
    for at, name in enumerate(names):
        count(planned, backup.database_bytes + at * SEGMENT_BYTES)
        path = store.line(backup.line) / f"{name}{SEALED}"
        unseal_segment(path, key, Label(backup.platform, backup.line, name), place / "wal" / name)
        archived_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        until = max(until, archived_at)
        if to is not None and archived_at > to + _AFTER:
            names = names[: at + 1]
            break
    late = _from_spool(spool, place / "wal", names[-1] if names else "", ends)
    gap = first_gap([*inside[-1:], *names, *late])
    if gap:
        raise Finding(
            f"the WAL of backup {backup.id} is not whole: segments are missing {gap}",
            hint="restore to a time before it (--to), or from a later backup",
        )
    return len(names) + len(late), datetime.now(UTC) if late else until


def _require_end(noted: Archived | None, backup: Backup, last: int) -> None:
    """See that the line is there to its end, as the archiver noted it.

    Who can write the folder can take the note back with the segments; what was lost then the sources of
    losses tell.
    """
    if noted is not None and is_segment(noted.segment) and number_of(noted.segment) > last:
        raise Finding(
            f"the WAL of backup {backup.id} is not whole: it was archived up to {noted.segment}, and "
            "its last segments are missing",
            hint="bring them back from another copy, or name the time to restore to: --to",
        )


def _from_spool(spool: Path | None, wal: Path, last: str, ends: int) -> list[str]:
    """Take over what was received and not archived yet, the segment that is not full, too."""
    taken: list[str] = []
    after = number_of(last) if last else ends
    for path in sorted(spool.iterdir()) if spool is not None and spool.is_dir() else []:
        name = path.name.removesuffix(".partial")
        if is_segment(name) and number_of(name) > after and name not in taken:
            with path.open("rb") as source, private(wal / name) as file:
                shutil.copyfileobj(source, file)
            taken.append(name)
    return taken


def unseal_segment(path: Path, key: BackupKey, label: Label, target: Path | None) -> None:
    """Unseal a segment of WAL into a file; without one it is verified alone."""
    with private(target) if target else Path(os.devnull).open("wb") as file:
        file.writelines(unseal(path, key, label))


@contextmanager
def _alone(around: Path) -> Iterator[None]:
    around.mkdir(parents=True, exist_ok=True)
    with (around / "verifying.lock").open("w") as file:
        if not lock(file, 0):
            raise CouldNotTell("another mcctl verifies a backup here", hint="wait for its end")
        yield


def verify_backup(
    database: EmbeddedDatabase,
    store: Store,
    backup: Backup,
    key: BackupKey,
    say: Say,
    count: Count = uncounted,
) -> tuple[int, datetime, float]:
    """Unseal a backup with all of its WAL, and hold it against its manifest; nothing is kept.

    Returns:
        How many segments follow it, until when, and how many seconds that took.

    Raises:
        Finding, CouldNotTell: as `staged`.
    """
    began = time.monotonic()
    files = Readable(unseal(store.path(backup, "files.sealed"), key, backup.label("files.sealed")))
    files.drain()
    with (
        _alone(database.data.parent),
        staged(
            database,
            store,
            backup,
            key,
            to=None,
            spool=None,
            say=say,
            count=count,
            name="verifying",
        ) as found,
    ):
        return found.segments, found.wal_until, time.monotonic() - began
