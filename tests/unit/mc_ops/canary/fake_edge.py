"""A2A edge for tests: a real HTTP server on loopback whose latency and failures a test sets.

It speaks as much of A2A 1.0 JSON-RPC as the canary uses: the agent card, `SendMessage` with a
question, and the operation `canary-probe`. It runs in a thread with its own event loop.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

GOVERNANCE = "urn:mc-platform:a2a:governance:1"
TOKEN = "mc_test_canary"


@dataclass
class FakeEdge:
    """What the server does, and what it saw."""

    latency_s: float = 0.002
    spread_s: float = 0.001
    error_every: int = 0  # every n-th question fails; 0: none
    error_heap: range = range(0)  # questions that fail, counted from 1
    error_style: str = "json-rpc"  # or http, task, hang; busy, 429: with Retry-After
    probe_refusals: int = 0  # how often the probe gets 429 before it is taken
    probe_failures: int = 0  # how often the probe gets 503 and no word of when to repeat it
    die_after: int = 0  # questions after which connections are dropped; 0: never
    probe_outcome: str = "compensated"
    probe_polls: int = 0  # GetTask calls until the probe has ended
    one_at_a_time: bool = False  # questions wait for one another, as at a full machine
    card_status: int = 200
    token: str = TOKEN
    url: str = ""
    questions: list[dict[str, Any]] = field(default_factory=list)
    probes: int = 0
    answered: threading.Event = field(default_factory=threading.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _rng: random.Random = field(default_factory=lambda: random.Random(7))

    async def card(self, _request: web.Request) -> web.Response:
        """The agent card."""
        return web.json_response({"name": "fake"}, status=self.card_status)

    async def call(self, request: web.Request) -> web.Response:
        """One JSON-RPC call."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "unauthorised"}, status=401)
        assert request.headers["A2A-Version"] == "1.0"
        call = await request.json()
        if call["method"] == "GetTask":
            self.probe_polls -= 1
            return self._answer(call, self._probe_task(), wrap=False)
        message = call["params"]["message"]
        if message["metadata"][GOVERNANCE].get("operation") == "canary-probe":
            self.probes += 1
            if self.probes <= self.probe_refusals:
                return web.Response(status=429, headers={"Retry-After": "1"})
            if self.probes <= self.probe_failures:
                return web.Response(status=503)
            assert message["parts"] == [{"data": {"item": "widget", "quantity": 1}}]
            return self._answer(call, self._probe_task())
        self.questions.append(message)
        self.answered.set()
        number = len(self.questions)
        if self.die_after and number > self.die_after:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        async with self._turn if self.one_at_a_time else nullcontext():
            await asyncio.sleep(self.latency_s + self._rng.random() * self.spread_s)
        if (self.error_every and number % self.error_every == 0) or number in self.error_heap:
            return await self._failure(call)
        return self._answer(call, {"id": "t", "status": {"state": "TASK_STATE_COMPLETED"}})

    async def _failure(self, call: dict[str, Any]) -> web.Response:
        if self.error_style == "429":
            return web.Response(status=429, headers={"Retry-After": "1"})
        if self.error_style == "busy":
            error = {"code": -32051, "message": "busy"}
            return web.json_response({"id": 1, "error": error}, headers={"Retry-After": "1"})
        if self.error_style == "http":
            return web.Response(status=503)
        if self.error_style == "task":
            return self._answer(call, {"id": "t", "status": {"state": "TASK_STATE_FAILED"}})
        if self.error_style == "hang":
            await asyncio.sleep(60)
        return web.json_response(
            {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32603, "message": "boom"}}
        )

    def _probe_task(self) -> dict[str, Any]:
        if self.probe_polls > 0:
            return {"id": "p", "status": {"state": "TASK_STATE_WORKING"}}
        metadata = {GOVERNANCE: {"outcome": self.probe_outcome}}
        return {"id": "p", "status": {"state": "TASK_STATE_FAILED"}, "metadata": metadata}

    def _answer(
        self, call: dict[str, Any], task: dict[str, Any], *, wrap: bool = True
    ) -> web.Response:
        result = {"task": task} if wrap else task
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})


@contextmanager
def serving(edge: FakeEdge) -> Iterator[FakeEdge]:
    """Serve `edge` on a free loopback port while the context lasts; sets `edge.url`."""
    app = web.Application()
    app.router.add_get("/.well-known/agent-card.json", edge.card)
    app.router.add_post("/", edge.call)
    with serving_app(app) as url:
        edge.url = url
        yield edge


@contextmanager
def serving_app(app: web.Application) -> Iterator[str]:
    """Serve any aiohttp application on a free loopback port; yields its URL."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> str:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
