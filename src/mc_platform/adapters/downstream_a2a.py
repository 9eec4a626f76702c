"""Downstream agents over A2A 1.0 JSON-RPC; implements `ports.Downstream`.

Sends no credential of the caller. What an agent says of its own failure is not passed on: only
that it failed, and how. Probes of agents have connections of their own.

An answer is taken only if it is one to what was asked: its JSON-RPC id is the request's, and if it
names a conversation, it is the one that was named (A2A 1.0, 3.4.1: an agent that does not take a
client's `contextId` refuses the request, and makes no new one). A2A 0.3 is not read.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import ParseDict, ParseError

from mc_contract.governance import GOVERNANCE_URI
from mc_contract.keepable import (
    NotJson,
    NotKeepable,
    check_shape,
    is_base64,
    json_bytes,
    read_json,
)
from mc_platform.adapters.http import Lanes, Outgoing
from mc_platform.errors import AgentFailed, Overdue, PeerFailed
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Part, without_nulls
from mc_platform.model.reply import Reply
from mc_platform.model.shape import ShapeLimits, shape_problem

_MAX_REPLY_BYTES = 4 * 1_048_576
SMALL_REPLY_BYTES = 16_384
"""Up to here reading a reply takes less than handing it to another process."""
_MAX_PROBE_BYTES = 65_536
_JSON_TYPE = re.compile(r"(application|text)/([a-z0-9!#$&^_.+-]+\+)?json")
_STATES = frozenset(pb.TaskState.keys())
_MAX_ARTIFACTS = 16
_MAX_PARTS = 1000  # screening joins neighbours, and one thread does it
_DEEPEST_REPLY = 64  # a part's own depth, and the protocol's objects around it
_NAMES = frozenset(
    name
    for message in (pb.Task, pb.TaskStatus, pb.Message, pb.Artifact, pb.Part)
    for name in message.DESCRIPTOR.fields_by_camelcase_name
) | {"jsonrpc", "id", "result", "task", "message", "error", "code"}
_USUAL = frozenset({"text", "data", "metadata", "filename", "mediaType"})
_DONE = "TASK_STATE_COMPLETED"
_SHAPE = ShapeLimits()
_HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}
_OLD_KINDS = frozenset({"message", "task", "status-update", "artifact-update"})
_OLD_PARTS = frozenset({"text", "file", "data"})
_OLD_STATES = frozenset(
    name.removeprefix("TASK_STATE_").lower().replace("_", "-") for name in _STATES
) | {"unknown"}
_METHOD_NOT_FOUND, _VERSION_NOT_SUPPORTED = -32601, -32009
_SPEAK_1_0 = (
    "the agent's owner: serve A2A 1.0 at the catalogue's url; docs/reference/a2a.md has the form"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is to: the JSON-RPC id of the request, and its conversation."""

    id: str
    context_id: str


class A2ADownstream:
    """Connections of each tenant to the agents; `close` at the end.

    Args:
        shape: What a reply may hold.
        apart: Does work on a tenant's behalf off the event loop; large replies are read there.
    """

    def __init__(
        self,
        *,
        shape: ShapeLimits = _SHAPE,
        apart: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        self._shape = shape
        self._apart = apart
        self._lanes = Lanes(headers=_HEADERS)
        self._probes = Outgoing()

    async def close(self) -> None:
        await self._lanes.close()
        await self._probes.close()

    async def ask(
        self,
        *,
        tenant: TenantId,
        url: str,
        message_id: str,
        context_id: str,
        parts: Sequence[Part],
        governance: Mapping[str, str],
        timeout_s: float,
    ) -> tuple[Part, ...]:
        message = {
            "messageId": message_id,
            "contextId": context_id,
            "role": "ROLE_USER",
            "parts": list(parts),
            "metadata": {GOVERNANCE_URI: dict(governance)},
        }
        request = {
            "jsonrpc": "2.0",
            "id": message_id,
            "method": "SendMessage",
            "params": {"message": message},
        }
        try:
            reply = await self._lanes.of(tenant).exchange(
                "POST",
                url,
                body=json_bytes(request),
                timeout_s=timeout_s,
                most_bytes=_MAX_REPLY_BYTES,
            )
        except PeerFailed as error:
            raise AgentFailed(f"the agent failed: {error.message}") from error
        raw, asked = _body_of(reply), Asked(message_id, context_id)
        if len(raw) <= SMALL_REPLY_BYTES:
            return read_reply(raw, asked, self._shape)
        return await read_apart(
            self._apart, tenant, read_reply, raw, asked=asked, shape=self._shape
        )

    async def alive(self, url: str, timeout_s: float = 2.0) -> bool:
        """Whether something answers HTTP at the agent's address."""
        try:
            reply = await self._probes.exchange(
                "GET", url, timeout_s=timeout_s, most_bytes=_MAX_PROBE_BYTES, whole=False
            )
        except PeerFailed:
            return False
        return reply.status < HTTPStatus.INTERNAL_SERVER_ERROR


async def read_apart(
    apart: Callable[..., Awaitable[Any]] | None,
    tenant: TenantId,
    read: Callable[..., tuple[Part, ...]],
    raw: bytes,
    **how: Any,
) -> tuple[Part, ...]:
    """What `read` makes of a large reply, on the tenant's behalf off the event loop.

    Raises:
        AgentFailed: as `read` says, or it takes too long.
    """
    if apart is None:
        return read(raw, **how)
    try:
        answer = await apart(tenant, _read_here, read, raw, how)
    except Overdue as error:
        raise AgentFailed("the agent's reply takes too long to read") from error
    if isinstance(answer, dict):
        raise AgentFailed(**answer)
    return tuple(answer)


def _body_of(reply: Reply) -> bytes:
    if reply.status != HTTPStatus.OK:
        raise AgentFailed(f"the agent answered HTTP {reply.status}")
    if reply.content_type and not _JSON_TYPE.fullmatch(reply.content_type):
        raise AgentFailed("the agent's reply is not JSON by its Content-Type")
    return reply.body


def read_reply(raw: bytes, asked: Asked, shape: ShapeLimits = _SHAPE) -> tuple[Part, ...]:
    """The parts of an agent's answer.

    Raises:
        AgentFailed: it is no A2A reply to what was asked, holds more than a reply may, or tells of
            a failure.
    """
    return _parts_of(_result_of(_read(raw, shape), asked), asked)


def read_parts(raw: bytes, shape: ShapeLimits = _SHAPE) -> tuple[Part, ...]:
    """The parts that an agent in this process gave, by the rules for those of a remote one.

    Raises:
        AgentFailed: they are no A2A parts, or more than a reply may hold.
    """
    return _checked(_read(raw, shape), "result", "message")


def refuse_large(raw: bytes, shape: ShapeLimits = _SHAPE) -> None:
    """See, at the speed of memory, that a reply is not more than is looked through value by value.

    Raises:
        AgentFailed: it is.
    """
    if len(raw) > _MAX_REPLY_BYTES:
        raise AgentFailed(f"the agent failed: the answer exceeds {_MAX_REPLY_BYTES} bytes")
    problem = shape_problem(raw, shape)
    if problem:
        raise AgentFailed(f"the agent's reply holds {problem}")


def _read(raw: bytes, shape: ShapeLimits) -> Any:
    refuse_large(raw, shape)
    try:
        return read_json(raw, most_depth=_DEEPEST_REPLY)
    except NotKeepable as error:
        raise _unkeepable(error) from None


def _read_here(
    read: Callable[..., tuple[Part, ...]], raw: bytes, how: Mapping[str, Any]
) -> tuple[Part, ...] | dict[str, str]:
    """The same in a worker process, from where a failure comes back as its words."""
    try:
        return read(raw, **how)
    except AgentFailed as failed:
        return {"message": failed.message, "hint": failed.hint}


def _result_of(body: Any, asked: Asked) -> dict[str, Any]:
    """The result of a JSON-RPC answer to what was asked."""
    if not isinstance(body, dict):
        raise AgentFailed("the agent's reply is not a JSON-RPC object")
    if body.get("jsonrpc") != "2.0":
        raise AgentFailed('the agent\'s reply is no JSON-RPC 2.0: its `jsonrpc` is not "2.0"')
    error = body.get("error")  # null beside a result, as some libraries write it, is none
    # An agent that could not read the request does not know its id, and says null
    if body.get("id") != asked.id and (error is None or body.get("id") is not None):
        raise AgentFailed(
            "the agent's reply is to another request: its JSON-RPC `id` is not the one asked",
            hint="the agent's owner: answer with the request's `id`, as it was sent",
        )
    if error is not None:
        code = error.get("code") if isinstance(error, dict) else None
        raise AgentFailed(
            f"the agent answered JSON-RPC error {code if _is_rpc_code(code) else '?'}",
            hint=_SPEAK_1_0 if code in (_METHOD_NOT_FOUND, _VERSION_NOT_SUPPORTED) else "",
        )
    result = body.get("result")
    if not isinstance(result, dict):
        raise AgentFailed("the agent's reply holds neither result nor error")
    return result


def _parts_of(result: dict[str, Any], asked: Asked) -> tuple[Part, ...]:
    message, task = result.get("message"), result.get("task")
    if isinstance(message, dict):
        _same_conversation(message, asked)
        return _checked(message.get("parts"), "result", "message")
    if not isinstance(task, dict):
        if _is_one_of(result.get("kind"), _OLD_KINDS):
            raise _old()
        raise AgentFailed("the agent's result is neither a message nor a task")
    _same_conversation(task, asked)
    told = task.get("status")
    status: dict[str, Any] = told if isinstance(told, dict) else {}
    state = status.get("state")
    if state != _DONE:
        if _is_one_of(state, _OLD_STATES):
            raise _old()
        # Only a state that A2A knows is passed on: anything else is an agent's free text.
        known = state if _is_one_of(state, _STATES) else "unknown"
        raise AgentFailed(f"the agent's task is in state {known}")
    artifacts = task.get("artifacts") or []
    if isinstance(artifacts, list) and len(artifacts) > _MAX_ARTIFACTS:
        raise AgentFailed(f"the agent's task has {len(artifacts)} artifacts")
    if not isinstance(artifacts, list) or not all(isinstance(item, dict) for item in artifacts):
        raise AgentFailed("the agent's task has no list of artifacts")
    parts = [
        part
        for at, artifact in enumerate(artifacts)
        for part in _checked(artifact.get("parts"), "result", "task", "artifacts", at)
    ]
    if not parts and isinstance(status.get("message"), dict):
        where = ("result", "task", "status", "message")
        _same_conversation(status["message"], asked)
        parts = list(_checked(status["message"].get("parts"), *where))
    return tuple(parts)


def _same_conversation(said: dict[str, Any], asked: Asked) -> None:
    # It may be left out, and some libraries write every member
    if said.get("contextId") not in (None, "", asked.context_id):
        raise AgentFailed(
            "the agent's reply is of another conversation: its `contextId` is not the one asked",
            hint="the agent's owner: keep the request's `contextId`, or refuse it with an error",
        )


def _old() -> AgentFailed:
    return AgentFailed("the agent's reply is in A2A 0.3, and it was asked in 1.0", hint=_SPEAK_1_0)


def _is_one_of(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known


def _checked(parts: Any, *where: str | int) -> tuple[Part, ...]:
    """The parts, if every reader can show them.

    Args:
        where: The path of what holds them.
    """
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise AgentFailed("the agent's reply has no list of parts")
    if len(parts) > _MAX_PARTS:
        raise AgentFailed(f"the agent's reply has {len(parts)} parts, the limit is {_MAX_PARTS}")
    parts = [without_nulls(part) for part in parts]
    # Found here, before anything of it is recorded, rather than when it is to be shown
    for at, part in enumerate(parts):
        if not is_a2a_part(part):
            if _is_one_of(part.get("kind"), _OLD_PARTS):
                raise _old()
            no_part = NotKeepable((*where, "parts", at), "is no A2A part", "no part")
            raise AgentFailed(f"the agent's reply cannot be kept: {no_part.message}")
        for key, value in part.items():
            if type(value) is str:
                continue
            try:
                check_shape(value)
            except NotKeepable as error:
                raise _unkeepable(error.within(*where, "parts", at, key)) from None
    return tuple(parts)


def is_a2a_part(part: dict[str, Any]) -> bool:
    """Whether A2A, as the official SDK has it, has a form for the part."""
    if _is_usual(part):
        return True
    # What data and metadata hold is any JSON, and stays out of protobuf's doubles
    told = {key: value for key, value in part.items() if key not in ("data", "metadata")}
    if "data" in part:
        told["data"] = ""
    if not is_base64(str(told.get("raw", ""))):
        return False
    try:
        held = ParseDict(told, pb.Part(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    metadata = part.get("metadata")
    has_content = held.WhichOneof("content") is not None
    return has_content and (metadata is None or isinstance(metadata, dict))


def _is_usual(part: dict[str, Any]) -> bool:
    """Whether it is text or data with nothing about it that protobuf could refuse."""
    if not part.keys() <= _USUAL or ("text" in part) is ("data" in part):
        return False
    return all(
        isinstance(value, dict if name == "metadata" else str)
        for name, value in part.items()
        if name != "data"
    )


def _unkeepable(error: NotKeepable) -> AgentFailed:
    """What is wrong with a reply, and where: by A2A's own names, for others are its content."""
    if isinstance(error, NotJson):
        return AgentFailed(f"the agent's reply {error.why}")
    return AgentFailed(
        f"the agent's reply cannot be kept: {error.where(_NAMES)} {error.why}",
        hint="the agent's owner has to mend it; docs/reference/a2a.md says what is kept",
    )


def _is_rpc_code(code: object) -> bool:
    # The reason is recorded: a number of any length would carry whatever the agent likes
    return isinstance(code, int) and -32768 <= code <= 999
