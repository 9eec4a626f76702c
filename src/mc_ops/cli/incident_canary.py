"""`mcctl incident canary-hold`: why the canary says HOLD, and what to do about it.

Exit 0: it says PROMOTE; 1: the HOLD stands (slower, errors, one instance, smoke), or the verdict
does not follow from its samples; 3: void, inconclusive, the baseline fails, or no run was found;
4: gh is not logged in.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_ops import exit_codes
from mc_ops.cli.output import Format, OutputOption, emit_json, note, print_check, stdout
from mc_ops.environments import Workspace
from mc_ops.errors import OpsError, UnusableInput

if TYPE_CHECKING:
    from mc_ops.incidents.canary_hold.diagnosis import HoldDiagnosis

_COULD_NOT_TELL = ("void", "refused", "inconclusive", "baseline_failing")


def canary_hold(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Name of a run, or number of a GitHub Actions run; default: the newest HOLD."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Folder with base.lat, cand.lat and verdict.json, instead of RUN."
        ),
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Explain a canary's HOLD: where and when the sides differ, and what to do next."""
    from mc_ops.incidents.canary_hold.files import read_files
    from mc_ops.incidents.canary_hold.now import look_around
    from mc_ops.incidents.canary_hold.playbook import diagnose_hold

    place, name = _place(run, folder)
    files = read_files(place)
    diagnosis = diagnose_hold(files, name=name, now=look_around(files))
    if output is Format.json:
        emit_json({"incident": "canary-hold", **diagnosis.as_dict()})
    else:
        _print(diagnosis)
    raise typer.Exit(_code(diagnosis))


def _place(run: str | None, folder: Path | None) -> tuple[Path, str]:
    """The folder, and how commands name the run."""
    from mc_ops.canary_folder import find_canary, run_of
    from mc_ops.incidents.canary_hold.files import download, newest_hold, require_canary

    if run is not None and folder is not None:
        raise UnusableInput("give a run or --dir, not both")
    if folder is not None:
        return require_canary(folder), str(folder)
    runs = Workspace.from_env().runs
    if run is None:
        found = newest_hold(runs)
        return found, run_of(found)
    if run.isascii() and run.isdigit():
        into = Path(tempfile.mkdtemp(prefix="mc-canary-"))
        try:
            found = download(run, into)
        except OpsError:
            shutil.rmtree(into, ignore_errors=True)
            raise
        note(f"downloaded to {into}")
        return found, str(found)
    return find_canary(run, runs, samples_suffice=True), run


def _code(diagnosis: HoldDiagnosis) -> int:
    name = diagnosis.conclusion.name
    if name == "promoted":
        return exit_codes.OK
    return exit_codes.COULD_NOT_TELL if name in _COULD_NOT_TELL else exit_codes.FINDING


def _print(diagnosis: HoldDiagnosis) -> None:
    stdout.print(f"canary {diagnosis.name}", style="bold", markup=False)
    for finding in diagnosis.findings:
        print_check(finding.status, finding.step, finding.detail, finding.remedy)
        if finding.step == "time" and diagnosis.blocks:
            told = ["?" if one is None else f"{one:+.0%}" for one in diagnosis.blocks.ratios]
            stdout.print(f"    p95 by time: {' '.join(told)}", markup=False)
    for one in diagnosis.instances:
        p95 = "no answer" if one.p95_s is None else f"p95 {one.p95_s * 1000:.1f} ms"
        mark = " ▲" if one.stands_out else ""
        stdout.print(
            f"    {one.side:<9} {one.url}  {p95}, {one.errors} of {one.requests} failed{mark}",
            markup=False,
        )
    stdout.print(f"conclusion: {diagnosis.conclusion.value}", style="bold", markup=False)
    for what, how in diagnosis.next:
        stdout.print(f"→ {what}:", markup=False)
        stdout.print(f"    {how}", markup=False)
