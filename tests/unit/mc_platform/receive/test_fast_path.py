"""The fast path beside the SDK's own routes: the same bytes in, the same answer out."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from tests.examples import examples
from tests.fakes import local_catalogue

from mc_contract.governance import GOVERNANCE_URI, GovernanceError
from mc_platform import errors
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.receive import FastPath, GovernedRequestHandler, a2a_routes
from mc_platform.receive.fast_path import read_call
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.routes import agent_card
from mc_platform.receive.wire_errors import answer, begin_note, retry_after

ALIKE = settings(max_examples=examples(600), deadline=None, suppress_health_check=list(HealthCheck))
PRINCIPAL_1 = Principal("agent", "TENANT_001", "k")
TASK = Task(
    id="5f3c5d2e-8f0e-4d0f-9a55-0c4b1a3f7d11",
    context_id="0b8f6f0e-1f4b-4bb7-8a54-7f4c4d9a9e02",
    tenant="TENANT_001",
    principal="agent",
    message_id="m",
    request_digest="d",
    state=TaskState.completed,
    updated_at=datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
    parts=({"text": "It is packed."},),
    governance={"decision_id": "d-1", "redacted": False, "labels": [], "cost": 5.0},
)


class Path:
    """What a request comes to: it keeps what it is given, and ends as the test says."""

    def __init__(self) -> None:
        self.end: Task | Exception = TASK
        self.seen: list[Any] = []
        self.open_tasks = SimpleNamespace(read=self._read)

    async def handle(self, envelope: Any) -> Task:
        return self._ended("handle", envelope)

    async def begin(self, envelope: Any) -> Task:
        return self._ended("begin", envelope)

    async def _read(self, principal: Any, task_id: str) -> Task:
        return self._ended("read", (principal, task_id))

    def _ended(self, *seen: Any) -> Task:
        self.seen.append(seen)
        if isinstance(self.end, Exception):
            raise self.end
        return self.end


def at_once(receive: Any) -> Any:
    """The body in one message, as the middleware gives it."""

    async def read() -> Any:
        body, more = b"", True
        while more:
            piece = await receive()
            if piece["type"] != "http.request":
                return piece
            body, more = body + piece["body"], piece["more_body"]
        return {"type": "http.request", "body": body, "more_body": False}

    return read


class Sides:
    """The routes with the fast path in front, and without."""

    def __init__(self) -> None:
        self.path, self.passed_on = Path(), 0
        card = agent_card(public_url="http://g.example", version="1", catalogue=local_catalogue())
        handler = GovernedRequestHandler(
            path=self.path,  # type: ignore[arg-type]
            tasks=None,  # type: ignore[arg-type]
            limiter=RateLimiter(rate_per_s=1e9, burst=1_000_000),
            card=card,
        )
        self._sdk = Starlette(
            routes=list(a2a_routes(handler, card)),
            exception_handlers={errors.PlatformError: answer},  # as the service has it
        )
        self._fast = FastPath(self._counted, handler)

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        self.passed_on += 1
        await self._sdk(scope, receive, send)

    async def ask(
        self,
        body: bytes,
        *,
        fast: bool,
        in_one_piece: bool = True,
        path: str = "/a2a",
        **headers: str,
    ) -> Any:
        waits = []

        async def entered(scope: Any, receive: Any, send: Any) -> None:
            begin_note()
            scope["state"] = {PRINCIPAL: PRINCIPAL_1}
            whole = at_once(receive) if in_one_piece else receive
            await (self._fast if fast else self._sdk)(scope, whole, send)
            waits.append(retry_after(200))

        self.path.seen.clear()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(entered), base_url="http://g.example"
        ) as http:
            answer = await http.post(path, content=body, headers=headers)
        seen, told = typed(self.path.seen), sorted(answer.headers.items())
        assert ("content-length", str(len(answer.content))) in told
        # Bytes differ where the SDK's side escapes what event streams would end a line at
        told = [pair for pair in told if pair[0] != "content-length"]
        return answer.status_code, told, answer.content, seen, waits


SIDES = Sides()


def typed(value: Any) -> Any:
    """The value with its types and its members in their order, so that 5 and 5.0 are two things."""
    if isinstance(value, dict):
        return [(key, typed(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


def both(body: bytes, end: Task | Exception = TASK, *, path: str = "/a2a", **headers: str) -> bool:
    """Hold both ways' answers together; whether the fast one answered by itself."""

    async def ask() -> tuple[Any, Any]:
        return (
            await SIDES.ask(body, fast=True, path=path, **headers),
            await SIDES.ask(body, fast=False, path=path, **headers),
        )

    SIDES.path.end, SIDES.passed_on = end, 0
    ours, sdks = asyncio.run(ask())
    assert ours[:2] == sdks[:2]
    assert typed(json.loads(ours[2] or b"0")) == typed(json.loads(sdks[2] or b"0"))
    assert ours[3:] == sdks[3:]
    return SIDES.passed_on == 0


def call(method: str = "SendMessage", request_id: Any = 7, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def message(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messageId": "m-1", "role": "ROLE_USER", "parts": list(parts), **more}


V1 = {"A2A-Version": "1.0"}
USUAL = [
    call(message=message({"text": "Where is O-2001?"})),
    call(message=message({"text": ""}), request_id="a-string"),
    call(message=message({"text": "é€\u2028\u0085😀"}, contextId="c-1")),
    call(message=message({"data": {"n": 9007199254740993, "f": 5.0, "g": [1, None, 1e300]}})),
    call(message=message({"mediaType": "a/b", "data": 5, "filename": "f", "metadata": {"n": 1}})),
    call(message=message({"text": "a"}, metadata={GOVERNANCE_URI: {"agent": "records"}})),
    call(message=message({"text": "a"}, metadata={"x": {"y": [True, "z", {}, []]}})),
    call(message=message({"text": "a"}, extensions=["urn:x"], referenceTaskIds=["t-1"])),
    call(message=message({"text": "a"}), configuration={"returnImmediately": True}),
    call(
        message=message({"text": "a"}),
        configuration={"acceptedOutputModes": ["text/plain"], "historyLength": 3},
    ),
    call("GetTask", id=TASK.id),
    call("GetTask", id=TASK.id, historyLength=0),
]
WRONG_BUT_READ = [
    call(message=message({"text": "a"}, messageId="")),
    call(message=message({"text": "a"}, messageId="m" * 257)),
    call(message=message({"text": "a"}, contextId="\u0007")),
    call(message=message({"text": "a"}, referenceTaskIds=["t"] * 17)),
    call(message=message({"text": "a"}, referenceTaskIds=[""])),
    call(message=message({"text": "a"}, metadata={GOVERNANCE_URI: {"nonsense": "x"}})),
    call(message=message({"text": "a"}, metadata={GOVERNANCE_URI: "records"})),
    call(message=message({"text": "a"}, metadata={GOVERNANCE_URI: {"agent": "no word"}})),
    call("GetTask", id=""),
    call("GetTask", id="\n"),
]


@pytest.mark.parametrize(
    "request_", USUAL + WRONG_BUT_READ, ids=lambda one: str(one["params"])[:60]
)
def test_a_usual_request_is_answered_here_as_the_sdk_answers_it(request_: Any) -> None:
    assert both(json.dumps(request_).encode(), **V1)
    assert both(json.dumps(request_, ensure_ascii=False, indent=1).encode(), **V1)


BY_HTTP = "/v1/message:send"


@pytest.mark.parametrize(
    "request_",
    [one["params"] for one in USUAL + WRONG_BUT_READ if one["method"] == "SendMessage"],
    ids=lambda one: str(one)[:60],
)
def test_a_usual_message_by_http_is_answered_here_as_the_sdk_answers_it(request_: Any) -> None:
    assert both(json.dumps(request_).encode(), path=BY_HTTP, **V1)
    assert both(json.dumps(request_, ensure_ascii=False, indent=1).encode(), path=BY_HTTP, **V1)
    assert not both(json.dumps(request_).encode(), path=BY_HTTP)  # 0.3, for it names no version


ODD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"a"',
    b"\xff",
    b"\xef\xbb\xbf{}",
    json.dumps([USUAL[0]]).encode(),
    json.dumps({**USUAL[0], "jsonrpc": "1.0"}).encode(),
    json.dumps({**USUAL[0], "method": "sendmessage"}).encode(),
    json.dumps({**USUAL[0], "method": None}).encode(),
    json.dumps({**USUAL[0], "extra": 1}).encode(),
    json.dumps({key: value for key, value in USUAL[0].items() if key != "id"}).encode(),
    json.dumps({**USUAL[0], "params": []}).encode(),
    json.dumps({**USUAL[0], "params": None}).encode(),
    b'{"jsonrpc": "2.0", "jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t"}}',
    b'{"jsonrpc": "2.0", "id": NaN, "method": "GetTask", "params": {"id": "t"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "\\ud800"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "\\u0000"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t", "historyLength": -1}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t", "historyLength": 1.0}}',
    *(
        json.dumps(call("GetTask", odd, id="t")).encode()
        for odd in (None, True, 1.5, 5.0, [], {}, 2**53, 10**300, -(2**63))
    ),
    *(
        json.dumps(call(message=odd)).encode()
        for odd in (
            None,
            [],
            "text",
            message(),
            message(None),
            message("a"),
            message({}),
            message({"text": None}),
            message({"text": 5}),
            message({"text": "a", "data": 1}),
            message({"text": "a", "data": None}),
            message({"data": None}),
            message({"raw": "AAAA"}),
            message({"raw": "%%%"}),
            message({"url": "http://x.example"}),
            message({"text": "a", "metadata": {}}),
            message({"text": "a", "mediaType": ""}),
            message({"text": "a", "media_type": "a/b"}),
            message({"text": "a", "unknown": 1}),
            message({"text": "a"}, role="ROLE_AGENT"),
            message({"text": "a"}, role="user"),
            message({"text": "a"}, role=1),
            message({"text": "a"}, taskId="t"),
            message({"text": "a"}, message_id="m"),
            message({"text": "a"}, kind="message"),
            message({"text": "a"}, metadata={"n": 5}),
            message({"text": "a"}, metadata={GOVERNANCE_URI: None}),
            message({"text": "a"}, metadata={GOVERNANCE_URI: {"agent": 5}}),
            message({"text": "a"}, messageId=5),
            message(*({"text": "a"} for _ in range(257))),
        )
    ),
    json.dumps(call(message=message({"text": "a"}), tenant="TENANT_002")).encode(),
    json.dumps(call(message=message({"text": "a"}), tenant="TENANT_001")).encode(),
    json.dumps(call(message=message({"text": "a"}), configuration=None)).encode(),
    json.dumps(
        call(
            message=message({"text": "a"}),
            configuration={"taskPushNotificationConfig": {"url": "http://x.example"}},
        )
    ).encode(),
    json.dumps(call(message=message({"data": json.loads("[" * 33 + "]" * 33)}))).encode(),
    b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":' + b"[" * 5000 + b"]" * 5000 + b"}",
]


@pytest.mark.parametrize("body", ODD, ids=lambda body: body[:70].decode("latin-1"))
def test_what_is_odd_is_left_to_the_sdk(body: bytes) -> None:
    assert not both(body, **V1)


@pytest.mark.parametrize("body", ODD, ids=lambda body: body[:70].decode("latin-1"))
def test_what_is_odd_by_http_is_left_to_the_sdk(body: bytes) -> None:
    """As a whole, and what stands in its `params`."""
    assert not both(body, path=BY_HTTP, **V1)
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        params = json.dumps(json.loads(body)["params"]).encode()
        both(params, path=BY_HTTP, **V1)


@pytest.mark.parametrize("headers", [{}, {"A2A-Version": "0.3"}, {"A2A-Version": "1.1"}])
def test_another_version_is_left_to_the_sdk(headers: dict[str, str]) -> None:
    assert not both(json.dumps(USUAL[0]).encode(), **headers)
    if headers != {"A2A-Version": "1.1"}:  # a method of 1.0 is asked for
        answer = asyncio.run(SIDES.ask(json.dumps(USUAL[0]).encode(), fast=True, **headers))
        assert b"is not supported by this handler" in answer[2]


_TEXT = st.text(max_size=6)
_WORDS = st.sampled_from(
    ["ROLE_USER", "2.0", "records", "m-1", "text", "TASK_STATE_WORKING", "a b"]
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([2**31, 2**53, 2**63, 10**309, 1e308, 0.1, -0.0, 1.0]),
    st.floats(),
    _TEXT,
    _WORDS,
)
_KEYS = st.one_of(
    _TEXT,
    st.sampled_from(
        [
            "text",
            "data",
            "raw",
            "url",
            "metadata",
            "filename",
            "mediaType",
            "media_type",
            "parts",
            "role",
            "messageId",
            "contextId",
            "taskId",
            "tenant",
            "message",
            "configuration",
            "historyLength",
            "returnImmediately",
            "id",
        ]
    ),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _mutated(draw: st.DrawFn, usual: list[Any]) -> bytes:
    """A usual request, at a few places of which something else stands; then bytes changed, too."""
    request_ = json.loads(json.dumps(draw(st.sampled_from(usual))))
    for _ in range(draw(st.integers(0, 3))):
        holder: Any = request_
        while True:
            inner = [
                item
                for item in (holder.values() if isinstance(holder, dict) else holder)
                if isinstance(item, dict | list) and item
            ]
            if not inner or draw(st.integers(0, 3)) == 0:
                break
            holder = draw(st.sampled_from(inner))
        if isinstance(holder, dict):
            key = draw(st.sampled_from(sorted(holder)) | _KEYS) if holder else draw(_KEYS)
            if draw(st.booleans()):
                holder[key] = draw(_VALUES)
            else:
                holder.pop(key, None)
        else:
            holder.append(draw(_VALUES))
    body = json.dumps(request_, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 2)) :]
    return body


@ALIKE
@given(_mutated(USUAL))
def test_the_same_bytes_get_the_same_answer(body: bytes) -> None:
    both(body, **V1)


@ALIKE
@given(_mutated([one["params"] for one in USUAL if "message" in one["params"]]))
def test_the_same_bytes_get_the_same_answer_by_http(body: bytes) -> None:
    both(body, path=BY_HTTP, **V1)


_PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"text": text}, _TEXT),
        st.builds(lambda value: {"data": value}, _VALUES),
        st.dictionaries(_KEYS, _VALUES, max_size=3),
        st.just({"raw": "AAAA", "filename": "f"}),
    ),
    max_size=3,
).map(tuple)
_TASKS = st.builds(
    replace,
    st.just(TASK),
    context_id=st.sampled_from(["", "c-1", TASK.context_id]),
    state=st.sampled_from(list(TaskState)),
    status_text=st.one_of(st.just(""), _TEXT),
    updated_at=st.datetimes(
        datetime(1970, 1, 2),  # noqa: DTZ001 - they take the zones below
        datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    ),
    parts=_PARTS,
    governance=st.dictionaries(_TEXT, _VALUES, max_size=3),
)


@ALIKE
@given(_TASKS, st.sampled_from([USUAL[0], USUAL[-1]]))
@example(replace(TASK, updated_at=datetime(2026, 1, 2, tzinfo=UTC)), USUAL[0])
@example(replace(TASK, updated_at=datetime(2026, 1, 2, 0, 0, 0, 1, tzinfo=UTC)), USUAL[0])
@example(replace(TASK, parts=({"data": Decimal("0.10000000000000000000001")},)), USUAL[0])
@example(replace(TASK, parts=({"text": "a", "mediaType": None},)), USUAL[0])
@example(replace(TASK, parts=({"text": "\ud800"},)), USUAL[0])
@example(replace(TASK, parts=({},)), USUAL[0])
@example(replace(TASK, status_text="\ud800"), USUAL[0])
def test_a_task_is_shown_as_the_sdk_shows_it(task: Task, request_: Any) -> None:
    assert both(json.dumps(request_).encode(), task, **V1)
    assert both(json.dumps(USUAL[0]["params"]).encode(), task, path=BY_HTTP, **V1)


@pytest.mark.parametrize("request_", [USUAL[0], USUAL[8], USUAL[-1]])
@pytest.mark.parametrize(
    "error",
    [
        errors.PolicyDenied("no", decision_id="d-1", reason="because"),
        errors.NotFound("no such task"),
        errors.Conflict("used", hint="use a fresh one"),
        errors.AutonomyHalted("halted", scope="*", since="2026"),
        errors.AgentFailed("the agent failed"),
        errors.Unavailable("away"),
        errors.RateLimited("too many", retry_after_s=2.5),
        errors.BadRequest("bad"),
        GovernanceError("bad metadata"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_told_as_the_sdk_tells_it(request_: Any, error: Exception) -> None:
    assert both(json.dumps(request_).encode(), error, **V1)
    if "message" in request_["params"]:
        assert both(json.dumps(request_["params"]).encode(), error, path=BY_HTTP, **V1)


def test_a_body_in_pieces_is_left_to_the_sdk() -> None:
    SIDES.path.end, SIDES.passed_on = TASK, 0
    body = json.dumps(USUAL[0]).encode()
    status, *_ = asyncio.run(SIDES.ask(body, fast=True, in_one_piece=False, **V1))
    assert (status, SIDES.passed_on) == (200, 1)


def test_a_large_body_is_left_to_the_sdk() -> None:
    large = json.dumps(call(message=message({"text": "x" * 65_536}))).encode()
    assert read_call(large) is None
    assert not both(large, **V1)
