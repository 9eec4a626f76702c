"""Autonomy is stopped at once, for one tenant or all, and told in the ledger."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
import pytest

HALTED = -32054


def _status(platform, scope):
    wanted = ("--all",) if scope == "*" else ("--tenant", scope)
    told = platform.mcctl("autonomy", "status", *wanted, "-o", "json").stdout
    return json.loads(told)["scopes"][0]


def _throw(platform, verb, scope, reason="a test"):
    wanted = ("--all",) if scope == "*" else ("--tenant", scope)
    return platform.mcctl("autonomy", verb, *wanted, "--reason", reason, "--yes")


@pytest.fixture
def resumed(platform):
    """Whatever a test halts of the shared platform is resumed."""
    yield
    for scope in ("*", "TENANT_001", "TENANT_002"):
        _throw(platform, "resume", scope)


@pytest.mark.usefixtures("resumed")
def test_a_halted_tenant_enacts_nothing_from_the_next_request_on(platform, wait_until):
    """It gets a clear error that is recorded; questions, and other tenants, go on."""
    begun = platform.order(tenant="TENANT_002")
    message_id = "before-the-halt-" + begun.task["id"]
    first = platform.order(tenant="TENANT_002", message_id=message_id)
    _throw(platform, "halt", "TENANT_002", "orders go wrong")

    refused = platform.order(tenant="TENANT_002")
    assert refused.body["error"]["code"] == HALTED
    [info] = refused.body["error"]["data"]
    assert (info["reason"], info["metadata"]["scope"]) == ("AUTONOMY_HALTED", "TENANT_002")
    assert platform.order(tenant="TENANT_001").governance["outcome"] == "completed"
    asked = platform.ask("What is the status of order O-2001?", tenant="TENANT_002")
    assert asked.task["status"]["state"] == "TASK_STATE_COMPLETED"
    again = platform.order(tenant="TENANT_002", message_id=message_id)
    assert again.task["id"] == first.task["id"]

    switch = _status(platform, "TENANT_002")["switch"]
    assert (switch["reason"], switch["principal"]) == ("orders go wrong", "operator@platform")
    wait_until(lambda: platform.ledger(switch["id"]), what="the halt is at the SIEM")
    [told] = platform.ledger(switch["id"])
    assert (told["kind"], told["tenant"]) == ("autonomy.halted", "TENANT_002")
    wait_until(
        lambda: any(
            event["unmapped"]["kind"] == "request.refused"
            and "autonomy is halted" in event["unmapped"]["detail"].get("reason", "")
            for event in platform.siem_events()
        ),
        what="the refusal is at the SIEM",
    )

    _throw(platform, "resume", "TENANT_002", "mended")
    assert platform.order(tenant="TENANT_002").governance["outcome"] == "completed"


@pytest.mark.usefixtures("resumed")
def test_halting_all_stops_every_tenant_and_leaves_what_is_under_way(platform):
    """An operation that has begun goes to its end; no other begins."""
    running = platform.order(delay_s=1, configuration={"returnImmediately": True}).task["id"]
    started = json.loads(platform.mcctl("operations", "show", running, "-o", "json").stdout)
    while not any(event["kind"] == "step.intended" for event in started["timeline"]):
        started = json.loads(platform.mcctl("operations", "show", running, "-o", "json").stdout)
    _throw(platform, "halt", "*")
    for tenant in ("TENANT_001", "TENANT_002"):
        answer = platform.order(tenant=tenant)
        assert answer.body["error"]["code"] == HALTED
        assert answer.body["error"]["data"][0]["metadata"]["scope"] == "*"
    assert platform.mcctl("operations", "watch", running).returncode == 0
    assert _status(platform, "TENANT_001")["by"] == "*"


@pytest.mark.usefixtures("resumed")
def test_an_alert_halts_and_a_person_has_the_last_word(platform):
    """Firing halts; resolved does not resume; what a person resumed, the same alert leaves."""
    begun = datetime.now(UTC)  # later than whatever a test before this one resumed

    def notify(status):
        alert = {
            "status": status,
            "labels": {"alertname": "AutonomyCompensationHigh", "tenant": "TENANT_002"},
            "annotations": {},
            "startsAt": begun.isoformat(),
            "endsAt": "0001-01-01T00:00:00Z",
        }
        answer = httpx.post(
            f"{platform.url}/operator/alertmanager",
            headers={"Authorization": f"Bearer {platform.token('ALERTMANAGER')}"},
            json={"version": "4", "status": status, "alerts": [alert]},
            timeout=30,
        )
        assert answer.status_code == 200
        return answer.json()

    assert notify("firing")["halted"][0]["changed"]
    assert platform.order(tenant="TENANT_002").body["error"]["code"] == HALTED
    notify("resolved")
    assert _status(platform, "TENANT_002")["halted"]
    _throw(platform, "resume", "TENANT_002", "looked into it")
    assert notify("firing")["halted"] == []
    assert platform.order(tenant="TENANT_002").governance["outcome"] == "completed"


def test_the_breaker_stops_a_tenant_whose_operations_are_undone(start_platform, wait_until):
    """And no other; after a resume only what comes later counts."""
    platform = start_platform(
        MC_BREAKER_MIN_OPERATIONS="8", MC_BREAKER_RATIO="0.05", MC_BREAKER_INTERVAL_S="0.5"
    )
    for _ in range(4):
        assert platform.order(tenant="TENANT_002").governance["outcome"] == "completed"
    for _ in range(4):
        answer = platform.order(item="unbookable", tenant="TENANT_002")
        assert answer.governance["outcome"] == "compensated"

    wait_until(
        lambda: platform.order(tenant="TENANT_002").body.get("error", {}).get("code") == HALTED,
        what="the breaker has tripped",
    )
    scope = _status(platform, "TENANT_002")
    assert scope["switch"]["source"] == "breaker"
    assert "operations compensated within 24 h" in scope["switch"]["reason"]
    assert platform.order(tenant="TENANT_001").governance["outcome"] == "completed"
    wait_until(
        lambda: platform.metric('mc_autonomy_halted{tenant="TENANT_002"}') == 1,
        what="the gauge tells it",
    )
    assert platform.metric('mc_autonomy_halted{tenant="TENANT_001"}') == 0

    _throw(platform, "resume", "TENANT_002", "the courier is back")
    for _ in range(9):
        assert platform.order(tenant="TENANT_002").governance["outcome"] == "completed"
    wait_until(
        lambda: platform.metric('mc_autonomy_compensation_ratio{tenant="TENANT_002"}') == 0,
        what="a look after the resume has counted afresh",
    )
    assert not _status(platform, "TENANT_002")["halted"]


@pytest.mark.usefixtures("resumed")
def test_a_halt_survives_every_restart(platform):
    """It is in the database, not in a process."""
    _throw(platform, "halt", "*", "before the night")
    platform.mcctl("down")
    platform.mcctl("up")
    assert platform.order().body["error"]["code"] == HALTED
    _throw(platform, "resume", "*", "good morning")
    assert platform.order().governance["outcome"] == "completed"
