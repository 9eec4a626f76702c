"""`mcctl policy`: judge a policy set, explain a decision, bring a set into force and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops import exit_codes, policies
from mc_ops.cli.ledger_access import LedgerKeyOption, audit_client, ledger_key, read_export
from mc_ops.cli.numeric import Number
from mc_ops.cli.operator_access import (
    AsOption,
    ReasonOption,
    UrlOption,
    YesOption,
    acting_client,
    confirm,
)
from mc_ops.cli.options import EnvOption
from mc_ops.cli.output import Format, OutputOption, emit_json, fail, ok, stdout, warn
from mc_ops.cli.policy_text import (
    note_plan,
    print_applied,
    print_diff,
    print_explanation,
    print_set,
    print_simulation,
)
from mc_ops.cli.slo_access import OverOption, PrometheusOption, ScrapeOption, open_source
from mc_ops.environments import (
    Workspace,
    checkout,
    open_environment,
    policy_set,
)
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

app = typer.Typer(no_args_is_help=True)

ExportOption = Annotated[
    Path | None,
    typer.Option(
        "--from", help="Ledger export to read; default: the ledger of the running platform."
    ),
]
DirOption = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the policy set; default: the platform's own."),
]
CatalogueOption = Annotated[
    Path | None, typer.Option("--catalogue", help="Catalogue file; default: the local platform's.")
]
ExitCodeOption = Annotated[
    bool, typer.Option("--exit-code", help="Exit 1 if there is a difference.")
]
UndeclaredOption = Annotated[
    bool,
    typer.Option(
        "--undeclared",
        help="Continue if the active policy set does not permit announcing the change.",
    ),
]
TimeoutOption = Annotated[
    Number, typer.Option("--timeout", min=1.0, help="Maximum time per replica, in seconds.")
]


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of the policy set.")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Validate a policy set and its example tables. Exit 1 if there is a problem."""
    where = _set_dir(folder)
    report, holds = policies.ask_service(["check", "--dir", str(where)])
    if output is Format.json:
        emit_json(report)
    else:
        for problem in report["problems"]:
            stdout.print(problem, markup=False)
        print_set(where, report)
    if not holds:
        fail(f"{policies.counted(report['problems'], 'problem')}; this set cannot come into force")
        raise typer.Exit(exit_codes.FINDING)
    ok("the set parses and validates")


@app.command("test")
def run_tables(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of the policy set.")
    ] = None,
    mutation: Annotated[
        bool,
        typer.Option(
            "--mutation",
            help="Also run mutation tests: remove each policy in turn and require an example to fail.",
        ),
    ] = False,
    output: OutputOption = Format.table,
) -> None:
    """Test a policy set against its example tables. Exit 1 if an example fails."""
    where = _set_dir(folder)
    report, holds = policies.ask_service(
        ["test", "--dir", str(where), *(["--mutation"] if mutation else [])]
    )
    unnoticed = report.get("mutation", {}).get("unnoticed", [])
    if output is Format.json:
        emit_json(report)
    else:
        for row in report["failing"]:
            stdout.print(row, markup=False)
        for policy in unnoticed:
            stdout.print(f"{policy}: not covered by any example", markup=False)
        print_set(where, report)
    if not holds:
        if report["failing"]:
            fail(f"{policies.counted(report['failing'], 'example')} failed")
        if unnoticed:
            names = ", ".join(f'"{name}"' for name in unnoticed)
            fail(escape(f"no example needs {names}: add one for each"))
        raise typer.Exit(exit_codes.FINDING)
    ok("all examples hold" + ("; each policy is covered by one" if mutation else ""))


@app.command()
def trend(
    prometheus: PrometheusOption = None,
    scrape: ScrapeOption = None,
    over: OverOption = None,
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Show whether the share of denied decisions rises. Exit 1 if so, 3 if unknown."""
    from mc_ops import slo

    with open_source(prometheus, scrape, over, env=env) as source:
        found = slo.counted(slo.Measure(source))
        kind = source.name
    if found is None:
        raise CouldNotTell(f"{kind} has no mc_policy_decisions_total of the last 24 h")
    told = slo.trend(found)
    if output is Format.json:
        emit_json({"source": kind, **told.as_json()})
    else:
        for one in found:
            share = slo.shown(one.share, "ratio")
            counts = f"{one.denies:.0f} of {one.decisions:.0f} decisions denied"
            stdout.print(f"{one.span:<22}{share:>9}  {counts}", markup=False)
        stdout.print(f"{told.direction.value}: {told.reason}", markup=False)
    if told.direction is slo.Direction.rising:
        raise typer.Exit(exit_codes.FINDING)
    if told.direction is slo.Direction.unknown:
        raise typer.Exit(exit_codes.COULD_NOT_TELL)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="Folder of the old policy set.")],
    new: Annotated[Path, typer.Argument(help="Folder of the new policy set.")],
    exit_code: ExitCodeOption = False,
    output: OutputOption = Format.table,
) -> None:
    """Show the policies that differ between two sets, and changes of the schema."""
    options = ["--exit-code"] if exit_code else []
    report, same = policies.ask_service(["diff", str(old), str(new), *options])
    if output is Format.json:
        emit_json(report)
    else:
        print_diff(report)
    if report["same"]:
        ok("the sets mean the same")
    if not same:
        raise typer.Exit(exit_codes.FINDING)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Option("--dir", help="Folder of the changed policy set.")],
    source: Annotated[
        Path, typer.Option("--from", help="Recorded decisions: a ledger export, or JSON lines.")
    ],
    old: Annotated[
        Path | None,
        typer.Option("--old", help="Folder of the old policy set; default: the platform's own."),
    ] = None,
    catalogue: CatalogueOption = None,
    exit_code: ExitCodeOption = False,
    output: OutputOption = Format.table,
) -> None:
    """Replay recorded decisions on two sets and show which decisions change."""
    arguments = ["simulate", "--dir", str(folder), "--old", str(_set_dir(old))]
    arguments += ["--from", str(source), "--catalogue", str(_catalogue(catalogue))]
    report, same = policies.ask_service([*arguments, *(["--exit-code"] if exit_code else [])])
    if output is Format.json:
        emit_json(report)
    else:
        print_simulation(report)
    for reason, count in report["skipped"].items():
        warn(escape(f"{count} not asked again: {reason}"))
    if report["drifted"]:
        warn(
            f"{report['drifted']} get another answer from the old set than was recorded: the "
            "catalogue has changed since"
        )
    if not report["changed"]:
        ok(f"{report['replayed']} decisions asked again: none changes")
    if not same:
        raise typer.Exit(exit_codes.FINDING)


@app.command()
def explain(
    decision: Annotated[str, typer.Argument(help="Id of a decision: dec_...")],
    source: ExportOption = None,
    folder: DirOption = None,
    catalogue: CatalogueOption = None,
    key: LedgerKeyOption = None,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Show a recorded decision, its policies, and whether it would be the same today."""
    found = policies.find_decision(decision, _leaves(source, key, whose, url))
    if found is None:
        raise UnusableInput(
            f"no ledger entry tells the decision {decision[:100]}",
            hint="its id stands in the denial, in the log and in the task",
        )
    asked = "" if found.asked is None else json.dumps(found.asked)
    arguments = ["--dir", str(_set_dir(folder)), "--catalogue", str(_catalogue(catalogue))]
    in_force, _ = policies.ask_service(["explain-set", *arguments], stdin=asked)
    report = policies.explanation(found, in_force)
    if output is Format.json:
        emit_json(report)
    else:
        print_explanation(report)
    if report["holds_today"] is None:
        warn(escape(f"it cannot be asked again: {report['why_not']}"))
    elif report["holds_today"]:
        ok("asked again, it gets the same answer by the same policies")
    else:
        warn("asked again, it gets another answer: the set or the catalogue has changed")


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the policy set.")],
    reason: ReasonOption,
    env: EnvOption = "local",
    whose: AsOption = None,
    undeclared: UndeclaredOption = False,
    yes: YesOption = False,
    timeout_s: TimeoutOption = 30.0,
    output: OutputOption = Format.table,
) -> None:
    """Activate a policy set on every replica; if one refuses it, restore the previous set."""
    target = policies.LocalSet(open_environment(env))
    new = policies.require_good(folder)
    current = target.require_own_copy()
    report, _ = policies.ask_service(["diff", str(target.workspace.policies), str(folder)])
    if new == current:
        ok("this set is in force already; nothing was changed")
        return
    note_plan(report)
    confirm(f"Bring this set into force in {env}?", yes=yes)
    with target.as_shown():
        by = _declare(target, new, reason, whose, undeclared=undeclared)
        applied = policies.apply_set(target, folder, new, timeout_s=timeout_s)
    print_applied(applied, current, by, output)


@app.command()
def rollback(
    reason: ReasonOption,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DIGEST",
            help="Digest of an earlier set (8 digits or more); default: the previous one.",
        ),
    ] = None,
    env: EnvOption = "local",
    whose: AsOption = None,
    undeclared: UndeclaredOption = False,
    yes: YesOption = False,
    timeout_s: TimeoutOption = 30.0,
    output: OutputOption = Format.table,
) -> None:
    """Activate the policy set that was active before; repeat it to go further back."""
    target = policies.LocalSet(open_environment(env))
    digest, folder = policy_set.find(target.workspace, to)
    if policies.require_good(folder) != digest:
        raise CouldNotTell(
            f"{folder} was changed since it was kept",
            hint="apply a set from elsewhere, or --to another DIGEST",
        )
    current = target.require_own_copy()
    report, _ = policies.ask_service(["diff", str(target.workspace.policies), str(folder)])
    note_plan(report)
    confirm(f"Go back to the set {digest[:12]} in {env}?", yes=yes)
    with target.as_shown():
        by = _declare(target, digest, reason, whose, undeclared=undeclared)
        applied = policies.roll_back(target, digest, timeout_s=timeout_s)
    print_applied(applied, current, by, output)


@app.command()
def history(
    source: ExportOption = None,
    key: LedgerKeyOption = None,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Show the changes of the policy set: who, when, why and what."""
    changes = list(policies.changes_in(_leaves(source, key, whose, url)))
    if output is Format.json:
        emit_json({"changes": changes})
        return
    if not changes:
        stdout.print("the ledger tells of no change")
    for change in changes:
        line = f"{change['occurred_at']}  {change['old'][:12] or '-'} -> {change['new'][:12]}  "
        stdout.print(f"{line}{change['principal'] or '-'}", markup=False)
        for word in (change["reason"], *change["changes"]):
            if word:
                stdout.print(f"    {word}", markup=False)


def _declare(
    target: policies.LocalSet, digest: str, reason: str, whose: str | None, *, undeclared: bool
) -> str:
    """Tell the platform who is about to change its set, and why; the principal that it knows.

    Raises:
        NotAllowed: the set in force does not permit it, and `undeclared` is not set.
    """
    if not target.instances():
        warn("nothing runs: the change will be recorded when something does, as undeclared")
        return ""
    with acting_client(None, whose) as client:
        try:
            return str(client.declare_rules("policy_set", digest, reason=reason)["principal"])
        except NotAllowed as error:
            if not undeclared:
                raise NotAllowed(
                    error.message,
                    hint="a set that is older than ChangeRules permits it to nobody: --undeclared",
                ) from error
    warn("the change will be recorded as undeclared")
    return ""


def _set_dir(given: Path | None) -> Path:
    if given is not None:
        return given
    own = Workspace.from_env().policies
    return own if own.is_dir() else checkout() / "policies"


def _catalogue(given: Path | None) -> Path:
    return given or checkout() / "deploy" / "local" / "catalogue.toml"


def _leaves(
    source: Path | None, key: Path | None, whose: str | None, url: str | None
) -> Iterator[bytes | Mapping[str, Any]]:
    if source is not None:
        yield from read_export(source, ledger_key(key)).leaves
        return
    with audit_client(url, whose) as client:
        for entry in client.entries(0):
            yield entry.leaf
