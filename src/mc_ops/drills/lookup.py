"""Looks up afterwards what was acknowledged: by each tenant's own credential, as a client would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import aiohttp

from mc_contract.drill import CONTROL, Request
from mc_ops.outgoing import sessions
from mc_ops.service_client import exchange

Member = Literal["found", "found_restored", "found_later"]
_AT_ONCE = 16
_TIMEOUT_S = 10.0
_TRIES = 3
_NO_SUCH_TASK, _ELSEWHERE = "-32001", "home-elsewhere"
_PASSED_ON = "MC-Passed-On"  # whoever gets this answers by itself


async def look_up(
    rows: Sequence[Request],
    url: str,
    tokens: Mapping[str, str],
    written: frozenset[str] | None,
    *,
    member: Member = "found",
    region: str = "",
) -> list[Request]:
    """The rows, each acknowledged one with whether its task is there; None where nobody could say.

    Args:
        rows: Of all clients.
        url: Where the platform answers.
        tokens: By tenant.
        written: The ids that the control store wrote; None where the control is no store.
        member: Of a row, which takes what is found: the control is looked up for the first one alone.
        region: Look up only what this region acknowledged, and only in it: asked like that, it passes nothing on to the
            tenant's home. Empty: all.
    """
    at_once = asyncio.Semaphore(_AT_ONCE)
    async with sessions.open_session(keepalive_s=4.0) as session:

        async def looked(row: Request) -> Request:
            if row.outcome != "acknowledged":
                return row
            if row.tenant == CONTROL:
                if member != "found" or written is None:
                    return row
                return replace(row, found=row.id in written)
            if region not in ("", row.region):
                return row
            async with at_once:
                found = await _is_there(session, url, tokens[row.tenant], row, alone=bool(region))
            changes: dict[str, Any] = {member: found}
            return replace(row, **changes)

        return list(await asyncio.gather(*map(looked, rows)))


async def _is_there(
    session: aiohttp.ClientSession, url: str, token: str, row: Request, *, alone: bool
) -> bool | None:
    headers = {**exchange.headers(token), **({_PASSED_ON: "drill"} if alone else {})}
    call = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": row.task}}
    for attempt in range(_TRIES):
        await asyncio.sleep(attempt)
        try:
            async with session.post(
                f"{url}/a2a",
                json=call,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            ) as answer:
                body = await exchange.body_of(answer)
        except (TimeoutError, aiohttp.ClientError, OSError, exchange.AnswerTooLarge):
            continue
        task = exchange.task_of(body)
        if task is not None:
            served = row.operation or exchange.state_of(task) == exchange.COMPLETED
            return task.get("id") == row.task and served
        if exchange.error_code(body) == _NO_SUCH_TASK or (alone and _is_elsewhere(body)):
            return False
    return None


def _is_elsewhere(body: bytes) -> bool:
    """Whether a region has no such task and refers to the tenant's home."""
    with suppress(ValueError, LookupError, TypeError):
        return bool(json.loads(body)["error"]["data"][0]["metadata"]["code"] == _ELSEWHERE)
    return False
