"""The fulfilment agent: does things (stock, payments, courier) and takes them back.

    MC_PORT=8092 MC_HOME=.mc python -m mc_samples.fulfilment_agent

Its actions are plain HTTP calls, each with its undo; `Idempotency-Key` is honoured (see
`world`). `"delay_s"` in a body (0 to 5) makes the step take that long *before* its effect, and
the item `unbookable` makes a courier booking fail: both are there to break operations on purpose.
On its A2A side it says what it can do, and the state of a booking.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from a2a.helpers import new_text_message
from a2a.server.agent_execution import RequestContext
from a2a.server.events import EventQueue
from a2a.types import AgentSkill
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from mc_samples.serving import Agent, agent_app, body_of, serve
from mc_samples.world import Refused, Result, Thing, World

_MAX_DELAY_S = 5.0
_MAX_BODY_BYTES = 65_536
_MAX_KEY_CHARACTERS = 300
_BOOKING = re.compile(r"\bB-\d+\b", re.IGNORECASE)
_PATHS: tuple[tuple[str, str, Thing], ...] = (
    ("/stock/reservations", "/stock/reservations/cancel", "reservation"),
    ("/payments/charges", "/payments/refunds", "charge"),
    ("/courier/bookings", "/courier/bookings/cancel", "booking"),
)
_CAN_DO = (
    "I can reserve stock, charge a payment and book a courier, and take each of them back. "
    "Ask me for the status of a booking by its id."
)

Endpoint = Callable[[Request], Awaitable[JSONResponse]]


class FulfilmentAgent(Agent):
    """The agent's A2A side."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        text = self._answer(context.get_user_input())
        await event_queue.enqueue_event(new_text_message(text, context_id=context.context_id))

    def _answer(self, question: str) -> str:
        if found := _BOOKING.search(question):
            name = found.group().upper()
            state = self._world.booking_state(name)
            return f"Booking {name} is {state}." if state else f"There is no booking {name}."
        if re.search(r"\bwhat can you do\b|\bhelp\b|\bskills?\b", question, re.IGNORECASE):
            return _CAN_DO
        return f"I can't answer that. {_CAN_DO}"


def action_routes(world: World) -> list[BaseRoute]:
    """The actions, and two views for tests and drills: `/world` and `/effects`."""
    # Two calls with one key at once: the second waits and gets the first one's result.
    locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def endpoint(
        act: Callable[[Thing, dict[str, Any], str | None, str | None], Result], thing: Thing
    ) -> Endpoint:
        async def call(request: Request) -> JSONResponse:
            try:
                body, delay_s = await _read(request)
                key = _key(request)
                async with locks[key] if key else asyncio.Lock():
                    await asyncio.sleep(delay_s)
                    home_term = request.headers.get("mc-home-term", "")[:_MAX_KEY_CHARACTERS]
                    status, answer = act(thing, body, key, home_term or None)
            except Refused as refusal:
                return JSONResponse({"error": refusal.message}, refusal.status)
            finally:
                _forget_idle(locks)
            return JSONResponse(answer, status)

        return call

    async def show_world(_: Request) -> JSONResponse:
        return JSONResponse(world.snapshot())

    async def show_effects(_: Request) -> JSONResponse:
        return JSONResponse({"effects": world.effects})

    routes: list[BaseRoute] = [
        Route("/world", show_world, methods=["GET"]),
        Route("/effects", show_effects, methods=["GET"]),
    ]
    for do_path, undo_path, thing in _PATHS:
        routes.append(Route(undo_path, endpoint(world.undo, thing), methods=["POST"]))
        routes.append(Route(do_path, endpoint(world.do, thing), methods=["POST"]))
    return routes


def _forget_idle(locks: defaultdict[str, asyncio.Lock]) -> None:
    if len(locks) > 1_000:
        for key in [key for key, lock in locks.items() if not lock.locked()]:
            del locks[key]


async def _read(request: Request) -> tuple[dict[str, Any], float]:
    raw = await body_of(request, _MAX_BODY_BYTES)
    if raw is None:
        raise Refused(413, f"the body is over {_MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "the body is not a JSON object")
    delay = body.get("delay_s")
    if delay is None:  # absent, or null from a template that had no value for it
        delay = 0
    if (
        isinstance(delay, bool)
        or not isinstance(delay, int | float)
        or not 0 <= delay <= _MAX_DELAY_S
    ):
        raise Refused(400, f'"delay_s" must be a number from 0 to {_MAX_DELAY_S:g}')
    return body, float(delay)


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= _MAX_KEY_CHARACTERS:
        raise Refused(400, f"Idempotency-Key must have 1 to {_MAX_KEY_CHARACTERS} characters")
    return key


def create_app(port: int, world: World) -> Starlette:
    """The agent as an ASGI app; `port` is what its card says."""
    return agent_app(
        FulfilmentAgent(world),
        name="fulfilment",
        description="Stock, payments and courier of a shop that does not exist.",
        skill=AgentSkill(
            id="fulfilment",
            name="Fulfilment",
            description="Says what it can do and how a booking stands; its work is done by actions.",
            tags=["fulfilment", "operations"],
            examples=["What can you do?", "status of booking B-3"],
        ),
        port=port,
        more=action_routes(world),
    )


def main() -> None:
    world = World(Path(os.environ["MC_HOME"]) / "fulfilment" / "journal.jsonl")
    try:
        serve(lambda port: create_app(port, world))
    finally:
        world.close()


if __name__ == "__main__":
    main()
