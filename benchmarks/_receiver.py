"""The receiver of effects, in a process of its own: honours `Idempotency-Key`, and counts.

`POST /do/N` and `POST /undo/N` take effect once for each key; a body with `"refuse": true` gets 409
from `/do/2`. `POST /take` answers the counts since the last one, and forgets. Prints its port, and
ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiohttp import web


class Receiver:
    """Effects by key, and how often each was asked for."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self._calls = 0
        self._refused: set[str] = set()

    async def act(self, request: web.Request) -> web.Response:
        """One call of an effect or of its compensation."""
        body = await request.json()
        key = request.headers["Idempotency-Key"]
        self._calls += 1
        if body.get("refuse") and request.path == "/do/2":
            self._refused.add(key)
            return web.json_response({"error": "refused"}, status=409)
        status = 201 if request.path.startswith("/do/") else 200
        answer = self._answers.setdefault(key, (status, {"id": f"effect-{len(self._answers)}"}))
        return web.json_response(answer[1], status=answer[0])

    async def take(self, _request: web.Request) -> web.Response:
        """The counts, once."""
        statuses = [status for status, _ in self._answers.values()]
        counts = {
            "done": statuses.count(201),
            "undone": statuses.count(200),
            "refused": len(self._refused),
            "repeated": self._calls - len(statuses) - len(self._refused),
        }
        self._answers.clear()
        self._refused.clear()
        self._calls = 0
        return web.json_response(counts)


async def _serve() -> None:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/take", receiver.take)
    app.router.add_post("/{phase:do|undo}/{step}", receiver.act)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
