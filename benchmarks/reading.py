"""Reading and answering a SendMessage: our fast path beside the SDK's routes, on the same bytes.

Both get the same ASGI call behind the middleware, and both call the same handler, whose request path
ends at once with the same task. So the figures are what stands around the path: routing, parsing,
validation, conversion to our values, and the answer's JSON.

    python benchmarks/reading.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _table import Row, add_option, finish
from starlette.applications import Starlette
from starlette.types import ASGIApp

from mc_platform.model.catalogue import parse_catalogue
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.receive import FastPath, GovernedRequestHandler, a2a_routes
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.routes import agent_card

WHO = Principal(PrincipalId("agent"), TenantId("TENANT_001"), "k")
TASK = Task(
    id=TaskId("5f3c5d2e-8f0e-4d0f-9a55-0c4b1a3f7d11"),
    context_id=ContextId("0b8f6f0e-1f4b-4bb7-8a54-7f4c4d9a9e02"),
    tenant=TenantId("TENANT_001"),
    principal=PrincipalId("agent"),
    message_id="m",
    request_digest="d",
    state=TaskState.completed,
    updated_at=datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
    parts=({"text": "Order O-2001 is packed; it leaves this afternoon."},),
    governance={"decision_id": "d-1", "purpose": "support", "redacted": False, "labels": []},
)
_CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendMessage",
        "params": {
            "message": {
                "messageId": "1d6cbb0e-54a5-5c3f-8f0e-0c9a2f6e7b51",
                "role": "ROLE_USER",
                "parts": [{"text": "What is the status of order O-2001?"}],
                "metadata": {
                    "urn:mc-platform:a2a:governance:1": {"agent": "records", "purpose": "support"}
                },
            }
        },
    }
).encode()
_HEADERS = [(b"host", b"g"), (b"content-type", b"application/json"), (b"a2a-version", b"1.0")]


class _Path:
    """A request path that ends at once."""

    async def handle(self, _envelope: Any) -> Task:
        return TASK


async def _cpu_us(app: ASGIApp, calls: int) -> float:
    """CPU microseconds of one call."""
    answered = 0

    async def send(message: Any) -> None:
        nonlocal answered
        answered += b"it leaves this afternoon" in message.get("body", b"")

    began = time.process_time()
    for _ in range(calls):
        waiting = [{"type": "http.request", "body": _CALL, "more_body": False}]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/a2a",
            "root_path": "",
            "query_string": b"",
            "headers": _HEADERS,
            "state": {PRINCIPAL: WHO},
        }

        async def receive(waiting: list[Any] = waiting) -> Any:
            return waiting.pop()

        await app(scope, receive, send)
    spent_s = time.process_time() - began
    if answered != calls:
        raise RuntimeError(f"{answered} of {calls} calls were answered")
    return spent_s / calls * 1e6


async def _measure(rounds: int, calls: int) -> Row:
    catalogue = parse_catalogue({"agents": {"records": {"url": "http://a/", "residency": "eu"}}})
    card = agent_card(public_url="http://g", version="1", catalogue=catalogue)
    path: Any = _Path()
    tasks: Any = None
    handler = GovernedRequestHandler(
        path=path, tasks=tasks, limiter=RateLimiter(rate_per_s=1e9, burst=10**9), card=card
    )
    sdk = Starlette(routes=list(a2a_routes(handler, card)))
    fast = FastPath(sdk, handler)
    for app in (fast, sdk):
        await _cpu_us(app, calls // 4)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await _cpu_us(fast, calls))
        theirs.append(await _cpu_us(sdk, calls))
    return Row(
        what="SendMessage read and answered, its path left out",
        beside="the SDK's routes",
        values=tuple(a / b for a, b in zip(ours, theirs, strict=True)),
        cpu_us=tuple(ours),
        peer_cpu_us=tuple(theirs),
    )


def main() -> int:
    """Measure, print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--calls", type=int, default=500, help="of one side in a round")
    add_option(options)
    given: argparse.Namespace = options.parse_args()
    rows: Path | None = given.rows
    return finish([asyncio.run(_measure(given.rounds, given.calls))], rows)


if __name__ == "__main__":
    sys.exit(main())
