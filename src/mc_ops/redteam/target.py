"""The platform under attack, over real HTTP: requests and what came back to them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from mc_contract.governance import (
    AUTONOMY_HALTED_CODE,
    CONFLICT_CODE,
    GOVERNANCE_URI,
    POLICY_DENIED_CODE,
)
from mc_ops.errors import CouldNotTell
from mc_ops.outgoing.clients import open_async_client
from mc_ops.redteam.case import Answer, Ask

INPUT_CHECK = "input check"
_TIMEOUT_S = 30.0
_CONTROLS: Mapping[Any, str] = {
    POLICY_DENIED_CODE: "policy",
    CONFLICT_CODE: "idempotency",
    AUTONOMY_HALTED_CODE: "autonomy switch",
    -32602: INPUT_CHECK,
    "bad-request": INPUT_CHECK,
    -32001: "tenant isolation",  # A2A: no such task; whether it is another's is not told
    "policy-denied": "policy",
    "privacy-budget-spent": "privacy budget",
    "conflict": "idempotency",
    "not-found": "tenant isolation",
}


class Target:
    """One platform, and the credentials of those who attack it.

    Args:
        url: Where its edge is.
        tokens: A bearer token for each tenant or role by name.
        agent_url: The sample agent that can be made to say anything; None: replies cannot be
            planted, and the cases that need them are invalid.
    """

    def __init__(self, url: str, *, tokens: Mapping[str, str], agent_url: str | None) -> None:
        self.url = url.rstrip("/")
        self._tokens = tokens
        self._agent_url = agent_url
        self._http = open_async_client(timeout_s=_TIMEOUT_S, most_connections=64)
        self._contexts: dict[str, str] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @property
    def tenants(self) -> list[str]:
        """Whose credentials are there."""
        return sorted(self._tokens)

    async def health(self) -> dict[str, Any]:
        """What `/health` says.

        Raises:
            CouldNotTell: nothing, or nothing that can be read.
        """
        try:
            told = (await self._http.get(f"{self.url}/health")).json()
        except (httpx.HTTPError, ValueError) as error:
            raise CouldNotTell(
                f"{self.url} does not answer ({type(error).__name__})",
                hint="is it running? mcctl status",
            ) from error
        return told if isinstance(told, dict) else {}

    async def plant(self, replies: Mapping[str, Any]) -> None:
        """Make the sample agent answer so when a key is named.

        Raises:
            CouldNotTell: it does not take it.
        """
        if self._agent_url is None:
            return
        try:
            answer = await self._http.post(f"{self._agent_url}/plant", json={"replies": replies})
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise CouldNotTell(
                f"the sample agent at {self._agent_url} takes no planted replies"
                f" ({type(error).__name__})",
                hint="`mcctl up` starts one that does; --agent-url names another",
            ) from error

    async def tells(self, key: str, reply: Sequence[Any]) -> bool:
        """Whether the agent, asked without the platform, answers with what was planted."""
        if self._agent_url is None:
            return True
        parts = [{"text": f"Reference [[plant:{key}]]."}]
        message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": parts}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        try:
            answer = await self._http.post(
                f"{self._agent_url}/", json=body, headers={"A2A-Version": "1.0"}
            )
            told = answer.json()
        except (httpx.HTTPError, ValueError):
            return False
        result = told.get("result") if isinstance(told, dict) else None
        return set(strings({"parts": list(reply)})) <= set(strings(result))

    async def ask(self, ask: Ask, key: str, task: str = "") -> Answer:
        """Send one request.

        Args:
            key: Names the reply that was planted for it.
            task: What `{task}` in its body stands for.
        """
        if ask.reply and self._agent_url is None:
            return Answer(0, "", problem="no agent that could be made to say this")
        request = self._request(ask, key, task)
        began = time.perf_counter()
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            return Answer(0, "", problem=type(error).__name__)
        taken_s = time.perf_counter() - began
        answer = read_answer(response.status_code, response.text, ask)
        return replace(answer, taken_s=taken_s, headers="\n".join(response.headers.values()))

    def _request(self, ask: Ask, key: str, task: str) -> httpx.Request:
        token = _spoilt(self._tokens.get(ask.tenant, ""), ask.corrupt)
        headers = {"A2A-Version": "1.0", "Authorization": f"Bearer {token}", **ask.headers}
        if ask.path:
            body = None
            if ask.method != "GET":
                body = json.loads(json.dumps(ask.body).replace("{task}", task))
            return self._http.build_request(
                ask.method, f"{self.url}{ask.path}", json=body, headers=headers
            )
        parts: list[Any] = list(ask.parts)
        if ask.reply:
            parts.append({"text": f"Reference [[plant:{key}]]."})
        message: dict[str, Any] = {
            "messageId": ask.message_id or str(uuid.uuid4()),
            "role": "ROLE_USER",
            "parts": parts,
            "metadata": {GOVERNANCE_URI: {"purpose": "support", **ask.governance}},
        }
        if ask.conversation:
            message["contextId"] = self._contexts.setdefault(ask.conversation, str(uuid.uuid4()))
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "SendStreamingMessage" if ask.stream else "SendMessage",
            "params": {"message": message},
        }
        return self._http.build_request("POST", f"{self.url}/a2a", json=body, headers=headers)

    async def metrics(self) -> str:
        """What `/metrics` says; empty if it says nothing."""
        try:
            answer = await self._http.get(f"{self.url}/metrics")
        except httpx.HTTPError:
            return ""
        return answer.text if answer.status_code == 200 else ""

    async def graphql(self, tenant: str, query: str) -> dict[str, Any] | None:
        """The data that GraphQL gives to a tenant; None if it gives none, or errors."""
        headers = {"Authorization": f"Bearer {self._tokens[tenant]}"}
        try:
            answer = await self._http.post(
                f"{self.url}/graphql", json={"query": query}, headers=headers
            )
            told = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        data = told.get("data") if isinstance(told, dict) and not told.get("errors") else None
        return data if isinstance(data, dict) else None


def read_answer(status: int, text: str, ask: Ask) -> Answer:
    """An answer, with the control that acted.

    What only says that something failed is no control: a status of 5xx, a time-out, a 404 of a
    route, a 401 for a credential that is good, a request that was not understood.
    """
    events = list(_objects(text))
    told = _governance(events)
    answer = Answer(
        status,
        text,
        reply=tuple(strings([event.get("result") for event in events])),
        task=_task_id(events),
    )
    if ask.corrupt and status in (401, 429):  # guessing is limited for each address
        return replace(answer, control="credential", refusal=True)
    if status == 401:
        return replace(answer, problem="HTTP 401")
    for error in (event["error"] for event in events if isinstance(event.get("error"), dict)):
        control = _CONTROLS.get(error.get("code"))
        if control is None:
            return replace(answer, problem=f"error {str(error.get('code'))[:40]}")
        reason = _why(error) if control == "policy" else ""
        return replace(answer, control=f"{control}{reason and ': '}{reason[:120]}", refusal=True)
    if status == 400 and any(isinstance(event.get("errors"), list) for event in events):
        return replace(answer, problem="error 400")  # GraphQL's own: the query was not understood
    if status != 200:
        return replace(answer, problem=f"HTTP {status}")
    if told.get("redacted"):
        return replace(answer, control=f"redacted: {', '.join(sorted(told.get('labels', [])))}")
    return answer


def _why(error: Mapping[str, Any]) -> str:
    """Policy's reason: in A2A's error details, or in our own error's message."""
    for detail in error.get("data") or ():
        told = detail.get("metadata") if isinstance(detail, dict) else None
        if isinstance(told, dict) and "why" in told:
            return str(told["why"])
    return str(error.get("message", ""))


def _task_id(events: Sequence[Mapping[str, Any]]) -> str:
    for event in events:
        result = event.get("result")
        task = result.get("task") if isinstance(result, dict) else None
        if isinstance(task, dict) and isinstance(task.get("id"), str):
            return str(task["id"])
    return ""


def _spoilt(token: str, how: str) -> str:
    if how == "flip" and token:
        last = "A" if token[-1] != "A" else "B"
        return token[:-1] + last
    if how == "cut":
        return token[:-6]
    if how == "unknown-key" and token.count("_") >= 2:
        head, key_id, secret = token.split("_", 2)
        return f"{head}_{key_id[::-1]}_{secret}"
    if how == "other-secret" and token.count("_") >= 2:
        head, key_id, secret = token.split("_", 2)
        return f"{head}_{key_id}_{secret[::-1]}"
    return token


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a body: one, or one for each `data:` line of a stream."""
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    for piece in lines or [text]:
        try:
            value = json.loads(piece)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _governance(value: Any) -> dict[str, Any]:
    """The last governance metadata that stands anywhere in it."""
    found: dict[str, Any] = {}
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            told = here.get(GOVERNANCE_URI)
            if isinstance(told, dict) and ("redacted" in told or not found):
                found = told
            stack += list(here.values())
        elif isinstance(here, list):
            stack += here
    return found


def strings(value: Any) -> Iterator[str]:
    """Texts and data of all `parts` in it, keys among them."""
    stack = [value]
    while stack:
        here = stack.pop(0)
        if isinstance(here, dict):
            if isinstance(here.get("parts"), list):
                yield from _leaves(here["parts"])
            stack += [inner for key, inner in here.items() if key not in ("parts", "metadata")]
        elif isinstance(here, list):
            stack += here


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
