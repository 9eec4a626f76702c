"""The metrics' text is what `prometheus_client` itself would write, at every moment."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Summary,
    disable_created_metrics,
    generate_latest,
)

from mc_platform.observe.exposition import Exposition

disable_created_metrics()  # as the service does

VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-10, 10).map(float),
    st.sampled_from([0.0, -0.0, 999_999.0, 1e6, 1234567.5, 1e15, 1e16, 1e22]),
)
LABELS = st.tuples(
    st.text(max_size=6), st.sampled_from(["TENANT_001", 'say "x"', "a\\b", "two\nlines", ""])
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["count", "set", "observe", "alone", "render"]), LABELS, VALUES),
    max_size=30,
)


@given(STEPS)
def test_it_writes_what_the_client_writes(steps):
    """Whatever was counted before, between and after renderings; labels of any text."""
    registry = CollectorRegistry()
    counter = Counter("mc_x", "A\\B\nof x.", ["tenant", "kind"], registry=registry)
    gauge = Gauge("mc_y", "Y.", ["tenant", "kind"], registry=registry)
    histogram = Histogram("mc_z", "Z.", ["tenant", "kind"], buckets=(0.2, 0.35), registry=registry)
    alone = Counter("mc_alone", "Alone.", registry=registry)
    exposition = Exposition(registry)
    for step, labels, value in steps:
        if step == "count":
            counter.labels(*labels).inc(abs(value))
        elif step == "set":
            gauge.labels(*labels).set(value)
        elif step == "observe":
            histogram.labels(*labels).observe(value)
        elif step == "alone":
            alone.inc()
        else:
            assert exposition.render() == generate_latest(registry)
    assert exposition.render() == generate_latest(registry)


def test_what_is_not_plain_is_the_clients_own():
    """Infos, summaries, and gauges whose value is a function."""
    registry = CollectorRegistry()
    Info("mc_build", "Build.", registry=registry).info({"version": "1"})
    Summary("mc_s", "S.", registry=registry).observe(1)
    Gauge("mc_f", "F.", registry=registry).set_function(lambda: 7.0)
    Gauge("mc_g", "G.", ["a"], registry=registry).labels("x").set_function(lambda: math.pi)
    assert Exposition(registry).render() == generate_latest(registry)


def test_removed_series_are_gone():
    """And one that comes again begins anew."""
    registry = CollectorRegistry()
    gauge = Gauge("mc_y", "Y.", ["tenant"], registry=registry)
    exposition = Exposition(registry)
    for value in (1, 2):
        gauge.labels("T").set(value)
        assert exposition.render() == generate_latest(registry)
        gauge.remove("T")
        assert exposition.render() == generate_latest(registry)
    assert not exposition._kept, "and nothing is held of it"


def test_a_series_that_stands_is_not_written_anew():
    """Its text is the same object: what thousands of idle tenants cost is a comparison each."""
    registry = CollectorRegistry()
    counter = Counter("mc_x", "X.", ["tenant"], registry=registry)
    counter.labels("T").inc()
    exposition = Exposition(registry)
    texts = []
    for _ in range(3):
        exposition.render()
        texts += [lines._text for lines in exposition._kept.values()]
    assert all(one is other for one, other in pairwise(texts))
