"""The report's summary in Markdown, as GitHub shows it in a step's summary.

What came from elsewhere is escaped, so that it is shown as it is: a candidate's answer must not
become a link, an image, a mention or a heading.
"""

from __future__ import annotations

import html
import re

from mc_ops.canary.report.content import ReportContent, Rows

# What Markdown gives a meaning to anywhere, what begins a block, and what makes a link by itself
_MARKS = re.compile(r"([\\`*_\[\]|~@$]|^[#+=-]|:(?=//)|(?<=www)\.)")
_LONGEST = 400


def summary(content: ReportContent) -> str:
    """The Markdown; well below the megabyte that a step's summary may have."""
    icon = "✅" if content.promote else "⛔"
    lines = [f"## {icon} Canary: {_text(content.title)}", "", _text(content.reason), ""]
    if content.override:
        by, why, when, ledger, decision = (_text(value) for _, value in content.override)
        recorded = f"{when}, ledger {ledger}, decision {decision}. The verdict stays HOLD."
        lines += [f"> **Overridden by {by}**: {why}  ", f"> {recorded}", ""]
    lines += _table(content.sides)
    lines += _table((("", ""), *content.comparison))
    if content.metrics:
        lines += ["### Metrics", "", *_table(content.metrics)]
    if content.failures:
        lines += ["### Failures", "", *_table((("side", "failure", "count"), *content.failures))]
    lines += ["<details><summary>The run</summary>", "", *_table((("", ""), *content.run))]
    lines += ["</details>", ""]
    lines += [f"_{_text(note)}_\n" for note in content.notes]
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
