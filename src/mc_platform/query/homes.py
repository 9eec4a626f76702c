"""Homes of tenants over HTTP: an operator sees which region enacts for whom, and moves a home.

    GET  /operator/homes
    POST /operator/homes/move   {"tenant", "to": region, "reason", "force"?: true}

A move takes the home away from its region at once and gives it to the other one some seconds later, when
the former home has surely stopped (`enact/homes.py`); the list tells when it has arrived. Where there is no
arbiter the home itself gives it up: another region passes the request on. `force` makes the region that is asked
the home at once, whatever became of the former one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_platform.enact.homes import View
from mc_platform.errors import BadRequest, Conflict
from mc_platform.model.event import Kind
from mc_platform.model.home import Home
from mc_platform.model.ids import TenantId
from mc_platform.model.verdict import Action
from mc_platform.ports import Homes
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import fields_json, known_tenant, read_body
from mc_platform.query.parameters import refuse_unknown

_LIVES_S = 10.0


class HomeRegister(Protocol):
    """The arbiter, as a person uses it; all methods block. All raise Unavailable."""

    def look(self, known: int) -> View:
        """Leases and homes; 0: all of them."""

    def regions(self) -> Mapping[str, float]:
        """Regions, each with the age in seconds of its last renewal."""

    def release(self, tenant: str, term: int, target: str, *, principal: str, reason: str) -> bool:
        """Have the home give a tenant up for a region; False if it was moved meanwhile."""


class HomeTaker(Protocol):
    """A region's own register, where a person decides; blocks, and raises Unavailable."""

    def seize(self, tenant: str, region: str, term: int, *, principal: str, reason: str) -> bool:
        """Make the region the home behind that term; False if it was moved meanwhile."""


class MoveBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whose home moves, where to, and why."""

    tenant: str
    to: str
    reason: str
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeHandlers(Handlers):
    """Answers them.

    Attributes:
        region: This one.
        register: None where there is one region.
        by_person: The register, if a person decides; None: the arbiter does.
        homes: What this replica knows of them.
        tenants: Those of the catalogue.
    """

    region: str
    register: HomeRegister | None
    by_person: HomeTaker | None
    homes: Homes | None
    tenants: frozenset[TenantId]

    def routes(self) -> list[Route]:
        return [
            Route("/operator/homes", self.listed, methods=["GET"]),
            Route("/operator/homes/move", self.move, methods=["POST"]),
        ]

    async def listed(self, request: Request) -> Response:
        await self.permit(request, Action.read_operations)
        refuse_unknown(request)
        regions: Mapping[str, float] = {}
        homes: Mapping[TenantId, Home] = {}
        if self.register is not None:
            homes, regions = await self._all(self.register)
        return JSONResponse(
            {
                "region": self.region,
                "decided_by": None
                if self.register is None
                else "person"
                if self.by_person
                else "arbiter",
                "regions": [
                    {"region": name, "renewed_s_ago": round(age_s, 1)}
                    for name, age_s in regions.items()
                ],
                "homes": [
                    {"tenant": tenant, **fields_json(home)} for tenant, home in homes.items()
                ],
            }
        )

    async def move(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.move_home)
        asked = await read_body(request, MoveBody)
        tenant = known_tenant(asked.tenant, self.tenants)
        reason = self.reason(asked.reason)
        register = self.register
        if register is None:
            raise Conflict(
                "there is one region, and it is every tenant's home",
                hint="set MC_PEERS_FILE in each region: docs/explanation/regions.md",
            )
        homes, regions = await self._all(register)
        home = homes.get(tenant)
        if asked.to not in regions:
            raise BadRequest(
                f"unknown region {asked.to[:64]!r}",
                hint=f"known: {', '.join(regions)}"
                if regions
                else "no region is known: `python -m mc_platform replication setup` gives this one a peer",
            )
        if asked.force:
            change = self._seizing(asked.to, tenant, home)
        else:
            home = self._require_possible(tenant, home, asked.to, regions[asked.to])
            change = partial(register.release, tenant, home.term, asked.to)
        term, former = (home.term, home.region) if home else (0, None)
        detail: dict[str, Any] = {
            "subject": decision.id,
            "reason": reason,
            "term": term,
            "home": former,
            "to": asked.to,
            **({"force": True} if asked.force else {}),
        }
        await self.recorder.record(Kind.home_move_requested, tenant, principal, decision, detail)
        if not await asyncio.to_thread(change, principal=principal.id, reason=reason):
            raise Conflict(
                f"the home of tenant {tenant} was moved meanwhile",
                hint="look at GET /operator/homes, and ask again if it still is to move",
            )
        body = {"tenant": tenant, "from": former, "to": asked.to, "term": term}
        return JSONResponse(body, status_code=202)

    async def _all(
        self, register: HomeRegister
    ) -> tuple[Mapping[TenantId, Home], Mapping[str, float]]:
        view = await asyncio.to_thread(register.look, 0)
        return dict(sorted((view.homes or {}).items())), await asyncio.to_thread(register.regions)

    def _require_possible(
        self, tenant: TenantId, home: Home | None, to: str, silent_s: float
    ) -> Home:
        """The home that is given up.

        Raises:
            Conflict: it cannot be moved there.
            HomeElsewhere: a person decides, and it is another region that gives it up.
        """
        if home is None:
            raise Conflict(
                f"tenant {tenant} has no home yet",
                hint=f"`mcctl home move --force` in region {to} makes that the first"
                if self.by_person
                else "a region takes it when it renews its lease",
            )
        if (home.bound_for or home.region) == to:
            arrives = "moves there already" if home.bound_for else "is there already"
            raise Conflict(f"the home of tenant {tenant} {arrives}")
        if self.by_person and self.homes is not None:
            self.homes.refer(tenant)
            if home.bound_for is not None:
                raise Conflict(
                    f"region {self.region} gave the home of tenant {tenant} up for {home.bound_for}",
                    hint=f"wait until {home.bound_for} has it; if that is lost, take it back by `--force`",
                )
        if silent_s > _LIVES_S:
            raise Conflict(
                f"region {to} was not heard of for {silent_s:.0f} s, and could not take it",
                hint="see that the region runs, and that it reaches its database and "
                + ("this region" if self.by_person else "the arbiter"),
            )
        return home

    def _seizing(self, to: str, tenant: TenantId, home: Home | None) -> Callable[..., bool]:
        if self.by_person is None:
            raise BadRequest(
                "a home is not taken by force where there is an arbiter",
                hint="leave `force` out: of a region that is lost the arbiter gives homes to the other one",
            )
        if to != self.region:
            raise BadRequest(
                f"region {self.region} cannot make region {to} the home by force",
                hint=f"ask region {to}, which then is the home",
            )
        if home is not None and (home.region, home.bound_for) == (to, None):
            raise Conflict(f"the home of tenant {tenant} is there already")
        return partial(self.by_person.seize, tenant, to, home.term if home else 0)
