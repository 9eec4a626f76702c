"""A SIEM's front door: takes events by HTTP, demands the key, keeps what it got.

    MC_PORT=8093 MC_HOME=.mc MC_SIEM_KEY_FILE=... python -m ...samples.siem_receiver

`POST /ingest` takes JSON lines, one JSON object, or an array of objects, gzipped or not; 200
means that every event is on disk. Repeats are kept and counted, not dropped: delivery is
at-least-once, and a SIEM dedupes by the event's id. `POST /control {"failing": true}` makes
`/ingest` answer 503 until it is told otherwise, for drills.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

_HOST = "127.0.0.1"
_MAX_BODY_BYTES = 16_777_216

_log = logging.getLogger("mc_ops.siem")


class Receiver:
    """What was received, in a file, and its counts."""

    def __init__(self, events_file: Path, *, failing: bool = False) -> None:
        events_file.parent.mkdir(parents=True, exist_ok=True)
        self._ids: set[str] = set()
        self.count = 0
        self.failing = failing
        self._lock = asyncio.Lock()
        self._file = events_file.open("a+b")
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):  # killed in mid-write; that batch was never acknowledged
            self._file.truncate(whole)
        for line in content[:whole].splitlines():
            self._note(json.loads(line))

    async def keep(self, events: list[dict[str, Any]]) -> None:
        """Write events to disk, and return when they are there."""
        lines = b"".join(json.dumps(e, separators=(",", ":")).encode() + b"\n" for e in events)
        async with self._lock:
            await asyncio.to_thread(self._append, lines)
            for event in events:
                self._note(event)

    def stats(self) -> dict[str, int]:
        """How many events, how many different ones, and how many were repeats."""
        distinct = len(self._ids)
        return {
            "count": self.count,
            "distinct": distinct,
            "duplicates": self.count - distinct,
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, lines: bytes) -> None:
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _note(self, event: Mapping[str, Any]) -> None:
        self.count += 1
        self._ids.add(event_id(event))


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


def parse_events(body: bytes) -> list[dict[str, Any]]:
    """Read JSON lines, one object, or an array.

    Raises:
        ValueError: it is none of them, or holds something that is not an object.
    """
    text = body.decode("utf-8").strip()
    if text.startswith("["):
        events = json.loads(text)
    else:
        events = [json.loads(line) for line in text.split("\n") if line.strip()]
    if not events or not all(isinstance(event, dict) for event in events):
        raise ValueError("expected one or more JSON objects")
    return list(events)


def create_app(receiver: Receiver, key: str) -> web.Application:
    """The receiver's HTTP face."""
    expected = f"Bearer {key}".encode()

    def require_key(request: web.Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, expected):
            raise web.HTTPUnauthorized(
                text='{"error": "the key is missing or wrong"}',
                content_type="application/json",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def ingest(request: web.Request) -> web.Response:
        require_key(request)
        if receiver.failing:
            return web.json_response({"error": "failing, as told"}, status=503)
        try:
            events = parse_events(await request.read())
        except ValueError as error:
            return web.json_response({"error": f"not usable: {error}"}, status=400)
        await receiver.keep(events)
        return web.json_response({"accepted": len(events)})

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "degraded" if receiver.failing else "ok"})

    async def stats(request: web.Request) -> web.Response:
        require_key(request)
        return web.json_response({**receiver.stats(), "failing": receiver.failing})

    async def control(request: web.Request) -> web.Response:
        require_key(request)
        try:
            wanted = (await request.json())["failing"]
        except (ValueError, KeyError, TypeError):
            wanted = None
        if not isinstance(wanted, bool):
            return web.json_response({"error": 'expected {"failing": true|false}'}, status=400)
        receiver.failing = wanted
        _log.info("failing set to %s", wanted)
        return web.json_response({"failing": wanted})

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/ingest", ingest),
            web.get("/health", health),
            web.get("/stats", stats),
            web.post("/control", control),
        ]
    )
    return app


def main() -> None:
    """Read the environment and serve."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    key = Path(os.environ["MC_SIEM_KEY_FILE"]).read_text(encoding="utf-8").strip()
    if not key:
        raise SystemExit("the SIEM key file is empty")
    events = Path(os.environ["MC_HOME"]) / "siem" / "events.jsonl"
    failing = os.environ.get("MC_SIEM_FAIL") == "1"

    async def app() -> web.Application:
        return create_app(Receiver(events, failing=failing), key)

    web.run_app(
        app(),
        host=_HOST,
        port=int(os.environ["MC_PORT"]),
        access_log=None,
        print=_log.info,
    )


if __name__ == "__main__":
    main()
