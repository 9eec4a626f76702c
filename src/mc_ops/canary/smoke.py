"""The smoke check before the pairs: does each instance speak A2A, and can it undo what it does?

Per instance: its agent card, and the catalogue operation `canary-probe`, whose effects the
platform undoes itself. What a failure means depends on the side, so each is told apart:
`Unreachable` (nothing answered) and `Smoke` (it answered, wrongly).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp import hdrs

from mc_ops.service_client import exchange

OPERATION = "canary-probe"
OUTCOME = "compensated"
_INPUT = {"item": "widget", "quantity": 1}  # reserved, then given back
_TIMEOUT_S = 15.0
_POLL_S = 0.2
_PROBES = 3
_CARD_STATUS = "agent card: HTTP "
# What is refused for want of a place is asked again, as by a client
_AGAIN_AFTER_S = (1.0, 2.0, 4.0)
_UNAUTHORISED = (401, 403)


@dataclass(frozen=True, slots=True)
class Smoke:
    """One instance's smoke result; `reason` is empty when it passed.

    Attributes:
        may_pass: Whether a request failed as some do under any load; another probe tells.
    """

    url: str
    reason: str = ""
    unreachable: bool = False
    refused: bool = False
    may_pass: bool = False

    @property
    def passed(self) -> bool:
        """Whether card and operation were as they must be."""
        return not self.reason


async def check(session: aiohttp.ClientSession, url: str) -> Smoke:
    """Check one instance, by several probes if one fails; never raises for what the instance does.

    How often requests fail is for the pairs to tell. An outcome that is not as it must be, no answer
    in time and no connection are failures at once.
    """
    for number in range(_PROBES):
        found = await _probe(session, url)
        if not found.may_pass:
            return found
        if number < _PROBES - 1:
            await asyncio.sleep(_POLL_S)
    return replace(found, reason=f"{found.reason} (each of {_PROBES} probes failed)")


async def _probe(session: aiohttp.ClientSession, url: str) -> Smoke:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reason = await _card(session, url)
            if reason:
                return Smoke(url, reason, may_pass=reason.startswith(_CARD_STATUS))
            return await _operation(session, url)
    except TimeoutError:
        return Smoke(url, f"no answer to the smoke check within {_TIMEOUT_S:.0f} s")
    except aiohttp.ClientConnectorError as error:
        return Smoke(url, f"cannot connect: {error.strerror or 'refused'}", unreachable=True)
    except exchange.AnswerTooLarge:
        return Smoke(url, exchange.TOO_LARGE)
    except (aiohttp.ClientError, OSError) as error:
        return Smoke(url, f"the connection broke: {type(error).__name__}", unreachable=True)


async def _card(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(
        urljoin(url, "/.well-known/agent-card.json"), allow_redirects=False
    ) as answer:
        if answer.status != 200:
            return f"{_CARD_STATUS}{answer.status}"
        try:
            card = json.loads(await exchange.body_of(answer))
        except exchange.UNREADABLE:
            return "agent card: not JSON"
    return "" if isinstance(card, dict) and card.get("name") else "agent card: has no name"


async def _operation(session: aiohttp.ClientSession, url: str) -> Smoke:
    call = exchange.send_message(
        [{"data": _INPUT}],
        {
            "agent": "fulfilment",
            "purpose": "support",
            "residency": "eu",
            "operation": OPERATION,
        },
    )
    status, body = await _post(session, url, call)
    if status in _UNAUTHORISED:
        return Smoke(url, f"the canary's token was refused: HTTP {status}", refused=True)
    task = exchange.task_of(body) if status == 200 else None
    while task is not None and not exchange.has_ended(task):
        await asyncio.sleep(_POLL_S)
        query = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": _id_of(task)}}
        status, body = await _post(session, url, query)
        task = exchange.task_of(body)
    if task is None:
        reason = f"operation {OPERATION}: {exchange.failure_of(status, body)}"
        return Smoke(url, reason, may_pass=True)
    outcome = exchange.outcome_of(task)
    if outcome != OUTCOME:
        return Smoke(
            url,
            f"operation {OPERATION} ended {exchange.state_shown(task)}, outcome "
            # Its own word, which a terminal must not obey
            f'{json.dumps(outcome[:80])}; expected outcome "{OUTCOME}"',
        )
    return Smoke(url)


def _id_of(task: dict[str, Any]) -> str:
    """The task's id; what is none is not sent back."""
    found = task.get("id")
    return found if isinstance(found, str) else ""


async def _post(
    session: aiohttp.ClientSession, url: str, call: dict[str, object]
) -> tuple[int, bytes]:
    for again_after_s in (*_AGAIN_AFTER_S, None):
        async with session.post(
            url, data=json.dumps(call).encode(), allow_redirects=False
        ) as answer:
            status, body = answer.status, await exchange.body_of(answer)
            told = hdrs.RETRY_AFTER in answer.headers
        refused = exchange.failure_of(status, body, retry_after=told).startswith(exchange.REFUSED)
        if not refused or again_after_s is None:
            break
        await asyncio.sleep(again_after_s)
    return status, body
