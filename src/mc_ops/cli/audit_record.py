"""`mcctl audit list, tail, show`: what the ledger records, decoded; `mcctl policy denials` reads as they do.

It is shown as the service gives it: `mcctl audit verify` holds it against signatures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_ops import audit as room
from mc_ops import policies
from mc_ops.cli.ledger_access import LedgerReading
from mc_ops.cli.options import Number, OptionGroup, Verbs, Whole
from mc_ops.cli.output import columns, emit_line, note
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from mc_contract.ledger.entry import Entry

app = Verbs()

LimitOption = Annotated[
    Whole, typer.Option("--limit", min=1, help="Maximum number of entries; the newest are taken.")
]
_ABOUT = ("principal", "action", "agent", "operation", "decision", "reason")
_LONGEST_CELL = 60


@dataclass(frozen=True, kw_only=True)
class Filters(OptionGroup):
    """Which entries are shown: those to which all of the options apply."""

    tenant: Annotated[str | None, typer.Option("--tenant", help="Only entries of this tenant.")] = (
        None
    )
    since: Annotated[
        str | None, typer.Option("--since", help="Only since this time or age: 7d, 36h, 10m.")
    ] = None
    until: Annotated[str | None, typer.Option("--until", help="Only before this time or age.")] = (
        None
    )

    def asked(self) -> dict[str, Any]:
        """As `AuditClient.matching` takes them."""
        now = datetime.now(UTC)
        times = {"since": self.since, "until": self.until}
        return {
            "tenant": self.tenant,
            **{name: room.moment(text, now) for name, text in times.items() if text is not None},
        }


KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only this kind of event, such as request.refused; repeatable."),
]
SubjectOption = Annotated[
    str | None,
    typer.Option("--subject", help="Only about this task, operation or other subject."),
]


@app.command("list")
def list_entries(
    call: LedgerReading,
    which: Filters,
    kind: KindOption = None,
    subject: SubjectOption = None,
    limit: LimitOption = 50,
) -> None:
    """List entries of the ledger, the newest first."""
    asked = which.asked()
    with call.ledger() as client:
        found = client.matching(**asked, kind=kind, subject=subject)
        entries = [decoded(entry) for entry in islice(found, limit + 1)]
    call.show({"entries": entries[:limit], "more": len(entries) > limit}, _lines(entries[:limit]))
    if len(entries) > limit:
        note(
            f"there are more than {limit}: --limit, or --until {entries[limit - 1]['recorded_at']}"
        )


@app.command()
def tail(
    call: LedgerReading,
    which: Filters,
    kind: KindOption = None,
    subject: SubjectOption = None,
    lines: Annotated[Whole, typer.Option("--lines", min=0, help="Number of recent entries.")] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new entries, each as a line.")
    ] = False,
    interval: Annotated[
        Number, typer.Option("--interval", min=0.1, help="Seconds between looks with --follow.")
    ] = 1.0,
) -> None:
    """Print the newest entries of the ledger, the newest last; -o json: each as a JSON line."""
    asked = {**which.asked(), "kind": kind, "subject": subject}
    with call.ledger() as client:
        shown = list(islice(client.matching(**asked), max(lines, 1)))[::-1]
        newest = shown[-1].index if shown else -1
        _emit(shown if lines else (), call)
        while follow:
            time.sleep(interval)
            new = _newer(client, newest, asked)
            newest = new[-1].index if new else newest
            _emit(new, call)


@app.command()
def show(
    call: LedgerReading,
    entry: Annotated[
        str,
        typer.Argument(
            help="Index of an entry, id of its event, or of a decision that it records."
        ),
    ],
) -> None:
    """Show an entry of the ledger, decoded."""
    with call.ledger() as client:
        found = decoded(_named(client, entry))
    call.show(found, json.dumps(found, indent=2, ensure_ascii=False).split("\n"))


def decoded(entry: Entry) -> dict[str, Any]:
    """An entry with its leaf as JSON; what cannot be read as that stands as text."""
    try:
        event = json.loads(entry.leaf)
    except ValueError:
        event = {"unreadable": entry.leaf.decode(errors="backslashreplace")}
    return {
        "index": entry.index,
        "recorded_at": entry.recorded_at.isoformat(),
        "event_id": entry.event_id,
        "tenant": entry.tenant,
        "kind": entry.kind,
        "subject": entry.subject,
        "detail": event.get("detail", event) if isinstance(event, dict) else event,
    }


def _named(client: room.AuditClient, name: str) -> Entry:
    if name.startswith("dec_"):
        for entry in client.telling(name):
            if policies.find_decision(name, [entry.leaf]):
                return entry
        raise UnusableInput(f"no ledger entry records the decision {name[:100]}")
    index = int(name) if room.INDEX.fullmatch(name) else client.index_of(name)
    found = next(client.entries(index), None)
    if found is None or found.index != index:
        raise UnusableInput(
            f"there is no entry {index} in the database",
            hint="older ones may be archived: mcctl audit prove names the file",
        )
    return found


def _newer(client: room.AuditClient, index: int, asked: dict[str, Any]) -> Sequence[Entry]:
    new = []
    for entry in client.matching(**asked):
        if entry.index <= index:
            break
        new.append(entry)
    return new[::-1]


def _emit(entries: Sequence[Entry], call: LedgerReading) -> None:
    found = [decoded(entry) for entry in entries]
    if call.output == "json":
        for one in found:
            emit_line(json.dumps(one))
    elif found:
        for row in _rows(found):
            emit_line("  ".join(row))


def _lines(entries: Sequence[dict[str, Any]]) -> list[Any]:
    heading = ("index", "recorded", "kind", "tenant", "subject", "about")
    return [*columns(_rows(entries), heading=heading, right=[0])] if entries else ["no entry fits"]


def _rows(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in entries:
        at = datetime.fromisoformat(one["recorded_at"]).astimezone(UTC)
        yield (
            str(one["index"]), f"{at:%Y-%m-%d %H:%M:%SZ}", one["kind"], one["tenant"],
            one["subject"] or "-", _about(one["detail"]),
        )  # fmt: skip


def _about(detail: Any) -> str:
    if not isinstance(detail, dict):
        return ""
    said = (f"{name}={detail[name]}" for name in _ABOUT if detail.get(name) not in (None, ""))
    return " ".join(word if len(word) <= _LONGEST_CELL else f"{word[:59]}…" for word in said)
