"""Effects belong to a tenant's home: the other region passes on, and takes over when it must."""

from __future__ import annotations

import json
import signal
import uuid

import httpx
import psycopg
import pytest
from tests.regions.conftest import mcctl, order

pytestmark = pytest.mark.slow
TENANT = "TENANT_001"


def _task(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "result" in body, body
    return body["result"]["task"]


def test_an_operation_sent_to_the_other_region_is_enacted_by_the_home(regions):
    """Whoever is asked, it is one task: the same id, the same answer, and each effect once."""
    message = str(uuid.uuid4())
    first = _task(regions.b.order(message))
    assert first["status"]["state"] == "TASK_STATE_COMPLETED"
    second = _task(regions.a.order(message))
    assert second["id"] == first["id"]
    mine = [call for call in regions.receiver.calls if call.key.startswith(first["id"])]
    assert [call.path for call in mine] == [
        "/stock/reservations",
        "/payments/charges",
        "/courier/bookings",
    ]
    assert {call.term for call in mine} == {f'1;tenant="{TENANT}"'}
    assert len([one for one in regions.a.recorded("request.accepted") if _is(one, first)]) == 1
    assert [one for one in regions.b.recorded("request.accepted") if _is(one, first)] == []
    assert regions.b.figure('mc_home_passed_on_total{outcome="answered"') >= 1
    assert regions.b.figure('mc_a2a_requests_total{status="error"') == 0


def _is(leaf, task):
    return leaf["detail"]["subject"] == task["id"]


def test_every_way_of_asking_is_passed_on(regions):
    """At once, as a stream, by HTTP+JSON; then the task is read, subscribed to and not cancelled."""
    begun = _task(regions.b.order(at_once=True))
    assert begun["status"]["state"] == "TASK_STATE_WORKING"
    read = regions.b.rpc("GetTask", {"id": begun["id"]}).json()["result"]
    assert read["id"] == begun["id"]

    sent = regions.b.call("POST", "/v1/message:send", json=order())
    assert sent.status_code == 200
    assert sent.json()["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
    done = regions.b.call("GET", f"/v1/tasks/{sent.json()['task']['id']}")
    assert done.json()["status"]["state"] == "TASK_STATE_COMPLETED"

    streamed = regions.b.rpc("SendStreamingMessage", order())
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = [
        json.loads(line.removeprefix("data:"))["result"]
        for line in streamed.text.splitlines()
        if line.startswith("data:")
    ]
    assert [next(iter(event)) for event in events] == ["task", "artifactUpdate", "statusUpdate"]
    assert "retry-after" not in streamed.headers

    ended = regions.b.rpc("CancelTask", {"id": sent.json()["task"]["id"]}).json()
    assert ended["error"]["code"] == -32002  # not cancelable, says the home
    absent = regions.b.rpc("GetTask", {"id": "no-such-task"}).json()
    assert absent["error"]["code"] == -32001


def test_a_stream_comes_as_it_is_sent(regions, wait_until):
    """The task is told while the operation runs, and not when all is over."""
    regions.receiver.hold()
    try:
        call = {"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": order()}
        headers = {
            "Authorization": f"Bearer {regions.b.tokens[TENANT]}",
            "A2A-Version": "1.0",
        }
        with httpx.stream(
            "POST", f"{regions.b.url}/a2a", json=call, headers=headers, timeout=60, trust_env=False
        ) as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if line.startswith("data:"))
            assert "TASK_STATE_WORKING" in first
            regions.receiver.open.set()
            assert any("TASK_STATE_COMPLETED" in line for line in lines)
    finally:
        regions.receiver.open.set()


def test_what_was_passed_on_once_is_not_passed_on_again(regions):
    """No request goes to and fro; it says where to go, in both formats."""
    marked = {"MC-Passed-On": "c-1"}
    refused = regions.b.order(headers=marked)
    error = refused.json()["error"]
    assert "the home of tenant TENANT_001 is region a-1" in error["message"]
    assert refused.headers["retry-after"] == "2"
    plain = regions.b.call("POST", "/v1/message:send", json=order(), headers=marked)
    assert plain.status_code == 503
    assert plain.headers["retry-after"] == "2"
    assert "region a-1" in plain.text


def test_a_query_with_a_budget_is_answered_by_the_home(regions):
    """Or refused as the home refuses it: the other region charges nothing."""
    asked = {"dataset": "customers", "measure": "count", "purpose": "support", "epsilon": 0.1}
    there = regions.a.call("POST", "/aggregates", json=asked)
    here = regions.b.call("POST", "/aggregates", json=asked)
    assert (here.status_code, here.json()["error"]["code"]) == (
        there.status_code,
        there.json()["error"]["code"],
    )
    assert here.json()["error"]["code"] == "agent-failed"  # the receiver keeps no dataset
    refused = regions.b.call("POST", "/aggregates", json=asked, headers={"MC-Passed-On": "c-1"})
    assert (refused.status_code, refused.json()["error"]["home"]) == (503, "a-1")


def test_a_person_moves_a_home_and_back(regions, wait_until, tmp_path):
    """One tenant alone; both ledgers tell who did it and why, and the term counts on."""
    assert regions.a.homes()["TENANT_002"]["region"] == "a-1"
    asked = regions.a.move("TENANT_002", "b-1")
    assert asked.status_code == 202, asked.text
    wait_until(lambda: regions.b.homes()["TENANT_002"]["region"] == "b-1", what="it moves")
    assert regions.b.homes()["TENANT_002"]["term"] == 2
    assert regions.b.homes()["TENANT_001"]["region"] == "a-1"
    wait_until(lambda: _moved(regions.a, 2) and _moved(regions.b, 2), what="both ledgers tell")
    [told] = _moved(regions.b, 2)
    assert told["detail"]["home"] == "b-1"
    assert told["detail"]["former_home"] == "a-1"
    assert told["detail"]["principal"] == "operator@example"
    done = _task(regions.a.order(who="TENANT_002"))
    assert done["status"]["state"] == "TASK_STATE_COMPLETED"
    terms = {one.term for one in regions.receiver.calls if one.key.startswith(done["id"])}
    assert terms == {'2;tenant="TENANT_002"'}
    for to, why in (("b-1", "is there already"), ("c-1", "unknown region")):
        assert why in regions.a.move("TENANT_002", to).json()["error"]["message"]
    # Back again by the command, which asks, tells what may be lost, and waits until it has arrived
    command = ("home", "move", "--tenant", "TENANT_002", "--to", "a-1", "--reason", "it is over")
    unasked = mcctl(regions.b, tmp_path, *command)
    assert unasked.returncode == 2
    assert "stay there unfinished" in unasked.stderr
    assert regions.b.homes()["TENANT_002"]["term"] == 2
    done = mcctl(regions.b, tmp_path, *command, "--yes")
    assert done.returncode == 0, done.stderr
    assert "a-1 is the home of TENANT_002, in term 3" in done.stderr
    listed = mcctl(regions.b, tmp_path, "home", "list").stdout
    assert [line.split()[:3] for line in listed.splitlines() if "TENANT_002" in line] == [
        ["TENANT_002", "a-1", "3"]
    ]
    shown = mcctl(regions.a, tmp_path, "home", "show", "--tenant", "TENANT_002", "--output", "json")
    assert json.loads(shown.stdout)["reason"] == "it is over"
    assert mcctl(regions.a, tmp_path, "home", "show", "--tenant", "nobody").returncode == 2


def _moved(region, term):
    return [
        one
        for one in region.recorded("home.moved")
        if (one["tenant"], one["detail"]["term"]) == ("TENANT_002", term)
    ]


def test_a_frozen_home_that_wakes_after_a_move_enacts_nothing(regions, wait_until):
    """It stood amid an operation; its peer has taken over, and it finds that out before any effect."""
    a, b, receiver = regions.a, regions.b, regions.receiver
    receiver.hold()
    begun = _task(a.order(at_once=True))
    assert receiver.arrived.wait(30)
    a.signal(signal.SIGSTOP)
    try:
        receiver.open.set()
        wait_until(lambda: b.homes()[TENANT]["region"] == "b-1", what="b-1 takes over", within_s=60)
        before = len(receiver.calls)
        done = _task(b.order())
        assert done["status"]["state"] == "TASK_STATE_COMPLETED"
        term = b.homes()[TENANT]["term"]
    finally:
        a.signal(signal.SIGCONT)
    # It lives again: it answers, it knows of the move, and passes on what it is asked
    wait_until(lambda: a.figure('mc_home_moves_total{direction="away"}') >= 3, what="a-1 knows")
    again = _task(a.order())
    assert again["status"]["state"] == "TASK_STATE_COMPLETED"
    late = [call for call in receiver.calls[before:] if call.key.startswith(begun["id"])]
    assert late == []
    assert {call.term for call in receiver.calls[before:]} == {f'{term};tenant="{TENANT}"'}
    left = a.rpc("GetTask", {"id": begun["id"]}).json()["result"]
    assert left["status"]["state"] == "TASK_STATE_WORKING"
    # Its lease in its own region is held on: nobody else is to take its unfinished work up there
    assert a.call("GET", "/health", who="OPERATOR").json()["status"] in ("ok", "degraded")


def test_a_home_that_is_gone_is_told_until_somebody_takes_over(regions, wait_until):
    """Refused with where to go while it is out; then the survivor enacts, by itself."""
    a, b = regions.a, regions.b
    home = b.homes()["TENANT_002"]["region"]
    if home != "a-1":
        b.move("TENANT_002", "a-1")
        wait_until(lambda: b.homes()["TENANT_002"]["region"] == "a-1", what="a-1 is the home")
    a.kill()
    refused = b.order(who="TENANT_002")
    error = refused.json().get("error")
    assert error is not None, refused.text
    assert "region a-1" in error["message"]
    assert refused.headers["retry-after"] == "2"
    wait_until(lambda: "result" in b.order(who="TENANT_002").json(), what="b-1 enacts")
    assert {one["region"] for one in b.homes().values()} == {"b-1"}
    assert b.figure('mc_home_held{region="b-1"}') == 1
    # It comes back as a peer, and nothing comes back to it by itself
    a.start()
    wait_until(lambda: _passes_on(a), what="a-1 is back")
    assert {one["region"] for one in b.homes().values()} == {"b-1"}


def _passes_on(region):
    try:
        return "result" in region.order(who="TENANT_002").json()
    except httpx.HTTPError:
        return False


def test_the_role_of_regions_changes_no_table(regions):
    """Terms are kept by functions of the owner's: no region can set one back."""
    with psycopg.connect(regions.arbiter_url, autocommit=True) as connection:
        for statement in (
            "UPDATE mc_home.home SET term = 1",
            "DELETE FROM mc_home.home",
            "INSERT INTO mc_home.move VALUES ('T', 1, NULL, 'x', 'x', 'x')",
            "UPDATE mc_home.lease SET renewals = 1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    owner = regions.arbiter_admin_url.rsplit("/", 1)[0] + "/mc_arbiter"
    with psycopg.connect(owner, autocommit=True) as connection:
        for statement in (
            "UPDATE mc_home.home SET term = term - 1",
            "UPDATE mc_home.home SET region = 'c-1'",
            "DELETE FROM mc_home.home",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="does not go back"):
                connection.execute(statement)
