"""The operations delta in Slack: a table of figures, and the digest of the JSON it came from.

Slack's webhook takes no file. The digest lets whoever has the file see that it is the one that was
posted about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mc_contract.numbers import counted
from mc_ops.slack.messages import (
    LONGEST_TEXT,
    Message,
    cut,
    escaped,
    header,
    mrkdwn,
    section,
)

_LONGEST_NAME = 300

_ICONS = {"met": ":white_check_mark:", "missed": ":no_entry:", "unknown": ":grey_question:"}
_ARROWS = {name: name for name in ("better", "unchanged", "up", "down")} | {"worse": "*worse*"}


def delta_message(
    told: Mapping[str, Any],
    *,
    shown: Callable[[float, str], str],
    sha256: str,
    file: str,
) -> Message:
    """The message about an operations delta.

    Args:
        told: What the file has: `period`, `timestamp`, `source`, `metrics`, `figures`, `trend`.
        shown: Writes a figure's value with its unit.
        sha256: Of the file's bytes, hex.
        file: The file's name.
    """
    headline = f"Operations delta: {told['period']}"
    missed = [name for name, figure in told["figures"].items() if figure.get("verdict") == "missed"]
    unknown = [name for name, value in told["metrics"].items() if value is None]
    summary = (
        f"{counted(len(missed), 'target')} missed, {counted(len(unknown), 'figure')} not known"
    )
    lines = [_line(name, value, told, shown) for name, value in told["metrics"].items()]
    blocks: list[dict[str, Any]] = [
        header(headline),
        *(section(part) for part in _parts(lines)),
    ]
    notes = [str(note) for note in told["source"].get("notes", ())]
    previous = told["trend"].get("previous")
    origin = [
        f"sha256 `{sha256}` of `{cut(escaped(file), _LONGEST_NAME)}`",
        f"{told['timestamp']}, {escaped(told['source']['span'])}, from {told['source']['kind']}",
        f"compared with {previous['timestamp']}" if previous else "no earlier delta",
    ]
    context = "\n".join([*origin, *(escaped(note) for note in notes)])  # too long, notes are cut
    blocks.append({"type": "context", "elements": [mrkdwn(context, LONGEST_TEXT)]})
    text = f"{cut(escaped(headline), _LONGEST_NAME)}: {summary} (sha256 {sha256})"
    return Message(text=text, blocks=tuple(blocks))


def _line(
    name: str, value: float | None, told: Mapping[str, Any], shown: Callable[[float, str], str]
) -> str:
    figure = told["figures"][name]
    icon = _ICONS.get(str(figure.get("verdict")), ":white_small_square:")
    if value is None:
        return f"{icon} {escaped(name)}: not known ({escaped(str(figure.get('reason')))})"
    change = told["trend"].get("metrics", {}).get(name, {})
    moved = _ARROWS.get(str(change.get("direction")), "")
    target = str(figure["target"])
    about = [
        *([] if target == "not set" else [f"target {escaped(target)}"]),
        escaped(str(figure["window"])),
        *([moved] if moved else []),
    ]
    return f"{icon} {escaped(name)}: *{escaped(shown(value, figure['unit']))}* ({', '.join(about)})"


def _parts(lines: list[str]) -> list[str]:
    """The lines in as few sections as Slack's limit permits, none cut within a line."""
    parts: list[str] = []
    for line in (cut(one, LONGEST_TEXT) for one in lines):
        if parts and len(parts[-1]) + len(line) < LONGEST_TEXT:
            parts[-1] += f"\n{line}"
        else:
            parts.append(line)
    return parts
