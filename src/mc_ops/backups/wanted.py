"""What a platform keeps of its backups in `MC_HOME/backup.json`: where they go, along which line.

It is there from the first backup on; while it is, `mcctl up` starts the archiver. A restore removes it: the
line ends with the database that was replaced.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from mc_ops.environments import Workspace
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object, write_atomically

SLOT = "mc_backup"
ROLE = "mc_backup"
FILE = "backup.json"
FOLDER, KEY_FILE, WAL_S = "MC_BACKUP_DIR", "MC_BACKUP_KEY_FILE", "MC_BACKUP_WAL_S"
_USUAL_WAL_S = 60.0
_DAMAGED = "remove it: the next backup begins a new line of WAL"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where backups go.

    Attributes:
        platform: The database's system identifier.
        line: The line of WAL that is being archived.
        wal_s: After how many seconds a segment that is not full is archived all the same.
        password_file: In PostgreSQL's form, of the role that may only read the WAL and the files.
    """

    folder: Path
    key_file: Path
    platform: str
    line: str
    wal_s: float
    password_file: Path
    role: str = ROLE

    def password(self) -> str:
        """The role's password."""
        return read_password(self.password_file)

    def spool(self, home: Path) -> Path:
        """Where segments wait to be sealed: a folder for each line, so that none enters another."""
        place = home / "wal-spool" / self.line
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        return place


def usual_places(workspace: Workspace) -> tuple[Path, Path]:
    """The folder of backups and the key file, as the settings name them."""
    folder = os.environ.get(FOLDER) or workspace.home / "backups"
    key = os.environ.get(KEY_FILE) or workspace.secret("backup.key")
    return Path(folder).absolute(), Path(key).absolute()


def usual_wal_s() -> float:
    """After how many seconds a segment that is not full is archived all the same.

    Raises:
        UnusableInput: the setting is no such number.
    """
    text = os.environ.get(WAL_S)
    try:
        value = _USUAL_WAL_S if text is None else float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 3600:
        raise UnusableInput(f'{WAL_S} is "{text}", expected 1 to 3600 seconds')
    return value


def read_wanted(home: Path) -> Wanted | None:
    """What is kept; None: no backup was made, or a restore ended the line.

    Raises:
        CouldNotTell: the file is damaged.
    """
    value = read_json_object(home / FILE, _DAMAGED)
    if value is None:
        return None
    try:
        paths = {name: Path(value[name]) for name in ("folder", "key_file", "password_file")}
        return Wanted(**{**value, **paths})
    except (KeyError, TypeError) as error:
        raise CouldNotTell(f"{home / FILE} is damaged", hint=_DAMAGED) from error


def keep_wanted(home: Path, wanted: Wanted) -> None:
    """Keep it."""
    value = {
        key: str(item) if isinstance(item, Path) else item for key, item in asdict(wanted).items()
    }
    write_atomically(home / FILE, json.dumps(value, indent=2) + "\n")


def forget_wanted(home: Path) -> None:
    """End the line: nothing is archived until the next backup."""
    (home / FILE).unlink(missing_ok=True)


def make_password(path: Path) -> str:
    """The role's password, made once: `*:*:*:ROLE:PASSWORD` in a file of mode 0600."""
    if not path.exists():
        write_atomically(path, f"*:*:*:{ROLE}:{secrets.token_urlsafe(32)}\n")
    return read_password(path)


def read_password(path: Path) -> str:
    """What `make_password` made.

    Raises:
        CouldNotTell: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip().rpartition(":")[2]
    except OSError as error:
        raise CouldNotTell(
            f"{path} cannot be read: {os.strerror(error.errno or 0)}", hint="mcctl backup create"
        ) from error
