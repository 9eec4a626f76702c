"""What is remembered of ended operations counts as a count of all rows would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.enact.breaker import Count
from mc_platform.enact.ended_operations import EndedOperations, Ends
from mc_platform.errors import Unavailable

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TENANTS = ("T_A", "T_B", "T_C")
WINDOW = timedelta(hours=24)


class Rows:
    """Operations in memory, counted as the query of the table counts them: the oracle."""

    def __init__(self):
        self.rows, self.read, self.down = [], 0, False

    def _some(self, tenant, after_at, until_at=None):
        if self.down:
            raise Unavailable("it is down")
        found = [
            (at, bad)
            for of, at, bad in self.rows
            if of == tenant and at > after_at and (until_at is None or at <= until_at)
        ]
        self.read += len(found)
        return sorted(found)

    async def ended(self, since_at):
        found = {}
        for tenant, at in since_at.items():
            rows = self._some(tenant, at)
            if rows:
                found[tenant] = Count(len(rows), sum(bad for _, bad in rows))
        return found

    async def ended_between(self, tenants, after_at, until_at):
        found = {}
        for tenant in tenants:
            rows = [
                ((at - EPOCH) // timedelta(microseconds=1), bad)
                for at, bad in self._some(tenant, after_at, until_at)
            ]
            if rows:
                found[tenant] = Ends([us for us, _ in rows], [us for us, bad in rows if bad])
        return found

    async def stuck(self, tenants):
        return dict.fromkeys(tenants, 1)


class Day:
    """A clock, the rows, and when each tenant was last resumed."""

    def __init__(self):
        self.now, self.rows, self.resumed = NOW, Rows(), {}
        self.ended = EndedOperations(self.rows, clock=lambda: self.now, monotonic=self.seconds)

    def seconds(self):
        return self.now.timestamp()

    def since_at(self):
        window = self.now - WINDOW
        return {tenant: max(self.resumed.get(tenant, window), window) for tenant in TENANTS}

    async def look(self):
        """What is counted, and what a count of all rows gives."""
        return await self.ended.ended(self.since_at()), await self.rows.ended(self.since_at())


SECONDS = st.one_of(
    st.sampled_from([1, 15, 59, 60, 299, 300, 301, 3599, 3600, 86_399, 86_400, 90_000]),
    st.integers(1, 200_000),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), SECONDS),
        st.tuples(
            st.just("end"), st.sampled_from(TENANTS), st.booleans(), st.integers(-60, 299)
        ),  # up to five minutes late, or by a clock that is ahead
        st.tuples(st.just("old"), st.sampled_from(TENANTS), st.booleans(), SECONDS),
        st.tuples(st.just("resume"), st.sampled_from(TENANTS)),
        st.tuples(st.just("look")),
    ),
    max_size=40,
)


@given(STEPS)
async def test_it_counts_what_a_count_of_all_rows_counts(steps):
    """Whatever ends, is resumed or leaves the window, and however often it is looked at."""
    day, looked = Day(), False
    for kind, *told in steps:
        if kind == "wait":
            day.now += timedelta(seconds=told[0])
        elif kind == "end":
            tenant, bad, late_s = told
            day.rows.rows.append((tenant, day.now - timedelta(seconds=late_s), bad))
        elif kind == "old" and not looked:  # what was there before the first look
            tenant, bad, ago_s = told
            day.rows.rows.append((tenant, day.now - timedelta(seconds=ago_s), bad))
        elif kind == "resume":
            day.resumed[told[0]] = day.now
        else:
            looked = True
            found, expected = await day.look()
            assert found == expected
    found, expected = await day.look()
    assert found == expected


async def test_a_look_reads_what_ended_within_minutes():
    """However many a day has: after the first look, and until an hour is over."""
    day = Day()
    day.rows.rows = [
        ("T_A", day.now - timedelta(seconds=second), second % 100 == 0)
        for second in range(0, 86_000, 10)
    ]
    await day.look()
    day.rows.read = 0
    for _ in range(100):
        day.now += timedelta(seconds=15)
        await day.ended.ended(day.since_at())
    assert day.rows.read <= 400, "a hundred counts of 8,600 would be 860,000"


async def test_what_came_late_counts_after_an_hour_at_most():
    """Recorded with a time long settled, by a replica whose clock was behind."""
    day = Day()
    await day.look()
    day.now += timedelta(minutes=30)
    await day.look()
    day.rows.rows.append(("T_A", day.now - timedelta(minutes=20), True))
    found, _ = await day.look()
    assert found == {}
    day.now += timedelta(minutes=31)
    found, expected = await day.look()
    assert found == expected == {"T_A": Count(1, 1)}


async def test_after_a_failure_all_is_read_anew():
    """While nobody could write, ends were kept waiting: their times are old when they are written."""
    day = Day()
    await day.look()
    day.now += timedelta(minutes=30)
    day.rows.down = True
    with pytest.raises(Unavailable):
        await day.ended.ended(day.since_at())
    day.rows.down = False
    day.rows.rows.append(("T_A", day.now - timedelta(minutes=20), True))
    found, expected = await day.look()
    assert found == expected == {"T_A": Count(1, 1)}


async def test_nobody_and_other_tenants():
    """Nothing is asked for nobody; other tenants than before are read anew; stuck ones are not kept."""
    day = Day()
    assert await day.ended.ended({}) == {}
    day.rows.rows = [("T_A", NOW - timedelta(hours=2), False), ("T_B", NOW, True)]
    for tenants in (("T_A",), ("T_B",), ("T_A", "T_B"), ("T_A",)):
        since_at = dict.fromkeys(tenants, NOW - WINDOW)
        assert await day.ended.ended(since_at) == await day.rows.ended(since_at)
    assert await day.ended.stuck(["T_A"]) == {"T_A": 1}
