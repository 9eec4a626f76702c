"""Which region enacts for a tenant: its home, held by a lease at the arbiter; or a person says so.

A region's replicas renew its lease; each trusts only what it saw itself. Four things make that safe,
whatever stands still, comes late or is lost:

(1) a replica counts from before it asked for a renewal, by a clock that goes on while the process is
    paused and the machine sleeps, and begins no effect `HELD_S` after that;
(2) another region takes over when it has seen the same renewal for `TTL_S` by its own such clock,
    counted from after the answer came; the arbiter lets it only if there was no renewal since. No
    clock of the arbiter's decides anything, and clocks need not agree, only run alike: the two times
    are so far apart that they may drift by a tenth;
(3) a home that a person moves is given up first; the region that it is bound for takes it `TTL_S` after
    it saw that, when each replica of the former home has learned of it or has lapsed;
(4) each move raises the tenant's `term`, which never goes back. Effects carry it to their receivers
    (`enact/http_actions.py`), for what was under way when the lease lapsed.

A region that cannot enact (its database is away) does not renew, so that another one takes over.

Where there is no arbiter each region keeps lease and homes in its own database, and none takes over. (3) holds
all the same: the release comes to the other region's database after it was committed in the former home's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from mc_platform.enact.leases import boot_time
from mc_platform.errors import HomeElsewhere
from mc_platform.model.home import Home, HomeMove
from mc_platform.model.ids import TenantId
from mc_platform.observe import metrics

TTL_S = 3.0
HELD_S = 2.5
RENEW_S = 1.0
_WATCH_S, _LATE_S = 0.2, 1.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What the arbiter has.

    Attributes:
        changes: Raised with each change of a home.
        leases: Renewals by region.
        homes: By tenant; None: as they were at the `known` number of changes.
    """

    changes: int
    leases: Mapping[str, int]
    homes: Mapping[TenantId, Home] | None


class HomeStore(Protocol):
    """Homes and leases at rest; all methods block. Behind it: PostgreSQL; memory in tests.

    Any exception means that the store did not answer; what was asked may have been done.
    """

    def renew(self, region: str, tenants: Collection[TenantId], known: int) -> View:
        """Raise the region's lease, take those of `tenants` that have no home, and look."""

    def look(self, known: int) -> View:
        """Look, and change nothing."""

    def take_over(self, region: str, lapsed: str, renewals: int) -> int:
        """Take all homes of a region that has not renewed since; how many."""

    def claim(self, tenant: TenantId, region: str, term: int) -> bool:
        """Take a home that was given up for this region at that term."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What one look told; replaced as a whole, so that threads see one or the other."""

    homes: Mapping[TenantId, Home] = field(default_factory=lambda: MappingProxyType({}))
    changes: int = 0
    held_until_s: float = 0.0


class HomeKeeper:
    """Holds this region's homes, and takes over those of one whose lease lapsed.

    Implements `ports.Homes`. `beat` is one renewal; `start` has a thread of its own repeat it.

    Args:
        store: The arbiter, or the region's own database.
        region: This one's name.
        tenants: Those of the catalogue.
        able: Whether this replica could enact now; without that it does not renew.
        on_moved: Told each home that is another one than before; from the keeper's thread.
        takes_over: Whether lapsed regions' homes, and those of tenants without one, are taken; not
            where each region keeps the homes by itself, and so knows nothing of the other's lease.
        monotonic: A clock that goes on while the process is paused, and the machine sleeps.
    """

    def __init__(
        self,
        *,
        store: HomeStore,
        region: str,
        tenants: Collection[TenantId],
        able: Callable[[], bool],
        on_moved: Callable[[HomeMove], None] = lambda _move: None,
        takes_over: bool = True,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        self._store = store
        self._region = region
        self._tenants = frozenset(tenants)
        self._able = able
        self._on_moved = on_moved
        self._takes_over = takes_over
        self._monotonic = monotonic
        self._known = _Known()
        self._first_seen: dict[tuple[str, ...], tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="home-lease", daemon=True)

    # -- what others ask -----------------------------------------------------------------------

    def term(self, tenant: TenantId) -> int:
        """The term in which this region is the tenant's home, as last heard; 0 if it is not."""
        home = self._known.homes.get(tenant)
        mine = home is not None and home.region == self._region and home.bound_for is None
        return home.term if home is not None and mine else 0

    def held(self, tenant: TenantId, term: int) -> bool:
        """Whether this region is surely the tenant's home now, in that term."""
        known = self._known
        home = known.homes.get(tenant)
        return (
            home is not None
            and (home.region, home.bound_for, home.term) == (self._region, None, term)
            and self._monotonic() < known.held_until_s
        )

    def require(self, tenant: TenantId) -> int:
        """The term of the tenant's home, which is surely here.

        Raises:
            HomeElsewhere: it is not, or that is not sure now.
        """
        term = self.term(tenant)
        if term and self.held(tenant, term):
            return term
        raise self._elsewhere(tenant)

    def refer(self, tenant: TenantId) -> None:
        """Send on what another region can answer: return if the tenant's home was here when last heard.

        Raises:
            HomeElsewhere: it is another region.
        """
        home = self._known.homes.get(tenant)
        if home is not None and home.region != self._region:
            raise self._elsewhere(tenant)

    def homes(self) -> Mapping[TenantId, Home]:
        """All of them, as last heard."""
        return self._known.homes

    def sure(self) -> bool:
        """Whether the lease is surely held now."""
        return self._monotonic() < self._known.held_until_s

    def _elsewhere(self, tenant: TenantId) -> HomeElsewhere:
        home = self._known.homes.get(tenant)
        if home is None:
            return HomeElsewhere(
                f"the home of tenant {tenant} is not known here",
                hint="ask again; if it lasts, look at `mcctl home list`",
            )
        if home.bound_for is not None:
            return HomeElsewhere(
                f"the home of tenant {tenant} moves to region {home.bound_for}",
                hint="ask again in a few seconds",
            )
        if home.region == self._region:
            return HomeElsewhere(
                f"region {self._region} cannot renew its lease as home of tenant {tenant}",
                hint="ask again; nothing is enacted until the arbiter answers or a peer has taken over"
                if self._takes_over
                else "ask again; nothing is enacted until this region's database answers",
            )
        return HomeElsewhere(
            f"the home of tenant {tenant} is region {home.region}",
            hint=f"send it to region {home.region}",
            home=home.region,
        )

    # -- the lease -----------------------------------------------------------------------------

    def start(self) -> None:
        """Renew now if the arbiter answers, then keep on in a thread."""
        self._beat_or_tell()
        self._thread.start()

    def stop(self) -> None:
        """End the renewals. The lease lapses by itself: other replicas of the region may hold it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(TTL_S)
        self._known = _Known(self._known.homes, self._known.changes)

    def _run(self) -> None:
        while not self._stop.wait(_WATCH_S if self._waits() else RENEW_S):
            self._beat_or_tell()

    def _beat_or_tell(self) -> None:
        try:
            while self.beat():
                pass
        except Exception as error:  # noqa: BLE001 it must outlive any defect
            metrics.home_renewals.labels("failed").inc()
            _log.warning("homes were not renewed, trying again: %s", type(error).__name__)
        metrics.home_held.labels(self._region).set(self.sure())

    def beat(self) -> bool:
        """Renew and look once; whether homes were taken, of which another look is to tell."""
        before, asked_s = self._known, self._monotonic()
        if self._able():
            homeless = self._tenants - before.homes.keys() if before.changes else ()
            view = self._store.renew(
                self._region, homeless if self._takes_over else (), before.changes
            )
            held_until_s = asked_s + HELD_S
            metrics.home_renewals.labels("done").inc()
        else:
            view = self._store.look(before.changes)
            held_until_s = before.held_until_s
        heard_s = self._monotonic()
        homes = before.homes if view.homes is None else MappingProxyType(dict(view.homes))
        self._known = _Known(homes, view.changes, held_until_s)
        self._tell_moves(before.homes, homes)
        return self._take(view.leases, asked_s, heard_s) if self.sure() else False

    def _tell_moves(self, before: Mapping[TenantId, Home], homes: Mapping[TenantId, Home]) -> None:
        if before is homes:
            return
        for tenant, home in homes.items():
            former = before.get(tenant)
            if former is None or former.term != home.term:
                self._on_moved(HomeMove(tenant, home, known_before=former is not None))

    def _take(self, leases: Mapping[str, int], asked_s: float, heard_s: float) -> bool:
        """Take what may be taken now: each thing that has been seen, unchanged, for `TTL_S`."""
        homes = self._known.homes
        taken = False
        watched = {
            ("lease", region): renewals
            for region, renewals in leases.items()
            if self._takes_over and region != self._region
        } | {
            ("bound", tenant): home.term
            for tenant, home in homes.items()
            if home.bound_for == self._region
        }
        self._first_seen = {
            key: self._first_seen[key]
            if self._first_seen.get(key, (None,))[0] == number
            else (number, heard_s)
            for key, number in watched.items()
        }
        having = {home.region for home in homes.values()}
        for (kind, name), (number, since_s) in self._first_seen.items():
            if asked_s - since_s <= TTL_S:
                continue
            if kind == "bound":
                taken |= self._store.claim(TenantId(name), self._region, number)
            elif name in having:
                moved = self._store.take_over(self._region, name, number)
                if moved:
                    _log.warning("took over %d homes of region %s: its lease lapsed", moved, name)
                taken |= moved > 0
        return taken

    def _waits(self) -> bool:
        """Whether something may soon be taken, so that it is worth looking often."""
        now_s = self._monotonic()
        having = {home.region for home in self._known.homes.values()}
        return any(
            kind == "bound" or (name in having and now_s - since_s > _LATE_S)
            for (kind, name), (_, since_s) in self._first_seen.items()
        )
