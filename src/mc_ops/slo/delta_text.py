"""The delta for people: Markdown that says of each figure what it is, and why it is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mc_ops.slo.shown import shown


def markdown(told: Mapping[str, Any]) -> str:
    """The Markdown of a delta."""
    source = told["source"]
    lines = [
        f"# Operations delta: {_cell(told['period'])}",
        "",
        f"Made {told['timestamp']} from {_cell(str(source['kind']))}: {_cell(source['span'])}.",
    ]
    lines += [f"{note}" for note in source.get("notes", ())]
    lines += [
        "",
        "| figure | value | target | verdict | window | since the last |",
        "|---|---|---|---|---|---|",
    ]
    for name, value in told["metrics"].items():
        figure = told["figures"][name]
        cells = (
            figure["title"],
            shown(value, figure["unit"]),
            figure["target"],
            figure["verdict"],
            figure["window"],
            moved(told["trend"]["metrics"].get(name), figure["unit"]),
        )
        lines.append(f"| {' | '.join(_cell(one) for one in cells)} |")
    unknown = [figure for figure in told["figures"].values() if figure["reason"]]
    if unknown:
        lines += ["", "## Why", ""]
        lines += [f"- {figure['title']}: {_cell(figure['reason'])}" for figure in unknown]
    previous = told["trend"]["previous"]
    lines += ["", "## Compared with", ""]
    if previous:
        lines.append(
            f"`{_cell(previous['file'])}` of {_cell(previous['timestamp'])}"
            f" ({_cell(previous['period'])}, sha256 `{previous['sha256']}`)."
        )
    else:
        lines.append("Nothing: there is no earlier delta.")
    return "\n".join(lines) + "\n"


def moved(change: Mapping[str, Any] | None, unit: str) -> str:
    """How a figure moved, such as `-12.5 ms, better`."""
    if not change or change["difference"] is None:
        return "-"
    if change["direction"] == "unchanged":
        return "unchanged"
    difference = change["difference"]
    sign = "+" if difference > 0 else "-"
    by = shown(abs(difference), unit).replace(" %", " points")
    return f"{sign}{by}, {change['direction']}"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor makes a line or a tag of its own."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()).replace("|", "\\|"))
