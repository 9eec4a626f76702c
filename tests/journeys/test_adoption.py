"""Operations outlive the replica that began them: killed and left dead, or cut over from."""

from __future__ import annotations

import json
import os
import signal

import pytest

GOVERNANCE = "urn:mc-platform:a2a:governance:1"


@pytest.fixture(scope="module")
def pair(start_platform):
    """A platform with two replicas of blue."""
    return start_platform("--replicas", "2")


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


def test_a_cutover_with_operations_in_flight_loses_none(pair, wait_until):
    """Blue is scaled to nothing amid its operations: they end, drained there or adopted by green."""
    pair.mcctl("scale", "agent-workbench", "--colour", "green", "--replicas", "1")
    pair.mcctl("wait", "ready", "--colour", "green")
    task_ids = _begin(pair, 6)
    pair.mcctl("cutover", "--to", "green")
    pair.mcctl("scale", "agent-workbench", "--colour", "blue", "--replicas", "0")
    tasks = wait_until(lambda: _ended(pair, task_ids), within_s=90, what="all operations ended")
    assert {task["metadata"][GOVERNANCE]["outcome"] for task in tasks} == {"completed"}


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
