"""A downstream agent that misbehaves as its question says; raw HTTP, because the SDK would not."""

from __future__ import annotations

import asyncio
import json
import socket

from aiohttp import web

LEAK = "alice@example.com 4111111111111111"
TASKS = {
    "state": {"id": "t", "status": {"state": LEAK}},
    "artifact-text": {"status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": ["x"]},
    "artifact-number": {"status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": 5},
    "big-number": {
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"data": {"x": int("9" * 400)}}]}],
    },
    "deep-data": {
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"data": json.loads("[" * 45 + "]" * 45)}]}],
    },
    "surrogate": {
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"data": {"x": "\ud800"}}]}],
    },
    "many-parts": {
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"text": "x"}] * 2000}],
    },
    "no-part": {
        "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"parts": [{"text": 7}]}],
    },
}


async def _answer(request: web.Request) -> web.Response:
    call = await request.json()
    what = call["params"]["message"]["parts"][0]["text"]
    app = request.app
    app["asked"][what] = app["asked"].get(what, 0) + 1
    if what == "deep":
        nested = "[" * 90_000 + "]" * 90_000
        head = f'{{"jsonrpc":"2.0","id":"{call["id"]}","result":'
        text = head + '{"message":{"parts":[{"data":' + nested + "}]}}}"
        return web.Response(text=text, content_type="application/json")
    if what == "slow":
        await asyncio.sleep(2)
    if what == "echo-parts":
        parts = call["params"]["message"]["parts"][1:]
        return web.json_response(
            {"jsonrpc": "2.0", "id": call["id"], "result": {"message": {"parts": parts}}}
        )
    if what in ("other-id", "other-context", "old"):
        return _of_something_else(what, call["id"])
    task = TASKS.get(what)
    result = {"task": task} if task else {"message": {"parts": [{"text": f"echo {what}"}]}}
    return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})


def _of_something_else(what: str, asked: str) -> web.Response:
    """An answer to another request, of another conversation, or in A2A 0.3."""
    parts = [{"kind": "text", "text": LEAK}]
    message = {"messageId": "m", "role": "agent", "parts": parts}
    body = {"jsonrpc": "2.0", "id": asked, "result": {"message": message}}
    if what == "other-id":
        body["id"] = "another"
    elif what == "other-context":
        message["contextId"] = "another"
    else:
        body["result"] = {"kind": "message", **message}
    return web.json_response(body)


async def _asked(request: web.Request) -> web.Response:
    return web.json_response(request.app["asked"])


def main() -> None:
    app = web.Application()
    app["asked"] = {}
    app.router.add_post("/", _answer)
    app.router.add_get("/asked", _asked)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        web.run_app(app, sock=listener, print=None)


if __name__ == "__main__":
    main()
