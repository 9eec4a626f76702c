"""Homes of tenants over HTTP: an operator sees which region enacts for whom, and moves a home.

    GET  /operator/homes
    POST /operator/homes/move   {"tenant", "to": region, "reason"}

A move takes the home away from its region at once and gives it to the other one some seconds later, when
the former home has surely stopped (`enact/homes.py`); the list tells when it has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
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


class MoveBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whose home moves, where to, and why."""

    tenant: str
    to: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeHandlers(Handlers):
    """Answers them.

    Attributes:
        region: This one.
        register: None where there is one region.
        tenants: Those of the catalogue.
    """

    region: str
    register: HomeRegister | None
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
                "arbiter": self.register is not None,
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
                hint="set MC_ARBITER_URL in each region: docs/explanation/regions.md",
            )
        homes, regions = await self._all(register)
        home = homes.get(tenant)
        _require_possible(tenant, home, asked.to, regions)
        assert home is not None
        detail: dict[str, Any] = {
            "subject": decision.id,
            "reason": reason,
            "term": home.term,
            "home": home.region,
            "to": asked.to,
        }
        await self.recorder.record(Kind.home_move_requested, tenant, principal, decision, detail)
        if not await asyncio.to_thread(
            register.release, tenant, home.term, asked.to, principal=principal.id, reason=reason
        ):
            raise Conflict(
                f"the home of tenant {tenant} was moved meanwhile",
                hint="look at GET /operator/homes, and ask again if it still is to move",
            )
        body = {"tenant": tenant, "from": home.region, "to": asked.to, "term": home.term}
        return JSONResponse(body, status_code=202)

    async def _all(
        self, register: HomeRegister
    ) -> tuple[Mapping[TenantId, Home], Mapping[str, float]]:
        view = await asyncio.to_thread(register.look, 0)
        return dict(sorted((view.homes or {}).items())), await asyncio.to_thread(register.regions)


def _require_possible(
    tenant: TenantId, home: Home | None, to: str, regions: Mapping[str, float]
) -> None:
    if to not in regions:
        raise BadRequest(
            f"unknown region {to[:64]!r}", hint=f"known to the arbiter: {', '.join(regions)}"
        )
    if home is None:
        raise Conflict(
            f"tenant {tenant} has no home yet", hint="a region takes it when it renews its lease"
        )
    if (home.bound_for or home.region) == to:
        arrives = "moves there already" if home.bound_for else "is there already"
        raise Conflict(f"the home of tenant {tenant} {arrives}")
    if regions[to] > _LIVES_S:
        raise Conflict(
            f"region {to} has not renewed its lease for {regions[to]:.0f} s, and could not take it",
            hint="see that the region runs, and that it reaches the arbiter and its database",
        )
