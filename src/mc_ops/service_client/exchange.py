"""One A2A exchange of a load: what is asked, how the answer is read, whether it is served.

A2A 1.0 JSON-RPC by raw JSON, since the cost of a canary's or a drill's own driver is part of what it
measures. Sending and timing are the driver's.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Any

from mc_contract.governance import GOVERNANCE_URI, RATE_LIMITED_CODE

if TYPE_CHECKING:
    import aiohttp

COMPLETED = "TASK_STATE_COMPLETED"
BEGUN = ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING", COMPLETED)
_ENDED = {COMPLETED, "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED"}
# What a state may look like to be told on: it is the candidate's word, and goes to a terminal
_STATE = re.compile(r"TASK_STATE_[A-Z_]{1,40}")
_ORDERS = tuple(f"O-{number}" for number in range(2001, 2011))
_MOST_BYTES = 1024 * 1024  # of an answer; those to the canary's questions have about 1 KiB
TOO_LARGE = f"answer over {_MOST_BYTES} bytes"
# What `json.loads` raises: a candidate may nest deeper than Python follows
UNREADABLE = (ValueError, RecursionError)
_LARGEST_CODE = 2**31  # a longer number tells nobody anything, and would fill the report
_NO_TASK = "answer without a task"
REFUSED = "refused: "  # how failures begin of what was not served now, and may be asked again
_NOT_NOW = (429, 503)
_MARK = "00000000-0000-0000-0000-000000000000"


def headers(token: str) -> dict[str, str]:
    """Headers of every request; the token is a tenant's bearer token."""
    return {
        "Authorization": f"Bearer {token}",
        "A2A-Version": "1.0",
        "Content-Type": "application/json",
    }


def send_message(parts: list[dict[str, Any]], governance: dict[str, str]) -> dict[str, Any]:
    """A `SendMessage` call with fresh ids; the message id is the platform's idempotency key."""
    return {
        "jsonrpc": "2.0",
        "id": str(uuid.uuid4()),
        "method": "SendMessage",
        "params": {
            "message": {
                "messageId": str(uuid.uuid4()),
                "role": "ROLE_USER",
                "parts": parts,
                "metadata": {GOVERNANCE_URI: governance},
                "extensions": [GOVERNANCE_URI],
            }
        },
    }


class Questions:
    """Questions as ready-made bodies: only the ids are filled in per request."""

    def __init__(self) -> None:
        self._halves = []
        for call in self._calls():
            call["id"] = call["params"]["message"]["messageId"] = _MARK
            self._halves.append([part.encode() for part in json.dumps(call).split(_MARK)])

    def _calls(self) -> list[dict[str, Any]]:
        governance = {"agent": "records", "purpose": "support", "residency": "eu"}
        return [
            send_message([{"text": f"What is the status of order {order}?"}], governance)
            for order in _ORDERS
        ]

    def body(self, number: int) -> bytes:
        """The request body for the pair `number`; a fresh id each time."""
        return self.body_with(str(uuid.uuid4()), number)

    def body_with(self, message_id: str, number: int) -> bytes:
        """The request body of question `number`, as the message of that id."""
        return message_id.encode().join(self._halves[number % len(self._halves)])


class Orders(Questions):
    """Likewise of an operation of the sample tenants, `place-order`; its end is not waited for."""

    def _calls(self) -> list[dict[str, Any]]:
        data = {"item": "widget", "quantity": 1, "customer": "C-1001", "amount_cents": 1200}
        call = send_message(
            [{"data": {**data, "address_ref": "A-1"}}],
            {"operation": "place-order", "purpose": "fulfilment"},
        )
        call["params"]["configuration"] = {"returnImmediately": True}
        return [call]


class AnswerTooLarge(Exception):
    """An answer would not end; the rest was not read."""


async def body_of(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body; a candidate under test must not fill the memory of who tests it.

    Raises:
        AnswerTooLarge: over 1 MiB, decompressed.
        aiohttp.ClientError: the connection broke.
    """
    parts, size = [], 0  # joined once: a body in a thousand pieces must not stop the clock
    async for chunk in answer.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > _MOST_BYTES:
            raise AnswerTooLarge(TOO_LARGE)
    return b"".join(parts)


def task_of(body: bytes) -> dict[str, Any] | None:
    """The task in a JSON-RPC answer of `SendMessage` or `GetTask`; None when there is none."""
    try:
        answer = json.loads(body)
    except UNREADABLE:
        return None
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict):
        return None
    task = result.get("task", result)
    return task if isinstance(task, dict) and isinstance(task.get("status"), dict) else None


def state_of(task: dict[str, Any]) -> str:
    """The task's state, empty when it has none."""
    state = task["status"].get("state")
    return state if isinstance(state, str) else ""


def state_shown(task: dict[str, Any]) -> str:
    """The state to tell people; what is none is only called so."""
    state = state_of(task)
    return state if _STATE.fullmatch(state) else "without a known state"


def has_ended(task: dict[str, Any]) -> bool:
    """Whether the task will not change any more."""
    return state_of(task) in _ENDED


def outcome_of(task: dict[str, Any]) -> str:
    """How an operation ended (`completed`, `compensated`, `stuck`); empty when it does not say."""
    metadata = task.get("metadata")
    governance = metadata.get(GOVERNANCE_URI) if isinstance(metadata, dict) else None
    outcome = governance.get("outcome") if isinstance(governance, dict) else None
    return outcome if isinstance(outcome, str) else ""


def failure_of(status: int, body: bytes, *, retry_after: bool = False) -> str:
    """Why an answer does not count as served, as a short name for counting; empty when it does.

    Served is: HTTP 200 and a completed task. Refused is: 429, 503 or JSON-RPC -32051 that tells
    when to come again (`retry_after`).
    """
    if status != 200:
        return f"{REFUSED if retry_after and status in _NOT_NOW else ''}http {status}"
    task = task_of(body)
    if task is None:
        code = error_code(body)
        return f"{REFUSED if retry_after and code == str(RATE_LIMITED_CODE) else ''}json-rpc {code}"
    return "" if state_of(task) == COMPLETED else f"task {state_shown(task)}"


def error_code(body: bytes) -> str:
    """The code of a JSON-RPC error, or that the answer has neither a task nor a usable code."""
    try:
        code = int(json.loads(body)["error"]["code"])
    except (*UNREADABLE, TypeError, KeyError, OverflowError):  # 1e999 is infinite
        return _NO_TASK
    return str(code) if abs(code) <= _LARGEST_CODE else _NO_TASK
