"""`mcctl canary override` and `decision`: a person promotes a HOLD, and what a run comes to.

The override is in the ledger before it counts, and `override.json` is made of the ledger's entry
with its proof. Nothing else promotes a HOLD, and no verdict is ever changed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mc_ops import exit_codes, slack
from mc_ops.cli import slack_post
from mc_ops.cli.canary_report import link_of, write_report
from mc_ops.cli.cutover import hold_candidate, read_decision
from mc_ops.cli.ledger_access import LedgerKeyOption, LedgerReading
from mc_ops.cli.operator_access import YesOption, confirm_by_word
from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, note, ok, show
from mc_ops.environments import Workspace
from mc_ops.errors import CouldNotTell, Finding, OpsError, UnusableInput

if TYPE_CHECKING:
    from mc_contract.canary_override import Override
    from mc_ops.canary.override import Judged

_LONGEST_REASON = 200
_LOUD = {
    "regressed": "the samples show that the candidate is slower than is allowed",
    "errors": "the samples show that the candidate fails more often than is allowed",
    "metrics": "the metrics show that the candidate does worse than is allowed",
    "inconclusive": "the samples do not show that the candidate is no worse",
    "void": "the run is void: its samples show nothing, for better or worse",
}

app = Verbs()

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a run, or a canary's folder.")
]


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def override(
    run: RunArgument,
    call: LedgerReading,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", help="Reason to promote it despite the HOLD; recorded in the ledger."
        ),
    ],
    release: Annotated[
        str,
        typer.Option("--release", help="Name of the candidate's release; recorded in the ledger."),
    ] = "",
    yes: YesOption = False,
    env: EnvOption = "local",
) -> None:
    """Promote a HOLD manually; ledger, Slack and evidence show who did it and why."""
    from mc_ops.canary.override import judge_again, override_in
    from mc_ops.canary_folder import find_canary

    line = _reason(reason)
    workspace = Workspace.from_env()
    trusted = call.trusted()
    judged = judge_again(find_canary(run, workspace.runs))
    if judged.promote:
        raise UnusableInput(f"the verdict of {judged.run} is PROMOTE: there is nothing to override")
    if judged.kind == "changed":
        raise Finding(
            f"{judged.run}: {judged.told.get('reason')}",
            hint="the compared replicas no longer run, so nothing can be promoted: run the canary again",
        )
    hold_candidate(judged, env)
    before = override_in(judged, trusted)
    if before is not None:
        raise Finding(f"{judged.run} is overridden already, by {before.by}: {before.reason}")
    loud = _LOUD.get(judged.kind, f"it was held: {judged.kind}")
    note(f"{escape(judged.run)}: HOLD ({escape(judged.kind)}): {escape(loud)}")
    note(f"  {escape(str(judged.told.get('reason', '')))}")
    with call.acting() as client:
        confirm_by_word("This promotes the candidate despite the HOLD.", judged.run, yes=yes)
        answer = client.override_canary(judged.as_request(), release=release, reason=line)
    found = _write(judged, answer, call)
    told = _as_dict(found)
    write_report(judged.folder)
    rows = [
        ("  ledger", f"entry {told['index']}, {told['event_id']}"),
        ("  decision", told["decision"]),
        ("  file", str(judged.folder / "override.json")),
    ]
    result = {"run": judged.run, "verdict": "HOLD", "kind": judged.kind, "override": told}
    call.show(result, [verdict_line(judged, found), *columns(rows)])
    if (told["by"], told["reason"]) != (answer["principal"], answer["reason"]):
        raise Finding(
            f"{judged.run} was overridden before, by {told['by']}: {told['reason']}",
            hint="your reason was not recorded; override.json holds the recorded one",
        )
    ok(f"{escape(judged.run)} is overridden; the verdict stays HOLD")
    link = link_of(os.environ, judged.folder)
    slack_post.post(
        lambda: slack.canary_message(judged.told, override=told, link=link), "the override stands"
    )


@app.command()
def decision(
    run: RunArgument,
    key: LedgerKeyOption = None,
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Show a run's verdict: exit 0 for PROMOTE or an overridden HOLD, 1 for HOLD.

    Also exit 1 if the candidate has changed since the run, 3 if that is unknown.
    """
    judged, found = read_decision(run, Workspace.from_env(), key)
    result = {
        "run": judged.run,
        **{name: judged.computed[name] for name in ("verdict", "kind", "rehearsal", "margin")},
        "override": _as_dict(found) if found else None,
    }
    show(output, result, [verdict_line(judged, found)])
    if not judged.promote and found is None:
        raise typer.Exit(exit_codes.FINDING)
    hold_candidate(judged, env)


def _write(judged: Judged, answer: dict[str, Any], call: LedgerReading) -> Override:
    """Make `override.json` of the ledger's entry and its proof, and read it back as anyone would."""
    from mc_contract.canary_override import OVERRIDE, NotOverridden, override_file
    from mc_ops.audit import prove
    from mc_ops.canary.override import override_in
    from mc_ops.files import write_atomically, writing

    path, trusted = judged.folder / OVERRIDE, call.trusted()
    try:
        # As who acted, who need not be an auditor
        with call.ledger("OPERATOR") as client:
            raw, found = prove(client, trusted, str(answer["event_id"]))
        with writing(path):
            write_atomically(path, override_file(raw, found))
    except (OpsError, NotOverridden) as error:
        raise CouldNotTell(
            f"it is recorded (entry {answer['index']}), but without its proof it does not count: "
            f"{error.message}",
            hint="repeat the command when the ledger can be read; it records nothing twice",
        ) from error
    written = override_in(judged, trusted)
    assert written is not None  # it was written above
    return written


def _as_dict(found: Any) -> dict[str, Any]:
    names = ("run", "release", "by", "reason", "at", "decision", "event_id", "index", "region")
    return {name: getattr(found, name) for name in names}


def verdict_line(judged: Judged, found: Override | None) -> str:
    """`HOLD (errors, rehearsal, margin 0.25), overridden by operator@platform: a reason`."""
    computed = judged.computed
    parts = [] if judged.promote else [judged.kind]
    parts += ["rehearsal"] if computed["rehearsal"] else []
    verdict = f"{computed['verdict']} ({', '.join([*parts, 'margin'])} {computed['margin']})"
    return verdict if found is None else f"{verdict}, overridden by {found.by}: {found.reason}"


def _reason(text: str) -> str:
    """The reason as one line.

    Raises:
        UnusableInput: it is empty, or longer than the service takes.
    """
    line = " ".join(text.split())
    if not any(char.isalnum() for char in line) or len(line) > _LONGEST_REASON:
        raise UnusableInput(
            f"--reason must say why, in 1 to {_LONGEST_REASON} characters, got {len(line)}",
            hint="it is recorded and shown in the evidence",
        )
    return line
