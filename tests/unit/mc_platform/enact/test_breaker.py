"""The breaker: many unlucky operations stop a tenant, one does not; people have the last word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_contract.proportions import rate_lower
from mc_platform.assembly.background import every
from mc_platform.enact.breaker import (
    Breaker,
    Count,
    Limits,
    counted_since,
    judge,
    reason_of,
    trips,
)
from mc_platform.errors import Unavailable
from mc_platform.model.autonomy import ALL, AutonomyStatus, Source, Switch, Thrown
from mc_platform.observe import metrics

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
LIMITS = Limits()


def _switch(scope, *, halted, at=NOW):
    return Switch(uuid4(), scope, halted, "why", "somebody", Source.operator, at)


def _status(*switches, at=NOW):
    return AutonomyStatus(at, {switch.scope: switch for switch in switches})


@given(st.integers(1, 3000), st.data())
def test_the_bound_lies_below_what_was_seen_and_halts_by_itself(ended, data):
    """No count trips unless its bound, which is below its share, is above the limit."""
    compensated = data.draw(st.integers(0, min(ended, 60)))
    count = Count(ended, compensated)
    bound = rate_lower(compensated, ended)
    assert bound <= count.ratio
    if abs(bound - LIMITS.ratio) > 1e-9:
        assert trips(count, LIMITS) == (ended >= 100 and bound > LIMITS.ratio)


@pytest.mark.parametrize(
    ("compensated", "ended", "halts"),
    [
        (1, 50, False),
        (50, 50, False),  # below the minimum nothing halts
        (2, 100, False),
        (3, 100, True),
        (10, 100, True),
        (5, 1000, False),  # the limit itself
        (9, 1000, False),  # above it, but not surely
        (10, 1000, True),
        (62, 10_000, False),
        (63, 10_000, True),
        (0, 10**6, False),
    ],
)
def test_what_halts(compensated, ended, halts):
    """The table of docs/explanation/autonomy.md: a quiet tenant's bad luck is not enough, a lot is."""
    assert trips(Count(ended, compensated), LIMITS) is halts


@given(st.integers(101, 5000), st.integers(0, 100))
def test_more_compensations_never_release_the_breaker(ended, compensated):
    """If a count trips, so does one with another compensated operation."""
    if trips(Count(ended, compensated), LIMITS):
        assert trips(Count(ended, compensated + 1), LIMITS)


def test_one_bad_tenant_stops_itself_and_not_its_neighbours():
    """All are judged by those that still run."""
    found = judge({"BAD": Count(200, 40), "GOOD": Count(1000, 1)}, _status(), LIMITS)
    assert [trip.scope for trip in found.trips] == ["BAD"]
    assert found.counts[ALL] == Count(1000, 1)


def test_a_fault_that_is_spread_thin_stops_everybody():
    """Twenty tenants below the minimum each, together far above the limit."""
    found = judge({f"T{n}": Count(20, 1) for n in range(20)}, _status(), LIMITS)
    assert [(trip.scope, trip.count) for trip in found.trips] == [(ALL, Count(400, 20))]


@pytest.mark.parametrize("quiet", [Count(5, 5), Count(99, 99)])
def test_a_tenant_below_the_minimum_does_not_stop_its_neighbours(quiet):
    """However bad it is: without it nothing is wrong, so the fault is not common."""
    counts = {"A": quiet, "B": Count(95, 0), "C": Count(95, 0)}
    assert judge(counts, _status(), LIMITS).trips == ()


def test_the_one_that_is_left_out_is_whichever_matters_most():
    """Not the one with most compensated: B's share is lawful, A's alone is the fault."""
    counts = {"A": Count(5, 5), "B": Count(600, 6), "C": Count(300, 2)}
    assert judge(counts, _status(), LIMITS).trips == ()


_FEW = st.integers(0, 300).flatmap(
    lambda n: st.builds(Count, st.just(n), st.integers(0, min(n, 9)))
)


@settings(max_examples=examples(300))
@given(st.lists(_FEW, min_size=1, max_size=6), st.integers(0, 99))
def test_no_single_tenant_stops_all(others, bad):
    """Whatever one tenant does below the minimum: all trips only if it trips without that one."""
    counts = {f"T{n}": count for n, count in enumerate(others)}
    without = judge(counts, _status(), LIMITS)
    found = judge({**counts, "BAD": Count(bad, bad)}, _status(), LIMITS)
    if ALL in [trip.scope for trip in found.trips]:
        assert trips(without.counts[ALL], LIMITS)


def test_what_is_halted_already_is_not_halted_again():
    """Neither a tenant nor all; but an own halt is due also while all are halted."""
    counts = {"BAD": Count(200, 40)}
    assert judge(counts, _status(_switch("BAD", halted=True)), LIMITS).trips == ()
    found = judge(counts, _status(_switch(ALL, halted=True)), LIMITS).trips
    assert [trip.scope for trip in found] == ["BAD"]


def test_operations_from_before_a_resume_do_not_count():
    """The later of the window's start, the tenant's resume and that of all."""
    hours = timedelta(hours=1)
    status = _status(
        _switch("A", halted=False, at=NOW - 3 * hours),
        _switch(ALL, halted=False, at=NOW - 5 * hours),
        _switch("B", halted=True, at=NOW - 1 * hours),
        _switch("C", halted=False, at=NOW - 90 * hours),
    )
    since = counted_since(["A", "B", "C"], status, LIMITS)
    assert since == {"A": NOW - 3 * hours, "B": NOW - 5 * hours, "C": NOW - 5 * hours}
    assert counted_since(["X"], _status(), LIMITS) == {"X": NOW - 24 * hours}


def test_the_reason_says_what_was_counted():
    """It stands in the ledger and must be understood there."""
    [trip] = judge({"T": Count(100, 10)}, _status(_switch(ALL, halted=True)), LIMITS).trips
    assert reason_of(trip, LIMITS) == (
        "10 of 100 operations compensated within 24 h (10 %): "
        "surely more than 5.53 %, the limit is 0.5 %"
    )


class MemoryAutonomy:
    """The switch in memory."""

    def __init__(self):
        self.switches = {}
        self.now = NOW

    async def halted(self, tenant):
        return (await self.status()).halt_of(tenant)

    async def status(self):
        return AutonomyStatus(self.now, dict(self.switches))

    async def set(self, scope, *, halted, reason, principal, source, unless_resumed_since=None):
        before = self.switches.get(scope)
        resumed = before is not None and not before.halted
        if resumed and unless_resumed_since and before.at >= unless_resumed_since:
            return Thrown(before, changed=False)
        self.switches[scope] = Switch(uuid4(), scope, halted, reason, principal, source, self.now)
        return Thrown(self.switches[scope], changed=True)


class MemoryCounts:
    """Counts that the test sets; `before_answer` runs amid the reading."""

    def __init__(self, **counts):
        self.counts = counts
        self.asked = {}
        self.before_answer = None

    async def ended(self, since_at):
        self.asked = dict(since_at)
        if self.before_answer:
            await self.before_answer()
        return self.counts

    async def stuck(self, tenants):
        return {"T_BAD": 2}


def _breaker(autonomy, counts, **more):
    fields = {
        "tenants": ["T_BAD", "T_GOOD"],
        "others": ["T_CANARY"],
        "limits": LIMITS,
        "enabled": True,
    }
    return Breaker(autonomy=autonomy, counts=counts, **{**fields, **more})


def _gauge(gauge, tenant):
    return gauge.labels(tenant)._value.get()


async def test_a_look_halts_and_tells_the_metrics():
    """The bad tenant is halted with a reason; the gauges tell halts, ratios and what is stuck."""
    autonomy = MemoryAutonomy()
    await _breaker(autonomy, MemoryCounts(T_BAD=Count(100, 10), T_GOOD=Count(100, 0))).look()
    assert set(autonomy.switches) == {"T_BAD"}
    assert autonomy.switches["T_BAD"].source is Source.breaker
    assert autonomy.switches["T_BAD"].principal == "breaker@platform"
    halted = {t: _gauge(metrics.autonomy_halted, t) for t in ("T_BAD", "T_GOOD", "T_CANARY", "*")}
    assert halted == {"T_BAD": 1, "T_GOOD": 0, "T_CANARY": 0, "*": 0}
    assert _gauge(metrics.autonomy_compensation_ratio, "T_BAD") == 0.1
    assert _gauge(metrics.autonomy_compensation_ratio, "*") == 0.0
    assert _gauge(metrics.autonomy_stuck, "T_BAD") == 2
    assert _gauge(metrics.autonomy_stuck, "T_GOOD") == 0


async def test_a_disabled_breaker_measures_and_halts_nothing():
    """`MC_BREAKER_ENABLED=false` leaves the figures."""
    autonomy = MemoryAutonomy()
    judgement = await _breaker(autonomy, MemoryCounts(T_BAD=Count(100, 10)), enabled=False).look()
    assert [trip.scope for trip in judgement.trips] == ["T_BAD"]
    assert autonomy.switches == {}


async def test_a_resume_amid_a_look_stands():
    """What the breaker judged before a person resumed does not overrule that person."""
    autonomy = MemoryAutonomy()
    counts = MemoryCounts(T_BAD=Count(100, 10))

    async def resumed_meanwhile():
        autonomy.now = NOW + timedelta(milliseconds=1)
        autonomy.switches["T_BAD"] = _switch("T_BAD", halted=False, at=autonomy.now)

    counts.before_answer = resumed_meanwhile
    await _breaker(autonomy, counts).look()
    assert not autonomy.switches["T_BAD"].halted


async def test_the_loop_outlives_an_unavailable_database():
    """A look that could not be made is made again."""
    import asyncio

    looked = asyncio.Event()

    class Flaky(MemoryCounts):
        tries = 0

        async def ended(self, since_at):
            self.tries += 1
            if self.tries == 1:
                raise Unavailable("down")
            looked.set()
            return {}

    running = asyncio.create_task(
        every(0.01, _breaker(MemoryAutonomy(), Flaky()).look, "postponed")
    )
    await asyncio.wait_for(looked.wait(), 10)
    running.cancel()
