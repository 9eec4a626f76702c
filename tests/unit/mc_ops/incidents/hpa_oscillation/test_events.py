"""Events in every form that kubectl prints: what `kubectl/` holds is of kubectl 1.36 and a real cluster.

Its HPA was swung between 3 and 5 replicas ten times in 165 s, and its events were folded in two.
"""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fake_cluster import rescaled

from mc_ops.autoscaler.oscillation import oscillation
from mc_ops.autoscaler.record import Recorded, judged
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.incidents.hpa_oscillation.events import read_events, recorded_of_cluster
from mc_ops.incidents.hpa_oscillation.playbook import HpaVerdict, diagnose

NAME = "agent-workbench"
PRINTED = Path(__file__).parent / "kubectl"
NOW = datetime(2026, 12, 1, 7, 48, 20, tzinfo=UTC).timestamp()
HOUR = 3600.0
COUNTS_LOST = sorted(
    f"get-events{more}.txt" for more in ("", "-all-namespaces", "-no-headers")
)  # the plain tables
FORMS = sorted(path.name for path in PRINTED.iterdir() if path.name not in COUNTS_LOST)


def verdict(text: str) -> HpaVerdict:
    return diagnose(read_events(text, hpa=NAME, now_s=NOW), None, window_s=None).verdict


@pytest.mark.parametrize("form", FORMS)
def test_each_form_with_counts_shows_the_oscillation(form: str) -> None:
    """Five times 3 and five times 5: of ten rescalings the first turns nothing round."""
    found = read_events((PRINTED / form).read_text(), hpa=NAME, now_s=NOW)
    assert judged(found).reversals == 8
    assert judged(found).oscillating
    assert 100 <= found.replicas[-1][0] - found.replicas[0][0] <= 200


@pytest.mark.parametrize("form", COUNTS_LOST)
def test_a_form_without_counts_is_never_calm(form: str) -> None:
    """Two of ten rescalings are in it: nothing can be told, and what to ask instead is."""
    text = (PRINTED / form).read_text()
    for ages_more in range(0, 7200, 600):  # however long ago the first of them was
        older = text.replace("35s", f"{ages_more // 60}m").replace("36s", f"{ages_more // 60}m")
        found = diagnose(read_events(older, hpa=NAME, now_s=NOW), None, window_s=None)
        assert found.verdict is HpaVerdict.could_not_tell
        assert "kubectl get events -o json has them" in found.found.why


def test_several_tables_and_several_descriptions_may_stand_in_one_text() -> None:
    """Each row belongs to the HPA that it, or the description over it, names."""
    described = (PRINTED / "describe-hpa.txt").read_text()
    other = described.replace("agent-workbench\n", "another\n", 1)
    for text in (f"{described}\n\n{other}", f"{other}\n\n{described}"):
        assert judged(read_events(text, hpa=NAME, now_s=NOW)).reversals == 8
    assert judged(read_events(other, hpa="another", now_s=NOW)).reversals == 8
    with pytest.raises(CouldNotTell, match="no event"):
        read_events(other, hpa=NAME, now_s=NOW)


def test_an_age_that_kubectl_does_not_know_is_refused() -> None:
    text = (PRINTED / "events.txt").read_text().replace("35s (x5 over 2m10s)", "<unknown>")
    with pytest.raises(UnusableInput, match="the age of an event is <unknown>"):
        read_events(text, hpa=NAME, now_s=NOW)


def watched() -> list[dict[str, object]]:
    """The events of the real cluster, as `--watch` tells them: once more at each count up to theirs."""
    items = json.loads((PRINTED / "get-events.json").read_text())["items"]
    return [
        item | ({"count": count} if "count" in item else {})
        for item in items
        for count in range(1, (item.get("count") or 1) + 1)
    ]


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("indent", [None, 4])
def test_what_a_watch_prints_tells_each_event_once(typed: bool, indent: int | None) -> None:
    """One document after the other, of which the last of an event has its count; not the sum of all."""
    changes = [{"type": "MODIFIED", "object": one} if typed else one for one in watched()]
    text = "\n".join(json.dumps(one, indent=indent) for one in changes)
    assert judged(read_events(text, hpa=NAME, now_s=NOW)).reversals == 8
    with pytest.raises(UnusableInput, match="no events of Kubernetes"):
        read_events(f'{text}\n{{"kind": "Ev', hpa=NAME, now_s=NOW)


@pytest.mark.parametrize(
    "form",
    [
        "get-events.json",
        "get-events.yaml",
        "get-events-all-namespaces-wide.txt",
        "describe-hpa.txt",
    ],
)
def test_hpas_of_one_name_in_two_namespaces_are_two(form: str) -> None:
    """`-A` lists both: whose replicas are meant is asked, and never those of both taken as one's."""
    text = (PRINTED / form).read_text()
    here = "cap"
    other = re.sub(rf"\b{here}\b", "another", text)
    if form.endswith(".json"):
        listed = json.loads(text)
        text = json.dumps(listed | {"items": listed["items"] + json.loads(other)["items"]})
    else:
        text = f"{text}\n---\n{other}" if form.endswith(".yaml") else f"{text}\n{other}"
    with pytest.raises(UnusableInput, match="in 2 namespaces") as refused:
        read_events(text, hpa=NAME, now_s=NOW)
    assert refused.value.hint == f"--namespace NAME: another, {here}"
    found = read_events(text, hpa=NAME, now_s=NOW, namespace=here)
    assert judged(found).reversals == 8
    with pytest.raises(CouldNotTell, match="in namespace third"):
        read_events(text, hpa=NAME, now_s=NOW, namespace="third")


def test_rescalings_in_columns_that_are_not_known_are_refused() -> None:
    """Kubectl before 1.14 printed others: that there is no rescaling would be wrong."""
    text = """LAST SEEN   FIRST SEEN   COUNT   NAME                  KIND                      TYPE     REASON              SOURCE                      MESSAGE
4m          58m          10      agent-workbench.17a   HorizontalPodAutoscaler   Normal   SuccessfulRescale   horizontal-pod-autoscaler   New size: 5; reason: x
"""
    with pytest.raises(UnusableInput, match="columns that are not known"):
        read_events(text, hpa=NAME, now_s=NOW)


# -- folded, combined and dropped -----------------------------------------------------------------


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


def of_cluster(*events: dict[str, object], changed_s: float | None = None) -> Recorded:
    return recorded_of_cluster(
        events,
        hpa=NAME,
        until_s=NOW,
        created_at="2026-01-01T00:00:00Z",
        status={},
        uid="this",
        changed_at="" if changed_s is None else at(changed_s),
    )


def told(recorded: Recorded) -> HpaVerdict:
    return diagnose(recorded, None, window_s=0).verdict


def test_a_fold_of_days_does_not_hide_what_the_last_hour_may_hold() -> None:
    """Ten in three days, spread evenly, would be calm; all but one may lie in the last hour."""
    up = rescaled(at(-3 * 86_400), 5, count=10, lastTimestamp=at(-60))
    down = rescaled(at(-3 * 86_400 + 60), 3, count=10, lastTimestamp=at(-30))
    assert told(of_cluster(up, down)) is HpaVerdict.could_not_tell
    assert "up to 18 rescalings may lie in one hour" in judged(of_cluster(up, down)).why


def test_one_size_alone_moves_once_an_hour_unless_something_else_scales() -> None:
    """Between two rescalings to 5 there is one to another size, or somebody else's hand."""
    daily = rescaled(at(-30 * 86_400), 5, count=30, lastTimestamp=at(-600))
    assert told(of_cluster(daily)) is HpaVerdict.calm
    fought = rescaled(at(-3000), 5, count=30, lastTimestamp=at(-600))
    assert told(of_cluster(fought)) is HpaVerdict.could_not_tell


def test_a_combined_event_has_lost_the_sizes() -> None:
    """Ten messages in ten minutes are combined into one, which shows the last size alone."""
    message = "(combined from similar events): New size: 9; reason: All metrics below target"
    combined = rescaled(at(-3000), 9, count=14, lastTimestamp=at(-20), message=message)
    early = rescaled(at(-3500), 4)
    assert told(of_cluster(early, combined)) is HpaVerdict.could_not_tell


def test_where_events_may_have_been_dropped_nothing_is_calm() -> None:
    """A controller that failed to get metrics thirty times had no event left for a rescaling."""
    failed = {"reason": "FailedGetResourceMetric", "message": "no metrics"}
    failures = rescaled(at(-3000), 0, count=30, lastTimestamp=at(-20), **failed)
    assert told(of_cluster(rescaled(at(-2000), 4), failures)) is HpaVerdict.could_not_tell
    few = {**failures, "count": 10}
    assert told(of_cluster(rescaled(at(-2000), 4), few)) is HpaVerdict.calm


def test_events_of_an_hpa_that_had_the_name_before_are_of_other_rules() -> None:
    about = {"kind": "HorizontalPodAutoscaler", "name": NAME}
    before = [
        rescaled(at(-1000 + 60 * step), size, involvedObject={**about, "uid": "that"})
        for step, size in enumerate((5, 3, 5, 3, 5, 3))
    ]
    assert told(of_cluster(*before)) is HpaVerdict.calm
    mine = [{**one, "involvedObject": {**about, "uid": "this"}} for one in before]
    assert told(of_cluster(*mine)) is HpaVerdict.oscillating


Moves = list[tuple[int, int]]


@st.composite
def histories(draw: st.DrawFn) -> Moves:
    """(seconds before now, size) of rescalings to two to five sizes; no two to the same in a row."""
    gaps = draw(st.lists(st.integers(15, 2000), min_size=1, max_size=30))
    ages = list(itertools.accumulate(gaps))[::-1]
    sizes = [draw(st.integers(3, 7))]
    for _ in ages[1:]:
        sizes.append(draw(st.integers(3, 7).filter(lambda size: size != sizes[-1])))
    return list(zip(ages, sizes, strict=True))


def folded(moves: Moves) -> list[dict[str, object]]:
    """As a controller records them: one event a size."""
    by_size: dict[int, list[int]] = {}
    for age, size in moves:
        by_size.setdefault(size, []).append(age)
    return [
        rescaled(at(-ages[0]), size, count=len(ages), lastTimestamp=at(-ages[-1]))
        for size, ages in by_size.items()
        if ages[-1] < HOUR  # the others are deleted
    ]


@given(histories())
def test_what_is_folded_is_never_called_calm_where_it_was_not(moves: Moves) -> None:
    """The law: whatever the folding hides, "not oscillating" is true."""
    truth = oscillation([(NOW - age, size) for age, size in moves if age < HOUR] or [(NOW, 3)])
    found = told(of_cluster(*folded(moves)))
    assert not (truth.oscillating and found is HpaVerdict.calm)


@example([(3705, 3), (3690, 4), (3675, 3), (3660, 4), (1660, 3), (760, 4), (76, 3)])
@given(histories())
def test_what_is_printed_for_people_is_never_called_calm_where_it_was_not(moves: Moves) -> None:
    """Ages are rounded to the minute, and rows of one minute stand in any order."""
    rows = [
        f"{_age(age)}  Normal  SuccessfulRescale  HorizontalPodAutoscaler/{NAME}  New size: {size}; reason: x"
        for age, size in moves
    ]
    truth = oscillation([(NOW - age, size) for age, size in moves])
    found = verdict("\n".join(rows))
    assert not (truth.oscillating and found is HpaVerdict.calm)


def _age(seconds: int) -> str:
    """As kubectl writes it."""
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    return f"{minutes // 60}h{minutes % 60}m" if minutes % 60 else f"{minutes // 60}h"


def test_a_guess_does_not_hide_a_reversal_that_is_known() -> None:
    """As a real cluster had it: three sizes; spread evenly, the one guess falls where it hides two."""
    events = [
        rescaled(at(-251), 3),
        rescaled(at(-210), 4, count=2, lastTimestamp=at(-140)),
        rescaled(at(-190), 3, count=3, lastTimestamp=at(-90)),
        rescaled(at(-170), 5, count=2, lastTimestamp=at(-70)),
        rescaled(at(-150), 4),
    ]
    assert told(of_cluster(*events)) is HpaVerdict.oscillating


# -- since the rules were changed -----------------------------------------------------------------

SWUNG = [
    rescaled(at(-320), 5, count=4, lastTimestamp=at(-100)),
    rescaled(at(-305), 3, count=4, lastTimestamp=at(-215)),
]
"""Swung by 30 s from 320 s ago to 215 s ago, and went up once since: the rules were changed 205 s ago."""


def test_a_change_that_stopped_it_is_told() -> None:
    """What was before it oscillates for an hour to come in the events, and no longer in the verdict."""
    found = diagnose(of_cluster(*SWUNG, changed_s=-205), None, window_s=45)
    assert found.verdict is HpaVerdict.stopped
    assert found.before is not None
    assert (found.before.oscillating, found.found.reversals) == (True, 0)
    assert found.proposed_s is None
    assert "look again" in found.notes[-1]


def test_too_soon_after_a_change_nothing_is_told() -> None:
    """A window holds replicas for its own length, whatever the load does."""
    found = diagnose(of_cluster(*SWUNG, changed_s=-205), None, window_s=300)
    assert found.verdict is HpaVerdict.could_not_tell
    assert "s more without a reversal" in found.notes[-1]


def test_a_change_that_did_not_stop_it_is_told() -> None:
    swings = [
        rescaled(at(-400), 5, count=13, lastTimestamp=at(-20)),
        rescaled(at(-385), 3, count=13, lastTimestamp=at(-5)),
    ]
    found = diagnose(of_cluster(*swings, changed_s=-205), None, window_s=15)
    assert found.verdict is HpaVerdict.oscillating
    assert found.before is not None


def test_after_a_change_folded_events_of_both_times_tell_nothing() -> None:
    """Up and down since: how many of the older ones lie after the change, nobody kept."""
    both = [SWUNG[0], {**SWUNG[1], "lastTimestamp": at(-20)}]
    found = diagnose(of_cluster(*both, changed_s=-205), None, window_s=15)
    assert found.verdict in (HpaVerdict.could_not_tell, HpaVerdict.oscillating)


def test_a_change_of_a_calm_hpa_keeps_the_whole_hour() -> None:
    found = of_cluster(rescaled(at(-1800), 4), changed_s=-60)
    assert json.dumps(diagnose(found, None, window_s=300).as_dict())
    assert told(found) is HpaVerdict.calm
