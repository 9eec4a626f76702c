"""The report's summary in Markdown, as GitHub shows it in a step's summary.

What came from elsewhere is escaped, so that it is shown as it is: a candidate's answer must not
become a link, an image, a mention or a heading.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mc_ops.canary.report.content import Rows, Told

# What Markdown gives a meaning to anywhere, what begins a block, and what makes a link by itself
_MARKS = re.compile(r"([\\`*_\[\]|~@$]|^[#+=-]|:(?=//)|(?<=www)\.)")
_LONGEST = 400


def summary(told: Told) -> str:
    """The Markdown; well below the megabyte that a step's summary may have."""
    icon = "✅" if told.promote else "⛔"
    lines = [f"## {icon} Canary: {_text(told.title)}", "", _text(told.reason), ""]
    if told.override:
        by, why, when, ledger, decision = (_text(value) for _, value in told.override)
        recorded = f"{when}, ledger {ledger}, decision {decision}. The verdict stays HOLD."
        lines += [f"> **Overridden by {by}**: {why}  ", f"> {recorded}", ""]
    lines += _table(told.sides)
    lines += _table((("", ""), *told.comparison))
    if told.metrics:
        lines += ["### Metrics", "", *_table(told.metrics)]
    if told.failures:
        lines += ["### Failures", "", *_table((("side", "failure", "count"), *told.failures))]
    lines += ["<details><summary>The run</summary>", "", *_table((("", ""), *told.run))]
    lines += ["</details>", ""]
    lines += [f"_{_text(note)}_\n" for note in told.notes]
    return "\n".join(lines)


def _table(rows: Rows) -> list[str]:
    head, *body = rows
    if not body:
        return []
    return [_row(head), "|" + " --- |" * len(head), *map(_row, body), ""]


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(text: str) -> str:
    """One line of plain text, whatever it holds; long ones are cut."""
    line = " ".join(text.split())
    line = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
    return _MARKS.sub(r"\\\1", html.escape(line, quote=False))
