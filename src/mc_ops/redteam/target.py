"""The platform under attack, over real HTTP: requests and what came back to them."""

from __future__ import annotations

import json
import re
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
from mc_ops.redteam.case import Answer, Ask, Part, rpc, says

INPUT_CHECK = "input check"
_TIMEOUT_S = 30.0
_STREAM_LINE = re.compile(r"\r\n|\r|\n")  # and no U+2028, which JSON may hold bare
_A2A = {"A2A-Version": "1.0"}
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
        reader: A bearer token for `/metrics`, where strangers may not read it.
        agent_url: The sample agent that can be made to say anything; None: replies cannot be
            planted, and the cases that need them are invalid.
    """

    def __init__(
        self,
        url: str,
        *,
        tokens: Mapping[str, str],
        agent_url: str | None,
        reader: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._tokens = tokens
        self._reader = {"Authorization": f"Bearer {reader}"} if reader else {}
        self._agent_url = agent_url
        self._http = open_async_client(timeout_s=_TIMEOUT_S, most_connections=64)
        self._contexts: dict[str, str] = {}

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def tenants(self) -> list[str]:
        return sorted(self._tokens)

    async def health(self) -> dict[str, Any]:
        """What `/health` says.

        Raises:
            CouldNotTell: nothing, or nothing that can be read.
        """
        try:
            return await self._object("GET", f"{self.url}/health")
        except (httpx.HTTPError, ValueError) as error:
            raise CouldNotTell(
                f"{self.url} does not answer ({type(error).__name__})",
                hint="is it running? mcctl status",
            ) from error

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
        body = rpc("SendMessage", message=_message(_calling_up(key)))
        try:
            told = await self._object("POST", f"{self._agent_url}/", json=body, headers=_A2A)
        except (httpx.HTTPError, ValueError):
            return False
        return set(strings({"parts": list(reply)})) <= set(strings(told.get("result")))

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
        headers = {**_A2A, "Authorization": f"Bearer {token}", **ask.headers}
        body: Any = None
        if not ask.path:
            message = _message([*ask.parts, *(_calling_up(key) if ask.reply else ())])
            message["messageId"] = ask.message_id or message["messageId"]
            message["metadata"] = {GOVERNANCE_URI: {"purpose": "support", **ask.governance}}
            if ask.conversation:
                talk = self._contexts.setdefault(ask.conversation, str(uuid.uuid4()))
                message["contextId"] = talk
            body = rpc("SendStreamingMessage" if ask.stream else "SendMessage", message=message)
        elif ask.method != "GET":
            body = json.loads(json.dumps(ask.body).replace("{task}", task))
        url = self.url + (ask.path or "/a2a")
        return self._http.build_request(ask.method, url, json=body, headers=headers)

    async def metrics(self) -> str:
        """What `/metrics` says; empty if it says nothing."""
        try:
            answer = await self._http.get(f"{self.url}/metrics", headers=self._reader)
        except httpx.HTTPError:
            return ""
        return answer.text if answer.status_code == 200 else ""

    async def graphql(self, tenant: str, query: str) -> dict[str, Any] | None:
        """The data that GraphQL gives to a tenant; None if it gives none, or errors."""
        headers = {"Authorization": f"Bearer {self._tokens[tenant]}"}
        try:
            told = await self._object(
                "POST", f"{self.url}/graphql", json={"query": query}, headers=headers
            )
        except (httpx.HTTPError, ValueError):
            return None
        data = None if told.get("errors") else told.get("data")
        return data if isinstance(data, dict) else None

    async def _object(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        told = (await self._http.request(method, url, **more)).json()
        return told if isinstance(told, dict) else {}


def _message(parts: Sequence[Part]) -> dict[str, Any]:
    return {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": list(parts)}


def _calling_up(key: str) -> tuple[Part, ...]:
    """What makes the sample agent answer with the reply that was planted under that key."""
    return says(f"Reference [[plant:{key}]].")


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
    if not token or not how:
        return token
    if how == "flip":
        return token[:-1] + ("B" if token[-1] == "A" else "A")
    if how == "cut":
        return token[:-6]
    head, _, rest = token.partition("_")  # a token of another form is spoilt all the same
    key_id, _, secret = rest.partition("_")
    if how == "unknown-key":
        return f"{head}_{key_id[::-1]}_{secret}"
    return f"{head}_{key_id}_{secret[::-1]}"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a body: one, or one for each `data:` line of a stream."""
    lines = [line[5:].strip() for line in _STREAM_LINE.split(text) if line.startswith("data:")]
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
