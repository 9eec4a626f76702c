"""The privacy budget accountant in PostgreSQL; implements `aggregate.BudgetAccountant`.

Whoever charges holds the row of its tenant's dataset, so charges take turns and no two see the
same rest. All times are the database's.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mc_contract.keepable import json_text, read_json
from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.aggregate import (
    Answer,
    Charge,
    Ended,
    Opening,
    Spent,
    Turn,
    answer_from,
)
from mc_platform.errors import BudgetSpent
from mc_platform.model.dataset import Dataset, epsilon_text
from mc_platform.model.ids import PrincipalId, TenantId

_TURN = "INSERT INTO mc.aggregate_turn (tenant, dataset) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_LOCK = "SELECT FROM mc.aggregate_turn WHERE tenant = $1 AND dataset = $2 FOR UPDATE"
_SPENT = """
SELECT coalesce(sum(micro_epsilon) FILTER (WHERE principal = $3), 0)::bigint AS principal,
    coalesce(sum(micro_epsilon), 0)::bigint AS tenant
FROM mc.aggregate_charge
WHERE tenant = $1 AND dataset = $2
    AND charged_at > clock_timestamp() - make_interval(days => $4)
"""
_CHARGE = """
INSERT INTO mc.aggregate_charge (tenant, dataset, principal, micro_epsilon)
VALUES ($1, $2, $3, $4)
"""
_FIND = """
SELECT id, state, answer FROM mc.aggregate_query
WHERE tenant = $1 AND dataset = $2 AND fingerprint = ANY($3)
    AND asked_at > clock_timestamp() - make_interval(days => $4)
ORDER BY number DESC LIMIT 1
"""
_EARLIER = """
SELECT selection FROM mc.aggregate_query
WHERE tenant = $1 AND dataset = $2 AND condition <> ALL($3) AND state <> 'refused'
"""
_BEGIN = """
INSERT INTO mc.aggregate_query
    (id, tenant, dataset, principal, fingerprint, condition, selection)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_RESELECT = "UPDATE mc.aggregate_query SET selection = $2 WHERE id = $1"
_END = """
UPDATE mc.aggregate_query SET state = CASE WHEN $2::json IS NULL THEN 'refused' ELSE 'answered' END,
    answer = $2, selection = CASE WHEN $2::json IS NULL THEN NULL ELSE selection END,
    ended_at = clock_timestamp()
WHERE id = $1 AND state = 'pending' RETURNING state, answer
"""
_ENDED = "SELECT state, answer FROM mc.aggregate_query WHERE id = $1"


class PostgresBudgetAccountant:
    """The accountant of the platform whose database this is."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("answered aggregates cannot be read")
    async def find(
        self, tenant: TenantId, dataset: Dataset, fingerprints: Sequence[bytes]
    ) -> Ended | None:
        row = await self._pools.record.fetchrow(
            _FIND, tenant, dataset.name, fingerprints, dataset.period_days
        )
        return None if row is None else _ended(row)

    @wrapped("the privacy budget cannot be charged")
    async def begin(self, opening: Opening) -> Turn | Ended:
        charge, query_id = opening.charge, opening.id
        place = charge.tenant, charge.dataset.name
        async with self._pools.record.acquire() as connection, connection.transaction():
            await _take_turn(connection, place)
            row = await connection.fetchrow(
                _FIND, *place, opening.fingerprints, charge.dataset.period_days
            )
            if row is not None and (ended := _ended(row)) is not None:
                return ended
            await _charge(connection, charge)
            earlier = await connection.fetch(_EARLIER, *place, opening.conditions)
            if row is None:
                await connection.execute(
                    _BEGIN,
                    query_id,
                    *place,
                    charge.principal,
                    opening.fingerprints[0],
                    opening.conditions[0],
                    opening.selection,
                )
            else:  # under way elsewhere, or left by a crash: who ends it first, ends it for all
                query_id = uuid.UUID(str(row["id"]))
                await connection.execute(_RESELECT, query_id, opening.selection)
        return Turn(query_id, tuple(bytes(one["selection"]) for one in earlier))

    @wrapped("the privacy budget cannot be charged")
    async def charge(self, charge: Charge) -> None:
        async with self._pools.record.acquire() as connection, connection.transaction():
            await _take_turn(connection, (charge.tenant, charge.dataset.name))
            await _charge(connection, charge)

    @wrapped("the aggregate cannot be kept")
    async def end(self, query_id: uuid.UUID, answer: Answer | None) -> Ended:
        kept = None if answer is None else json_text(asdict(answer))
        row = await self._pools.record.fetchrow(_END, query_id, kept)
        if row is None:
            row = await self._pools.record.fetchrow(_ENDED, query_id)
        return _told(row)

    @wrapped("the privacy budget cannot be read")
    async def spent(self, tenant: TenantId, principal: PrincipalId, dataset: Dataset) -> Spent:
        return await _spent(self._pools.record, tenant, principal, dataset)


async def _take_turn(connection: Any, place: tuple[str, str]) -> None:
    await connection.execute(_TURN, *place)
    await connection.execute(_LOCK, *place)


async def _spent(
    connection: Any, tenant: TenantId, principal: PrincipalId, dataset: Dataset
) -> Spent:
    row = await connection.fetchrow(_SPENT, tenant, dataset.name, principal, dataset.period_days)
    return Spent(principal=row["principal"], tenant=row["tenant"])


async def _charge(connection: Any, charge: Charge) -> None:
    """Charge within the turn.

    Raises:
        BudgetSpent: what is needed is not there.
    """
    dataset = charge.dataset
    spent = await _spent(connection, charge.tenant, charge.principal, dataset)
    own = dataset.principal_epsilon - spent.principal
    all_of_tenant = dataset.tenant_epsilon - spent.tenant
    needed = max(charge.needed, charge.epsilon)
    if needed > min(own, all_of_tenant):
        whose = "principal" if own <= all_of_tenant else "tenant"
        left = epsilon_text(max(0, min(own, all_of_tenant)))
        raise BudgetSpent(
            f"the query needs epsilon {epsilon_text(needed)}, and the {whose} has {left} left",
            hint=f"what was spent comes back after {dataset.period_days} days; "
            "a query that was answered before costs nothing",
        )
    await connection.execute(_CHARGE, charge.tenant, dataset.name, charge.principal, charge.epsilon)


def _ended(row: Any) -> Ended | None:
    return None if row["state"] == "pending" else _told(row)


def _told(row: Any) -> Ended:
    return Ended(None if row["answer"] is None else answer_from(read_json(row["answer"])))
