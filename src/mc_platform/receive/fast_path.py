"""The usual requests, read and answered without the SDK: SendMessage and GetTask of A2A 1.0.

The SDK turns JSON into protobuf and back twice for each message, and asks its telemetry and two
routers on the way. Here the body is read once. Only what is certain to mean the same is taken:
known members of the right types, nothing that protobuf would convert, default or refuse. Whatever
else comes goes on to the SDK's routes with the same bytes, which also say what is wrong with it.
What the middleware bounds (size, shape, credential, turns) is bounded before.

`tests/unit/mc_platform/receive/test_fast_path.py` holds this against the SDK: same bytes in, same
answer out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from a2a.server.jsonrpc_models import InternalError
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_contract.governance import GOVERNANCE_URI
from mc_contract.keepable import NotKeepable, check_shape, json_bytes, read_json
from mc_platform.model.label import Part
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal
from mc_platform.receive import convert
from mc_platform.receive.exact_values import DEEPEST_BODY, ExactValues
from mc_platform.receive.handler import PRINCIPAL, GovernedRequestHandler
from mc_platform.receive.sdk_parsing import is_count

JSON_RPC_PATHS = ("/", "/a2a", "/a2a/")
_MOST_BYTES = 65_536
_MOST_ID = 2**53
_VERSION = (b"a2a-version", b"1.0")
_CALL = frozenset({"jsonrpc", "id", "method", "params"})
_SEND = frozenset({"message", "configuration"})
_CONFIGURATION = frozenset({"acceptedOutputModes", "historyLength", "returnImmediately"})
_GET = frozenset({"id", "historyLength"})
_PART = frozenset({"text", "data", "metadata", "filename", "mediaType"})
_MESSAGE = frozenset(
    {
        "messageId",
        "contextId",
        "role",
        "parts",
        "metadata",
        "extensions",
        "referenceTaskIds",
    }
)


@dataclass(frozen=True, slots=True)
class _Send:
    """A SendMessage.

    Attributes:
        fields: Of the message, as `convert.described` takes them.
        at_once: Whether the caller does not wait for the task's end.
    """

    id: str | int
    fields: Mapping[str, Any]
    at_once: bool


@dataclass(frozen=True, slots=True)
class _Get:
    """A GetTask."""

    id: str | int
    task_id: str


class FastPath:
    """The ASGI layer in front of the SDK's routes, behind the middleware."""

    def __init__(self, app: ASGIApp, handler: GovernedRequestHandler) -> None:
        self.app = app
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or hand it on as it came."""
        principal = scope.get("state", {}).get(PRINCIPAL)
        if not _may_be_usual(scope) or not isinstance(principal, Principal):
            await self.app(scope, receive, send)
            return
        first = await receive()
        call = None
        if first["type"] == "http.request" and not first.get("more_body", False):
            call = read_call(first.get("body", b""))
        if call is None:
            await self.app(scope, _again(first, receive), send)
            return
        try:
            answer = rendered(call.id, await self._task(call, principal), sent=type(call) is _Send)
        except A2AError as error:
            refusal = build_error_response(call.id, error)
        except Exception as error:  # noqa: BLE001 - as the SDK's dispatcher has it
            refusal = build_error_response(call.id, InternalError(message=str(error)))
        else:
            length = str(len(answer)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})
            return
        await JSONResponse(refusal)(scope, receive, send)

    def _task(self, call: _Send | _Get, principal: Principal) -> Awaitable[Task]:
        """The task that the answer shows, once it is awaited."""
        if isinstance(call, _Get):
            return self._handler.read(principal, call.task_id)
        fields = call.fields
        return self._handler.send(
            principal,
            lambda: convert.described(principal=principal, **fields),
            at_once=call.at_once,
        )


def read_call(body: bytes) -> _Send | _Get | None:
    """The request, if it is one that is surely understood here; None: the SDK reads it."""
    if len(body) > _MOST_BYTES:
        return None
    try:
        call = read_json(body, most_depth=DEEPEST_BODY)
    except NotKeepable:
        return None
    if not isinstance(call, dict) or call.keys() != _CALL or call["jsonrpc"] != "2.0":
        return None
    request_id, params = call["id"], call["params"]
    plain_id = type(request_id) is str or (
        type(request_id) is int and -_MOST_ID < request_id < _MOST_ID
    )
    if not plain_id or not isinstance(params, dict):
        return None
    if call["method"] == "SendMessage":
        return _send(request_id, params)
    if call["method"] == "GetTask" and params.keys() <= _GET and type(params.get("id")) is str:
        return _Get(request_id, params["id"]) if _plain_count(params) else None
    return None


def _send(request_id: str | int, params: dict[str, Any]) -> _Send | None:
    message, configuration = params.get("message"), params.get("configuration", {})
    if not params.keys() <= _SEND or not isinstance(configuration, dict):
        return None
    at_once = configuration.get("returnImmediately", False)
    if (
        not configuration.keys() <= _CONFIGURATION
        or type(at_once) is not bool
        or not _texts(configuration.get("acceptedOutputModes", []))
        or not _plain_count(configuration)
    ):
        return None
    fields = _fields(message) if isinstance(message, dict) else None
    return None if fields is None else _Send(request_id, fields, at_once)


def _fields(message: dict[str, Any]) -> dict[str, Any] | None:
    """A message's fields, if protobuf would read all of them as they are."""
    given, references = message.get("parts"), message.get("referenceTaskIds", [])
    metadata, context_id = message.get("metadata", {}), message.get("contextId", "")
    if (
        not message.keys() <= _MESSAGE
        or message.get("role") != "ROLE_USER"
        or type(message.get("messageId")) is not str
        or type(context_id) is not str
        or not _texts(references)
        or not _texts(message.get("extensions", []))
        or not isinstance(metadata, dict)
        or not _plain_struct(metadata)
        or not isinstance(given, list)
        or not 1 <= len(given) <= convert.MAX_PARTS
    ):
        return None
    try:
        parts = [plain_part(part) for part in given]
        for part in given:
            check_shape(part.get("data"))
            check_shape(part.get("metadata"))
    except (_NotPlain, NotKeepable):
        return None
    return {
        "message_id": message["messageId"],
        "context_id": context_id,
        "parts": parts,
        "references": references,
        "metadata": metadata,
    }


class _NotPlain(Exception):
    """A part is not of the usual form."""


def plain_part(part: Any) -> Part:
    """A part as the SDK would give it back: the same members, in A2A's order.

    Raises:
        _NotPlain: it is no text and no data, or has a member that the SDK would change or refuse.
    """
    if (
        not isinstance(part, dict)
        or not part.keys() <= _PART
        or ("text" in part) is ("data" in part)
    ):
        raise _NotPlain
    if "text" in part:
        if type(part["text"]) is not str:
            raise _NotPlain
        if len(part) == 1:
            return part
    elif part["data"] is None:
        raise _NotPlain
    for name in ("filename", "mediaType"):
        if name in part and (type(part[name]) is not str or not part[name]):
            raise _NotPlain
    if "metadata" in part and (not isinstance(part["metadata"], dict) or not part["metadata"]):
        raise _NotPlain
    order = ("text", "data", "metadata", "filename", "mediaType")
    return {name: part[name] for name in order if name in part}


def rendered(request_id: str | int, task: Task, *, sent: bool) -> bytes:
    """The answer that shows a task, as JSON.

    Args:
        sent: Whether it answers SendMessage, whose result says what it is.
    """
    try:
        shown = _shown(task)
        result = {"task": shown} if sent else shown
        return json_bytes({"result": result, "id": request_id, "jsonrpc": "2.0"})
    except (_NotPlain, TypeError, ValueError, OverflowError, RecursionError):
        values = ExactValues()
        shown_by_sdk = convert.task(task, values)
        known = pb.SendMessageResponse(task=shown_by_sdk) if sent else shown_by_sdk
        told = {"result": MessageToDict(known), "id": request_id, "jsonrpc": "2.0"}
        return values.filled(bytes(JSONResponse(told).body))


def _shown(task: Task) -> dict[str, Any]:
    """What `convert.task` and the SDK make of a task, without protobuf.

    Raises:
        _NotPlain: it holds what is not of the usual form.
    """
    if task.updated_at.tzinfo is None or not task.id or not task.context_id:
        raise _NotPlain
    parts = [plain_part(part) for part in task.parts]
    status: dict[str, Any] = {"state": task.state.value}
    if task.status_text:
        status["message"] = {
            "messageId": f"{task.id}-status",
            "contextId": task.context_id,
            "taskId": task.id,
            "role": "ROLE_AGENT",
            "parts": [{"text": task.status_text}],
        }
    status["timestamp"] = _timestamp(task)
    shown: dict[str, Any] = {"id": task.id, "contextId": task.context_id, "status": status}
    if parts:
        shown["artifacts"] = [{"artifactId": f"{task.id}-reply", "name": "reply", "parts": parts}]
    shown["metadata"] = {GOVERNANCE_URI: dict(task.governance)}
    return shown


def _timestamp(task: Task) -> str:
    """As protobuf writes a time: none, three or six digits of a second."""
    at = task.updated_at.astimezone(UTC).replace(tzinfo=None)
    if not at.microsecond:
        return f"{at.isoformat()}Z"
    exact = at.microsecond % 1000
    return f"{at.isoformat(timespec='microseconds' if exact else 'milliseconds')}Z"


def _may_be_usual(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    if scope["path"] not in JSON_RPC_PATHS or scope.get("root_path"):
        return False
    return [pair for pair in scope["headers"] if pair[0] == _VERSION[0]] == [_VERSION]


def _plain_count(holder: dict[str, Any]) -> bool:
    count = holder.get("historyLength", 0)
    return type(count) is int and is_count(count)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is str for item in value)


def _plain_struct(value: Any) -> bool:
    """Whether a protobuf Struct holds the value as it is: a number would become a double."""
    if isinstance(value, dict):
        return all(_plain_struct(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_plain_struct(inner) for inner in value)
    return isinstance(value, str | bool)


def _again(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def read() -> Message:
        return waiting.pop() if waiting else await receive()

    return read
