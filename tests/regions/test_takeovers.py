"""Operations in flight when their region dies, or gives the home away, are ended by the new home."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections import Counter
from functools import partial

import pytest
from tests.regions.conftest import order, serves

pytestmark = pytest.mark.slow
TENANT = "TENANT_001"
STOCK, CHARGE, COURIER = "/stock/reservations", "/payments/charges", "/courier/bookings"
REFUND = "/payments/refunds"


@pytest.fixture
def regions(replicated_regions, wait_until):
    """Both live, and a-1 is the home."""
    regions, receiver = replicated_regions, replicated_regions.receiver
    yield regions
    receiver.open.set()
    receiver.refused.clear()
    if regions.a.process.poll() is not None:
        regions.a.start()
        wait_until(lambda: serves(regions.a), what="a-1 serves again", within_s=180)
    if regions.b.homes()[TENANT]["region"] != "a-1":
        _move(regions, wait_until, "a-1")


def _move(regions, wait_until, to):
    assert regions.b.move(TENANT, to).status_code == 202
    there = regions.a if to == "a-1" else regions.b
    wait_until(lambda: there.homes()[TENANT]["region"] == to, what=f"the home is {to}")


def _begin(regions, path, message=None):
    """Begin an order at its home, which is held amid a call there; its task's id."""
    regions.receiver.hold(path)
    answer = regions.a.rpc("SendMessage", message or order(at_once=True)).json()
    assert regions.receiver.arrived.wait(60)
    return answer["result"]["task"]["id"]


def _recorded(region, task_id):
    """What is recorded of an operation, by step, each of whatever region."""
    rows = region.rows("SELECT step FROM mc.operation_record WHERE operation_id = %s", task_id)
    return Counter(step for (step,) in rows)


def _state(region, task_id):
    told = region.rpc("GetTask", {"id": task_id}).json()
    return told["result"]["status"]["state"] if "result" in told else told["error"]["message"]


def _ended(region, task_id, state, wait_until):
    wait_until(
        lambda: _state(region, task_id) == state, what=f"{state} in {region.name}", within_s=90
    )


def _standing(receiver, task_id):
    return {path for key, path in receiver.standing.items() if key.startswith(task_id)}


def _calls(receiver, task_id):
    return Counter(call.key.removeprefix(task_id) for call in receiver.calls if task_id in call.key)


def _kinds(region, task_id):
    """Ends and takeovers that a region's own log tells of an operation."""
    rows = region.rows(
        "SELECT kind FROM mc.ledger_event WHERE subject = %s AND region = %s ORDER BY index",
        task_id,
        region.name,
    )
    return [kind for (kind,) in rows if kind.startswith("operation.")]


def test_killed_amid_a_step_it_is_continued_by_the_survivor(regions, wait_until):
    """What was kept is replayed, the rest is enacted under the same keys; nobody goes on with it later."""
    a, b, receiver = regions.a, regions.b, regions.receiver
    task_id = _begin(regions, CHARGE)
    wait_until(lambda: len(_recorded(b, task_id)) == 2, what="input and first result are there")
    a.kill()
    receiver.open.set()
    _ended(b, task_id, "TASK_STATE_COMPLETED", wait_until)
    assert _standing(receiver, task_id) == {STOCK, CHARGE, COURIER}
    assert _calls(receiver, task_id) == {":0:do": 1, ":1:do": 2, ":2:do": 1}
    assert _kinds(b, task_id) == ["operation.adopted", "operation.completed"]
    [adopted] = [
        one for one in b.recorded("operation.adopted") if one["detail"]["operation_id"] == task_id
    ]
    assert adopted["detail"]["begun_in"] == "a-1"
    assert adopted["detail"]["steps"] == ["do:0:reserve-stock", "input"]
    terms = b.rows(
        "SELECT region, min(term), max(term) FROM mc.operation_record WHERE operation_id = %s"
        " GROUP BY region ORDER BY region",
        task_id,
    )
    later = adopted["detail"]["term"]
    assert terms == [("a-1", terms[0][1], terms[0][1]), ("b-1", later, later)]
    assert 0 < terms[0][1] < later
    assert b.figure('mc_home_operations_total{direction="adopted"}') >= 1

    # The old home is back: it knows the end, has nothing to recover, and a move back changes nothing
    a.start()
    wait_until(lambda: serves(a), what="a-1 serves again", within_s=180)
    _ended(a, task_id, "TASK_STATE_COMPLETED", wait_until)
    engine = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s"
    wait_until(lambda: a.rows(engine, task_id) == [], what="a-1 has given it up")
    _move(regions, wait_until, "a-1")
    message = str(uuid.uuid4())
    # A holder that a full machine keeps from renewing its lease refuses for a moment
    answered = wait_until(lambda: a.order(message).json().get("result"), what="a-1 enacts again")
    following = answered["task"]
    assert following["status"]["state"] == "TASK_STATE_COMPLETED"
    assert a.rows(engine, task_id) == []
    assert _calls(receiver, task_id) == {":0:do": 1, ":1:do": 2, ":2:do": 1}
    assert [kind for kind in _kinds(a, task_id) if kind != "operation.started"] == []
    assert b.rows(engine, task_id) == [("SUCCESS",)]


def test_killed_amid_its_compensation_it_is_undone_by_the_survivor(regions, wait_until):
    """Each effect is undone once, and none is left standing half done."""
    a, b, receiver = regions.a, regions.b, regions.receiver
    receiver.refused.add(COURIER)
    task_id = _begin(regions, REFUND)
    wait_until(lambda: "do:2:book-courier" in _recorded(b, task_id), what="the refusal is there")
    a.kill()
    receiver.open.set()
    _ended(b, task_id, "TASK_STATE_FAILED", wait_until)
    assert _standing(receiver, task_id) == set()
    undone = [key for key in receiver.undone if key.startswith(task_id)]
    assert sorted(undone) == [f"{task_id}:0:undo", f"{task_id}:1:undo"]
    calls = _calls(receiver, task_id)
    assert (calls[":0:do"], calls[":1:do"]) == (1, 1)
    assert _kinds(b, task_id) == ["operation.adopted", "operation.compensated"]


def test_results_that_did_not_arrive_are_enacted_again_under_their_keys(regions, wait_until):
    """The link breaks behind the input: the survivor has no result, and receivers see no second effect."""
    a, b, receiver = regions.a, regions.b, regions.receiver
    task_id = _begin(regions, STOCK)
    wait_until(lambda: _recorded(b, task_id) == {"input": 1}, what="the input is there")
    b.rows("ALTER SUBSCRIPTION mc_b_1 DISABLE")
    amid_stock = receiver.open
    receiver.hold(COURIER)
    amid_stock.set()
    assert receiver.arrived.wait(60)
    a.kill()
    receiver.open.set()
    _ended(b, task_id, "TASK_STATE_COMPLETED", wait_until)
    assert _standing(receiver, task_id) == {STOCK, CHARGE, COURIER}
    assert _calls(receiver, task_id) == {":0:do": 2, ":1:do": 2, ":2:do": 2}
    b.rows("ALTER SUBSCRIPTION mc_b_1 ENABLE")
    a.start()
    wait_until(lambda: serves(a), what="a-1 serves again", within_s=180)
    _ended(a, task_id, "TASK_STATE_COMPLETED", wait_until)
    assert _calls(receiver, task_id) == {":0:do": 2, ":1:do": 2, ":2:do": 2}


def test_a_home_that_is_given_away_takes_its_operations_along(regions, wait_until):
    """Both live: the old home stops at its next step, and the new one ends what it had begun."""
    a, b, receiver = regions.a, regions.b, regions.receiver
    task_id = _begin(regions, CHARGE)
    _move(regions, wait_until, "b-1")
    receiver.open.set()
    _ended(b, task_id, "TASK_STATE_COMPLETED", wait_until)
    _ended(a, task_id, "TASK_STATE_COMPLETED", wait_until)
    assert _standing(receiver, task_id) == {STOCK, CHARGE, COURIER}
    engine = "SELECT count(*) FROM dbos.workflow_status WHERE workflow_uuid = %s"
    wait_until(lambda: a.rows(engine, task_id) == [(0,)], what="a-1 has given it up")
    assert "operation.completed" not in _kinds(a, task_id)
    assert json.dumps(order()["message"]["parts"][0]["data"]["customer"]) not in str(
        b.rows("SELECT * FROM mc.operation_record WHERE operation_id = %s", task_id)
    )


def test_content_stands_in_clear_nowhere_and_is_erased_in_both_regions(regions, wait_until):
    """What an order says is in no table of either region; on request what is sealed goes as well."""
    canary, message = f"canary-{uuid.uuid4().hex}", order()
    message["message"]["parts"][0]["data"]["address_ref"] = canary
    done = regions.a.rpc("SendMessage", message).json()["result"]["task"]
    assert done["status"]["state"] == "TASK_STATE_COMPLETED"
    _ended(regions.b, done["id"], "TASK_STATE_COMPLETED", wait_until)
    wait_until(lambda: "end" in _recorded(regions.b, done["id"]), what="its report is there")
    for region in (regions.a, regions.b):
        assert _tables_with(region, canary) == []
        assert "mc.operation_record" in _tables_with(region, done["id"])
    for region in (regions.a, regions.b):
        env = region.env | {"MC_DATABASE_ADMIN_URL": region.admin_url}
        command = ["erase", "--tenant", TENANT, "--reason", "the customer asked"]
        ran = subprocess.run(
            [sys.executable, "-m", "mc_platform", *command],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        erased = json.loads(ran.stdout.splitlines()[-1])["erased"]
        if region is regions.a:  # whose erasure may come to the other before it is asked
            assert min(erased["tasks"], erased["operation_records"], erased["engine"]) > 0
        assert erased["left_open"] == 0
    for region in (regions.a, regions.b):
        # Ids alone: entries stay, and stay verifiable; the peer is told which tasks went
        wait_until(partial(_only_erased, region, done["id"]), what="its erasure is there")
        told = [one["detail"] for one in region.recorded("tenant.erased")]
        assert [one["reason"] for one in told] == ["the customer asked"]
    again = regions.a.rpc("SendMessage", message).json()
    assert again["error"]["code"] == -32053  # its task is kept no more


def _only_erased(region, task_id):
    """Whether all that a region has of a task, but for its log, is what it told of its erasure."""
    left = {one for one in _tables_with(region, task_id) if "ledger" not in one}
    asked = "SELECT DISTINCT kind FROM mc.region_change AS c WHERE c::text LIKE %s"
    return left <= {"mc.region_change"} and region.rows(asked, f"%{task_id}%") in (
        [],
        [("erasure",)],
    )


def _tables_with(region, text):
    """Tables of a region in whose rows a text stands."""
    tables = region.rows(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('mc', 'dbos')"
    )
    found = []
    for (table,) in tables:
        asked = f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t::text LIKE %s)"
        if region.rows(asked, f"%{text}%") == [(True,)]:
            found.append(table)
    return sorted(found)
