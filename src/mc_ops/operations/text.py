"""An operation and its timeline as lines to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mc_ops.errors import UnusableInput

ENDED = frozenset({"completed", "compensated", "stuck", "resolved", "failed"})
_RESOLVED = "operation.resolved"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_MARKS = {
    "done": "✔",
    "completed": "✔",
    "released": "✔",
    "resolved": "✔",
    "failed": "✘",
    "stuck": "✘",
    "still-stuck": "✘",
    "compensated": "↩",
    "intended": "…",
}
_SHOWN = ("attempts", "effect", "replica", "mode", "principal", "effects", "effects_undone")


def instant(text: str) -> datetime:
    """A time of the service's JSON."""
    return datetime.fromisoformat(text).astimezone(UTC)


def since_text(text: str, now: datetime) -> str:
    """`--since` as the service takes it: `30m`, `24h`, `7d`, or a time with its zone.

    Raises:
        UnusableInput: it is neither.
    """
    try:
        if found := _DURATION.fullmatch(text):
            return (now - timedelta(seconds=int(found[1]) * _UNITS[found[2]])).isoformat()
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):  # before the calendar begins
        at = None
    if at is None or at.tzinfo is None:
        raise UnusableInput(
            f'--since is "{text[:64]}"', hint="form: 30m, 24h, 7d, or 2026-01-02T03:04:05+00:00"
        )
    return at.isoformat()


def ago(at: datetime, now: datetime) -> str:
    """How long ago, in its largest unit."""
    elapsed = max(0, int((now - at).total_seconds()))
    for unit, seconds in (("d", 86_400), ("h", 3600), ("m", 60)):
        if elapsed >= 2 * seconds:
            return f"{elapsed // seconds} {unit} ago"
    return f"{elapsed} s ago"


def describe(
    operation: Mapping[str, Any], now: datetime, timeline: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """What is known of an operation besides its timeline, of which only who resolved it is told."""
    started, updated = instant(operation["started_at"]), instant(operation["updated_at"])
    state = str(operation["state"])
    canceled = " (canceled)" if operation.get("canceled") else ""
    lines = [
        f"operation  {operation['id']}",
        f"plan       {operation['operation']}, for {operation['principal']}",
        f"tenant     {operation['tenant']}",
        f"state      {state}{canceled}",
        f"started    {_shown_time(started)} ({ago(started, now)})",
    ]
    if state in ENDED:
        lines.append(f"ended      {_shown_time(updated)} (took {_duration(updated - started)})")
    if engine := engine_text(operation.get("engine")):
        lines.append(f"engine     {engine}")
    if operation.get("said"):
        lines.append(f"reported   {operation['said']}")
    lines += [_resolution(event) for event in timeline if event["kind"] == _RESOLVED]
    return [plain(line) for line in lines]


def _resolution(event: Mapping[str, Any]) -> str:
    detail = event["detail"]
    mode = f" ({detail['mode']})" if detail.get("mode") else ""
    by = detail.get("principal") or "an unknown person"
    return f"resolved   by {by} at {_shown_time(instant(event['occurred_at']))}{mode}"


def engine_text(engine: Mapping[str, Any] | None) -> str:
    """Where the engine has it, in a few words; empty when there is nothing to say."""
    if not engine:
        return ""
    phase, replica = str(engine["phase"]), engine.get("replica") or "a replica"
    version = engine.get("version") or "another"
    return {
        "queued": "queued: waits for its turn",
        "running": f"running on {replica}",
        "adopting": f"{replica} is gone; another replica takes it over",
        "waiting": f"waiting for a replica of version {version}",
    }.get(phase, phase)


def timeline_lines(
    timeline: Sequence[Mapping[str, Any]], *, first_at: datetime | None = None
) -> list[str]:
    """The ledger's events in order: when, how long after the first, what, with its details.

    Args:
        timeline: Events as the service tells them.
        first_at: What the offsets count from; the first event unless told.
    """
    if not timeline:
        return []
    begin = first_at or instant(timeline[0]["occurred_at"])
    return [plain(_line(event, begin)) for event in timeline]


def plain(line: str) -> str:
    """A line of printable characters: reasons may quote a receiver, and steer no terminal."""
    return "".join(char if char.isprintable() else " " for char in line)


def _line(event: Mapping[str, Any], begin: datetime) -> str:
    at, kind, detail = instant(event["occurred_at"]), str(event["kind"]), event["detail"]
    mark = _MARKS.get(kind.rpartition(".")[2], "·")
    where = f" {detail['step'] + 1} {detail['action']}" if "action" in detail else ""
    told = [f"{name.replace('_', ' ')} {detail[name]}" for name in _SHOWN if name in detail]
    if detail.get("reason"):
        told.append(str(detail["reason"]))
    rest = f"  {', '.join(told)}" if told else ""
    return f"{_shown_time(at)}  {f'+{_duration(at - begin)}':>9}  {mark} {kind}{where}{rest}"


def _shown_time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}Z"


def _duration(elapsed: timedelta) -> str:
    seconds = elapsed.total_seconds()
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} m"
    return f"{seconds:.3f} s" if seconds < 60 else f"{int(seconds // 60)} m {seconds % 60:.0f} s"
