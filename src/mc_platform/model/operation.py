"""Operations: what is asked, in which plan, how each step went, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mc_platform.model.ids import ActionName, OperationId, PrincipalId, TaskId, TenantId

Plan = tuple[tuple[ActionName, ...], ...]
"""Groups of actions in order; the members of a group run at once."""


def plan_as_json(plan: Plan) -> list[Any]:
    """A plan as JSON: a group of one is its action's name, a larger one a list."""
    return [group[0] if len(group) == 1 else list(group) for group in plan]


def plan_from(raw: Sequence[Any]) -> Plan:
    """The plan that `plan_as_json` wrote; a flat list of names is a plan without groups."""
    return tuple(
        (ActionName(entry),)
        if isinstance(entry, str)
        else tuple(ActionName(action) for action in entry)
        for entry in raw
    )


class Outcome(StrEnum):
    """How an operation ended. There is no fourth way."""

    completed = "completed"
    compensated = "compensated"
    stuck = "stuck"


class Ending(StrEnum):
    """What an ended operation counts as: in the metrics, the breaker, the SLOs and the alerts.

    One meaning for all of them. Autonomy success is `completed` among those that count; the
    compensated are `compensated` and `stuck` among them. All count but `canceled`.
    """

    completed = "completed"
    compensated = "compensated"
    """It could not be completed, and at least one effect was undone."""
    failed = "failed"
    """It could not be completed, and there was no effect to undo."""
    stuck = "stuck"
    """An effect stands, or may, that should have been undone: whoever asked for the end."""
    canceled = "canceled"
    """Somebody asked for its end, and nothing stands: neither a success nor a failure."""


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """An operation to run, accepted by policy.

    Attributes:
        id: Derived from tenant and message id, so that a repeat is the same operation.
        operation: Name in the catalogue.
        input: JSON values from the message's data part.
    """

    id: OperationId
    tenant: TenantId
    principal: PrincipalId
    task_id: TaskId
    operation: str
    input: Mapping[str, Any]
    decision_id: str


@dataclass(frozen=True, slots=True)
class StepReport:
    """One line of an operation's timeline: `state` is done, failed, compensated or stuck."""

    action: str
    state: str
    attempts: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """An effect that stands (or may) after a stuck operation, as its resolution needs it.

    Attributes:
        index: The action's place in the plan, counted flat from 0.
        effect: `landed` or `unknown`.
        result: What the effect answered; None if that is not known.
    """

    index: int
    action: ActionName
    effect: str
    result: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OperationReport:
    """The end of an operation: outcome, the steps in order, and why it did not complete.

    `standing` is empty unless it is stuck. It holds results: it is for a resolution, never for a
    reply, a log or the ledger.
    """

    id: OperationId
    outcome: Outcome
    steps: tuple[StepReport, ...]
    reason: str = ""
    canceled: bool = False
    standing: tuple[Standing, ...] = ()
    effects_undone: int = 0

    @property
    def ending(self) -> Ending:
        """What it counts as."""
        if self.outcome is not Outcome.compensated:
            return Ending(self.outcome)
        if self.canceled:
            return Ending.canceled
        return Ending.compensated if self.effects_undone else Ending.failed
