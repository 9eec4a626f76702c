"""A SIEM's front door: takes events by HTTP in each format, demands the key, keeps what it got.

    MC_PORT=8093 MC_HOME=.mc MC_SIEM_KEY_FILE=... python -m ...samples.siem_receiver

| path | speaks | key |
|---|---|---|
| `POST /ingest` | JSON lines, one object, or an array | `Bearer` |
| `POST /services/collector/event`, `/ack` | Splunk HEC with indexer acknowledgement | `Splunk` |
| `POST /INDEX/_bulk` | Elasticsearch, `create` only | `ApiKey` |

Gzipped or not. A success means that every event is on disk (HEC: when it is acknowledged). Repeats
are kept and counted, not dropped: delivery is at-least-once, and a SIEM dedupes by the event's id;
Elasticsearch does that itself, so there a repeat is answered 409 and counted only. `GET /stats`
tells the counts. `POST /control` makes it fail, slow, or refuse events, for drills: see `Behaviour`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from mc_contract.configuration import whole_number

_HOST = "127.0.0.1"
_MAX_BODY_BYTES = 67_108_864
_JSON = json.JSONDecoder()

_log = logging.getLogger("mc_ops.siem")


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
        for line in content[:whole].splitlines():
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
        """Close the file."""
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
    for outer, inner in (("metadata", "uid"), ("event", "id"), ("event", "uid")):
        nested = event.get(outer)
        if isinstance(nested, dict) and isinstance(nested.get(inner), str):
            return str(nested[inner])
        if (
            isinstance(nested, dict)
            and outer == "event"
            and isinstance(nested.get("metadata"), dict)
        ):
            return event_id(nested)  # Splunk HEC wraps the event
    for name in ("id", "uid", "event_id"):
        if isinstance(event.get(name), str):
            return str(event[name])
    text = json.dumps(event, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def place_of(event: Mapping[str, Any]) -> tuple[str, int | None]:
    """An event's region and its index in that region's log; None if it has none."""
    inner = event.get("event")
    if isinstance(inner, dict) and isinstance(inner.get("metadata"), dict):
        return place_of(inner)
    index = None
    for name in ("metadata", "event"):
        nested = event.get(name)
        if isinstance(nested, dict) and isinstance(nested.get("sequence"), int):
            index = nested["sequence"]
    cloud = event.get("cloud")
    region = cloud.get("region") if isinstance(cloud, dict) else None
    return str(region or ""), index


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
            events = [msgspec.json.decode(line) for line in _lines(text)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if not events or not all(isinstance(event, dict) for event in events):
        raise ValueError("expected one or more JSON objects")
    return list(events)


def _lines(body: bytes) -> list[bytes]:
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


class Face:
    """The receiver over HTTP: a handler for each route."""

    def __init__(self, receiver: Receiver, key: str) -> None:
        self._receiver = receiver
        self._key = key
        self._acks: dict[str, list[float]] = {}

    @property
    def _behaviour(self) -> Behaviour:
        return self._receiver.behaviour

    # -- JSON lines ---------------------------------------------------------------------------

    async def ingest(self, request: web.Request) -> web.Response:
        """All or nothing: a bad event makes the whole batch a 400."""
        self._require(request, "Bearer")
        await self._hold_up({"error": "failing, as told"})
        body = await request.read()
        try:
            lines = _lines(body)
            if not lines or body.lstrip().startswith(b"["):
                lines = list(map(msgspec.json.encode, parse_events(body)))
            notes = list(map(note_of_line, lines))
        except ValueError as error:  # msgspec's and Unicode's errors are ValueErrors
            return web.json_response({"error": f"not usable: {error}"}, status=400)
        if any(map(self._receiver.rejects, notes)):
            return web.json_response({"error": "an event is not usable"}, status=400)
        await self._receiver.keep_lines(lines, notes)
        return web.json_response({"accepted": len(lines)})

    # -- Splunk HEC ---------------------------------------------------------------------------

    async def collect(self, request: web.Request) -> web.Response:
        """Events before a bad one are kept, as the real one does; it names the bad one."""
        self._require_splunk(request)
        await self._hold_up({"text": "Server is busy", "code": 9})
        channel = request.headers.get("X-Splunk-Request-Channel", "")
        if self._behaviour.ack and not channel:
            return _hec(400, 10, "Data channel is missing")
        try:
            values = parse_concatenated(await request.read())
        except ValueError:
            return _hec(400, 6, "Invalid data format")
        if not values:
            return _hec(400, 5, "No data")
        for number, value in enumerate(values):
            event = value.get("event") if isinstance(value, dict) else None
            if not isinstance(event, dict) or self._receiver.rejects(note_of(value)):
                if number:
                    await self._receiver.keep(values[:number])
                return _hec(400, 6, "Invalid data format", {"invalid-event-number": number})
        await self._receiver.keep(values)
        if not self._behaviour.ack:
            return _hec(200, 0, "Success")
        acks = self._acks.setdefault(channel, [])
        acks.append(time.monotonic())
        return _hec(200, 0, "Success", {"ackId": len(acks)})

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Whether what was sent under these ids is indexed by now."""
        self._require_splunk(request)
        await self._hold_up({"text": "Server is busy", "code": 9})
        if not self._behaviour.ack:
            return _hec(400, 14, "ACK is disabled")
        kept = self._acks.get(request.headers.get("X-Splunk-Request-Channel", ""), [])
        try:
            asked = [int(one) for one in (await request.json())["acks"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return _hec(400, 6, "Invalid data format")
        due = time.monotonic() - self._behaviour.ack_after_s
        done = {str(one): 0 < one <= len(kept) and kept[one - 1] <= due for one in asked}
        return web.json_response({"acks": done})

    async def collector_health(self, _: web.Request) -> web.Response:
        """HEC's own health."""
        if self._behaviour.failing:
            return _hec(503, 9, "Server is busy")
        return _hec(200, 17, "HEC is healthy")

    # -- Elasticsearch ------------------------------------------------------------------------

    async def bulk(self, request: web.Request) -> web.Response:
        """`create` only: an id that is there is 409, a bad document 400, each for itself."""
        self._require(request, "ApiKey")
        await self._hold_up({"error": {"type": "es_rejected_execution_exception"}})
        try:
            lines = parse_events(await request.read())
            ids = [line["create"]["_id"] for line in lines[::2]]
            events = lines[1::2]
            if len(ids) != len(events):
                raise ValueError("an action without its document")
        except (ValueError, KeyError, TypeError):
            return web.json_response({"error": {"type": "parse_exception"}}, status=400)
        bad = [self._receiver.rejects(note_of(event)) for event in events]
        good = [event for event, is_bad in zip(events, bad, strict=True) if not is_bad]
        fresh = iter(await self._receiver.create(good))
        statuses = [400 if is_bad else 201 if next(fresh) else 409 for is_bad in bad]
        items = [_item(name, status) for name, status in zip(ids, statuses, strict=True)]
        return web.json_response({"errors": any(s != 201 for s in statuses), "items": items})

    async def authenticate(self, request: web.Request) -> web.Response:
        """Elasticsearch's way to ask whose key this is."""
        self._require(request, "ApiKey")
        return web.json_response({"username": "mc-audit", "authentication_type": "api_key"})

    # -- for whoever runs a drill -------------------------------------------------------------

    async def health(self, _: web.Request) -> web.Response:
        """Whether it fails as told."""
        return web.json_response({"status": "degraded" if self._behaviour.failing else "ok"})

    async def stats(self, request: web.Request) -> web.Response:
        """The counts."""
        self._require(request, "Bearer")
        return web.json_response({**self._receiver.stats(), "failing": self._behaviour.failing})

    async def control(self, request: web.Request) -> web.Response:
        """Change its behaviour; answers what it is now."""
        self._require(request, "Bearer")
        now = msgspec.to_builtins(self._behaviour)
        try:
            wanted = await request.json()
            if not isinstance(wanted, dict) or not wanted:
                raise ValueError("nothing")
            self._receiver.behaviour = msgspec.convert({**now, **wanted}, Behaviour)
        except (ValueError, msgspec.ValidationError, RecursionError):
            known = ", ".join(now)
            return web.json_response({"error": f"expected some of: {known}"}, status=400)
        _log.info("told to change: %s", ", ".join(sorted(wanted)))
        return web.json_response(msgspec.to_builtins(self._behaviour))

    # -- what all share -----------------------------------------------------------------------

    def _fits(self, request: web.Request, scheme: str) -> bool:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, f"{scheme} {self._key}".encode())

    def _require(self, request: web.Request, scheme: str) -> None:
        if not self._fits(request, scheme):
            raise web.HTTPUnauthorized(
                text='{"error": "the key is missing or wrong"}',
                content_type="application/json",
                headers={"WWW-Authenticate": scheme},
            )

    def _require_splunk(self, request: web.Request) -> None:
        if "Authorization" not in request.headers:
            raise web.HTTPUnauthorized(
                text='{"text": "Token is required", "code": 2}', content_type="application/json"
            )
        if not self._fits(request, "Splunk"):
            raise web.HTTPForbidden(
                text='{"text": "Invalid token", "code": 4}', content_type="application/json"
            )

    async def _hold_up(self, said: Mapping[str, Any]) -> None:
        behaviour = self._behaviour
        if behaviour.slow_s > 0:
            await asyncio.sleep(behaviour.slow_s)
        if not behaviour.failing:
            return
        text = json.dumps(said)
        if behaviour.retry_after_s is None:
            raise web.HTTPServiceUnavailable(text=text, content_type="application/json")
        raise web.HTTPTooManyRequests(
            text=text,
            content_type="application/json",
            headers={"Retry-After": f"{behaviour.retry_after_s:g}"},
        )


def _hec(status: int, code: int, text: str, more: Mapping[str, Any] | None = None) -> web.Response:
    return web.json_response({"text": text, "code": code, **(more or {})}, status=status)


def _item(name: str, status: int) -> dict[str, Any]:
    kinds = {400: "document_parsing_exception", 409: "version_conflict_engine_exception"}
    failed = {"error": {"type": kinds[status]}} if status in kinds else {}
    return {"create": {"_id": name, "status": status, **failed}}


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(receiver: Receiver, key: str) -> web.Application:
    """The receiver's HTTP face."""
    face = Face(receiver, key)
    posts: dict[str, _Handler] = {
        "/ingest": face.ingest,
        "/services/collector/event": face.collect,
        "/services/collector/ack": face.acknowledge,
        "/{index}/_bulk": face.bulk,
        "/control": face.control,
    }
    gets: dict[str, _Handler] = {
        "/health": face.health,
        "/services/collector/health": face.collector_health,
        "/_security/_authenticate": face.authenticate,
        "/stats": face.stats,
    }
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes([web.post(path, handler) for path, handler in posts.items()])
    app.add_routes([web.get(path, handler) for path, handler in gets.items()])
    return app


def main() -> None:
    """Read the environment and serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    key = Path(os.environ["MC_SIEM_KEY_FILE"]).read_text(encoding="utf-8").strip()
    if not key:
        raise SystemExit("the SIEM key file is empty")
    events = Path(os.environ["MC_HOME"]) / "siem" / "events.jsonl"
    behaviour = Behaviour(failing=os.environ.get("MC_SIEM_FAIL") == "1")

    async def app() -> web.Application:
        return create_app(Receiver(events, behaviour), key)

    web.run_app(
        app(),
        host=_HOST,
        port=whole_number(os.environ["MC_PORT"]),
        access_log=None,
        print=_log.info,
    )


if __name__ == "__main__":
    main()
