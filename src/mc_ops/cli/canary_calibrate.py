"""`mcctl canary calibrate`: how often the canary would be wrong, by simulation.

stdout is the tables, progress goes to stderr. Exit 0 when every target is met, 1 when one is
missed, 2 for unusable input.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as RichTable

from mc_ops.cli import exit_codes
from mc_ops.cli.numeric import Whole
from mc_ops.cli.output import Format, OutputOption, emit_json, note, stdout

if TYPE_CHECKING:
    from mc_ops.canary.calibrate import Cell, Table

_WIDTH = 152  # wider than a pipe's 80 columns; seven figures need it
_OUTCOMES = {
    "met": ("✔ met    ", "green"),
    "missed": ("✘ missed ", "red"),
    "unclear": ("▲ unclear", "yellow"),
}
_NAMES = {
    "ours": "this canary",
    "runbook": "runbook's 5 % rule",
    "mann-whitney": "Mann-Whitney, all samples",
    "mann-whitney-by-minute": "Mann-Whitney, p95 by minute",
}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(calibrate)


def calibrate(
    pairs: Annotated[
        list[Whole] | None,
        typer.Option(help="Pairs of each canary; repeatable. Default 30000 and 10000."),
    ] = None,
    runs: Annotated[
        Whole,
        typer.Option(help="Canaries for each series and change; 300 bound a rate of 0 by 1 %."),
    ] = 300,
    series: Annotated[
        list[str] | None, typer.Option(help="Only this series; repeatable. Default: all.")
    ] = None,
    seed: Annotated[
        Whole | None,
        typer.Option(min=0, help="Make an earlier calibration again. Default: a fresh seed."),
    ] = None,
    jobs: Annotated[
        Whole | None,
        typer.Option(min=1, max=256, help="Processes that share the work. Default: one a core."),
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Simulate canaries whose truth is known, and say how often the verdict would be wrong."""
    from mc_ops.canary import calibrate as room, simulate  # noqa: I001 - numpy is slow to import

    seed = secrets.randbits(32) if seed is None else seed
    wanted = series or [*simulate.SERIES, *simulate.LIMITS]
    tables: dict[int, Table] = {}
    for size in pairs or [30_000, 10_000]:
        note(f"calibrate: {size} pairs")
        tables[size] = room.calibrate(
            pairs=size,
            runs=runs,
            seed=seed,
            series=wanted,
            jobs=jobs or os.cpu_count() or 1,
            progress=lambda name: note(f"calibrate:   {name}"),
        )
    found = {size: room.verdicts(table, size) for size, table in tables.items()}
    if output is Format.json:
        emit_json(
            {
                "seed": seed,
                "runs": runs,
                "pairs": {
                    str(size): {"series": room.as_dict(table), "targets": found[size]}
                    for size, table in tables.items()
                },
            }
        )
    else:
        for size, table in tables.items():
            _show(size, table, found[size], simulate.LIMITS)
        stdout.print(f"seed {seed}, {runs} canaries for each series and change", markup=False)
    missed = any(target["outcome"] == "missed" for targets in found.values() for target in targets)
    raise typer.Exit(exit_codes.FINDING if missed else exit_codes.OK)


def _show(size: int, table: Table, found: list[dict[str, Any]], limits: dict[str, Any]) -> None:
    shown = RichTable(
        title=f"{size} pairs: share of wrong verdicts", title_justify="left", box=None
    )
    shown.add_column("series", no_wrap=True)
    shown.add_column("judge", no_wrap=True)
    for title in (
        "HOLD,\nno change",
        "PROMOTE,\n+5 %",
        "PROMOTE,\n+10 %",
        "PROMOTE,\n+10 % tail",
        "PROMOTE,\n+10 % spells",
        "stopped at,\n+20 %",
        "stopped at,\n+10 %",
    ):
        shown.add_column(title, justify="right", no_wrap=True)
    for name, row in table.items():
        for at, (judge_name, told) in enumerate(_NAMES.items()):
            title = f"{name} (limit)" if name in limits else name
            shown.add_row("" if at else title, told, *_figures(row, judge_name))
        shown.add_section()
    stdout.width = max(stdout.width, _WIDTH)
    stdout.print(shown)
    for target in found:
        icon, colour = _OUTCOMES[target["outcome"]]
        bounds = target["bounds"]
        between = f" (95 % bounds {bounds[0]:.2%} and {bounds[1]:.2%})" if bounds else ""
        stdout.print(
            f"[{colour}]{icon}[/{colour}] {target['series']}: {target['target']} is "
            f"{target['value']:.2%}{between}, at most {target['limit']:.1%} is wanted"
        )


def _figures(row: dict[str, Cell], judge_name: str) -> list[str]:
    shares = [
        row["none"].figure("hold", judge_name),
        *(
            row[change].figure("promote", judge_name)
            for change in ("+5 %", "+10 %", "+10 % in the slowest tenth", "+10 % by slow spells")
        ),
    ]
    stops = (
        [f"{row[change].figure('stop'):.0%}" for change in ("+20 %", "+10 %")]
        if judge_name == "ours"
        else ["the end", "the end"]
    )
    return [f"{share:.1%}" for share in shares] + stops
