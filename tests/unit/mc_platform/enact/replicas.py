"""Replicas of `replica.py` that a test starts, listens to and kills, and what they recorded."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

import psycopg

_PROGRAM = Path(__file__).with_name("replica.py")
_ROOT = Path(__file__).parents[4]
_WITHIN_S = 120.0  # what is slow is the machine; the crash test measures the 15 s
CHARGE, COURIER = "/payments/charges", "/courier/bookings"


def order(item: str = "kettle", tenant: str = "TENANT_001") -> dict[str, Any]:
    """A request of `place-order`; `unbookable` makes its third step fail."""
    operation_id = str(uuid.uuid4())
    return {
        "id": operation_id,
        "tenant": tenant,
        "principal": "principal-1",
        "task_id": f"task-{operation_id}",
        "operation": "place-order",
        "input": {
            "item": item,
            "quantity": 1,
            "customer": "C-1",
            "amount_cents": 5,
            "address_ref": "A-1",
        },
        "decision_id": "decision-1",
    }


class Replica:
    """A process that runs operations; with a `version`, under a lease. It is ready."""

    def __init__(
        self, url: str, catalogue: str, name: str, *requests: dict[str, Any], **more: Any
    ) -> None:
        settings = {"url": url, "executor_id": name, "catalogue": catalogue, "requests": requests}
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, _PROGRAM, json.dumps(settings | more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        self._text = b""
        self._ended: deque[str] = deque()  # before it was ready
        while (line := self._line(_WITHIN_S)) != "ready":
            self._ended.append(line)

    def start(self, request: dict[str, Any]) -> None:
        """Have it start one more."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def end(self, within_s: float = _WITHIN_S) -> dict[str, Any]:
        """The next operation that ends in it."""
        ended = json.loads(self._ended.popleft() if self._ended else self._line(within_s))
        assert isinstance(ended, dict)
        return ended

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def kill(self) -> None:
        """End it as `kill -9` does, whatever state it is in."""
        self.process.kill()
        self.process.communicate()

    def _line(self, within_s: float) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + within_s
        while b"\n" not in self._text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"{self.name} said nothing for {within_s} s")
            read = os.read(self.process.stdout.fileno(), 65536)
            assert read, f"{self.name} ended"
            self._text += read
        first, _, self._text = self._text.partition(b"\n")
        return first.decode()


def ledger(url: str, operation_id: str) -> list[str]:
    """The kinds of the events that were recorded of an operation, in order."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT kind, detail FROM ledger ORDER BY index").fetchall()
    return [kind for kind, detail in rows if json.loads(detail)["operation_id"] == operation_id]
