"""Looks up afterwards what was acknowledged: by each tenant's own credential, as a client would."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import aiohttp

from mc_contract.drill import CONTROL, Request
from mc_ops.outgoing import sessions
from mc_ops.service_client import exchange

_AT_ONCE = 16
_TIMEOUT_S = 10.0
_TRIES = 3
_NO_SUCH_TASK = "-32001"


async def look_up(
    rows: Sequence[Request],
    url: str,
    tokens: Mapping[str, str],
    written: frozenset[str] | None,
    *,
    later: bool = False,
) -> list[Request]:
    """The rows, each acknowledged one with whether its task is there; None where nobody could say.

    Args:
        rows: Of all clients.
        url: Where the platform answers.
        tokens: By tenant.
        written: The ids that the control store wrote; None where the control is no store.
        later: Whether it is the second look, when both regions are back.
    """
    at_once = asyncio.Semaphore(_AT_ONCE)
    async with sessions.open_session(keepalive_s=4.0) as session:

        async def looked(row: Request) -> Request:
            if row.outcome != "acknowledged":
                return row
            if row.tenant == CONTROL:
                return row if later or written is None else replace(row, found=row.id in written)
            async with at_once:
                found = await _is_there(session, url, tokens[row.tenant], row)
            return replace(row, found_later=found) if later else replace(row, found=found)

        return list(await asyncio.gather(*map(looked, rows)))


async def _is_there(
    session: aiohttp.ClientSession, url: str, token: str, row: Request
) -> bool | None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": row.task}}
    for attempt in range(_TRIES):
        await asyncio.sleep(attempt)
        try:
            async with session.post(
                f"{url}/a2a",
                json=call,
                headers=exchange.headers(token),
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
        if exchange.error_code(body) == _NO_SUCH_TASK:
            return False
    return None
