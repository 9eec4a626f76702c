"""The hostile agent: it answers as its question says, sets cookies, and reports what reached it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web
from tests.siege.shapes import SHAPES


class Agent:
    """What it saw, for the judge: cookies that came back, and whose words came in whose name."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.cookies = 0
        self.foreign: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One question: `echo`, `shape:NAME:BYTES`, or a word of `_RAW`; then the asker's marker."""
        raw = (await request.read()).decode("utf-8", "replace")
        self.cookies += "Cookie" in request.headers
        call = json.loads(raw)
        message = call["params"]["message"]
        words = str(message["parts"][0].get("text", "echo")).split()
        tenant = _tenant_of(message)
        for other in ("TENANT_001", "TENANT_002"):
            if other != tenant and f"marker-of-{other}" in raw and len(self.foreign) < 20:
                self.foreign.append(f"{tenant} was asked with the marker of {other}")
        self.asked[words[0]] += 1
        if words[0] in _RAW:
            return await _RAW[words[0]](request)
        parts = [{"text": f"echo marker-of-{tenant}"}]
        if words[0].startswith("shape:"):
            _, name, size = words[0].split(":")
            parts = [*SHAPES[name](int(size)), *parts]
        body = {"jsonrpc": "2.0", "id": call["id"], "result": {"message": {"parts": parts}}}
        answer = web.json_response(body)
        answer.set_cookie("sid", f"marker-of-{tenant}")
        return answer


def _tenant_of(message: dict[str, Any]) -> str:
    told = [str(value.get("tenant", "")) for value in message.get("metadata", {}).values()]
    return next((tenant for tenant in told if tenant), "nobody")


async def _slow(request: web.Request) -> web.StreamResponse:
    call = await request.json()
    await asyncio.sleep(5)
    body = {"jsonrpc": "2.0", "id": call["id"], "result": {"message": {"parts": []}}}
    return web.json_response(body)


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(2_000):
            await answer.write(b" " * 65_536)
    return answer


async def _latin(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"jsonrpc":"2.0","id":1,"result":"\xe9"}', content_type="text/plain")


async def _headers(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="{}", headers={f"X-{n}": "x" * 7_000 for n in range(40)})


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect(str(request.url))


async def _poison(request: web.Request) -> web.StreamResponse:
    call = await request.json()
    text = (
        f'{{"jsonrpc":"2.0","id":"{call["id"]}","result":'
        '{"message":{"parts":[{"data":{"n":1'
        + "0" * 309
        + ',"s":"\\ud800","z":"\\u0000","d":'
        + "[" * 60
        + "]" * 60
        + "}}]}}}"
    )
    return web.Response(text=text, content_type="application/json")


_RAW: dict[str, Callable[[web.Request], Any]] = {
    "slow": _slow,
    "endless": _endless,
    "latin": _latin,
    "headers": _headers,
    "redirect": _redirect,
    "poison": _poison,
}
REPLIES = tuple(_RAW)


def main() -> None:
    """Serve on 127.0.0.1, at a port that is printed first, until the process is ended."""
    os.nice(19)  # it is no part of the platform that is measured
    agent = Agent()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/", agent.answer)

    async def report(_request: web.Request) -> web.Response:
        told = {"cookies": agent.cookies, "foreign": agent.foreign, "asked": dict(agent.asked)}
        return web.json_response(told)

    app.router.add_get("/report", report)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        web.run_app(app, sock=listener, print=None)


if __name__ == "__main__":
    main()
