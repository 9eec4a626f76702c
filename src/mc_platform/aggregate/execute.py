"""The order in which a query is answered, so that nothing is told that was not paid for.

    1. a query that was answered or refused lately gets the same again, for nothing
    2. the test of the group is charged, and the selection noted, in one commit
    3. the test: is the group, and what sets it apart from every earlier one, large enough?
    4. the answer is charged, and committed, before its noise is drawn
    5. the answer is kept; of two that draw at once, the first is what both tell

A crash between two of these loses what was charged, and gives no second draw for nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mc_contract.keyring import FIRST
from mc_platform.aggregate.noise import Answer, answer, large_enough, load
from mc_platform.aggregate.query import Asked, Query
from mc_platform.aggregate.select import Digests, least_apart, places
from mc_platform.errors import BudgetSpent, HomeElsewhere
from mc_platform.model.dataset import Dataset, Table, epsilon_text
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.ports import Homes


@dataclass(frozen=True, slots=True)
class Spent:
    """What a principal, and its whole tenant, has spent in the period; in millionths."""

    principal: int
    tenant: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What is to be charged, in millionths, if `needed` is still there for who asks.

    Attributes:
        needed: What the whole query will spend; never below `epsilon`.
    """

    tenant: TenantId
    principal: PrincipalId
    dataset: Dataset
    epsilon: int
    needed: int


@dataclass(frozen=True, slots=True)
class Opening:
    """A query as the accountant notes it: digests only.

    `fingerprints` and `conditions` are of each key that is known; the first is what is kept.
    """

    id: uuid.UUID
    charge: Charge
    fingerprints: tuple[bytes, ...]
    conditions: tuple[bytes, ...]
    selection: bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """A query that is noted and charged for; `earlier` are selections under other conditions."""

    id: uuid.UUID
    earlier: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a query ended; None is a refusal."""

    answer: Answer | None


class BudgetAccountant(Protocol):
    """What was spent and answered. Behind it: PostgreSQL; memory in tests. All raise Unavailable."""

    async def find(
        self, tenant: TenantId, dataset: Dataset, fingerprints: Sequence[bytes]
    ) -> Ended | None:
        """How the query ended in the dataset's period; None if it did not."""

    async def begin(self, opening: Opening) -> Turn | Ended:
        """Charge and note a query, or say how it has ended meanwhile; durable on return.

        Raises:
            BudgetSpent: nothing was charged.
        """

    async def charge(self, charge: Charge) -> None:
        """Charge; durable on return.

        Raises:
            BudgetSpent: nothing was charged.
        """

    async def end(self, query_id: uuid.UUID, answer: Answer | None) -> Ended:
        """Keep how a query ended; if it has ended already, that stands and is returned."""

    async def spent(self, tenant: TenantId, principal: PrincipalId, dataset: Dataset) -> Spent:
        """What was spent in the dataset's period."""


class Rows(Protocol):
    """Where a tenant's rows are read."""

    async def read(self, dataset: Dataset, tenant: TenantId) -> Table:
        """All rows, checked against the declaration.

        Raises:
            AgentFailed: they do not come, or are not as declared.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told of a query.

    Attributes:
        answer: None if it was refused.
        epsilon: What this request spent, in millionths: nothing for a repeat.
        remaining: What is left for the principal, and for the tenant.
        fingerprint: Digest of the query, in hexadecimal, with its key's id.
        repeated: Whether it had ended before.
    """

    answer: Answer | None
    epsilon: int
    remaining: Spent
    fingerprint: str
    repeated: bool


class Aggregates:
    """Answers queries over the tenants' datasets."""

    def __init__(
        self,
        *,
        accountant: BudgetAccountant,
        rows: Rows,
        digests: Digests,
        homes: Homes | None = None,
    ) -> None:
        """Take what answers.

        Args:
            digests: Under keys that all have who share the accounts.
            homes: Which tenants' home this region is; None: there is one region.
        """
        self._homes = homes
        self._accountant = accountant
        self._rows = rows
        self._digests = digests

    def fingerprint(self, tenant: TenantId, query: Query) -> str:
        """The query's keyed digest, in hexadecimal, as ledger and answers name it."""
        return self._named(self._digests.of_text(tenant, query.text()))

    def _named(self, fingerprints: Sequence[bytes]) -> str:
        key_id, name = self._digests.key_id, fingerprints[0].hex()
        return name if key_id == FIRST else f"{key_id}:{name}"

    async def answer(self, principal: Principal, dataset: Dataset, asked: Asked) -> Outcome:
        """Answer or refuse a checked query of a principal that policy permits to ask.

        Raises:
            BudgetSpent: the budget of the principal or of the tenant does not reach.
            AgentFailed: the rows cannot be read; nothing was charged.
            HomeElsewhere: another region spends the tenant's budget, or became to while this one
                charged for the query: then nothing is told of it.
            Unavailable: the accountant cannot be reached; what was charged stays so.
        """
        tenant = principal.tenant
        fingerprints = self._digests.of_text(tenant, asked.query.text())
        fingerprint = self._named(fingerprints)
        ended = await self._accountant.find(tenant, dataset, fingerprints)
        if ended is not None:
            return await self._outcome(principal, dataset, fingerprint, ended, None)
        term = self._homes.require(tenant) if self._homes is not None else 0
        table = await self._rows.read(dataset, tenant)
        # In a thread: a large table would keep everybody else waiting
        chosen, selections = await asyncio.to_thread(self._selected, tenant, asked.query, table)
        test = Charge(
            tenant=tenant,
            principal=principal.id,
            dataset=dataset,
            epsilon=dataset.test_epsilon,
            needed=dataset.test_epsilon + asked.epsilon,
        )
        opening = Opening(
            id=uuid.uuid4(),
            charge=test,
            fingerprints=fingerprints,
            conditions=self._digests.of_text(tenant, asked.query.conditions_text()),
            selection=selections[0],
        )
        turn = await self._accountant.begin(opening)
        self._require_home(tenant, term)
        if isinstance(turn, Ended):
            return await self._outcome(principal, dataset, fingerprint, turn, None)
        least = await asyncio.to_thread(_least_apart, selections, turn.earlier)
        if not large_enough(least, dataset):
            ended = await self._accountant.end(turn.id, None)
            return await self._outcome(principal, dataset, fingerprint, ended, test.epsilon)
        try:
            await self._accountant.charge(
                replace(test, epsilon=asked.epsilon, needed=asked.epsilon)
            )
        except BudgetSpent as error:
            # Others were faster; the test has been paid for
            paid = f"{error.message}; its test has spent {epsilon_text(test.epsilon)}"
            raise BudgetSpent(paid, hint=error.hint, epsilon=test.epsilon) from error
        self._require_home(tenant, term)
        drawn = _drawn(asked, table, chosen, dataset)
        ended = await self._accountant.end(turn.id, drawn)
        spent = test.epsilon + asked.epsilon
        return await self._outcome(principal, dataset, fingerprint, ended, spent)

    def _require_home(self, tenant: TenantId, term: int) -> None:
        """See that what was just committed was charged while this region was the home.

        Raises:
            HomeElsewhere: that is not sure.
        """
        if self._homes is not None and self._homes.require(tenant) != term:
            raise HomeElsewhere(
                f"the home of tenant {tenant} moved while the query was charged", hint="ask again"
            )

    def _selected(
        self, tenant: TenantId, query: Query, table: Table
    ) -> tuple[list[int], tuple[bytes, ...]]:
        load()  # here, in a thread
        chosen = places(query, table)
        units = (table.units[place] for place in chosen)
        return chosen, self._digests.of_units(tenant, query.dataset, units)

    async def _outcome(
        self,
        principal: Principal,
        dataset: Dataset,
        fingerprint: str,
        ended: Ended,
        spent: int | None,
    ) -> Outcome:
        total = await self._accountant.spent(principal.tenant, principal.id, dataset)
        tenant_left = max(0, dataset.tenant_epsilon - total.tenant)
        own_left = max(0, dataset.principal_epsilon - total.principal)
        return Outcome(
            answer=ended.answer,
            epsilon=spent or 0,
            remaining=Spent(principal=min(own_left, tenant_left), tenant=tenant_left),
            fingerprint=fingerprint,
            repeated=spent is None,
        )


def _least_apart(selections: Sequence[bytes], earlier: Sequence[bytes]) -> int:
    # One of another key lies as far apart as both are large, so it never makes the least smaller
    return min(least_apart(selection, earlier) for selection in selections)


def _drawn(asked: Asked, table: Table, chosen: list[int], dataset: Dataset) -> Answer:
    query = asked.query
    column = dataset.columns.get(query.column)
    source = table.columns[query.column] if column else (0,) * len(table.units)
    return answer(query, [int(source[place]) for place in chosen], column, asked.epsilon)


def answer_from(kept: Mapping[str, Any]) -> Answer:
    """An answer as the accountant keeps it."""
    return Answer(
        value=float(kept["value"]),
        epsilon=int(kept["epsilon"]),
        noise_scale=float(kept["noise_scale"]),
        half_width=float(kept["half_width"]),
    )
