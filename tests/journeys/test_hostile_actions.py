"""What an action's endpoint may answer: whatever it is, the operation ends right and can be read.

A hostile endpoint on loopback charges payments for a running platform. What it answers is named by the
operation's `customer`; its compensation, by default, is honest. Each poison is asked for once; then every
reader is asked for all of it.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.raw_peer import Asked, answer, raw, raw_peer

HERE = Path(__file__).parent
JSON = "Content-Type: application/json"
DIGITS_309, DEEP = b"1" + b"0" * 309, b"[" * 45 + b"]" * 45
EXACT = {
    "charge_id": 9007199254740993,
    "n": [5, 5.0, 10**300, -(2**63), 0.1],
    "like": "{input.customer} {result.charge_id} ${MC_PORT} %s {{x}} [EMAIL]",
    "\u2028": "\u0085\u202e",
}


def _dripped(_asked: Asked, connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:  # until the caller has gone
        connection.sendall(b" ")
        time.sleep(0.05)


def _chunked(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


TAKEN = {
    "fine": answer(b'{"charge_id":"CH-1"}', JSON),
    "empty": answer(b""),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "null error": answer(b'{"error":null,"charge_id":"CH-2"}', JSON),
    "cookies": answer(b"{}", JSON, "Set-Cookie: sid=of-somebody; Path=/"),
    "exact": answer(json.dumps(EXACT).encode(), JSON),
    "wide": answer(b'{"a":[%b]}' % b",".join([b"[]"] * 21_000), JSON),
    "64 KiB": answer(b'{"a":"%b"}' % (b"4111 1111 1111 1112, " * 3_000), JSON),
    "html with json": answer(b'{"charge_id":"CH-3"}', "Content-Type: text/html"),
}
"""Answers that are the endpoint's right."""

REFUSED = {
    "10^309": (answer(b'{"charge_id":%b}' % DIGITS_309), "reply cannot be kept (number too long)"),
    "1e309": (answer(b'{"charge_id":1e309}'), "reply cannot be kept (number out of range)"),
    "45 deep": (answer(b'{"charge_id":%b}' % DEEP), "reply cannot be kept (nested too deep)"),
    "30 deep": (answer(b'{"a":' * 30 + b"1" + b"}" * 30), "reply cannot be kept (nested too deep)"),
    "bomb": (answer(b"[" * 60_000), "reply cannot be kept (nested too deep)"),
    "surrogate": (answer(b'{"a":"\\ud800"}'), "reply cannot be kept (half a surrogate pair)"),
    "surrogate key": (answer(b'{"\\udfff":1}'), "reply cannot be kept (half a surrogate pair)"),
    "NUL": (answer(b'{"a":"x\\u0000"}'), "reply cannot be kept (nul character)"),
    "NaN": (answer(b'{"a":NaN}'), "reply is not json"),
    "5 MB": (answer(b'{"a":"%b"}' % (b"x" * 5_000_000)), "reply cannot be taken"),
    "key twice": (answer(b'{"a":1,"a":2}'), "reply cannot be kept (key twice)"),
    "bad UTF-8": (answer(b'{"a":"\xff\xfe"}'), "reply is not in utf-8"),
    "Latin-1": (
        answer('{"a":"café"}'.encode("latin-1"), "Content-Type: application/json; charset=latin-1"),
        "reply is not in utf-8",
    ),
    "UTF-16": (answer('{"a":1}'.encode("utf-16")), "reply is not in utf-8"),
    "html": (answer(b"<html>sorry</html>", "Content-Type: text/html"), "reply is not json"),
    "list": (answer(b"[1]"), "reply is not a json object"),
    "text": (answer(b'"alice@example.com"'), "reply is not a json object"),
    "two values": (answer(b"{}{}"), "reply is not json"),
    "compressed": (
        answer(gzip.compress(b"{}"), "Content-Encoding: gzip"),
        "reply cannot be taken",
    ),
    "dripped": (_dripped, "timed out"),
    "cut off": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{", close=True),
        "connection lost",
    ),
    "hung up": (raw(b"", close=True), "connection lost"),
    "no HTTP": (raw(b"SSH-2.0-x\r\n\r\n", close=True), "connection lost"),
    "broken chunks": (raw(_chunked(b"zz\r\n{}\r\n0\r\n\r\n"), close=True), "connection lost"),
    "much framing": (
        raw(_chunked(b"1;%b\r\n{\r\n" % (b"x" * 4000) * 40 + b"0\r\n\r\n"), close=True),
        "reply cannot be taken",
    ),
    "303": (answer(b"", "Location: /elsewhere", status="303 See Other"), "redirected (303)"),
    "302": (answer(b"", "Location: http://127.0.0.1:1/", status="302 Found"), "redirected (302)"),
    "999": (answer(b"x", status="999 \x07"), "unavailable (999)"),
    "503 for ever": (answer(b"", "Retry-After: " + "9" * 400, status="503 x"), "unavailable (503)"),
}
"""Answers after which nobody knows if the payment was charged: so it is refunded."""

EFFECTLESS = {
    "307": (answer(b"", "Location: /x", status="307 Temporary Redirect"), "redirected (307)"),
    "409": (answer(b'{"a":"\\ud800"}', status="409 \xff"), "refused (409)"),
}
"""Answers that say that nothing was charged."""

UNDO = {
    "list": (answer(b"[1]"), "reply is not a json object"),
    "10^309": (answer(b'{"a":%b}' % DIGITS_309), "reply cannot be kept (number too long)"),
    "5 MB": (answer(b"x" * 5_000_000), "reply cannot be taken"),
    "302": (answer(b"", "Location: /login", status="302 Found"), "redirected (302)"),
    "500": (answer(b"\xff\xd8 alice@example.com", status="500 x"), "unavailable (500)"),
}
"""Answers to a compensation after which nobody knows if it was done."""

SCRIPTS = {
    **TAKEN,
    **{name: script for name, (script, _) in {**REFUSED, **EFFECTLESS}.items()},
}


class Hostile:
    """The platform, and what its hostile endpoint was asked."""

    def __init__(self, platform: Any, peer: Any) -> None:
        self.platform = platform
        self.peer = peer
        self.tasks: dict[str, str] = {}

    def order(self, poison: str, tenant: str = "TENANT_001", **more: Any) -> dict[str, Any]:
        """The task of an operation that is answered so, by its id afterwards."""
        answered = self.platform.order(tenant, customer=poison, **more)
        assert "result" in answered.body, answered.body
        self.tasks.setdefault(poison, answered.task["id"])
        return answered.task

    def calls(self, task_id: str, phase: str) -> list[dict[str, Any]]:
        """Bodies of the endpoint's calls for an operation: `do` or `undo`."""
        return [
            json.loads(asked.body)
            for asked in self.peer.asked
            if asked.header("Idempotency-Key") == f"{task_id}:1:{phase}"
        ]


@pytest.fixture(scope="module")
def hostile(start_platform, tmp_path_factory):
    def script(asked: Asked, connection: Any) -> None:
        body = json.loads(asked.body)
        if "effect_key" in body:
            kind, _, poison = str(body["charge_id"]).partition(" ")
            told = UNDO[poison][0] if kind == "undo" else answer(b"{}")
        elif body["customer"].startswith("undo "):
            told = answer(json.dumps({"charge_id": body["customer"]}).encode())
        else:
            told = SCRIPTS[body["customer"]]
        told(asked, connection)

    text = (HERE.parents[1] / "deploy" / "local" / "catalogue.toml").read_text()
    with raw_peer(script) as peer:
        for path in ("/payments/charges", "/payments/refunds"):
            text = text.replace(
                f'url = "${{MC_FULFILMENT_AGENT_URL}}{path}"',
                f'timeout_s = 2.0\nurl = "{peer.by_address}{path}"',
            )
        text += (
            "\n[actions.charge-payment]\nretries = { attempts = 1 }\n"
            "undo_retries = { attempts = 2, first_wait_s = 0.01 }\n"
        )
        catalogue = tmp_path_factory.mktemp("hostile-actions") / "catalogue.toml"
        catalogue.write_text(text)
        yield Hostile(start_platform(MC_CATALOGUE=str(catalogue)), peer)


def metadata(task: dict[str, Any]) -> dict[str, Any]:
    [told] = task["metadata"].values()
    return told


@pytest.mark.parametrize("poison", REFUSED)
def test_a_poisoned_result_fails_its_step_and_is_undone(hostile, poison):
    """The reason names the endpoint's fault; every effect, also the uncertain one, is undone."""
    task = hostile.order(poison)
    told = metadata(task)
    reason = REFUSED[poison][1]
    assert (task["status"]["state"], told["outcome"]) == ("TASK_STATE_FAILED", "compensated")
    assert [(step["action"], step["state"]) for step in told["steps"]] == [
        ("reserve-stock", "compensated"),
        ("charge-payment", "failed"),
    ]
    assert told["steps"][1]["reason"] == f"{reason}; effect undone"
    assert (told["effects"], told["effects_undone"]) == (2, 2)
    [said] = task["status"]["message"]["parts"]
    assert said["text"] == (
        f'operation "place-order" compensated: step "charge-payment" failed: {reason};'
        " 2 of 2 effects undone"
    )
    [refund] = hostile.calls(task["id"], "undo")
    assert refund == {"charge_id": None, "effect_key": f"{task['id']}:1:do"}
    assert "artifacts" not in task


@pytest.mark.parametrize("poison", EFFECTLESS)
def test_a_refusal_has_no_effect_to_undo(hostile, poison):
    """What went before it is undone; nobody is asked to refund."""
    task = hostile.order(poison)
    told = metadata(task)
    assert (told["outcome"], told["effects"], told["effects_undone"]) == ("compensated", 1, 1)
    assert told["steps"][1]["reason"] == EFFECTLESS[poison][1]
    assert hostile.calls(task["id"], "undo") == []


@pytest.mark.parametrize("poison", TAKEN)
def test_an_odd_result_that_is_the_endpoints_right_is_taken(hostile, poison):
    """The operation completes, and no cookie comes back."""
    task = hostile.order(poison)
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert all(asked.header("Cookie") is None for asked in hostile.peer.asked)


def test_a_result_reaches_its_compensation_and_the_reader_as_it_was(hostile):
    """Numbers beyond 2^53, text that looks like a template, line ends: nothing is read into them."""
    done = hostile.order("exact")
    [data] = [part["data"] for part in done["artifacts"][0]["parts"]]
    assert repr(data["steps"][1]["result"]) == repr(EXACT)
    undone = hostile.order("exact", item="unbookable")
    assert metadata(undone)["outcome"] == "compensated"
    [refund] = hostile.calls(undone["id"], "undo")
    assert refund == {"charge_id": EXACT["charge_id"], "effect_key": f"{undone['id']}:1:do"}


@pytest.mark.parametrize("poison", UNDO)
def test_a_poisoned_answer_to_a_compensation_leaves_a_person_to_decide(hostile, poison):
    """Nobody knows if the payment went back: stuck, told as that, the rest undone, and resolvable."""
    task = hostile.order(f"undo {poison}", item="unbookable")
    told = metadata(task)
    assert (task["status"]["state"], told["outcome"]) == ("TASK_STATE_FAILED", "stuck")
    assert [(step["action"], step["state"]) for step in told["steps"]] == [
        ("reserve-stock", "compensated"),
        ("charge-payment", "stuck"),
        ("book-courier", "failed"),
    ]
    assert UNDO[poison][1] in told["steps"][1]["reason"]
    assert (told["effects"], told["effects_undone"]) == (2, 1)
    assert len(hostile.calls(task["id"], "undo")) == 2
    resolve = ("operations", "resolve", task["id"], "--mode", "accept", "--yes")
    done = hostile.platform.mcctl(*resolve, "--reason", "refunded by hand")
    assert done.returncode == 0


def test_a_neighbour_is_served_while_one_tenant_is_attacked(hostile):
    """Dripped and broken answers for one; the other's operations complete meanwhile."""
    attacked = [
        threading.Thread(target=hostile.order, args=(poison,)) for poison in ("dripped", "bomb") * 4
    ]
    for thread in attacked:
        thread.start()
    for _ in range(4):
        task = hostile.order("fine", "TENANT_002")
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    for thread in attacked:
        thread.join()


def test_every_reader_can_read_all_of_it(hostile, wait_until, tmp_path):
    """A2A in both bindings, GraphQL, the operator's lists, the ledger, the SIEM, an export."""
    platform = hostile.platform
    for poison in SCRIPTS:
        if poison not in hostile.tasks:
            hostile.order(poison)
    ids = set(hostile.tasks.values())
    headers = {"Authorization": f"Bearer {platform.token('TENANT_001')}", "A2A-Version": "1.0"}
    listed: dict[str, dict[str, Any]] = {}
    for way in ("rpc", "rest"):
        token, seen = "", set()
        while True:
            asked = {"pageSize": 7, "includeArtifacts": True, "pageToken": token}
            if way == "rpc":
                page = platform.rpc("ListTasks", asked).body["result"]
            else:
                query = {**asked, "includeArtifacts": "true"}
                got = httpx.get(
                    platform.url + "/v1/tasks", params=query, headers=headers, timeout=60
                )
                assert got.status_code == 200
                page = got.json()
            listed |= {task["id"]: task for task in page["tasks"]}
            seen |= {task["id"] for task in page["tasks"]}
            if not (token := page.get("nextPageToken", "")):
                break
        assert ids <= seen
    assert "cannot be shown" not in json.dumps(listed)
    with httpx.Client(headers=headers, timeout=60) as client:
        for task_id in ids:
            got = client.get(f"{platform.url}/v1/tasks/{task_id}").json()
            assert got["status"] == platform.task(task_id)["status"]

    query = "{ tasks(first: 100) { id state statusText governance } events(first: 100) { id kind detail } }"
    told = platform.post(json.dumps({"query": query}).encode(), path="/graphql").body
    assert "errors" not in told
    assert ids <= {task["id"] for task in told["data"]["tasks"]}

    operations = json.loads(
        platform.mcctl("operations", "list", "--limit", "200", "-o", "json").stdout
    )["operations"]
    assert ids <= {one["id"] for one in operations}
    assert "cannot be shown" not in json.dumps(operations)
    for poison in ("10^309", "exact", "303"):
        story = platform.mcctl("operations", "show", hostile.tasks[poison]).stdout
        assert "charge-payment" in story

    wait_until(
        lambda: all(
            {"request.accepted", "step.intended"} <= {e["kind"] for e in platform.ledger(one)}
            for one in ids
        ),
        what="all of it is at the SIEM",
    )
    platform.mcctl("audit", "verify")
    export = tmp_path / "export.json"
    platform.mcctl(
        "audit", "export", "--tenant", "TENANT_001", "--since", "1h", "--out", str(export)
    )
    everywhere = json.dumps(platform.siem_events()) + export.read_text()
    everywhere += "\n".join(platform.log())
    for content in ("alice@example.com", "caf\u00e9", "of-somebody", "sorry"):
        assert content not in everywhere
