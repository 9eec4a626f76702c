"""Tenants whose answers wait until the peer region has what they tell (`replication = "sync"`).

A commit waits for nobody: it holds the log's head. What waits is the answer, under a timer of ours. One
loop asks the database how far the peer is, while somebody waits, for all who do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from mc_platform.adapters.postgres.peer_position import Positions, PostgresPeerPosition
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.errors import PeerAway, Unavailable
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import Tenant
from mc_platform.observe import metrics
from mc_platform.ports import Journal
from mc_platform.record import EventFactory
from mc_platform.settings import Settings

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _AWAY_PAUSE_S = 0.001, 0.02, 0.25
_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Waiting:
    """One answer: what the peer must have before it leaves, once that is known."""

    done: asyncio.Future[bool]
    target: int | None = None


@dataclass(slots=True, kw_only=True)
class SyncTenants:
    """Implements `ports.PeerCopies`.

    Args:
        degrades: The tenants, each with whether it is answered while the peer is away.
        wait_s: How long an answer waits. When one has waited in vain the peer counts as away, and no
            answer waits any more until it has what was due then.
    """

    region: str
    degrades: Mapping[TenantId, bool]
    wait_s: float
    look: Callable[[], Awaitable[Positions]]
    journal: Journal
    events: EventFactory
    tenants: frozenset[TenantId] = field(init=False)
    _waiting: list[_Waiting] = field(init=False, default_factory=list)
    _asked: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _held: int | None = field(init=False, default=None)
    _away: str = field(init=False, default="")  # names the time away; empty: it is there
    _stopped: tuple[str, int] = field(init=False, default=("", 0))  # where it was last, how often
    _owed: int | None = field(init=False, default=None)  # what the peer must have to be back
    _untold: deque[Event] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        """Begin as if the peer were there."""
        self.tenants = frozenset(self.degrades)
        metrics.sync_peer_away.labels(self.region).set(0)

    async def require(self, tenant: TenantId) -> None:
        """See the protocol; the peer has what was committed before this call."""
        if tenant not in self.tenants:
            return
        began = time.perf_counter()
        waiting = _Waiting(asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._asked.set()
        try:
            async with asyncio.timeout(self.wait_s):
                confirmed = await waiting.done
        except TimeoutError:
            confirmed = False
            self._goes_away(waiting.target)
        finally:
            self._waiting.remove(waiting)
        metrics.sync_wait.observe(time.perf_counter() - began)
        degraded = "degraded" if self.degrades[tenant] else "refused"
        metrics.add(metrics.sync_answers, 1, "confirmed" if confirmed else degraded, tenant)
        if not confirmed and not self.degrades[tenant]:
            raise PeerAway(
                "the peer region has not confirmed what this answer tells, and the tenant is not "
                "answered without it",
                hint="it may be done: send the same message id again, and get the same task",
            )

    async def run(self) -> None:
        """Ask how far the peer is, while somebody waits for it or it is away; until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            if not self._waiting and not self._away:
                self._asked.clear()
                await self._asked.wait()
            if self._asked.is_set():
                pause_s = _FIRST_PAUSE_S
            self._asked.clear()
            asked = [*self._waiting]  # whoever comes later may have committed after this look
            try:
                self._settle(asked, await self.look())
            except Unavailable as error:
                _log.warning("peer_position_unknown", reason=error.message)
                pause_s = _LONGEST_PAUSE_S
            await asyncio.sleep(_FIRST_PAUSE_S)
            if not self._asked.is_set():
                longest_s = _LONGEST_PAUSE_S if self._waiting else _AWAY_PAUSE_S
                await self._until_asked(min(pause_s, longest_s))
                pause_s *= 1.5

    async def _until_asked(self, longest_s: float) -> None:
        try:
            async with asyncio.timeout(longest_s):
                await self._asked.wait()
        except TimeoutError:
            pass

    def _settle(self, asked: list[_Waiting], at: Positions) -> None:
        """Tell those who wait what this look shows of what each waits for."""
        self._held = at.held
        if at.held is None:
            self._goes_away(at.written)
        elif self._away:
            if self._owed is None:
                self._owed = at.written
            if at.held >= self._owed:
                self._comes_back()
        for waiting in asked:
            if waiting.target is None:
                waiting.target = at.written
            if waiting.done.done():  # its caller has gone
                continue
            if at.held is not None and at.held >= waiting.target:
                waiting.done.set_result(True)
            elif self._away:
                waiting.done.set_result(False)

    def _goes_away(self, owed: int | None) -> None:
        if self._away:
            return
        # Replicas that see the peer stop at one position tell of one time away; the next there is another
        since = str(time.time_ns()) if self._held is None else f"{self._held:X}"
        self._stopped = (since, self._stopped[1] + 1 if self._stopped[0] == since else 1)
        again = f".{self._stopped[1]}" if self._stopped[1] > 1 else ""
        self._away, self._owed = f"{self.region}:{since}{again}", owed
        self._asked.set()
        metrics.sync_peer_away.labels(self.region).set(1)
        _log.error("peer_does_not_confirm", held=self._held, owed=owed)
        self._tell(Kind.replication_degraded)

    def _comes_back(self) -> None:
        _log.info("peer_confirms_again", held=self._held)
        self._tell(Kind.replication_restored)
        self._away, self._owed = "", None
        metrics.sync_peer_away.labels(self.region).set(0)

    def _tell(self, kind: Kind) -> None:
        position = (
            None if self._held is None else f"{self._held >> 32:X}/{self._held & 0xFFFFFFFF:X}"
        )
        for tenant, degrades in self.degrades.items():
            if degrades:
                subject = f"{self._away}:{tenant}"
                self._untold.append(self.events.event(kind, tenant, subject, peer_has=position))

    async def record_untold(self) -> None:
        """Record when degradation began and ended, of each tenant that it is about.

        Raises:
            Unavailable: the ledger is away; what is left is recorded later.
        """
        while self._untold:
            await self.journal.record([self._untold[0]])
            self._untold.popleft()


def sync_tenants(
    settings: Settings,
    tenants: Mapping[TenantId, Tenant],
    *,
    pools: Pools,
    journal: Journal,
    events: EventFactory,
) -> SyncTenants | None:
    """The catalogue's `sync` tenants, or None where there is none: nothing waits, and nobody looks."""
    degrades = {
        tenant.id: tenant.peer_away == "degrade"
        for tenant in tenants.values()
        if tenant.replication == "sync"
    }
    if not degrades:
        return None
    return SyncTenants(
        region=settings.region,
        degrades=degrades,
        wait_s=settings.sync_wait_s,
        look=PostgresPeerPosition(pools).look,
        journal=journal,
        events=events,
    )
