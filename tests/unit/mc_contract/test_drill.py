"""RTO and RPO from clients' rows: by hand-made courses, and by laws that hold for any."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.drill import (
    CONTROL,
    Course,
    DrillRows,
    Request,
    course_of,
    figures,
    request_of,
    require_held,
)

KILL = Course("region-kill", 5.0, 20.0, 2.0, most_rto_s=10.0, most_lost=0)
STEP_S = 0.05


def rows(tenant, *, away=(5.0, 8.0), until=14.0, lost=(), outcome="failed"):
    """Twenty requests a second, answered after 10 ms but for those due while it is away."""
    made = []
    for number in range(round(until / STEP_S)):
        at = round(number * STEP_S, 6)
        said = outcome if away[0] <= at < away[1] else "acknowledged"
        found = None if said != "acknowledged" else number not in lost
        made.append(
            Request(tenant, f"{tenant}-{number}", at, round(at + 0.01, 6), said, "t", found)
        )
    return made


CONTROL_LOSES = rows(CONTROL, away=(5.0, 99.0), lost=(95, 96, 97, 98, 99))


def test_rto_counts_from_the_fault_and_from_the_first_request_that_it_failed():
    """Away from 5 s to 8 s: the first success of those that last is answered at 8.01 s."""
    found = figures([*rows("T"), *CONTROL_LOSES], KILL)
    told = found["tenants"]["T"]
    assert (told["rto_s"], told["rto_from_failure_s"]) == (3.01, 3.01)
    assert (told["failed_after_s"], told["lost"], told["rpo_s"]) == (0.01, 0, 0.0)
    assert found["met"] is True


def test_a_success_that_does_not_last_is_no_recovery():
    """It answers again at 8 s, and not from 9 s to 9.5 s: it was back at 9.5 s."""
    flapping = [
        Request(one.tenant, one.id, one.sent_s, one.ended_s, "maybe")
        if 9.0 <= one.sent_s < 9.5
        else one
        for one in rows("T")
    ]
    assert figures([*flapping, *CONTROL_LOSES], KILL)["tenants"]["T"]["rto_s"] == 4.51


def test_a_platform_that_is_not_back_when_the_load_ends_has_no_rto():
    """Two seconds of success must be seen: one and a half are not enough, and the target is missed."""
    found = figures([*rows("T", away=(5.0, 12.5)), *CONTROL_LOSES], KILL)
    assert found["tenants"]["T"]["rto_s"] is None
    assert found["met"] is False


def test_rpo_is_what_was_acknowledged_and_is_gone():
    """Two writes of the last second before the fault are gone: the older was told at 4.26 s."""
    found = figures([*rows("T", lost=(85, 99)), *CONTROL_LOSES], KILL)
    told = found["tenants"]["T"]
    assert (told["lost"], told["rpo_s"]) == (2, 0.74)
    assert found["met"] is False


def test_a_drill_whose_control_loses_nothing_is_blind():
    """The fault did not take what was acknowledged and not written: there is no verdict."""
    found = figures([*rows("T"), *rows(CONTROL)], KILL)
    assert (found["blind"], found["met"]) == (True, None)


def test_a_freeze_must_be_seen_by_the_control_as_an_absence():
    """A store that stands still loses nothing; what it must show is that it did not answer."""
    freeze = Course("freeze", 5.0, 20.0, 2.0, 10.0, 0)
    seen = figures([*rows("T"), *rows(CONTROL, outcome="maybe")], freeze)
    assert (seen["blind"], seen["met"]) == (False, True)
    unseen = figures([*rows("T"), *rows(CONTROL, away=(0, 0))], freeze)
    assert (unseen["blind"], unseen["met"]) == (True, None)


def test_what_was_not_looked_up_leaves_no_verdict():
    """An acknowledged write that nobody could ask for is no found one."""
    one, *others = rows("T")
    unknown = Request(one.tenant, one.id, one.sent_s, one.ended_s, one.outcome, one.task, None)
    found = figures([unknown, *others, *CONTROL_LOSES], KILL)
    assert (found["tenants"]["T"]["unchecked"], found["met"]) == (1, None)


MOVED = replace(KILL, operations_per_s=10.0, decided_s=8.4)


def operations(tenant, *, away=(5.0, 9.0)):
    """Half of the rows, as operations, answered by the other region afterwards."""
    return [
        replace(one, id=f"operation-{one.id}", operation=True, region="b-1", found_later=True)
        for one in rows(tenant, away=away)[::2]
        if one.outcome != "acknowledged" or one.found is not None
    ]


def test_operations_are_a_stream_of_their_own_and_the_rto_is_the_longer_one():
    """Questions are answered again after three seconds, operations when the home has moved."""
    found = figures([*rows("T"), *operations("T"), *CONTROL_LOSES], MOVED)
    told = found["tenants"]["T"]
    assert (told["questions_rto_s"], told["operations_rto_s"]) == (3.01, 4.01)
    assert (told["rto_s"], told["operations"], told["lost_for_good"]) == (4.01, 140, 0)
    assert told["parts"] == {"detection_s": 0.01, "lease_s": 3.39, "move_s": 0.61}
    assert sum(told["parts"].values()) == pytest.approx(told["rto_s"])
    require_held([*rows("T"), *operations("T"), *CONTROL_LOSES], MOVED)


def test_the_parts_are_no_more_than_the_rto_where_a_client_was_answered_before_the_drill_heard_of_the_move():
    """The drill asks for the homes now and then; the new one answers at once."""
    late = replace(MOVED, decided_s=9.2)
    found = figures([*rows("T"), *operations("T"), *CONTROL_LOSES], late)
    told = found["tenants"]["T"]
    assert told["parts"] == {"detection_s": 0.01, "lease_s": 4.0, "move_s": 0.0}
    assert told["rto_s"] == 4.01


def test_an_operation_that_is_not_served_again_is_no_recovery():
    """The questions alone would say three seconds."""
    found = figures([*rows("T"), *operations("T", away=(5.0, 13.0)), *CONTROL_LOSES], MOVED)
    assert found["tenants"]["T"]["rto_s"] is None
    assert found["tenants"]["T"]["parts"]["lease_s"] is None
    assert found["met"] is False


def test_what_the_survivor_lacks_is_lost_although_it_comes_back_with_its_region():
    """RPO is what cannot be had while the region is away; what nobody has afterwards is apart."""
    without = [replace(one, found_later=one.found is not None) for one in rows("T", lost=(97, 99))]
    told = figures([*without, *CONTROL_LOSES], KILL)["tenants"]["T"]
    assert (told["lost"], told["lost_for_good"]) == (2, 0)


def test_what_a_restored_region_lacks_is_apart_from_what_the_survivor_lacks():
    """Three writes are in no backup, one of which the survivor lacks as well."""
    restored = [
        replace(one, found_restored=int(one.id[2:]) not in (97, 98, 99))
        for one in rows("T", lost=(99,))
    ]
    told = figures([*restored, *CONTROL_LOSES], replace(KILL, scenario="restore"))["tenants"]["T"]
    assert (told["lost"], told["restore"]) == (1, {"lost": 3, "rpo_s": 0.14})
    with pytest.raises(DrillRows, match="found_restored"):
        request_of({**restored[0].as_dict(), "found_restored": "no"})


CUT = replace(
    KILL, scenario="link-cut", operations_per_s=10.0, mended_s=8.0, home="a-1", most_rto_s=1.0
)


def _cut(by=("a-1", "b-1"), operations_by="a-1"):
    questions = [
        replace(one, region=by[n % len(by)]) for n, one in enumerate(rows("T", away=(0, 0)))
    ]
    enacted = [replace(one, region=operations_by) for one in operations("T", away=(0, 0))]
    return figures([*questions, *enacted, *rows(CONTROL, away=(5.0, 8.0), outcome="maybe")], CUT)


def test_while_the_link_is_cut_both_answer_and_the_home_alone_enacts():
    found = _cut()
    assert found["tenants"]["T"]["answered_by"] == {
        "a-1": {"questions": 10, "operations": 10},
        "b-1": {"questions": 10, "operations": 0},
    }
    assert (found["blind"], found["met"]) == (False, True)


@pytest.mark.parametrize("seen", [{"by": ("a-1",)}, {"operations_by": "b-1"}])
def test_a_region_that_falls_silent_or_enacts_beside_the_home_misses_the_target(seen):
    assert _cut(**seen)["met"] is False


def test_operations_in_the_rows_need_a_rate_in_the_course():
    """Without one nobody could say whether rows of them are missing."""
    measured = [*rows("T"), *operations("T"), *CONTROL_LOSES]
    with pytest.raises(DrillRows, match="no rate"):
        require_held(measured, KILL)
    fewer = [one for one in measured if not (one.operation and 6 < one.sent_s < 8)]
    with pytest.raises(DrillRows, match="rows are missing"):
        require_held(fewer, MOVED)


def test_a_tenant_whose_answers_wait_for_the_other_region_loses_nothing():
    """What others may lose is no excuse for it."""
    measured = [*rows("T", lost=(99,)), *CONTROL_LOSES]
    allowed = replace(KILL, most_lost=5)
    assert figures(measured, allowed)["met"] is True
    assert figures(measured, replace(allowed, sync=("T",)))["met"] is False


@given(st.floats(0.1, 5.0), st.sets(st.integers(0, 99)))
def test_rto_and_rpo_follow_what_was_done(away_s, lost):
    """Whatever the absence and whatever is lost: RTO is the absence to a step, RPO the oldest loss."""
    found = figures([*rows("T", away=(5.0, 5.0 + away_s), lost=lost), *CONTROL_LOSES], KILL)
    told = found["tenants"]["T"]
    assert away_s <= told["rto_s"] <= away_s + STEP_S + 0.011
    assert told["lost"] == len(lost)
    oldest = max((round(5.0 - (number * STEP_S + 0.01), 3) for number in lost), default=0.0)
    assert told["rpo_s"] == pytest.approx(max(oldest, 0.0), abs=0.002)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcome": "fine"}, "outcome"),
        ({"sent_s": float("nan")}, "times"),
        ({"ended_s": 0.0, "sent_s": 1.0}, "times"),
        ({"found": "yes"}, "found"),
        ({"more": 1}, "members"),
        ({"operation": "yes"}, "operation"),
        ({"region": 1}, "region"),
        ({"found_later": 1}, "found"),
        ({"sent_s": True}, "times"),
    ],
)
def test_a_row_that_is_none_is_refused(change, said):
    """Rows come from a pack, which anybody may have made."""
    row = Request("T", "m", 1.0, 2.0, "acknowledged", "t", True).as_dict()
    assert request_of(row).id == "m"
    with pytest.raises(DrillRows, match=said):
        request_of({**row, **change})


def test_a_message_counts_once():
    """A row that stands twice would hide a loss among more successes."""
    with pytest.raises(DrillRows, match="twice"):
        figures([*rows("T"), *rows("T"), *CONTROL_LOSES], KILL)


def test_a_row_of_a_drill_of_one_region_from_before_is_read():
    """Packs that were made before drills of two regions verify on."""
    row = Request("T", "m", 1.0, 2.0, "acknowledged", "t", True).as_dict()
    for name in ("operation", "region", "found_later"):
        del row[name]
    assert request_of(row).operation is False


@pytest.mark.parametrize("course", [None, {}, {"scenario": "none"}, {"scenario": "freeze"}])
def test_a_report_without_a_course_is_refused(course):
    """What the figures are computed with must be whole."""
    with pytest.raises(DrillRows):
        course_of({"course": course})


def _course(**change):
    return course_of({"course": {**asdict(KILL), **change}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"fault_s": 7.5},
            "control failed before the fault",
        ),  # an RTO of half a second, not of three
        ({"fault_s": 90.0}, "end before the fault"),
        ({"fault_s": 1.0}, "control answered after the fault"),
        ({"rate_per_s": 1.0}, "the rate is another"),  # two successes would be a recovery
    ],
)
def test_a_course_that_was_changed_does_not_hold_against_its_rows(change, said):
    """The course stands in the report, beside the rows, and whoever edits it makes the RTO look better."""
    measured = [*rows("T"), *CONTROL_LOSES]
    require_held(measured, _course())
    with pytest.raises(DrillRows, match=said):
        require_held(measured, _course(**change))


def test_a_window_that_no_success_need_last_is_refused():
    with pytest.raises(DrillRows, match="at least 2"):
        _course(window_s=0.0)


@pytest.mark.parametrize("gone", [slice(0, 40), slice(100, 160), slice(120, 121)])
def test_rows_that_were_taken_out_are_missed(gone):
    """Without those that failed there was no absence."""
    left = rows("T")
    del left[gone]
    with pytest.raises(DrillRows, match="rows are missing"):
        require_held([*left, *CONTROL_LOSES], _course())
