"""A replica's web server, middleware and watch over connections, around an app without a database.

Its settings are those of the service, from the environment. The one valid credential is `TOKEN`.
`/health` looks at one slow probe and tells how often it did; `/v1/big` and `/v1/stream` answer with
`size` bytes, whole or piece by piece; what is posted to `/v1/echo` is counted; `/v1/ends` tells whose client had left when `/v1/patience` ended. At SIGUSR1 it goes on
serving as a replica that is about to stop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from functools import partial

import uvloop
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from mc_platform.__main__ import make_server
from mc_platform.authenticate import Authenticator, GuardedAuthenticator
from mc_platform.bulkheads import nobody_waits
from mc_platform.model.credential import Found
from mc_platform.model.tenant import Principal
from mc_platform.observe.health import Health
from mc_platform.receive import GatewayMiddleware
from mc_platform.receive.connections import Connections
from mc_platform.receive.detail import DETAIL, DetailRule
from mc_platform.receive.peers import Peers
from mc_platform.settings import load_settings

KEY, SECRET = "0123456789ab", "S" * 43
TOKEN = f"mc_{KEY}_{SECRET}"
LOOKS = [0]
BEGUN, ENDS = [0], []  # whether the client had left, of each request for `/v1/patience` that ended
_LONGEST_S = 60


class OneCredential:
    """A directory that knows one credential."""

    async def find(self, key_id):
        secret = hashlib.sha256(SECRET.encode()).digest()
        found = Found(secret, Principal("agent", "TENANT_001", KEY))
        return found if key_id == KEY else None


async def _probe():
    LOOKS[0] += 1
    await asyncio.sleep(0.2)
    return True, {"each": {"records-agent": "ok"}}


def _pieces(size):
    async def pieces():
        for _ in range(size // 65_536):
            yield b"x" * 65_536

    return pieces()


def _app(health):
    async def get_health(request):
        status, body = await health.look(detail=request.scope["state"][DETAIL])
        return JSONResponse({**body, "looks": LOOKS[0]}, status)

    async def metrics(request):
        return Response(status_code=200 if request.scope["state"][DETAIL] else 401)

    async def big(request):
        return Response(b"x" * int(request.query_params["size"]))

    async def stream(request):
        return StreamingResponse(_pieces(int(request.query_params["size"])))

    async def ticks(request):
        async def each():
            for number in range(int(request.query_params["count"])):
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0.2)

        return StreamingResponse(each(), media_type="text/event-stream")

    async def echo(request):
        return JSONResponse({"length": len(await request.body())})

    async def patience(request):
        """Work until the client has left, or so many seconds, whichever is asked; then count."""
        work_s = float(request.query_params["work_s"])
        BEGUN[0] += 1
        async with asyncio.timeout(_LONGEST_S):
            if not work_s:
                while not nobody_waits():
                    await asyncio.sleep(0.01)
        await asyncio.sleep(work_s)
        ENDS.append(nobody_waits())
        return JSONResponse({})

    async def ends(request):
        return JSONResponse({"begun": BEGUN[0], "left": ENDS})

    return Starlette(
        routes=[
            Route("/v1/patience", patience, methods=["POST"]),
            Route("/v1/ends", ends),
            Route("/health", get_health),
            Route("/metrics", metrics),
            Route("/v1/big", big),
            Route("/v1/stream", stream),
            Route("/v1/ticks", ticks),
            Route("/v1/echo", echo, methods=["POST"]),
        ]
    )


async def _serve():
    settings = load_settings()
    peers = Peers(settings.proxies, loopback_is_local=settings.loopback_is_local)
    connections = Connections(
        port=settings.port,
        total=settings.connections,
        per_peer=settings.connections_per_peer,
        trusts=peers.trusts,
        idle_timeout_s=settings.head_timeout_s,
        write_timeout_s=settings.write_timeout_s,
    )
    health = Health(
        identity=lambda: {
            "service": "agent-workbench",
            "version": "1",
            "colour": "blue",
            "faults": {},
        },
        vital={"agents": _probe},
        other={},
        keep_s=settings.health_cache_s,
    )
    middleware = GatewayMiddleware(
        _app(health),
        authenticator=GuardedAuthenticator(
            Authenticator(directory=OneCredential(), tenants=["TENANT_001"], cache_s=5),
            per_min=settings.authentication_failures_per_min,
            burst=settings.authentication_failures_burst,
        ),
        peers=peers,
        detail=DetailRule(settings.scrape_token_file),
        connections=connections,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        tenants=frozenset({"TENANT_001"}),
    )
    watching = asyncio.create_task(connections.watch())
    leave = partial(setattr, connections, "closing", True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave)
    await make_server(middleware, settings).serve()
    watching.cancel()


if __name__ == "__main__":
    os.environ.setdefault("MC_DATABASE_URL", "postgresql://nobody@127.0.0.1/none")
    os.environ.setdefault("MC_LEDGER_KEY_FILE", "none")
    sys.exit(uvloop.run(_serve()))
