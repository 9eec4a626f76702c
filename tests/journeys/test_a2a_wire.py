"""One answer to one question, whichever binding of A2A it comes by: JSON-RPC 1.0 and 0.3, HTTP+JSON."""

from __future__ import annotations

import json
import socket
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

GOVERNANCE = "urn:mc-platform:a2a:governance:1"
# What 0.3 calls the methods; it has no ListTasks
_OLD = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "GetExtendedAgentCard": "agent/getAuthenticatedExtendedCard",
}
_REST = {
    "SendMessage": ("POST", "/v1/message:send"),
    "SendStreamingMessage": ("POST", "/v1/message:stream"),
    "GetTask": ("GET", "/v1/tasks/{id}"),
    "CancelTask": ("POST", "/v1/tasks/{id}:cancel"),
    "SubscribeToTask": ("GET", "/v1/tasks/{id}:subscribe"),
    "ListTasks": ("GET", "/v1/tasks"),
    "GetExtendedAgentCard": ("GET", "/v1/extendedAgentCard"),
}
# What HTTP+JSON says for a code of JSON-RPC
_STATUS = {-32001: 404, -32002: 400, -32004: 400, -32050: 403, -32053: 409, -32602: 400}


@dataclass(frozen=True)
class Wire:
    """A binding; `call` gives results and errors in one form."""

    platform: Any
    binding: str

    def message(self, text: str = "status of order O-2001?", **more: Any) -> dict[str, Any]:
        old = self.binding == "0.3"
        part = {"kind": "text", "text": text} if old else {"text": text}
        role = {"role": "user", "kind": "message"} if old else {"role": "ROLE_USER"}
        return {"messageId": str(uuid.uuid4()), **role, "parts": [part], **more}

    def call(self, method: str, **params: Any) -> list[dict[str, Any]]:
        """All events of the answer; an error is `{"code": ...}` by JSON-RPC's code."""
        headers = {
            "Authorization": f"Bearer {self.platform.token('TENANT_001')}",
            "A2A-Version": "0.3" if self.binding == "0.3" else "1.0",
        }
        if self.binding == "HTTP+JSON":
            verb, path = _REST[method]
            told = {"params": params} if verb == "GET" else {"json": params}
            answer = httpx.request(
                verb,
                self.platform.url + path.format(id=params.pop("id", "")),
                headers=headers,
                timeout=60,
                **told,
            )
            if not answer.is_success:
                [code] = [code for code, reason in _REASONS.items() if f'"{reason}"' in answer.text]
                assert answer.json()["error"]["code"] == answer.status_code == _STATUS[code]
                return [{"code": code, "message": answer.json()["error"]["message"]}]
        else:
            name = _OLD[method] if self.binding == "0.3" else method
            body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}
            answer = httpx.post(self.platform.url + "/a2a", json=body, headers=headers, timeout=60)
            assert answer.status_code == 200
        if answer.headers["content-type"].startswith("text/event-stream"):
            lines = answer.text.splitlines()
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        else:
            events = [answer.json()]
        if self.binding == "HTTP+JSON":
            return events
        return [event.get("error") or event["result"] for event in events]


_REASONS = {
    -32001: "TASK_NOT_FOUND",
    -32002: "TASK_NOT_CANCELABLE",
    -32004: "UNSUPPORTED_OPERATION",
    -32050: "POLICY_DENIED",
    -32053: "CONFLICT",
    -32602: "INVALID_PARAMS",
}


@pytest.fixture(params=["1.0", "0.3", "HTTP+JSON"])
def wire(platform, request):
    return Wire(platform, request.param)


def _task(wire, event):
    return event if wire.binding == "0.3" else event["task"]


REFUSALS = {
    "an unknown task": (-32001, "GetTask", lambda _: {"id": "nope"}),
    "an unknown task, cancelled": (-32001, "CancelTask", lambda _: {"id": "nope"}),
    "an unknown task, followed": (-32001, "SubscribeToTask", lambda _: {"id": "nope"}),
    "an unknown task, continued": (
        -32001,
        "SendMessage",
        lambda wire: {"message": wire.message(taskId="nope")},
    ),
    "an unknown task, continued in a stream": (
        -32001,
        "SendStreamingMessage",
        lambda wire: {"message": wire.message(taskId="nope")},
    ),
    "a context that is no text": (
        -32602,
        "SendMessage",
        lambda wire: {"message": wire.message(contextId=5)},
    ),
    "a stream without a message's parts": (
        -32602,
        "SendStreamingMessage",
        lambda wire: {"message": wire.message(parts=None)},
    ),
    "an extended card": (-32004, "GetExtendedAgentCard", lambda _: {}),
    "a purpose that is not declared": (
        -32050,
        "SendMessage",
        lambda wire: {"message": wire.message(metadata={GOVERNANCE: {"purpose": "marketing"}})},
    ),
    "a foreign tenant, sent": (
        -32602,
        "SendMessage",
        lambda wire: {"message": wire.message(), "tenant": "TENANT_002"},
    ),
    "a foreign tenant, streamed": (
        -32602,
        "SendStreamingMessage",
        lambda wire: {"message": wire.message(), "tenant": "TENANT_002"},
    ),
    "a foreign tenant, read": (-32602, "GetTask", lambda _: {"id": "x", "tenant": "TENANT_002"}),
    "a foreign tenant, cancelled": (
        -32602,
        "CancelTask",
        lambda _: {"id": "x", "tenant": "TENANT_002"},
    ),
    "a foreign tenant, followed": (
        -32602,
        "SubscribeToTask",
        lambda _: {"id": "x", "tenant": "TENANT_002"},
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_the_same_by_every_binding(wire, case):
    """The same code, which HTTP+JSON tells by its status and reason."""
    code, method, params = REFUSALS[case]
    [refusal] = wire.call(method, **params(wire))
    assert refusal.get("code") == code, refusal


def test_a_task_takes_one_message(wire):
    """Who continues a task that is there is told that this is not offered, and what is."""
    [sent] = wire.call("SendMessage", message=wire.message())
    [refusal] = wire.call("SendMessage", message=wire.message(taskId=_task(wire, sent)["id"]))
    assert (refusal["code"], "contextId" in refusal["message"]) == (-32004, True)


def test_a_message_id_is_used_once(wire):
    """Another message under the same id is the platform's own conflict, in 0.3 too."""
    first = wire.message()
    wire.call("SendMessage", message=first)
    other = wire.message("another question", messageId=first["messageId"])
    [refusal] = wire.call("SendMessage", message=other)
    assert refusal["code"] == -32053


def _order(wire):
    old = wire.binding == "0.3"
    data = {
        "item": "widget",
        "quantity": 1,
        "customer": "C-1001",
        "amount_cents": 500,
        "address_ref": "A-1",
        "delay_s": 1,
    }
    governance = {"operation": "place-order", "purpose": "fulfilment"}
    part = {"kind": "data", "data": data} if old else {"data": data}
    sent = {**wire.message(metadata={GOVERNANCE: governance}), "parts": [part]}
    at_once = {"blocking": False} if old else {"returnImmediately": True}
    return {"message": sent, "configuration": at_once}


def _state(told):
    return told["status"]["state"].removeprefix("TASK_STATE_").lower()


def test_a_repeat_waits_no_longer_than_the_first(wire):
    """Who does not wait gets the task as it stands, again; a stream begins with it, and tells its end."""
    order = _order(wire)
    first, again = (_task(wire, wire.call("SendMessage", **order)[0]) for _ in range(2))
    assert (_state(first), _state(again), again["id"]) == ("working", "working", first["id"])
    told = wire.call("SendStreamingMessage", message=order["message"])
    assert _state(_task(wire, told[0])) == "working"
    last = told[-1] if wire.binding == "0.3" else told[-1]["statusUpdate"]
    assert _state(last) == "completed"


def test_a_question_is_at_work_once_it_is_accepted(wire):
    """Its first state is no promise to begin: it has begun."""
    told = wire.call("SendStreamingMessage", message=wire.message())
    assert _state(_task(wire, told[0])) == "working"


@pytest.mark.parametrize("binding", ["1.0", "HTTP+JSON"])
def test_a_listing_counts_all_that_it_finds(platform, binding):
    """Not those of its page; each page says the same."""
    wire, context = Wire(platform, binding), str(uuid.uuid4())
    for _ in range(5):
        wire.call("SendMessage", message=wire.message(contextId=context))
    pages, token = [], ""
    while not pages or token:
        [page] = wire.call("ListTasks", contextId=context, pageSize=2, pageToken=token)
        token = page.get("nextPageToken", "")
        pages.append(page)
    assert [(len(page["tasks"]), page["totalSize"]) for page in pages] == [(2, 5), (2, 5), (1, 5)]
    newest = pages[0]["tasks"][0]["status"]["timestamp"]
    [since] = wire.call("ListTasks", contextId=context, statusTimestampAfter=newest)
    assert (len(since["tasks"]), since["totalSize"]) == (1, 1)


@pytest.mark.parametrize("binding", ["1.0", "HTTP+JSON"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "NOPE"},
        {"pagesize": 2},
        {"historyLength": -5},
        {"statusTimestampAfter": "yesterday"},
        {"pageSize": 0},
        {"tenant": "TENANT_002"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_listing_refuses_what_it_does_not_know(platform, binding, wrong):
    """A filter that is passed over would widen the answer."""
    [refusal] = Wire(platform, binding).call("ListTasks", **wrong)
    assert refusal["code"] == -32602


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1", 404), ("/v1/nope", 404), ("/v1/TENANT_001/nope", 404), ("/v1/tasks/", 404),
        ("/graphql/", 404), ("/nope", 404), ("/a2a/x", 404), ("/a2a", 405), ("/v1/message:send", 405),
    ],
)  # fmt: skip
def test_a_path_that_is_not_there_redirects_nowhere(platform, path, status):
    """The answer is JSON, and repeats nothing of `Host`; 405 names the methods that there are."""
    bearer = f"Bearer {platform.token('TENANT_001')}"
    headers = {"Authorization": bearer, "A2A-Version": "1.0", "Host": "elsewhere.example"}
    answer = httpx.get(platform.url + path, headers=headers)
    assert (answer.status_code, "location" in answer.headers) == (status, False)
    code = {404: "not-found", 405: "method-not-allowed"}[status]
    assert answer.json()["error"]["code"] == code
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert "elsewhere" not in answer.text


def test_the_edge_quotes_no_header(platform):
    """What cannot be read as HTTP is refused in JSON, without a word of it."""
    for line in (b"Authorization: Bearer \x00sEcReT\r\n", b"sEcReT\r\n", b"X: s\xffEcReT\x01\r\n"):
        with socket.create_connection(("127.0.0.1", platform.port), timeout=10) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n")
            told = b"".join(iter(lambda raw=raw: raw.recv(4096), b""))
        head, _, body = told.partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0]
        assert json.loads(body)["error"]["code"] == "bad-request"
        assert b"sEcReT" not in told


def test_the_card_serves_both_versions(platform):
    """1.0 clients read its interfaces, 0.3 clients the fields beside them; both may keep it a minute."""
    answer = httpx.get(platform.url + "/.well-known/agent-card.json")
    card = answer.json()
    told = [(one["protocolBinding"], one["protocolVersion"]) for one in card["supportedInterfaces"]]
    assert told == [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")]
    old = (card["protocolVersion"], card["preferredTransport"], card["url"])
    assert old == ("0.3", "JSONRPC", f"{platform.url}/a2a")
    assert card["security"] == [{"bearer": []}]
    assert card["securitySchemes"]["bearer"]["type"] == "http"
    assert answer.headers["cache-control"] == "public, max-age=60"
    assert answer.headers["etag"]
