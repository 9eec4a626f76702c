"""The composition root: settings in, ASGI app out. The only module that names adapters.

One `Workbench` is one replica: it opens its dependencies in order, runs its background work
(checkpoints, delivery, abandoned tasks), and closes them in reverse, draining what is under way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Self

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from mc_contract import connections
from mc_platform.adapters.cedar.policy_reloader import PolicyReloader
from mc_platform.adapters.dataset_http import HttpRows
from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.adapters.http import BlockingLanes
from mc_platform.adapters.in_process import Downstreams, InProcessAgents
from mc_platform.adapters.postgres.autonomy import PostgresAutonomy
from mc_platform.adapters.postgres.epochs import logs_of
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.leases import PostgresLeases
from mc_platform.adapters.postgres.ledger import PostgresLedger
from mc_platform.adapters.postgres.operation_records import PostgresOperationRecords
from mc_platform.adapters.postgres.operations import PostgresOperations
from mc_platform.adapters.postgres.pools import Pools, PostgresDirectory
from mc_platform.adapters.postgres.retention import PostgresRetention
from mc_platform.adapters.postgres.rules import PostgresRules
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.adapters.spacy_pipeline import load_recogniser
from mc_platform.adapters.worker_processes import WorkerProcesses
from mc_platform.assembly.background import (
    Announcements,
    Background,
    every,
    keep_partitions,
    sweep,
)
from mc_platform.assembly.delivery import delivery
from mc_platform.assembly.engine_bridge import EngineBridge, breaker
from mc_platform.assembly.handlers import governed_routes, redacted_text
from mc_platform.assembly.homes import homes_here
from mc_platform.assembly.keys import open_keys, signer_memory
from mc_platform.assembly.probes import Probes
from mc_platform.assembly.regions import Heartbeat
from mc_platform.assembly.retention import Retention
from mc_platform.assembly.sync_tenants import sync_tenants
from mc_platform.assembly.takeovers import Takeovers
from mc_platform.assembly.witnessing import read_witnesses, witnessing
from mc_platform.authenticate import Authenticator, GuardedAuthenticator
from mc_platform.bulkheads import Messages
from mc_platform.enact import ENGINE_SCHEMA, HomeKeeper, OperationEngine
from mc_platform.errors import LedgerDamaged, PlatformError
from mc_platform.model.shape import ShapeLimits
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.observe import metrics
from mc_platform.observe.identity import Running
from mc_platform.observe.stalls import watch_loop
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.pipeline.examine import ExaminationRoom, Examiner
from mc_platform.receive import FastPath, GatewayMiddleware, GovernedRequestHandler, a2a_routes
from mc_platform.receive.connections import Connections
from mc_platform.receive.detail import DetailRule
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.held_answers import HeldAnswers
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.pass_on import PassOn
from mc_platform.receive.peers import Peers
from mc_platform.receive.routes import agent_card
from mc_platform.receive.wire_errors import answer
from mc_platform.record import (
    AuditRecorder,
    CheckpointKeeper,
    EventFactory,
    Prover,
    TileKeeper,
)
from mc_platform.request_path import RequestPath
from mc_platform.screen import LibraryScreener
from mc_platform.screen.detectors.tenant_terms import know_customer_ids
from mc_platform.screen.warm import warm
from mc_platform.settings import Settings, open_catalogue

VERSION = version("mc-platform")
_POLICIES_S = 2.0
_SWEEP_S = 15.0
_TILES_S = 5.0
_UNTOLD_S = 5.0
_RETENTION_S = 60.0
_MOVES_S = 1.0
_DRAIN_LOOK_S = 0.05
_QUIET_S = 2.0  # a connection without a request for so long gets none while it is being closed
_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


def _begin_metrics(tenants: Iterable[Tenant]) -> None:
    known = list(tenants)
    own = [tenant.id for tenant in known if not tenant.generally_available]
    metrics.begin([tenant.id for tenant in known], own=own)


class Workbench:
    """One replica of the service, assembled.

    Args:
        logs: The region's logs, the oldest epoch's first; by default the first epoch's alone.
    """

    # Made when it opens
    _probes: Probes
    _downstream: Downstreams
    _path: RequestPath
    _handler: GovernedRequestHandler

    def __init__(self, settings: Settings, logs: Sequence[str] = ()) -> None:
        # Over 60 lines: each part is made once, in the order in which parts need each other
        self._settings = settings
        self._logs = tuple(logs) or (settings.region,)
        self._background = Background()
        self._catalogue_file = open_catalogue(settings.catalogue)
        self._catalogue = self._catalogue_file.catalogue
        self._keys = open_keys(settings, self._catalogue, self._logs[-1])
        _begin_metrics(self._catalogue.tenants.values())
        database_url = settings.database_url.get_secret_value()

        self._pools = Pools(database_url=database_url, application_name=settings.replica)
        self._tasks = PostgresTasks(self._pools)
        self._delivery = delivery(settings, self._pools, VERSION, self._logs)
        self._shipper = self._delivery.shipper
        self._journal = PostgresJournal(
            self._pools,
            region=self._logs[-1],
            on_committed=self._shipper.wake if self._shipper else None,
            require_sound=self._require_sound,
        )
        self._rules = PostgresRules(
            self._pools, journal=self._journal, region=settings.region, replica=settings.replica
        )
        self._events = EventFactory(clock=_now)
        self._announcements = Announcements(settings.replica, self._journal, self._events)
        self._policies = PolicyReloader.load(
            settings.policy_dir,
            on_changed=self._policy_changed,
            on_refused=self._announcements.policy_refused,
            tenants=len(self._catalogue.tenants),
        )
        self._ledger = PostgresLedger(self._pools, region=self._logs[-1])
        self._tiles = TileKeeper(self._ledger)
        self._prover = Prover(self._ledger, self._tiles)
        self._checkpoints = CheckpointKeeper(
            region=self._logs[-1],
            keys=self._keys.signing,
            log=self._journal,
            proof=self._prover.consistency,
            memory=signer_memory(settings, self._logs[-1]),
            interval_s=settings.checkpoint_interval_s,
            on_rebuilt=self._announcements.signer_rebuilt,
        )
        self._keys.checkpoints = self._checkpoints
        self._autonomy = PostgresAutonomy(self._pools, journal=self._journal)
        self._operation_rows = PostgresOperations(
            self._pools, region=self._logs[-1], former=self._logs[:-1]
        )
        self._breaker = breaker(
            settings, self._catalogue.tenants.values(), self._autonomy, self._operation_rows
        )
        self._authenticator = GuardedAuthenticator(
            Authenticator(
                directory=PostgresDirectory(self._pools),
                tenants=self._catalogue.tenants,
                cache_s=settings.credential_cache_s,
            ),
            per_min=settings.authentication_failures_per_min,
            burst=settings.authentication_failures_burst,
        )
        self._peers = Peers(settings.proxies, loopback_is_local=settings.loopback_is_local)
        self._detail = DetailRule(settings.scrape_token_file)
        self._witnessing = witnessing(
            settings,
            read_witnesses(settings, self._keys.signing),
            log=self._logs[-1],
            pools=self._pools,
            checkpoints=self._checkpoints,
            prover=self._prover,
            peers=self._peers,
            clock=_now,
        )
        self._connections = Connections(
            port=settings.port,
            total=settings.connections,
            per_peer=settings.connections_per_peer,
            trusts=self._peers.trusts,
            idle_timeout_s=settings.head_timeout_s,
            write_timeout_s=settings.write_timeout_s,
        )
        self._recorder = AuditRecorder(self._journal, _now)
        self._enforcement = Enforcement(
            catalogue=self._catalogue, decisions=self._policies, recorder=self._recorder
        )
        self._rows = HttpRows()
        entities = load_recogniser(settings.ner_pipeline)
        self._screener = LibraryScreener(entities=entities)
        warm(self._screener)
        self._examiner = Examiner(
            screener=self._screener,
            digester=self._keys.digester,
            fingerprints=self._keys.fingerprints,
            pseudonyms=self._keys.pseudonyms,
            entities=entities,
        )
        self._records = PostgresOperationRecords(self._pools)
        self._bridge = EngineBridge(
            records=self._records,
            journal=self._journal,
            tasks=self._tasks,
            autonomy=self._autonomy,
            examiner=self._examiner,
        )
        self._homes = homes_here(
            settings,
            self._catalogue.tenants,
            able=self._may_enact,
            journal=self._journal,
            events=self._events,
        )
        self._copies = sync_tenants(
            settings,
            self._catalogue.tenants,
            pools=self._pools,
            journal=self._journal,
            events=self._events,
        )
        self._operations = OperationEngine(
            database_url=database_url,
            executor_id=settings.replica,
            application_version=settings.application_version or VERSION,
            catalogue=self._catalogue,
            http=BlockingLanes(),
            leases=PostgresLeases(
                database_url,
                engine_schema=ENGINE_SCHEMA,
                application_name=f"{settings.replica}:lease",
            ),
            pool_size=connections.ENGINE,
            max_concurrent=settings.operations_at_once,
            max_concurrent_per_tenant=settings.operations_at_once_per_tenant,
            record_blocking=self._bridge.record,
            load_task=self._bridge.load_task,
            seals=self._keys.sealer,
            halted=self._bridge.halted,
            homes=self._keeper,
            recorded=self._bridge.recorded,
            release=self._bridge.release,
            on_finished=lambda request, report: metrics.count_operation(request.tenant, report),
            clock=_now,
        )
        self._retention = Retention(
            rows=PostgresRetention(self._pools),
            engine=self._operations,
            journal=self._journal,
            events=self._events,
            clock=_now,
            tenants=self._catalogue.tenants.values(),
            days=settings.retention_days,
            interval_s=settings.retention_interval_s,
            window_s=settings.breaker_window_s,
        )
        self._workers = WorkerProcesses(
            count=settings.worker_processes,
            deadline_s=settings.worker_deadline_s,
            at_start=partial(know_customer_ids, self._catalogue.customer_ids.patterns),
        )
        self._limiter = RateLimiter(
            rate_per_s=settings.rate_limit_per_s, burst=settings.rate_limit_burst
        )
        self._room = ExaminationRoom(
            self._examiner,
            self._workers,
            queued_per_tenant=settings.large_messages_queued_per_tenant,
            charge=self._limiter.spend,
        )
        self._shape = ShapeLimits(values=settings.max_json_values, depth=settings.max_json_depth)
        self._running = Running(
            settings,
            version=VERSION,
            catalogue=self._catalogue_file.digest,
            policy_set=lambda: self._policies.digest,
            keys=self._keys.digest,
            entities=entities.identity if entities else "",
        )
        self._here = InProcessAgents(
            self._catalogue.agents.values(),
            shape=self._shape,
            apart=self._room.apart,
            at_once=settings.questions_at_once_per_agent,
        )

    @classmethod
    async def of(cls, settings: Settings) -> Self:
        """The replica of the region's newest epoch, as its database says.

        Raises:
            Misconfigured, Unavailable.
        """
        url = settings.database_url.get_secret_value()
        return cls(settings, await logs_of(url, settings.region))

    async def open(self) -> ASGIApp:
        """Connect, recover, begin background work; the app may serve when this returns.

        Raises:
            Misconfigured, Unavailable: nothing was left running.
        """
        settings = self._settings
        await self._pools.open()
        await self._journal.start()
        self._keys.require_continued(await self._rules.held("keyring"))
        self._downstream = Downstreams(
            A2ADownstream(shape=self._shape, apart=self._room.apart), self._here
        )
        await self._checkpoints.begin()
        self._path = RequestPath(
            catalogue=self._catalogue,
            room=self._room,
            enforcement=self._enforcement,
            journal=self._journal,
            tasks=self._tasks,
            downstream=self._downstream,
            operations=self._operations,
            autonomy=self._autonomy,
            budgets=self._operation_rows,
            events=self._events,
            identity=self._keys.identity,
            digester=self._keys.digester,
            sealer=self._keys.sealer,
            clock=_now,
            operation_wait_s=settings.operation_wait_s,
            messages=Messages(
                tenants=len(self._catalogue.tenants),
                per_tenant=settings.questions_at_once_per_tenant,
                per_agent=settings.questions_at_once_per_agent,
                operations=settings.operations_awaited_per_tenant,
                wait_s=settings.slot_wait_s,
            ),
            homes=self._keeper,
            copies=self._copies,
        )
        self._bridge.connect(self._path)
        await self._operations.launch()
        if self._homes is not None:
            await asyncio.to_thread(self._homes.keeper.start)
        self._start_background()
        self._probes = self._make_probes()
        card = agent_card(
            public_url=settings.public_url, version=VERSION, catalogue=self._catalogue
        )
        self._handler = GovernedRequestHandler(
            path=self._path, tasks=self._tasks, limiter=self._limiter, card=card
        )
        served = Starlette(
            routes=[*self.routes(), *a2a_routes(self._handler, card)],
            exception_handlers={PlatformError: answer, HTTPException: answer, Exception: answer},
        )
        served.router.redirect_slashes = False  # it would redirect to whatever `Host` says
        app: ASGIApp = FastPath(served, self._handler)
        if self._copies is not None:
            app = HeldAnswers(app, self._copies)
        if self._homes is not None:
            app = PassOn(app, self._homes.peers, settings.region, self._homes.slots)
        return GatewayMiddleware(
            app,
            authenticator=self._authenticator,
            peers=self._peers,
            detail=self._detail,
            connections=self._connections,
            max_body_bytes=settings.max_body_bytes,
            shape=self._shape,
            body_timeout_s=settings.body_timeout_s,
            tenants=frozenset(str(tenant) for tenant in self._catalogue.tenants),
            slow_factor=settings.fault_slow_factor,
            error_ratio=settings.fault_error_ratio,
        )

    async def drain(self) -> None:
        """Serve on until clients have gone elsewhere and all work has ended, for at most `MC_DRAIN_S`.

        Load balancers are told by `/health`, clients by each answer, which closes its connection.
        Whoever still waits for an operation's end is then answered with its task as it stands.
        """
        self._probes.health.draining = True
        self._connections.closing = True
        self._operations.retire()
        deadline = time.monotonic() + self._settings.drain_s
        while self._busy() and time.monotonic() < deadline:  # noqa: ASYNC110 threads and sockets
            await asyncio.sleep(_DRAIN_LOOK_S)
        self._path.open_tasks.leaving.set()

    def _busy(self) -> bool:
        under_way = self._handler.busy or self._operations.pending_count() > 0
        return under_way or not self._connections.quiet(_QUIET_S)

    async def close(self) -> None:
        """Leave what has not ended to others, then close in reverse order; one failure stops no other."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._handler.stop,
            partial(self._operations.shutdown, 0.0),
            *(() if self._homes is None else self._homes.closing),
            self._background.stop,
            self._journal.stop,
            self._downstream.close,
            self._workers.close,
            self._rows.close,
            self._witnessing.outgoing.close,
            *self._delivery.closing,
            self._pools.close,
        )
        for step in steps:
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - the rest must be closed all the same
                _log.error("close_failed", exc_info=error)

    def _may_enact(self) -> bool:
        return self._operations.healthy()

    @property
    def _keeper(self) -> HomeKeeper | None:
        return None if self._homes is None else self._homes.keeper

    def _make_probes(self) -> Probes:
        return Probes(
            identity=self._running.identity,
            keep_s=self._settings.health_cache_s,
            pools=self._pools,
            journal=self._journal,
            require_sound=self._require_sound,
            policies=self._policies,
            operations=self._operations,
            delivery=self._delivery,
            agents=list(self._catalogue.agents.values()),
            downstream=self._downstream,
            checkpoints=self._checkpoints,
            enforcement=self._enforcement,
            principal_of=self._principal_of,
            homes=self._keeper,
        )

    def _start_background(self) -> None:
        agents = self._catalogue.agents.values()
        sweeping = partial(sweep, self._tasks, self._path.open_tasks, agents, _now)
        untold = self._autonomy.record_untold
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "checkpoints": self._checkpoints.run,
            "tiles": partial(every, _TILES_S, self._tiles.keep, "tiles_postponed"),
            "partitions": partial(keep_partitions, self._ledger),
            "sweep": partial(every, _SWEEP_S, sweeping, "sweep_postponed"),
            "policies": partial(every, _POLICIES_S, self._policies.look, "policies_not_looked_at"),
            "keys": partial(every, _POLICIES_S, self._look_at_keys, "keys_not_looked_at"),
            "connections": self._connections.watch,
            "switches": partial(every, _UNTOLD_S, untold, "switches_not_recorded_yet"),
            "breaker": partial(
                every,
                self._settings.breaker_interval_s,
                self._breaker.look,
                "breaker_could_not_look",
            ),
            "rules": self._announce_rules,
            "retention": partial(every, _RETENTION_S, self._retention.look, "retention_postponed"),
            "heartbeat": Heartbeat(self._pools).run,
            "stalls": watch_loop,
        }
        if self._homes is not None:
            record = self._homes.moves.record_untold
            works["homes"] = partial(every, _MOVES_S, record, "moves_not_recorded_yet")
            takeovers = Takeovers(
                region=self._settings.region,
                keeper=self._homes.keeper,
                records=self._records,
                engine=self._operations,
                journal=self._journal,
                events=self._events,
            )
            works["takeovers"] = partial(every, _MOVES_S, takeovers.look, "takeovers_postponed")
        if self._copies is not None:
            works["copies"] = self._copies.run
            record = self._copies.record_untold
            works["degradation"] = partial(every, _MOVES_S, record, "degradation_not_recorded_yet")
        if self._shipper is not None:
            works["shipper"] = self._shipper.run
        cosigner = self._witnessing.cosigner
        if cosigner is not None:
            works["witnesses"] = partial(
                every, self._settings.witness_interval_s, cosigner.look, "cosigning_postponed"
            )
        for name, work in works.items():
            self._background.start(name, work)

    async def _policy_changed(self, _old: str, new: str, _reason: str) -> None:
        """Tell the ledger that another policy set is in force: once a region, by who is first."""
        await self._rules.note("policy_set", new, self._policies.held())

    async def _look_at_keys(self) -> None:
        """Take the keys that the files have now, and tell the ledger of a change."""
        if await self._keys.look():
            await self._note_keys()

    async def _note_keys(self) -> None:
        await self._rules.note("keyring", self._keys.digest(), self._keys.view())

    async def _announce_rules(self) -> None:
        """Tell the ledger of rules that came into force while nothing ran, then of the rest."""
        await self._rules.note("policy_set", self._policies.digest, self._policies.held())
        await self._rules.note("catalogue", self._catalogue_file.digest, self._catalogue_file.held)
        await self._note_keys()
        await every(_UNTOLD_S, self._rules.record_untold, "rule_changes_not_recorded_yet")

    def _require_sound(self) -> None:
        """Nothing is recorded in a log that is not the one that was signed or delivered."""
        self._checkpoints.require_sound()
        if self._shipper is not None and self._shipper.damage is not None:
            raise LedgerDamaged(
                self._shipper.damage, hint="docs/explanation/ledger.md, The signer refuses"
            )

    def routes(self) -> list[Route]:
        """All routes but those of A2A."""
        shared = {
            "principal_of": self._principal_of,
            "enforcement": self._enforcement,
            "recorder": self._recorder,
            "redact": partial(redacted_text, self._screener),
        }
        return [
            *self._probes.routes(),
            *self._witnessing.routes(),
            *governed_routes(
                shared,
                settings=self._settings,
                catalogue=self._catalogue,
                pools=self._pools,
                tasks=self._tasks,
                operations=self._operation_rows,
                engine=self._operations,
                autonomy=self._autonomy,
                breaker=self._breaker,
                reveal=self._room.revealed if self._keys.pseudonyms else None,
                rules=self._rules,
                forget_credential=self._authenticator.forget,
                ledger=self._ledger,
                former=[PostgresLedger(self._pools, region=log) for log in self._logs[:-1]],
                prover=self._prover,
                checkpoints=self._checkpoints,
                rows=self._rows,
                keys=self._keys,
                digests=self._keys.aggregates,
                homes=self._homes,
            ),
        ]

    def _principal_of(self, request: Request) -> Principal:
        """Who sent a request, at the price of one token of its tenant's rate."""
        principal: Principal = request.scope["state"][PRINCIPAL]
        self._limiter.admit(principal.tenant)
        return principal
