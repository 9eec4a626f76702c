"""`mcctl delta`: the operations delta as JSON and Markdown, and to Slack if that is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops import slack as messages
from mc_ops.cli import slack_post
from mc_ops.cli.options import EnvOption
from mc_ops.cli.output import Format, OutputOption, emit_json, note, stdout, warn
from mc_ops.cli.slo_access import (
    LOCAL,
    OverOption,
    PricesOption,
    PrometheusOption,
    RedteamOption,
    ScrapeOption,
    WindowOption,
    open_source,
    prices,
    privacy,
    source_json,
)
from mc_ops.errors import UnusableInput

app = typer.Typer()


@app.command()
# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def delta(
    out: Annotated[
        Path,
        typer.Option("--out", help="JSON file to write; a Markdown file is written beside it."),
    ],
    period: Annotated[
        str, typer.Option("--period", help="Name of the period: day-1, day-7, ...")
    ] = "day-7",
    prometheus: PrometheusOption = None,
    scrape: ScrapeOption = None,
    over: OverOption = None,
    window: WindowOption = None,
    price_file: PricesOption = None,
    redteam: RedteamOption = None,
    previous: Annotated[
        Path | None,
        typer.Option(
            "--previous",
            help="Earlier report to compare with; default: the newest one beside --out.",
        ),
    ] = None,
    slack: Annotated[
        bool, typer.Option("--slack", help="Also post a summary to SLACK_WEBHOOK_URL.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite --out even if it is another kind of file.")
    ] = False,
    env: EnvOption = LOCAL,
    output: OutputOption = Format.table,
) -> None:
    """Write a period's figures and their change; an unknown figure is null with a reason."""
    from mc_ops.slo import Measure, Window, costs, markdown
    from mc_ops.slo import delta as room
    from mc_ops.slo import delta_files as files

    if not period.isascii() or not period.replace("-", "").isalnum() or len(period) > 40:
        raise UnusableInput(f'not a period: "{period[:40]}"', hint="for example day-7")
    asked = Window.parse(window) if window else room.window_of(period)
    files.check_target(out, force=force)
    now = datetime.now(UTC)
    before = files.read(previous) if previous else files.newest_before(out.parent, now, period)
    priced = prices(price_file)
    with open_source(prometheus, scrape, over, env=env) as source:
        measure = Measure(source, asked)
        figures = room.measured(measure, asked, costs(measure, priced), privacy(redteam))
        kept = files.keep(out)
        if before and kept and before.path.resolve() == out.resolve():
            before = replace(before, path=kept)
        told = room.document(
            figures,
            period=period,
            window=asked,
            now=now,
            source={
                **source_json(source),
                "span": source.span(asked),
                "covered_s": source.covered_s(asked),
                "notes": _notes(source.looks_back, source.span(asked), asked.text),
            },
            previous=before,
        )
    raw = files.encoded(told)
    digest = hashlib.sha256(raw).hexdigest()
    files.write(out, raw, markdown(told))
    if kept:
        note(f"the earlier {escape(out.name)} is kept as {escape(str(kept))}")
    _show(told, out, digest, output)
    if slack:
        stands = "the delta is written"
        if not slack_post.is_configured():
            warn(f"SLACK_WEBHOOK_URL is not set: nothing was posted; {stands}")
        elif slack_post.post(
            lambda: messages.delta_message(told, sha256=digest, file=out.name), stands
        ):
            note("posted to Slack")


def _notes(looks_back: bool, span: str, asked: str) -> list[str]:
    if looks_back:
        return []
    return [f"The replicas' own counters were read: figures are {span}, not over {asked}."]


def _show(told: Mapping[str, Any], out: Path, digest: str, output: Format) -> None:
    from mc_ops.slo import moved, shown

    if output is Format.json:
        emit_json({**told, "file": str(out), "sha256": digest})
        return
    for name, value in told["metrics"].items():
        figure = told["figures"][name]
        change = moved(told["trend"]["metrics"].get(name), figure["unit"])
        line = f"{name:<22}{shown(value, figure['unit']):>14}  {figure['verdict']:<15}{change}"
        stdout.print(line, markup=False)
        if figure["reason"]:
            stdout.print(f"{'':<24}{figure['reason']}", markup=False)
    for text in told["source"]["notes"]:
        note(escape(text))
    stdout.print(f"file    {out} (sha256 {digest})", markup=False)
    stdout.print(f"        {out.with_suffix('.md')}", markup=False)
