"""The half of the engine that runs in worker threads: one saga after another, and their news.

Knows sagas and actions; durability and outside signals are passed in. `abandon` interrupts what
runs: the interruption is no `Exception`, so no saga takes it for a failure and the operation stays
unfinished in the database, to be taken up again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import Called
from mc_platform.enact.saga import Remember, Saga, Signals
from mc_platform.model.event import Event
from mc_platform.model.ids import ActionName, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationReport, OperationRequest, Outcome, StepReport
from mc_platform.model.task import Task

RecordBlocking = Callable[[Sequence[Event], Task | None], None]
LoadTask = Callable[[TenantId, TaskId], Task | None]
Release = Callable[[OperationRequest, tuple[Part, ...]], tuple[tuple[Part, ...], Sequence[Event]]]
OnFinished = Callable[[OperationRequest, OperationReport], None]
Tell = Callable[[OperationReport], None]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0


class Abandoned(BaseException):
    """The process stops; the operation is left as it is."""


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
        signals: Cancel wish, and whether the operation was recovered.
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
        durable_step: Remember,
        signals: Callable[[OperationId], Signals],
    ) -> None:
        self.registry = registry
        self.record_blocking = record_blocking
        self.load_task = load_task
        self.release = release
        self.clock = clock
        self.signals = signals
        self._on_finished = on_finished
        self._durable_step = durable_step
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._waiting: dict[str, list[Tell]] = {}

    def run(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run one operation to its end; returns its report as JSON (`report_from` reads it).

        Args:
            payload: What `payload_of` made of the request.

        Raises:
            Abandoned: the process stops first.
        """
        request = _request_from(payload)
        with self._lock:
            self._running.add(request.id)
        try:
            plan = [ActionName(action) for action in payload["plan"]]
            hands = _WorkerHands(self, request)
            report = Saga(request, plan, hands=hands, remember=self._remember).run()
            self._tell(request, report)
            return {**asdict(report), "outcome": report.outcome.value}
        finally:
            with self._lock:
                self._running.discard(request.id)

    def running(self) -> int:
        """Operations that run now."""
        with self._lock:
            return len(self._running)

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

    def check_abandoned(self) -> None:
        """Raise `Abandoned` if `abandon` was called."""
        if self._stopping.is_set():
            raise Abandoned

    def pause(self, seconds: float) -> None:
        """Sleep, unless abandoned."""
        if self._stopping.wait(seconds):
            raise Abandoned

    def insist(self, work: Callable[[], _T], what: str) -> _T:
        """Do `work` until it succeeds: an operation never goes on unrecorded."""
        wait_s = _FIRST_WAIT_S
        while True:
            self.check_abandoned()
            try:
                return work()
            except Exception as error:  # noqa: BLE001 whatever the cause, going on would be wrong
                _log.warning("%s failed, trying again: %s", what, type(error).__name__)
            self.pause(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    def _remember(self, name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.check_abandoned()
        try:
            return self._durable_step(name, body)
        except Exception:
            # Once the engine is torn down any error is the tearing down, not the operation's
            self.check_abandoned()
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


class _WorkerHands:
    """What one operation's saga touches."""

    def __init__(self, worker: Worker, request: OperationRequest) -> None:
        self._worker = worker
        self._request = request

    def do(self, action: ActionName, input: Mapping[str, Any], key: str) -> Called:
        worker = self._worker
        return self._valid(worker.registry.do(action, input, key, worker.pause))

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        worker = self._worker
        return self._valid(worker.registry.undo(action, input, result, key, worker.pause))

    def _valid(self, called: Called) -> Called:
        if not called.ok:
            # The client is closed under a call when the process stops: that is no outcome
            self._worker.check_abandoned()
        return called

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        worker = self._worker
        worker.insist(lambda: worker.record_blocking(events, task), "recording an operation")

    def task(self) -> Task | None:
        worker, request = self._worker, self._request
        task = worker.insist(
            lambda: worker.load_task(request.tenant, request.task_id), "reading a task"
        )
        if task is None:
            _log.error("operation %s has no task %s", request.id, request.task_id)
        return task

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        worker = self._worker
        return worker.insist(lambda: worker.release(self._request, parts), "releasing results")

    def signals(self) -> Signals:
        return self._worker.signals(self._request.id)

    def now(self) -> datetime:
        return self._worker.clock()


def payload_of(request: OperationRequest, plan: Sequence[ActionName]) -> dict[str, Any]:
    """An operation as JSON. Its plan travels with it: a catalogue that changes can't bend it."""
    return {**asdict(request), "input": dict(request.input), "plan": list(plan)}


def report_from(kept: Mapping[str, Any]) -> OperationReport:
    """The report that `Worker.run` returned as JSON."""
    return OperationReport(
        id=OperationId(kept["id"]),
        outcome=Outcome(kept["outcome"]),
        steps=tuple(StepReport(**step) for step in kept["steps"]),
        reason=kept["reason"],
        canceled=kept["canceled"],
    )


def _request_from(payload: Mapping[str, Any]) -> OperationRequest:
    return OperationRequest(
        id=OperationId(payload["id"]),
        tenant=TenantId(payload["tenant"]),
        principal=PrincipalId(payload["principal"]),
        task_id=TaskId(payload["task_id"]),
        operation=payload["operation"],
        input=payload["input"],
        decision_id=payload["decision_id"],
    )
