"""What an alert counts stands at zero before it happens for the first time; all else comes on use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from mc_platform.observe import metrics

ROUTES = ("a2a", "a2a_rest", "graphql")


def value(name, **labels):
    """A series' value; None: there is no such series."""
    return REGISTRY.get_sample_value(name, labels)


def of(tenant):
    """All series that name a tenant, or an audience."""
    return {
        (sample.name, *sorted(sample.labels.items()))
        for family in REGISTRY.collect()
        for sample in family.samples
        if tenant in sample.labels.values()
    }


def test_failures_have_a_series_before_the_first():
    """A series that is born at 1 has no increase, so the first failure would be in no figure."""
    metrics.begin(["TENANT_009", "CANARY_009"], own=["CANARY_009"])
    metrics.begin_work("sweeping")
    for route in ROUTES:
        for audience in ("customers", "CANARY_009"):
            for result in ("ok", "failed"):
                told = value("mc_answers_total", audience=audience, route=route, result=result)
                assert told is not None
        assert value("mc_request_duration_seconds_count", route=route) is not None
    assert value("mc_a2a_requests_total", status="error", tenant="TENANT_009") == 0
    assert value("mc_autonomy_compensation_total", tenant="TENANT_009") == 0
    assert value("mc_background_failures_total", work="sweeping") == 0


def test_an_idle_tenant_has_few_series():
    """Those of alerts and of the bill; on a platform of a thousand each is there a thousand times."""
    metrics.begin(["TENANT_IDLE"])
    assert len(of("TENANT_IDLE")) == 15
    metrics.count_answer(200, "a2a", "TENANT_IDLE", 0.2)
    assert len(of("TENANT_IDLE")) == 15 + 9 + 2  # the histogram: buckets, count and sum


@pytest.mark.parametrize(
    ("status", "tenant", "audience", "result"),
    [
        (200, "T_A", "customers", "ok"),
        (499, "T_A", "customers", "ok"),
        (500, "T_A", "customers", "failed"),
        (503, metrics.UNKNOWN_TENANT, "customers", "failed"),
        (401, metrics.UNKNOWN_TENANT, "strangers", "ok"),
        (503, "CANARY_A", "CANARY_A", "failed"),
    ],
)
def test_an_answer_counts_for_its_audience_and_its_tenant(status, tenant, audience, result):
    """The canary's are told apart; a stranger's failure is a customer's, for nobody knows who it is."""
    metrics.begin(["T_A", "CANARY_A"], own=["CANARY_A"])
    labels = {"audience": audience, "route": "graphql", "result": result}
    before = value("mc_answers_total", **labels) or 0
    seen = value("mc_tenant_request_duration_seconds_count", tenant=tenant) or 0
    metrics.count_answer(status, "graphql", tenant, 0.2)
    assert value("mc_answers_total", **labels) == before + 1
    after = value("mc_tenant_request_duration_seconds_count", tenant=tenant)
    assert after == (None if tenant == metrics.UNKNOWN_TENANT else seen + 1)


@pytest.mark.parametrize("limit_s", [0.2, 0.25, 0.35])
def test_the_runbooks_limits_are_edges_of_both_histograms(limit_s):
    """So what is at the limit is counted, and not interpolated."""
    for histogram in (metrics.request_duration, metrics.tenant_request_duration):
        assert limit_s in histogram._kwargs["buckets"]


def test_only_routes_on_which_a_tenant_waits_are_in_its_histogram():
    """An auditor's export takes as long as it takes."""
    metrics.count_answer(200, "audit", "T_AUDITED", 20.0)
    assert value("mc_tenant_request_duration_seconds_count", tenant="T_AUDITED") is None
    assert value("mc_request_duration_seconds_count", route="audit") >= 1


@given(seconds=st.lists(st.floats(0, 1e4) | st.sampled_from([0.1, 0.25, 1.0])))
def test_an_answer_is_observed_as_the_client_observes(seconds):
    """The same bucket, count and sum, also at a bucket's edge and beyond the last."""

    def made():
        return Histogram("h", "", buckets=(0.1, 0.25, 1.0), registry=CollectorRegistry())

    ours, theirs = made(), made()
    durations = metrics._Durations(ours)
    for elapsed_s in seconds:
        durations.observe(elapsed_s)
        theirs.observe(elapsed_s)
    assert [one.samples for one in ours.collect()] == [one.samples for one in theirs.collect()]


def test_adding_is_what_the_client_adds():
    """To the series of these labels, and to no other."""
    counter = Counter("c", "", ["a", "b"], registry=CollectorRegistry())
    metrics.add(counter, 2, "x", "y")
    metrics.add(counter, 0.5, "x", "y")
    metrics.add(counter, 1, "y", "x")
    assert counter.labels("x", "y")._value.get() == 2.5
    assert counter.labels("y", "x")._value.get() == 1


def test_an_answer_is_its_tenants_cost_and_a_strangers_is_nobodys():
    """What it took of the CPU is added up; a stranger has no bill."""
    for cpu_s in (0.25, 0.5):
        metrics.count_answer(200, "a2a", "T_COST", 0.1, cpu_s)
        metrics.count_answer(401, "a2a", metrics.UNKNOWN_TENANT, 0.1, cpu_s)
    assert value("mc_cost_cpu_seconds_total", tenant="T_COST") == 0.75
    assert value("mc_cost_cpu_seconds_total", tenant=metrics.UNKNOWN_TENANT) is None
