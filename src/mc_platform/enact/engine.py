"""The operation engine: durable operations on DBOS, in the threads of this process.

With `engine_status` all that knows DBOS. An operation is one DBOS workflow whose id is the operation's id,
so starting it twice starts it once; each of its steps is a DBOS step.

Replicas share the work. Where it is accepted an operation begins at once while there are free
slots, half of which are for that; otherwise it waits in a queue, which all replicas serve with the
other half, tenant by tenant in random order. No tenant gets more than its share of either half, so
a noisy one waits for itself.

A replica holds a lease (`leases`); what a dead one left unfinished is put back into the queue by
whoever finds its lease lapsed. An operation goes on under the `application_version` that began
it; one that no code has begun may move to another.

Private calls of DBOS, each in one place, tested against the pinned version:
`DBOS._recover_pending_workflows` (adoption), `_active_workflows_set` and `reenqueue_for_recovery`
(what was claimed and is not run), `background_thread_stop_events` (a stopping replica takes
nothing more from the queue) and what `engine_rows` shortens.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, TypeVar

from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
    SetWorkflowID,
)
from dbos import error as dbos_error

from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import DO_RETRIES, UNDO_RETRIES, RetryPolicy
from mc_platform.enact.engine_database import SCHEMA, open_pool, quiet_engine_logs
from mc_platform.enact.engine_rows import EngineRows, Unended
from mc_platform.enact.engine_status import (
    ENDED,
    RESOLUTION_SUFFIX,
    ended_before,
    next_resolution,
    report_of,
    request_cancel,
    state_of,
)
from mc_platform.enact.leases import Holder, LeaseKeeper, Leases
from mc_platform.enact.resolution import ResolutionMode, ResolutionReport
from mc_platform.enact.sealed import (
    BEGUN_IN,
    CANCELED,
    END,
    HOME,
    INPUT,
    Begun,
    SealedContent,
    Seals,
    StepBroken,
    as_kept,
)
from mc_platform.enact.slots import Slots
from mc_platform.enact.worker import (
    LoadTask,
    OnFinished,
    RecordBlocking,
    Recorded,
    Release,
    Worker,
    payload_of,
)
from mc_platform.errors import BadRequest, Conflict, Misconfigured, Unavailable
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.engine_state import EngineState
from mc_platform.model.ids import OperationId, PrincipalId, TenantId
from mc_platform.model.operation import OperationReport, OperationRequest
from mc_platform.ports import BlockingHttp, Homes

_T = TypeVar("_T")
_APPLICATION, _WORKFLOW = "mc-platform", "mc.operation"
_VOID = "mc.void"
_RESOLUTION = "mc.resolution"
_RECOVERY_QUEUE = "_dbos_internal_queue"
_QUEUE, _QUEUE_POLL_S = "mc.operations", 0.25
_ANSWER_TIMEOUT_S = 10.0
_RESOLUTION_TIMEOUT_S = 60.0
_LOOK_AGAIN_S = 1.0


class OperationEngine:
    """Runs operations; one may live in a process at a time, because DBOS is a singleton.

    Args:
        database_url: `postgresql://` URL of the service's role.
        executor_id: This replica's name, the same after a restart, e.g. `blue-1`.
        application_version: The package's version; recovery stays within one version.
        catalogue: Its actions and operations.
        http: For the calls of declared actions; closed by `shutdown`.
        record_blocking: Commits events and task; called from worker threads. Any exception is
            taken for "not now" and it is tried again: an operation never goes on unrecorded.
        load_task: The operation's task as recorded at acceptance; called from worker threads.
        seals: Seals inputs, results and reports in the engine's rows.
        leases: Who may run operations; None for an engine that is alone (tests).
        halted: Whether an operation that has not begun may not begin; called from worker threads.
            Any exception is taken for "not now" and it is asked again.
        homes: Which tenants' home this region is; None: there is one region.
        recorded: What is recorded of an operation by step, here and in the peer; called from worker
            threads.
        release: What of the results may leave, and the events on that decision. Called from worker
            threads for each completed operation; it must give its events stable ids. By default
            everything leaves.
        on_finished: Called once for each operation that ends in this process, recovered ones too.
        schema: The engine's schema, as `migrate_engine` made it.
        max_concurrent: Operations that run at once in this process (at least 2); more wait.
        max_concurrent_per_tenant: Of them, how many may be one tenant's.
        pool_size: Connections to the database, at least 2; the lease's is not among them.
        do_retries: Attempts of an effect.
        undo_retries: Attempts of a compensation.
        clock: Time of events.

    Raises:
        Misconfigured: an action of the catalogue does not hold together; all problems are listed.
    """

    _living: ClassVar[OperationEngine | None] = None

    def __init__(
        self,
        *,
        database_url: str,
        executor_id: str,
        application_version: str,
        catalogue: Catalogue,
        http: BlockingHttp,
        record_blocking: RecordBlocking,
        load_task: LoadTask,
        seals: Seals,
        leases: Leases | None = None,
        halted: Callable[[OperationRequest], bool] = lambda _request: False,
        homes: Homes | None = None,
        recorded: Recorded = lambda _id: {},
        release: Release = lambda _request, parts: (parts, ()),
        on_finished: OnFinished | None = None,
        schema: str = SCHEMA,
        max_concurrent: int = 32,
        max_concurrent_per_tenant: int = 16,
        pool_size: int = 2,
        do_retries: RetryPolicy = DO_RETRIES,
        undo_retries: RetryPolicy = UNDO_RETRIES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        # Over 60 lines: its signature and DBOS's settings, each with its reason, are most of it
        self._operations = catalogue.operations
        self._clock = clock
        half = max(1, max_concurrent // 2)
        self._leases = leases
        self._keeper: LeaseKeeper | None = None
        if leases is not None:
            holder = Holder(executor_id, uuid.uuid4().hex, application_version)
            self._keeper = LeaseKeeper(
                leases=leases,
                holder=holder,
                adopt=_adopt,
                running=self._running,
                requeue=self._requeue,
            )
        self._http = http
        self._pool = open_pool(
            database_url, application_name=f"{executor_id}:engine", connections=pool_size
        )
        self._rows = EngineRows(self._pool, schema)
        self._content = SealedContent(seals)
        self._worker = Worker(
            registry=ActionRegistry(
                catalogue.actions,
                http=http,
                do_retries=do_retries,
                undo_retries=undo_retries,
            ),
            record_blocking=record_blocking,
            load_task=load_task,
            release=release,
            on_finished=on_finished,
            clock=clock,
            durable_step=lambda name, body: DBOS.run_step({"name": name}, body),
            content=self._content,
            signals=self._rows.signals,
            halted=halted,
            term=lambda: self._keeper.term if self._keeper else 1,
            held=lambda term: self._keeper is None or self._keeper.held(term),
            homes=homes,
            recorded=recorded,
        )
        self._homes = homes
        self._slots = Slots(
            total=half,
            per_tenant=max(1, min(half, max_concurrent_per_tenant // 2)),
            runs=self._worker.runs,
        )
        self._config = DBOSConfig(
            name=_APPLICATION,
            system_database_url=database_url,
            dbos_system_schema=schema,
            executor_id=executor_id,
            application_version=application_version,
            run_migrations=False,
            # Rows are read back as JSON: unpickling would run whatever stands in the table
            serializer=DBOSPortableJSONSerializer(),
            system_database_engine=self._pool,
            # More than there are slots: a poll of the queue may claim a little beyond its limit,
            # and what is given a slot must not wait for a thread
            max_executor_threads=4 * half,
            log_level="WARNING",
            enable_otlp=False,
            # Messages, events, streams and schedules are not used: no connection that listens for them
            use_listen_notify=False,
            scheduler_polling_interval_sec=3600.0,
        )
        self._workflow: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._resolution: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._void: Callable[[], dict[str, Any]] | None = None
        self._accepting = False

    async def launch(self) -> None:
        """Connect, and take up this replica's unfinished operations.

        Raises:
            Misconfigured: the engine's schema is missing or too old, or an engine lives already.
            Unavailable: the database cannot be reached.
        """
        if OperationEngine._living is not None:
            raise Misconfigured("an operation engine lives in this process already")
        OperationEngine._living = self
        try:
            await asyncio.to_thread(self._launch)
        except BaseException:
            OperationEngine._living = None
            raise
        self._accepting = True

    def retire(self) -> None:
        """Take nothing more from the queue or from dead replicas; what is accepted here still begins."""
        for event in self._dbos.background_thread_stop_events:
            event.set()
        if self._keeper is not None:
            self._keeper.retiring = True

    def _launch(self) -> None:
        quiet_engine_logs()

        def operation(payload: dict[str, Any]) -> dict[str, Any]:
            workflow_id = str(DBOS.workflow_id)
            ended = partial(self._slots.give_back, workflow_id)
            return _named_errors(partial(self._worker.run, workflow_id, payload, ended))

        def resolution(payload: dict[str, Any]) -> dict[str, Any]:
            return _named_errors(partial(self._worker.resolve, str(DBOS.workflow_id), payload))

        def void() -> dict[str, Any]:
            return {"void": True}

        try:
            if self._keeper is not None:
                self._keeper.start()
            self._dbos = DBOS(config=self._config)
            # No limit on recoveries: an operation must end however often its process dies
            self._workflow = DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)(operation)
            self._resolution = DBOS.workflow(name=_RESOLUTION, max_recovery_attempts=None)(
                resolution
            )
            self._void = DBOS.workflow(name=_VOID, max_recovery_attempts=None)(void)
            DBOS.launch()
            self._rows.shorten(self._dbos._sys_db)
            DBOS.register_queue(
                _QUEUE,
                worker_concurrency=self._slots.total,
                partition_worker_concurrency=self._slots.per_tenant,
                polling_interval_sec=_QUEUE_POLL_S,
                on_conflict="always_update",
            )
        except dbos_error.DBOSException as error:
            self._tear_down()
            raise Misconfigured(
                f"operation engine does not start: {type(error).__name__}",
                hint="run `python -m mc_platform migrate` as the owner of the engine's schema",
            ) from error
        except Exception as error:
            # The singleton must not stay behind half-launched
            self._tear_down()
            raise Unavailable(
                f"operation engine does not start: {type(error).__name__}",
                hint="check that its database can be reached",
            ) from error

    def _running(self) -> list[str]:
        """Operations that are not to be queued again: they run here, or have another home."""
        return [*self._dbos._active_workflows_set.activeList(), *self._worker.left()]

    def _requeue(self, operation_id: str) -> None:
        executor = self._config["executor_id"]
        self._dbos._sys_db.reenqueue_for_recovery(operation_id, [str(executor)], _RECOVERY_QUEUE)

    def _tear_down(self) -> None:
        DBOS.destroy(destroy_registry=True)
        self._pool.dispose()
        if self._keeper is not None:
            self._keeper.stop()

    async def shutdown(self, drain_s: float) -> None:
        """Take no new operations, let running ones end for at most `drain_s`, leave the rest.

        What is left is adopted by another replica, or by the next `launch` of this one. A thread
        amid an HTTP call ends with that call, at most its timeout later.
        """
        if OperationEngine._living is not self:
            return
        self._accepting = False
        self.retire()
        deadline = time.monotonic() + drain_s
        while self.pending_count() and time.monotonic() < deadline:  # noqa: ASYNC110 threads count
            await asyncio.sleep(0.02)
        self._worker.abandon()
        await asyncio.to_thread(self._tear_down)
        await asyncio.to_thread(self._http.close)
        OperationEngine._living = None

    async def start(self, request: OperationRequest) -> None:
        """Start an operation, once for each `request.id`; a repeat changes nothing.

        Returns when the operation is durable: it will end, whatever happens to this process.

        Raises:
            BadRequest: unknown operation, or required input is missing.
            Unavailable: the engine is stopping, or its database does not answer. The operation may
                have been started all the same; asking again with the same id is safe.
        """
        spec = self._operations.get(request.operation)
        if spec is None:
            known = ", ".join(sorted(self._operations))
            raise BadRequest(f"unknown operation {request.operation!r}", hint=f"known: {known}")
        missing = [key for key in spec.required if request.input.get(key) is None]
        if missing:
            raise BadRequest(f"operation {spec.name!r} needs input {', '.join(missing)}")
        if not self._accepting:
            raise Unavailable("the operation engine is not running")
        if not self.healthy():
            raise Unavailable("this replica's operation lease is not held", hint="ask again")
        deadline_at = self._clock() + timedelta(seconds=spec.deadline_s)
        payload = payload_of(request, spec.plan, deadline_at=deadline_at)
        try:
            await self._answered(partial(self._begin, request, payload))
        except dbos_error.DBOSConflictingWorkflowError as error:
            raise Conflict("the operation was given up before it began") from error

    def _begin(self, request: OperationRequest, payload: dict[str, Any]) -> None:
        if self._workflow is None:
            raise Unavailable("the operation engine is not running")
        payload = self._content.seal(request.tenant, request.id, INPUT, payload)
        if self._homes is not None:
            payload[HOME] = self._homes.term(request.tenant)
        with SetWorkflowID(request.id):
            if self._slots.take(request.id, request.tenant):
                try:
                    DBOS.start_workflow(self._workflow, payload)
                except BaseException:
                    self._slots.give_back(request.id)
                    raise
            else:
                self._queue(request.id, request.tenant, payload)

    def _queue(self, operation_id: OperationId, tenant: TenantId, payload: dict[str, Any]) -> None:
        if self._workflow is None:
            raise Unavailable("the operation engine is not running")
        with SetWorkflowID(operation_id), SetEnqueueOptions(queue_partition_key=tenant):
            DBOS.enqueue_workflow(_QUEUE, self._workflow, payload)
        self._rows.mark_sealed(operation_id)

    async def adopt(self, begun: Begun, term: int) -> None:
        """Go on with an operation that another region began, or this one in a former term of the home.

        Once for each operation that the engine has not; it waits for its turn in the queue.

        Raises:
            Conflict: it was given up before it began.
            Unavailable: the engine is not running, or its database does not answer.
        """
        payload = as_kept(
            begun.tenant,
            begun.sealed,
            **{HOME: term, BEGUN_IN: begun.region, CANCELED: begun.canceled},
        )
        try:
            await self._answered(partial(self._queue, begun.id, begun.tenant, payload))
        except dbos_error.DBOSConflictingWorkflowError as error:
            raise Conflict("the operation was given up before it began") from error

    async def unended(self) -> list[Unended]:
        """Operations that the engine has, and has not ended, with the term in which they were begun.

        Raises:
            Unavailable: as above.
        """
        return await self._answered(self._rows.unended)

    async def give_up(self, operation_id: OperationId, term: int) -> bool:
        """Remove what the engine has of an operation that was begun before that term of its home.

        Returns:
            False if there is none: it ended, or was begun anew.

        Raises:
            Unavailable: as above.
        """
        return await self._answered(partial(self._rows.give_up, operation_id, term))

    async def wait(self, operation_id: OperationId, timeout_s: float) -> OperationReport | None:
        """The operation's end, or None if it has none within `timeout_s` (or is unknown)."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[OperationReport] = loop.create_future()

        def tell(report: OperationReport) -> None:
            # The loop may have closed since: nobody waits any more
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, ended, report)

        self._worker.subscribe(operation_id, tell)
        deadline = loop.time() + timeout_s
        try:
            # The database is looked at as well: another replica may be running the operation
            while (
                report := None
                if self._worker.runs(operation_id)
                else await self.report(operation_id)
            ) is None:
                left_s = deadline - loop.time()
                if left_s <= 0:
                    return None
                with suppress(TimeoutError):
                    return await asyncio.wait_for(asyncio.shield(ended), min(left_s, _LOOK_AGAIN_S))
            return report
        finally:
            self._worker.unsubscribe(operation_id, tell)

    async def report(self, operation_id: OperationId) -> OperationReport | None:
        """The operation's end as the database has it; None while it runs, or if it is unknown.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """

        def work() -> OperationReport | None:
            if self._rows.status(operation_id) not in ENDED:
                return None
            return report_of(operation_id, DBOS.get_workflow_status(operation_id), self._content)

        return await self._answered(work)

    async def known(self, operation_id: OperationId) -> bool:
        """Whether the operation was ever started.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """
        return await self._answered(lambda: self._rows.status(operation_id)) is not None

    async def states(
        self, operation_ids: Sequence[OperationId]
    ) -> Mapping[OperationId, EngineState]:
        """Where operations are now; those that were never begun are absent.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """
        if not operation_ids:
            return {}
        return await self._answered(lambda: self._states(list(operation_ids)))

    def _states(self, operation_ids: list[OperationId]) -> dict[OperationId, EngineState]:
        live = self._leases.live() if self._leases else None
        found = DBOS.list_workflows(
            workflow_ids=[str(name) for name in operation_ids], load_input=False, load_output=False
        )
        return {OperationId(one.workflow_id): state_of(one, live) for one in found}

    async def ended_before(self, before: datetime, limit: int, skip: int) -> list[str]:
        """Ids of what the engine has of operations that ended, oldest first.

        Args:
            before: They began, and ended, before then.
            skip: How many of the oldest are left out.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """
        return await self._answered(partial(ended_before, before, limit, skip))

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove what the engine has of these; nobody may need them any more.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """
        await self._answered(lambda: DBOS.delete_workflows(list(ids)))

    async def void(self, operation_id: OperationId) -> bool:
        """Prevent an operation that has not started from ever starting.

        Atomic: of a start and this, the database lets one be first.

        Returns:
            False if it was begun; True if it never will be.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """

        def work() -> bool:
            assert self._void is not None
            try:
                with SetWorkflowID(operation_id):
                    DBOS.start_workflow(self._void)
            except dbos_error.DBOSConflictingWorkflowError:
                return False
            return True

        return await self._answered(work)

    async def cancel(self, operation_id: OperationId) -> bool:
        """Ask that the operation stop before its next step and undo what it did.

        The wish is kept in the database and survives any crash.

        Returns:
            True if the operation was still running; False if it had ended or is unknown. True is
            no promise: an operation whose last step is done completes.
        """
        return await self._answered(lambda: request_cancel(operation_id))

    async def resolve(
        self,
        operation_id: OperationId,
        *,
        mode: ResolutionMode,
        principal: PrincipalId,
        reason: str,
    ) -> ResolutionReport:
        """Deal with what a stuck operation left standing; durable once it is begun.

        Raises:
            NotFound: the operation is unknown.
            Conflict: it is not stuck, is resolved already, or a resolution of it runs.
            Unavailable: the engine is not running, or the answer takes too long (it goes on).
        """
        if not self.healthy():
            raise Unavailable("the operation engine is not running")

        def work() -> ResolutionReport:
            payload = next_resolution(operation_id, self._content)
            payload |= {"mode": mode.value, "principal": principal, "reason": reason}
            tenant = payload["operation"]["tenant"]
            workflow_id = f"{operation_id}{RESOLUTION_SUFFIX}{payload['attempt']}"
            assert self._resolution is not None
            with SetWorkflowID(workflow_id):
                handle = DBOS.start_workflow(
                    self._resolution, self._content.seal(tenant, workflow_id, INPUT, payload)
                )
            kept = self._content.open(workflow_id, END, handle.get_result())
            standing = tuple(str(one["action"]) for one in kept["standing"])
            # What runs under this id may be another operator's, who was first
            return ResolutionReport(
                operation_id,
                kept["attempt"],
                ResolutionMode(kept["mode"]),
                kept["resolved"],
                standing,
            )

        return await self._answered(work, _RESOLUTION_TIMEOUT_S)

    def pending_count(self) -> int:
        """Operations that run in this process now."""
        return self._worker.running().total()

    def healthy(self) -> bool:
        """Whether operations are accepted; the database's own state is told elsewhere."""
        return self._accepting and (self._keeper is None or self._keeper.held())

    async def _answered(self, work: Callable[[], _T], timeout_s: float = _ANSWER_TIMEOUT_S) -> _T:
        if OperationEngine._living is not self:
            raise Unavailable("the operation engine is not running")
        try:
            # The engine waits for a lost database without end; its callers must not
            return await asyncio.wait_for(asyncio.to_thread(work), timeout_s)
        except TimeoutError as error:
            raise Unavailable(
                f"the operation engine's database did not answer in {timeout_s:.0f} s",
                hint="ask again with the same message id",
            ) from error


def _adopt(executor_ids: list[str]) -> None:
    DBOS._recover_pending_workflows(executor_ids)


def _named_errors(run: Callable[[], _T]) -> _T:
    """What the engine keeps of an error is its name: a message may hold content."""
    try:
        return run()
    except dbos_error.DBOSException:
        raise  # the engine's own business
    except Exception as error:
        raise StepBroken(type(error).__name__) from error


def _resolve(future: asyncio.Future[OperationReport], report: OperationReport) -> None:
    if not future.done():
        future.set_result(report)
