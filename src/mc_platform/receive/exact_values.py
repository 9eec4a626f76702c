"""JSON values of messages, carried past the SDK's types with every number as it was written.

The SDK holds data as protobuf Structs, whose numbers are doubles: 9007199254740993 would become
9007199254740992.0, and 5 become 5.0. So an ASGI layer around its routes takes what parts hold as
`data` and `metadata` out of the request and leaves a ticket instead; our handlers exchange tickets
for values, and put tickets into their answers, which the layer replaces in the bytes that leave.
JSON-RPC, HTTP+JSON, streams and the 0.3 compatibility all pass here. So does the one check of
what a message may hold (`mc_contract.keepable`). The tenants that a request names, of which the SDK
reads those of A2A 1.0's JSON-RPC and of a path alone, are noted for the handler on the way.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import Any

from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import MessageToDict, ParseDict
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mc_contract.keepable import NotJson, NotKeepable, check_shape, is_base64, json_bytes, read_json
from mc_platform.errors import BadRequest
from mc_platform.model.label import Part, without_nulls
from mc_platform.receive.sdk_parsing import NO_COUNT, is_count

VALUES = "mc_exact_values"
CLAIMED = "mc_claimed_tenants"
DEEPEST_BODY = 48  # the protocol's own objects around a part's
_PARSE_ERROR, _INVALID_PARAMS = -32700, -32602
_SMALL_BODY_BYTES = 8192
_LONGEST_ID = 256
_LONGEST_REREAD = 65_536
_CARRIED = ("data", "metadata")
_COUNTS = ("historyLength", "history_length", "pageSize", "page_size")  # proto3 JSON reads both
_STANDARD_BASE64 = str.maketrans("-_", "+/")
_MARK = f"mc-value-{secrets.token_hex(16)}-"  # never leaves the process, so nobody can forge it
_TICKET = re.compile(rb'"%b"\s*:\s*"([0-9]+)"|"%b([0-9]+)"' % ((_MARK.encode(),) * 2))
_COMPAT = "data_part_compat"  # how 0.3 marks data that is no object
# `str.splitlines` and some clients of event streams end a line at these, which JSON may hold bare
_LINE_ENDS = tuple(
    (char.encode(), f"\\u{ord(char):04x}".encode()) for char in ("\u0085", "\u2028", "\u2029")
)


class ExactValues:
    """The values of one request and its answer, by ticket."""

    def __init__(self) -> None:
        self._held: list[Any] = []

    def hold(self, value: Any) -> Any:
        """A ticket for a value: an object for an object, as protobuf and 0.3 demand; else a text."""
        self._held.append(value)
        at = str(len(self._held) - 1)
        return {_MARK: at} if isinstance(value, dict) else _MARK + at

    def take(self, ticket: Any) -> Any:
        """The value of a ticket; what is none is the value itself."""
        at = ""
        if isinstance(ticket, dict) and len(ticket) == 1:
            at = ticket.get(_MARK, "")
        elif isinstance(ticket, str) and ticket.startswith(_MARK):
            at = ticket.removeprefix(_MARK)
        return self._held[int(at)] if at else ticket

    def filled(self, body: bytes) -> bytes:
        """What leaves, its tickets replaced by their values."""
        return _TICKET.sub(self._value_of, body) if self._held else body

    def _value_of(self, ticket: re.Match[bytes]) -> bytes:
        if ticket[1] is None:
            return _inline(self._held[int(ticket[2])])
        # Within its braces: 0.3 may have put a member of its own beside the ticket
        return _inline(self._held[int(ticket[1])])[1:-1]

    # -- parts ------------------------------------------------------------------------------------

    def as_part(self, part: Part) -> pb.Part:
        """A part of ours as the SDK's, its JSON as tickets."""
        part = without_nulls(part)  # older rows have them
        held = {"data": self.hold(part["data"])} if "data" in part else {}
        if isinstance(part.get("metadata"), dict) and part["metadata"]:
            held["metadata"] = self.hold(part["metadata"])
        return ParseDict({**part, **held}, pb.Part(), ignore_unknown_fields=True)

    def of_part(self, part: pb.Part) -> Part:
        """A part of the SDK's as ours, its tickets exchanged."""
        found: dict[str, Any] = MessageToDict(part)
        for key in _CARRIED:
            if key in found:
                found[key] = self.take(found[key])
        return found


class ExactJson:
    """The ASGI layer around the SDK's routes.

    Args:
        json_rpc: Whether refusals are JSON-RPC errors; else those of the middleware.
    """

    def __init__(self, app: ASGIApp, *, json_rpc: bool) -> None:
        self._app = app
        self._json_rpc = json_rpc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        values = ExactValues()
        state = scope.setdefault("state", {})
        state[VALUES] = values
        state[CLAIMED] = claimed = [] if self._json_rpc else _query_tenants(scope)
        incoming = receive
        if scope["method"] == "POST":
            body = await Request(scope, receive).body()
            try:
                incoming = _again(_carried(body, values, claimed, json_rpc=self._json_rpc), receive)
            except NotKeepable as error:
                if not self._json_rpc:
                    raise BadRequest(f"the body cannot be taken: {error.message}") from None
                await _refuse(error, body, scope, receive, send)
                return
            if len(body) > _SMALL_BODY_BYTES:
                await asyncio.sleep(0)  # reading it has taken its time
        await self._app(scope, incoming, _Answer(values, send).send)


class _Answer:
    """Replaces tickets in what leaves; the SDK writes an answer, or an event, in one piece."""

    def __init__(self, values: ExactValues, send: Send) -> None:
        self._values = values
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            if b"content-length" in names:
                self._start = message  # its length is known with the body
                return
        elif message["type"] == "http.response.body" and message.get("body"):
            message = {**message, "body": self._values.filled(message["body"])}
        if self._start is not None:
            start, self._start = self._start, None
            length = str(len(message.get("body", b""))).encode()
            headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            if not message.get("more_body", False):
                headers.append((b"content-length", length))
            await self._send({**start, "headers": headers})
        await self._send(message)


def _query_tenants(scope: Scope) -> list[str]:
    return QueryParams(scope["query_string"]).getlist("tenant")


def _carried(body: bytes, values: ExactValues, claimed: list[str], *, json_rpc: bool) -> bytes:
    """The body for the SDK: what its message's parts hold is exchanged for tickets.

    Args:
        claimed: The tenant that it names is added here.

    Raises:
        NotKeepable: it is no JSON, or something in it is not taken.
    """
    if not body and not json_rpc:
        return body  # HTTP+JSON has requests that say all in their path
    request = read_json(body, most_depth=DEEPEST_BODY)
    _check_counts(request, json_rpc=json_rpc)
    holder = request.get("params") if json_rpc and isinstance(request, dict) else request
    if isinstance(holder, dict) and holder.get("tenant"):
        claimed.append(str(holder["tenant"]))
    around: tuple[str, ...] = ("params", "message") if json_rpc else ("message",)
    message: Any = request
    for key in around:
        message = message.get(key) if isinstance(message, dict) else None
    parts = message.get("parts") if isinstance(message, dict) else None
    if not isinstance(parts, list):
        return body
    old = json_rpc and request.get("method") in ("message/send", "message/stream")
    for at, part in enumerate(parts):
        if not isinstance(part, dict):
            continue
        for key in _CARRIED:
            try:
                check_shape(part.get(key))
            except NotKeepable as error:
                raise error.within(*around, "parts", at, key) from None
        try:
            _check_bytes(part)
        except NotKeepable as error:
            raise error.within(*around, "parts", at) from None
        parts[at] = part if old else without_nulls(part)
        _exchange(parts[at], values, old=old)
    return json_bytes(request)


def _check_counts(request: Any, *, json_rpc: bool) -> None:
    """See that what a request counts by is a count, whichever version of A2A it is in.

    Raises:
        NotKeepable: one is negative, no whole number, or beyond what A2A's integers hold.
    """
    for path in ((), ("configuration",)):
        around = ("params", *path) if json_rpc else path
        holder = request
        for key in around:
            holder = holder.get(key) if isinstance(holder, dict) else None
        for name in _COUNTS if isinstance(holder, dict) else ():
            if holder.get(name) is not None and not is_count(holder[name]):
                raise NotKeepable((*around, name), NO_COUNT, "no count")


def _check_bytes(part: dict[str, Any]) -> None:
    """See that a file's bytes are all taken; 0.3's are put as its decoder reads them.

    Raises:
        NotKeepable: they are no base64, of which decoders would leave out what they do not know.
    """
    file: Any = part.get("file")
    for holder, key, path in ((part, "raw", ("raw",)), (file, "bytes", ("file", "bytes"))):
        if not isinstance(holder, dict):
            continue
        text = holder.get(key)
        if not isinstance(text, str):
            continue  # whether it may be something else is the protocol's business
        if not is_base64(text):
            raise NotKeepable(path, "is no base64", "no base64")
        if holder is file:
            bare = text.rstrip("=").translate(_STANDARD_BASE64)
            holder[key] = bare + "=" * (-len(bare) % 4)


def _exchange(part: dict[str, Any], values: ExactValues, *, old: bool) -> None:
    metadata = part.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    wrapped = old and bool(metadata.get(_COMPAT))
    if wrapped and isinstance(part.get("data"), dict) and "value" in part["data"]:
        part["data"] = {"value": values.hold(part["data"]["value"])}
        others = {key: value for key, value in metadata.items() if key != _COMPAT}
        part["metadata"] = {_COMPAT: True, **(values.hold(others) if others else {})}
        return
    if "data" in part and (isinstance(part["data"], dict) or not old):
        part["data"] = values.hold(part["data"])
    if metadata:
        part["metadata"] = values.hold(metadata)


def _inline(value: Any) -> bytes:
    text = json_bytes(value)
    for bare, escaped in _LINE_ENDS:
        text = text.replace(bare, escaped)
    return text


def _again(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def read() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return read


async def _refuse(
    error: NotKeepable, body: bytes, scope: Scope, receive: Receive, send: Send
) -> None:
    code = _PARSE_ERROR if isinstance(error, NotJson) else _INVALID_PARAMS
    what = "Invalid JSON payload" if isinstance(error, NotJson) else "the request cannot be taken"
    told = {"code": code, "message": f"{what}: {error.message}"}
    answer = JSONResponse({"jsonrpc": "2.0", "id": _request_id(body), "error": told})
    await answer(scope, receive, send)


def _request_id(body: bytes) -> str | int | None:
    """The id of a request that is not taken, as far as it can be read."""
    if len(body) > _LONGEST_REREAD:
        return None
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    given = request.get("id") if isinstance(request, dict) else None
    usable = isinstance(given, str | int) and not isinstance(given, bool)
    return given if usable and len(str(given)) <= _LONGEST_ID and str(given).isprintable() else None
