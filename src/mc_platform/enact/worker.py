"""The half of the engine that runs in worker threads: one saga after another, and their news.

Knows sagas and actions; durability and outside signals are passed in. `abandon` interrupts what
runs: the interruption is no `Exception`, so no saga takes it for a failure and the operation stays
unfinished in the database, to be taken up again. The same happens to what ran in a lease's former
term: another replica may have gone on with it; and to what ran in a former term of its tenant's home,
with which another region may have gone on.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import Abandoned, Called, Effect, Values, restored, storable
from mc_platform.enact.resolution import Resolution, ResolutionMode
from mc_platform.enact.saga import DEADLINE_PASSED, DurableStep, Saga, Signals
from mc_platform.enact.sealed import BEGUN_IN, CANCELED, END, HOME, INPUT, SealedContent
from mc_platform.model.event import Event
from mc_platform.model.ids import ActionName, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.operation import (
    OperationReport,
    OperationRequest,
    Outcome,
    Standing,
    StepReport,
    plan_as_json,
    plan_from,
)
from mc_platform.model.task import Task
from mc_platform.ports import Homes

RecordBlocking = Callable[[Sequence[Event], Task | None], None]
LoadTask = Callable[[TenantId, TaskId], Task | None]
Release = Callable[[OperationRequest, tuple[Part, ...]], tuple[tuple[Part, ...], Sequence[Event]]]
OnFinished = Callable[[OperationRequest, OperationReport], None]
Recorded = Callable[[OperationId], Mapping[str, Mapping[str, Any]]]
Tell = Callable[[OperationReport], None]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_LEASE_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run of an operation in this process, begun in a term of its lease.

    Attributes:
        home: The term of its tenant's home, which is this region; 0 where there is one region.
        workflow_id: What runs: the operation, or a resolution of it.
        elsewhere: What another region kept of its steps.
    """

    operation_id: str
    tenant: TenantId
    term: int
    home: int
    workflow_id: str
    elsewhere: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Worker:
    """Runs operations, and tells those who wait when one ends.

    Args:
        registry: The actions.
        record_blocking: Commits events and a task.
        load_task: Reads a task.
        release: Decides what of the results may leave.
        on_finished: Hook for metrics.
        clock: Aware UTC.
        durable_step: Runs a body once for each operation and step name.
        content: Seals what is kept.
        signals: Cancel wish, and whether the operation was recovered.
        halted: Whether an operation that has not begun may not begin.
        term: The term of the lease that is held now.
        held: Whether the lease is surely held, without a loss since that term.
        homes: Which tenants' home this region is; None: there is one region.
        recorded: What is recorded of an operation by step, here and in the peer.
    """

    def __init__(
        self,
        *,
        registry: ActionRegistry,
        record_blocking: RecordBlocking,
        load_task: LoadTask,
        release: Release,
        on_finished: OnFinished | None,
        clock: Callable[[], datetime],
        durable_step: DurableStep,
        content: SealedContent,
        signals: Callable[[OperationId], Signals],
        halted: Callable[[OperationRequest], bool],
        term: Callable[[], int] = lambda: 1,
        held: Callable[[int], bool] = lambda _term: True,
        homes: Homes | None = None,
        recorded: Recorded = lambda _id: {},
    ) -> None:
        self.registry = registry
        self.record_blocking = record_blocking
        self.load_task = load_task
        self.release = release
        self.clock = clock
        self.signals = signals
        self.halted = halted
        self._on_finished = on_finished
        self._durable_step = durable_step
        self._content = content
        self._term = term
        self._held = held
        self._homes = homes
        self._recorded = recorded
        self._left: dict[str, TenantId] = {}  # operations whose home had moved
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._runs: set[Run] = set()
        self._waiting: dict[str, list[Tell]] = {}

    def run(
        self, workflow_id: str, payload: Mapping[str, Any], ended: Callable[[], None]
    ) -> dict[str, Any]:
        """Run one operation to its end; returns its report, sealed (`report_from` reads it).

        Args:
            workflow_id: The operation's id.
            payload: What `payload_of` made of the request, sealed.
            ended: Called when it no longer runs, before those who wait are told.

        Raises:
            Abandoned: the process stops first.
            SealBroken: the payload is another operation's.
        """
        begun = payload
        try:
            payload = self._content.open(workflow_id, INPUT, begun)
            request = _request_from(payload)
            with self._running(request, workflow_id, begun) as run:
                report = Saga(
                    request,
                    plan_from(payload["plan"]),  # flat ones, without groups, are read too
                    deadline_at=deadline_of(payload),
                    activities=_WorkerActivities(self, request, run, canceled=_canceled(begun)),
                    durable_step=partial(self._run_step, run),
                    adopted=_adopted(begun),
                ).run()
        finally:
            ended()
        self._tell(request, report)
        told = {
            **asdict(report),
            "outcome": report.outcome.value,
            "standing": standing_as_json(report.standing),
        }
        return self._content.seal(request.tenant, request.id, END, told)

    def resolve(self, workflow_id: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run one resolution of a stuck operation; returns its report, and what stands, sealed.

        Args:
            workflow_id: This resolution's own.
            payload: Sealed: `operation` as above, `standing` as an earlier return had it, and `attempt`,
                `mode`, `principal`, `reason`.

        Raises:
            Abandoned: the process stops first.
        """
        payload = self._content.open(workflow_id, INPUT, payload)
        request = _request_from(payload["operation"])
        with self._running(request, workflow_id, {}) as run:
            resolution = Resolution(
                request,
                standing_from(payload["standing"]),
                attempt=payload["attempt"],
                mode=ResolutionMode(payload["mode"]),
                principal=PrincipalId(payload["principal"]),
                reason=payload["reason"],
                activities=_WorkerActivities(self, request, run),
                durable_step=partial(self._run_step, run),
            )
            report = resolution.run()
            told = {
                "attempt": report.attempt,
                "mode": report.mode.value,
                "resolved": report.resolved,
                "standing": standing_as_json(resolution.standing()),
            }
            return self._content.seal(request.tenant, workflow_id, END, told)

    @contextmanager
    def _running(
        self, request: OperationRequest, workflow_id: str, begun: Mapping[str, Any]
    ) -> Iterator[Run]:
        home = 0 if self._homes is None else self._homes.term(request.tenant)
        if self._homes is not None and not home:
            self._leave(request.id, request.tenant)
        run = Run(request.id, request.tenant, self._term(), home, workflow_id)
        of_former_term = home > 0 and begun.get(HOME, home) != home
        if of_former_term or _adopted(begun):
            recorded = self.insist(run, lambda: self._recorded(request.id), "reading records")
            if of_former_term and INPUT in recorded:  # it is adopted from there
                self._leave(request.id, request.tenant)
            run = replace(run, elsewhere=recorded if _adopted(begun) else {})
        with self._lock:
            self._left.pop(request.id, None)
            self._runs.add(run)
        try:
            yield run
        finally:
            with self._lock:
                self._runs.discard(run)

    def _leave(self, operation_id: str, tenant: TenantId) -> NoReturn:
        with self._lock:
            self._left[operation_id] = tenant
        raise Abandoned

    def running(self) -> Counter[str]:
        """Operations that run now, by tenant; those of a former term are not counted."""
        term = self._term()
        with self._lock:
            return Counter(run.tenant for run in self._runs if run.term == term)

    def runs(self, operation_id: str) -> bool:
        """Whether the operation runs here now."""
        with self._lock:
            return any(run.operation_id == operation_id for run in self._runs)

    def subscribe(self, operation_id: OperationId, tell: Tell) -> None:
        """Have `tell` called, from a worker thread, when the operation ends in this process."""
        with self._lock:
            self._waiting.setdefault(operation_id, []).append(tell)

    def unsubscribe(self, operation_id: OperationId, tell: Tell) -> None:
        """The reverse of `subscribe`."""
        with self._lock:
            waiting = self._waiting[operation_id]
            waiting.remove(tell)
            if not waiting:
                del self._waiting[operation_id]

    def abandon(self) -> None:
        """Interrupt everything that runs, at its next pause or step."""
        self._stopping.set()

    def check_abandoned(self, run: Run) -> None:
        """Raise `Abandoned` if `abandon` was called, or the lease or home of `run`'s term is lost."""
        if self._stopping.is_set() or run.term != self._term():
            raise Abandoned
        if self._homes is not None and self._homes.term(run.tenant) != run.home:
            self._leave(run.operation_id, run.tenant)

    def left(self) -> list[str]:
        """Operations that nobody is to take up here: their tenants' homes are other regions."""
        if self._homes is None:
            return []
        with self._lock:
            for operation_id, tenant in list(self._left.items()):
                if self._homes.term(tenant):
                    del self._left[operation_id]
            return list(self._left)

    def _may_enact(self, run: Run) -> bool:
        at_home = self._homes is None or self._homes.held(run.tenant, run.home)
        return at_home and self._held(run.term)

    def require_lease(self, run: Run) -> None:
        """Return when the lease is surely held: without it no effect may be begun.

        Raises:
            Abandoned: it was lost, or the process stops.
        """
        while not self._may_enact(run):
            # Lapsed by our own clock, perhaps noticed by nobody: the next heartbeat tells
            self.pause(run, _LEASE_LOOK_S)

    def pause(self, run: Run, seconds: float) -> None:
        """Sleep, unless abandoned."""
        if self._stopping.wait(seconds):
            raise Abandoned
        self.check_abandoned(run)

    def insist(self, run: Run, work: Callable[[], _T], what: str) -> _T:
        """Do `work` until it succeeds: an operation never goes on unrecorded."""
        wait_s = _FIRST_WAIT_S
        while True:
            self.check_abandoned(run)
            try:
                return work()
            except Exception as error:  # noqa: BLE001 whatever the cause, going on would be wrong
                _log.warning("%s failed, trying again: %s", what, type(error).__name__)
            self.pause(run, wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    def _run_step(self, run: Run, name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.check_abandoned(run)
        try:
            return self._content.kept_step(
                run.tenant,
                run.workflow_id,
                name,
                partial(self._durable_step, name),
                body,
                run.elsewhere.get(name),
            )
        except Exception:
            # Once the engine is torn down any error is the tearing down, not the operation's
            self.check_abandoned(run)
            raise

    def _tell(self, request: OperationRequest, report: OperationReport) -> None:
        if self._on_finished is not None:
            try:
                self._on_finished(request, report)
            except Exception:  # noqa: BLE001 metrics never decide an operation
                _log.exception("the hook for finished operations failed")
        with self._lock:
            waiting = list(self._waiting.get(request.id, ()))
        for tell in waiting:
            tell(report)


class _WorkerActivities:
    """What one operation's saga touches."""

    def __init__(
        self, worker: Worker, request: OperationRequest, run: Run, *, canceled: bool = False
    ) -> None:
        self._worker = worker
        self._canceled = canceled  # asked for in another region
        self._request = request
        self._run = run
        self._begun = False

    def do(
        self, action: ActionName, input: Values, key: str, deadline_at: datetime | None
    ) -> Called:
        worker = self._worker
        worker.require_lease(self._run)
        # Monotonic from here: a clock that is set must not stretch a step
        left_s = math.inf if deadline_at is None else (deadline_at - self.now()).total_seconds()
        if left_s <= 0:  # the lease was waited for
            return Called(
                ok=False, attempts=0, effect=Effect.none, reason=DEADLINE_PASSED, late=True
            )
        end_s = time.monotonic() + left_s
        return self._valid(
            worker.registry.do(
                action,
                input,
                key,
                self._pause,
                lambda: end_s - time.monotonic(),
                tenant=self._run.tenant,
                home=self._run.home,
            )
        )

    def undo(self, action: ActionName, input: Values, result: Values | None, key: str) -> Called:
        worker = self._worker
        worker.require_lease(self._run)
        return self._valid(
            worker.registry.undo(
                action,
                input,
                result,
                key,
                self._pause,
                tenant=self._run.tenant,
                home=self._run.home,
            )
        )

    def _pause(self, seconds: float) -> None:
        self._worker.pause(self._run, seconds)
        self._worker.require_lease(self._run)  # what follows a pause is another attempt

    def _valid(self, called: Called) -> Called:
        if not called.ok:
            # The client is closed under a call when the process stops: that is no outcome
            self._worker.check_abandoned(self._run)
        return called

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        worker = self._worker
        worker.insist(
            self._run, lambda: worker.record_blocking(events, task), "recording an operation"
        )

    def task(self) -> Task | None:
        worker, request = self._worker, self._request
        task = worker.insist(
            self._run,
            lambda: worker.load_task(request.tenant, request.task_id),
            "reading a task",
        )
        if task is None:
            _log.error("operation %s has no task %s", request.id, request.task_id)
        return task

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        worker = self._worker
        return worker.insist(
            self._run, lambda: worker.release(self._request, parts), "releasing results"
        )

    def signals(self) -> Signals:
        worker = self._worker
        signals = worker.insist(
            self._run, lambda: worker.signals(self._request.id), "reading what is wished of it"
        )
        if self._canceled:
            signals = replace(signals, cancel_requested=True)
        if self._begun:
            return signals
        # Asked once: a halt matters to what has not begun, and to nothing after that
        self._begun = True
        return replace(signals, halted=self._read_switch())

    def halted(self) -> bool:
        while True:
            halted = self._read_switch()
            read_s = time.monotonic()
            self._worker.require_lease(self._run)
            # If the lease had to be waited for, what was read before is old
            if halted or time.monotonic() - read_s < _LEASE_LOOK_S:
                return halted

    def _read_switch(self) -> bool:
        worker = self._worker
        return worker.insist(
            self._run, lambda: worker.halted(self._request), "reading the autonomy switch"
        )

    def now(self) -> datetime:
        return self._worker.clock()


def payload_of(
    request: OperationRequest,
    plan: Sequence[ActionName | Sequence[ActionName]],
    *,
    deadline_at: datetime | None = None,
) -> dict[str, Any]:
    """An operation as JSON. Its plan travels with it: a catalogue that changes can't bend it."""
    return {
        **asdict(request),
        "input": storable(request.input),
        "plan": plan_as_json(plan_from(plan)),
        "deadline_at": None if deadline_at is None else deadline_at.isoformat(),
    }


def deadline_of(payload: Mapping[str, Any]) -> datetime | None:
    """When the operation of a payload goes no further; None for never."""
    text = payload.get("deadline_at")
    return None if text is None else datetime.fromisoformat(text)


def report_from(kept: Mapping[str, Any]) -> OperationReport:
    """The report that `Worker.run` returned, opened."""
    return OperationReport(
        id=OperationId(kept["id"]),
        outcome=Outcome(kept["outcome"]),
        steps=tuple(StepReport(**step) for step in kept["steps"]),
        reason=kept["reason"],
        canceled=kept["canceled"],
        standing=standing_from(kept.get("standing", ())),
        effects_undone=kept.get("effects_undone", 0),
    )


def standing_as_json(standing: Sequence[Standing]) -> list[dict[str, Any]]:
    """What stands, as JSON to be stored."""
    return [{**asdict(one), "result": storable(one.result)} for one in standing]


def standing_from(kept: Sequence[Mapping[str, Any]]) -> tuple[Standing, ...]:
    """What stands after an operation or a resolution, as their JSON has it."""
    return tuple(
        Standing(one["index"], ActionName(one["action"]), one["effect"], restored(one["result"]))
        for one in kept
    )


def _adopted(begun: Mapping[str, Any]) -> bool:
    return BEGUN_IN in begun


def _canceled(begun: Mapping[str, Any]) -> bool:
    return bool(begun.get(CANCELED))


def _request_from(payload: Mapping[str, Any]) -> OperationRequest:
    return OperationRequest(
        id=OperationId(payload["id"]),
        tenant=TenantId(payload["tenant"]),
        principal=PrincipalId(payload["principal"]),
        task_id=TaskId(payload["task_id"]),
        operation=payload["operation"],
        input=restored(payload["input"]) or {},
        decision_id=payload["decision_id"],
    )
