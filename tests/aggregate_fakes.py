"""A town of synthetic customers, and the privacy budget accountant in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from mc_contract.configuration import check
from mc_contract.keyring import FIRST, Key, KeySet
from mc_platform.aggregate import Aggregates, Digests, Ended, Spent, Turn, read_query
from mc_platform.errors import BudgetSpent
from mc_platform.model.dataset import MICRO, DatasetTable, Table
from mc_platform.model.tenant import Principal

PEOPLE = 400
KEYS = KeySet(Key(FIRST, b"k" * 32, datetime(2026, 1, 1, tzinfo=UTC)))
MALLORY = Principal("mallory@t", "T", "key")


def dataset(**more):
    """`people` of tenant T: a town, a unique place 0 to 399, an income, a secret; budgets of 100."""
    raw = {
        "url": "http://127.0.0.1:9/people",
        "tenants": ["T"],
        "unit": "id",
        "minimum_group": 10,
        "principal_epsilon": 100,
        "tenant_epsilon": 100,
        "columns": {
            "town": {"values": ["east", "north", "south", "west"]},
            "place": {"lower": 0, "upper": PEOPLE - 1},
            "income": {"lower": 0, "upper": 100, "step": 0.5},
            "secret": {"values": ["no", "yes"]},
        },
    }
    return check(DatasetTable, raw | more).build("people")


def table(secrets=None, people=PEOPLE):
    """Everybody's towns go round; `secrets` are the places of those who have one."""
    places = tuple(range(people))
    return Table(
        tuple(f"person-{place}" for place in places),
        {
            "town": tuple(("east", "north", "south", "west")[place % 4] for place in places),
            "place": places,
            "income": tuple(place % 201 for place in places),
            "secret": tuple("yes" if secrets and place in secrets else "no" for place in places),
        },
    )


def between(low, high, column="place"):
    return {"column": column, "op": "between", "value": [low, high]}


def is_(column, value):
    return {"column": column, "op": "eq", "value": value}


class MemoryAccountant:
    """As PostgresBudgetAccountant, for one tenant and one period."""

    def __init__(self):
        self.charges = []
        self.queries = {}

    async def find(self, tenant, dataset, fingerprints):
        kept = self._kept(fingerprints)
        return kept["ended"] if kept else None

    def _kept(self, fingerprints):
        return next((self.queries[one] for one in fingerprints if one in self.queries), None)

    async def begin(self, opening):
        kept = self._kept(opening.fingerprints)
        if kept and kept["ended"]:
            return kept["ended"]
        await self.charge(opening.charge)
        self.queries[opening.fingerprints[0]] = {"opening": opening, "ended": None}
        earlier = tuple(
            kept["opening"].selection
            for kept in self.queries.values()
            if kept["opening"].conditions[0] not in opening.conditions
            and (kept["ended"] is None or kept["ended"].answer is not None)
        )
        return Turn(opening.id, earlier)

    async def charge(self, charge):
        spent = await self.spent(charge.tenant, charge.principal, charge.dataset)
        left = min(
            charge.dataset.principal_epsilon - spent.principal,
            charge.dataset.tenant_epsilon - spent.tenant,
        )
        if max(charge.needed, charge.epsilon) > left:
            raise BudgetSpent("spent")
        self.charges.append((charge.principal, charge.epsilon))

    async def end(self, query_id, answer):
        [kept] = [kept for kept in self.queries.values() if kept["opening"].id == query_id]
        kept["ended"] = kept["ended"] or Ended(answer)
        return kept["ended"]

    async def spent(self, tenant, principal, dataset):
        own = sum(epsilon for who, epsilon in self.charges if who == principal)
        return Spent(own, sum(epsilon for _, epsilon in self.charges))


class TableRows:
    """Rows that a test may change."""

    def __init__(self, rows):
        self.table = rows
        self.reads = 0

    async def read(self, dataset, tenant):
        self.reads += 1
        return self.table


class Town:
    """The aggregates over one table, as an attacker meets them."""

    def __init__(self, rows=None, accountant=None, **rules):
        self.dataset = dataset(**rules)
        self.rows = TableRows(rows or table())
        self.accountant = accountant or MemoryAccountant()
        self.aggregates = Aggregates(
            accountant=self.accountant, rows=self.rows, digests=Digests(KEYS)
        )

    async def ask(self, *where, measure="count", column=None, epsilon=None, who=MALLORY):
        raw = {"measure": measure, "column": column, "where": list(where), "epsilon": epsilon}
        return await self.aggregates.answer(who, self.dataset, read_query(raw, self.dataset))

    @property
    def spent(self):
        return sum(epsilon for _, epsilon in self.accountant.charges) / MICRO


def colleague(number):
    return replace(MALLORY, id=f"colleague-{number}@t")
