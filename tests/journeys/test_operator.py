"""An operator at work: sees, follows, cancels and resolves the operations of all tenants."""

from __future__ import annotations

import json

import httpx
import pytest

NOWHERE = "00000000-0000-4000-8000-000000000000"  # an id that no operation has


def _operator(platform, method, path, role="OPERATOR", **more):
    headers = {"Authorization": f"Bearer {platform.token(role)}"}
    return httpx.request(
        method, f"{platform.url}/operator{path}", headers=headers, timeout=30, **more
    )


def test_an_operator_reads_the_story_of_a_compensated_operation(platform):
    """List finds it by tenant and state; show tells step by step what the ledger holds."""
    task_id = platform.order(item="unbookable").task["id"]

    listed = json.loads(
        platform.mcctl(
            "operations", "list", "--tenant", "TENANT_001", "--state", "compensated",
            "--since", "10m", "-o", "json",
        ).stdout
    )  # fmt: skip
    assert task_id in [one["id"] for one in listed["operations"]]
    assert {one["tenant"] for one in listed["operations"]} == {"TENANT_001"}

    story = platform.mcctl("operations", "show", task_id).stdout
    assert "state      compensated" in story
    marks = [line.split("  ", 1)[1].strip() for line in story.splitlines() if " s  " in line]
    order = ["request.accepted", "step.intended 1 reserve-stock", "step.done 2 charge-payment",
             "step.failed 3 book-courier", "compensation.done 2 charge-payment",
             "compensation.done 1 reserve-stock", "operation.compensated"]  # fmt: skip
    places = [next(i for i, line in enumerate(marks) if wanted in line) for wanted in order]
    assert places == sorted(places)


def test_watch_follows_an_operation_to_its_end(platform):
    """Exit 0 for a completed one, 1 for a compensated one."""
    good = platform.order(delay_s=1, configuration={"returnImmediately": True}).task["id"]
    assert "completed" in platform.mcctl("operations", "watch", good).stdout.splitlines()[-1]
    bad = platform.order(item="unbookable").task["id"]
    done = platform.mcctl("operations", "watch", bad, check=False)
    assert done.returncode == 1
    assert "compensated" in done.stdout.splitlines()[-1]


def test_an_operator_cancels_a_running_operation(platform, wait_until):
    """Its effects are undone; who asked, and why, is in the ledger before it happens."""
    # So slow that it still runs when the command has started, however slow the machine
    task_id = platform.order(delay_s=5, configuration={"returnImmediately": True}).task["id"]
    platform.mcctl("operations", "cancel", task_id, "--reason", "wrong order", "--yes")
    done = platform.mcctl("operations", "watch", task_id, check=False)
    assert done.returncode == 1
    shown = json.loads(platform.mcctl("operations", "show", task_id, "-o", "json").stdout)
    assert (shown["operation"]["state"], shown["operation"]["canceled"]) == ("compensated", True)
    asked = [e for e in shown["timeline"] if e["kind"] == "operation.cancel-requested"]
    assert [(e["detail"]["principal"], e["detail"]["reason"]) for e in asked] == [
        ("operator@platform", "wrong order")
    ]
    again = platform.mcctl("operations", "cancel", task_id, "--yes", check=False)
    assert again.returncode == 1
    wait_until(
        lambda: any(e["kind"] == "operation.cancel-requested" for e in platform.ledger(task_id)),
        what="the operator's act is at the SIEM",
    )


def test_what_has_not_stuck_is_not_resolved(platform):
    """409, and nothing is recorded of it."""
    task_id = platform.order().task["id"]
    done = platform.mcctl(
        "operations", "resolve", task_id, "--mode", "retry", "--reason", "x", "--yes", check=False
    )
    assert done.returncode == 1
    assert "only a stuck one can be resolved" in done.stderr


@pytest.mark.parametrize("path", ["/operations", f"/operations/{NOWHERE}", "/autonomy"])
@pytest.mark.parametrize("role", ["TENANT_001", "CANARY", "ALERTMANAGER"])
def test_nobody_else_reads_the_operators_side(platform, role, path):
    """403 for a tenant's token and for that of alerts, whether the object exists or not."""
    answer = _operator(platform, "GET", path, role)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "policy-denied")


def test_an_auditor_reads_and_changes_nothing(platform):
    """Operations are open to it, the switch and an operation's fate are not."""
    task_id = platform.order().task["id"]
    assert _operator(platform, "GET", f"/operations/{task_id}", "AUDITOR").status_code == 200
    assert _operator(platform, "GET", "/autonomy", "AUDITOR").status_code == 200
    for path, body in (
        ("/autonomy/halt", {"scope": "TENANT_002", "reason": "x"}),
        (f"/operations/{task_id}/cancel", {}),
    ):
        assert _operator(platform, "POST", path, "AUDITOR", json=body).status_code == 403


@pytest.mark.parametrize("role", ["OPERATOR", "AUDITOR", "ALERTMANAGER"])
def test_those_who_run_the_platform_cannot_act_as_agents(platform, role):
    """Their tokens neither send messages nor enact; that they tried is recorded."""
    asked = platform.ask("What is the status of order O-2001?", tenant=role)
    assert asked.body["error"]["code"] == -32050
    ordered = platform.order(tenant=role)
    assert ordered.body["error"]["code"] == -32050


def test_without_a_token_there_is_no_operator_at_all(platform):
    """401 before anything else."""
    answer = httpx.get(f"{platform.url}/operator/operations", timeout=30)
    assert answer.status_code == 401
