"""What hostile agents and clients try, and what it does not get them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def hostile(start_platform, tmp_path_factory):
    """A platform whose agent `records` is hostile; `asked` tells what reached it."""
    agent = subprocess.Popen(
        [sys.executable, str(HERE / "hostile_agent.py")], stdout=subprocess.PIPE
    )
    port = json.loads(agent.stdout.readline())["port"]
    catalogue = tmp_path_factory.mktemp("hostile") / "catalogue.toml"
    text = (HERE.parents[1] / "deploy" / "local" / "catalogue.toml").read_text()
    catalogue.write_text(
        text.replace('url = "${MC_RECORDS_AGENT_URL}"', f'url = "http://127.0.0.1:{port}"')
    )
    platform = start_platform(MC_CATALOGUE=str(catalogue))
    yield platform, lambda: httpx.get(f"http://127.0.0.1:{port}/asked").json()
    agent.terminate()
    agent.wait(60)


@pytest.mark.parametrize(
    "what",
    [
        "state",
        "artifact-text",
        "artifact-number",
        "big-number",
        "deep-data",
        "surrogate",
        "many-parts",
        "no-part",
        "deep",
        "other-id",
        "other-context",
        "old",
    ],
)
def test_a_malformed_reply_is_the_agents_failure_and_leaks_nothing(hostile, what, wait_until):
    """It is told as such at once, its text is nowhere, and the tenant's tasks stay readable."""
    platform, _ = hostile
    answer = platform.ask(what)
    assert answer.body["error"]["code"] == -32006, answer.body
    listed = platform.rpc("ListTasks", {"pageSize": 100})
    assert "result" in listed.body
    newest = listed.body["result"]["tasks"][0]
    assert newest["status"]["state"] == "TASK_STATE_FAILED"
    wait_until(lambda: len(platform.ledger(newest["id"])) == 2, what="both events at the SIEM")
    for text in (
        json.dumps(answer.body),
        json.dumps(listed.body),
        json.dumps(platform.siem_events()),
    ):
        assert "alice@example.com" not in text
        assert "4111111111111111" not in text


def test_numbers_come_back_from_an_agent_as_they_were_said(hostile):
    """Large integers, 5 and 5.0: in the answer, in GetTask and in ListTasks."""
    platform, _ = hostile
    said = {"order_id": 1234567890123456789, "n": [5, 5.0, -0.0, 0.1], "big": 10**100}
    answer = platform.ask("echo-parts", more=({"data": said}, {"data": 9007199254740993}))
    for task in (
        answer.task,
        platform.rpc("GetTask", {"id": answer.task["id"]}).body["result"],
        platform.rpc("ListTasks", {"includeArtifacts": True}).body["result"]["tasks"][0],
    ):
        first, second = (part["data"] for part in task["artifacts"][0]["parts"])
        assert repr((first, second)) == repr((said, 9007199254740993))


def test_one_message_id_at_once_is_one_request(hostile):
    """Ten clients send one id at the same time: one forward, one task, one answer."""
    platform, asked = hostile
    message_id, what = str(uuid.uuid4()), f"once-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: platform.ask(what, message_id=message_id), range(10)))
    assert asked()[what] == 1
    assert {answer.task["id"] for answer in answers} == {answers[0].task["id"]}
    assert {answer.text for answer in answers} == {f"echo {what}"}


def test_different_requests_under_one_id_at_once_are_one_request_and_conflicts(hostile):
    """Of ten different requests under one id one is accepted; the others are refused."""
    platform, asked = hostile
    message_id, name = str(uuid.uuid4()), uuid.uuid4().hex[:8]
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda n: platform.ask(f"{name}-{n}", message_id=message_id), range(10))
        )
    assert sum(what.startswith(name) for what in asked()) == 1
    codes = [answer.body.get("error", {}).get("code") for answer in answers]
    assert sorted(codes, key=str) == [-32053] * 9 + [None]


def test_a_client_that_leaves_its_stream_does_not_stop_the_work(hostile, wait_until):
    """The agent answers after the client has gone; the reply is recorded all the same."""
    platform, _ = hostile
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": "slow"}],
    }
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendStreamingMessage",
        "params": {"message": message},
    }
    headers = {"Authorization": f"Bearer {platform.token('TENANT_001')}", "A2A-Version": "1.0"}
    with httpx.stream("POST", platform.url + "/a2a", json=call, headers=headers) as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("data:"))
    task_id = json.loads(first.removeprefix("data:"))["result"]["task"]["id"]
    wait_until(
        lambda: platform.task(task_id)["status"]["state"] == "TASK_STATE_COMPLETED",
        what="the task completed without its client",
    )


@pytest.mark.parametrize("key", ["purpose", "residency"])
def test_personal_data_in_governance_words_is_not_carried_on(hostile, key):
    """A card number as a purpose is refused, and stands in no log and no ledger."""
    platform, _ = hostile
    answer = platform.ask("hello", **{key: "4111111111111111"})
    assert answer.body["error"]["code"] == -32050
    for text in ("\n".join(platform.log()), json.dumps(platform.siem_events())):
        assert "4111111111111111" not in text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"x":NaN}}', -32700),
        (b'{"x":"\xff"}', -32700),
        (b"", -32700),
        (b'{"jsonrpc":"2.0","id":1,"params":{"x":1e999}}', -32602),
        (b'{"id":"\\ud800","jsonrpc":"2.0"}', -32602),
        (b'{"id":1,"jsonrpc":"2.0","params":{"id":"\\u0000"}}', -32602),
    ],
    ids=["NaN", "bad UTF-8", "empty", "1e999", "lone surrogate", "NUL"],
)
def test_what_is_no_json_or_cannot_be_kept_is_told_so_on_every_route(hostile, body, code):
    """A parse error or invalid parameters on JSON-RPC, 400 elsewhere; never a 500."""
    platform, _ = hostile
    rpc = platform.post(body)
    assert (rpc.status, rpc.body["error"]["code"]) == (200, code)
    assert platform.post(body, path="/graphql").status == 400
    rest = platform.post(body, path="/v1/message:send")
    assert rest.status == 400


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 2000 + b"]" * 2000, "nested 2000 deep, the limit is 64"),
        (b"[" + b"[]," * 90_000 + b"1]", "180002 JSON values, the limit is 5000"),
        (b'{"a":' + b"7" * 5000 + b"}", "a number of more than 1000 characters"),
    ],
    ids=["deep", "many", "long number"],
)
def test_what_costs_more_than_its_bytes_is_refused_before_it_is_parsed(hostile, body, told):
    """413 on every path, and it says what, how many, and the limit."""
    platform, _ = hostile
    for path in ("/a2a", "/graphql", "/v1/message:send", "/aggregates"):
        answer = platform.post(body, path=path)
        assert (answer.status, answer.body["error"]["code"]) == (413, "request-too-large")
        assert told in answer.body["error"]["message"]


@pytest.mark.parametrize("task_id", ["a\x00b", "x" * 300, "\u202e"])
def test_ids_that_nobody_has_are_bad_requests(hostile, task_id):
    """NUL, control characters and endless ids are the caller's fault, not an outage."""
    platform, _ = hostile
    for method in ("GetTask", "CancelTask"):
        assert platform.rpc(method, {"id": task_id}).body["error"]["code"] == -32602


def test_two_authorization_headers_are_refused(hostile):
    """Which of two credentials counts must not depend on who reads them."""
    platform, _ = hostile
    port = platform.record("blue-1")["port"]
    token = platform.token("TENANT_001")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(
            b"POST /a2a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
            b"Authorization: Bearer wrong\r\nAuthorization: Bearer "
            + token.encode()
            + b"\r\n\r\n{}"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_idle_clients_do_not_take_the_service_down(hostile):
    """300 connections that never send their body leave /health answering, on edge and replica."""
    platform, _ = hostile
    for port in (platform.port, platform.record("blue-1")["port"]):
        idle = []
        try:
            for _ in range(300):
                connection = socket.create_connection(("127.0.0.1", port), timeout=60)
                connection.sendall(
                    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
                )
                idle.append(connection)
            assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
        finally:
            for connection in idle:
                connection.close()


def test_many_followers_of_one_task_are_bounded_and_harmless(hostile, wait_until):
    """Streams beyond the limit are refused by name; /health goes on answering."""
    platform, _ = hostile
    task_id = platform.order(delay_s=5, configuration={"returnImmediately": True}).task["id"]
    call = {"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": task_id}}
    headers = {"Authorization": f"Bearer {platform.token('TENANT_001')}", "A2A-Version": "1.0"}
    answers = []
    # One client for all: to make one for each takes as long as the order does on a slow machine
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(headers=headers, limits=limits, timeout=60) as client:

        def follow():
            with client.stream("POST", platform.url + "/a2a", json=call) as stream:
                answers.append(stream.read())

        followers = [threading.Thread(target=follow) for _ in range(130)]
        for follower in followers:
            follower.start()
        assert httpx.get(platform.url + "/health", timeout=60).status_code == 200
        for follower in followers:
            follower.join()
    assert any(b"follows 100 tasks" in answer for answer in answers)
    assert any(b"TASK_STATE_COMPLETED" in answer for answer in answers)
