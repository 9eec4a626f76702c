"""Resolving a stuck operation: its compensations again, or a person's word that it is dealt with.

Control flow only, with the activities and durable steps of a saga. An operation may be resolved several
times, numbered from 1: the events of each have ids of their own, while a compensation keeps the
idempotency key that it had in the operation, so a receiver undoes once however often it is asked.

Neither cancel, halt nor deadline matters here, and the task stays as the operation left it: a
terminal state is final. What the ledger tells last is how the operation stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.event_log import Entry, EventLog, Step
from mc_platform.enact.saga import Activities, DurableStep, broken, call_from, undone
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import OperationId, PrincipalId
from mc_platform.model.operation import OperationRequest, Standing

_MAX_REASON = 200


class ResolutionMode(StrEnum):
    """What is done about the effects that stand."""

    retry = "retry"
    """Try their compensations again."""
    accept = "accept"
    """Call nothing: a person says that they were dealt with by hand."""


@dataclass(frozen=True, slots=True)
class ResolutionReport:
    """How a resolution ended.

    Attributes:
        attempt: Its number.
        resolved: Whether nothing stands any more, or somebody answers for what does.
        standing: Actions whose effects stand; after `accept`, those that were accepted.
    """

    operation_id: OperationId
    attempt: int
    mode: ResolutionMode
    resolved: bool
    standing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON, without the operation."""
        return {
            "resolved": self.resolved,
            "attempt": self.attempt,
            "mode": self.mode.value,
            "standing": list(self.standing),
        }


class Resolution:
    """One attempt to resolve a stuck operation.

    Args:
        request: The operation.
        standing: What stands, as its report or the resolution before this one left it.
        attempt: The number of this resolution, from 1; the caller counts.
        mode: What to do.
        principal: Who asked for it.
        reason: Why, in the operator's words; recorded, cut to 200 printable characters.
        activities: Of a saga; a resolution needs `undo`, `record` and `now` of them.
        durable_step: What makes it durable; its names are this resolution's own.
    """

    def __init__(
        self,
        request: OperationRequest,
        standing: Sequence[Standing],
        *,
        attempt: int,
        mode: ResolutionMode,
        principal: PrincipalId,
        reason: str,
        activities: Activities,
        durable_step: DurableStep,
    ) -> None:
        if attempt < 1:
            raise ValueError(f"resolutions are numbered from 1, got {attempt}")
        self._request = request
        self._steps = [_step(one) for one in standing]
        self._attempt = attempt
        self._mode = mode
        self._principal = principal
        self._reason = bounded(reason)
        self._activities = activities
        self._run_step = durable_step
        self._event_log = EventLog(request, len(standing))
        self._carried: list[Entry] = []

    def run(self) -> ResolutionReport:
        """Run to the end, or raise what interrupts it; the end is recorded when this returns."""
        if self._mode is ResolutionMode.retry:
            for step in sorted(self._steps, key=lambda step: step.index, reverse=True):
                self._retry(step)
        standing = tuple(str(step.action) for step in self._steps if step.stands)
        resolved = self._mode is ResolutionMode.accept or not standing
        report = ResolutionReport(self._request.id, self._attempt, self._mode, resolved, standing)
        self._run_step("finish", partial(self._record_end, report))
        return report

    def standing(self) -> tuple[Standing, ...]:
        """After `run`: what the next resolution has to deal with."""
        return tuple(step.standing() for step in self._steps if step.stands)

    def _retry(self, step: Step) -> None:
        body = partial(self._undo, step)
        try:
            kept = self._run_step(f"undo:{step.index}:{step.action}", body)
        except Exception as error:  # noqa: BLE001 it stands, which is told; the others are tried
            step.undone = broken(error)
            return
        step.undone, at = call_from(kept)
        self._carried = [step.outcome_entry(at)]

    def _undo(self, step: Step) -> dict[str, Any]:
        self._record(Entry(Kind.compensation_intended, step.index, step.action))
        return undone(self._activities, self._request, step)

    def _record_end(self, report: ResolutionReport) -> dict[str, Any]:
        kind = Kind.operation_resolved if report.resolved else Kind.operation_still_stuck
        detail = (
            ("mode", report.mode.value),
            ("standing", list(report.standing)),
            ("principal", self._principal),
            ("reason", self._reason),
        )
        self._record(Entry(kind, detail=detail))
        return {}

    def _record(self, entry: Entry) -> None:
        now = self._activities.now()
        told: Callable[[Entry], Event] = partial(
            self._event_log.event, now=now, resolution=self._attempt
        )
        self._activities.record([told(one) for one in [*self._carried, entry]], None)


def bounded(reason: str) -> str:
    """An operator's words as they are recorded: printable, and at most 200 characters."""
    return "".join(each if each.isprintable() else " " for each in reason)[:_MAX_REASON]


def _step(standing: Standing) -> Step:
    done = Called(ok=True, attempts=0, effect=Effect(standing.effect))
    if standing.result is not None:
        done = replace(done, result=standing.result)
    return Step(standing.index, standing.action, done=done)
