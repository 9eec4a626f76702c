"""Between the SDK's protobuf types and our values; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseError

from mc_contract.governance import GOVERNANCE_URI, parse_governance
from mc_platform.errors import BadRequest
from mc_platform.model.ids import TaskId
from mc_platform.model.label import Part
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics
from mc_platform.pipeline.idempotency import Envelope
from mc_platform.receive.exact_values import ExactValues
from mc_platform.screen.content import Content

_MAX_ID = 256
MAX_PARTS = 256
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


def envelope(message: pb.Message, principal: Principal, values: ExactValues) -> Envelope:
    """The message as the request path takes it.

    Raises:
        BadRequest: an id or the parts are missing or malformed.
        GovernanceError: the extension's metadata is malformed.
    """
    plain_id("message.messageId", message.message_id, required=True)
    plain_id("message.contextId", message.context_id, required=False)
    if message.role != pb.ROLE_USER:
        raise BadRequest("`message.role` must be ROLE_USER")
    if not 1 <= len(message.parts) <= MAX_PARTS:
        raise BadRequest(f"`message.parts` must hold 1 to {MAX_PARTS} parts")
    if any(part.WhichOneof("content") is None for part in message.parts):
        raise BadRequest("a part holds none of text, raw, url and data")
    return described(
        principal=principal,
        message_id=message.message_id,
        context_id=message.context_id,
        parts=[values.of_part(part) for part in message.parts],
        references=message.reference_task_ids,
        metadata=MessageToDict(message.metadata) if message.HasField("metadata") else {},
    )


def described(
    *,
    principal: Principal,
    message_id: str,
    context_id: str,
    parts: Sequence[Part],
    references: Sequence[str],
    metadata: Mapping[str, Any],
) -> Envelope:
    """A message by its fields, in the types that A2A has; its parts are checked already.

    Raises:
        BadRequest: an id is missing or malformed.
        GovernanceError: the extension's metadata is malformed.
    """
    plain_id("message.messageId", message_id, required=True)
    plain_id("message.contextId", context_id, required=False)
    if len(references) > _MAX_REFERENCES:
        raise BadRequest(f"`message.referenceTaskIds` must hold at most {_MAX_REFERENCES} ids")
    for one in references:
        plain_id("message.referenceTaskIds", one)
    return Envelope(
        principal=principal,
        message_id=message_id,
        context_id=context_id,
        parts=Content(parts),
        governance=parse_governance(metadata),
        references=tuple(TaskId(one) for one in references),
    )


def task(ours: Task, values: ExactValues) -> pb.Task:
    """Our task as the SDK's, its reply as one artifact."""
    shown = artifact(ours, values)
    result = pb.Task(id=ours.id, context_id=ours.context_id, status=status(ours, shown))
    if shown is not None and shown.parts:
        result.artifacts.append(shown)
    result.metadata.update({GOVERNANCE_URI: values.hold(dict(ours.governance))})
    return result


def status(ours: Task, shown: pb.Artifact | None) -> pb.TaskStatus:
    """The task's state with its sentence, if it has one.

    Args:
        shown: What `artifact` made of the reply.
    """
    text = ours.status_text
    if shown is None:
        text = "; ".join(filter(None, (text, "the content cannot be shown: a part is not A2A")))
    result = pb.TaskStatus(state=ours.state.value)
    result.timestamp.FromDatetime(ours.updated_at)
    if text:
        result.message.CopyFrom(
            pb.Message(
                message_id=f"{ours.id}-status",
                context_id=ours.context_id,
                task_id=ours.id,
                role=pb.ROLE_AGENT,
                parts=[pb.Part(text=text)],
            )
        )
    return result


def artifact(ours: Task, values: ExactValues) -> pb.Artifact | None:
    """The released reply; None if it has a part that A2A has no form for.

    What is recorded is checked before: such a part is of an earlier version.
    """
    result = pb.Artifact(artifact_id=f"{ours.id}-reply", name="reply")
    try:
        result.parts.extend(values.as_part(part) for part in ours.parts)
    except (ParseError, ValueError, TypeError, OverflowError, RecursionError):
        metrics.unreadable_rows.labels("task").inc()
        return None
    if any(part.WhichOneof("content") is None for part in result.parts):
        metrics.unreadable_rows.labels("task").inc()
        return None
    return result


def since(params: pb.ListTasksRequest) -> datetime | None:
    """From when on a listing wants tasks; None for all.

    Raises:
        BadRequest: a time that no calendar has.
    """
    if not params.HasField("status_timestamp_after"):
        return None
    try:
        return params.status_timestamp_after.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise BadRequest("statusTimestampAfter is no time") from error


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
