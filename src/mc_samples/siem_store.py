"""What a SIEM keeps: events in a file, their counts, and how it is told to behave in a drill."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_JSON = json.JSONDecoder()


class Behaviour(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the receiver behaves; `POST /control` changes the fields that it names.

    Attributes:
        failing: Answer 503; 429 where `retry_after_s` is set.
        retry_after_s: The `Retry-After` of such an answer.
        reject: Ids or indexes of events that it calls bad, as each protocol does.
        slow_s: Wait so long before an answer.
        ack: HEC: whether acknowledgement is offered.
        ack_after_s: HEC: how long after they are on disk events are acknowledged.
    """

    failing: bool = False
    retry_after_s: float | None = None
    reject: list[str | int] = []
    slow_s: float = 0.0
    ack: bool = True
    ack_after_s: float = 0.0


@dataclass(slots=True)
class Counts:
    """What came in. `order_violations`: new events with an index below one that was there."""

    count: int = 0
    distinct: int = 0
    duplicates: int = 0
    order_violations: int = 0


class Note(NamedTuple):
    """What is counted of an event: its stable id, and its place in its region's log if it has one."""

    id: str
    region: str
    sequence: int | None


class _PeekMetadata(msgspec.Struct):
    uid: str | None = None
    sequence: int | None = None


class _PeekCloud(msgspec.Struct):
    region: str | None = None


class _Peek(msgspec.Struct):
    metadata: _PeekMetadata | None = None
    cloud: _PeekCloud | None = None


_PEEK = msgspec.json.Decoder(_Peek)


@dataclass(slots=True)
class Receiver:
    """What was received, in a file, and its counts."""

    events_file: Path
    behaviour: Behaviour = field(default_factory=Behaviour)
    counts: Counts = field(default_factory=Counts)
    _ids: set[str] = field(default_factory=set)
    _greatest: dict[str, int] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _file: Any = None

    def __post_init__(self) -> None:
        """Read what is there: counts go on where a killed receiver stopped."""
        self.events_file.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.events_file.open("a+b")
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):  # killed in mid-write; that batch was never acknowledged
            self._file.truncate(whole)
        for line in lines_of(content[:whole]):  # as they were written: JSON may hold a bare return
            self._count(note_of_line(line))

    async def keep(self, events: Sequence[dict[str, Any]]) -> None:
        """Write events to disk, and return when they are there."""
        await self.keep_lines(list(map(msgspec.json.encode, events)), list(map(note_of, events)))

    async def keep_lines(self, lines: Sequence[bytes], notes: Sequence[Note]) -> None:
        """Write events to disk as they came; `notes` tells of each what is counted."""
        data = b"\n".join((*lines, b""))
        async with self._lock:
            await asyncio.to_thread(self._append, data)
            for note in notes:
                self._count(note)

    async def create(self, events: Sequence[dict[str, Any]]) -> list[bool]:
        """Keep those whose id is new, as a store does that dedupes; tells of each if it was new."""
        fresh, seen = [], set[str]()
        for event in events:
            name = event_id(event)
            fresh.append(name not in self._ids and name not in seen)
            seen.add(name)
            self.counts.count += not fresh[-1]
            self.counts.duplicates += not fresh[-1]
        new = [event for event, is_new in zip(events, fresh, strict=True) if is_new]
        if new:
            await self.keep(new)
        return fresh

    def rejects(self, note: Note) -> bool:
        """Whether it is told to call this event bad."""
        refused = self.behaviour.reject
        return bool(refused) and (note.id in refused or note.sequence in refused)

    def stats(self) -> dict[str, int]:
        """How many events, different ones, repeats, and new ones that came too late."""
        return asdict(self.counts)

    def close(self) -> None:
        self._file.close()

    def _append(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _count(self, note: Note) -> None:
        self.counts.count += 1
        if note.id in self._ids:
            self.counts.duplicates += 1
            return
        self._ids.add(note.id)
        self.counts.distinct += 1
        if note.sequence is not None:
            greatest = self._greatest.get(note.region, -1)
            self.counts.order_violations += note.sequence < greatest
            self._greatest[note.region] = max(greatest, note.sequence)


def note_of(event: Mapping[str, Any]) -> Note:
    """What is counted of an event."""
    return Note(event_id(event), *place_of(event))


def note_of_line(line: bytes) -> Note:
    """The same of an event's JSON; of OCSF only what is needed is decoded, for there are many.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        seen = _PEEK.decode(line)
        if seen.metadata is not None and seen.metadata.uid is not None:
            region = seen.cloud.region if seen.cloud else None
            return Note(seen.metadata.uid, region or "", seen.metadata.sequence)
    except msgspec.ValidationError:
        pass  # an object of another shape, or none
    event = msgspec.json.decode(line)
    if not isinstance(event, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - content, not a call
    return note_of(event)


def event_id(event: Mapping[str, Any]) -> str:
    """An event's stable id (OCSF `metadata.uid`, ECS `event.id`, or `id`), else its digest."""
    event = _unwrapped(event)
    nested = (("metadata", "uid"), ("event", "id"), ("event", "uid"))
    found = [_table(event, outer).get(inner) for outer, inner in nested]
    found += [event.get(name) for name in ("id", "uid", "event_id")]
    for name in found:
        if isinstance(name, str):
            return name
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def place_of(event: Mapping[str, Any]) -> tuple[str, int | None]:
    """An event's region and its index in that region's log; None if it has none."""
    event = _unwrapped(event)
    places = [_table(event, outer).get("sequence") for outer in ("event", "metadata")]
    index = next((place for place in places if isinstance(place, int)), None)
    return str(_table(event, "cloud").get("region") or ""), index


def _unwrapped(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event that Splunk HEC wraps; any other as it is."""
    while _table(inner := _table(event, "event"), "metadata"):
        event = inner
    return event


def _table(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = event.get(name)
    return found if isinstance(found, dict) else {}


def parse_events(body: bytes) -> list[dict[str, Any]]:
    """Read JSON lines, one object, or an array.

    Raises:
        ValueError: it is none of them, or holds something that is not an object.
    """
    text = body.strip()
    try:
        if text.startswith(b"["):
            events = msgspec.json.decode(text)
        else:
            events = [msgspec.json.decode(line) for line in lines_of(text)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if not events or not all(isinstance(event, dict) for event in events):
        raise ValueError("expected one or more JSON objects")
    return list(events)


def lines_of(body: bytes) -> list[bytes]:
    """The lines of a body that hold something."""
    return [line for line in body.split(b"\n") if line.strip()]


def parse_concatenated(body: bytes) -> list[Any]:
    """Read JSON values one after the other, with or without space between them, as HEC does.

    Raises:
        ValueError: something else is there.
    """
    text, at, values = body.decode("utf-8").strip(), 0, []
    while at < len(text):
        value, at = _JSON.raw_decode(text, at)
        values.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return values
