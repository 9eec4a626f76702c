"""The load of a drill: each tenant's requests, open loop, and what its client was told of each.

A request is due whatever became of those before it, and its times count from when it was due: a
platform that stands still cannot hide by making its clients wait. Each is a question, which the
platform records before it answers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp import hdrs

from mc_contract.drill import CONTROL, Request
from mc_ops.drills import control_store
from mc_ops.drills.plan import REQUEST_TIMEOUT_S
from mc_ops.outgoing import sessions
from mc_ops.service_client import exchange

_KEEP_ALIVE_S = 4.0
_NOT_NOW = (429, 503)
Ask = Callable[[str, int], Awaitable[tuple[str, str]]]
"""Send the message of that id, as the question of that number; its outcome, and its task or ''."""


class Clients:
    """The clients of one drill; `rows` is what they know so far, in order of outcome.

    Args:
        url: Where the platform answers.
        tokens: A bearer token of each tenant.
        control_port: Of the control store.
        rate_per_s: Requests of each tenant, and of the control.
    """

    def __init__(
        self, url: str, tokens: Mapping[str, str], control_port: int, rate_per_s: float
    ) -> None:
        self._url = f"{url}/a2a"
        self._tokens = tokens
        self._control_port = control_port
        self._interval_s = 1 / rate_per_s
        self._questions = exchange.Questions()
        self._ended = asyncio.Event()
        self._began = asyncio.get_running_loop().time()
        self.rows: list[Request] = []

    def now(self) -> float:
        """Seconds since the drill began."""
        return asyncio.get_running_loop().time() - self._began

    def stop(self) -> None:
        """Send nothing more; what is under way ends."""
        self._ended.set()

    async def run(self) -> None:
        """Send until `stop` is called, and return when the last request has ended."""
        async with asyncio.TaskGroup() as group:
            for number, (tenant, token) in enumerate(self._tokens.items()):
                late_s = self._interval_s * number / (len(self._tokens) + 1)
                group.create_task(self._tenant(tenant, token, late_s))
            group.create_task(self._send(CONTROL, self._ask_control, 0.0))

    async def _tenant(self, tenant: str, token: str, late_s: float) -> None:
        session = sessions.open_session(keepalive_s=_KEEP_ALIVE_S, headers=exchange.headers(token))
        async with session:
            await self._send(
                tenant, lambda message, number: self._ask(session, message, number), late_s
            )

    async def _send(self, tenant: str, ask: Ask, late_s: float) -> None:
        running: set[asyncio.Task[None]] = set()
        number = 0
        while not self._ended.is_set():
            due_s = late_s + number * self._interval_s
            await asyncio.sleep(max(0.0, due_s - self.now()))
            task = asyncio.create_task(self._one(tenant, ask, number, due_s))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
        if running:
            await asyncio.gather(*running)

    async def _one(self, tenant: str, ask: Ask, number: int, due_s: float) -> None:
        message = str(uuid.uuid4())
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                outcome, task = await ask(message, number)
        except (aiohttp.ClientConnectorError, ConnectionRefusedError):
            outcome, task = "failed", ""  # it never left
        except (TimeoutError, aiohttp.ClientError, OSError, exchange.AnswerTooLarge):
            outcome, task = "maybe", ""
        times = round(due_s, 6), round(self.now(), 6)
        self.rows.append(Request(tenant, message, *times, outcome, task))

    async def _ask(
        self, session: aiohttp.ClientSession, message: str, number: int
    ) -> tuple[str, str]:
        async with session.post(
            self._url, data=self._questions.body_with(message, number), allow_redirects=False
        ) as answer:
            body = await exchange.body_of(answer)
            if answer.status in _NOT_NOW and hdrs.RETRY_AFTER in answer.headers:
                return "refused", ""
            failure = exchange.failure_of(
                answer.status, body, retry_after=hdrs.RETRY_AFTER in answer.headers
            )
        if failure.startswith(exchange.REFUSED):
            return "refused", ""
        task = exchange.task_of(body)
        identity = task.get("id") if task and not failure else None
        return ("acknowledged", identity) if isinstance(identity, str) else ("failed", "")

    async def _ask_control(self, message: str, _number: int) -> tuple[str, str]:
        told = await control_store.acknowledged(self._control_port, message)
        return ("acknowledged" if told else "maybe"), ""
