"""Homes as a machine: replicas of two or three regions, an arbiter, and everything that may go wrong.

Each replica has a boot clock of its own that runs a little fast or slow. A look at the arbiter is cut
into its three moments (asked, done at the arbiter, answered), between which any time may pass and others
may act: a pause (SIGSTOP), a slow network. Answers get lost, replicas cannot enact for a while, regions
die, people move homes. The laws are looked at after every rule.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.examples import examples

from mc_platform.enact.homes import HELD_S, TTL_S, HomeKeeper, View
from mc_platform.model.home import Home, HomeMove
from mc_platform.model.ids import TenantId

TENANTS = (TenantId("TENANT_001"), TenantId("TENANT_002"))
DRIFT = 0.05
"""Clocks may run so much faster or slower than true time; real ones stay below a thousandth."""


class Arbiter:
    """The functions of `0048_homes.sql`, in memory; each is one transaction."""

    def __init__(self) -> None:
        self.leases: dict[str, int] = {}
        self.homes: dict[TenantId, Home] = {}
        self.changes = 1

    def renew(self, region: str, tenants: Collection[TenantId], known: int) -> View:
        self.leases[region] = self.leases.get(region, 0) + 1
        for tenant in tenants:
            if tenant not in self.homes:
                self._move(tenant, Home(region, 1, None, "arbiter", "first", None))
        return self.look(known)

    def look(self, known: int) -> View:
        homes = None if known == self.changes else dict(self.homes)
        return View(self.changes, dict(self.leases), homes)

    def take_over(self, region: str, lapsed: str, renewals: int) -> int:
        if region == lapsed or self.leases[lapsed] != renewals:
            return 0
        taken = [tenant for tenant, home in self.homes.items() if home.region == lapsed]
        for tenant in taken:
            term = self.homes[tenant].term + 1
            self._move(tenant, Home(region, term, None, "arbiter", "lapsed", lapsed))
        return len(taken)

    def claim(self, tenant: TenantId, region: str, term: int) -> bool:
        home = self.homes[tenant]
        if (home.term, home.bound_for) != (term, region):
            return False
        self._move(tenant, Home(region, term + 1, None, home.principal, home.reason, home.region))
        return True

    def release(self, tenant: TenantId, term: int, target: str) -> bool:
        home = self.homes[tenant]
        if home.term != term or home.bound_for == target:
            return False
        if home.region == target and home.bound_for is None:
            return False
        former = home.from_region
        self._move(tenant, Home(home.region, term, target, "person", "asked", former))
        return True

    def _move(self, tenant: TenantId, home: Home) -> None:
        self.homes[tenant] = home
        self.changes += 1


class Lost(Exception):
    """No answer came."""


class Paused:
    """A replica's way to the arbiter: its thread stands still before and after each call."""

    def __init__(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter
        self.go, self.stands = threading.Semaphore(0), threading.Semaphore(0)
        self.answer_lost = False
        self.asks_lost = False
        self.at_work = False

    def stand(self) -> None:
        self.stands.release()
        self.go.acquire()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            self.stand()  # asked, on the way
            if self.asks_lost:
                raise Lost
            done = getattr(self.arbiter, name)(*values)
            self.stand()  # done, and the answer on its way
            if self.answer_lost:
                raise Lost
            return done

        return call


@dataclass
class Replica:
    """One replica's keeper, whose beats run in a thread that the machine lets go on."""

    region: str
    rate: float
    world: HomeMachine
    able: bool = True
    dead: bool = False
    moves: list[HomeMove] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.way = Paused(self.world.arbiter)
        self.keeper = HomeKeeper(
            store=self.way,
            region=self.region,
            tenants=TENANTS,
            able=lambda: self.able,
            on_moved=self.moves.append,
            monotonic=lambda: 1000.0 + self.world.now_s * self.rate,
        )
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.way.stands.acquire()

    def _run(self) -> None:
        while True:
            self.way.stand()  # between two beats
            if self.ended:
                self.way.stands.release()
                return
            self.way.at_work = True
            with suppress(Lost):
                self.keeper.beat()
            self.way.at_work = False

    def step(self, *, lost_ask: bool = False, lost_answer: bool = False) -> None:
        """Let it go on to its next standstill."""
        self.way.asks_lost, self.way.answer_lost = lost_ask, lost_answer
        self.way.go.release()
        self.way.stands.acquire()

    def whole(self) -> None:
        """A beat from its begin to its end, with nothing in between."""
        self.step()
        while self.way.at_work:
            self.step()

    def end(self) -> None:
        self.ended = True
        while self.thread.is_alive():
            self.way.go.release()
            self.thread.join(0.01)

    def holds(self, tenant: TenantId) -> int:
        """The term in which it would begin an effect now; 0 if it would begin none."""
        term = self.keeper.term(tenant)
        return term if term and self.keeper.held(tenant, term) else 0


replicas = st.integers(0, 5)
seconds = st.sampled_from([0.05, 0.2, 0.5, 1.0, 2.0, HELD_S, TTL_S, 3.3, 8.0])


class HomeMachine(RuleBasedStateMachine):
    """True time goes on by rules alone."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.arbiter = Arbiter()
        self.all: list[Replica] = []
        self.holders: dict[tuple[TenantId, int], str] = {}
        self.terms = dict.fromkeys(TENANTS, 0)

    @initialize(rates=st.lists(st.floats(1 - DRIFT, 1 + DRIFT), min_size=6, max_size=6))
    def begin(self, rates: list[float]) -> None:
        regions = ("a-1", "a-1", "b-1", "b-1", "b-1", "c-1")
        self.all = [
            Replica(region, rate, self) for region, rate in zip(regions, rates, strict=True)
        ]

    @rule(which=replicas)
    def step(self, which: int) -> None:
        if not self.all[which].dead:
            self.all[which].step()

    @rule(which=replicas)
    def beat(self, which: int) -> None:
        if not self.all[which].dead:
            self.all[which].whole()

    @rule(which=replicas, answer=st.booleans())
    def lose(self, which: int, answer: bool) -> None:
        if not self.all[which].dead and self.all[which].way.at_work:
            self.all[which].step(lost_ask=not answer, lost_answer=answer)

    @rule(by_s=seconds)
    def wait(self, by_s: float) -> None:
        self.now_s += by_s

    @rule(which=replicas, times=st.integers(1, 8), gap_s=st.sampled_from([0.3, 1.0]))
    def live(self, which: int, times: int, gap_s: float) -> None:
        """One replica beats on while all others stand still."""
        for _ in range(times):
            self.now_s += gap_s
            if not self.all[which].dead:
                self.all[which].whole()
            self.nobody_shares_a_home()

    @rule(
        order=st.permutations(range(6)), times=st.integers(1, 8), gap_s=st.sampled_from([0.3, 1.0])
    )
    def live_together(self, order: list[int], times: int, gap_s: float) -> None:
        """All that live beat on, each in its turn."""
        for _ in range(times):
            self.now_s += gap_s
            for which in order:
                if not self.all[which].dead:
                    self.all[which].whole()
                    self.nobody_shares_a_home()

    @rule(
        which=replicas,
        other=replicas,
        steps=st.integers(1, 4),
        times=st.integers(1, 14),
        gap_s=st.sampled_from([0.3, 1.0]),
    )
    def freeze_amid_a_beat(
        self, which: int, other: int, steps: int, times: int, gap_s: float
    ) -> None:
        """One stands still on its way to the arbiter or back, while another one lives."""
        if which == other or self.all[which].dead:
            return
        for _ in range(steps):
            self.all[which].step()
        self.live(other, times, gap_s)
        self.nobody_shares_a_home()
        while self.all[which].way.at_work:
            self.all[which].step()
        self.nobody_shares_a_home()

    @rule(which=replicas, able=st.booleans())
    def lose_or_find_the_database(self, which: int, able: bool) -> None:
        self.all[which].able = able

    @rule(which=replicas)
    def die(self, which: int) -> None:
        self.all[which].dead = True

    @rule(which=replicas)
    def begin_anew(self, which: int) -> None:
        old = self.all[which]
        old.end()
        self.all[which] = Replica(old.region, old.rate, self)

    @precondition(lambda self: self.arbiter.homes)
    @rule(tenant=st.sampled_from(TENANTS), to=st.sampled_from(["a-1", "b-1", "c-1"]))
    def move(self, tenant: TenantId, to: str) -> None:
        if to in self.arbiter.leases and tenant in self.arbiter.homes:
            self.arbiter.release(tenant, self.arbiter.homes[tenant].term, to)

    @invariant()
    def nobody_shares_a_home(self) -> None:
        """At no moment do two regions enact for a tenant, nor two regions ever in one term."""
        for tenant in TENANTS:
            holding = {
                (one.region, term)
                for one in self.all
                if not one.dead and (term := one.holds(tenant))
            }
            assert len({region for region, _ in holding}) <= 1, holding
            for region, term in holding:
                assert self.holders.setdefault((tenant, term), region) == region

    @invariant()
    def terms_only_grow(self) -> None:
        for tenant, home in self.arbiter.homes.items():
            assert home.term >= self.terms[tenant]
            self.terms[tenant] = home.term

    def teardown(self) -> None:
        for one in self.all:
            one.end()


HomeMachine.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=60, deadline=None
)
TestHomes = HomeMachine.TestCase


@pytest.mark.parametrize("rate", [1 - DRIFT, 1.0, 1 + DRIFT])
def test_a_survivor_takes_over_within_four_seconds(rate):
    """The other law: a home does not stay without a region while one lives that may take it."""
    world = HomeMachine()
    a, b = Replica("a-1", 1.0, world), Replica("b-1", rate, world)
    a.whole()
    for _ in range(3):
        world.now_s += 1.0
        a.whole()
        b.whole()
    assert a.holds(TENANTS[0]) == 1
    began_s = world.now_s
    while not b.holds(TENANTS[0]):
        world.now_s += 0.2
        b.whole()
        assert world.now_s - began_s < 4.0
    assert b.holds(TENANTS[0]) == 2
    assert not a.holds(TENANTS[0])
    a.end(), b.end()


def test_a_taker_counts_from_after_it_has_seen_the_renewal():
    """It was frozen on its way to the arbiter; what it sees then is new, however old its question."""
    world = HomeMachine()
    a, b = Replica("a-1", 1.0, world), Replica("b-1", 1.0, world)
    a.whole()
    a.whole()
    b.whole()
    b.step()  # asked, and stopped on its way
    world.now_s += HELD_S - 0.1
    a.whole()
    while b.way.at_work:
        b.step()
    world.now_s += TTL_S - HELD_S + 0.3
    b.whole()
    b.whole()  # which would tell it what the one before took
    assert (a.holds(TENANTS[0]), b.holds(TENANTS[0])) == (1, 0)
    a.end()
    b.end()


def test_a_home_that_is_moved_rests_until_the_former_one_has_surely_stopped():
    """Nobody enacts in between, and the former home serves other tenants on."""
    world = HomeMachine()
    a, b = Replica("a-1", 1.0, world), Replica("b-1", 1.0, world)
    for _ in range(2):
        a.whole(), b.whole()
        world.now_s += 1.0
    tenant, other = TENANTS
    assert world.arbiter.release(tenant, 1, "b-1")
    b.whole(), a.whole()
    assert (a.holds(tenant), b.holds(tenant), a.holds(other)) == (0, 0, 1)
    began_s = world.now_s
    while not b.holds(tenant):
        world.now_s += 0.5
        a.whole(), b.whole()
    assert world.now_s - began_s > TTL_S
    assert (b.holds(tenant), a.holds(other)) == (2, 1)
    assert [(one.tenant, one.home.term) for one in b.moves if one.known_before] == [(tenant, 2)]
    a.end(), b.end()
