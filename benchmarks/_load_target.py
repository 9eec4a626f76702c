"""The target of the load benchmark, in a process of its own: quiet, quick, and always the same.

    python benchmarks/_load_target.py PORT

Answers every POST with a completed A2A task, as the workbench would, without thinking; so what is
measured is whoever asks. Prints `ready` when it listens; ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

# All that a driver sends during a freeze of a second waits to be accepted.
_BACKLOG = 4096
_MOST_UNDER_WAY = 16_384
_ANSWER = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": "00000000-0000-0000-0000-000000000000",
        "result": {
            "task": {
                "id": "5f3c5d2e-8f0e-4d0f-9a55-0c4b1a3f7d11",
                "contextId": "0b8f6f0e-1f4b-4bb7-8a54-7f4c4d9a9e02",
                "status": {"state": "TASK_STATE_COMPLETED", "timestamp": "2026-01-02T03:04:05Z"},
                "artifacts": [
                    {
                        "artifactId": "reply",
                        "parts": [{"text": "Order O-2001 is packed; it leaves this afternoon."}],
                    }
                ],
                "metadata": {"urn:mc-platform:a2a:governance:1": {"decision_id": "d-1"}},
            }
        },
    }
).encode()
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_ANSWER)).encode()),
]


async def _answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


async def serve(app: Any, port: int) -> None:
    """Serve an ASGI application on loopback until SIGTERM; print `ready` when it listens."""
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_MOST_UNDER_WAY,
    )
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    serving = asyncio.create_task(server.serve())
    await _until_it_listens(port)
    print("ready", flush=True)
    await stopped.wait()
    server.stop()  # type: ignore[no-untyped-call]
    await serving


async def _until_it_listens(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


if __name__ == "__main__":
    uvloop.run(serve(_answer, int(sys.argv[1])))
