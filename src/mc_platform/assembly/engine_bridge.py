"""What the operation engine's threads need of the event loop, and the engine as operators know it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mc_platform.adapters.postgres.operation_records import PostgresOperationRecords
from mc_platform.enact import Breaker, Limits
from mc_platform.enact.ended_operations import EndedOperations, EndedRows
from mc_platform.model.event import Event
from mc_platform.model.ids import OperationId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task
from mc_platform.model.tenant import Tenant
from mc_platform.pipeline.examine import Examiner
from mc_platform.ports import Autonomy, Journal, Tasks
from mc_platform.request_path import RequestPath
from mc_platform.settings import Settings

_TIMEOUT_S = 30.0
_R = TypeVar("_R")


@dataclass(slots=True, kw_only=True)
class EngineBridge:
    """Calls into the loop that block an engine's thread; usable once it is `connect`ed."""

    journal: Journal
    tasks: Tasks
    autonomy: Autonomy
    examiner: Examiner
    records: PostgresOperationRecords
    _path: RequestPath = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def connect(self, path: RequestPath) -> None:
        """Take the running loop, and the path that decides what of results may leave."""
        self._loop = asyncio.get_running_loop()
        self._path = path

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        """As `Journal.record`."""
        if task is not None:
            quotable = self.examiner.quotable(task.tenant, task.parts)
            task = replace(task, quotable=quotable)
        self._blocking(self.journal.record(events, task))

    def load_task(self, tenant: TenantId, task_id: TaskId) -> Task | None:
        """As `Tasks.get`."""
        return self._blocking(self.tasks.get(tenant, task_id))

    def recorded(self, operation_id: OperationId) -> Mapping[str, Mapping[str, Any]]:
        """What is recorded of an operation by step."""
        return self._blocking(self.records.of(operation_id))

    def halted(self, request: OperationRequest) -> bool:
        """Whether the operation may not begin."""
        return self._blocking(self.autonomy.halted(request.tenant)) is not None

    def release(
        self, request: OperationRequest, parts: tuple[Part, ...]
    ) -> tuple[tuple[Part, ...], Sequence[Event]]:
        """As `Replies.release_results`."""
        return self._blocking(self._path.replies.release_results(request, parts))

    def _blocking(self, work: Coroutine[Any, Any, _R]) -> _R:
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(_TIMEOUT_S)
        except TimeoutError:
            running.cancel()  # the engine asks again, and what nobody waits for must not pile up
            raise


def breaker(
    settings: Settings, tenants: Iterable[Tenant], autonomy: Autonomy, rows: EndedRows
) -> Breaker:
    """What halts autonomy where too many operations are compensated."""
    known = list(tenants)
    return Breaker(
        autonomy=autonomy,
        counts=EndedOperations(rows),
        tenants=[tenant.id for tenant in known if tenant.generally_available],
        others=[tenant.id for tenant in known if not tenant.generally_available],
        limits=Limits(
            ratio=settings.breaker_ratio,
            window_s=settings.breaker_window_s,
            min_operations=settings.breaker_min_operations,
        ),
        enabled=settings.breaker_enabled,
    )
