"""The breaker: halts autonomy when more operations are compensated than chance explains.

Judgement is pure: counts in, verdicts out. `Breaker` reads counts and switch,
halts what must be halted and tells the metrics. Every replica runs one: halting twice is harmless.

It trips a scope when at least `min_operations` ended in the window and the one-sided 95 %
Clopper-Pearson lower bound of the share of compensated ones is above `ratio`. Tenants are judged
first; the scope of all is judged over those tenants that then still run, and trips only if it
would without any one of them as well. So one bad tenant, however small, stops itself at most and
not its neighbours, while a fault that is spread thin stops everybody. Operations that ended before a scope was last resumed are not counted: whoever resumed it has judged them.

It never resumes: only a person does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mc_contract.proportions import CONFIDENCE, binomial_tail, rate_lower
from mc_platform.model.autonomy import ALL, AutonomyStatus, Scope, Source
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.observe import metrics
from mc_platform.ports import Autonomy

_PRINCIPAL = PrincipalId("breaker@platform")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Count:
    """Operations that ended without being canceled; those compensated or left stuck among them.

    What counts as which is `model.operation.Ending`.
    """

    ended: int = 0
    compensated: int = 0

    def __add__(self, other: Count) -> Count:
        """Both together."""
        return Count(self.ended + other.ended, self.compensated + other.compensated)

    def __sub__(self, other: Count) -> Count:
        """Without `other`, which is a part of it."""
        return Count(self.ended - other.ended, self.compensated - other.compensated)

    @property
    def ratio(self) -> float:
        """The share of compensated ones; NaN if none has ended."""
        return self.compensated / self.ended if self.ended else math.nan


@dataclass(frozen=True, slots=True)
class Limits:
    """When the breaker trips: see the module."""

    ratio: float = 0.005
    window_s: float = 86_400.0
    min_operations: int = 100


@dataclass(frozen=True, slots=True)
class Trip:
    """A scope that must be halted: on what counts, and the bound that they prove."""

    scope: Scope
    count: Count
    lower_bound: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the breaker found: the count of every scope (halted ones too), and what trips."""

    counts: Mapping[Scope, Count]
    trips: tuple[Trip, ...]


class OperationCounts(Protocol):
    """Counting operations over all tenants. Behind it: PostgreSQL; memory in tests."""

    async def ended(self, since_at: Mapping[TenantId, datetime]) -> Mapping[TenantId, Count]:
        """Operations of each tenant that ended after its time; no entry where none did."""

    async def stuck(self, tenants: Sequence[TenantId]) -> Mapping[TenantId, int]:
        """Operations of each tenant that are stuck and not resolved; no entry where none is."""


def trips(count: Count, limits: Limits) -> bool:
    """Whether a count halts its scope: its lower bound is above `limits.ratio`, without finding it."""
    if count.ended < limits.min_operations or count.ratio <= limits.ratio:
        return False
    return binomial_tail(count.compensated, count.ended, limits.ratio) < 1 - CONFIDENCE


def _lower_bound(count: Count) -> float:
    return rate_lower(count.compensated, count.ended)


def counted_since(
    tenants: Sequence[TenantId], status: AutonomyStatus, limits: Limits
) -> dict[TenantId, datetime]:
    """From when on each tenant's operations count: the window, or the last resume if later."""
    window_at = status.at - timedelta(seconds=limits.window_s)
    since_at = {}
    for tenant in tenants:
        resumed = (status.resumed_at(ALL), status.resumed_at(Scope(tenant)))
        since_at[tenant] = max((at for at in resumed if at is not None), default=window_at)
        since_at[tenant] = max(since_at[tenant], window_at)
    return since_at


def judge(counts: Mapping[TenantId, Count], status: AutonomyStatus, limits: Limits) -> Judgement:
    """What trips, given where the switch stands.

    Args:
        counts: Of every tenant to be judged, since `counted_since`.
        status: The switch, read before the counts.
        limits: When to trip.
    """
    found: list[Trip] = []
    by_scope = {Scope(tenant): count for tenant, count in counts.items()}
    halted = {scope for scope, switch in status.switches.items() if switch.halted}
    for scope, count in by_scope.items():
        if scope not in halted and trips(count, limits):
            found.append(Trip(scope, count, _lower_bound(count)))
    stopped = halted | {trip.scope for trip in found}
    still = [count for scope, count in by_scope.items() if scope not in stopped]
    running = sum(still, Count())
    if ALL not in halted and _common(still, running, limits):
        found.append(Trip(ALL, running, _lower_bound(running)))
    return Judgement({ALL: running, **by_scope}, tuple(found))


def _common(counts: Sequence[Count], together: Count, limits: Limits) -> bool:
    """Whether the counts trip together, and whichever tenant is left out."""
    return trips(together, limits) and all(trips(together - one, limits) for one in counts)


def reason_of(trip: Trip, limits: Limits) -> str:
    """The sentence that stands in the switch and in the ledger."""
    return (
        f"{trip.count.compensated} of {trip.count.ended} operations compensated within "
        f"{limits.window_s / 3600:g} h ({_percent(trip.count.ratio)}): surely more than "
        f"{_percent(trip.lower_bound)}, the limit is {_percent(limits.ratio)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


class Breaker:
    """Looks when it is told to, halts what trips, and tells the metrics.

    Args:
        tenants: Those that are judged: the generally available ones.
        others: Those whose halts and stuck operations are told as well.
        enabled: False: everything is measured, nothing is halted.
    """

    def __init__(
        self,
        *,
        autonomy: Autonomy,
        counts: OperationCounts,
        tenants: Sequence[TenantId],
        others: Sequence[TenantId] = (),
        limits: Limits,
        enabled: bool,
    ) -> None:
        self._autonomy = autonomy
        self._counts = counts
        self._tenants = tuple(tenants)
        self._others = tuple(others)
        self._limits = limits
        self._enabled = enabled

    async def look(self) -> Judgement:
        """One look: count, judge, halt, tell.

        Raises:
            Unavailable: the counts or the switch cannot be read, or a halt cannot be set.
        """
        status = await self._autonomy.status()
        judgement = await self.judgement(status)
        if self._enabled:
            for trip in judgement.trips:
                await self._halt(trip, judged_at=status.at)
            if judgement.trips:
                status = await self._autonomy.status()
        await self._tell(judgement, status)
        return judgement

    async def judgement(self, status: AutonomyStatus) -> Judgement:
        """What a look would find, without doing anything about it; `status` is read just before.

        Raises:
            Unavailable: the counts cannot be read.
        """
        since_at = counted_since(self._tenants, status, self._limits)
        ended = await self._counts.ended(since_at)
        counts = {tenant: ended.get(tenant, Count()) for tenant in self._tenants}
        return judge(counts, status, self._limits)

    async def _halt(self, trip: Trip, *, judged_at: datetime) -> None:
        thrown = await self._autonomy.set(
            trip.scope,
            halted=True,
            reason=reason_of(trip, self._limits),
            principal=_PRINCIPAL,
            source=Source.breaker,
            unless_resumed_since=judged_at,
        )
        if thrown.changed:
            _log.error("breaker_tripped", scope=trip.scope, reason=reason_of(trip, self._limits))

    async def _tell(self, judgement: Judgement, status: AutonomyStatus) -> None:
        for scope, count in judgement.counts.items():
            metrics.autonomy_compensation_ratio.labels(scope).set(count.ratio)
        switch = status.switches.get(ALL)
        metrics.autonomy_halted.labels(ALL).set(switch is not None and switch.halted)
        everybody = (*self._tenants, *self._others)
        for tenant in everybody:
            metrics.autonomy_halted.labels(tenant).set(status.halt_of(tenant) is not None)
        stuck = await self._counts.stuck(everybody)
        for tenant in everybody:
            metrics.autonomy_stuck.labels(tenant).set(stuck.get(tenant, 0))
