"""Figures out of the replicas' own metrics: summed, since start or between two looks, with gaps."""

from __future__ import annotations

import time

import pytest
from tests.fake_replica import replica

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.slo import Measure, ScrapeSource, Window, targets
from mc_ops.slo import levels as gauges
from mc_ops.slo.burn import burns

DAY = Window.parse("24h")


def look(*replicas, **more):
    return ScrapeSource({one.name: one.url for one in replicas}, **more)


@pytest.fixture
def blue():
    with replica("blue-1") as made:
        yield made


@pytest.fixture
def green():
    with replica("green-1") as made:
        yield made


def test_counters_of_all_replicas_are_added(blue, green):
    """A target is about the region, not about a replica."""
    blue.a2a(success=500, error=1)
    green.a2a(success=500, error=19)
    told = Measure(look(blue, green)).ratio(targets.A2A)
    assert told.events == 1020
    assert told.budget.bad == 20
    assert told.verdict == "missed"


def test_a_denial_is_an_answer_and_the_clients_own_error_is_none(blue):
    """Denials are good, client errors do not count, and both are told."""
    blue.a2a(success=90, denied=60, client_error=50)
    told = Measure(look(blue)).ratio(targets.A2A)
    assert (told.value, told.events, told.verdict) == (1.0, 150, "met")
    assert told.detail["by_status"]["denied"] == 60


def test_what_the_canary_sends_is_nobodys_success(blue):
    """Its traffic tries a candidate, and one of its operations always fails."""
    blue.operations(completed=300)
    blue.operations("CANARY", compensated=40)
    measure = Measure(look(blue))
    assert measure.ratio(targets.AUTONOMY).verdict == "met"
    assert measure.compensation().value == 0


def test_one_tenant_over_the_limit_is_a_miss(blue):
    """0.03 % of all are compensated, and 5 % of one tenant's: it is named."""
    blue.operations("TENANT_001", completed=30_000)
    blue.operations("TENANT_002", completed=190, compensated=10)
    told = Measure(look(blue)).compensation()
    assert told.value == pytest.approx(10 / 30_200)
    assert told.verdict == "missed"
    assert told.reason == "TENANT_002: over the limit"


def test_a_level_that_every_replica_tells_is_not_added(blue, green):
    """Stuck operations come from the database: two replicas tell of the same two."""
    for one in (blue, green):
        one.samples['mc_autonomy_stuck_operations{tenant="TENANT_001"}'] = 2
        one.samples['mc_autonomy_halted{tenant="*"}'] = 1
    measure = Measure(look(blue, green))
    stuck = gauges.level(measure, "stuck", "stuck", "mc_autonomy_stuck_operations", 0, "count")
    assert (stuck.value, stuck.verdict, stuck.reason) == (2, "missed", "TENANT_001 2")
    assert gauges.halted(measure).reason == "all"


def test_a_metric_that_is_not_there_is_not_zero(blue):
    """A counter without series leaves its figure unknown, and that is no lack of events."""
    told = Measure(look(blue)).ratio(targets.SIEM)
    assert (told.value, told.verdict, told.few) == (None, "unknown", False)
    assert "has no mc_siem_requests_total" in told.reason


def test_a_silent_replica_leaves_nothing_met(blue):
    """What it counted is not known; a miss stays a miss."""
    blue.a2a(success=1000)
    blue.operations(completed=100, stuck=100)
    source = ScrapeSource({"blue-1": blue.url, "blue-2": "http://127.0.0.1:9"})
    assert source.unread == ("blue-2",)
    measure = Measure(source)
    told = measure.ratio(targets.A2A)
    assert (told.verdict, told.few) == ("unknown", False)
    assert told.reason == "without blue-2: it does not answer"
    assert measure.ratio(targets.AUTONOMY).verdict == "missed"


def test_what_a_dead_replica_counted_is_missed(blue):
    """A process that is known to be gone took its counters with it."""
    blue.a2a(success=1000)
    told = Measure(look(blue, missing=["blue-2"])).ratio(targets.A2A)
    assert (told.verdict, told.reason) == ("unknown", "without blue-2: it does not answer")


def test_no_replica_at_all_cannot_be_told():
    """Nothing to ask, or nobody who answers, is an error and no empty report."""
    with pytest.raises(CouldNotTell, match="no replica is known"):
        ScrapeSource({})
    with pytest.raises(CouldNotTell, match="no replica answers: blue-1"):
        ScrapeSource({"blue-1": "http://127.0.0.1:9"})


def test_two_looks_tell_what_happened_between_them(blue, green):
    """A counter's growth, of a new replica all it has, of one that restarted all since then."""
    blue.a2a(success=1000)
    green.a2a(success=700)

    def meanwhile(_seconds):
        blue.a2a(success=120, error=30)
        green.samples.clear()
        green.samples["process_start_time_seconds"] = 2_000_000
        green.a2a(success=50)

    told = Measure(look(blue, green, over_s=10, sleep=meanwhile)).ratio(targets.A2A)
    assert told.detail["by_status"] == {
        "client_error": 0,
        "denied": 0,
        "error": 30,
        "success": 170,
    }
    assert told.window.startswith("last ")


def test_the_p95_is_judged_by_counting_at_the_limit(blue):
    """95 of 100 within 200 ms are not enough for a p95 under 200 ms; 96 are."""
    blue.took(0.15, 95)
    blue.took(0.22, 5)
    blue.took(0.15, 96, tenant="TENANT_002")
    blue.took(0.22, 4, tenant="TENANT_002")
    blue.took(5, 50, tenant="CANARY")
    blue.took(5, 50, tenant="unknown", route="health")
    first, second = Measure(look(blue)).tenants_p95()
    assert (first.name, first.verdict) == ("p95:TENANT_001", "missed")
    assert first.value == pytest.approx(200)
    assert (second.name, second.verdict) == ("p95:TENANT_002", "met")


def test_a_p95_above_every_edge_is_missed_and_has_no_value(blue):
    """It is said to lie above the last edge, not to be there."""
    blue.took(9, 100, route="graphql")
    warning, critical = Measure(look(blue)).graphql_p95()
    assert warning.verdict == critical.verdict == "missed"
    assert critical.value is None
    assert critical.reason == "above 1 s, the last edge of the histogram"


def test_graphql_between_its_limits_warns_alone(blue):
    """300 ms are over the warning's limit and under the page's."""
    blue.took(0.3, 100, route="graphql")
    warning, critical = Measure(look(blue)).graphql_p95()
    assert (warning.verdict, critical.verdict) == ("missed", "met")


def test_probes_do_not_water_the_burn_rate_down(blue):
    """Two of 2,000 answers are 5xx: the budget is spent, whatever /health was asked."""
    blue.answered("200", 1996)
    blue.answered("503", 4)
    blue.answered("200", 100_000, route="health", tenant="unknown")
    (told,) = burns(Measure(look(blue)))
    assert told.value == pytest.approx(2)
    assert told.verdict == "missed"


def test_lag_is_the_worst_peers_and_not_applicable_without_one(blue):
    """No series: there is no peer; else the slowest one counts."""
    assert gauges.replication_lag(Measure(look(blue))).verdict == "not-applicable"
    blue.samples['mc_replication_lag_seconds{peer="eu-2"}'] = 3
    blue.samples['mc_replication_lag_seconds{peer="us-1"}'] = 121
    told = gauges.replication_lag(Measure(look(blue)))
    assert (told.value, told.verdict, told.reason) == (121, "missed", "peer us-1")


def test_what_is_no_number_is_unknown(blue):
    """An infinite or NaN sample is no value; it can be in no report."""
    blue.samples["mc_siem_backlog_age_seconds"] = float("inf")
    blue.samples['mc_replication_lag_seconds{peer="eu-2"}'] = float("nan")
    blue.a2a(success=500)
    blue.samples['mc_a2a_requests_total{status="error",tenant="TENANT_001"}'] = float("nan")
    measure = Measure(look(blue))
    age = gauges.level(measure, "a", "a", "mc_siem_backlog_age_seconds", 300, "s")
    assert (age.value, age.verdict) == (None, "unknown")
    assert gauges.replication_lag(measure).value is None
    assert measure.ratio(targets.A2A).value == 1


def test_a_histogram_with_an_odd_edge_is_refused(blue):
    """An edge that is no number is named, not passed over."""
    blue.count("mc_tenant_request_duration_seconds_bucket", 5, le="a lot", tenant="TENANT_001")
    with pytest.raises(CouldNotTell, match='edge "a lot"'):
        Measure(look(blue)).tenants_p95()


@pytest.mark.parametrize("text", ["", "5", "0m", "-5m", "5 m", "5y", "400d", "٥m", "1e3s"])
def test_a_window_that_is_none_is_refused(text):
    """Only a whole number and a unit, at most a year."""
    with pytest.raises(UnusableInput, match="not a window"):
        Window.parse(text)


def test_a_clock_that_is_ahead_leaves_the_running_time_unknown(blue):
    """It ran for no time at all, else: nothing would be idle, and its cost too low."""
    blue.samples["process_start_time_seconds"] = time.time() + 7200
    source = look(blue)
    assert source.capacity(DAY).replica_s is None
    assert source.span(DAY) == "since start"
