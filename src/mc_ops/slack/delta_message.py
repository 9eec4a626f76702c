"""The operations delta in Slack: a table of figures, and the digest of the JSON it came from.

Slack's webhook takes no file. The digest lets whoever has the file see that it is the one that was
posted about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc_ops.slack.messages import Message

_LONGEST_TEXT = 2900  # Slack's limit for a section is 3,000 characters
_LONGEST_HEADER = 150
_ICONS = {"met": ":white_check_mark:", "missed": ":no_entry:", "unknown": ":grey_question:"}
_ARROWS = {name: name for name in ("better", "unchanged", "up", "down")} | {"worse": "*worse*"}


def delta_message(told: Mapping[str, Any], *, sha256: str, file: str) -> Message:
    """The message about an operations delta.

    Args:
        told: What the file has: `period`, `timestamp`, `window`, `metrics`, `figures`, `trend`.
        sha256: Of the file's bytes, hex.
        file: The file's name.
    """
    headline = f"Operations delta: {told['period']}"
    missed = [name for name, figure in told["figures"].items() if figure.get("verdict") == "missed"]
    unknown = [name for name, value in told["metrics"].items() if value is None]
    summary = f"{len(missed)} targets missed, {len(unknown)} figures not known"
    lines = [_line(name, value, told) for name, value in told["metrics"].items()]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": headline[:_LONGEST_HEADER]}},
        *(_section(part) for part in _parts(lines)),
    ]
    notes = [str(note) for note in told["source"].get("notes", ())]
    previous = told["trend"].get("previous")
    origin = [
        f"{told['timestamp']}, over {told['window']}, from {told['source']['kind']}",
        f"compared with {previous['timestamp']}" if previous else "no earlier delta",
        f"`{_escaped(file)}` sha256 `{sha256}`",
    ]
    context = "\n".join([*(_escaped(note) for note in notes), *origin])
    blocks.append({"type": "context", "elements": [_mrkdwn(context)]})
    text = f"{headline}: {summary} (sha256 {sha256})"
    return Message(text=_escaped(text)[:_LONGEST_TEXT], blocks=tuple(blocks))


def _line(name: str, value: float | None, told: Mapping[str, Any]) -> str:
    figure = told["figures"][name]
    icon = _ICONS.get(str(figure.get("verdict")), ":white_small_square:")
    if value is None:
        return f"{icon} {_escaped(name)}: not known ({_escaped(str(figure.get('reason')))})"
    change = told["trend"].get("metrics", {}).get(name, {})
    moved = _ARROWS.get(str(change.get("direction")), "")
    return f"{icon} {_escaped(name)}: *{_value(value, figure)}*{f', {moved}' if moved else ''}"


def _value(value: float, figure: Mapping[str, Any]) -> str:
    unit = str(figure.get("unit"))
    return f"{100 * value:.4g} %" if unit == "ratio" else f"{value:.5g} {_escaped(unit)}"


def _parts(lines: list[str]) -> list[str]:
    """The lines in as few sections as Slack's limit permits, none cut within a line."""
    parts: list[str] = []
    for line in (one[:_LONGEST_TEXT] for one in lines):
        if parts and len(parts[-1]) + len(line) < _LONGEST_TEXT:
            parts[-1] += f"\n{line}"
        else:
            parts.append(line)
    return parts


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text[:_LONGEST_TEXT]}


def _escaped(text: str) -> str:
    """Slack's three control characters, so that no text can mention @channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
