"""The composition root: settings in, ASGI app out. The only module that names adapters.

One `Workbench` is one replica: it opens its dependencies in order, runs its background work
(checkpoints, delivery, abandoned tasks), and closes them in reverse, draining what is under way.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mc_contract.checkpoint import Checkpoint
from mc_contract.rule_changes import held_document
from mc_platform.adapters.audit_file import AuditFile
from mc_platform.adapters.dataset_http import HttpRows
from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.adapters.http import BlockingLanes
from mc_platform.adapters.policy_keeper import PolicyKeeper
from mc_platform.adapters.postgres import Pools, PostgresDirectory, PostgresTasks
from mc_platform.adapters.postgres_autonomy import PostgresAutonomy
from mc_platform.adapters.postgres_break_glass import PostgresBreakGlass
from mc_platform.adapters.postgres_budget import PostgresBook
from mc_platform.adapters.postgres_credentials import PostgresCredentials
from mc_platform.adapters.postgres_dead_letters import PostgresDeadLetters
from mc_platform.adapters.postgres_journal import PostgresJournal
from mc_platform.adapters.postgres_leases import PostgresLeases
from mc_platform.adapters.postgres_ledger import PostgresLedger
from mc_platform.adapters.postgres_operations import PostgresOperations
from mc_platform.adapters.postgres_outbox import PostgresOutbox
from mc_platform.adapters.postgres_records import PostgresRecords
from mc_platform.adapters.postgres_rules import PostgresRules
from mc_platform.adapters.siem import SiemSink, siem_sink
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.adapters.worker_processes import WorkerProcesses
from mc_platform.aggregate import Aggregates
from mc_platform.authenticate import Authenticator, GuardedAuthenticator
from mc_platform.bulkheads import Messages, Slots
from mc_platform.decide import record_question
from mc_platform.deliver import Shipper
from mc_platform.enact import (
    ENGINE_SCHEMA,
    Breaker,
    Limits,
    OperationEngine,
    ResolutionMode,
)
from mc_platform.errors import (
    LedgerDamaged,
    Misconfigured,
    NotAuthenticated,
    PlatformError,
    PolicyDenied,
    RateLimited,
    Unavailable,
)
from mc_platform.model.autonomy import AutonomyStatus, Scope
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationRequest
from mc_platform.model.shape import ShapeLimits
from mc_platform.model.task import Task
from mc_platform.model.tenant import PLATFORM, Principal
from mc_platform.model.verdict import Action, Decision, Question
from mc_platform.observe import metrics
from mc_platform.observe.health import Health
from mc_platform.observe.identity import Running
from mc_platform.observe.scrape import Scrape
from mc_platform.observe.stalls import watch_loop
from mc_platform.pipeline.examine import ExaminationRoom, Examiner
from mc_platform.query import (
    Acts,
    AggregateDesk,
    BreakGlassDesk,
    CanaryDesk,
    CredentialDesk,
    DeadLetterDesk,
    Figures,
    OperatorDesk,
    aggregate_routes,
    audit_routes,
    break_glass_routes,
    canary_routes,
    credential_routes,
    dead_letter_routes,
    graphql_route,
    operator_routes,
)
from mc_platform.receive import Door, GovernedRequestHandler, a2a_routes, retry_after
from mc_platform.receive.connections import Connections
from mc_platform.receive.detail import DETAIL, DetailRule
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.peers import Peers
from mc_platform.receive.routes import agent_card
from mc_platform.receive.wire_errors import to_wire
from mc_platform.record import (
    CheckpointKeeper,
    Digester,
    EventFactory,
    Memory,
    ProcessMemory,
    Prover,
    Quotes,
    Sealer,
    TileKeeper,
)
from mc_platform.request_path import RequestPath, decision_told, tell_decision
from mc_platform.screen import LibraryScreener
from mc_platform.screen.detectors.tenant_terms import check_patterns
from mc_platform.screen.pseudonyms import Pseudonymiser
from mc_platform.settings import Settings, catalogue_digest, load_catalogue, read_catalogue

VERSION = version("mc-platform")
_SWEEP_S = 15.0
_SWEEP_MOST = 200
_QUOTABLE_KEPT = timedelta(days=7)
_BEGIN_AGAIN_S = 5.0
_TILES_S = 5.0
_UNTOLD_S = 5.0
_PARTITIONS_S = 24 * 3600.0
_POSTPONED_S = 30.0
_BLOCKING_TIMEOUT_S = 30.0
_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


def _ledger_key(settings: Settings) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(settings.ledger_key_file.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"MC_LEDGER_KEY_FILE cannot be read: {type(error).__name__}",
            hint="it must be an unencrypted PEM (PKCS8) ed25519 private key",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured("MC_LEDGER_KEY_FILE must hold an ed25519 key")
    return key


def _signer_memory(settings: Settings) -> Memory:
    if settings.signer_state_dir is None:
        _log.warning(
            "signer_state_not_kept",
            hint="set MC_SIGNER_STATE_DIR: without it a restart forgets what was signed",
        )
        return ProcessMemory()
    return SignerFile(settings.signer_state_dir, region=settings.region)


def _pseudonyms(settings: Settings, catalogue: Catalogue) -> Pseudonymiser | None:
    """What makes pseudonyms, if there is a key; and what the catalogue demands of screening.

    Raises:
        Misconfigured: a tenant wants pseudonyms and there is no key, or declares what cannot be
            looked for.
    """
    for tenant in catalogue.tenants.values():
        problems = check_patterns(tenant.customer_ids)
        if problems:
            raise Misconfigured(
                f"tenants.{tenant.id}.customer_ids: {'; '.join(problems)}",
                hint="mend the catalogue; docs/reference/catalogue.md says what can stand there",
            )
    if settings.pseudonym_key_file is None:
        wanting = [t.id for t in catalogue.tenants.values() if t.redaction == "pseudonym"]
        if wanting:
            raise Misconfigured(
                f"tenant {wanting[0]} wants pseudonyms, and there is no key for them",
                hint="set MC_PSEUDONYM_KEY_FILE, or let its redaction be placeholder",
            )
        return None
    try:
        return Pseudonymiser(settings.pseudonym_key_file.read_bytes().strip())
    except (OSError, ValueError) as error:
        why = type(error).__name__ if isinstance(error, OSError) else str(error)
        raise Misconfigured(
            f"MC_PSEUDONYM_KEY_FILE cannot be used: {why}",
            hint="it must hold at least 32 random bytes",
        ) from error


class Workbench:
    """One replica of the service, assembled."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._background: list[asyncio.Task[None]] = []
        self._catalogue = load_catalogue(settings.catalogue)
        self._catalogue_digest = catalogue_digest(settings.catalogue)
        self._catalogue_held = held_document(read_catalogue(settings.catalogue))
        self._decisions = PolicyKeeper.load(
            settings.policy_dir,
            on_changed=self._note_policy,
            on_refused=partial(self._record_policy, Kind.policy_refused),
        )
        key = _ledger_key(settings)
        tenants = frozenset(str(tenant) for tenant in self._catalogue.tenants)
        metrics.begin(tenants)
        database_url = settings.database_url.get_secret_value()

        self._pools = Pools(database_url=database_url, application_name=settings.replica)
        self._tasks = PostgresTasks(self._pools)
        self._siem, self._file, self._shipper = self._delivery()
        self._journal = PostgresJournal(
            self._pools,
            region=settings.region,
            on_committed=self._shipper.wake if self._shipper else None,
            require_sound=self._require_sound,
        )
        self._ledger = PostgresLedger(self._pools, region=settings.region)
        self._tiles = TileKeeper(self._ledger, interval_s=_TILES_S)
        self._prover = Prover(self._ledger, self._tiles)
        self._checkpoints = CheckpointKeeper(
            region=settings.region,
            key=key,
            log=self._journal,
            proof=self._prover.consistency,
            memory=_signer_memory(settings),
            interval_s=settings.checkpoint_interval_s,
            on_rebuilt=self._record_signer_rebuilt,
        )
        self._autonomy = PostgresAutonomy(self._pools, journal=self._journal)
        self._rules = PostgresRules(
            self._pools, journal=self._journal, region=settings.region, replica=settings.replica
        )
        self._operation_rows = PostgresOperations(self._pools, region=settings.region)
        self._breaker = self._made_breaker()
        self._operations = OperationEngine(
            database_url=database_url,
            executor_id=settings.replica,
            application_version=settings.application_version or VERSION,
            catalogue=self._catalogue,
            http=BlockingLanes(),
            leases=PostgresLeases(database_url, engine_schema=ENGINE_SCHEMA),
            max_concurrent=settings.operations_at_once,
            max_concurrent_per_tenant=settings.operations_at_once_per_tenant,
            record_blocking=self._record_blocking,
            load_task=self._load_task_blocking,
            halted=self._halted_blocking,
            release=self._release_blocking,
            on_finished=lambda request, report: metrics.count_operation(request.tenant, report),
            clock=_now,
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
        self._connections = Connections(
            port=settings.port,
            total=settings.connections,
            per_peer=settings.connections_per_peer,
            trusts=self._peers.trusts,
            idle_timeout_s=settings.head_timeout_s,
            write_timeout_s=settings.write_timeout_s,
        )
        self._digester = Digester(key)
        self._events = EventFactory(clock=_now)
        self._acts = Acts(self._journal, _now)
        self._rows = HttpRows()
        self._sealer = Sealer(key)
        self._screener = LibraryScreener()
        self._pseudonyms = _pseudonyms(settings, self._catalogue)
        self._examiner = Examiner(
            screener=self._screener,
            digester=self._digester,
            quotes=Quotes(key),
            pseudonyms=self._pseudonyms,
        )
        self._workers = WorkerProcesses(
            count=settings.worker_processes, deadline_s=settings.worker_deadline_s
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
        self._running = Running(settings, policy_set=lambda: self._decisions.digest)
        self._health = Health(
            identity=self._told_identity,
            vital={
                "postgres": self._probe_postgres,
                "ledger": self._probe_ledger,
                "policy": self._probe_policy,
                "operations": self._probe_operations,
            },
            other={"siem": self._probe_siem, "agents": self._probe_agents},
            keep_s=settings.health_cache_s,
        )
        self._scrape = Scrape()
        self._downstream: A2ADownstream
        self._path: RequestPath
        self._handler: GovernedRequestHandler
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> ASGIApp:
        """Connect, recover, begin background work; the app may serve when this returns.

        Raises:
            Misconfigured, Unavailable: nothing was left running.
        """
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        await self._pools.open()
        await self._journal.start()
        self._downstream = A2ADownstream(shape=self._shape, apart=self._room.apart)
        await self._checkpoints.begin()
        self._path = RequestPath(
            catalogue=self._catalogue,
            room=self._room,
            decisions=self._decisions,
            journal=self._journal,
            tasks=self._tasks,
            downstream=self._downstream,
            operations=self._operations,
            autonomy=self._autonomy,
            budgets=self._operation_rows,
            events=self._events,
            digester=self._digester,
            sealer=self._sealer,
            clock=_now,
            operation_wait_s=settings.operation_wait_s,
            messages=Messages(
                tenants=len(self._catalogue.tenants),
                per_tenant=settings.questions_at_once_per_tenant,
                per_agent=settings.questions_at_once_per_agent,
                operations=settings.operations_awaited_per_tenant,
                wait_s=settings.slot_wait_s,
            ),
        )
        await self._operations.launch()
        self._start("checkpoints", self._checkpoints.run)
        self._start("tiles", self._tiles.run)
        self._start("partitions", self._keep_partitions)
        self._start("sweep", self._sweep)
        self._start("policies", self._decisions.run)
        self._start("connections", self._connections.watch)
        self._start("switches", partial(self._autonomy.keep_recorded, _UNTOLD_S))
        self._start("breaker", self._breaker.run)
        self._start("rules", self._note_rules)
        self._start("stalls", watch_loop)
        if self._shipper is not None:
            self._start("shipper", self._shipper.run)
        card = agent_card(
            public_url=settings.public_url, version=VERSION, catalogue=self._catalogue
        )
        self._handler = GovernedRequestHandler(
            path=self._path,
            tasks=self._tasks,
            limiter=self._limiter,
            card=card,
        )
        routes = [
            Route("/health", self._get_health),
            Route("/metrics", self._get_metrics),
            Route("/ledger/checkpoint", self._get_checkpoint),
            self._graphql(),
            *self._audit_routes(),
            *self._operator_routes(),
            *self._break_glass_routes(),
            *self._canary_routes(),
            *self._dead_letter_routes(),
            *credential_routes(self._credential_desk()),
            *self._aggregate_routes(),
            *a2a_routes(self._handler, card),
        ]
        return Door(
            Starlette(
                routes=routes,
                exception_handlers={PlatformError: _platform_error, Exception: _crash},
            ),
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

    def begin_drain(self) -> None:
        """Tell load balancers to look elsewhere: `/health` answers 503 from now on."""
        self._health.draining = True

    async def close(self) -> None:
        """Let what is under way end, then close in reverse order; one failure stops no other."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            partial(self._handler.drain, self._settings.drain_s),
            partial(self._operations.shutdown, self._settings.drain_s),
            self._stop_background,
            self._journal.stop,
            self._downstream.close,
            self._workers.close,
            self._rows.close,
            self._siem.close if self._siem is not None else _nothing,
            self._file.close if self._file is not None else _nothing,
            self._pools.close,
        )
        for step in steps:
            try:
                await step()
            except Exception as error:  # noqa: BLE001 - the rest must be closed all the same
                _log.error("close_failed", exc_info=error)

    async def _stop_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # -- background work ----------------------------------------------------------------------

    def _start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` until the process stops; whatever it dies of, it is begun again."""

        async def insist() -> None:
            while True:
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - no defect may end it for good
                    metrics.background_failures.labels(name).inc()
                    _log.error("background_work_failed", work=name, exc_info=error)
                await asyncio.sleep(_BEGIN_AGAIN_S)

        metrics.begin_work(name)
        self._background.append(asyncio.create_task(insist(), name=name))

    async def _sweep(self) -> None:
        """End tasks whose gateway died; their clients would ask for ever."""
        while True:
            try:
                ended = await self._sweep_once()
                if ended:
                    _log.warning("abandoned_tasks_failed", tasks=ended)
            except (RateLimited, Unavailable) as error:
                _log.warning("sweep_postponed", reason=error.message)
            await asyncio.sleep(_SWEEP_S)

    async def _sweep_once(self) -> int:
        await self._tasks.forget_quotable(_QUOTABLE_KEPT)
        older_than = _now() - self._path.abandoned_after()
        ended, last = 0, None
        while found := await self._tasks.abandoned(older_than, _SWEEP_MOST, last):
            ended += await self._path.fail_abandoned(found)
            last = found[-1]
        return ended

    async def _keep_partitions(self) -> None:
        """Have the ledger's next partition made in time; until then the default one catches all."""
        while True:
            try:
                made = await self._ledger.ensure_partitions()
                if made:
                    _log.info("ledger_partitions_made", partitions=made)
                await asyncio.sleep(_PARTITIONS_S)
            except Unavailable as error:
                _log.warning("ledger_partitions_postponed", reason=error.message)
                await asyncio.sleep(_POSTPONED_S)

    async def _note_policy(self, _old: str, new: str, _reason: str) -> None:
        """Tell the ledger that another policy set is in force: once a region, by whoever is first."""
        await self._rules.note("policy_set", new, self._decisions.held())

    async def _note_rules(self) -> None:
        """Tell the ledger of rules that came into force while nothing ran, then of all the rest."""
        await self._note_policy("", self._decisions.digest, "")
        await self._rules.note("catalogue", self._catalogue_digest, self._catalogue_held)
        await self._rules.keep_recorded(_UNTOLD_S)

    async def _record_policy(self, kind: Kind, old: str, new: str, reason: str) -> None:
        """Tell the ledger that another policy set came into force, or was kept out."""
        told = {"replica": self._settings.replica, "old": old, "new": new, "reason": reason}
        subject = f"{self._settings.replica}:{new or 'unreadable'}:{uuid.uuid4()}"
        await self._journal.record([self._events.event(kind, PLATFORM, subject, **told)])

    def _require_sound(self) -> None:
        """Nothing is recorded in a log that is not the one that was signed or delivered."""
        self._checkpoints.require_sound()
        if self._shipper is not None and self._shipper.damage is not None:
            raise LedgerDamaged(
                self._shipper.damage, hint="docs/explanation/ledger.md, The signer refuses"
            )

    async def _record_signer_rebuilt(self, known: Checkpoint) -> None:
        """Tell the ledger that the signer's memory was lost, and what stands for it now."""
        told = {"replica": self._settings.replica, "size": known.size, "root": known.root.hex()}
        subject = f"{self._settings.replica}:{uuid.uuid4()}"
        event = self._events.event(Kind.signer_state_rebuilt, PLATFORM, subject, **told)
        await self._journal.record([event])

    def _made_breaker(self) -> Breaker:
        settings, tenants = self._settings, self._catalogue.tenants.values()
        return Breaker(
            autonomy=self._autonomy,
            counts=self._operation_rows,
            tenants=[tenant.id for tenant in tenants if tenant.generally_available],
            others=[tenant.id for tenant in tenants if not tenant.generally_available],
            limits=Limits(
                ratio=settings.breaker_ratio,
                window_s=settings.breaker_window_s,
                min_operations=settings.breaker_min_operations,
            ),
            interval_s=settings.breaker_interval_s,
            enabled=settings.breaker_enabled,
        )

    def _delivery(self) -> tuple[SiemSink | None, AuditFile | None, Shipper | None]:
        settings = self._settings
        siem = file = None
        if settings.audit_siem_url:
            key = settings.audit_siem_key
            siem = siem_sink(
                url=settings.audit_siem_url,
                key=key.get_secret_value() if key else "",
                format=settings.audit_siem_format,
                version=VERSION,
                index=settings.audit_siem_index,
                ca_file=settings.audit_siem_ca_file,
                hec_ack_required=settings.audit_siem_hec_ack == "required",
            )
        else:
            _log.warning("siem_not_configured", hint="set AUDIT_SIEM_URL and AUDIT_SIEM_KEY")
        if settings.audit_file_enabled and settings.audit_file_path is not None:
            file = AuditFile(
                settings.audit_file_path,
                max_bytes=settings.audit_file_max_bytes,
                keep=settings.audit_file_keep,
            )
        if siem is None and file is None:
            return None, None, None
        shipper = Shipper(
            outbox=PostgresOutbox(self._pools, region=settings.region),
            siem=siem,
            backup=file,
            file_after_s=settings.audit_file_after_s,
            drain_events_per_s=settings.siem_drain_events_per_s,
            late_after_s=settings.siem_late_after_s,
        )
        return siem, file, shipper

    # -- what the engine's threads need of the loop -------------------------------------------

    def _blocking(self, work: Any) -> Any:
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return asked.result(_BLOCKING_TIMEOUT_S)
        except TimeoutError:
            asked.cancel()  # the engine asks again, and what nobody waits for must not pile up
            raise

    def _record_blocking(self, events: Sequence[Event], task: Task | None) -> None:
        if task is not None:
            quotable = self._examiner.quotable(task.tenant, task.parts)
            task = replace(task, quotable=quotable)
        self._blocking(self._journal.record(events, task))

    def _load_task_blocking(self, tenant: TenantId, task_id: TaskId) -> Task | None:
        found: Task | None = self._blocking(self._tasks.get(tenant, task_id))
        return found

    def _halted_blocking(self, request: OperationRequest) -> bool:
        return self._blocking(self._autonomy.halted(request.tenant)) is not None

    def _release_blocking(
        self, request: OperationRequest, parts: tuple[Part, ...]
    ) -> tuple[tuple[Part, ...], Sequence[Event]]:
        released: tuple[tuple[Part, ...], Sequence[Event]] = self._blocking(
            self._path.release_results(request, parts)
        )
        return released

    # -- routes -------------------------------------------------------------------------------

    def _told_identity(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "service": "agent-workbench",
            "version": VERSION,
            "colour": settings.colour,
            "replica": settings.replica,
            "region": settings.region,
            "faults": _faults(settings),
            "running": self._running.told(),
        }

    async def _get_health(self, request: Request) -> Response:
        try:
            await self._require_detail(request)
        except (NotAuthenticated, PolicyDenied, RateLimited):
            known = PRINCIPAL in request.scope["state"]
            status, body = await self._health.look(detail=False, known=known)
        else:
            status, body = await self._health.look()
        return JSONResponse(body, status_code=status, headers={"Cache-Control": "no-store"})

    async def _get_metrics(self, request: Request) -> Response:
        await self._require_detail(request)
        return Response(await self._scrape.text(), media_type=CONTENT_TYPE_LATEST)

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
        self._permit(state[PRINCIPAL], Action.read_ledger)

    async def _get_checkpoint(self, _request: Request) -> Response:
        return PlainTextResponse(await self._checkpoints.current())

    def _decided(
        self,
        principal: Principal,
        action: Action,
        resource: str,
        *,
        owner: TenantId | None = None,
        purpose: str = "",
        break_glass: bool = False,
    ) -> Decision:
        """The decision that permits a principal to read or do something beside messages.

        Args:
            owner: Whose the resource is, for those that are a tenant's.

        Raises:
            PolicyDenied, RateLimited.
        """
        self._limiter.admit(principal.tenant)
        question = Question(
            principal=principal,
            tenant=self._path.tenant(principal),
            action=action,
            resource_type=resource,
            resource_id=owner or principal.tenant,
            resource_tenant=owner,
            purpose=self._path.declared(purpose),
            break_glass=break_glass,
        )
        decision = self._decisions.decide(question)
        tell_decision(decision, principal.tenant)
        if not decision.allowed:
            raise PolicyDenied(
                f"{action.value} is refused: {decision.reason}",
                decision_id=decision.id,
                reason=decision.reason,
                told=decision_told(decision, question),
            )
        return replace(decision, asked=record_question(question))

    def _permit(self, principal: Principal, action: Action) -> Decision:
        """As `_decided`, for what concerns the platform."""
        return self._decided(principal, action, "Platform")

    async def _permitted(
        self, principal: Principal, action: Action, resource: str, owner: TenantId | None = None
    ) -> None:
        """As `_decided`, for reading: only a refusal is recorded."""
        await self._acts.permitted(self._decided, principal, action, resource, owner=owner)

    def _aggregate_routes(self) -> list[Route]:
        def rule(principal: Principal, purpose: str) -> tuple[Decision, Mapping[str, Any]]:
            self._limiter.admit(principal.tenant)
            question = Question(
                principal=principal,
                tenant=self._path.tenant(principal),
                action=Action.read_aggregate,
                resource_type="Dataset",
                resource_id=principal.tenant,
                resource_tenant=principal.tenant,
                purpose=purpose,
            )
            decision = self._decisions.decide(question)
            tell_decision(decision, principal.tenant)
            return decision, record_question(question)

        tenants = self._catalogue.tenants.values()
        return aggregate_routes(
            AggregateDesk(
                principal_of=_principal_of,
                rule=rule,
                aggregates=Aggregates(
                    book=PostgresBook(self._pools),
                    rows=self._rows,
                    key=_ledger_key(self._settings).private_bytes_raw(),
                ),
                datasets=self._catalogue.datasets,
                purposes=frozenset(word for tenant in tenants for word in tenant.purposes),
                acts=self._acts,
                slots=Slots(
                    "aggregates",
                    per_tenant=2,
                    total=len(self._catalogue.tenants) + 1,
                    kept_each=1,
                    tenants=len(self._catalogue.tenants),
                    wait_s=self._settings.slot_wait_s,
                    most_waiting=16,
                ),
            )
        )

    def _graphql(self) -> Route:
        async def permit(principal: Principal) -> None:
            await self._permitted(principal, Action.read_records, "Ledger", owner=principal.tenant)

        return graphql_route(
            principal_of=_principal_of,
            permit=permit,
            tasks=self._tasks,
            records=PostgresRecords(self._pools, region=self._settings.region),
        )

    def _audit_routes(self) -> list[Route]:
        async def permit(request: Request) -> None:
            await self._permitted(_principal_of(request), Action.read_ledger, "Platform")

        return audit_routes(
            ledger=self._ledger,
            prover=self._prover,
            sign_head=self._checkpoints.current,
            permit=permit,
        )

    def _operator_routes(self) -> list[Route]:
        async def figures(status: AutonomyStatus) -> Mapping[Scope, Figures]:
            counts = (await self._breaker.judgement(status)).counts
            return {
                scope: Figures(count.ended, count.compensated) for scope, count in counts.items()
            }

        return operator_routes(
            OperatorDesk(
                principal_of=_principal_of,
                permit=self._permit,
                operations=self._operation_rows,
                acts=_EngineActs(self._operations),
                autonomy=self._autonomy,
                figures=figures,
                breaker={
                    "enabled": self._settings.breaker_enabled,
                    "ratio": self._settings.breaker_ratio,
                    "min_operations": self._settings.breaker_min_operations,
                    "window_s": self._settings.breaker_window_s,
                },
                journal=self._journal,
                tenants=frozenset(self._catalogue.tenants),
                redact=self._redacted,
                clock=_now,
            )
        )

    def _break_glass_routes(self) -> list[Route]:
        tenants = self._catalogue.tenants.values()
        return break_glass_routes(
            BreakGlassDesk(
                principal_of=_principal_of,
                decide=self._decided,
                grants=PostgresBreakGlass(self._pools),
                tasks=self._tasks,
                reveal=self._room.revealed if self._pseudonyms else None,
                tenants=frozenset(tenant.id for tenant in tenants if tenant.id != PLATFORM),
                redact=self._redacted,
                acts=self._acts,
            )
        )

    def _dead_letter_routes(self) -> list[Route]:
        return dead_letter_routes(
            DeadLetterDesk(
                principal_of=_principal_of,
                permit=self._permit,
                letters=PostgresDeadLetters(self._pools, region=self._settings.region),
                redact=self._redacted,
                acts=self._acts,
            )
        )

    def _canary_routes(self) -> list[Route]:
        return canary_routes(
            CanaryDesk(
                principal_of=_principal_of,
                permit=self._permit,
                redact=self._redacted,
                acts=self._acts,
            )
        )

    def _credential_desk(self) -> CredentialDesk:
        return CredentialDesk(
            principal_of=_principal_of,
            permit=self._permit,
            credentials=PostgresCredentials(self._pools),
            rules=self._rules,
            tenants=self._catalogue.tenants,
            forget=self._authenticator.forget,
            redact=self._redacted,
            acts=self._acts,
        )

    def _redacted(self, text: str) -> str:
        parts: tuple[Part, ...] = ({"text": text},)
        [part] = self._screener.redact(parts, self._screener.screen(parts))
        return str(part["text"])

    # -- probes -------------------------------------------------------------------------------

    async def _probe_postgres(self) -> tuple[bool, dict[str, Any]]:
        return await self._pools.alive(), {}

    async def _probe_ledger(self) -> tuple[bool, dict[str, Any]]:
        try:
            self._require_sound()
            return True, {"size": (await self._journal.head()).size}
        except Unavailable as error:
            return False, {"reason": error.message}

    async def _probe_policy(self) -> tuple[bool, dict[str, Any]]:
        return True, self._decisions.state()

    async def _probe_operations(self) -> tuple[bool, dict[str, Any]]:
        return self._operations.healthy(), {"running": self._operations.pending_count()}

    async def _probe_siem(self) -> tuple[bool, dict[str, Any]]:
        if self._shipper is None or self._siem is None:
            state = "events stay in the ledger" if self._shipper is None else self._shipper.state
            return False, {"reason": "AUDIT_SIEM_URL is not set", "shipper": state}
        return self._shipper.region()

    async def _probe_agents(self) -> tuple[bool, dict[str, Any]]:
        agents = list(self._catalogue.agents.values())
        answers = await asyncio.gather(*(self._downstream.alive(agent.url) for agent in agents))
        states = {
            agent.name: "ok" if answer else "down"
            for agent, answer in zip(agents, answers, strict=True)
        }
        return all(answers), {"each": states}


class _EngineActs:
    """The operation engine, as the operator's desk knows it."""

    def __init__(self, engine: OperationEngine) -> None:
        self._engine = engine
        self.states = engine.states
        self.cancel = engine.cancel

    async def resolve(
        self, operation_id: OperationId, *, mode: str, principal: PrincipalId, reason: str
    ) -> Mapping[str, Any]:
        report = await self._engine.resolve(
            operation_id, mode=ResolutionMode(mode), principal=principal, reason=reason
        )
        return {
            "resolved": report.resolved,
            "attempt": report.attempt,
            "mode": report.mode.value,
            "standing": list(report.standing),
        }


def _principal_of(request: Request) -> Principal:
    principal: Principal = request.scope["state"][PRINCIPAL]
    return principal


async def _nothing() -> None:
    """What is not there needs no closing."""


def _faults(settings: Settings) -> dict[str, float]:
    return {
        name: value
        for name, value, neutral in (
            ("slow_factor", settings.fault_slow_factor, 1.0),
            ("error_ratio", settings.fault_error_ratio, 0.0),
        )
        if value != neutral
    }


async def _crash(_request: Request, error: Exception) -> Response:
    wire = to_wire(error)
    return JSONResponse(
        {"error": {"code": "internal", "message": wire.message, "hint": "", "retryable": False}},
        status_code=500,
    )


async def _platform_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PlatformError)
    retry_after.note(error)
    headers = {}
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="agent-workbench"'
    return JSONResponse({"error": error.as_dict()}, error.http_status, headers)
