"""Restore a backup, to its end or to a point in time, and begin the next epoch of the ledger.

    with prepared(environment, asked) as restore:
        restore.report()       what it would lose, and from which source that is known
        restore.carry_out(...)

All work is done beside the platform, which must be down: unseal, verify, replay, look up what is
lost, begin the epoch. Then two renames put the restored database in the place of the former one, which
is kept. Interrupted before the renames, nothing has happened; after they began, `finish` ends them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops.backups.keys import BackupKey, read_key
from mc_ops.backups.losses import Losses, Source, of_clients, of_database, of_lines
from mc_ops.backups.sealed import Count, Readable, sync_folder, uncounted, unseal
from mc_ops.backups.server import query, serving
from mc_ops.backups.stage import JOURNAL, PLACE, Staged, clear, staged
from mc_ops.backups.store import FILES, Backup, Store
from mc_ops.backups.wanted import forget_wanted, read_wanted
from mc_ops.environments import EmbeddedDatabase, Startable
from mc_ops.environments.administered import report_of, said_by
from mc_ops.environments.interface import Say, silent
from mc_ops.errors import CouldNotTell, Finding, NotAllowed, OpsError, UnusableInput
from mc_ops.files import read_json_object, write_atomically

_HEAD = """
SELECT h.region, h.size, h.updated_at FROM mc.ledger_head h
WHERE h.ended_at IS NULL AND (h.region = $1 OR h.region LIKE $1 || '/e%')
"""
_LOGS = "SELECT region FROM mc.ledger_head"
_OPEN = """
SELECT id AS task, tenant, operation, created_at FROM mc.task
WHERE operation IS NOT NULL AND outcome IS NULL
    AND state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING') ORDER BY created_at, id
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to restore.

    Attributes:
        backup: Its id; empty: the last one that ended before `to`.
        to: The point in time; None: the end of the WAL.
        replace: Whether a database that is there may be replaced.
        lost: Whether its disk counts as lost: nothing of it is read, nor of WAL that waits on it.
        acknowledged: Files of clients' ledgers.
        siem: Files of events that a SIEM keeps; the platform's own are found without.
    """

    folder: Path
    key_file: Path
    backup: str = ""
    to: datetime | None = None
    replace: bool = False
    lost: bool = False
    acknowledged: Sequence[Path] = ()
    siem: Sequence[Path] = ()


@dataclass(slots=True)
class Restore:
    """A backup that was brought back beside the platform, and what would be lost by taking it."""

    id: str
    backup: Backup
    environment: Startable
    database: EmbeddedDatabase
    staged: Staged
    to: datetime | None
    log: str
    size: int
    last_recorded_at: datetime
    in_flight: list[dict[str, str]]
    losses: Losses
    kept: Path | None
    done: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """What is lost, and from where that is known; what goes on when the platform starts."""
        return {
            "restore": self.id,
            "backup": self.backup.id,
            "restored_to": self._restored_to,
            "last_recorded_at": self.last_recorded_at.isoformat(),
            "log": {"name": self.log, "size": self.size},
            "lost_requests": self.losses.requests,
            "sources": [asdict(source) for source in self.losses.sources],
            "lost": [one.as_dict() for one in self.losses.lost],
            "in_flight": self.in_flight,
            "replaces": str(self.kept) if self.kept else None,
        }

    @property
    def _restored_to(self) -> str:
        return "the end of the WAL" if self.to is None else self.to.isoformat()

    def carry_out(self, *, reason: str, hold: bool, checkpoints: Sequence[Path]) -> Path:
        """Begin the next epoch in the restored database, and put it in the former one's place.

        Args:
            reason: Why; it is recorded.
            hold: Whether autonomy is halted until a person resumes it.
            checkpoints: Checkpoints of the log that were kept elsewhere.

        Returns:
            The file of the report.

        Raises:
            Finding: the restored ledger is not what was signed; nothing was changed.
        """
        home = self.environment.workspace.home
        folder = home / "runs" / f"restore-{self.id}"
        folder.mkdir(parents=True, mode=0o700)
        told = json.dumps(self.report(), indent=2) + "\n"
        write_atomically(folder / "report.json", told)
        self.done = self._begin_epoch(reason, hold, checkpoints, told)
        write_atomically(folder / "epoch.json", json.dumps(self.done, indent=2) + "\n")
        return folder / "report.json"

    def _begin_epoch(
        self, reason: str, hold: bool, checkpoints: Sequence[Path], told: str
    ) -> dict[str, Any]:
        options = ["--restore", self.id, "--restored-to", self._restored_to]
        options += ["--backup", self.backup.id, "--reason", reason]
        options += ["--report", hashlib.sha256(told.encode()).hexdigest()]
        for path in checkpoints:
            options += ["--last-checkpoint", str(path.absolute())]
        run = self.environment.administer
        done = run("begin-epoch", *options, *([] if hold else ["--no-hold"]))
        lines = said_by(done)
        if done.returncode == exit_codes.FINDING:
            raise Finding(f"the restored ledger is not what was signed: {lines[-2:][0]}")
        if done.returncode != 0:
            raise CouldNotTell(f"the next epoch did not begin: {lines[-2:][0]}")
        return report_of(done)


@contextmanager
def prepared(
    environment: Startable, asked: Asked, say: Say = silent, count: Count = uncounted
) -> Iterator[Restore]:
    """A restore, ready to be carried out; left without that, nothing has changed.

    If it was carried out, the restored database takes its place as the block ends.

    Raises:
        UnusableInput: the platform runs, has data that may not be replaced, or is another one; no
            backup fits.
        Finding: the backup is not whole.
        CouldNotTell: no room; PostgreSQL cannot replay it (to that time).
    """
    store, key = Store(asked.folder), read_key(asked.key_file)
    backup = _chosen(store, key, asked)
    home = environment.workspace.home
    environment.workspace.prepare()
    with environment.locked():
        _bring_files(store, backup, key, home)
        database = environment.database()
        _require_allowed(database, backup, asked)
        wanted = read_wanted(home)
        same = wanted is not None and wanted.line == backup.line
        spool = wanted.spool(home) if wanted is not None and same and not asked.lost else None
        with staged(
            database, store, backup, key, to=asked.to, spool=spool, say=say, count=count
        ) as found:
            say("replaying the WAL")
            log = home / "log" / "restore.log"
            settings = found.recovery(asked.to)
            with serving(database, found.data, log, settings) as url:
                restore = _restore(environment, database, found, backup, asked, url, say)
                yield restore
            if restore.done:
                swap(database, home, restore.id, restore.kept)


def _chosen(store: Store, key: BackupKey, asked: Asked) -> Backup:
    if asked.backup:
        chosen = store.get(asked.backup, key)
        if asked.to is not None and asked.to < datetime.fromisoformat(chosen.ended_at):
            raise UnusableInput(
                f"backup {chosen.id} ended at {chosen.ended_at}, after the time that is asked for",
                hint="choose an earlier backup: mcctl backup list",
            )
        return chosen
    fitting = [
        one
        for one in store.backups()
        if asked.to is None or datetime.fromisoformat(one.ended_at) <= asked.to
    ]
    if not fitting:
        raise UnusableInput(
            f"no backup in {store.folder} ended before that time", hint="mcctl backup list"
        )
    return store.get(fitting[-1].id, key)


def _require_allowed(database: EmbeddedDatabase, backup: Backup, asked: Asked) -> None:
    if (database.data.parent / JOURNAL).exists():
        raise UnusableInput(
            "a restore was interrupted here", hint="finish it: mcctl backup restore --continue"
        )
    if database.platform_running:
        raise UnusableInput(
            "the platform runs: what it acknowledges now would be lost without a word",
            hint="stop it first: mcctl down",
        )
    if not database.data.exists():
        return
    present = _identifier(database)
    if present != backup.platform:
        raise Finding(
            f"backup {backup.id} is of another platform ({backup.platform}), this is {present}",
            hint="restore it under another MC_HOME; or remove this platform: mcctl down --purge",
        )
    if not asked.replace:
        raise NotAllowed(
            f"the platform has data in {database.data}", hint="to replace it, add --replace"
        )


def _identifier(database: EmbeddedDatabase) -> str:
    control = (database.data / "global" / "pg_control").read_bytes()
    return str(int.from_bytes(control[:8], "little"))


def _bring_files(store: Store, backup: Backup, key: BackupKey, home: Path) -> None:
    """Bring keys and tokens back that are not there; what is there is never overwritten."""
    if (home / "secrets" / "database.json").exists():
        return
    source = Readable(unseal(store.path(backup, FILES), key, backup.label(FILES)))
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            if not (home / member.name).exists():
                tar.extract(member, home, filter="data")
    source.drain()


def _restore(
    environment: Startable,
    database: EmbeddedDatabase,
    found: Staged,
    backup: Backup,
    asked: Asked,
    url: str,
    say: Say,
) -> Restore:
    service = url.rpartition("/")[0] + "/mc"
    heads = query(service, _HEAD, database.region)
    if len(heads) != 1:
        raise Finding(
            f"the backup holds {counted(len(heads), 'open log')} of {database.region}, expected one"
        )
    [head] = heads
    losses = Losses(service)
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    home = environment.workspace.home
    kept = database.data.with_name(f"data.before-{name}") if database.data.exists() else None
    if kept is not None and asked.lost:
        losses.unread("database", str(database.data), "its disk counts as lost")
    elif kept is not None:
        say("looking at what the present database has and the backup has not")
        _of_present(database, losses, head["region"], head["size"], service, home)
    _of_files(losses, asked, home, database.region)
    flying = [
        {**dict(row), "created_at": row["created_at"].isoformat()} for row in query(service, _OPEN)
    ]
    return Restore(
        id=name,
        backup=backup,
        environment=environment,
        database=database,
        staged=found,
        to=asked.to,
        log=head["region"],
        size=head["size"],
        last_recorded_at=head["updated_at"],
        in_flight=flying,
        losses=losses,
        kept=kept,
    )


def _of_present(
    database: EmbeddedDatabase, losses: Losses, log: str, size: int, url: str, home: Path
) -> None:
    name, place = "database", str(database.data)
    logs = [row["region"] for row in query(url, _LOGS)]
    beside = database.on_port(_free_port())
    settings = {"default_transaction_read_only": "on"}
    try:
        with serving(
            beside, database.data, home / "log" / "restore-present.log", settings
        ) as there:
            told = of_database(there.rpartition("/")[0] + "/mc", log, size, logs)
    except OpsError as error:
        losses.unread(name, place, error.message)
        return
    losses.add(Source(name, place), told)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _of_files(losses: Losses, asked: Asked, home: Path, region: str) -> None:
    audit = home / "audit"
    files = sorted(audit.glob("audit.jsonl*")) if audit.is_dir() else []
    stores = [path for path in (home / "siem" / "events.jsonl", *asked.siem) if path.exists()]
    for name, paths in (("siem", stores), ("file", files)):
        for path in paths:
            losses.add(Source(name, str(path)), of_lines(path, region))
    for path in asked.acknowledged:
        losses.add(Source("client", str(path)), of_clients(path))


# -- the place of the former database -----------------------------------------------------------


def swap(database: EmbeddedDatabase, home: Path, id: str, kept: Path | None) -> None:
    """Put the staged database in its place; from here on it is finished, not undone."""
    journal = database.data.parent / JOURNAL
    write_atomically(journal, json.dumps({"id": id, "kept": str(kept) if kept else ""}) + "\n")
    sync_folder(journal.parent)
    finish(database, home)


def finish(database: EmbeddedDatabase, home: Path) -> str:
    """End a restore that was interrupted in the midst of its renames; its id, or that there is none.

    Raises:
        UnusableInput: no restore was interrupted there.
    """
    around = database.data.parent
    journal = around / JOURNAL
    value = read_json_object(journal, "the folder says what is where: data, restoring/data")
    if value is None:
        clear(around / PLACE)
        raise UnusableInput("no restore was interrupted here: nothing is to be finished")
    ready = around / PLACE / "data"
    if ready.exists():
        if database.data.exists():
            database.data.rename(value["kept"] or database.data.with_name(f"data.{value['id']}"))
        ready.rename(database.data)
    sync_folder(around)
    forget_wanted(home)
    journal.unlink()
    clear(around / PLACE)
    return str(value["id"])
