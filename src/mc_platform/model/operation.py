"""Operations: what is asked, how each step went, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mc_platform.model.ids import OperationId, PrincipalId, TaskId, TenantId


class Outcome(StrEnum):
    """How an operation ended. There is no fourth way."""

    completed = "completed"
    compensated = "compensated"
    stuck = "stuck"


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
class OperationReport:
    """The end of an operation: outcome, the steps in order, and why it did not complete."""

    id: OperationId
    outcome: Outcome
    steps: tuple[StepReport, ...]
    reason: str = ""
    canceled: bool = False
