"""The operation engine: durable operations on DBOS, in the threads of this process.

The only class that knows DBOS. An operation is one DBOS workflow whose id is the operation's id,
so starting it twice starts it once; each of its steps is a DBOS step. `launch` takes up what this
replica (by `executor_id`) left unfinished under the same `application_version`.

Seams for later work, in this module only:
- adopting a dead replica's work: a lease table beside the engine's schema decides who is dead, and
  `DBOS._recover_pending_workflows([executor_id])` re-enqueues its work here (private: pin DBOS);
- fair queues for each tenant: `_begin` starts the workflow directly; it would enqueue instead;
- operations of an older `application_version` stay PENDING until a replica of it runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, TypeVar

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from dbos import error as dbos_error

from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import DO_RETRIES, UNDO_RETRIES, RetryPolicy
from mc_platform.enact.engine_database import SCHEMA, quiet_engine_logs
from mc_platform.enact.http_actions import http_client
from mc_platform.enact.saga import Signals
from mc_platform.enact.worker import (
    LoadTask,
    OnFinished,
    RecordBlocking,
    Release,
    Worker,
    payload_of,
    report_from,
)
from mc_platform.errors import BadRequest, Misconfigured, Unavailable
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.ids import OperationId
from mc_platform.model.operation import OperationReport, OperationRequest, Outcome

_T = TypeVar("_T")
_APPLICATION, _WORKFLOW, _CANCEL = "mc-platform", "mc.operation", "cancel_requested"
_ANSWER_TIMEOUT_S = 10.0
_LOOK_AGAIN_S = 1.0
_ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


class OperationEngine:
    """Runs operations; one may live in a process at a time, because DBOS is a singleton.

    Args:
        database_url: `postgresql://` URL of the service's role.
        executor_id: This replica's name, the same after a restart, e.g. `blue-1`.
        application_version: The package's version; recovery stays within one version.
        catalogue: Its actions and operations.
        record_blocking: Commits events and task; called from worker threads. Any exception is
            taken for "not now" and it is tried again: an operation never goes on unrecorded.
        load_task: The operation's task as recorded at acceptance; called from worker threads.
        release: What of the results may leave, and the events on that decision. Called from worker
            threads for each completed operation; it must give its events stable ids. By default
            everything leaves.
        on_finished: Called once for each operation that ends in this process, recovered ones too.
        schema: The engine's schema, as `migrate_engine` made it.
        max_concurrent: Operations that run at once; more wait.
        pool_size: Connections to the database.
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
        record_blocking: RecordBlocking,
        load_task: LoadTask,
        release: Release = lambda _request, parts: (parts, ()),
        on_finished: OnFinished | None = None,
        schema: str = SCHEMA,
        max_concurrent: int = 32,
        pool_size: int = 8,
        do_retries: RetryPolicy = DO_RETRIES,
        undo_retries: RetryPolicy = UNDO_RETRIES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._operations = catalogue.operations
        self._client = http_client(max_concurrent)
        self._worker = Worker(
            registry=ActionRegistry(
                catalogue.actions,
                client=self._client,
                do_retries=do_retries,
                undo_retries=undo_retries,
            ),
            record_blocking=record_blocking,
            load_task=load_task,
            release=release,
            on_finished=on_finished,
            clock=clock,
            durable_step=lambda name, body: DBOS.run_step({"name": name}, body),
            signals=_signals,
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
            sys_db_pool_size=pool_size,
            max_executor_threads=max_concurrent,
            log_level="WARNING",
            enable_otlp=False,
            # Idle costs: streams and schedules are not used (defaults: 0.01 s and 30 s)
            notification_coalesce_sec=0.2,
            scheduler_polling_interval_sec=3600.0,
        )
        self._workflow: Callable[[dict[str, Any]], dict[str, Any]] | None = None
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

    def _launch(self) -> None:
        quiet_engine_logs()

        def operation(payload: dict[str, Any]) -> dict[str, Any]:
            return self._worker.run(payload)

        try:
            DBOS(config=self._config)
            # No limit on recoveries: an operation must end however often its process dies
            register = DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
            self._workflow = register(operation)
            DBOS.launch()
        except dbos_error.DBOSException as error:
            DBOS.destroy(destroy_registry=True)
            raise Misconfigured(
                f"operation engine does not start: {type(error).__name__}",
                hint="run `python -m mc_platform migrate` as the owner of the engine's schema",
            ) from error
        except Exception as error:
            # The singleton must not stay behind half-launched
            DBOS.destroy(destroy_registry=True)
            raise Unavailable(
                f"operation engine does not start: {type(error).__name__}",
                hint="check that its database can be reached",
            ) from error

    async def shutdown(self, drain_s: float) -> None:
        """Refuse new operations, let running ones end for at most `drain_s`, then leave the rest.

        What is left stays PENDING in the database; `launch` of the same replica takes it up. A
        thread amid an HTTP call ends with that call, at most its timeout later.
        """
        if OperationEngine._living is not self:
            return
        self._accepting = False
        deadline = time.monotonic() + drain_s
        while self.pending_count() and time.monotonic() < deadline:  # noqa: ASYNC110 threads count
            await asyncio.sleep(0.02)
        self._worker.abandon()
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        self._client.close()
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
        await self._answered(partial(self._begin, request.id, payload_of(request, spec.steps)))

    def _begin(self, operation_id: OperationId, payload: dict[str, Any]) -> None:
        if self._workflow is None:
            raise Unavailable("the operation engine is not running")
        with SetWorkflowID(operation_id):
            DBOS.start_workflow(self._workflow, payload)

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
            while (report := await self.report(operation_id)) is None:
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
        status = await self._answered(lambda: DBOS.get_workflow_status(operation_id))
        if status is None or status.status not in _ENDED:
            return None
        if status.status != "SUCCESS" or not isinstance(status.output, Mapping):
            # Only a defect or an outside hand gets here; saying so beats waiting for ever
            reason = f"engine reports {status.status.lower()}"
            return OperationReport(operation_id, Outcome.stuck, (), reason)
        return report_from(status.output)

    async def known(self, operation_id: OperationId) -> bool:
        """Whether the operation was ever started.

        Raises:
            Unavailable: the engine is not running, or its database does not answer.
        """
        status = await self._answered(lambda: DBOS.get_workflow_status(operation_id))
        return status is not None

    async def cancel(self, operation_id: OperationId) -> bool:
        """Ask that the operation stop before its next step and undo what it did.

        The wish is kept in the database and survives any crash.

        Returns:
            True if the operation was still running; False if it had ended or is unknown. True is
            no promise: an operation whose last step is done completes.
        """
        return await self._answered(lambda: _request_cancel(operation_id))

    def pending_count(self) -> int:
        """Operations that run in this process now."""
        return self._worker.running()

    def healthy(self) -> bool:
        """Whether operations are accepted; the database's own state is told elsewhere."""
        return self._accepting

    async def _answered(self, work: Callable[[], _T]) -> _T:
        if OperationEngine._living is not self:
            raise Unavailable("the operation engine is not running")
        try:
            # The engine waits for a lost database without end; its callers must not
            return await asyncio.wait_for(asyncio.to_thread(work), _ANSWER_TIMEOUT_S)
        except TimeoutError as error:
            raise Unavailable(
                f"the operation engine's database did not answer in {_ANSWER_TIMEOUT_S:.0f} s",
                hint="ask again with the same message id",
            ) from error


def _signals(operation_id: OperationId) -> Signals:
    status = DBOS.get_workflow_status(operation_id)
    if status is None:
        return Signals()
    return Signals(
        cancel_requested=bool((status.attributes or {}).get(_CANCEL)),
        recovered=(status.recovery_attempts or 0) > 1,
    )


def _request_cancel(operation_id: OperationId) -> bool:
    status = DBOS.get_workflow_status(operation_id)
    if status is None or status.status in _ENDED:
        return False
    DBOS.update_workflow_attributes(operation_id, {_CANCEL: True}, merge=True)
    return True


def _resolve(future: asyncio.Future[OperationReport], report: OperationReport) -> None:
    if not future.done():
        future.set_result(report)
