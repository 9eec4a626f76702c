"""`mcctl evidence`: pack, verify and extract evidence."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_contract import evidence as contract
from mc_contract.ledger import checkpoint
from mc_contract.numbers import counted
from mc_ops import audit, exit_codes
from mc_ops import evidence as room
from mc_ops.canary_folder import canaries, canary_in
from mc_ops.cli.ledger_access import RequireOption, WitnessOption
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import (
    Format,
    OutputOption,
    columns,
    emit_json,
    fail,
    note,
    ok,
    show,
    warn,
)
from mc_ops.environments import Environment, Workspace, open_environment
from mc_ops.errors import CouldNotTell, UnusableInput

app = Verbs()


PackArgument = Annotated[
    Path, typer.Argument(help="Evidence file, as `mcctl evidence pack` writes it.")
]


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def pack(
    out: Annotated[Path, typer.Option("--out", help="Output file.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            "--run-dir",
            help="Name or folder of a run (journal, canary, pre-flight); repeatable. "
            "Default: the newest run that passed.",
        ),
    ] = None,
    canary: Annotated[
        Path | None,
        typer.Option("--canary", help="Run or folder of a canary; default: the canary of --run."),
    ] = None,
    preflight: Annotated[
        Path | None,
        typer.Option(
            "--preflight",
            help="Report of `mcctl preflight --output json`; default: the report of --run.",
        ),
    ] = None,
    redteam: Annotated[
        Path | None,
        typer.Option(
            "--redteam",
            help="Run or folder of a red-team; default: the red-team of --run.",
        ),
    ] = None,
    drill: Annotated[
        Path | None,
        typer.Option("--drill", help="Run or folder of a drill; default: the drill of --run."),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            help="Name of the release; default: RELEASE of a file evidence-RELEASE.json.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="Private key that signs; default: the platform's own."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="URL of the service; default: the local platform.")
    ] = None,
    env: Annotated[
        str,
        typer.Option(
            "--env",
            envvar="ENV",  # as the runbook's scripts, beside whose lines it stands without options
            help="Environment that the evidence is about: `local` or `kubernetes`.",
        ),
    ] = "local",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file if it exists.")
    ] = False,
    output: OutputOption = Format.table,
) -> None:
    """Collect a release's evidence, derive claims that can be recomputed, and sign it."""
    workspace = Workspace.from_env()
    room.check_target(out, replace=force)
    runs = _runs(workspace, run or [])
    canary, redteam, drill = (
        workspace.run_folder(one) if one else None for one in (canary, redteam, drill)
    )
    if not runs and canary is None:
        runs = _newest_run(workspace.runs)
    ledger_key = workspace.home / "trust" / room.LEDGER_KEY
    environment = None if url else open_environment(env)
    place = url or (environment.url if environment and env == "kubernetes" else workspace.url)
    parts = [
        room.canary_part(_canary_folder(canary, runs, workspace.runs), ledger_key),
        room.journal_part(_first(runs, room.JOURNAL)),
        room.preflight_part(preflight or _report(runs)),
        room.redteam_part(_finished(redteam, runs, room.redteam_in, *_REDTEAM)),
        room.drill_part(_finished(drill, runs, room.drill_in, *_DRILL)),
        *room.service_parts(
            place,
            ledger_key,
            None if environment is None else _replicas(environment),
            token := _scraping(environment),
        ),
        _serving(environment, place, token),
    ]
    built = room.build(
        parts,
        release=contract.Release(release or room.release_name(out), None, version("mc-platform")),
        created_at=datetime.now(UTC),
        environment=env,
        run_id=_run_id(runs),
        key=room.load_key(key) if key else _own_key(workspace.home),
    )
    room.write_pack(out, built.raw, replace=force)
    _print_built(out, built, output)


def _scraping(environment: Environment | None) -> str | None:
    """The scrape credential for replicas of a cluster, which tell strangers little; None if there is none.

    On this machine they tell everybody, and a credential that is not needed is not sent.
    """
    if environment is None or environment.name == "local":
        return None
    try:
        text = environment.workspace.scrape_token.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return text.strip() or None


def _serving(environment: Environment | None, url: str, token: str | None) -> room.Part:
    active = environment.active_colour() if environment else None
    if environment is None or active is None:
        return room.serving_part([url], all_of_them=False, token=token)
    urls = [instance.url for instance in environment.instances(active)]
    return room.serving_part(urls, all_of_them=True, token=token)


def _replicas(environment: Environment) -> dict[str, str]:
    return {instance.name: instance.url for instance in environment.instances()}


@app.command()
def verify(
    file: PackArgument,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            "--trust", help="Trusted public key; repeatable; default: the keys in $MC_HOME/trust."
        ),
    ] = None,
    expect_release: Annotated[
        str | None,
        typer.Option("--expect-release", help="Fail unless the evidence is about this release."),
    ] = None,
    expect_commit: Annotated[
        str | None,
        typer.Option("--expect-commit", help="Fail unless this commit ran (7 digits or more)."),
    ] = None,
    require_promote: Annotated[
        bool,
        typer.Option(
            "--require-promote",
            help="Fail if the canary's verdict is HOLD, also if it was overridden.",
        ),
    ] = False,
    witness: WitnessOption = None,
    require: RequireOption = None,
) -> None:
    """Recompute every claim of an evidence file; print the report as JSON.

    Exit 1 if a claim fails, 2 if it is no evidence file, 3 if it does not say what ran.
    """
    keys = room.trusted_keys(trust or [], Workspace.from_env().home)
    wanted = audit.demand(witness or (), require)
    raw = room.read_file(file)
    if not contract.resembles_pack(raw):
        _refuse(file, raw)
    report = contract.verify(
        raw,
        keys,
        expect_release=expect_release,
        expect_commit=_commit(expect_commit),
        require_promote=require_promote,
    )
    told: dict[str, Any] = {}
    if wanted is not None:
        report, told["cosigned"] = _held_to(report, raw, wanted)
    emit_json({**report.as_dict(), **told})
    if report.ok:
        ok(escape(f"{file.name} verifies: {_verdict_line(report)}"))
        _warn_of_ledger_key(report, Workspace.from_env().home)
        return
    if not report.reasons:
        raise CouldNotTell(
            f"{file.name} is not bound to what ran: {'; '.join(report.unbound)}",
            hint="what it claims follows from what it holds; whether that is of this release, "
            "nothing shows",
        )
    reasons = counted(len(report.reasons), "reason")
    fail(f"{escape(file.name)} does not verify: {reasons}, see stdout")
    raise typer.Exit(exit_codes.FINDING)


def _held_to(
    report: contract.Report, raw: bytes, wanted: audit.Demand
) -> tuple[contract.Report, list[dict[str, str]]]:
    """The report, and who cosigned the pack's checkpoint; too few are a reason against the pack."""
    sources = (room.COSIGNED, room.LEDGER_KEY)
    claimed = [one for one in report.claims if one.claim.sources == sources and not one.problem]
    try:
        if not claimed:
            raise checkpoint.CheckpointError("the pack holds no cosigned checkpoint of the ledger")
        note = contract.read_pack(raw).artifacts[room.COSIGNED].decode()
        return report, audit.cosigned_json(wanted.cosigned(note))
    except checkpoint.CheckpointError as error:
        reasons = (*report.reasons, f"witnesses: {error.message}")
        return replace(report, ok=False, reasons=reasons), []


def _refuse(file: Path, raw: bytes) -> None:
    try:
        contract.read_pack(raw)
    except contract.PackError as error:
        raise UnusableInput(
            f"{file} is not an evidence pack: {'it is empty' if not raw else error.problems[0]}",
            hint="name a file that `mcctl evidence pack --out FILE` has written",
        ) from error


def _commit(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{7,64}", text):
        raise UnusableInput(
            f"--expect-commit {text[:80]!r} is not a commit", hint="7 to 64 hexadecimal digits"
        )
    return text


@app.command("extract")
def extract_files(
    file: PackArgument,
    folder: Annotated[Path, typer.Option("--dir", help="Output folder.")],
    output: OutputOption = Format.table,
) -> None:
    """Write an evidence file's artefacts, statement and signature as files."""
    files = [str(path) for path in room.extract(room.read_file(file), folder)]
    show(output, {"files": files}, files)
    note(
        "nothing was verified; docs/how-to/evidence.md shows how to check the signature with openssl"
    )


def _runs(workspace: Workspace, named: list[Path]) -> list[Path]:
    """The runs named, or the runbook's run that this command is a step of."""
    given = [workspace.run_folder(one) for one in named]
    files = (room.JOURNAL, room.PREFLIGHT)
    for folder in given:
        if not folder.is_dir():
            raise UnusableInput(
                f"{folder} is not a run",
                hint=f"the name of a run in {workspace.home / 'runs'} (mcctl runbook status names the "
                "newest), or a run's folder",
            )
        if not (
            canary_in(folder)
            or room.redteam_in(folder)
            or room.drill_in(folder)
            or any((folder / name).is_file() for name in files)
        ):
            raise UnusableInput(
                f"{folder} is not the folder of a run: it has no {', no '.join(files)}, no canary",
                hint="runs are in $MC_HOME/runs; mcctl runbook status names the newest",
            )
    own = os.environ.get("RUN_DIR")
    return given or ([Path(own)] if own else [])


def _newest_run(all_runs: Path) -> list[Path]:
    """The newest run that passed, and the reader is told which; none: `[]`."""
    found = room.newest_passed_run(all_runs)
    if found is None:
        return []
    note(f"no --run given: run {escape(found.folder.name)}, the newest that passed")
    if found.later:
        names = ", ".join(map(escape, found.later))
        warn(f"newer, but did not pass, and not in the pack: {names}")
    return [found.folder]


def _own_key(home: Path) -> contract.PrivateKey:
    """The platform's signing key; the reader is told when it is a new one, that nobody knows."""
    path = room.key_path(home)
    was_there = path.exists()
    key = room.ensure_key(home)
    if not was_there:
        warn(f"made a new signing key {escape(str(path))}; no other machine trusts it yet")
    return key


def _canary_folder(given: Path | None, runs: list[Path], all_runs: Path) -> Path | None:
    if given is not None:
        found = canary_in(given)
        if found is None:
            raise UnusableInput(
                f"{given} holds no finished canary",
                hint="expected base.lat, cand.lat and verdict.json, which mcctl canary run writes",
            )
        return found
    if runs:  # never another run's canary: it would be evidence for something else
        return next((found for folder in runs if (found := canary_in(folder))), None)
    newest = next(canaries(all_runs), None)
    if newest is not None:
        warn(
            f"no --run given, and no run passed: canary {escape(str(newest))}, the newest, "
            "without a journal and a pre-flight"
        )
    return newest


def _finished(
    given: Path | None, runs: list[Path], place: Callable[[Path], Path | None], what: str, hint: str
) -> Path | None:
    """Where a red-team's or a drill's files are: in the folder that was given, or in a run."""
    if given is None:
        return next((found for folder in runs if (found := place(folder))), None)
    found = place(given)
    if found is None:
        raise UnusableInput(f"{given} holds no finished {what}", hint=f"expected {hint}")
    return found


_REDTEAM = ("red-team", "redteam.json and redteam-rows.jsonl, as mcctl redteam privacy writes")
_DRILL = ("drill", "drill.json and drill-clients.jsonl, as mcctl drill run writes")


def _report(runs: list[Path]) -> Path | None:
    folder = _first(runs, room.PREFLIGHT)
    return folder / room.PREFLIGHT if folder else None


def _first(folders: list[Path], name: str) -> Path | None:
    return next((folder for folder in folders if (folder / name).is_file()), None)


def _run_id(runs: list[Path]) -> str:
    return os.environ.get("RUN_ID") or (runs[0].resolve().name if runs else "none")


def _print_built(out: Path, built: room.Built, output: Format) -> None:
    said = built.statement
    controls = [control.as_dict() for control in said.controls]
    result = {
        "file": str(out),
        "release": said.release.name,
        "subjects": sorted(built.artifacts),
        "claims": [{"id": claim.id, "value": claim.value} for claim in said.claims],
        "controls": controls,
    }
    rows = [
        *(
            ("subject", f"{name}  {len(raw)} bytes")
            for name, raw in sorted(built.artifacts.items())
        ),
        *(("claim", f"{claim.id}: {_short(claim.value)}") for claim in said.claims),
        *(("control", f"{one.id}: {one.status.value} - {one.reason}") for one in said.controls),
    ]
    show(output, result, [f"{out}  release {said.release.name}", *columns(rows)])
    for control in said.controls:
        if control.status.value != "measured" and not control.id.endswith("-origin"):
            warn(escape(f"{control.id}: {control.reason}"))


def _short(value: object) -> str:
    if isinstance(value, dict) and "attacks" in value:
        word = {True: "met", False: "not met"}.get(value["met"], "could not be told")
        return f"targets {word}, blocked {value['attacks']['blocked']} of {value['attacks']['n']}"
    if isinstance(value, dict) and "tenants" in value:
        word = {True: "met", False: "not met"}.get(value["met"], "could not be told")
        return f"targets {word}, {', '.join(value['tenants'])}"
    if isinstance(value, dict) and "by" in value and "reason" in value:
        return f"by {value['by']}: {value['reason']}"
    if isinstance(value, dict) and "verdict" in value:
        rehearsal = "rehearsal, " if value.get("rehearsal") else ""
        return f"{value['verdict']} ({rehearsal}margin {value.get('margin')})"
    if isinstance(value, dict) and set(value) == {"passed", "other"}:
        others = (
            f", {step} {'under way' if state == 'started' else state}"
            for step, state in value["other"].items()
        )
        return f"{len(value['passed'])} passed{''.join(others)}"
    return str(value)


def _verdict_line(report: contract.Report) -> str:
    if not report.verdict:
        return "it holds no canary verdict"
    told = report.override
    by_hand = f", overridden by {told['by']}: {told['reason']}" if isinstance(told, dict) else ""
    return f"canary {_short(report.verdict)}{by_hand}"


def _warn_of_ledger_key(report: contract.Report, home: Path) -> None:
    """An override is proven by the pack's copy of the ledger's key: is it the one known here?"""
    known = home / "trust" / room.LEDGER_KEY
    if report.override is None or report.statement is None or not known.is_file():
        return
    digest = hashlib.sha256(known.read_bytes()).hexdigest()
    if report.statement.subjects.get(room.LEDGER_KEY) != digest:
        warn(
            f"the pack's {room.LEDGER_KEY} is not {escape(str(known))}: the override is recorded in another ledger"
        )
