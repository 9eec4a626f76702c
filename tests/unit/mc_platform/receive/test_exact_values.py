"""What a client says comes back as it was said, by every way in and out."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from a2a.client import ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from a2a.utils.constants import TransportProtocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from tests.fakes import MemoryLedger, NoOperations, local_catalogue, request_path

from mc_contract.keepable import MOST_DIGITS, json_bytes, json_text, read_json
from mc_platform.adapters.downstream_a2a import Asked, read_reply
from mc_platform.adapters.postgres.rows import EARLIEST, LATEST
from mc_platform.errors import PlatformError
from mc_platform.model.label import Part, Screening
from mc_platform.model.task import Page, Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Decision, Question
from mc_platform.receive import FastPath, GovernedRequestHandler, a2a_routes
from mc_platform.receive.handler import PRINCIPAL, _from_token, _to_token
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.routes import agent_card

CATALOGUE = local_catalogue()
URL = "http://gateway.example"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

REPLY = b'{"jsonrpc": "2.0", "id": "m", "result": {"message": {"parts": %b}}}'


def typed(value: Any) -> Any:
    """The value with its types, so that 5, 5.0 and True are three things."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


class Echo:
    """An agent that answers what it is asked, over the bytes that an agent gets and sends."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def ask(self, *, parts: Sequence[Part], **_: Any) -> tuple[Part, ...]:
        heard = json_bytes(list(parts))
        self.asked += json.loads(heard)
        return read_reply(REPLY % heard, Asked("m", "c"))


class Permissive:
    """Policy that permits all; and screening that finds nothing."""

    def decide(self, question: Question) -> Decision:
        return Decision(str(uuid.uuid4()), True, question.action, (), "permitted", "d")

    def screen(self, _parts: Any, _scope: Any, _said: Any = ()) -> Screening:
        return Screening()


class Stored(MemoryLedger):
    """A ledger that keeps a task's parts as the text that its row holds."""

    async def record(self, events: Any, task: Any = None) -> Any:
        if task is not None:
            kept = tuple(read_json(json_text(list(task.parts)), most_depth=40))
            object.__setattr__(task, "parts", kept)
        return await super().record(events, task)

    async def page(self, tenant: Any, *, limit: int, **_: Any) -> Page:
        found = [task for task in self.tasks.values() if task.tenant == tenant]
        return Page(found[:limit], len(found) > limit)


class Gateway:
    """The A2A surface in memory."""

    def __init__(self) -> None:
        self.ledger, self.agent, self.operations = Stored(), Echo(), NoOperations()
        card = agent_card(public_url=URL, version="1", catalogue=CATALOGUE)
        handler = GovernedRequestHandler(
            path=request_path(
                catalogue=CATALOGUE,
                decisions=Permissive(),  # type: ignore[arg-type]
                screener=Permissive(),  # type: ignore[arg-type]
                ledger=self.ledger,
                downstream=self.agent,  # type: ignore[arg-type]
                operations=self.operations,
            ),
            tasks=self.ledger,  # type: ignore[arg-type]
            limiter=RateLimiter(rate_per_s=1e9, burst=1_000_000),
            card=card,
        )

        async def refused(_request: Any, error: Any) -> JSONResponse:
            return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

        app = FastPath(
            Starlette(
                routes=list(a2a_routes(handler, card)), exception_handlers={PlatformError: refused}
            ),
            handler,
        )

        async def entered(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = {PRINCIPAL: Principal("agent", "TENANT_001", "k")}
            waiting = [await Request(scope, receive).body()]  # as the middleware gives it: at once

            async def whole() -> Any:
                if not waiting:
                    return await receive()
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}

            await app(scope, whole, send)

        self.card = card
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(entered), base_url=URL, headers={"A2A-Version": "1.0"}
        )

    async def rpc(self, method: str, params: Any, *, old: bool = False) -> Any:
        """The result of a JSON-RPC call, as Python's own JSON reads it."""
        request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        answer = await self.http.post(
            "/a2a",
            content=json_bytes(request),
            headers={"A2A-Version": "0.3"} if old else {},
        )
        body = json.loads(answer.content)
        assert body["id"] == 7
        assert int(answer.headers["content-length"]) == len(answer.content)
        return body.get("result") or body

    async def raw(self, part: str) -> Any:
        """The answer to a message with one part, written out."""
        return await self.raw_body(
            '{"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": {"message":'
            f' {{"messageId": "{uuid.uuid4()}", "role": "ROLE_USER", "parts": [{part}]}}}}}}'
        )

    async def raw_body(self, body: str | bytes, path: str = "/a2a") -> Any:
        answer = await self.http.post(path, content=body)
        return json.loads(answer.content)


@asynccontextmanager
async def open_gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    async with gateway.http:
        yield gateway


def message(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": list(parts), **more}


def replied(result: Any) -> Any:
    task = result.get("task", result)
    # A listing writes out what is empty
    return [
        {key: value for key, value in part.items() if value != "" or key == "data"}
        for part in task["artifacts"][0]["parts"]
    ]


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        _TEXT,
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=15,
)
_OBJECTS = st.dictionaries(_TEXT, _VALUES, max_size=4)
PLAIN = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PLAIN
@given(data=_VALUES, metadata=_OBJECTS)
def test_what_is_said_comes_back_by_every_way(data, metadata):
    """To the agent and back: in the answer, in GetTask and ListTasks, over HTTP+JSON, in a stream."""

    async def story() -> None:
        async with open_gateway() as gateway:
            part = {"data": data, **({"metadata": metadata} if metadata else {})}
            result = await gateway.rpc("SendMessage", {"message": message(part)})
            assert typed(gateway.agent.asked) == typed([part])
            assert typed(replied(result)) == typed([part])
            got = await gateway.rpc("GetTask", {"id": result["task"]["id"]})
            assert typed(replied(got)) == typed([part])
            listed = await gateway.rpc("ListTasks", {"includeArtifacts": True})
            [task] = listed["tasks"]
            assert typed(replied(task)) == typed([part])
            body = json_bytes({"message": message(part)})
            rest = await gateway.http.post("/v1/message:send", content=body)
            assert typed(replied(json.loads(rest.content))) == typed([part])
            read = await gateway.http.get(f"/v1/tasks/{result['task']['id']}")
            assert typed(replied(json.loads(read.content))) == typed([part])
            events = [event async for event in streamed(gateway, "/v1/message:stream", body)]
            assert typed(replied(events[0])) == typed([part])

    asyncio.run(story())


@PLAIN
@given(data=_VALUES, metadata=_OBJECTS)
def test_what_is_said_in_0_3_comes_back(data, metadata):
    """The compatibility passes the same layer; what is no object is wrapped as it has it."""

    async def story() -> None:
        async with open_gateway() as gateway:
            meta = dict(metadata)
            meta.pop("data_part_compat", None)
            part: dict[str, Any] = {"kind": "data", "data": data}
            if not isinstance(data, dict):
                part["data"] = {"value": data}
                part["metadata"] = {**meta, "data_part_compat": True}
            elif meta:
                part["metadata"] = meta
            said = {"messageId": str(uuid.uuid4()), "role": "user", "parts": [part]}
            said["kind"] = "message"
            result = await gateway.rpc("message/send", {"message": said}, old=True)
            assert typed(gateway.agent.asked[0]["data"]) == typed(data)
            assert typed(result["artifacts"][0]["parts"]) == typed([part])
            got = await gateway.rpc("tasks/get", {"id": result["id"]}, old=True)
            assert typed(got["artifacts"][0]["parts"]) == typed([part])

    asyncio.run(story())


async def streamed(gateway: Gateway, path: str, body: bytes) -> AsyncIterator[Any]:
    async with gateway.http.stream("POST", path, content=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                yield json.loads(line.removeprefix("data:"))


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("1234567890123456789", 1234567890123456789),
        ("9007199254740993", 9007199254740993),
        ("5", 5),
        ("5.0", 5.0),
        ("-0.0", -0.0),
        ("0.1", 0.1),
        ('{"a": [1, 1.0, "\\u2028\\u0085"]}', {"a": [1, 1.0, "\u2028\u0085"]}),
        ("null", None),
    ],
)
async def test_the_spelling_says_which_kind_of_number_it_is(said, value):
    """An integer stays one; a decimal, too."""
    async with open_gateway() as gateway:
        result = (await gateway.raw(f'{{"data": {said}}}'))["result"]
    assert typed(gateway.agent.asked[0]["data"]) == typed(value)
    assert typed(replied(result)[0]["data"]) == typed(value)


async def test_a_decimal_keeps_the_digits_that_a_double_has_not():
    """It travels as it is written."""
    async with open_gateway() as gateway:
        said = '{"data": [0.12345678901234567890]}'
        body = {"message": {"messageId": "m", "role": "ROLE_USER", "parts": [0]}}
        text = json.dumps(body).replace("[0]", f"[{said}]")
        answer = await gateway.http.post("/v1/message:send", content=text)
    assert "[0.12345678901234567890]" in answer.text


async def test_a_line_end_of_unicode_breaks_no_event():
    """Some clients of event streams end lines at U+2028 and U+0085: there they are escaped."""
    async with open_gateway() as gateway:
        body = json_bytes({"message": message({"data": {"k": "a\u2028b\u0085c"}})})
        async with gateway.http.stream("POST", "/v1/message:stream", content=body) as answer:
            text = (await answer.aread()).decode()
    lines = [line for line in text.splitlines() if line.startswith("data:")]
    update = json.loads(lines[1].removeprefix("data:"))["artifactUpdate"]
    assert update["artifact"]["parts"] == [{"data": {"k": "a\u2028b\u0085c"}}]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ('{"data": {"n": 1e400}}', "message.parts[0].data.n is a number outside a double's range"),
        (
            '{"data": [1%s]}' % ("0" * MOST_DIGITS),
            "message.parts[0].data[0] is a number of more than 308 digits",
        ),
        ('{"text": "a\\u0000b"}', "message.parts[0].text holds a NUL character"),
        ('{"text": "a\\ud800b"}', "message.parts[0].text holds half of a surrogate pair"),
        ('{"data": {"a": 1, "a": 2}}', "message.parts[0].data.a stands twice in its object"),
        ('{"raw": "%%%"}', "message.parts[0].raw is no base64"),
        ('{"raw": "YWJj YWJj"}', "message.parts[0].raw is no base64"),
        ('{"raw": "YWJjZ"}', "message.parts[0].raw is no base64"),
        (f'{{"data": {"[" * 33}1{"]" * 33}}}', "parts[0].data[0][0]"),
        (
            f'{{"data": 1, "metadata": {{"a": {"[" * 33}1{"]" * 33}}}}}',
            "parts[0].metadata.a[0]",
        ),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_its_place(part, message):
    """In the format of the endpoint; nothing is recorded, and no agent is asked."""
    async with open_gateway() as gateway:
        told = (await gateway.raw(part))["error"]
        assert told["code"] == -32602
        assert message in told["message"]
        body = f'{{"message": {{"messageId": "m", "role": "ROLE_USER", "parts": [{part}]}}}}'
        rest = await gateway.http.post("/v1/message:send", content=body)
        assert rest.status_code == 400
        assert rest.json()["error"]["code"] == "bad-request"
        assert message in rest.json()["error"]["message"]
    assert gateway.agent.asked == []
    assert gateway.ledger.tasks == {}


@pytest.mark.parametrize("said", ["+/+/YWI=", "-_-_YWI=", "-_-_YWI"])
async def test_bytes_arrive_whole_in_each_spelling(said):
    """A decoder of one alphabet passes over the other's characters: 0.3's would lose three bytes."""
    async with open_gateway() as gateway:
        await gateway.raw(json.dumps({"raw": said}))
        file = {"kind": "file", "file": {"bytes": said}}
        old = {**message(file), "role": "user", "kind": "message"}
        await gateway.rpc("message/send", {"message": old}, old=True)
        assert [asked["raw"] for asked in gateway.agent.asked] == ["+/+/YWI="] * 2
        file["file"]["bytes"] = "%%%"
        answer = await gateway.http.post(
            "/a2a",
            json={
                "jsonrpc": "2.0",
                "id": 1,
                "method": "message/send",
                "params": {"message": {**old, "messageId": "another"}},
            },
        )
        assert "parts[0].file.bytes is no base64" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"id": NaN}', b"\xff", b'{"a": "caf\xe9"}'])
async def test_what_is_no_json_is_a_parse_error(body):
    """By JSON-RPC's own code; HTTP+JSON answers 400."""
    async with open_gateway() as gateway:
        told = await gateway.raw_body(body)
        assert (told["error"]["code"], told["id"]) == (-32700, None)
        if body:
            rest = await gateway.http.post("/v1/message:send", content=body)
            assert rest.status_code == 400


@pytest.mark.parametrize("body", ["null", "1", '"x"', "[]", "{}", '{"params": []}'])
async def test_what_is_no_request_is_left_to_the_sdk(body):
    """Its own errors, and never a crash."""
    async with open_gateway() as gateway:
        told = await gateway.raw_body(body)
    assert told["error"]["code"] in (-32600, -32601, -32602)


async def test_a_retry_whose_sdk_writes_decimals_is_the_same_request():
    """5 and 5.0 are one number: so the first task is given, and the agent is asked once."""
    async with open_gateway() as gateway:
        first = await gateway.rpc("SendMessage", {"message": message({"data": {"n": 5}})})
        again = message({"data": {"n": 5.0}})
        again["messageId"] = next(iter(gateway.ledger.tasks.values())).message_id
        repeat = await gateway.rpc("SendMessage", {"message": again})
        assert repeat["task"]["id"] == first["task"]["id"]
        again["parts"] = [{"data": {"n": 9007199254740993}}]
        other = await gateway.rpc("SendMessage", {"message": again})
        assert other["error"]["code"] == -32053
    assert len(gateway.agent.asked) == 1


async def test_an_operation_gets_its_numbers_as_they_were_written():
    """Its input is the message's data part."""
    order = {"item": "w", "quantity": 1, "customer": "C-1", "amount_cents": 9007199254740993}
    governance = {"urn:mc-platform:a2a:governance:1": {"operation": "place-order"}}
    part = {"data": {**order, "address_ref": "A-1"}}
    async with open_gateway() as gateway:
        await gateway.rpc("SendMessage", {"message": message(part, metadata=governance)})
        [begun] = gateway.operations.begun
        assert typed(begun.input) == typed(part["data"])


@pytest.mark.parametrize("protocol", [TransportProtocol.JSONRPC, TransportProtocol.HTTP_JSON])
async def test_the_official_client_reads_what_its_doubles_hold(protocol):
    """It puts numbers into protobuf, so it has doubles; and nothing breaks it."""
    async with open_gateway() as gateway:
        config = ClientConfig(
            streaming=False, httpx_client=gateway.http, supported_protocol_bindings=[protocol]
        )
        client = ClientFactory(config).create(gateway.card)
        said = pb.Message(message_id="m", role=pb.ROLE_USER)
        said.parts.add().data.struct_value.update({"n": 5, "deep": [[{"a": None}]], "t": "x"})
        [reply] = [
            event async for event in client.send_message(pb.SendMessageRequest(message=said))
        ]
        assert list(reply.task.artifacts[0].parts) == list(said.parts)
        [listed] = (await client.list_tasks(pb.ListTasksRequest(include_artifacts=True))).tasks
        assert list(listed.artifacts[0].parts) == list(said.parts)


@pytest.mark.parametrize(
    "stored",
    [({"raw": 5},), ({"text": ["x"]},), ({"text": "x", "url": "y"},), ({"metadata": {"a": 1}},)],
)
async def test_a_task_that_the_sdk_cannot_hold_takes_no_neighbour_along(stored: Any):
    """It is listed with its id, its state and a word on why its content is not there."""
    async with open_gateway() as gateway:
        result = await gateway.rpc("SendMessage", {"message": message({"text": "hello"})})
        good = gateway.ledger.tasks[result["task"]["id"]]
        fields: Mapping[str, Any] = {
            name: getattr(good, name) for name in Task.__dataclass_fields__
        } | {"id": "bad", "parts": stored, "updated_at": NOW - timedelta(days=1)}
        gateway.ledger.tasks["bad"] = Task(**fields)
        listed = await gateway.rpc("ListTasks", {"includeArtifacts": True})
        shown = {task["id"]: task for task in listed["tasks"]}
        assert replied(shown[good.id]) == [{"text": "hello"}]
        assert shown["bad"]["status"]["state"] == TaskState.completed.value
        [said] = shown["bad"]["status"]["message"]["parts"]
        assert "the content cannot be shown" in said["text"]
        got = await gateway.rpc("GetTask", {"id": "bad"})
        assert got["status"]["message"]["parts"] == [{"text": said["text"]}]


@pytest.mark.parametrize("protocol", [TransportProtocol.JSONRPC, TransportProtocol.HTTP_JSON])
@pytest.mark.parametrize("at", [EARLIEST, LATEST])
async def test_a_task_of_an_odd_time_can_be_read_by_the_official_client(
    protocol: Any, at: datetime
):
    """As the first or last time that there is; its page's token is one that this service knows."""
    async with open_gateway() as gateway:
        result = await gateway.rpc("SendMessage", {"message": message({"text": "hello"})})
        good = gateway.ledger.tasks[result["task"]["id"]]
        object.__setattr__(good, "updated_at", at)
        config = ClientConfig(
            streaming=False, httpx_client=gateway.http, supported_protocol_bindings=[protocol]
        )
        client = ClientFactory(config).create(gateway.card)
        [listed] = (await client.list_tasks(pb.ListTasksRequest())).tasks
        got = await client.get_task(pb.GetTaskRequest(id=good.id))
        for task in (listed, got):
            assert task.status.timestamp.ToDatetime(UTC) == at
        assert _from_token(_to_token(good)) == (at, good.id)


@pytest.mark.parametrize(
    "token", ["2026-01-02|t", "2026-01-02T03:04:05|t", "9999-12-31T23:00:00-05:00|t"]
)
async def test_a_page_token_without_utc_is_none_of_ours(token: str):
    """400, and no error of whoever computes with it."""
    async with open_gateway() as gateway:
        given = base64.urlsafe_b64encode(token.encode()).decode()
        told = await gateway.rpc("ListTasks", {"pageToken": given})
        assert told["error"]["code"] == -32602


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ('{"data": [1%s]}' % ("0" * 309), "parts[0].data[0] is a number of more than 308 digits"),
        ('{"data": {"anna": "\\ud800"}}', "parts[0].data.* holds half of a surrogate pair"),
        (f'{{"data": {"[" * 45}{"]" * 45}}}', "parts[0].data[0][0][0][0][0]"),
        ('{"text": ["x"]}', "parts[0] is no A2A part"),
    ],
)
async def test_a_reply_that_cannot_be_kept_is_the_agents_failure(reply: str, why: str):
    """Named as that, recorded, and no trouble to any listing."""
    async with open_gateway() as gateway:

        async def ask(**_: Any) -> Any:
            return read_reply(REPLY % f"[{reply}]".encode(), Asked("m", "c"))

        gateway.agent.ask = ask  # type: ignore[method-assign]
        told = (await gateway.raw('{"text": "hello"}'))["error"]
        assert told["code"] == -32006
        assert "the agent's reply cannot be kept" in told["message"]
        assert why in told["message"]
        [task] = (await gateway.rpc("ListTasks", {}))["tasks"]
        assert task["status"]["state"] == TaskState.failed.value
        assert why in task["status"]["message"]["parts"][0]["text"]
    assert [event.kind.value for event in gateway.ledger.events] == [
        "request.accepted",
        "request.failed",
    ]
    assert why in gateway.ledger.events[-1].detail["reason"]
    assert "anna" not in json.dumps(gateway.ledger.events[-1].detail)


NO_COUNTS = [
    "-1",
    "1.5",
    "-0.5",
    "2147483648",
    "1" + "0" * 30,
    '"-1"',
    '"1_0"',
    '"x"',
    "true",
    "[1]",
]


@pytest.mark.parametrize("count", NO_COUNTS)
@pytest.mark.parametrize(
    ("method", "field", "version"),
    [
        ("SendMessage", "configuration.historyLength", "1.0"),
        ("SendMessage", "configuration.history_length", "1.0"),
        ("SendStreamingMessage", "configuration.historyLength", "1.0"),
        ("GetTask", "historyLength", "1.0"),
        ("ListTasks", "historyLength", "1.0"),
        ("ListTasks", "pageSize", "1.0"),
        ("ListTasks", "page_size", "1.0"),
        ("message/send", "configuration.historyLength", "0.3"),
        ("message/stream", "configuration.historyLength", "0.3"),
        ("tasks/get", "historyLength", "0.3"),
    ],
)
async def test_what_is_no_count_is_refused_by_its_name(
    method: str, field: str, version: str, count: str
):
    """Negative, no whole number or too large: -32602 in both versions, and nothing is recorded."""
    member = f'"{field.rpartition(".")[2]}": {count}'
    if "." in field:
        member = f'"configuration": {{{member}}}'
    text = '{"text": "x", "kind": "text"}'
    said = f'{{"messageId": "m", "role": "ROLE_USER", "parts": [{text}]}}'
    more = f'"message": {said}, ' if "essage" in method else '"id": "t", '
    async with open_gateway() as gateway:
        answer = await gateway.http.post(
            "/a2a",
            content=f'{{"jsonrpc": "2.0", "id": 7, "method": "{method}",'
            f' "params": {{{more}{member}}}}}',
            headers={"A2A-Version": version},
        )
        error = answer.json()["error"]
        assert (error["code"], answer.json()["id"]) == (-32602, 7)
        assert f"params.{field} is no whole number from 0 to 2147483647" in error["message"]
        assert gateway.ledger.events == []


@pytest.mark.parametrize("count", NO_COUNTS)
async def test_what_is_no_count_is_refused_over_http_and_json_too(count: str):
    """400 with the field's name, in a body and in a query."""
    async with open_gateway() as gateway:
        said = '{"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}'
        body = f'{{"message": {said}, "configuration": {{"historyLength": {count}}}}}'
        for way in ("send", "stream"):
            answer = await gateway.http.post(f"/v1/message:{way}", content=body)
            assert answer.status_code == 400
            assert "configuration.historyLength is no whole number" in answer.text
        for path, name in (
            ("/v1/tasks/t", "historyLength"),
            ("/v1/tasks", "historyLength"),
            ("/v1/tasks", "pageSize"),
        ):
            answer = await gateway.http.get(path, params={name: count.strip('"')})
            assert answer.status_code == 400
            assert f"{name} is no whole number from 0 to 2147483647" in answer.text
        assert gateway.ledger.events == []


@pytest.mark.parametrize("count", ["0", "3", "3.0", '"3"', "2147483647", "null"])
async def test_a_count_is_taken_in_the_forms_that_json_has(count: str):
    """As proto3 JSON writes integers."""
    async with open_gateway() as gateway:
        said = '{"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}'
        sent = await gateway.raw_body(
            '{"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params":'
            f' {{"message": {said}, "configuration": {{"historyLength": {count}}}}}}}'
        )
        listed = await gateway.raw_body(
            f'{{"jsonrpc": "2.0", "id": 7, "method": "ListTasks", "params":'
            f' {{"historyLength": {count}}}}}'
        )
        assert "result" in sent
        assert "result" in listed


@pytest.mark.parametrize("status", ["1.5", "true", "1.0"])
async def test_a_state_that_is_no_whole_number_is_no_state(status: str):
    """Protobuf would read each of them as 1, and show tasks that were not asked for."""
    async with open_gateway() as gateway:
        told = await gateway.raw_body(
            f'{{"jsonrpc": "2.0", "id": 7, "method": "ListTasks", "params": {{"status": {status}}}}}'
        )
        assert told["error"]["code"] == -32602
        assert "not what A2A has at status" in json.dumps(told["error"])


async def test_an_unknown_parameter_of_a_listing_is_refused_with_those_that_there_are():
    """By JSON-RPC as by HTTP+JSON; both spellings of protobuf's names are taken."""
    ask = '{"jsonrpc": "2.0", "id": 7, "method": "ListTasks", "params": {"%s": 2}}'
    async with open_gateway() as gateway:
        told = await gateway.raw_body(ask % "pagesize")
        assert told["error"]["code"] == -32602
        assert "no parameter but contextId, historyLength" in json.dumps(told["error"])
        for name in ("pageSize", "page_size"):
            assert "result" in await gateway.raw_body(ask % name)
