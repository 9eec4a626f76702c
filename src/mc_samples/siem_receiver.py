"""A SIEM's endpoint: takes events by HTTP in each format, demands the key, keeps what it got.

    MC_PORT=8093 MC_HOME=.mc MC_SIEM_KEY_FILE=... python -m mc_samples.siem_receiver

| path | speaks | key |
|---|---|---|
| `POST /ingest` | JSON lines, one object, or an array | `Bearer` |
| `POST /services/collector/event`, `/ack` | Splunk HEC with indexer acknowledgement | `Splunk` |
| `POST /INDEX/_bulk` | Elasticsearch, `create` only | `ApiKey` |

Gzipped or not. A success means that every event is on disk (HEC: when it is acknowledged). Repeats
are kept and counted, not dropped: delivery is at-least-once, and a SIEM dedupes by the event's id;
Elasticsearch does that itself, so there a repeat is answered 409 and counted only. `GET /stats`
tells the counts. `POST /control` makes it fail, slow, or refuse events, for drills: see `siem_store.Behaviour`.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web

from mc_contract import log_lines
from mc_contract.numbers import whole_number
from mc_samples.siem_store import (
    Behaviour,
    Receiver,
    lines_of,
    note_of,
    note_of_line,
    parse_concatenated,
    parse_events,
)

_HOST = "127.0.0.1"
_MAX_BODY_BYTES = 67_108_864

_log = structlog.get_logger()


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
            lines = lines_of(body)
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
        _log.info("told_to_change", members=sorted(wanted))
        return web.json_response(msgspec.to_builtins(self._behaviour))

    # -- what all share -----------------------------------------------------------------------

    def _fits(self, request: web.Request, scheme: str) -> bool:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, f"{scheme} {self._key}".encode())

    def _require(self, request: web.Request, scheme: str) -> None:
        if not self._fits(request, scheme):
            said = {"error": "the key is missing or wrong"}
            raise _refusal(web.HTTPUnauthorized, said, {"WWW-Authenticate": scheme})

    def _require_splunk(self, request: web.Request) -> None:
        if "Authorization" not in request.headers:
            raise _refusal(web.HTTPUnauthorized, {"text": "Token is required", "code": 2})
        if not self._fits(request, "Splunk"):
            raise _refusal(web.HTTPForbidden, {"text": "Invalid token", "code": 4})

    async def _hold_up(self, said: Mapping[str, Any]) -> None:
        behaviour = self._behaviour
        if behaviour.slow_s > 0:
            await asyncio.sleep(behaviour.slow_s)
        if behaviour.failing and behaviour.retry_after_s is None:
            raise _refusal(web.HTTPServiceUnavailable, said)
        if behaviour.failing:
            wait = {"Retry-After": f"{behaviour.retry_after_s:g}"}
            raise _refusal(web.HTTPTooManyRequests, said, wait)


def _refusal(
    kind: type[web.HTTPException], said: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> web.HTTPException:
    return kind(text=json.dumps(said), content_type="application/json", headers=headers)


def _hec(status: int, code: int, text: str, more: Mapping[str, Any] | None = None) -> web.Response:
    return web.json_response({"text": text, "code": code, **(more or {})}, status=status)


def _item(name: str, status: int) -> dict[str, Any]:
    kinds = {400: "document_parsing_exception", 409: "version_conflict_engine_exception"}
    failed = {"error": {"type": kinds[status]}} if status in kinds else {}
    return {"create": {"_id": name, "status": status, **failed}}


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(receiver: Receiver, key: str) -> web.Application:
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
    log_lines.configure()
    key = Path(os.environ["MC_SIEM_KEY_FILE"]).read_text(encoding="utf-8").strip()
    if not key:
        raise SystemExit("the SIEM key file is empty")
    events = Path(os.environ["MC_HOME"]) / "siem" / "events.jsonl"
    behaviour = Behaviour(failing=os.environ.get("MC_SIEM_FAIL") == "1")

    async def app() -> web.Application:
        return create_app(Receiver(events, behaviour), key)

    host, port = os.environ.get("MC_SAMPLE_HOST") or _HOST, whole_number(os.environ["MC_PORT"])
    _log.info("serving", host=host, port=port)
    web.run_app(app(), host=host, port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
