"""`mcctl delta`: the operations delta as JSON and Markdown, and to Slack if that is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_ops import slack as messages
from mc_ops.cli import slack_post
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import columns, note, show, warn
from mc_ops.cli.slo_access import (
    PricesOption,
    RedteamOption,
    SourceOptions,
    WindowOption,
    prices,
    privacy,
    source_json,
)
from mc_ops.errors import UnusableInput

app = Verbs()


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def delta(
    call: SourceOptions,
    out: Annotated[
        Path,
        typer.Option("--out", help="JSON file to write; a Markdown file is written beside it."),
    ],
    period: Annotated[
        str, typer.Option("--period", help="Name of the period: day-1, day-7, ...")
    ] = "day-7",
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
) -> None:
    """Write a period's figures and their change; an unknown figure is null with a reason."""
    from mc_ops.slo import Measure, Window, costs, markdown, shown
    from mc_ops.slo import delta as room
    from mc_ops.slo import delta_files as files

    if not period.isascii() or not period.replace("-", "").isalnum() or len(period) > 40:
        raise UnusableInput(f'not a period: "{period[:40]}"', hint="for example day-7")
    asked = Window.parse(window) if window else room.window_of(period)
    files.check_target(out, force=force)
    now = datetime.now(UTC)
    before = files.read(previous) if previous else files.newest_before(out.parent, now, period)
    priced = prices(price_file)
    with call.open() as source:
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
    show(call.output, {**told, "file": str(out), "sha256": digest}, _lines(told, out, digest))
    for text in told["source"]["notes"]:
        note(escape(text))
    if slack:
        stands = "the delta is written"
        if not slack_post.is_configured():
            warn(f"SLACK_WEBHOOK_URL is not set: nothing was posted; {stands}")
        elif slack_post.post(
            lambda: messages.delta_message(told, shown=shown, sha256=digest, file=out.name), stands
        ):
            note("posted to Slack")


def _notes(looks_back: bool, span: str, asked: str) -> list[str]:
    if looks_back:
        return []
    return [f"The replicas' own counters were read: figures are {span}, not over {asked}."]


def _lines(told: Mapping[str, Any], out: Path, digest: str) -> Iterator[str | Text]:
    from mc_ops.slo import moved, shown

    figures = {name: told["figures"][name] for name in told["metrics"]}
    rows = [
        (
            name,
            shown(told["metrics"][name], figure["unit"]),
            figure["verdict"],
            moved(told["trend"]["metrics"].get(name), figure["unit"]),
        )
        for name, figure in figures.items()
    ]
    for figure, line in zip(figures.values(), columns(rows, right=[1]), strict=True):
        yield line
        if figure["reason"]:
            yield f"{'':<24}{figure['reason']}"
    yield f"file    {out} (sha256 {digest})"
    yield f"        {out.with_suffix('.md')}"
