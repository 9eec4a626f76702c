"""Clients that send a mix of work, never give up early, and keep every acknowledgement.

A client behaves as a careful one does: each request has a message id of its own, and after a
broken connection, a timeout, a 5xx or a retryable error it sends the *same* message again, until
it gets a definite answer. An acknowledgement is one of

- a JSON-RPC result: the task with its id and state, so the request was accepted;
- a refusal by policy with its decision's id;
- the task as it stands after a cancel.

Acknowledgements are appended to a file at once: what was promised must not be lost with the
harness. No acknowledgement is ever taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from mc_contract.governance import GOVERNANCE_URI, POLICY_DENIED_CODE

TENANTS = ("TENANT_001", "TENANT_002")
_ATTEMPT_S = 8.0
_PATIENCE_S = 90.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 1.5


class Kind(StrEnum):
    """What a client asks for."""

    question = "question"
    order = "order"
    doomed_order = "doomed order"
    background_order = "background order"
    cancelled_order = "cancelled order"
    forbidden_question = "forbidden question"


_MIX = {
    Kind.question: 45,
    Kind.order: 24,
    Kind.doomed_order: 11,
    Kind.background_order: 8,
    Kind.cancelled_order: 5,
    Kind.forbidden_question: 7,
}


class Promise(StrEnum):
    """What an answer promised."""

    accepted = "accepted"
    refused = "refused"
    cancel_taken = "cancel taken"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One definite answer.

    Attributes:
        subject: The task's id; for a refusal the decision's.
        state: The task's state in that answer; empty for a refusal.
        outcome: The operation's outcome in that answer; empty if it told none.
        attempts: How often the message was sent.
        at: Unix seconds.
    """

    promise: Promise
    kind: Kind
    tenant: str
    message_id: str
    subject: str
    state: str
    outcome: str
    attempts: int
    at: float


@dataclass(frozen=True, slots=True)
class Work:
    """One request that a client sends, as often as it takes."""

    kind: Kind
    tenant: str
    message_id: str
    params: Mapping[str, Any]
    cancel_after_s: float | None = None


class Load:
    """Keeps clients busy; `started`, `unanswered` and `faults_met` count what they met.

    Args:
        url: Where requests go.
        tokens: Bearer token by tenant.
        journal: Acknowledgements, a JSON object in each line.
        rate_per_s: Requests begun in a second, by all clients together, at most.
        clients: Requests under way at once, at most.
        seed: Fixes the sequence of each client's requests.
        attempt_s: How long a client waits for an answer before it counts as a fault.
    """

    def __init__(
        self,
        *,
        url: str,
        tokens: Mapping[str, str],
        journal: Path,
        rate_per_s: float,
        clients: int,
        seed: int,
        attempt_s: float = _ATTEMPT_S,
    ) -> None:
        self._url = url
        self._attempt_s = attempt_s
        self._tokens = tokens
        self._journal = journal.open("a", encoding="utf-8")
        self._pause_s = clients / rate_per_s
        self._clients = clients
        self._seed = seed
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self.acknowledged: list[Acknowledgement] = []
        self.started: Counter[Kind] = Counter()
        self.unanswered: list[Work] = []
        self.faults_met: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to send."""
        timeout = aiohttp.ClientTimeout(total=self._attempt_s)
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        self._tasks = [asyncio.create_task(self._client(n)) for n in range(self._clients)]

    async def stop(self) -> None:
        """Begin nothing new, and wait until everything begun has its definite answer."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Break off whatever is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        self._journal.close()

    async def send(self, work: Work, url: str | None = None) -> Acknowledgement | None:
        """Send one request until it has a definite answer; None when patience has an end.

        Args:
            work: The request.
            url: Another address than the edge's.
        """
        call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": dict(work.params)}
        self.started[work.kind] += 1
        found = await self._insist(work, call, url or self._url)
        if found is None:
            self.unanswered.append(work)
        return found

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self._seed}/client/{number}")
        await asyncio.sleep(rng.uniform(0, self._pause_s))
        while not self._stopping.is_set():
            due = time.monotonic() + self._pause_s * rng.uniform(0.5, 1.5)
            work = some_work(rng)
            answer = await self.send(work)
            if answer is not None and work.cancel_after_s is not None:
                await asyncio.sleep(work.cancel_after_s)
                await self._cancel(work, answer.subject)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(0.0, due - time.monotonic()))

    async def _cancel(self, work: Work, task_id: str) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "CancelTask", "params": {"id": task_id}}
        await self._insist(work, call, self._url, cancel_of=task_id)

    async def _insist(
        self, work: Work, call: Mapping[str, Any], url: str, *, cancel_of: str = ""
    ) -> Acknowledgement | None:
        deadline = time.monotonic() + _PATIENCE_S
        wait_s = _FIRST_WAIT_S
        attempts = 0
        while time.monotonic() < deadline:
            attempts += 1
            body = await self._attempt(work.tenant, call, url)
            if body is not None:
                found = _read(work, body, attempts, cancelling=bool(cancel_of))
                if found is not None:
                    self._keep(found)
                    return found
                if cancel_of and "error" in body:
                    return None  # it has ended already, which is no promise
                self.faults_met[_error_name(body)] += 1
            # A client that found one address dead asks the platform's, as a user would.
            url = self._url
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        return None

    async def _attempt(
        self, tenant: str, call: Mapping[str, Any], url: str
    ) -> dict[str, Any] | None:
        assert self._session is not None
        headers = {"A2A-Version": "1.0", "Authorization": f"Bearer {self._tokens[tenant]}"}
        try:
            async with self._session.post(f"{url}/a2a", json=call, headers=headers) as response:
                if response.status != 200:
                    self.faults_met[f"HTTP {response.status}"] += 1
                    return None
                body = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.faults_met[type(error).__name__] += 1
            return None
        return body if isinstance(body, dict) else None

    def _keep(self, found: Acknowledgement) -> None:
        self.acknowledged.append(found)
        self._journal.write(json.dumps(asdict(found)) + "\n")
        self._journal.flush()


def some_work(rng: random.Random) -> Work:
    """The next request of a client."""
    kind = rng.choices(list(_MIX), weights=list(_MIX.values()))[0]
    tenant = rng.choice(TENANTS)
    message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    if kind is Kind.question:
        return question(
            tenant, message_id, f"What is the status of order O-20{rng.randint(1, 40):02}?"
        )
    if kind is Kind.forbidden_question:
        text = "What is the status of order O-2001?"
        return question(tenant, message_id, text, purpose="marketing", kind=kind)
    delay_s = rng.choice((0, 0.05, 0.1, 0.3))
    background = kind in (Kind.background_order, Kind.cancelled_order)
    cancel_after_s = rng.uniform(0, 0.6) if kind is Kind.cancelled_order else None
    item = "unbookable" if kind is Kind.doomed_order else "widget"
    return order(
        tenant,
        message_id,
        kind=kind,
        item=item,
        delay_s=delay_s,
        background=background,
        cancel_after_s=cancel_after_s,
    )


def question(
    tenant: str,
    message_id: str,
    text: str,
    *,
    purpose: str = "support",
    kind: Kind = Kind.question,
) -> Work:
    """A question that is forwarded to the sample agent `records`, or refused by policy."""
    governance = {"agent": "records", "purpose": purpose}
    params = {"message": _message(message_id, {"text": text}, governance)}
    return Work(kind, tenant, message_id, params)


def order(
    tenant: str,
    message_id: str,
    *,
    kind: Kind = Kind.order,
    item: str = "widget",
    delay_s: float = 0.0,
    background: bool = False,
    cancel_after_s: float | None = None,
) -> Work:
    """`place-order`: three steps of `delay_s` each; `unbookable` fails at the third."""
    data = {
        "item": item,
        "quantity": 1,
        "customer": "C-1001",
        "amount_cents": 1200,
        "address_ref": "A-1",
        "delay_s": delay_s,
    }
    governance = {"operation": "place-order", "purpose": "fulfilment"}
    params: dict[str, Any] = {"message": _message(message_id, {"data": data}, governance)}
    if background:
        params["configuration"] = {"returnImmediately": True}
    return Work(kind, tenant, message_id, params, cancel_after_s)


def _message(
    message_id: str, part: Mapping[str, Any], governance: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "role": "ROLE_USER",
        "parts": [part],
        "metadata": {GOVERNANCE_URI: governance},
    }


def _read(
    work: Work, body: Mapping[str, Any], attempts: int, *, cancelling: bool
) -> Acknowledgement | None:
    """What an answer promises; None when the same message is to be sent again."""
    result, error = body.get("result"), body.get("error")
    if isinstance(result, dict):
        task = result.get("task", result)
        governance = (task.get("metadata") or {}).get(GOVERNANCE_URI, {})
        return Acknowledgement(
            promise=Promise.cancel_taken if cancelling else Promise.accepted,
            kind=work.kind,
            tenant=work.tenant,
            message_id=work.message_id,
            subject=str(task["id"]),
            state=str(task["status"]["state"]),
            outcome=str(governance.get("outcome", "")),
            attempts=attempts,
            at=time.time(),
        )
    if isinstance(error, dict) and error.get("code") == POLICY_DENIED_CODE and not cancelling:
        return Acknowledgement(
            promise=Promise.refused,
            kind=work.kind,
            tenant=work.tenant,
            message_id=work.message_id,
            subject=_found(error, "decisionId"),
            state="",
            outcome="",
            attempts=attempts,
            at=time.time(),
        )
    if not cancelling and (ended := _found(error, "taskId")):  # sent again, it ends so again
        return Acknowledgement(
            promise=Promise.accepted,
            kind=work.kind,
            tenant=work.tenant,
            message_id=work.message_id,
            subject=ended,
            state="TASK_STATE_FAILED",
            outcome="",
            attempts=attempts,
            at=time.time(),
        )
    return None


def _error_name(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return f"JSON-RPC {code}"


def _found(value: Any, key: str) -> str:
    """The first text under `key`, however deep: where the SDK puts error data is its affair."""
    if isinstance(value, dict):
        if isinstance(value.get(key), str):
            return str(value[key])
        value = list(value.values())
    if isinstance(value, list):
        return next(filter(None, (_found(item, key) for item in value)), "")
    return ""
