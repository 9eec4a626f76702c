"""How a replica fares: `/health`, `/metrics` and `/ledger/checkpoint`, and what they look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mc_platform.adapters.cedar.policy_keeper import PolicyKeeper
from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.deliver import Shipper
from mc_platform.enact import OperationEngine
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
from mc_platform.settings import Settings

_Finding = tuple[bool, dict[str, Any]]


class Probes:
    """Looks at each dependency; the keys of what they find are those of `/health`.

    Args:
        require_sound: Raises `Unavailable` while nothing may be recorded.
        shipper: None where nothing delivers.
        sends: Whether the shipper has a SIEM.
    """

    def __init__(
        self,
        *,
        pools: Pools,
        journal: PostgresJournal,
        require_sound: Callable[[], None],
        policies: PolicyKeeper,
        operations: OperationEngine,
        shipper: Shipper | None,
        sends: bool,
        agents: Mapping[Any, Agent],
        downstream: A2ADownstream,
    ) -> None:
        self._pools = pools
        self._journal = journal
        self._require_sound = require_sound
        self._policies = policies
        self._operations = operations
        self._shipper = shipper
        self._sends = sends
        self._agents = list(agents.values())
        self._downstream = downstream

    def health(self, *, identity: Callable[[], dict[str, Any]], keep_s: float) -> Health:
        """What `/health` answers with."""
        return Health(
            identity=identity,
            vital={
                "postgres": self._postgres,
                "ledger": self._ledger,
                "policy": self._policy,
                "operations": self._engine,
            },
            other={"siem": self._siem, "agents": self._each_agent},
            keep_s=keep_s,
        )

    async def _postgres(self) -> _Finding:
        return await self._pools.alive(), {}

    async def _ledger(self) -> _Finding:
        try:
            self._require_sound()
            return True, {"size": (await self._journal.head()).size}
        except Unavailable as error:
            return False, {"reason": error.message}

    async def _policy(self) -> _Finding:
        return True, self._policies.state()

    async def _engine(self) -> _Finding:
        return self._operations.healthy(), {"running": self._operations.pending_count()}

    async def _siem(self) -> _Finding:
        if self._shipper is None or not self._sends:
            state = "events stay in the ledger" if self._shipper is None else self._shipper.state
            return False, {"reason": "AUDIT_SIEM_URL is not set", "shipper": state}
        return self._shipper.region()

    async def _each_agent(self) -> _Finding:
        answers = await asyncio.gather(
            *(self._downstream.alive(agent.url) for agent in self._agents)
        )
        states = {
            agent.name: "ok" if answer else "down"
            for agent, answer in zip(self._agents, answers, strict=True)
        }
        return all(answers), {"each": states}


class ProbeHandlers:
    """Answers probes: strangers learn whether it serves, and who may read the platform all else."""

    def __init__(
        self,
        *,
        health: Health,
        checkpoints: CheckpointKeeper,
        enforcement: Enforcement,
        principal_of: Callable[[Request], Principal],
    ) -> None:
        self._health = health
        self._checkpoints = checkpoints
        self._enforcement = enforcement
        self._principal_of = principal_of
        self._scrape = Scrape()

    def routes(self) -> list[Route]:
        """The routes, for the application to mount."""
        return [
            Route("/health", self.health),
            Route("/metrics", self.metrics),
            Route("/ledger/checkpoint", self.checkpoint),
        ]

    async def health(self, request: Request) -> Response:
        """200 while it serves, else 503."""
        try:
            self._require_detail(request)
        except (NotAuthenticated, PolicyDenied, RateLimited):
            known = PRINCIPAL in request.scope["state"]
            status, body = await self._health.look(detail=False, known=known)
        else:
            status, body = await self._health.look()
        return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        """All metrics, for a scraper."""
        self._require_detail(request)
        return Response(await self._scrape.text(), media_type=CONTENT_TYPE_LATEST)

    async def checkpoint(self, _request: Request) -> Response:
        """The newest signed checkpoint; public, as it is there to be compared."""
        return PlainTextResponse(await self._checkpoints.current())

    def _require_detail(self, request: Request) -> None:
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
        self._enforcement.require(self._principal_of(request), Action.read_ledger)


def faults(settings: Settings) -> dict[str, float]:
    """Fault switches that are on."""
    return {
        name: value
        for name, value, neutral in (
            ("slow_factor", settings.fault_slow_factor, 1.0),
            ("error_ratio", settings.fault_error_ratio, 0.0),
        )
        if value != neutral
    }
