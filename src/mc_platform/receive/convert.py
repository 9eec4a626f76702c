"""Between the SDK's protobuf types and our values; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict

from mc_contract.governance import GOVERNANCE_URI, GovernanceError, parse_governance
from mc_platform.errors import BadRequest
from mc_platform.model.ids import TaskId
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.request_path import Envelope

_MAX_ID = 256
_MAX_PARTS = 256
_MAX_REFERENCES = 16


def plain_id(name: str, value: str, *, required: bool = True) -> str:
    """An id as clients may choose it.

    Raises:
        BadRequest: missing, longer than 256 characters, or not printable.
    """
    if required and not value:
        raise BadRequest(f"`{name}` is missing")
    if len(value) > _MAX_ID or not value.isprintable():
        raise BadRequest(f"`{name}` must be at most {_MAX_ID} printable characters")
    return value


def envelope(message: pb.Message, principal: Principal) -> Envelope:
    """The message as the request path takes it.

    Raises:
        BadRequest: an id or the parts are missing or malformed.
        GovernanceError: the extension's metadata is malformed.
    """
    message_id = plain_id("message.messageId", message.message_id, required=True)
    context_id = plain_id("message.contextId", message.context_id, required=False)
    if message.task_id:
        raise BadRequest(
            "`message.taskId` continues a task, and this gateway's tasks take one message",
            hint="send a new message; use contextId to stay in the conversation",
        )
    if message.role != pb.ROLE_USER:
        raise BadRequest("`message.role` must be ROLE_USER")
    if not 1 <= len(message.parts) <= _MAX_PARTS:
        raise BadRequest(f"`message.parts` must hold 1 to {_MAX_PARTS} parts")
    if any(part.WhichOneof("content") is None for part in message.parts):
        raise BadRequest("a part holds none of text, raw, url and data")
    if len(message.reference_task_ids) > _MAX_REFERENCES:
        raise BadRequest(f"`message.referenceTaskIds` must hold at most {_MAX_REFERENCES} ids")
    for one in message.reference_task_ids:
        plain_id("message.referenceTaskIds", one)
    metadata: Mapping[str, Any] = (
        MessageToDict(message.metadata) if message.HasField("metadata") else {}
    )
    return Envelope(
        principal=principal,
        message_id=message_id,
        context_id=context_id,
        parts=tuple(MessageToDict(part) for part in message.parts),
        governance=parse_governance(metadata),
        references=tuple(TaskId(one) for one in message.reference_task_ids),
    )


def task(ours: Task) -> pb.Task:
    """Our task as the SDK's, its reply as one artifact."""
    result = pb.Task(id=ours.id, context_id=ours.context_id, status=status(ours))
    if ours.parts:
        result.artifacts.append(artifact(ours))
    result.metadata.update({GOVERNANCE_URI: dict(ours.governance)})
    return result


def status(ours: Task) -> pb.TaskStatus:
    """The task's state with its sentence, if it has one."""
    result = pb.TaskStatus(state=ours.state.value)
    result.timestamp.FromDatetime(ours.updated_at)
    if ours.status_text:
        result.message.CopyFrom(
            pb.Message(
                message_id=f"{ours.id}-status",
                context_id=ours.context_id,
                task_id=ours.id,
                role=pb.ROLE_AGENT,
                parts=[pb.Part(text=ours.status_text)],
            )
        )
    return result


def artifact(ours: Task) -> pb.Artifact:
    """The released reply."""
    result = pb.Artifact(artifact_id=f"{ours.id}-reply", name="reply")
    for part in ours.parts:
        result.parts.append(ParseDict(part, pb.Part(), ignore_unknown_fields=True))
    return result


def wanted_state(state: int) -> str | None:
    """The state filter of a listing; None for any.

    Raises:
        BadRequest: a number that A2A does not define.
    """
    if state == pb.TASK_STATE_UNSPECIFIED:
        return None
    try:
        name = pb.TaskState.Name(state)
    except ValueError as error:
        raise BadRequest(f"unknown task state {state}") from error
    return name if name in {item.value for item in TaskState} else "none of ours"


__all__ = ["GovernanceError", "artifact", "envelope", "status", "task", "wanted_state"]
