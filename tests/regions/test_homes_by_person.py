"""Two regions without an arbiter: a person decides which is a tenant's home."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from tests.regions.conftest import mcctl, order, serves

pytestmark = pytest.mark.slow
ONE, TWO = "TENANT_001", "TENANT_002"
WHY = ("--reason", "a rehearsal", "--yes")


def _home(region, tenant):
    found = region.homes().get(tenant)
    return found and (found["region"], found["term"], found["bound_for"])


def _take(region, folder, tenant):
    return mcctl(
        region, folder, "home", "move", "--tenant", tenant, "--to", region.name, "--force", *WHY
    )


def _enacts(region, receiver, who):
    """In which term an order that is sent to a region is enacted; None: it is refused."""
    answer = region.order(who=who).json()
    return _terms(receiver, answer["result"]["task"]["id"]) if "result" in answer else None


def _ended(region, task_id):
    told = region.rpc("GetTask", {"id": task_id}).json()
    return told["result"]["status"]["state"] == "TASK_STATE_COMPLETED"


def _terms(receiver, task_id):
    return {call.term for call in receiver.calls if call.key.startswith(task_id)}


def test_homes_are_as_a_person_says(regions_by_person, wait_until, tmp_path):  # noqa: PLR0915 one story
    """The first home, a move while both live, a dead home's by force, and its return."""
    a, b, receiver = regions_by_person.a, regions_by_person.b, regions_by_person.receiver

    # Nobody enacts before a person has said who does
    refused = b.order().json()["error"]
    assert "the home of tenant TENANT_001 is not known here" in refused["message"]
    told = a.move(ONE, "b-1").json()["error"]
    assert "has no home yet" in told["message"]
    assert "mcctl home move --force" in told["hint"]
    assert (
        "cannot make region b-1 the home"
        in a.move(ONE, "b-1", force=True).json()["error"]["message"]
    )
    for tenant in (ONE, TWO):
        done = _take(a, tmp_path, tenant)
        assert done.returncode == 0, done.stderr
        assert "a-1 becomes the first home; no other is known to a-1" in done.stderr
    wait_until(lambda: _home(b, TWO) == ("a-1", 1, None), what="b-1 knows of both homes")
    listed = mcctl(b, tmp_path, "home", "list")
    assert "a person decides which region is a tenant's home" in listed.stderr
    wait_until(lambda: _enacts(b, receiver, ONE) == {f'1;tenant="{ONE}"'}, what="b-1 passes on")

    # While both live: asked in the other region, given up by the home amid an operation, then taken
    receiver.hold("/payments/charges")
    begun = a.rpc("SendMessage", order(at_once=True)).json()["result"]["task"]["id"]
    assert receiver.arrived.wait(60)
    moved = b.move(ONE, "b-1")
    assert moved.status_code == 202, moved.text
    assert _home(a, ONE) == ("a-1", 1, "b-1")  # before it is anybody else's
    receiver.open.set()
    again = a.move(ONE, "a-1").json()["error"]
    assert "gave the home of tenant TENANT_001 up for b-1" in again["message"]
    wait_until(lambda: _home(a, ONE) == ("b-1", 2, None), what="both know of the new home")
    assert _home(a, TWO) == ("a-1", 1, None)
    wait_until(lambda: _ended(b, begun), what="b-1 ends it", within_s=90)
    calls = Counter(one.key.removeprefix(begun) for one in receiver.calls if begun in one.key)
    standing = [path for key, path in receiver.standing.items() if key.startswith(begun)]
    assert sorted(standing) == ["/courier/bookings", "/payments/charges", "/stock/reservations"]
    assert set(calls) == {":0:do", ":1:do", ":2:do"}
    assert calls[":0:do"] == calls[":2:do"] == 1
    wait_until(lambda: _enacts(a, receiver, ONE) == {f'2;tenant="{ONE}"'}, what="a-1 passes on")
    for region in (a, b):
        [one] = wait_until(partial(_moved, region, term=2), what="the move is recorded")
        assert (one["home"], one["former_home"]) == ("b-1", "a-1")
        assert one["principal"] == "operator@example"

    # The home is gone: nobody takes it by himself, and it is not asked for what it cannot give up
    a.kill()
    wait_until(lambda: b.order(who=TWO).status_code == 200, what="an answer")
    assert "region a-1" in b.order(who=TWO).json()["error"]["message"]
    assert b.move(TWO, "b-1").status_code == 503
    done = _take(b, tmp_path, TWO)
    assert done.returncode == 0, done.stderr
    assert "whether a-1 has stopped is not known here" in done.stderr
    assert "b-1 is the home of TENANT_002, in term 2" in done.stderr
    wait_until(lambda: _enacts(b, receiver, TWO) == {f'2;tenant="{TWO}"'}, what="b-1 enacts")
    [asked] = [one["detail"] for one in b.recorded("home.move-requested") if one["tenant"] == TWO]
    assert (asked["force"], asked["home"], asked["to"]) == (True, "a-1", "b-1")

    # It returns, hears of the order, and enacts nothing
    a.start()
    wait_until(lambda: serves(a), what="a-1 serves again", within_s=180)
    wait_until(lambda: _home(a, TWO) == ("b-1", 2, None), what="the order has come")
    wait_until(lambda: _enacts(a, receiver, TWO) == {f'2;tenant="{TWO}"'}, what="a-1 passes on")


def _moved(region, *, term):
    moves = [one["detail"] for one in region.recorded("home.moved")]
    return [one for one in moves if one["term"] == term]


def test_a_home_that_lives_gives_up_when_the_order_of_force_has_come(
    regions_by_person, wait_until, tmp_path
):
    """Each enacts in a term of its own while the link is cut; then the higher term holds in both."""
    a, b, receiver = regions_by_person.a, regions_by_person.b, regions_by_person.receiver
    assert _home(b, TWO) == ("b-1", 2, None)
    for link in regions_by_person.links.values():
        link.cut()
    try:
        done = _take(a, tmp_path, TWO)
        assert done.returncode == 0, done.stderr
        assert "if it runs, it enacts as well" in done.stderr
        wait_until(lambda: _enacts(a, receiver, TWO) == {f'3;tenant="{TWO}"'}, what="a-1 enacts")
        assert _enacts(b, receiver, TWO) == {f'2;tenant="{TWO}"'}
    finally:
        for link in regions_by_person.links.values():
            link.mend()
    wait_until(lambda: _home(b, TWO) == ("a-1", 3, None), what="b-1 has the order", within_s=90)
    wait_until(lambda: _enacts(b, receiver, TWO) == {f'3;tenant="{TWO}"'}, what="b-1 passes on")
