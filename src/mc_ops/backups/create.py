"""Make a backup: the database's files as they are, sealed as they come, and the platform's own files.

`pg_basebackup` sends the database's files as one tar with the WAL that makes them consistent and its
manifest (SHA-256 of each file); nothing of it touches the disk unsealed. Beside it go the keys and
tokens of `MC_HOME` without which the database is of no use, but not the key that seals them.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from mc_ops.backups.keys import BackupKey, make_key
from mc_ops.backups.sealed import Count, counting, read_pieces, seal, uncounted
from mc_ops.backups.server import ENVIRONMENT, query
from mc_ops.backups.store import BASE, FILES, Backup, Store, require_room
from mc_ops.backups.wanted import ROLE, SLOT, Wanted, keep_wanted, make_password, read_wanted
from mc_ops.environments import EmbeddedDatabase, Startable
from mc_ops.environments.interface import Say, silent
from mc_ops.errors import CouldNotTell
from mc_ops.files import writing

_KEPT = ("secrets", "trust", "signer", "policies", "policy-sets", "platform.json", "edge.json")
_ROLE_FILE = "secrets/backup-role.pgpass"
_SLOT = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1"


@dataclass(frozen=True, slots=True)
class Made:
    """A finished backup, and what is worth knowing of it."""

    backup: Backup
    seconds: float
    new_key: bool
    new_line: str  # why the WAL archive begins anew; empty: it goes on


def create_backup(
    environment: Startable,
    folder: Path,
    key_file: Path,
    *,
    wal_s: float,
    say: Say = silent,
    count: Count = uncounted,
) -> Made:
    """Make one, and have the WAL archived from it on.

    Args:
        wal_s: After how many seconds a segment that is not full is archived all the same.
        count: Is told about how many bytes there are, and how many were read.

    Raises:
        CouldNotTell: the platform does not run, another mcctl makes one, the disk is full, or
            PostgreSQL refuses; nothing is kept of it then.
        UnusableInput: the database is none of ours, or the key file holds no key.
    """
    database = environment.database()
    if not database.running:
        raise CouldNotTell("the platform does not run here", hint="start it: mcctl up")
    store = Store(folder)
    with store.alone():
        new_key = not key_file.exists()
        key = make_key(key_file)
        home = environment.workspace.home
        wanted, new_line = _line(database, home, store, key_file, wal_s)
        planned = _require_room(database, folder)
        environment.archive_wal()
        began = datetime.now(UTC)
        name = f"{began:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        say(f"backup {name}: reading the database")
        backup = Backup(
            id=name,
            platform=wanted.platform,
            region=database.region,
            line=wanted.line,
            key_id=key.id,
            began_at=began.isoformat(),
            ended_at="",
            bytes=0,
            database_bytes=0,
        )
        made = _write(store, backup, key, database, wanted, home, partial(count, planned))
    return Made(made, (datetime.now(UTC) - began).total_seconds(), new_key, new_line)


def _write(
    store: Store,
    backup: Backup,
    key: BackupKey,
    database: EmbeddedDatabase,
    wanted: Wanted,
    home: Path,
    count: Callable[[int], None],
) -> Backup:
    unfinished = store.unfinished(backup.id)
    unfinished.mkdir(mode=0o700)
    try:
        with _synced(unfinished / FILES) as file:
            seal(_tar(home, wanted.key_file), file, key, backup.label(FILES))
        with _synced(unfinished / BASE) as file, closing(_base(database, wanted)) as pieces:
            size = seal(counting(pieces, count), file, key, backup.label(BASE))
        finished = replace(
            backup,
            ended_at=datetime.now(UTC).isoformat(),
            bytes=sum(path.stat().st_size for path in unfinished.iterdir()),
            database_bytes=size,
        )
        store.finish(finished, key)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return finished


@contextmanager
def _synced(path: Path) -> Iterator[IO[bytes]]:
    """A new file that is on the disk when the block ends well."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _base(database: EmbeddedDatabase, wanted: Wanted) -> Generator[bytes, None, None]:
    """The database's files as a tar."""
    argv = [
        str(database.binaries / "pg_basebackup"),
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--host=127.0.0.1",
        f"--port={database.port}",
        f"--username={wanted.role}",
        "--no-password",
    ]
    environment = {**ENVIRONMENT, "PGPASSFILE": str(wanted.password_file)}
    process = subprocess.Popen(
        argv,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield from read_pieces(process.stdout)
        said = process.stderr.read().decode(errors="replace").strip()
        if process.wait() != 0:
            raise CouldNotTell(f"pg_basebackup says: {said[-600:]}")
    finally:
        process.kill()
        process.wait()


def _tar(home: Path, key_file: Path) -> Iterator[bytes]:
    """The files of `MC_HOME` without which the database is of no use."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar, writing(home):
        for name in _KEPT:
            if (home / name).exists():
                tar.add(home / name, name, filter=partial(_kept, home, key_file))
    yield whole.getvalue()


def _kept(home: Path, key_file: Path, info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = info.name == _ROLE_FILE or (home / info.name).absolute() == key_file
    return None if left_out else info


def _require_room(database: EmbeddedDatabase, folder: Path) -> int:
    """See that there is room for the database; its size in bytes, without WAL."""
    [row] = query(
        database.admin_url, "SELECT sum(pg_database_size(oid))::bigint AS bytes FROM pg_database"
    )
    hint = "make room, or name another folder: --folder"
    require_room(folder, row["bytes"], "the database has", hint)
    return int(row["bytes"])


def _line(
    database: EmbeddedDatabase, home: Path, store: Store, key_file: Path, wal_s: float
) -> tuple[Wanted, str]:
    """Where this backup's WAL goes, with role and slot made; and why another line begins, if so."""
    password_file = home / _ROLE_FILE
    password = make_password(password_file)
    _make_role(database, password)
    [row] = query(
        database.admin_url, "SELECT system_identifier::text AS id FROM pg_control_system()"
    )
    before = read_wanted(home)
    why = _why_new(database, store, before, row["id"])
    line = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    if why:
        if query(database.admin_url, _SLOT, SLOT):
            _drop_slot(database)
        shutil.rmtree(home / "wal-spool", ignore_errors=True)  # of lines that have ended
        query(database.admin_url, "SELECT pg_create_physical_replication_slot($1, true)", SLOT)
    elif before is not None:
        line = before.line
    wanted = Wanted(store.folder, key_file, row["id"], line, wal_s, password_file)
    keep_wanted(home, wanted)
    return wanted, why


def _why_new(database: EmbeddedDatabase, store: Store, before: Wanted | None, platform: str) -> str:
    if before is None:
        return "no WAL was archived before"
    if before.platform != platform or before.folder != store.folder:
        return "the former backups are another database's, or in another folder"
    slots = query(database.admin_url, _SLOT, SLOT)
    if not slots or slots[0]["wal_status"] == "lost":
        return "the server has given WAL up that was not archived: the former line has a gap"
    archived = store.archived(before.line)
    if archived is not None and archived.gap:
        return f"the former line has a gap {archived.gap}"
    return ""


def _drop_slot(database: EmbeddedDatabase) -> None:
    query(
        database.admin_url,
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        "WHERE slot_name = $1 AND active_pid IS NOT NULL",
        SLOT,
    )
    query(
        database.admin_url,
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
        SLOT,
    )


def _make_role(database: EmbeddedDatabase, password: str) -> None:
    """A role that may stream files and WAL, and end a segment; it can log in nowhere else."""
    if not query(database.admin_url, "SELECT 1 FROM pg_roles WHERE rolname = $1", ROLE):
        query(database.admin_url, f"CREATE ROLE {ROLE} LOGIN REPLICATION")
    literal = password.replace("'", "''")
    query(database.admin_url, f"ALTER ROLE {ROLE} PASSWORD '{literal}'")
    query(database.admin_url, f"GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {ROLE}")
