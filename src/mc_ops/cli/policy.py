"""`mcctl policy`: judge a policy set, explain a decision, bring a set into force and back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_contract.numbers import counted
from mc_ops import exit_codes, policies
from mc_ops.cli.audit_record import Filters, LimitOption
from mc_ops.cli.ledger_access import LedgerReading, read_export
from mc_ops.cli.operator_access import Access, AsOption, ReasonOption, YesOption, confirm
from mc_ops.cli.options import EnvOption, Number, OptionGroup, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, fail, note, ok, show, warn
from mc_ops.cli.policy_text import (
    CHANGES_SHOWN,
    diff_lines,
    explanation_lines,
    note_plan,
    print_applied,
    set_line,
    simulation_lines,
)
from mc_ops.cli.slo_access import SourceOptions
from mc_ops.environments import (
    Workspace,
    catalogue_path,
    checkout,
    open_environment,
    policy_set,
)
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

PLATFORM = "PLATFORM"
"""The tenant to which what concerns all tenants belongs."""
app = Verbs()

SetArgument = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="Folder of the policy set.")
]
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


@dataclass(frozen=True, kw_only=True)
class SetChange(OptionGroup):
    """The options of a verb that brings a policy set into force."""

    reason: ReasonOption
    env: EnvOption = "local"
    whose: AsOption = None
    undeclared: UndeclaredOption = False
    yes: YesOption = False
    timeout_s: TimeoutOption = 30.0
    output: OutputOption = Format.table


@app.command()
def check(
    folder: SetArgument = None,
    output: OutputOption = Format.table,
) -> None:
    """Validate a policy set and its example tables. Exit 1 if there is a problem."""
    where = _set_dir(folder)
    report, holds = policies.ask_service(["check", "--dir", str(where)])
    lines: list[str] = report["problems"]
    show(output, report, [*lines, set_line(where, report)])
    if not holds:
        fail(f"{counted(len(report['problems']), 'problem')}; this set cannot come into force")
        raise typer.Exit(exit_codes.FINDING)
    ok("the set parses and validates")


@app.command("test")
def run_tables(
    folder: SetArgument = None,
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
    lines: list[str] = list(report["failing"])
    lines += [f"{policy}: not covered by any example" for policy in unnoticed]
    show(output, report, [*lines, set_line(where, report)])
    if not holds:
        if report["failing"]:
            fail(f"{counted(len(report['failing']), 'example')} failed")
        if unnoticed:
            names = ", ".join(f'"{name}"' for name in unnoticed)
            fail(escape(f"no example needs {names}: add one for each"))
        raise typer.Exit(exit_codes.FINDING)
    ok("all examples hold" + ("; each policy is covered by one" if mutation else ""))


@app.command()
def trend(call: SourceOptions) -> None:
    """Show whether the share of denied decisions rises. Exit 1 if so, 3 if unknown."""
    from mc_ops import slo

    with call.open() as source:
        found = slo.counted(slo.Measure(source))
        kind = source.name
    if found is None:
        raise CouldNotTell(f"{kind} has no mc_policy_decisions_total of the last 24 h")
    told = slo.trend(found)
    rows = [
        (
            one.span,
            slo.shown(one.share, "ratio"),
            f"{one.denies:.0f} of {counted(one.decisions, 'decision')} denied",
        )
        for one in found
    ]
    lines: list[str | Text] = [*columns(rows, right=[1])]
    lines.append(f"{told.direction.value}: {told.reason}")
    show(call.output, {"source": kind, **told.as_json()}, lines)
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
    show(output, report, diff_lines(report))
    if report["same"]:
        ok("the sets have the same meaning")
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
    show(output, report, simulation_lines(report))
    if output is Format.table and (more := report["changed"] - CHANGES_SHOWN) > 0:
        note(f"{more} more: --output json")
    for reason, count in report["skipped"].items():
        warn(escape(f"{count} not replayed: {reason}"))
    if report["drifted"]:
        warn(
            f"{report['drifted']} get another answer from the old set than was recorded: the "
            "catalogue has changed since"
        )
    if not report["changed"]:
        ok(f"{counted(report['replayed'], 'decision')} replayed: none changes")
    if not same:
        raise typer.Exit(exit_codes.FINDING)


@app.command()
def denials(call: LedgerReading, which: Filters, limit: LimitOption = 50) -> None:
    """List recorded denials, the newest first: who, what, by which policies, and the decision's id."""
    asked = which.asked()
    with call.ledger() as client:
        recorded = client.matching(**asked, denied="true")
        told = (policies.denial(entry.index, entry.leaf) for entry in recorded)
        found = list(islice((one for one in told if one is not None), limit + 1))
    shown = found[:limit]
    rows = [
        (one["occurred_at"][:19], one["tenant"], one["principal"], one["action"], one["resource"],
         ", ".join(one["policies"]) or "no policy permits it", one["decision"])
        for one in shown
    ]  # fmt: skip
    heading = ("at (UTC)", "tenant", "principal", "action", "resource", "policies", "decision")
    lines = columns(rows, heading=heading) if rows else ["no denial is recorded"]
    call.show({"denials": shown, "more": len(found) > limit}, lines)
    if len(found) > limit:
        note(f"there are more than {limit}: --limit, or --until")
    elif shown:
        note("mcctl policy explain DECISION shows one with its policies")


@app.command()
def explain(
    decision: Annotated[str, typer.Argument(help="Id of a decision: dec_...")],
    call: LedgerReading,
    source: ExportOption = None,
    folder: DirOption = None,
    catalogue: CatalogueOption = None,
) -> None:
    """Show a recorded decision, its policies, and whether it would be the same today."""
    found = policies.find_decision(decision, _telling(decision, source, call))
    if found is None:
        raise UnusableInput(
            f"no ledger entry records the decision {decision[:100]}",
            hint="the id is in the denial, in the log and in the task",
        )
    asked = "" if found.asked is None else json.dumps(found.asked)
    arguments = ["--dir", str(_set_dir(folder)), "--catalogue", str(_catalogue(catalogue))]
    in_force, _ = policies.ask_service(["explain-set", *arguments], stdin=asked)
    report = policies.explanation(found, in_force)
    call.show(report, explanation_lines(report))
    if report["holds_today"] is None:
        warn(escape(f"it cannot be decided again: {report['why_not']}"))
    elif report["holds_today"]:
        ok("decided again today, it gets the same answer by the same policies")
    else:
        warn("decided again today, it gets another answer: the set or the catalogue has changed")


@app.command()
def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the policy set.")],
    call: SetChange,
) -> None:
    """Activate a policy set on every replica; if one refuses it, restore the previous set."""
    target = policies.LocalSet(open_environment(call.env))
    new = policies.require_good(folder)
    current = target.require_own_copy()
    report, _ = policies.ask_service(["diff", str(target.workspace.policies), str(folder)])
    if new == current:
        ok("this set is in force already; nothing was changed")
        return
    note_plan(report)
    confirm(f"Bring this set into force in {call.env}?", yes=call.yes)
    with target.as_shown():
        by = _declare(target, new, call)
        applied = policies.apply_set(target, folder, new, timeout_s=call.timeout_s)
    print_applied(applied, current, by, call.output)


@app.command()
def rollback(
    call: SetChange,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DIGEST",
            help="Digest of an earlier set (8 digits or more); default: the previous one.",
        ),
    ] = None,
) -> None:
    """Activate the policy set that was active before; repeat it to go further back."""
    target = policies.LocalSet(open_environment(call.env))
    digest, folder = policy_set.find(target.workspace, to)
    if policies.require_good(folder) != digest:
        raise CouldNotTell(
            f"{folder} was changed since it was kept",
            hint="apply a set from elsewhere, or --to another DIGEST",
        )
    current = target.require_own_copy()
    report, _ = policies.ask_service(["diff", str(target.workspace.policies), str(folder)])
    note_plan(report)
    confirm(f"Go back to the set {digest[:12]} in {call.env}?", yes=call.yes)
    with target.as_shown():
        by = _declare(target, digest, call)
        applied = policies.roll_back(target, digest, timeout_s=call.timeout_s)
    print_applied(applied, current, by, call.output)


@app.command()
def history(call: LedgerReading, source: ExportOption = None) -> None:
    """Show the changes of the policy set: who, when, why and what."""
    changes = list(policies.changes_in(_of_the_platform(source, call)))
    lines = [line for change in changes for line in _change_lines(change)]
    call.show({"changes": changes}, lines or ["the ledger records no change of the policy set"])


def _change_lines(change: Mapping[str, Any]) -> list[str]:
    sets = f"{change['old'][:12] or '-'} -> {change['new'][:12]}"
    said = [f"    {word}" for word in (change["reason"], *change["changes"]) if word]
    return [f"{change['occurred_at']}  {sets}  {change['principal'] or '-'}", *said]


def _declare(target: policies.LocalSet, digest: str, call: SetChange) -> str:
    """Tell the platform who is about to change its set, and why; the principal that it knows.

    Raises:
        NotAllowed: the set in force does not permit it, and `--undeclared` is not given.
    """
    if not target.instances():
        warn("nothing runs: the change will be recorded when something does, as undeclared")
        return ""
    with Access(whose=call.whose).acting() as client:
        try:
            return str(client.declare_rules("policy_set", digest, reason=call.reason)["principal"])
        except NotAllowed as error:
            if not call.undeclared:
                raise NotAllowed(
                    error.message,
                    hint="the active set may predate the action ChangeRules: repeat with --undeclared",
                ) from error
    warn("the change will be recorded as undeclared")
    return ""


def _set_dir(given: Path | None) -> Path:
    if given is not None:
        return given
    own = Workspace.from_env().policies
    return own if own.is_dir() else checkout() / "policies"


def _catalogue(given: Path | None) -> Path:
    return given or catalogue_path(os.environ)


def _telling(
    decision: str, source: Path | None, call: LedgerReading
) -> Iterator[bytes | Mapping[str, Any]]:
    """Leaves among which the decision's is, if there is one."""
    if source is not None:
        yield from read_export(source, call.trusted()).leaves
        return
    with call.ledger() as client:
        for entry in client.telling(decision):
            yield entry.leaf


def _of_the_platform(
    source: Path | None, call: LedgerReading
) -> Iterator[bytes | Mapping[str, Any]]:
    """Leaves among which all changes of the policy set are, in order."""
    if source is not None:
        yield from read_export(source, call.trusted()).leaves
        return
    with call.ledger() as client:
        _, found = client.of_tenant(PLATFORM, "", "")
        for entry, _ in found:
            yield entry.leaf
