"""A message that is sent again is answered as it was the first time, whatever became of it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.mc_platform.receive.test_exact_values import Gateway, Permissive, open_gateway

from mc_platform.errors import AgentFailed, Overdue
from mc_platform.model.verdict import Action, Decision

_OLD = {"SendMessage": "message/send", "SendStreamingMessage": "message/stream"}
_PATHS = {"SendMessage": "/v1/message:send", "SendStreamingMessage": "/v1/message:stream"}


async def _failing(gateway: Gateway, error: Exception) -> None:
    async def ask(**_: Any) -> Any:
        raise error

    gateway.agent.ask = ask  # type: ignore[method-assign]


async def _sent(gateway: Gateway, binding: str, method: str, message_id: str) -> tuple[str, str]:
    """How a message ended: the error's code or reason, and the task that it names."""
    old = binding == "0.3"
    part = {"kind": "text", "text": "hello"} if old else {"text": "hello"}
    message = {"messageId": message_id, "role": "user" if old else "ROLE_USER", "parts": [part]}
    body: dict[str, Any] = {"message": message}
    path = _PATHS[method]
    if binding != "HTTP+JSON":
        path, name = "/a2a", _OLD[method] if old else method
        body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": body}
    answer = await gateway.http.post(
        path, json=body, headers={"A2A-Version": "0.3" if old else "1.0"}
    )
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        *before, text = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        assert len(before) == 1  # the task, as it stands
    error = json.loads(text)["error"]
    data = error.get("data") or error["details"]
    if isinstance(data, list):
        [data] = [one["metadata"] for one in data]
    return str(error["code"]), data["taskId"]


@pytest.mark.parametrize("binding", ["1.0", "0.3", "HTTP+JSON"])
@pytest.mark.parametrize(
    ("error", "code", "status", "state"),
    [
        (AgentFailed("it is away"), -32006, 502, "FAILED"),
        (Overdue("it took too long"), -32052, 503, "FAILED"),
        (RuntimeError("a fault of ours"), -32603, 500, "FAILED"),
        (None, -32050, 403, "REJECTED"),
    ],
    ids=["agent", "overdue", "crash", "withheld"],
)
async def test_a_repeat_of_what_failed_fails_alike(
    binding: str,
    error: Exception | None,
    code: int,
    status: int,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By each method the same error, which names the task; the task itself can be read."""
    if error is None:
        permit = Permissive.decide

        def decide(self: Any, question: Any) -> Decision:
            if question.action is Action.release_reply:
                return Decision("dec-1", False, question.action, (), "no policy permits it", "d")
            return permit(self, question)

        monkeypatch.setattr(Permissive, "decide", decide)
    with capture_logs() as logged:  # structlog's own rendering of a traceback takes a minute
        await _story(binding, error, str(status if binding == "HTTP+JSON" else code), state)
    crashed = isinstance(error, RuntimeError)
    assert ("request_crashed" in {line["event"] for line in logged}) is crashed


async def _story(binding: str, error: Exception | None, wanted: str, state: str) -> None:
    async with open_gateway() as gateway:
        if error is not None:
            await _failing(gateway, error)
        for methods in (["SendMessage"] * 2, ["SendStreamingMessage", "SendMessage"]):
            message_id = str(uuid.uuid4())
            told = [await _sent(gateway, binding, one, message_id) for one in methods]
            streamed = await _sent(gateway, binding, "SendStreamingMessage", message_id)
            assert {one[0] for one in [*told, streamed]} == {wanted}
            [task_id] = {one[1] for one in [*told, streamed]}
            task = await gateway.rpc("GetTask", {"id": task_id})
            assert task["status"]["state"] == f"TASK_STATE_{state}"
