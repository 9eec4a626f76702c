"""Homes that a person decides: two databases, between which the test carries what each tells the other."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.unit.mc_platform.adapters.postgres.test_merging import _deliver, regions  # noqa: F401

from mc_platform.adapters.postgres.homes import RegionHomes
from mc_platform.model.ids import TenantId

_tenants = (TenantId(f"T-{number}") for number in itertools.count())
WHO = {"principal": "operator@example", "reason": "a rehearsal"}


class Side:
    """One region as its replicas and its operators use it."""

    def __init__(self, region):
        at = region.connection.info
        url = f"postgresql://mc_service:pw@{at.host}:{at.port}/{at.dbname}"
        self.region, self.name = region, region.name
        self.peer = "local-2" if self.name == "local-1" else "local-1"
        self.store = RegionHomes(url, application_name="test")

    def home(self, tenant):
        return self.store.look(0).homes.get(tenant)

    def term(self, tenant):
        home = self.home(tenant)
        return home.term if home else 0

    def holds(self, tenant):
        home = self.home(tenant)
        return home is not None and (home.region, home.bound_for) == (self.name, None)

    def give_up(self, tenant):
        return self.store.release(tenant, self.term(tenant), self.peer, **WHO)

    def seize(self, tenant):
        return self.store.seize(tenant, self.name, self.term(tenant), **WHO)

    def claim(self, tenant):
        return self.store.claim(tenant, self.name, self.term(tenant))


@pytest.fixture(scope="module")
def sides(regions):  # noqa: F811
    both = [Side(region) for region in regions]
    yield both
    for side in both:
        side.store.close()


@pytest.fixture
def tenant():
    return next(_tenants)


def _carry(source, target, most=None):
    _deliver(source.region, target.region, most)


def _meet(sides):
    for source, target in itertools.permutations(sides):
        _carry(source, target)


def _told(side, tenant):
    home = side.home(tenant)
    return (home.region, home.term, home.bound_for)


def test_a_home_is_given_up_before_the_peer_has_it(sides, tenant):
    """The order comes from the old home, which cannot take it back; the peer has it when it is there."""
    a, b = sides
    assert b.home(tenant) is None
    assert a.seize(tenant)
    assert not b.give_up(tenant)
    _meet(sides)
    assert _told(a, tenant) == _told(b, tenant) == ("local-1", 1, None)
    before = b.store.look(0).changes
    assert not b.give_up(tenant)  # who is not the home gives nothing up
    assert not b.claim(tenant)
    assert a.give_up(tenant)
    assert not a.give_up(tenant)
    assert not a.holds(tenant)
    assert not b.claim(tenant)  # nothing has come yet
    _meet(sides)
    assert _told(b, tenant) == ("local-1", 1, "local-2")
    assert b.store.look(before).homes is not None  # a replica that knew the former number is told
    assert b.claim(tenant)
    _meet(sides)
    assert _told(a, tenant) == _told(b, tenant) == ("local-2", 2, None)
    assert a.home(tenant).reason == "a rehearsal"
    assert a.home(tenant).from_region == "local-1"


@pytest.mark.parametrize("late_first", [False, True])
def test_of_two_orders_the_higher_term_holds_in_both(sides, tenant, late_first):
    """Each region takes it by force while they hear nothing of each other; neither makes the other's term."""
    a, b = sides
    assert a.seize(tenant)
    assert b.seize(tenant)
    assert (_told(a, tenant), _told(b, tenant)) == (("local-1", 1, None), ("local-2", 2, None))
    for source, target in itertools.permutations(sides[::-1] if late_first else sides):
        _carry(source, target)
    assert _told(a, tenant) == _told(b, tenant) == ("local-2", 2, None)
    # Its order to give up is older than the force of the other one, and comes after it
    assert b.give_up(tenant)
    assert a.seize(tenant)
    for source, target in itertools.permutations(sides[::-1] if late_first else sides):
        _carry(source, target)
    assert _told(a, tenant) == _told(b, tenant) == ("local-1", 3, None)
    assert b.region.refused() == a.region.refused() == []


def test_a_region_whose_rows_were_lost_has_them_again_by_a_repair(sides, tenant):
    """`tell_homes` tells all, and what is older than what is known changes nothing."""
    a, b = sides
    assert a.seize(tenant)
    a.region.delivered = len(a.region.told())  # lost on its way
    a.region.do("SELECT mc_home.tell_homes()")
    _meet(sides)
    assert _told(b, tenant) == ("local-1", 1, None)
    assert b.seize(tenant)
    a.region.do("SELECT mc_home.tell_homes()")
    _meet(sides)
    assert _told(a, tenant) == _told(b, tenant) == ("local-2", 2, None)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"region": "local-9", "term": 3}, "P0001 the home is of neither region"),
        ({"bound_for": "local-9"}, "P0001 the home is of neither region"),
        ({"bound_for": "local-2"}, "P0001 the home is of neither region"),
        ({"tenant": "another"}, "P0001 the home is of neither region"),
        ({"term": 3}, "P0001 the term is none of that region"),
        ({"term": 1_000_004}, "P0001 the term is too far ahead"),
        ({"term": None}, "P0001 the term is none of that region"),
    ],
)
def test_a_forged_home_is_set_aside(sides, tenant, changed, error):
    """Whoever owns the peer's database makes no term of ours, and has terms not run out."""
    a, _ = sides
    assert a.seize(tenant)
    home = {
        "tenant": tenant,
        "region": "local-2",
        "term": 2,
        "bound_for": None,
        "principal": "x",
        "reason": "x",
        "moved_at": "2026-01-01T00:00:00Z",
    }
    row = ("local-2", 10**9, "home", tenant, tenant, home | changed, "2026-01-01T00:00:00Z")
    a.region.do("DELETE FROM mc.region_change_refused")
    a.region.take([row])
    assert a.region.refused() == [("home", error)]
    assert _told(a, tenant) == ("local-1", 1, None)
    a.region.do("DELETE FROM mc.region_change_refused")
    a.region.take([("local-1", *row[1:5], home, row[6])])
    [(_, why)] = a.region.refused()
    assert "in the name of another region" in why
    a.region.do("DELETE FROM mc.region_change_refused")
    a.region.take([(*row[:5], home, row[6])])  # the same unforged is taken
    assert _told(a, tenant) == ("local-2", 2, None)
    a.region.do("DELETE FROM mc.region_change WHERE number = %s", 10**9)


def test_the_service_changes_no_table(sides):
    """Terms are kept by functions of the owner's."""
    at = sides[0].region.connection.info
    url = f"postgresql://mc_service:pw@{at.host}:{at.port}/{at.dbname}"
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (
            "UPDATE mc_home.home SET term = 1",
            "INSERT INTO mc_home.lease (region, renewals) VALUES ('x', 1)",
            "SELECT mc_home.take_over('local-1', 'local-2', 1)",
            "SELECT mc_home.tell_homes()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_both_regions_are_told_of(sides):
    a, _ = sides
    a.store.renew("local-1", (), 0)
    assert list(a.store.regions()) == ["local-1", "local-2"]
    assert a.store.regions()["local-1"] < 60


acts = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from(["give_up", "claim", "carry", "carry_one", "seize"])
    ),
    max_size=25,
)


@given(acts=acts, forced=st.booleans())
@settings(max_examples=examples(40), deadline=None)
def test_no_two_regions_hold_a_home_unless_it_was_forced(sides, acts, forced):
    """In whatever order orders are given and come; and of two forces one holds in the end, in both."""
    tenant = next(_tenants)
    _meet(sides)
    assert sides[0].seize(tenant)
    holders = {}
    for which, act in acts:
        side, other = sides[which], sides[1 - which]
        if act.startswith("carry"):
            _carry(side, other, 1 if act == "carry_one" else None)
        elif act != "seize" or forced:
            getattr(side, act)(tenant)
        holding = [one for one in sides if one.holds(tenant)]
        assert forced or len(holding) <= 1
        for one in holding:
            assert holders.setdefault(one.term(tenant), one.name) == one.name
    for _ in range(2):
        _meet(sides)
    assert _told(sides[0], tenant) == _told(sides[1], tenant)
    assert sides[0].region.refused() == sides[1].region.refused() == []
