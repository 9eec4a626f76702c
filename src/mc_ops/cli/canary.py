"""`mcctl canary plan|run|judge`: compare a candidate with the baseline, print PROMOTE or HOLD.

The verbs beside them (reports, overrides, metrics, calibration) have modules of their own. stdout
is the verdict, progress goes to stderr. Exit 0 PROMOTE, 1 HOLD, 2 unusable input, 3 could not tell
(baseline down, run void), 4 no token, 5 interrupted.
"""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_ops import canary as room
from mc_ops import exit_codes, slack
from mc_ops.cli import (
    canary_metrics,
    canary_override,
    canary_report,
    canary_serve,
    slack_post,
)
from mc_ops.cli.canary_metrics import MetricsOptions
from mc_ops.cli.options import Number, Verbs, Whole
from mc_ops.cli.output import Format, OutputOption, columns, note, show, styled, warn
from mc_ops.cli.progress import ProgressLine
from mc_ops.environments import Workspace
from mc_ops.environments.signals import ended_like_interrupted, uninterrupted
from mc_ops.errors import CouldNotTell, Declined, NotAllowed, OpsError

if TYPE_CHECKING:
    from mc_ops.canary.metrics_run import RunMetrics
    from mc_ops.canary.plan import Plan

DEFAULT_RATE = 50.0  # pairs a second, as `mc_ops.canary.DEFAULT_RATE`: numpy is slow to load

_PATIENCE_OF_A_CANCELLED_JOB_S = 2.0  # a runner kills what is left 10 s after it cancelled

app = Verbs()
app.add_typer(canary_metrics.app)
app.add_typer(canary_override.app)
app.add_typer(canary_report.app)
app.add_typer(canary_serve.app)


@app.command()
def plan(
    minutes: Annotated[
        Number, typer.Option(help="Duration of the traffic in minutes; fractions allowed.")
    ],
    rate: Annotated[Number, typer.Option(help="Request pairs per second.")] = DEFAULT_RATE,
    margin: Annotated[
        Number | None,
        typer.Option(
            help="Allowed increase of the p95 (0.05 is 5 %); default: as in `canary run`."
        ),
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Show what a run of that length can decide, without traffic; exit 2 if it is too short."""
    size = room.size_of(minutes=minutes, rate=rate, margin=margin)
    told = {"pairs": size.pairs, "margin": size.margin, "rehearsal": size.rehearsal}
    result = {**told, "minutes": minutes, "rate_pairs_per_s": rate}
    show(output, result, [f"{size.pairs} pairs at {rate:g}/s: {_kind(size)}"])


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def run(
    baseline: Annotated[list[str], typer.Option(help="URL of a baseline instance; repeatable.")],
    candidate: Annotated[list[str], typer.Option(help="URL of a candidate instance; repeatable.")],
    minutes: Annotated[
        Number, typer.Option(help="Duration of the traffic in minutes; fractions allowed.")
    ],
    metrics: MetricsOptions,
    rate: Annotated[
        Number,
        typer.Option(help="Maximum request pairs per second; lowered if the baseline is too slow."),
    ] = DEFAULT_RATE,
    margin: Annotated[
        Number | None,
        typer.Option(
            help="Allowed increase of the p95; default: 0.05 (5 %), more for a short rehearsal."
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            help="Output folder for samples and verdict; default: a new one in MC_HOME/runs."
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option("--release", help="Name of the candidate's release, for the evidence."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and send no traffic.")
    ] = False,
    output: OutputOption = Format.table,
) -> None:
    """Send the same requests to baseline and candidate, and compare latency and errors."""
    planned = room.make_plan(baseline, candidate, minutes=minutes, rate=rate, margin=margin)
    judged_too = metrics.of_run(planned)
    if dry_run:
        canary_metrics.dry_run(planned, minutes, judged_too, output)
        return
    home = Workspace.from_env().home
    folder = out_dir or home / "runs" / f"canary-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    try:
        with ended_like_interrupted("interrupted"):
            token = room.read_token(os.environ, home)
            result = _measured(planned, token, folder, judged_too, release)
    except (CouldNotTell, Declined, NotAllowed) as error:
        _keep_unfinished(folder, error)
        raise
    lines = _lines(result.verdict, folder)
    if result.metrics is not None:
        lines += canary_metrics.judgement_lines(result.metrics)
    show(output, {**result.verdict, "out_dir": str(folder)}, lines)
    with uninterrupted():
        canary_report.write_report(folder)
    link = canary_report.link_of(os.environ, folder)
    slack_post.post(lambda: slack.canary_message(result.verdict, link=link), "the verdict stands")
    raise typer.Exit(exit_codes.OK if result.promote else exit_codes.FINDING)


def _measured(
    planned: Plan, token: str, folder: Path, judged_too: RunMetrics | None, release: str | None
) -> room.CanaryResult:
    """Run it, and tell on stderr how it goes; raises as `run_canary`."""
    note(f"canary: {planned.pairs} pairs at {planned.rate:g}/s ({_kind(planned)})")
    if len(planned.baseline) != len(planned.candidate):
        warn(
            f"{len(planned.baseline)} baseline and {len(planned.candidate)} candidate instance(s) "
            "share the same load: the side with fewer has more to do each, and looks slower"
        )
    progress = ProgressLine("canary", "pairs")
    try:
        return room.run_canary(
            planned,
            token=token,
            out_dir=folder,
            progress=lambda done, base_errors, cand_errors, planned: progress.count(
                done, planned, f"failed: baseline {base_errors}, candidate {cand_errors}"
            ),
            slowed=lambda pace: note(
                f"canary: the baseline does not keep up with {planned.rate:g} pairs/s; going on "
                f"with {pace:g}/s, which takes {planned.pairs / pace:.0f} s"
            ),
            token_source=room.token_source(os.environ),
            metrics=judged_too,
            release=release,
        )
    finally:
        progress.end()


def _keep_unfinished(folder: Path, error: OpsError) -> None:
    """Report what a void or interrupted run has, and post that there is no verdict."""
    with uninterrupted():
        if (folder / "verdict.json").is_file():
            canary_report.write_report(folder)
    link = canary_report.link_of(os.environ, folder)
    slack_post.post(
        lambda: slack.unfinished_message(error.message, hint=error.hint, link=link),
        "there is no verdict",
        patience_s=_PATIENCE_OF_A_CANCELLED_JOB_S if isinstance(error, Declined) else None,
    )


@app.command()
def judge(
    base: Annotated[Path, typer.Argument(help="Sample file of the baseline (base.lat).")],
    cand: Annotated[Path, typer.Argument(help="Sample file of the candidate (cand.lat).")],
    margin: Annotated[
        Number, typer.Option(help="Allowed increase of the p95 (0.05 is 5 %).")
    ] = 0.05,
    planned_pairs: Annotated[
        Whole | None,
        typer.Option(
            help="Number of request pairs planned before the run; default: all in the files."
        ),
    ] = None,
    instances: Annotated[
        Whole, typer.Option(help="Number of instances per side, used in turn.")
    ] = 1,
    output: OutputOption = Format.table,
) -> None:
    """Judge two sample files: one latency in seconds per line, `error` for a failed request."""
    judgement = room.judge_files(
        base, cand, margin=margin, planned_pairs=planned_pairs, instances=instances
    )
    show(output, judgement.as_dict(), _lines(judgement.as_dict()))
    raise typer.Exit(exit_codes.OK if judgement.promote else exit_codes.FINDING)


def _kind(planned: room.Plan | room.Size) -> str:
    if planned.rehearsal:
        return f"rehearsal, margin {planned.margin}; not the full verdict"
    return f"full verdict, margin {planned.margin}"


def _lines(verdict: dict[str, Any], folder: Path | None = None) -> list[str | Text]:
    promote = verdict["verdict"] == "PROMOTE"
    mark = "[green]✔ PROMOTE[/green]" if promote else f"[red]✘ {verdict['verdict']}[/red]"
    lines: list[str | Text] = [styled(f"{mark} ({verdict['kind']}): {escape(verdict['reason'])}")]
    if verdict["rehearsal"]:
        lines.append(f"  rehearsal, margin {verdict['margin']}; not the full verdict")
    rows = _figures(verdict)
    if folder:
        rows.append(("files", str(folder)))
        if verdict["kind"] != "smoke":
            rows.append(("again by", _judge_command(verdict, folder)))
    return [*lines, *columns((f"  {name}", text) for name, text in rows)]


def _judge_command(verdict: dict[str, Any], folder: Path) -> str:
    """The command that gives this verdict again, with what was declared before the run."""
    said = verdict["parameters"]
    files = [shlex.quote(str(folder / name)) for name in ("base.lat", "cand.lat")]
    options = ["--margin", str(said["margin"]), "--planned-pairs", str(said["planned_pairs"])]
    if said["instances"] > 1:
        options += ["--instances", str(said["instances"])]
    commands = [" ".join(["mcctl canary judge", *files, *options])]
    if verdict.get("metrics"):
        commands.append(f"mcctl canary judge-metrics {shlex.quote(str(folder / 'metrics.json'))}")
    return "; ".join(commands)


def _figures(verdict: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for side in ("baseline", "candidate"):
        figures = verdict[side]
        p95 = "not measured" if figures["p95_ms"] is None else f"{figures['p95_ms']:.2f} ms"
        rows.append((side, f"p95 {p95}, {figures['errors']} of {figures['n']} failed"))
    for side, failures in (verdict.get("failures") or {}).items():
        if failures:
            counted = ", ".join(f"{count} x {name}" for name, count in failures.items())
            rows.append(("failures", f"{side}: {counted}"))
    if verdict["regression"] is not None:
        interval = verdict["interval"]
        bounds = f", 90 % interval {interval[0]:+.1%} to {interval[1]:+.1%}" if interval else ""
        pairs = min(verdict[side]["n"] for side in ("baseline", "candidate"))
        rows.append(("regression", f"{verdict['regression']:+.1%} over all {pairs} pairs{bounds}"))
        decided = verdict.get("decided_at_pairs")
        if decided is not None and decided < pairs:
            rows.append(("decided", f"after {decided} pairs, by what they showed (first line)"))
    runbook = verdict["runbook"]
    if runbook and runbook["regression_percent"] is not None:
        percent = runbook["regression_percent"]
        rows.append(("runbook", f"{percent:+.2f} %, its bare rule says {runbook['verdict']}"))
    if verdict["kind"] == "inconclusive" and verdict["pairs_needed"] is not None:
        rows.append(("needed", f"{verdict['pairs_needed']} pairs for this margin and noise"))
    return rows
