"""An agent's answer is taken only if it is one to what was asked, in the version it was asked in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.raw_peer import answer, raw_peer

from mc_platform.adapters import downstream_a2a
from mc_platform.adapters.downstream_a2a import A2ADownstream, is_a2a_part
from mc_platform.errors import AgentFailed
from mc_platform.model.ids import TenantId

ASKED, CONTEXT = "the-request", "the-conversation"
PARTS = [{"text": "fine"}]
MESSAGE = {"message": {"messageId": "x", "role": "ROLE_AGENT", "parts": PARTS}}
OLD_PARTS = [{"kind": "text", "text": "fine"}]
OLD_FILE = [{"kind": "file", "file": {"bytes": "YWJj", "name": "anna.txt"}}]


def a_task(state: str = "TASK_STATE_COMPLETED", parts: Any = PARTS, **more: Any) -> dict[str, Any]:
    """A result with a task of A2A 1.0."""
    artifacts = [{"artifactId": "a", "parts": parts}]
    return {"task": {"id": "t", "status": {"state": state}, "artifacts": artifacts, **more}}


def said(**changes: Any) -> dict[str, Any]:
    """A JSON-RPC answer to what is asked, but for the changes; None leaves a member out."""
    body = {"jsonrpc": "2.0", "id": ASKED, "result": MESSAGE} | changes
    return {key: value for key, value in body.items() if value is not None}


async def told(body: Any, *, content_type: str = "application/json", long: bool = False) -> Any:
    """What becomes of one question that is answered so; `long` has it read in a worker."""

    async def apart(_tenant: TenantId, work: Any, *args: Any) -> Any:
        return work(*args)

    raw = json.dumps(body).encode() + b" " * (20_000 if long else 0)
    with raw_peer(answer(raw, f"Content-Type: {content_type}")) as peer:
        client = A2ADownstream(apart=apart)
        try:
            return await client.ask(
                tenant=TenantId("TENANT_001"),
                url=peer.by_address,
                message_id=ASKED,
                context_id=CONTEXT,
                parts=[{"text": "hello"}],
                governance={},
                timeout_s=10,
            )
        finally:
            await client.close()


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (said(id="another"), "to another request"),
        (said(id=1), "to another request"),
        (said(id=None), "to another request"),
        ({**said(), "id": None}, "to another request"),
        (said(id=[ASKED]), "to another request"),
        (said(id=ASKED.upper()), "to another request"),
        (said(id="another", result=None, error={"code": -32603}), "to another request"),
        (said(jsonrpc=None), "no JSON-RPC 2.0"),
        (said(jsonrpc="1.0"), "no JSON-RPC 2.0"),
        (said(jsonrpc=2.0), "no JSON-RPC 2.0"),
        ([said()], "not a JSON-RPC object"),
        (said(result=a_task(contextId="anna's")), "of another conversation"),
        (said(result=a_task(contextId=5)), "of another conversation"),
        (said(result={"message": {**MESSAGE["message"], "contextId": "x"}}), "of another conv"),
        (
            said(
                result=a_task(
                    parts=[],
                    status={
                        "state": "TASK_STATE_COMPLETED",
                        "message": {"contextId": "x", "parts": PARTS},
                    },
                )
            ),
            "of another conversation",
        ),
        # An error of who could not read the request has no id to tell
        (
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32700}},
            "the agent answered JSON-RPC error -32700",
        ),
        (said(result=None, error={"code": -32000}), "the agent answered JSON-RPC error -32000"),
    ],
)
async def test_an_answer_to_something_else_is_the_agents_failure(body: Any, why: str, long: bool):
    """Another id, none, another form or conversation: refused as that, and nothing of it is told."""
    with pytest.raises(AgentFailed, match=why) as failed:
        await told(body, long=long)
    assert "anna" not in failed.value.message + failed.value.hint
    assert ("agent's owner" in failed.value.hint) is ("to another" in why or "of another" in why)


@pytest.mark.parametrize(
    "context", [{}, {"contextId": CONTEXT}, {"contextId": ""}, {"contextId": None}]
)
async def test_an_answer_to_what_was_asked_is_taken(context: dict[str, Any]):
    """The conversation may be left out, and members may be null."""
    assert await told(said(result=a_task(**context))) == tuple(PARTS)
    message = {"message": {**MESSAGE["message"], **context}}
    assert await told({**said(result=message), "error": None}) == tuple(PARTS)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    "result",
    [
        {"kind": "message", "messageId": "x", "role": "agent", "parts": OLD_PARTS},
        {
            "kind": "task",
            "id": "t",
            "contextId": CONTEXT,
            "status": {"state": "completed"},
            "artifacts": [{"artifactId": "a", "parts": OLD_PARTS}],
        },
        {"kind": "status-update", "taskId": "t", "status": {"state": "working"}, "final": False},
        {"kind": "artifact-update", "taskId": "t", "artifact": {"parts": OLD_PARTS}},
        a_task("completed"),
        a_task("input-required"),
        a_task("unknown"),
        a_task(parts=OLD_FILE),
        {"message": {"kind": "message", "parts": OLD_FILE}},
        {"message": {"parts": [{"kind": "data"}]}},
    ],
    ids=lambda result: json.dumps(result)[:40],
)
async def test_an_answer_in_a2a_0_3_is_refused_as_that_wherever_it_shows(result: Any, long: bool):
    """Message, task, events of a stream, a state, a part: one sentence names both versions."""
    with pytest.raises(AgentFailed) as failed:
        await told(said(result=result), long=long)
    assert failed.value.message == "the agent's reply is in A2A 0.3, and it was asked in 1.0"
    assert "serve A2A 1.0" in failed.value.hint


@pytest.mark.parametrize("code", [-32601, -32009])
async def test_an_agent_that_knows_no_1_0_method_is_told_which_version_to_serve(code: int):
    """An agent of 0.3 alone has no `SendMessage`."""
    with pytest.raises(AgentFailed, match=f"error {code}") as failed:
        await told(said(result=None, error={"code": code, "message": "anna"}))
    assert "serve A2A 1.0" in failed.value.hint


async def test_members_of_0_3_beside_what_1_0_needs_are_passed_over():
    """Agents that serve both write `kind` for a while; 1.0 has unknown members ignored."""
    result = {"kind": "task", **a_task(kind="task", parts=OLD_PARTS)}
    assert await told(said(result=result)) == tuple(OLD_PARTS)


@pytest.mark.parametrize("event", ["statusUpdate", "artifactUpdate"])
async def test_an_event_of_a_stream_is_no_answer_to_a_message(event: str):
    """1.0's own: the gateway asked for no stream."""
    with pytest.raises(AgentFailed, match="neither a message nor a task"):
        await told(said(result={event: {"taskId": "t"}}))
    with pytest.raises(AgentFailed, match="Content-Type"):
        await told(said(), content_type="text/event-stream")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
_MEMBERS = st.sampled_from(
    ["text", "data", "raw", "url", "metadata", "filename", "mediaType", "media_type", "kind", "x"]
)


@settings(max_examples=examples(1000), deadline=None)
@given(st.dictionaries(_MEMBERS, _JSON, max_size=4))
def test_a_part_of_the_usual_form_is_one_to_the_sdk(part: dict[str, Any]) -> None:
    """What is taken without asking protobuf is what protobuf takes."""
    usual = is_a2a_part(part)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(downstream_a2a, "_is_usual", lambda _: False)
        assert is_a2a_part(part) is usual
