"""Operations outlive the replica that began them: killed and left dead, or cut over from."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

GOVERNANCE = "urn:mc-platform:a2a:governance:1"


@pytest.fixture(scope="module")
def pair(start_platform):
    """A platform with two replicas of blue, which drain for less time than a long order takes."""
    return start_platform("--replicas", "2", MC_DRAIN_S="3")


def _begin(platform, count):
    """Task ids of `count` orders that take their time, spread over the replicas."""
    answers = [
        platform.order(delay_s=1.5, configuration={"returnImmediately": True}) for _ in range(count)
    ]
    return [answer.task["id"] for answer in answers]


def _ended(platform, task_ids):
    """The tasks, once all of them have ended; None also while the edge still asks a dead replica."""
    answers = [platform.rpc("GetTask", {"id": task_id}) for task_id in task_ids]
    if any(answer.status in (502, 503) for answer in answers):
        return None
    tasks = [answer.body["result"] for answer in answers]
    working = ("TASK_STATE_WORKING", "TASK_STATE_SUBMITTED")
    return tasks if all(task["status"]["state"] not in working for task in tasks) else None


def test_operations_of_a_replica_that_stays_dead_are_adopted(pair, wait_until):
    """kill -9 of one of two replicas, and no restart: the other one ends what it had begun."""
    task_ids = _begin(pair, 6)
    os.kill(pair.record("blue-1")["pid"], signal.SIGKILL)
    tasks = wait_until(
        lambda: _ended(pair, task_ids), within_s=90, what="all operations ended elsewhere"
    )
    outcomes = {task["metadata"][GOVERNANCE]["outcome"] for task in tasks}
    assert outcomes == {"completed"}
    keys = _keys(pair)
    assert len(keys) == len(set(keys))
    assert sum(key.split(":")[0] in task_ids for key in keys) == 3 * len(task_ids)
    pair.mcctl("up")


def test_a_replica_that_stops_answers_who_waits_and_hands_the_operation_over(pair, wait_until):
    """SIGTERM amid an order that outlasts the drain: no client on a kept connection sees an error."""
    pair.mcctl("up")
    record = pair.record("blue-1")
    url = f"http://127.0.0.1:{record['port']}"
    before = len(_keys(pair))
    with httpx.Client(base_url=url, timeout=60) as kept, ThreadPoolExecutor() as threads:
        asking = threads.submit(_ask_until_told_to_go, kept)
        waiting = threads.submit(_order_at, url, pair.token("TENANT_001"))
        try:
            wait_until(lambda: len(_keys(pair)) > before, what="its first step is done")
        finally:
            os.kill(record["pid"], signal.SIGTERM)
        asked, answer = asking.result(), waiting.result()
    assert set(asked) == {200, 503}  # the last one says that it drains
    assert answer.headers["connection"] == "close"
    task = answer.json()["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_WORKING"
    [ended] = wait_until(lambda: _ended(pair, [task["id"]]), within_s=90, what="it ended elsewhere")
    assert ended["metadata"][GOVERNANCE]["outcome"] == "completed"
    assert [effect["verb"] for effect in pair.effects(task["id"])] == ["do"] * 3
    pair.mcctl("up")


def test_a_cutover_with_operations_in_flight_loses_none(pair, wait_until):
    """Blue is scaled to nothing amid its operations: they end, drained there or adopted by green."""
    pair.mcctl("scale", "agent-workbench", "--colour", "green", "--replicas", "1")
    pair.mcctl("wait", "ready", "--colour", "green")
    task_ids = _begin(pair, 6)
    pair.mcctl("cutover", "--to", "green")
    pair.mcctl("scale", "agent-workbench", "--colour", "blue", "--replicas", "0")
    tasks = wait_until(lambda: _ended(pair, task_ids), within_s=90, what="all operations ended")
    assert {task["metadata"][GOVERNANCE]["outcome"] for task in tasks} == {"completed"}


def _order_at(url, token):
    order = {"item": "widget", "quantity": 1, "customer": "C-1001", "amount_cents": 1200}
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"data": {**order, "address_ref": "A-1", "delay_s": 4}}],
        "metadata": {GOVERNANCE: {"operation": "place-order", "purpose": "fulfilment"}},
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"A2A-Version": "1.0", "Authorization": f"Bearer {token}"}
    return httpx.post(f"{url}/a2a", json=call, headers=headers, timeout=60)


def _ask_until_told_to_go(client):
    """The statuses that a client gets on one connection, until an answer ends it."""
    statuses = []
    while True:
        answer = client.get("/health")
        statuses.append(answer.status_code)
        if answer.headers.get("connection") == "close":
            return statuses
        time.sleep(0.02)


def test_a_stuck_operation_is_told_and_resolved_by_an_operator(pair, wait_until):
    """Its receiver dies before it can be undone: stuck, alertable, and resolved when it is back."""
    pair.mcctl("up")
    [task_id] = _begin(pair, 1)
    wait_until(
        lambda: any(key.startswith(f"{task_id}:1:") for key in _keys(pair)),
        what="the second effect was had",
    )
    os.kill(pair.record("fulfilment-agent")["pid"], signal.SIGKILL)
    [task] = wait_until(lambda: _ended(pair, [task_id]), within_s=120, what="the operation ended")
    assert task["metadata"][GOVERNANCE]["outcome"] == "stuck"
    series = 'mc_autonomy_stuck_operations{tenant="TENANT_001"}'
    wait_until(lambda: pair.metric(series) == 1, within_s=90, what="the metric tells it")

    pair.mcctl("up")
    listed = json.loads(pair.mcctl("operations", "list", "--state", "stuck", "-o", "json").stdout)
    assert [one["id"] for one in listed["operations"]] == [task_id]
    pair.mcctl(
        "operations", "resolve", task_id, "--mode", "retry", "--reason", "it is back", "--yes"
    )
    shown = pair.mcctl("operations", "show", task_id).stdout
    assert "operation.resolved" in shown
    assert "it is back" in shown
    assert sorted(effect["verb"] for effect in pair.effects(task_id)) == [
        "do",
        "do",
        "undo",
        "undo",
    ]
    wait_until(lambda: pair.metric(series) == 0, within_s=90, what="the metric is back at zero")


def _keys(platform):
    return [effect["key"] for effect in platform.effects() if effect["verb"] == "do"]
