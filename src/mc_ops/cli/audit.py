"""`mcctl audit`: verify the ledger, export a tenant's part of it, prove an event, archive."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mc_contract.ledger import checkpoint
from mc_contract.numbers import counted
from mc_ops import audit as room
from mc_ops import exit_codes
from mc_ops.cli import audit_record, dead_letters
from mc_ops.cli.ledger_access import LedgerReading, RequireOption, WitnessOption, read_export
from mc_ops.cli.operator_access import YesOption, confirm
from mc_ops.cli.options import EnvOption, Verbs, Whole
from mc_ops.cli.output import Format, OutputOption, columns, emit_json, fail, note, ok, show, warn
from mc_ops.environments import Environment, open_environment
from mc_ops.environments.administered import report_of, said_by
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.files import atomic_file, write_atomically, writing

if TYPE_CHECKING:
    from mc_contract.ledger.cosignature import Cosigned
    from mc_contract.ledger.export import VerifiedExport

app = Verbs()
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")]

LogOption = Annotated[
    str | None,
    typer.Option("--log", help="A log of an earlier epoch; default: the one that is written."),
]

app.add_typer(audit_record.app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(dead_letters.app, name="parked", hidden=True)  # its first name, which scripts use

_NOT_COMPLETE = (
    "each entry is in the log; that none was left out is not proven by this file: "
    "mcctl audit verify reads the whole log"
)


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def verify(
    call: LedgerReading,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Verify this export offline instead of the whole ledger."),
    ] = None,
    since_checkpoint: Annotated[
        Path | None,
        typer.Option(help="Start at a checkpoint that an earlier verification saved."),
    ] = None,
    known_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint kept elsewhere that the ledger must match; repeatable."),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", help="Folder with archived entries, to verify them as well."),
    ] = None,
    allow_archived: Annotated[
        bool,
        typer.Option(
            "--allow-archived",
            help="Verify the rest when archived entries are not at hand.",
        ),
    ] = False,
    save_checkpoint: Annotated[
        Path | None,
        typer.Option(help="File to write the verified checkpoint to, for --since-checkpoint."),
    ] = None,
    witness: WitnessOption = None,
    require: RequireOption = None,
    cosigned_since: Annotated[
        str,
        typer.Option(
            help="How old the newest cosignatures may be where the log has grown since: a time, or "
            "an age such as 1h."
        ),
    ] = "1h",
) -> None:
    """Verify the ledger against its signed checkpoints; exit 1 if it was changed."""
    trusted = call.trusted()
    wanted = room.demand(witness or (), require)
    if export is not None:
        others = (since_checkpoint, known_checkpoint, archive, allow_archived, save_checkpoint)
        if any((*others, call.whose, call.url)):
            raise UnusableInput(
                "--export cannot be combined with options that concern the service",
                hint="use only --key, --witness, --require and --output with it",
            )
        _verify_export(export, trusted, wanted, call.output)
        return
    if archive is not None and allow_archived:
        raise UnusableInput(
            "--archive and --allow-archived exclude each other", hint="give one of them"
        )
    if archive is not None and not archive.is_dir():
        raise UnusableInput(
            f"--archive {archive} is not a folder",
            hint="name the folder that `mcctl audit archive --to` wrote",
        )
    saved = [room.Saved(str(p), room.load_checkpoint(p, trusted)) for p in known_checkpoint or ()]
    since = (
        room.Saved(str(since_checkpoint), room.load_checkpoint(since_checkpoint, trusted))
        if since_checkpoint
        else None
    )
    with call.ledger() as client:
        report, *former = room.verify_epochs(
            client,
            trusted,
            since=since,
            known=saved,
            archive=archive,
            allow_archived=allow_archived,
            wanted=wanted,
            cosigned_since=datetime.fromisoformat(room.moment(cosigned_since, datetime.now(UTC))),
            say=note,
        )
    _print_report(report, former, call.output)
    reports = (report, *former)
    verified = all(each.verified for each in reports)
    if verified and save_checkpoint:
        with writing(save_checkpoint):
            write_atomically(save_checkpoint, report.note)
        ok(f"the verified checkpoint is in {escape(str(save_checkpoint))}; keep it elsewhere")
    elif save_checkpoint:
        warn("not verified: no checkpoint was saved")
    if any(each.findings for each in reports):
        raise typer.Exit(exit_codes.FINDING)
    if not verified:
        raise typer.Exit(exit_codes.COULD_NOT_TELL)


@app.command("export")
def export_entries(
    call: LedgerReading,
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant whose entries are exported.")],
    since: Annotated[
        str, typer.Option("--since", help="Start of the range: a time, or an age such as 7d, 36h.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Output file.")],
    until: Annotated[
        str | None,
        typer.Option("--until", help="End of the range: a time, or an age; default: now."),
    ] = None,
    log: LogOption = None,
    force: ForceOption = False,
    witness: WitnessOption = None,
    require: RequireOption = None,
) -> None:
    """Write a tenant's entries with their proofs to a file that verifies offline."""
    _require_new(out, force=force)
    now = datetime.now(UTC)
    trusted, wanted = call.trusted(), room.demand(witness or (), require)
    with call.ledger(log=log) as client, writing(out), atomic_file(out) as file:
        found = room.export_tenant(
            client,
            trusted,
            file.write,
            tenant=tenant,
            since=room.moment(since, now),
            until=room.moment(until, now) if until else "",
            wanted=wanted,
        )
        archived = client.archives()
    if archived:
        warn(
            f"entries 0 to {archived[-1].last_index} have left the database as files; "
            "what of the tenant is in them is not in this export"
        )
    _print_written(out, found, call.output)


@app.command("prove")
def prove_event(
    call: LedgerReading,
    event: Annotated[str, typer.Argument(help="Id of an event, or its index in the ledger.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Output file; default: standard output.")
    ] = None,
    log: LogOption = None,
    force: ForceOption = False,
    witness: WitnessOption = None,
    require: RequireOption = None,
) -> None:
    """Write a proof that an event is in the ledger; the file verifies offline."""
    if out is not None:
        _require_new(out, force=force)
    trusted, wanted = call.trusted(), room.demand(witness or (), require)
    with call.ledger(log=log) as client:
        raw, found = room.prove(client, trusted, event, wanted)
    if out is not None:
        with writing(out):
            write_atomically(out, raw)
        _print_written(out, _summary(found), call.output)
        return
    sys.stdout.write(raw.decode())
    ok(f"entry {found.leaves[0]['index']} is in the log of {found.region}")


@app.command("verifier-key")
def verifier_key(
    file: Annotated[Path, typer.Argument(help="PEM file of the ledger's or witness's key.")],
    region: Annotated[
        str | None, typer.Option("--region", help="Region whose ledger or witness it is.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the key, where it is no region's.")
    ] = None,
    witness: Annotated[
        bool, typer.Option("--witness", help="It is a witness's key; default: a ledger's.")
    ] = False,
) -> None:
    """Print a key as witnesses and other signed-note tools take it; a private one stays private."""
    if (region is None) == (name is None):
        raise UnusableInput(
            "either --region or --name is needed", hint="such as --region local-1 (MC_REGION)"
        )
    sys.stdout.write(f"{room.verifier_key_of(file, name or '', region or '', witness=witness)}\n")


@app.command()
def archive(
    older_than: Annotated[
        Whole,
        typer.Option("--older-than", min=1, help="Minimum age in days of the months to archive."),
    ],
    to: Annotated[Path, typer.Option("--to", help="Output folder.")],
    yes: YesOption = False,
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Move old months of the ledger from the database into files."""
    environment = open_environment(env)
    if not yes:
        note(
            f"Moves every month of the ledger that ended {counted(older_than, 'day')} ago to "
            f"{escape(str(to))}, verifies the files, and drops the rows. Keep the files: "
            "nothing else holds those entries then."
        )
        confirm("Move them?", yes=False)
    report = _archived(environment, older_than, to.absolute())
    moved = [
        (item["file"], f"entries {item['first_index']} to {item['last_index']}")
        for item in report["archived"]
    ]
    show(output, report, columns(moved))
    if report["kept"]:
        warn(escape(f"{report['kept']['partition']} stays: {report['kept']['reason']}"))
    if any(not item["delivered_to"] for item in report["archived"]):
        warn("no SIEM or file was ever configured: these entries are in the files alone")
    ok(
        f"{counted(len(report['archived']), 'file')} written"
        if report["archived"]
        else "nothing to move"
    )


def _archived(environment: Environment, older_than_days: int, folder: Path) -> dict[str, Any]:
    """The report of the service's own command: the last line of its output, as JSON."""
    done = environment.administer(
        "archive", "--older-than", str(older_than_days), "--to", str(folder)
    )
    said = said_by(done)
    if done.returncode == exit_codes.FINDING:
        fail(escape("\n".join(said)))
        raise typer.Exit(exit_codes.FINDING)
    if done.returncode != 0:
        kind = UnusableInput if done.returncode == exit_codes.USAGE else CouldNotTell
        raise kind(f"nothing was moved: {said[0]}")
    return report_of(done)


def _verify_export(path: Path, key: Any, wanted: room.Demand | None, output: Format) -> None:
    try:
        found = read_export(path, key)
        cosigned = _cosigned(found.note, wanted)
    except Finding as error:
        if output is Format.json:
            emit_json({"file": str(path), "verified": False, "reason": error.message})
        raise
    _print_export(path, _summary(found), output, cosigned)
    ok(f"{escape(str(path))} verifies")
    note(_NOT_COMPLETE)


def _cosigned(signed_note: str, wanted: room.Demand | None) -> Sequence[Cosigned]:
    try:
        return () if wanted is None else wanted.cosigned(signed_note)
    except checkpoint.CheckpointError as error:
        raise Finding(f"the export's checkpoint: {error.message}") from error


def _require_new(out: Path, *, force: bool) -> None:
    if out.exists() and not force:
        raise UnusableInput(f"{out} exists already", hint="add --force to overwrite it")
    if not out.absolute().parent.is_dir():
        raise UnusableInput(f"{out.parent} is not a folder", hint="create it, or name another file")


def _summary(found: VerifiedExport) -> room.Exported:
    return room.Exported(
        found.checkpoint, found.region, found.tenant, found.since, found.until, len(found.leaves)
    )


def _print_written(out: Path, found: room.Exported, output: Format) -> None:
    _print_export(out, found, output)
    if not found.entries:
        warn("no entry fits: the file is empty but for its checkpoint")
    ok(f"{escape(str(out))} is written and verifies")
    note(_NOT_COMPLETE)


def _print_export(
    path: Path, found: room.Exported, output: Format, cosigned: Sequence[Cosigned] = ()
) -> None:
    about = f"tenant {found.tenant}" if found.tenant else "single events"
    line = f"{path}  {about}  {counted(found.entries, 'entry')}  log size {found.checkpoint.size}"
    result = {
        "file": str(path),
        "verified": True,
        "region": found.region,
        "tenant": found.tenant,
        "since": found.since,
        "until": found.until,
        "size": found.checkpoint.size,
        "root": found.checkpoint.root.hex(),
        "entries": found.entries,
        "complete": None,
        "cosigned": room.cosigned_json(cosigned),
    }
    lines = [f"cosigned by {room.told(cosigned)}"] if cosigned else []
    show(output, result, [line, *lines])


def _print_report(report: room.Report, former: Sequence[room.Report], output: Format) -> None:
    rows = [row for each in (report, *former) for row in _rows(each)]
    whole = {
        **_report_json(report),
        "verified": all(each.verified for each in (report, *former)),
        "former": [_report_json(each) for each in former],
    }
    show(output, whole, columns(rows))
    for each in (report, *former):
        _tell_verdict(each, output)


def _report_json(report: room.Report) -> dict[str, Any]:
    value = {**asdict(replace(report, witnessed=None)), "verified": report.verified}
    del value["first_leaf"]
    return {**value, "witnessed": report.witnessed.as_dict() if report.witnessed else None}


def _rows(report: room.Report) -> list[tuple[str, str]]:
    return [
        ("region", report.region),
        ("size", str(report.size)),
        ("root", report.root),
        ("entries", f"{report.entries} read, from {report.first}"),
        ("checkpoints", f"{report.checkpoints} held against it"),
        *(
            [("cosigned", f"size {seen.checkpoint.size} by {room.told(seen.cosigned)}")]
            if (seen := report.witnessed)
            else []
        ),
        *((finding.kind, finding.message) for finding in report.findings),
        *(("not seen", reason) for reason in report.unseen),
    ]


def _tell_verdict(report: room.Report, output: Format) -> None:
    for notice in report.notices:
        warn(escape(notice))
    if output is Format.json:
        for reason in report.unseen:
            warn(escape(f"not seen: {reason}"))
    if report.verified:
        part = f", from entry {report.first} on" if report.first else ""
        ok(f"the log of {escape(report.region)} verifies at size {report.size}{part}")
    elif report.findings:
        fail(f"the log does not verify: {counted(len(report.findings), 'finding')}")
    else:
        warn(
            f"not verified: nothing wrong in the {counted(report.entries, 'entry')} read, but not "
            "all of the log was seen"
        )
