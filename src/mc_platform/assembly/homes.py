"""Homes of tenants as a replica has them: the lease's keeper, and what becomes of a move."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from mc_platform.adapters.peer_regions import HttpPeerRegions
from mc_platform.adapters.postgres.homes import PostgresHomes, RegionHomes
from mc_platform.bulkheads import Slots
from mc_platform.enact import HomeKeeper
from mc_platform.model.event import Kind
from mc_platform.model.home import HomeMove
from mc_platform.model.ids import TenantId
from mc_platform.observe import metrics
from mc_platform.ports import Journal
from mc_platform.record import EventFactory
from mc_platform.settings import Settings

_ANSWERED_WITHIN_S = 15.0  # beyond the wait for an operation's end


@dataclass(slots=True, kw_only=True)
class HomeMoves:
    """Homes that moved, from the keeper's thread to the ledger."""

    region: str
    journal: Journal
    events: EventFactory
    _untold: deque[HomeMove] = field(default_factory=deque)

    def learned(self, move: HomeMove) -> None:
        """Take note of a move: the one place where a region learns that a tenant's home is here now."""
        if move.known_before:
            direction = "here" if move.home.region == self.region else "away"
            metrics.home_moves.labels(direction).inc()
        self._untold.append(move)

    async def record_untold(self) -> None:
        """Record each move once in this region's ledger, whichever replica learned of it first.

        Raises:
            Unavailable: the ledger is away; what is left is recorded later.
        """
        while self._untold:
            tenant, home = self._untold[0].tenant, self._untold[0].home
            event = self.events.event(
                Kind.home_moved,
                tenant,
                f"{self.region}:{tenant}:{home.term}",
                term=home.term,
                home=home.region,
                former_home=home.from_region,
                principal=home.principal,
                reason=home.reason,
            )
            await self.journal.record([event])
            self._untold.popleft()


@dataclass(frozen=True, slots=True, kw_only=True)
class HomesHere:
    """What a replica of one of several regions has for them."""

    keeper: HomeKeeper
    store: PostgresHomes
    moves: HomeMoves
    peers: HttpPeerRegions
    slots: Slots

    @property
    def closing(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What closes them, in order."""
        return (
            partial(asyncio.to_thread, self.keeper.stop),
            partial(asyncio.to_thread, self.store.close),
            self.peers.close,
        )


def homes_here(
    settings: Settings,
    tenants: Collection[TenantId],
    *,
    able: Callable[[], bool],
    journal: Journal,
    events: EventFactory,
) -> HomesHere | None:
    """The parts, or None where there is one region: its replicas pay nothing for homes.

    Args:
        able: Whether this replica could enact now.

    Raises:
        Misconfigured: `MC_PEERS_FILE` cannot be used.
    """
    store: PostgresHomes
    name = f"{settings.replica}:home"
    if settings.arbiter_url is not None:
        store = PostgresHomes(settings.arbiter_url.get_secret_value(), application_name=name)
    elif settings.peers_file is not None:
        store = RegionHomes(settings.database_url.get_secret_value(), application_name=name)
    else:
        return None
    moves = HomeMoves(region=settings.region, journal=journal, events=events)
    return HomesHere(
        keeper=HomeKeeper(
            store=store,
            region=settings.region,
            tenants=tenants,
            able=able,
            on_moved=moves.learned,
            takes_over=settings.arbiter_url is not None,
        ),
        store=store,
        moves=moves,
        peers=HttpPeerRegions(
            settings.peers_file,
            region=settings.region,
            timeout_s=settings.operation_wait_s + _ANSWERED_WITHIN_S,
        ),
        slots=Slots(
            "requests passed on",
            per_tenant=settings.operations_awaited_per_tenant,
            wait_s=settings.slot_wait_s,
            most_waiting=settings.operations_awaited_per_tenant,
        ),
    )
