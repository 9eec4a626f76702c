"""`mcctl canary report`: a finished canary as a picture, a page and a summary.

`mcctl canary run` writes the same files by itself. Whatever goes wrong with a report, no verdict
and no exit code follows from it there: it is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops.cli.options import Number, Verbs, Whole
from mc_ops.cli.output import Format, OutputOption, note, show, warn
from mc_ops.environments import Workspace
from mc_ops.errors import OpsError, UnusableInput

_OUT = Path("canary-report")


app = Verbs()


@app.command()
def report(
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Name of a run, or a canary's folder.")
    ] = "",
    base: Annotated[
        Path | None, typer.Option("--base", help="Instead of RUN: sample file of the baseline.")
    ] = None,
    cand: Annotated[
        Path | None, typer.Option("--cand", help="Instead of RUN: sample file of the candidate.")
    ] = None,
    margin: Annotated[
        Number,
        typer.Option(help="With --base and --cand: allowed increase of the p95 (0.05 is 5 %)."),
    ] = 0.05,
    planned_pairs: Annotated[
        Whole | None,
        typer.Option(
            help="With --base and --cand: number of request pairs planned before the run."
        ),
    ] = None,
    instances: Annotated[
        Whole, typer.Option(help="With --base and --cand: number of instances per side.")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder; default: RUN's folder, or canary-report/."),
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Write report.png, report.html and summary.md of a run; always exit 0."""
    from mc_ops.canary import judge_files
    from mc_ops.canary.files import read_samples
    from mc_ops.canary.report.files import make_report, write_files
    from mc_ops.canary_folder import find_canary

    if bool(run) == (base is not None or cand is not None):
        raise UnusableInput("expected a RUN, or --base and --cand", hint="mcctl canary report RUN")
    if run:
        folder = find_canary(run, Workspace.from_env().runs)
        try:
            made = _of_run(folder, checked=True)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnusableInput(f"{folder}: its verdict.json is malformed") from error
        target = out or folder
    else:
        if base is None or cand is None:
            raise UnusableInput("expected both --base and --cand")
        judgement = judge_files(
            base, cand, margin=margin, planned_pairs=planned_pairs, instances=instances
        )
        made = make_report(judgement.as_dict(), read_samples(base), read_samples(cand))
        target = out or _OUT
    written = [str(path) for path in write_files(made, target)]
    show(output, {"files": written}, written)


def write_report(folder: Path) -> None:
    """Write a canary's report beside its verdict, and add it to a workflow step's summary.

    A failure is a warning: a report that cannot be drawn changes no verdict.
    """
    try:
        from mc_ops.canary.report.files import write_files

        made = _of_run(folder, checked=False)
        write_files(made, folder)
    except Exception as error:  # noqa: BLE001 - see above
        said = error.message if isinstance(error, OpsError) else type(error).__name__
        warn(f"no report: {escape(said)}; the verdict stands")
        return
    step_summary = os.environ.get("GITHUB_STEP_SUMMARY", "").strip()
    if not step_summary:
        return
    try:
        with Path(step_summary).open("a", encoding="utf-8") as file:
            file.write(made.summary + "\n")
    except OSError as error:
        warn(f"GITHUB_STEP_SUMMARY cannot be written: {error.strerror}; the verdict stands")


def link_of(environment: Mapping[str, str], folder: Path) -> str:
    """Where the files of a run are: the URL of the workflow's run, else the folder."""
    server, repository, run_id = (
        environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    if server.startswith("https://") and repository and run_id.isdigit():
        return f"{server.rstrip('/')}/{repository}/actions/runs/{run_id}"
    return str(folder)


def _of_run(folder: Path, *, checked: bool) -> Any:
    """The report of a run's folder.

    Args:
        checked: Whether the verdict is held against its samples first; `run` has just made it.

    Raises:
        UnusableInput: A file is missing or unusable, or the verdict is not that of the samples.
    """
    from mc_contract.canary_override import OVERRIDE
    from mc_ops.canary.files import read_samples
    from mc_ops.canary.metrics import judge_metrics_file
    from mc_ops.canary.override import judge_again
    from mc_ops.canary.report.files import make_report
    from mc_ops.canary_folder import BASE, CAND, VERDICT, read_verdict

    told = read_verdict(folder)
    link = link_of(os.environ, folder)
    if told.get("kind") == "smoke":
        if told.get("verdict") != "HOLD":
            raise UnusableInput(
                f"{folder / VERDICT} has a failed smoke check whose verdict is not HOLD"
            )
        return make_report(told, None, None, link=link)
    if checked or (folder / OVERRIDE).exists():
        told = dict(judge_again(folder).told)
    base, cand = read_samples(folder / BASE), read_samples(folder / CAND)
    override = _proven_override(folder) if (folder / OVERRIDE).exists() else None
    metrics = None
    if told.get("metrics") is not None:
        metrics = judge_metrics_file(folder / "metrics.json").as_dict()
    return make_report(told, base, cand, override=override, metrics=metrics, link=link)


def _proven_override(folder: Path) -> dict[str, Any] | None:
    from dataclasses import asdict

    from mc_ops.audit import load_public_key
    from mc_ops.canary.override import judge_again, override_in

    try:
        key = load_public_key(Workspace.from_env().ledger_key)
        found = override_in(judge_again(folder), key)
    except UnusableInput as error:
        warn(escape(f"{error.message}; the report does not show it"))
        note(f"  → {escape(error.hint)}")
        return None
    return None if found is None else asdict(found)
