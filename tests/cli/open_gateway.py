"""A gateway that governs nothing, and its agent: whatever is planted comes back. Real HTTP."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import serving

_CALL = re.compile(r"\[\[plant:([\w-]+)\]\]")


class OpenGateway:
    """What it was told to say, and how it fails.

    Attributes:
        failing: Status with which every message is answered, if any.
        deaf: It takes planted replies, and says something else.
        reader: Whose bearer token alone reads its metrics; empty: anybody's.
    """

    def __init__(self) -> None:
        self.url = ""
        self.planted: dict[str, Any] = {}
        self.failing = 0
        self.deaf = False
        self.reader = ""

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and JSON."""
        if path == "/plant":
            self.planted |= body["replies"]
            return 200, {}
        if path in ("/", "/a2a") and isinstance(body, dict):
            if self.failing and path == "/a2a":
                return self.failing, {}
            return 200, {"jsonrpc": "2.0", "id": 1, "result": self._result(body)}
        if path == "/health":
            return 200, {"status": "ok", "service": "agent-workbench", "version": "0"}
        return (200, {}) if path in ("/metrics", "/graphql") else (404, {})

    def _result(self, body: dict[str, Any]) -> Any:
        called = _CALL.search(json.dumps(body))
        parts = self.planted.get(called[1], []) if called and not self.deaf else [{"text": "Yes."}]
        return {"task": {"id": str(uuid.uuid4()), "artifacts": [{"parts": parts}]}}


@contextmanager
def open_gateway() -> Iterator[OpenGateway]:
    """One on a free port of the loopback."""
    gateway = OpenGateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._tell(*gateway.answer(self.path, json.loads(self.rfile.read(length) or b"null")))

        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "")
            if self.path == "/metrics" and gateway.reader not in sent:
                self._tell(401, {})
            else:
                self._tell(*gateway.answer(self.path, None))

        def _tell(self, status: int, told: Any) -> None:
            raw = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with serving(Handler) as gateway.url:
        yield gateway
