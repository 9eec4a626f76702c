"""Serves a sample agent's ASGI app with Granian inside this very process, until SIGTERM.

One process, not a supervisor with a worker: killing it kills it, which the drills rely on.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

import structlog
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from mc_contract import log_lines
from mc_contract.numbers import whole_number

HOST = "127.0.0.1"
_VERSION = "1.0.0"


class Agent(AgentExecutor):
    """A sample agent; its `execute` answers."""

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Say that the task is cancelled; the SDK has already stopped `execute`."""
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await updater.cancel()


def agent_app(
    agent: Agent,
    *,
    name: str,
    description: str,
    skill: AgentSkill,
    port: int,
    more: Sequence[BaseRoute] = (),
) -> Starlette:
    """The SDK's own routes around an agent, plus `/health` and whatever more is given.

    Its public card says that it speaks A2A 1.0 by JSON-RPC and by HTTP+JSON on that port.
    """
    url = f"http://{HOST}:{port}/"
    card = AgentCard(
        name=name,
        description=description,
        version=_VERSION,
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=f"{url}v1", protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[skill],
    )
    handler = DefaultRequestHandler(
        agent_executor=agent, task_store=InMemoryTaskStore(), agent_card=card
    )

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "agent": name, "version": _VERSION})

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            *more,
            *create_agent_card_routes(card),
            *create_jsonrpc_routes(handler, rpc_url="/"),
            # Last: the SDK mounts a route for any first path segment as a tenant.
            *create_rest_routes(handler, path_prefix="/v1"),
        ]
    )


async def body_of(request: Request, most_bytes: int) -> bytes | None:
    """A request's body; None where it is larger."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)


def serve(create_app: Callable[[int], Starlette]) -> None:
    """Serve on `MC_PORT` until SIGTERM or SIGINT; requests under way are let finish.

    On loopback, but where `MC_SAMPLE_HOST` names another address: in a pod, `0.0.0.0`.
    """
    port = whole_number(os.environ["MC_PORT"])
    log_lines.configure()
    asyncio.run(_serve(create_app(port), port))


async def _serve(app: Starlette, port: int) -> None:
    host = os.environ.get("MC_SAMPLE_HOST") or HOST
    server = Server(
        app,
        address=host,
        port=port,
        log_enabled=False,
        interface=Interfaces.ASGI,
        backlog=1024,
        websockets=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    structlog.get_logger().info("serving", host=host, port=port)
    await server.serve()
