"""Operations: done whole, or undone in reverse; also when their process is killed amid them."""

from __future__ import annotations

import os
import signal
import uuid

import httpx


def _world(platform):
    return httpx.get(f"http://127.0.0.1:{platform.record('fulfilment-agent')['port']}/world").json()


def _held(platform):
    """What the world holds of ours: reservations, charges and bookings that stand."""
    world = _world(platform)
    return {key: world[key] for key in ("reservations", "charges", "bookings") if key in world}


def test_an_operation_whose_last_step_fails_leaves_the_world_as_it_was(platform, wait_until):
    """Compensations run in reverse, the metric goes up by one, the ledger shows each step."""
    before_world = _held(platform)
    series = 'mc_autonomy_compensation_total{tenant="TENANT_001"}'
    before = platform.metric(series)

    answer = platform.order(item="unbookable")

    assert answer.task["status"]["state"] == "TASK_STATE_FAILED"
    assert "2 of 2 effects undone" in answer.task["status"]["message"]["parts"][0]["text"]
    assert answer.governance["outcome"] == "compensated"
    assert [step["state"] for step in answer.governance["steps"]] == [
        "compensated",
        "compensated",
        "failed",
    ]
    assert platform.metric(series) == before + 1
    assert _held(platform) == before_world

    task_id = answer.task["id"]
    wait_until(
        lambda: any(e["kind"] == "operation.compensated" for e in platform.ledger(task_id)),
        what="the end is at the SIEM",
    )
    kinds = [event["kind"] for event in platform.ledger(task_id)]
    assert kinds[0] == "request.accepted"
    assert kinds.count("step.intended") == 3
    assert kinds.count("step.done") == 2
    assert kinds.count("step.failed") == 1
    undone = [
        event["detail"]["action"]
        for event in platform.ledger(task_id)
        if event["kind"] == "compensation.done"
    ]
    assert undone == ["charge-payment", "reserve-stock"]


def test_an_operation_is_done_once_however_often_it_is_sent(platform):
    """The same message id runs the operation once and gives the first result again."""
    message_id = str(uuid.uuid4())
    first = platform.order(message_id=message_id)
    world = _held(platform)
    again = platform.order(message_id=message_id)
    assert again.task["id"] == first.task["id"]
    assert again.task["artifacts"] == first.task["artifacts"]
    assert _held(platform) == world


def test_a_killed_workbench_ends_its_operation_after_restart(platform, wait_until):
    """kill -9 amid the second step: after `mcctl up` the operation ends, nothing is done twice."""
    answer = platform.order(delay_s=2, configuration={"returnImmediately": True})
    task_id = answer.task["id"]
    wait_until(
        lambda: any(e["kind"] == "step.done" for e in platform.ledger(task_id)),
        what="the first step is done and at the SIEM",
    )

    os.kill(platform.record("blue-1")["pid"], signal.SIGKILL)
    dead = platform.mcctl("status", check=False)
    assert dead.returncode == 1
    assert "dead" in dead.stdout + dead.stderr
    ill = platform.mcctl("doctor", check=False)
    assert (ill.returncode, "blue-1 is dead" in ill.stdout) == (1, True)
    platform.mcctl("up")
    assert platform.mcctl("doctor").returncode == 0

    def ended():
        task = platform.task(task_id)
        return task if task["status"]["state"] != "TASK_STATE_WORKING" else None

    task = wait_until(ended, within_s=90, what="the operation ended")
    governance = task["metadata"]["urn:mc-platform:a2a:governance:1"]
    assert governance["outcome"] in ("completed", "compensated")
    assert (
        task["status"]["state"]
        == {
            "completed": "TASK_STATE_COMPLETED",
            "compensated": "TASK_STATE_FAILED",
        }[governance["outcome"]]
    )
    effects = platform.effects(task_id)
    done = [effect["key"] for effect in effects if effect["verb"] == "do"]
    undone = [effect["key"] for effect in effects if effect["verb"] == "undo"]
    assert len(done) == len(set(done))
    assert len(undone) == len(set(undone))
    assert len(done) - len(undone) == (3 if governance["outcome"] == "completed" else 0)
