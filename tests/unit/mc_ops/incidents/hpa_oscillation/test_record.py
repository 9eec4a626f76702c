"""What was recorded of an HPA: events in every form, CSV, Prometheus' ranges, the HPA's rules."""

from __future__ import annotations

import json

import pytest
from tests.fake_cluster import hpa, rescaled

from mc_ops.autoscaler.oscillation import reversal_times
from mc_ops.autoscaler.record import Recorded, read_csv, recorded_of_ranges, rules_of
from mc_ops.autoscaler.replay import Policy, Rules, Trace, replay
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.incidents.hpa_oscillation.events import read_events, recorded_of_cluster
from mc_ops.incidents.hpa_oscillation.playbook import (
    HpaVerdict,
    assumed_window,
    diagnose,
    window_change,
    window_command,
)
from mc_ops.service_client import RangeSeries

NOW = 1_767_229_200.0  # 2026-01-01T01:00:00Z
NAME = "agent-workbench"

# -- events ---------------------------------------------------------------------------------------


def test_folded_events_stand_for_all_their_times() -> None:
    """`x7 over 60m` are seven; where between nobody knows, and it is said."""
    events = [
        rescaled("2026-01-01T00:00:00Z", 6, count=7, lastTimestamp="2026-01-01T00:59:50Z"),
        rescaled("2026-01-01T00:05:00Z", 3, count=6, lastTimestamp="2026-01-01T00:55:00Z"),
    ]
    found = read_events(json.dumps(events), hpa=NAME, now_s=NOW)
    assert len(reversal_times(found.replicas)) == 11  # of 13 the first has nothing before it
    assert "13 of 13 rescalings are folded" in found.notes[0]


def test_json_of_either_events_api_is_read() -> None:
    """core/v1 and events.k8s.io/v1 name their fields differently."""
    old = rescaled("2026-01-01T00:10:00Z", 5)
    new = {
        "regarding": {"kind": "HorizontalPodAutoscaler", "name": NAME},
        "reason": "SuccessfulRescale",
        "note": "New size: 3; reason: x",
        "eventTime": "2026-01-01T00:20:00.5Z",
        "series": {"count": 2, "lastObservedTime": "2026-01-01T00:40:00Z"},
    }
    text = json.dumps({"kind": "List", "items": [old, new]})
    found = read_events(text, hpa=NAME, now_s=NOW)
    assert found.replicas == ((NOW - 3000, 5), (NOW - 2399.5, 3), (NOW - 1200, 3))


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('{"items": []}', CouldNotTell, "no event SuccessfulRescale"),
        ("LAST SEEN  TYPE  REASON  OBJECT  MESSAGE", CouldNotTell, "no event SuccessfulRescale"),
        ("", CouldNotTell, "no event SuccessfulRescale"),
        ("Events:  <none>", CouldNotTell, "no event SuccessfulRescale"),
        ("event/agent-workbench.18ed118f3998ec04\n", UnusableInput, "no events of Kubernetes"),
        ("a: &a [*a]", UnusableInput, "no events of Kubernetes"),
        (
            "items: [{involvedObject: {kind: HorizontalPodAutoscaler}, firstTimestamp: 7}]",
            UnusableInput,
            "no events of Kubernetes",
        ),
        ("{", UnusableInput, "no events of Kubernetes"),
        ("[1]", UnusableInput, "no events of Kubernetes"),
        ("[" * 100_000, UnusableInput, "no events of Kubernetes"),
        (json.dumps([rescaled("yesterday", 3)]), UnusableInput, 'the time "yesterday"'),
        (json.dumps([rescaled("2026-01-01T00:00:00", 3)]), UnusableInput, "no time zone"),
        (
            json.dumps([rescaled("2026-01-01T00:00:00Z", 3, message="grown")]),
            UnusableInput,
            'without "New size"',
        ),
        (
            json.dumps([rescaled("2026-01-01T00:00:00Z", 3, count=10**9)]),
            UnusableInput,
            "over 100000 rescalings",
        ),
        ('{"items": 7}', UnusableInput, "no events of Kubernetes"),
        (
            json.dumps([rescaled("2026-01-01T00:00:00Z", 3, count="x")]),
            UnusableInput,
            "no events of Kubernetes",
        ),
        (
            json.dumps([rescaled("2026-01-01T00:00:00Z", 3, count=float("inf"))]),
            UnusableInput,
            "no events of Kubernetes",
        ),
    ],
)
def test_events_that_are_none_are_told(text: str, kind: type[Exception], said: str) -> None:
    """Nothing is concluded from a listing that cannot be read, or has none."""
    with pytest.raises(kind, match=said):
        read_events(text, hpa=NAME, now_s=NOW)


def test_a_count_below_one_is_one() -> None:
    """An event happened."""
    text = json.dumps([rescaled("2026-01-01T00:10:00Z", 5, count=-3)])
    assert read_events(text, hpa=NAME, now_s=NOW).replicas == ((NOW - 3000, 5),)


def test_another_hpa_s_events_are_named_in_the_hint() -> None:
    """A wrong --hpa is the likeliest reason."""
    text = json.dumps([rescaled("2026-01-01T00:10:00Z", 5)])
    with pytest.raises(CouldNotTell) as caught:
        read_events(text, hpa="mistyped", now_s=NOW)
    assert caught.value.hint == "there are some of agent-workbench: --hpa NAME"


def of_cluster(events: list[dict[str, object]], **status: object) -> Recorded:
    """As listed at NOW of an HPA that is months old."""
    return recorded_of_cluster(
        events, hpa=NAME, until_s=NOW, created_at="2025-06-01T00:00:00Z", status=status
    )


def test_a_cluster_s_record_is_the_whole_hour_that_events_are_kept() -> None:
    """An event half an hour ago and none else: the HPA is calm, and that can be said."""
    event = rescaled("2026-01-01T00:30:00Z", 5)
    found = of_cluster([event], lastScaleTime="2026-01-01T00:30:00Z")
    assert found.replicas[0] == (NOW - 3600, 5)
    assert diagnose(found, None, window_s=None).verdict is HpaVerdict.calm
    assert "that one is no reversal" in found.notes[0]


def test_no_events_and_no_recent_scaling_is_calm() -> None:
    """The HPA's status agrees that nothing happened."""
    found = of_cluster([], currentReplicas=4, lastScaleTime="2025-12-31T20:00:00Z")
    assert found.replicas == ((NOW - 3600, 4), (NOW, 4))
    assert diagnose(found, None, window_s=None).verdict is HpaVerdict.calm


def test_lost_events_are_noticed() -> None:
    """The HPA scaled ten minutes ago, and no event says so."""
    with pytest.raises(CouldNotTell, match="scaled after the last event"):
        of_cluster([], currentReplicas=4, lastScaleTime="2026-01-01T00:50:00Z")


def test_a_young_hpa_has_too_short_a_record() -> None:
    """Made twenty minutes ago: calm cannot be said yet."""
    found = recorded_of_cluster(
        [], hpa=NAME, until_s=NOW, created_at="2026-01-01T00:40:00Z", status={"currentReplicas": 3}
    )
    assert diagnose(found, None, window_s=None).verdict is HpaVerdict.could_not_tell


# -- CSV and Prometheus ---------------------------------------------------------------------------


def test_a_csv_has_unix_or_iso_times() -> None:
    """Both are common; a load is taken along."""
    text = "time,replicas,load\n1767229200,3,2.1\n2026-01-01T01:00:30Z,4,2.8\n\n"
    found = read_csv(text)
    assert found.replicas == ((NOW, 3), (NOW + 30, 4))
    assert found.load == ((NOW, 2.1), (NOW + 30, 2.8))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with"),
        ("a,b\n1,2\n", "expected the header|begins with"),
        ("time,replicas\n", "no rows"),
        ("time,replicas\n1,2,3\n", "line 2: expected 2 values, got 3"),
        ("time,replicas\n1,three\n", "line 2: replicas must be a number, such as 12"),
        ("time,replicas\n1,-3\n", "line 2: replicas and load must be 0 or more"),
        ("time,replicas\n1,1_0\n", "line 2: replicas must be a number"),
        ("time,replicas,load\n1,3,nan\n", "line 2: load must be a number"),
        ("time,replicas\n1,5\n2,NaN\n3,4\n", "line 3: replicas must be a number"),
        ("time,replicas\n1,5\n2,\n", "line 3: replicas must be a number"),
        ('"Time","agent-workbench"\n2026-01-01 00:00:00,5\n', "begins with 'Time,agent-workb"),
        ("time,replicas\n2026-01-01 00:00:00,3\n", "line 2: the time .* has no time zone"),
        ("time,replicas,load\n1,3,1_0\n", "line 2: load must be a number"),
        ("time,replicas\nyesterday,3\n", "line 2: yesterday is no time, expected Unix seconds"),
        ("time,replicas\ninf,3\n", "line 2: inf is no time"),
        ("time,replicas\n1767229200000,3\n", "is no time, expected Unix seconds"),
        ("time,replicas\n" + "1" * 200_000 + ",3\n", "is no CSV"),
        ("time,replicas\n2026-01-01T00:00:00,3\n", "line 2: the time .* has no time zone"),
        ("time,replicas\n2,3\n1,3\n", "not in time order"),
        (f"time,replicas\n1,{'9' * 5000}\n", "line 2: no Deployment has over"),
    ],
)
def test_a_bad_row_is_named(text: str, said: str) -> None:
    """The first one, by its line."""
    with pytest.raises(UnusableInput, match=said):
        read_csv(text)


def test_a_gap_is_told() -> None:
    """The last value is taken to hold; the reader should know."""
    assert "gap of 10 min" in read_csv("time,replicas\n0,3\n600,3\n").notes[0]


def test_ranges_of_prometheus_become_a_record() -> None:
    """One series each; what is no number is left out."""
    counts = RangeSeries({}, (0.0, 15.0, 30.0), (3.0, float("nan"), 6.0))
    found = recorded_of_ranges([counts], [RangeSeries({}, (0.0, 30.0), (2.0, 4.0))])
    assert found.replicas == ((0.0, 3), (30.0, 6))
    assert found.load == ((0.0, 2.0), (30.0, 4.0))
    with pytest.raises(UnusableInput, match="gives 2 series"):
        recorded_of_ranges([counts, counts], None)
    with pytest.raises(CouldNotTell, match="of the replicas gives nothing"):
        recorded_of_ranges([], None)
    with pytest.raises(CouldNotTell, match="of the load gives nothing"):
        recorded_of_ranges([counts], [])


# -- rules ----------------------------------------------------------------------------------------


def test_the_hpa_s_spec_becomes_rules() -> None:
    """What it leaves out has Kubernetes' default."""
    plain = rules_of(hpa()["spec"])
    assert plain == Rules(min_replicas=3, max_replicas=20)
    policies = [
        {"type": "Pods", "value": 2, "periodSeconds": 60},
        {"type": "Percent", "value": 10, "periodSeconds": 30},
    ]
    down = {
        "policies": policies,
        "selectPolicy": "Min",
        "stabilizationWindowSeconds": 0,
        "tolerance": "50m",
    }
    told = rules_of(hpa(behavior={"scaleDown": down, "scaleUp": {"tolerance": "0.02"}})["spec"])
    assert told.down.policies == (Policy(60, pods=2), Policy(30, percent=10))
    assert (told.down.select, told.down.window_s, told.down.tolerance) == ("Min", 0, 0.05)
    assert (told.up.policies, told.up.tolerance) == (plain.up.policies, 0.02)


@pytest.mark.parametrize("spec", [{}, {"maxReplicas": "many"}, {"maxReplicas": None}])
def test_a_spec_that_is_none_is_told(spec: dict[str, object]) -> None:
    """No rules are made up."""
    with pytest.raises(CouldNotTell, match="spec cannot be read"):
        rules_of(spec)


# -- the diagnosis --------------------------------------------------------------------------------

CRON = [12.0 if step * 15 % 600 < 60 else 4.0 for step in range(361)]
RULES = Rules(min_replicas=3, max_replicas=20)
SEEN = tuple(replay(Trace(0.0, tuple(CRON), 4), RULES))
LOAD = tuple((step * 15.0, demand * 0.7) for step, demand in enumerate(CRON))


def test_a_measured_load_is_replayed() -> None:
    """With the load the answer is exact: 555 s."""
    found = diagnose(Recorded(SEEN, LOAD, "test"), RULES, target=0.7, window_s=300)
    assert (found.verdict, found.method, found.proposed_s) == (HpaVerdict.oscillating, "load", 555)


def test_the_price_of_the_window_is_told() -> None:
    """What idles until the window ends: from 8 and a half replicas on average to 12."""
    found = diagnose(Recorded(SEEN, LOAD, "test"), RULES, target=0.7, window_s=300)
    now, then = found.mean_replicas
    assert now == pytest.approx(8.6, abs=0.2)
    assert then == pytest.approx(12.0, abs=0.1)
    assert found.as_dict()["mean_replicas_then_by_replay"] == round(then or 0, 3)


def test_a_load_that_does_not_explain_the_record_is_not_trusted() -> None:
    """A wrong target: the replay is calm where the record is not, so the replicas are taken."""
    found = diagnose(Recorded(SEEN, LOAD, "test"), RULES, target=70.0, window_s=300)
    assert found.method == "replicas"
    assert found.proposed_s == 570
    assert any("the load, replayed, gives 0 reversals an hour" in note for note in found.notes)


def test_what_the_hpa_cannot_have_done_is_noticed() -> None:
    """Down 60 s after up, with a window of 300 s: something else scales."""
    by_hand = tuple((at * 60.0, 6 if at % 2 else 3) for at in range(61))
    found = diagnose(Recorded(by_hand, None, "test"), RULES, window_s=300)
    assert any("30 times replicas went down sooner" in note for note in found.notes)


def test_moves_faster_than_the_hpa_looks_are_not_the_hpa() -> None:
    """Every 5 s: at one look in 15 s the record is nearly still; no window is proposed."""
    flapping = tuple((at * 7.5, 6 if at % 2 else 3) for at in range(481))
    found = diagnose(Recorded(flapping, None, "test"), RULES, window_s=0)
    assert found.proposed_s is None
    assert found.window is not None
    assert "not this HPA alone" in found.window.why


def test_an_unknown_window_is_what_the_record_allows() -> None:
    """No replica goes within the window after one came."""
    assert assumed_window(SEEN) == 300
    assert assumed_window([(0.0, 3), (60.0, 6), (160.0, 3)]) == 90
    assert assumed_window([(0.0, 3), (60.0, 6)]) == 300


def test_the_commands_set_and_undo_exactly_the_window() -> None:
    """What was not set before is taken out again."""
    assert window_command(NAME, "prod", window_change(555)) == (
        "kubectl patch hpa agent-workbench --namespace prod --type=merge --patch "
        '\'{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":555}}}}\''
    )
    assert window_change(None) == {
        "spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": None}}}
    }
    assert window_change(None, had_behavior=False) == {"spec": {"behavior": None}}
    assert "'a; rm'" in window_command("a; rm", None, {})
