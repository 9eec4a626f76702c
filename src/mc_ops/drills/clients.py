"""The load of a drill: each tenant's requests, open loop, and what its client was told of each.

A request is due whatever became of those before it, and its times count from when it was due: a
platform that stands still cannot hide by making its clients wait. Each is a question or an
operation, which the platform records before it answers.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp import hdrs

from mc_contract.drill import CONTROL, Request
from mc_ops.drills.plan import REQUEST_TIMEOUT_S, Plan
from mc_ops.outgoing import sessions
from mc_ops.service_client import exchange

_KEEP_ALIVE_S = 4.0
_TURN_S = 1.0  # for an answer of one region, before the next is asked
_AVOIDED_S = 1.0  # a region that did not answer is asked last for so long
_NOT_NOW = (429, 503)
_SERVED = (exchange.COMPLETED,)
_WORSE = ("failed", "refused", "maybe")  # of several tries: what may be there is no refusal
Ask = Callable[[str, int], Awaitable[tuple[str, str, str]]]
"""Send the message of that id, as the request of that number: outcome, task or '', region or ''."""


class Clients:
    """The clients of one drill; `rows` is what they know so far, in order of outcome.

    A client knows where each region answers, asks the first, and the next one with the same message
    if it gets no acknowledgement there.

    Args:
        urls: Where regions answer, by name, in the order in which they are asked.
        plan: Whose clients they are, and how often they ask.
        control: Asks the control with a message's id; whether it acknowledged it.
        spread: Begin with each region in turn, rather than always with the first.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        plan: Plan,
        control: Callable[[str], Awaitable[bool]],
        *,
        spread: bool = False,
    ) -> None:
        self._urls = {name: f"{url}/a2a" for name, url in urls.items()}
        self._plan, self._control, self._spread = plan, control, spread
        self._bodies = {False: exchange.Questions(), True: exchange.Orders()}
        self._avoided_until: dict[str, float] = {}
        self._ended = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.rows: list[Request] = []

    def now(self) -> float:
        """Seconds since the drill began; any thread may ask."""
        return self._loop.time() - self._began

    def stop(self) -> None:
        """Send nothing more; what is under way ends."""
        self._ended.set()

    async def told(self) -> None:
        """Return when all that was sent before has ended, and `rows` has it.

        An answer may have left the platform that no client has read when the platform is already dead.
        """
        if self._under_way:
            await asyncio.wait(set(self._under_way))

    async def run(self) -> None:
        """Send until `stop` is called, and return when the last request has ended."""
        plan = self._plan
        async with asyncio.TaskGroup() as group:
            for number, (tenant, token) in enumerate(plan.tokens.items()):
                share = number / (len(plan.tokens) + 1)
                group.create_task(self._tenant(tenant, token, share, operation=False))
                if tenant in plan.operating:
                    group.create_task(self._tenant(tenant, token, share, operation=True))
            control = self._send((CONTROL, False), self._ask_control, plan.rate_per_s, 0.0)
            group.create_task(control)

    async def _tenant(self, tenant: str, token: str, share: float, *, operation: bool) -> None:
        rate_per_s = self._plan.operations_per_s if operation else self._plan.rate_per_s
        session = sessions.open_session(keepalive_s=_KEEP_ALIVE_S, headers=exchange.headers(token))

        async def ask(message: str, number: int) -> tuple[str, str, str]:
            return await self._ask(session, message, number, operation=operation)

        async with session:
            await self._send((tenant, operation), ask, rate_per_s, share / rate_per_s)

    async def _send(
        self, stream: tuple[str, bool], ask: Ask, rate_per_s: float, late_s: float
    ) -> None:
        running: set[asyncio.Task[None]] = set()
        number = 0
        while not self._ended.is_set():
            due_s = late_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - self.now()))
            task = asyncio.create_task(self._one(stream, ask, number, due_s))
            for those in (running, self._under_way):
                those.add(task)
                task.add_done_callback(those.discard)
            number += 1
        if running:
            await asyncio.gather(*running)

    async def _one(self, stream: tuple[str, bool], ask: Ask, number: int, due_s: float) -> None:
        message = str(uuid.uuid4())
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                outcome, task, region = await ask(message, number)
        except (TimeoutError, aiohttp.ClientError, OSError, exchange.AnswerTooLarge) as error:
            outcome, task, region = _without(error), "", ""
        times = round(due_s, 6), round(self.now(), 6)
        tenant, operation = stream
        self.rows.append(
            Request(tenant, message, *times, outcome, task, operation=operation, region=region)
        )

    async def _ask(
        self, session: aiohttp.ClientSession, message: str, number: int, *, operation: bool
    ) -> tuple[str, str, str]:
        body = self._bodies[operation].body_with(message, number)
        worst = "failed"
        *others, last = self._turns(number)
        for region in (*others, last):
            try:
                async with asyncio.timeout(None if region == last else _TURN_S):
                    outcome, task = await self._exchange(
                        session, self._urls[region], body, exchange.BEGUN if operation else _SERVED
                    )
            except (TimeoutError, aiohttp.ClientError, OSError, exchange.AnswerTooLarge) as error:
                outcome, task = _without(error), ""
                self._avoided_until[region] = self.now() + _AVOIDED_S
            if outcome == "acknowledged":
                return outcome, task, region
            worst = max(worst, outcome, key=_WORSE.index)
        return worst, "", ""

    def _turns(self, number: int) -> list[str]:
        regions = list(self._urls)
        at = number % len(regions) if self._spread else 0
        now_s = self.now()
        return sorted(
            regions[at:] + regions[:at],
            key=lambda region: self._avoided_until.get(region, 0.0) > now_s,
        )

    async def _exchange(
        self, session: aiohttp.ClientSession, url: str, body: bytes, served: tuple[str, ...]
    ) -> tuple[str, str]:
        async with session.post(url, data=body, allow_redirects=False) as answer:
            content = await exchange.body_of(answer)
            comes_again = hdrs.RETRY_AFTER in answer.headers
            if answer.status in _NOT_NOW and comes_again:
                return "refused", ""
            failure = exchange.failure_of(answer.status, content, retry_after=comes_again)
        if failure.startswith(exchange.REFUSED):
            return "refused", ""
        task = exchange.task_of(content)
        identity = task.get("id") if task and exchange.state_of(task) in served else None
        return ("acknowledged", identity) if isinstance(identity, str) else ("failed", "")

    async def _ask_control(self, message: str, _number: int) -> tuple[str, str, str]:
        return ("acknowledged" if await self._control(message) else "maybe"), "", ""


def _without(error: BaseException) -> str:
    """What is known of a request without an answer: it never left, or it may be there."""
    refused = isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError)
    return "failed" if refused else "maybe"
