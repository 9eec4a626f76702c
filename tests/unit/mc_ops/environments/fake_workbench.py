"""A workbench small enough to read: the three commands and the routes that the environment uses.

`migrate` checks what it is given (an admin URL that works, hashes and no secrets on stdin), and
makes the service's login and its empty database;
`settings` refuses MC_FAKE_UNUSABLE;
`serve` answers /health, echoes bodies, streams, and is slow on demand. With
MC_FAKE_DIES=<colour> a replica of that colour ends with status 7 when it starts; with
MC_FAKE_SICK=<colour> one answers, and never that it can serve.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from urllib.parse import urlsplit

from aiohttp import web

_REFUSED = 2


async def _migrate() -> None:
    import asyncpg

    credentials = json.load(sys.stdin)
    for entry in credentials.values():
        assert set(entry) == {"tenant", "role", "principal", "key_id", "secret_sha256"}, entry
        assert len(entry["key_id"]) == 12
        assert len(entry["secret_sha256"]) == 64
    assert "//mc_service:" in os.environ["MC_DATABASE_URL"]
    try:
        connection = await asyncpg.connect(os.environ["MC_DATABASE_ADMIN_URL"])
    except OSError:
        print("error: the database refuses MC_DATABASE_ADMIN_URL: OSError", flush=True)
        sys.exit(_REFUSED)
    level = await connection.fetchval("SHOW wal_level")
    url = urlsplit(os.environ["MC_DATABASE_URL"])
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", url.username):
        await connection.execute(f"CREATE ROLE {url.username} LOGIN PASSWORD '{url.password}'")
        await connection.execute(f'CREATE DATABASE "{url.path[1:]}"')
    await connection.close()
    print(f"migrated {sorted(credentials)}, wal_level {level}", flush=True)


def _app() -> web.Application:
    me = {"colour": os.environ["MC_COLOUR"], "replica": os.environ["MC_REPLICA"]}
    names = {"MC_FAULT_SLOW_FACTOR": "slow_factor", "MC_FAULT_ERROR_RATIO": "error_ratio"}
    faults = {name: float(os.environ[key]) for key, name in names.items() if key in os.environ}

    async def health(_: web.Request) -> web.Response:
        return web.json_response(
            {"status": "ok", "service": "agent-workbench", "version": "0", "region": os.environ["MC_REGION"], **me,
             "dependencies": {}, "faults": faults},
            status=503 if os.environ.get("MC_FAKE_SICK") == me["colour"] else 200,
        )  # fmt: skip

    async def autonomy(_: web.Request) -> web.Response:
        return web.json_response({"at": "2026-05-06T12:00:00+00:00", "scopes": []})

    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(float(request.query.get("sleep_s", "0")))
        return web.json_response(
            {**me, "length": len(body), "path": request.raw_path, "headers": dict(request.headers)}
        )

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(int(request.query.get("count", "3"))):
            await response.write(f"data: {me['colour']} {number}\n\n".encode())
            await asyncio.sleep(float(request.query.get("pace_s", "0.01")))
        return response

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"only the beginning")
        assert request.transport
        request.transport.close()
        return response

    app = web.Application(client_max_size=1_048_576)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/operator/autonomy", autonomy),
            web.get("/stream", stream),
            web.get("/broken", broken),
            web.route("*", "/{rest:.*}", echo),
        ]
    )
    return app


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        asyncio.run(_migrate())
    elif sys.argv[1] == "settings":
        if "MC_FAKE_UNUSABLE" in os.environ:
            print("error: MC_FAKE_UNUSABLE is unknown", file=sys.stderr)
            sys.exit(_REFUSED)
    else:
        if os.environ.get("MC_FAKE_DIES") == os.environ["MC_COLOUR"]:
            print("I was told to die", flush=True)
            sys.exit(7)
        web.run_app(
            _app(), host="127.0.0.1", port=int(os.environ["MC_PORT"]), access_log=None, print=None
        )
