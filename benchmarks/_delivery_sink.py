"""The receiver of the delivery benchmark, the same for both sides: it keeps and counts.

    python benchmarks/_delivery_sink.py PORT FILE

`POST /ingest` appends the body (JSON lines, gzipped or not) and answers when it is with the
kernel: it is never killed, and its disk is not what is measured. `GET /count` tells the lines kept
since its start. On SIGTERM it ends what is under way first.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

_MOST_BYTES = 268_435_456


def create_app(path: Path) -> web.Application:
    """The receiver over one file."""
    file = path.open("ab", buffering=0)
    kept = {"lines": 0, "requests": 0, "most_lines": 0}

    def append(body: bytes) -> int:
        whole = body if body.endswith(b"\n") else body + b"\n"
        file.write(whole)
        return whole.count(b"\n")

    async def ingest(request: web.Request) -> web.Response:
        lines = await asyncio.to_thread(append, await request.read())
        kept["lines"] += lines
        kept["requests"] += 1
        kept["most_lines"] = max(kept["most_lines"], lines)
        return web.Response()

    async def count(_: web.Request) -> web.Response:
        return web.json_response(kept)

    app = web.Application(client_max_size=_MOST_BYTES)
    app.add_routes([web.post("/ingest", ingest), web.get("/count", count)])
    return app


if __name__ == "__main__":
    web.run_app(
        create_app(Path(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        shutdown_timeout=5.0,
    )
