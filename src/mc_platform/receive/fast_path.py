"""The usual requests of A2A 1.0, read and answered without the SDK: SendMessage, and GetTask by JSON-RPC.

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
from typing import Annotated, Any, Literal

import msgspec
from a2a.server.jsonrpc_models import InternalError
from a2a.server.request_handlers.response_helpers import build_error_response
from a2a.types import a2a_pb2 as pb
from a2a.utils.constants import A2A_JSON_MEDIA_TYPE
from a2a.utils.error_handlers import rest_error_handler
from a2a.utils.errors import A2AError
from google.protobuf.json_format import MessageToDict
from msgspec import Meta, Struct
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_contract.governance import GOVERNANCE_URI
from mc_contract.keepable import NotKeepable, check_shape, json_bytes, read_json
from mc_platform.model.label import Part
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal
from mc_platform.receive import convert
from mc_platform.receive.exact_values import DEEPEST_BODY, ExactValues
from mc_platform.receive.handler import PRINCIPAL, GovernedRequestHandler
from mc_platform.receive.sdk_parsing import MOST_COUNT

JSON_RPC_PATHS = ("/", "/a2a", "/a2a/")
_HTTP_PATH = "/v1/message:send"
_PATHS = frozenset({*JSON_RPC_PATHS, _HTTP_PATH})
_JSON_RPC_TYPE, _HTTP_TYPE = b"application/json", A2A_JSON_MEDIA_TYPE.encode()
_MOST_BYTES = 65_536
_MOST_ID = 2**53
_VERSION = (b"a2a-version", b"1.0")
_CALL = frozenset({"jsonrpc", "id", "method", "params"})
_PART = frozenset({"text", "data", "metadata", "filename", "mediaType"})
_Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]


class _Configuration(Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    accepted_output_modes: list[str] = []
    history_length: _Count = 0
    return_immediately: bool = False


class _Message(Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    message_id: str
    role: Literal["ROLE_USER"]
    parts: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=convert.MAX_PARTS)]
    context_id: str = ""
    metadata: dict[str, Any] = {}
    extensions: list[str] = []
    reference_task_ids: list[str] = []


class _SendParams(Struct, forbid_unknown_fields=True, frozen=True):
    message: _Message
    configuration: _Configuration = _Configuration()


class _GetParams(Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    id: str
    history_length: _Count = 0


@dataclass(frozen=True, slots=True)
class _Send:
    """A SendMessage.

    Attributes:
        id: Of the JSON-RPC call; None: it came by HTTP+JSON.
        fields: Of the message, as `convert.described` takes them.
        at_once: Whether the caller does not wait for the task's end.
    """

    id: str | int | None
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
            read = read_message if scope["path"] == _HTTP_PATH else read_call
            call = read(first.get("body", b""))
        if call is None:
            await self.app(scope, _again(first, receive), send)
            return
        try:
            answer = rendered(call.id, await self._task(call, principal), sent=type(call) is _Send)
        except Exception as error:  # noqa: BLE001 - as the SDK's dispatchers have it
            await (await refusal(call.id, error))(scope, receive, send)
            return
        kind = _HTTP_TYPE if call.id is None else _JSON_RPC_TYPE
        headers = [(b"content-type", kind), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

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


async def refusal(request_id: str | int | None, error: Exception) -> Response:
    """An error as A2A tells it: to a JSON-RPC call, or, without its id, by HTTP+JSON."""
    if request_id is None:
        return await _http_refusal(error)
    told = error if isinstance(error, A2AError) else InternalError(message=str(error))
    return JSONResponse(build_error_response(request_id, told))


@rest_error_handler
async def _http_refusal(error: Exception) -> Response:
    raise error


def read_call(body: bytes) -> _Send | _Get | None:
    """A JSON-RPC call, if it is one that is surely understood here; None: the SDK reads it."""
    call = _read(body)
    if not isinstance(call, dict) or call.keys() != _CALL or call["jsonrpc"] != "2.0":
        return None
    request_id, params = call["id"], call["params"]
    plain_id = type(request_id) is str or (
        type(request_id) is int and -_MOST_ID < request_id < _MOST_ID
    )
    if not plain_id or not isinstance(params, dict):
        return None
    try:
        if call["method"] == "SendMessage":
            return _send(request_id, msgspec.convert(params, _SendParams))
        if call["method"] == "GetTask":
            return _Get(request_id, msgspec.convert(params, _GetParams).id)
    except (msgspec.ValidationError, _NotPlain, NotKeepable):
        pass  # an unusual form, which is no error
    return None


def read_message(body: bytes) -> _Send | None:
    """Likewise a SendMessage as HTTP+JSON has it, without a call around it."""
    try:
        return _send(None, msgspec.convert(_read(body), _SendParams))
    except (msgspec.ValidationError, _NotPlain, NotKeepable):
        return None


def _read(body: bytes) -> Any:
    """The JSON; None if it is large, or cannot be kept."""
    if len(body) > _MOST_BYTES:
        return None
    try:
        return read_json(body, most_depth=DEEPEST_BODY)
    except NotKeepable:
        return None


def _send(request_id: str | int | None, params: _SendParams) -> _Send:
    """A message, if protobuf would read all of its fields as they are.

    Raises:
        _NotPlain, NotKeepable: it would not.
    """
    message = params.message
    if message.metadata and not _plain_struct(message.metadata):
        raise _NotPlain
    parts = [plain_part(part) for part in message.parts]
    for part in message.parts:
        if len(part) > 1 or "data" in part:
            check_shape(part.get("data"))
            check_shape(part.get("metadata"))
    fields = {
        "message_id": message.message_id,
        "context_id": message.context_id,
        "parts": parts,
        "references": message.reference_task_ids,
        "metadata": message.metadata,
    }
    return _Send(request_id, fields, params.configuration.return_immediately)


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


def rendered(request_id: str | int | None, task: Task, *, sent: bool) -> bytes:
    """The answer that shows a task, as JSON.

    Args:
        request_id: None: for HTTP+JSON, whose answer is the result alone.
        sent: Whether it answers SendMessage, whose result says what it is.
    """
    try:
        shown = _shown(task)
        result = {"task": shown} if sent else shown
        return json_bytes(_around(request_id, result))
    except (_NotPlain, TypeError, ValueError, OverflowError, RecursionError):
        values = ExactValues()
        shown_by_sdk = convert.task(task, values)
        known = pb.SendMessageResponse(task=shown_by_sdk) if sent else shown_by_sdk
        return values.filled(bytes(JSONResponse(_around(request_id, MessageToDict(known))).body))


def _around(request_id: str | int | None, result: dict[str, Any]) -> dict[str, Any]:
    return result if request_id is None else {"result": result, "id": request_id, "jsonrpc": "2.0"}


def _shown(task: Task) -> dict[str, Any]:
    """What `convert.task` and the SDK make of a task, without protobuf.

    Raises:
        _NotPlain: it holds what is not of the usual form.
    """
    if task.updated_at.tzinfo is None or not task.id or not task.context_id:
        raise _NotPlain
    parts = [plain_part(part) for part in task.parts]
    status: dict[str, Any] = {"state": str(task.state)}
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
    at = task.updated_at
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    if not at.microsecond:
        written = at.isoformat()
    else:
        written = at.isoformat(timespec="microseconds" if at.microsecond % 1000 else "milliseconds")
    return f"{written.removesuffix('+00:00')}Z"


def _may_be_usual(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    if scope["path"] not in _PATHS or scope.get("root_path") or scope["query_string"]:
        return False
    return [pair for pair in scope["headers"] if pair[0] == _VERSION[0]] == [_VERSION]


def _plain_struct(value: Any) -> bool:
    """Whether a protobuf Struct holds an object or list as it is: a number would become a double."""
    for inner in value.values() if type(value) is dict else value:
        kind = type(inner)
        if kind is dict or kind is list:
            if not _plain_struct(inner):
                return False
        elif kind is not str and kind is not bool:
            return False
    return True


def _again(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def read() -> Message:
        return waiting.pop() if waiting else await receive()

    return read
