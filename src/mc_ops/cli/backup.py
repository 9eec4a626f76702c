"""`mcctl backup`: make, list, verify and restore backups of the platform on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_contract.numbers import counted
from mc_ops import audit, exit_codes
from mc_ops import backups as room
from mc_ops.cli.operator_access import YesOption, confirm, confirm_by_word
from mc_ops.cli.options import EnvOption, OptionGroup, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, note, ok, show, warn
from mc_ops.cli.progress import ProgressLine
from mc_ops.environments import Startable, open_startable
from mc_ops.environments.drill_lock import require_no_drill
from mc_ops.environments.interface import Say
from mc_ops.errors import UnusableInput
from mc_ops.files import read_json_object

app = Verbs()
_MOST_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class Place(OptionGroup):
    """Where backups are, and which key seals them."""

    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Folder of backups; default: MC_BACKUP_DIR, or MC_HOME/backups."
        ),
    ] = None
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", help="Key file; default: MC_BACKUP_KEY_FILE, or MC_HOME/secrets/backup.key."
        ),
    ] = None
    env: EnvOption = "local"
    output: OutputOption = Format.table

    def platform(self) -> Startable:
        """The platform on this machine.

        Raises:
            UnusableInput: another environment is asked for.
        """
        if self.env != "local":
            raise UnusableInput(
                "on a cluster CloudNativePG makes and restores backups",
                hint="docs/how-to/backups.md, On a cluster",
            )
        return open_startable()

    def places(self, environment: Startable) -> tuple[Path, Path]:
        """The folder and the key file, as absolute paths."""
        folder, key = room.usual_places(environment.workspace)
        return (self.folder or folder).absolute(), (self.key or key).absolute()


@app.command()
def create(place: Place) -> None:
    """Make a backup of the running platform, and archive its WAL from then on."""
    environment = place.platform()
    folder, key_file = place.places(environment)
    with _telling("backup") as (say, count):
        made = room.create_backup(
            environment, folder, key_file, wal_s=room.usual_wal_s(), say=say, count=count
        )
    backup = made.backup
    result = {**asdict(backup), "seconds": made.seconds, "folder": str(folder)}
    rows = [
        ("backup", backup.id),
        ("size", f"{_mib(backup.bytes)} sealed, {_mib(backup.database_bytes)} in the database"),
        ("took", f"{made.seconds:.1f} s"),
        ("restorable", f"from {backup.ended_at} on"),
    ]
    show(place.output, result, columns(rows))
    if made.new_line:
        note(f"the WAL archive begins a new line: {escape(made.new_line)}")
    if made.new_key:
        warn(
            f"a new key seals backups: {escape(str(key_file))}. Keep a copy elsewhere: without it no "
            "backup can be read, and beside the backups it protects nothing"
        )
    ok(f"backup {backup.id} is in {escape(str(folder))}")


@app.command("list")
def list_backups(place: Place) -> None:
    """List the backups, and how far the WAL archive goes. Exit 1 if WAL is not being archived."""
    environment = place.platform()
    folder, _ = place.places(environment)
    store = room.Store(folder)
    found = store.backups()
    wanted = room.read_wanted(environment.workspace.home)
    lag = None
    if wanted is not None and wanted.folder == folder:
        lag = room.lag_of(environment.database(), store, wanted)
    rows = [(one.id, *_cells(store, one)) for one in found]
    lines = columns(rows, heading=("backup", "from", "until", "sealed", "database", "key"))
    result = {
        "folder": str(folder),
        "backups": [{**asdict(one), "until": _until(store, one)} for one in found],
        "wal": None if lag is None else asdict(lag),
    }
    show(place.output, result, lines if found else [f"no backup in {folder}"])
    if lag is not None and lag.problem:
        warn(escape(f"the WAL archive: {lag.problem}"))
        raise typer.Exit(exit_codes.FINDING)
    if lag is not None:
        note(escape(f"the WAL archive: {_lag_text(lag)}"))


def _lag_text(lag: room.Lag) -> str:
    behind = "nothing archived yet" if lag.behind_s is None else f"{lag.behind_s:.0f} s behind"
    return f"{behind}, {_mib(lag.pending_bytes or 0)} written since"


def _cells(store: room.Store, backup: room.Backup) -> Sequence[str]:
    until = _until(store, backup)
    return (
        backup.ended_at,
        until,
        _mib(backup.bytes),
        _mib(backup.database_bytes),
        backup.key_id,
    )


def _until(store: room.Store, backup: room.Backup) -> str:
    archived = store.archived(backup.line)
    return max(backup.ended_at, archived.at if archived else "")


@app.command()
def verify(
    place: Place,
    backup: Annotated[
        str, typer.Argument(metavar="[BACKUP]", help="Id of a backup; default: the last one.")
    ] = "",
) -> None:
    """Unseal a backup with its WAL and hold it against its manifest; exit 1 if it is not whole."""
    environment = place.platform()
    folder, key_file = place.places(environment)
    store, key = room.Store(folder), room.read_key(key_file)
    found = store.backups()
    if not backup and not found:
        raise UnusableInput(f"no backup in {folder}", hint="make one: mcctl backup create")
    chosen = store.get(backup or found[-1].id, key)
    database = environment.database()
    with _telling("unsealing") as (say, count):
        segments, until, seconds = room.verify_backup(database, store, chosen, key, say, count)
    rows = [
        ("backup", chosen.id),
        ("restorable", f"{chosen.ended_at} to {until.isoformat()}"),
        ("segments", f"{segments} of WAL follow it, none is missing"),
        ("took", f"{seconds:.1f} s"),
    ]
    result = {**asdict(chosen), "until": until.isoformat(), "segments": segments}
    show(place.output, {**result, "seconds": seconds, "verified": True}, columns(rows))
    ok(f"backup {chosen.id} is whole")


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def restore(
    place: Place,
    backup: Annotated[
        str,
        typer.Option("--backup", help="Id of a backup; default: the last one before the time."),
    ] = "",
    to: Annotated[
        str | None,
        typer.Option("--to", help="Point in time: a time, or an age such as 2h; default: all."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Reason; recorded in the ledger.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the data that the platform has.")
    ] = False,
    acknowledged: Annotated[
        list[Path] | None,
        typer.Option(help="File of tasks that a client knows to be acknowledged; repeatable."),
    ] = None,
    siem: Annotated[
        list[Path] | None,
        typer.Option(help="File of events that a SIEM keeps, as JSON lines; repeatable."),
    ] = None,
    last_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of the ledger that was kept elsewhere; repeatable."),
    ] = None,
    no_hold: Annotated[
        bool, typer.Option("--no-hold", help="Do not halt autonomy in what is restored.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be lost, and change nothing.")
    ] = False,
    continue_: Annotated[
        bool, typer.Option("--continue", help="Finish a restore that was interrupted.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Restore a backup, show before what is lost by it, and begin the ledger's next epoch."""
    environment = place.platform()
    require_no_drill(environment.workspace.home)
    if continue_:
        with environment.locked():
            finished = room.finish(environment.database(), environment.workspace.home)
        ok(f"restore {finished} is finished; start the platform: mcctl up")
        epoch = environment.workspace.runs / f"restore-{finished}" / "epoch.json"
        _tell_hold(read_json_object(epoch, "mcctl autonomy status tells what it said") or {})
        return
    if not reason and not dry_run:
        raise UnusableInput("a restore needs a reason, which is recorded", hint="--reason TEXT")
    folder, key_file = place.places(environment)
    asked = room.Asked(
        folder=folder,
        key_file=key_file,
        backup=backup,
        to=None if to is None else datetime.fromisoformat(audit.moment(to, datetime.now(UTC))),
        replace=replace or dry_run,
        acknowledged=tuple(acknowledged or ()),
        siem=tuple(siem or ()),
    )
    written: Path | None = None
    with _telling("unsealing") as told, room.prepared(environment, asked, *told) as found:
        if dry_run:
            show(place.output, found.report(), _losses(found))
        else:
            for line in _losses(found):
                note(escape(str(line)))
            _ask(found, yes=yes)
            written = found.carry_out(
                reason=reason, hold=not no_hold, checkpoints=tuple(last_checkpoint or ())
            )
    if written is None:
        ok("nothing was changed")
        return
    _tell_done(found, written, place.output)


def _ask(found: room.Restore, *, yes: bool) -> None:
    if found.kept is None:
        confirm("Restore it here?", yes=yes)
        return
    note(escape(f"the data of {found.database.data} are replaced, and kept beside it"))
    confirm_by_word("Replace them?", found.database.region, yes=yes)


def _losses(found: room.Restore) -> list[str]:
    """What a restore would lose, in lines."""
    report = found.report()
    lost = report["lost"]
    rows = [
        ("backup", found.backup.id),
        ("restored to", f"{report['restored_to']}; last entry at {report['last_recorded_at']}"),
        ("ledger", f"{found.log}, {found.size} entries"),
        *(
            (
                one["name"],
                one["problem"] or f"{one['told']} told, {one['lost']} lost: {one['place']}",
            )
            for one in report["sources"]
        ),
        (
            "lost",
            f"{counted(report['lost_requests'], 'accepted request')} or their answers, {len(lost)} tasks or events in all",
        ),
        ("in flight", f"{counted(len(found.in_flight), 'operation')}, to go on at the next start"),
    ]
    more = [f"  and {len(lost) - _MOST_SHOWN} more"] if len(lost) > _MOST_SHOWN else []
    return [
        *(line.plain for line in columns(rows)),
        *map(_loss_text, lost[:_MOST_SHOWN]),
        *more,
    ]


def _loss_text(one: dict[str, Any]) -> str:
    how = "lost" if one["whole"] else f"lost in part ({', '.join(one['kinds'])})"
    about = " ".join(filter(None, (one["tenant"], one["at"])))
    return f"  {one['task']} {how}: {about}, known from {', '.join(one['sources'])}"


def _tell_done(found: room.Restore, written: Path, output: Format) -> None:
    result = {**found.report(), "epoch": found.done, "report": str(written)}
    signed = found.done["last_signed"]
    last = (
        "no checkpoint was known" if signed is None else f"{signed['log']}, size {signed['size']}"
    )
    rows = [
        ("restore", found.id),
        ("ledger", f"{found.log} ended at {found.size} entries, {found.done['subject']} began"),
        ("signed last", last),
        ("report", str(written)),
        ("former data", str(found.kept) if found.kept else "there were none"),
    ]
    show(output, result, columns(rows))
    _tell_hold(found.done)
    if found.in_flight:
        warn(
            f"in flight: {counted(len(found.in_flight), 'operation')}; those that had begun go on with the "
            "same effect keys when the platform starts; leave it down to hold them"
        )
    note("the WAL archive ended with the former data: mcctl backup create, once it runs")
    if peer := found.done["peer"]:
        warn(
            f"nothing is replicated with region {peer}, and nothing confirmed, until both are repaired: "
            "mcctl replication repair, once it runs"
        )
    ok("restored; start the platform: mcctl up")


@contextmanager
def _telling(what: str) -> Iterator[tuple[Say, room.Count]]:
    """What notes each step, and what tells on a line of its own how much is done and how long the rest takes."""
    progress = ProgressLine(what, "MiB")

    def say(text: str) -> None:
        progress.end()
        note(escape(text))

    try:
        yield say, lambda planned, done: progress.count(done >> 20, max(planned, done) >> 20)
    finally:
        progress.end()


def _tell_hold(done: Mapping[str, Any]) -> None:
    if done.get("halted"):
        note(
            "autonomy is halted; when a person has looked: mcctl autonomy resume --all --reason TEXT"
        )


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
