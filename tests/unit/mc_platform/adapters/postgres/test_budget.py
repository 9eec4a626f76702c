"""The privacy budget accountant on a real PostgreSQL: what is charged stays charged, and takes turns."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.aggregate_fakes import KEYS, MALLORY, Town, between, colleague, dataset, is_

from mc_contract.keyring import KeySet
from mc_platform.adapters.postgres.budget import PostgresBudgetAccountant
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.aggregate import Aggregates, Charge, Digests, read_query
from mc_platform.errors import BudgetSpent, Unavailable
from mc_platform.model.dataset import MICRO


@pytest.fixture
def tenant():
    """A tenant that no other test knows."""
    return f"T_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def town(pools, tenant):
    """A town whose accountant is the database's."""
    return _town(pools, tenant)


def _town(pools, tenant, **rules):
    made = Town(accountant=PostgresBudgetAccountant(pools), **rules)
    made.mallory = replace(MALLORY, tenant=tenant)
    return made


async def _ask(town, *where, **more):
    return await town.ask(*where, who=town.mallory, **more)


async def _charged(pools, tenant):
    rows = await pools.record.fetch(
        "SELECT principal, micro_epsilon FROM mc.aggregate_charge WHERE tenant = $1", tenant
    )
    spent = Counter()
    for row in rows:
        spent[row["principal"]] += row["micro_epsilon"]
    return spent


async def test_an_answer_is_kept_for_every_process(town, pools, tenant):
    first = await _ask(town, is_("town", "north"))
    again = await _ask(_town(pools, tenant), is_("town", "north"))
    assert (again.answer, again.epsilon, again.repeated) == (first.answer, 0, True)
    assert first.epsilon == MICRO
    assert first.remaining == again.remaining
    assert first.remaining.principal == 99 * MICRO
    assert await _charged(pools, tenant) == {MALLORY.id: MICRO}


async def test_differencing_is_refused_across_processes_and_the_refusal_is_kept(
    town, pools, tenant
):
    assert (await _ask(town)).answer
    other = _town(pools, tenant)
    assert (await _ask(other, between(0, 398))).answer is None
    again = await _ask(town, between(0, 398))
    assert (again.answer, again.epsilon, again.repeated) == (None, 0, True)


async def test_no_id_and_no_condition_is_in_the_database(town, pools, tenant):
    await _ask(town, is_("town", "north"))
    await _ask(town, between(3, 5))
    rows = await pools.record.fetch(
        "SELECT q::text AS told, selection, state FROM mc.aggregate_query q WHERE tenant = $1",
        tenant,
    )
    assert sorted((row["state"], len(row["selection"] or b"")) for row in rows) == [
        ("answered", 8 * 100),
        ("refused", 0),
    ]
    assert not any("person-" in row["told"] or "north" in row["told"] for row in rows)
    # Another key sees nobody it knows in the selection, so it is no plain hash of the ids
    [kept] = [bytes(row["selection"]) for row in rows if row["selection"]]
    strange = Digests(KeySet(replace(KEYS.active, secret=b"x" * 32)))
    other = Aggregates(accountant=town.accountant, rows=town.rows, digests=strange)
    asked = read_query({"measure": "count"}, town.dataset)
    assert other.fingerprint(tenant, asked.query) != town.aggregates.fingerprint(
        tenant, asked.query
    )
    units = town.rows.table.units
    [theirs] = other._digests.of_units(tenant, town.dataset.name, units)
    assert kept[:8] not in {theirs[at : at + 8] for at in range(0, len(theirs), 8)}


async def test_charges_at_once_never_pass_a_cap(pools, tenant):
    """Ninety charges by three principals, of whom each may have 10, and all of them 24."""
    accountant = PostgresBudgetAccountant(pools)
    rules = dataset(principal_epsilon=10, tenant_epsilon=24)

    async def one(number):
        charge = Charge(tenant, f"p{number % 3}", rules, MICRO // 2, MICRO // 2)
        try:
            await accountant.charge(charge)
        except BudgetSpent:
            return False
        return True

    taken = await asyncio.gather(*(one(number) for number in range(90)))
    spent = await _charged(pools, tenant)
    assert sum(taken) == 48
    assert sum(spent.values()) == 24 * MICRO
    assert max(spent.values()) <= 10 * MICRO


async def test_of_one_query_asked_at_once_one_answer_is_told(pools, tenant):
    towns = [_town(pools, tenant) for _ in range(6)]
    outcomes = await asyncio.gather(*(_ask(town, is_("town", "east")) for town in towns))
    assert len({outcome.answer.value for outcome in outcomes}) == 1
    spent = sum((await _charged(pools, tenant)).values())
    assert spent == sum(outcome.epsilon for outcome in outcomes)  # whoever drew has paid


async def test_of_queries_that_differ_by_one_person_and_come_at_once_one_is_answered(pools, tenant):
    towns = [_town(pools, tenant) for _ in range(6)]
    outcomes = await asyncio.gather(
        *(_ask(town, between(number, 399)) for number, town in enumerate(towns))
    )
    assert sum(outcome.answer is not None for outcome in outcomes) == 1


async def test_a_process_that_dies_before_its_answer_is_kept_has_paid_for_nothing(
    town, pools, tenant, monkeypatch
):
    async def die(*_):
        raise Unavailable("died")

    with monkeypatch.context() as patched:
        patched.setattr(town.accountant, "end", die)
        with pytest.raises(Unavailable):
            await _ask(town)
    assert await _charged(pools, tenant) == {MALLORY.id: MICRO}
    assert (await _ask(_town(pools, tenant))).answer  # and pays anew
    assert await _charged(pools, tenant) == {MALLORY.id: 2 * MICRO}


async def test_what_was_spent_comes_back_with_the_period_and_the_query_is_drawn_anew(
    database, town, pools, tenant
):
    first = await _ask(town, is_("town", "south"))
    owner = await asyncpg.connect(database.admin_url.rsplit("/", 1)[0] + "/mc")
    for name, column in (("charge", "charged_at"), ("query", "asked_at")):
        await owner.execute(
            f"UPDATE mc.aggregate_{name} SET {column} = {column} - interval '31 days' "
            "WHERE tenant = $1",
            tenant,
        )
    await owner.close()
    again = await _ask(town, is_("town", "south"))
    assert not again.repeated
    assert again.remaining == first.remaining
    # What was told long ago still counts for what sets a query apart
    assert (await _ask(town, is_("town", "south"), between(0, 397))).answer is None


async def test_the_service_can_neither_change_nor_remove_what_was_charged(town, pools, tenant):
    await _ask(town)
    for statement in (
        "DELETE FROM mc.aggregate_charge",
        "UPDATE mc.aggregate_charge SET micro_epsilon = 1",
        "DELETE FROM mc.aggregate_query",
        "UPDATE mc.aggregate_query SET fingerprint = fingerprint",
    ):
        for pool in (pools.record, pools.tenant):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)


_CHARGES = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "eve"]),
        st.integers(1, 2 * MICRO),
        st.integers(0, 3 * MICRO),
    ),
    max_size=30,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(charges=_CHARGES, own=st.integers(1, 5), more=st.integers(0, 5))
def test_whatever_is_charged_in_whatever_order_nobody_passes_a_cap(database, charges, own, more):
    async def run():
        pools = Pools(database_url=database.service_url, application_name="test")
        await pools.open()
        tenant = f"T_{uuid.uuid4().hex[:8]}"
        rules = dataset(principal_epsilon=own, tenant_epsilon=own + more)
        accountant = PostgresBudgetAccountant(pools)

        async def one(who, epsilon, needed):
            try:
                await accountant.charge(Charge(tenant, who, rules, epsilon, needed))
            except BudgetSpent:
                return who, 0
            return who, epsilon

        try:
            taken = Counter()
            for who, epsilon in await asyncio.gather(*(one(*charge) for charge in charges)):
                taken[who] += epsilon
            spent = await _charged(pools, tenant)
            assert spent == +taken
            assert max(spent.values(), default=0) <= own * MICRO
            assert sum(spent.values()) <= (own + more) * MICRO
            for who in ("ann", "bob", "eve"):
                assert (await accountant.spent(tenant, who, rules)).principal == spent[who]
        finally:
            await pools.close()

    asyncio.run(run())


async def test_colleagues_share_the_tenants_budget_and_no_other_tenants(pools, tenant):
    town = _town(pools, tenant, principal_epsilon=2, tenant_epsilon=3)
    for number, name in enumerate(("north", "east", "south")):
        who = replace(colleague(number), tenant=tenant)
        assert (await town.ask(is_("town", name), who=who)).answer
    with pytest.raises(BudgetSpent, match="the tenant has 0 left"):
        await town.ask(is_("town", "west"), who=replace(colleague(9), tenant=tenant))
    neighbour = replace(MALLORY, tenant=f"{tenant}_NEIGHBOUR")
    assert (await town.ask(is_("town", "west"), who=neighbour)).answer
