"""How a replica fares: `/health`, `/metrics` and `/ledger/checkpoint`, and what they look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mc_platform.adapters.cedar.policy_reloader import PolicyReloader
from mc_platform.adapters.in_process import Downstreams
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.assembly.delivery import Delivery
from mc_platform.enact import HomeKeeper, OperationEngine
from mc_platform.errors import NotAuthenticated, PolicyDenied, RateLimited, Unavailable
from mc_platform.model.catalogue import Agent
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action
from mc_platform.observe.health import Health
from mc_platform.observe.scrape import Scrape
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.receive.detail import DETAIL
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.record import CheckpointKeeper

_Finding = tuple[bool, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Answers probes: strangers learn whether it serves, and who may read the platform all else.

    Attributes:
        identity: What `/health` says of this process.
        keep_s: For how long an answer of `/health` is kept.
        require_sound: Raises `Unavailable` while nothing may be recorded.
        delivery: What `siem` looks at.
        homes: None where there is one region.
    """

    identity: Callable[[], dict[str, Any]]
    keep_s: float
    pools: Pools
    journal: PostgresJournal
    require_sound: Callable[[], None]
    policies: PolicyReloader
    operations: OperationEngine
    delivery: Delivery
    agents: Sequence[Agent]
    downstream: Downstreams
    checkpoints: CheckpointKeeper
    enforcement: Enforcement
    principal_of: Callable[[Request], Principal]
    homes: HomeKeeper | None = None
    _scrape: Scrape = field(init=False, default_factory=Scrape)

    @cached_property
    def health(self) -> Health:
        """What `/health` answers with; its keys are the dependencies' names."""
        return Health(
            identity=self.identity,
            vital={
                "postgres": self._postgres,
                "ledger": self._ledger,
                "policy": self._policy,
                "operations": self._engine,
            },
            other={
                "siem": self._siem,
                "agents": self._each_agent,
                **({} if self.homes is None else {"homes": self._homes}),
            },
            keep_s=self.keep_s,
        )

    def routes(self) -> list[Route]:
        """The routes, for the application to mount."""
        return [
            Route("/health", self._get_health),
            Route("/metrics", self._get_metrics),
            Route("/ledger/checkpoint", self._get_checkpoint),
        ]

    async def _postgres(self) -> _Finding:
        return await self.pools.alive(), {}

    async def _ledger(self) -> _Finding:
        try:
            self.require_sound()
            return True, {"size": (await self.journal.head()).size}
        except Unavailable as error:
            return False, {"reason": error.message}

    async def _policy(self) -> _Finding:
        return True, self.policies.state()

    async def _engine(self) -> _Finding:
        return self.operations.healthy(), {"running": self.operations.pending_count()}

    async def _siem(self) -> _Finding:
        shipper = self.delivery.shipper
        if shipper is None or not self.delivery.sends:
            state = "events stay in the ledger" if shipper is None else shipper.state
            return False, {"reason": "AUDIT_SIEM_URL is not set", "shipper": state}
        return shipper.region()

    async def _homes(self) -> _Finding:
        assert self.homes is not None
        here = sum(1 for tenant in self.homes.homes() if self.homes.term(tenant))
        detail: dict[str, Any] = {"here": here, "known": len(self.homes.homes())}
        if not self.homes.sure():
            detail["reason"] = "this region's lease is not renewed"
        return self.homes.sure(), detail

    async def _each_agent(self) -> _Finding:
        answers = await asyncio.gather(*(self.downstream.alive(agent.url) for agent in self.agents))
        states = {
            agent.name: "ok" if answer else "down"
            for agent, answer in zip(self.agents, answers, strict=True)
        }
        return all(answers), {"each": states}

    async def _get_health(self, request: Request) -> Response:
        """200 while it serves, else 503."""
        try:
            await self._require_detail(request)
        except (NotAuthenticated, PolicyDenied, RateLimited):
            known = PRINCIPAL in request.scope["state"]
            status, body = await self.health.look(detail=False, known=known)
        else:
            status, body = await self.health.look()
        return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})

    async def _get_metrics(self, request: Request) -> Response:
        """All metrics, for a scraper."""
        await self._require_detail(request)
        return Response(await self._scrape.text(), media_type=CONTENT_TYPE_LATEST)

    async def _get_checkpoint(self, _request: Request) -> Response:
        """The newest signed checkpoint; public, as it is there to be compared."""
        return PlainTextResponse(await self.checkpoints.current())

    async def _require_detail(self, request: Request) -> None:
        """See that the client is local, a scraper, or may read what concerns all tenants.

        Raises:
            NotAuthenticated, PolicyDenied, RateLimited.
        """
        state = request.scope["state"]
        if state[DETAIL]:
            return
        if PRINCIPAL not in state:
            raise NotAuthenticated(
                "this is for clients of this machine, and for whoever has a credential",
                hint="send the scrape credential (MC_SCRAPE_TOKEN_FILE), an operator's or an "
                "auditor's as `Authorization: Bearer <token>`",
            )
        await self.enforcement.permit(
            self.principal_of(request), Action.read_ledger, refused_as=None
        )
