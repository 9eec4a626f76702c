"""What a check says: pass, fail, unknown or not applicable, with the measurement behind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mc_ops.exit_codes import COULD_NOT_TELL, FINDING, OK


class Status(StrEnum):
    """The answer of a check; unknown is never taken for a pass."""

    passed = "pass"
    failed = "fail"
    unknown = "unknown"
    not_applicable = "not-applicable"


class Severity(StrEnum):
    """How bad a failure of the check is."""

    critical = "critical"
    warning = "warning"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's answer.

    Attributes:
        detail: What was measured, or why nothing could be.
        remedy: What to do about a failure; empty when there is nothing to do.
        object: Which object of Kubernetes fails it, where it is about one.
        field: Where in that object.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    severity: Severity = Severity.critical
    object: str = ""
    field: str = ""

    def as_dict(self) -> dict[str, str]:
        """The check as it appears in JSON."""
        told: dict[str, str] = {
            "name": self.name,
            "status": self.status,
            "severity": self.severity,
            "detail": self.detail,
            "remedy": self.remedy,
        }
        return told | ({"object": self.object, "field": self.field} if self.object else {})


def found(name: str, problems: Iterable[str], good: str, remedy: str) -> CheckResult:
    """A check that fails if there are problems, and says which; else passes with `good`."""
    listed = list(problems)
    if listed:
        return CheckResult(name, Status.failed, "; ".join(listed), remedy)
    return CheckResult(name, Status.passed, good)


def unknown(name: str, why: str, remedy: str = "") -> CheckResult:
    """A check that could not be made."""
    return CheckResult(name, Status.unknown, why, remedy)


def not_applicable(name: str, why: str) -> CheckResult:
    """A check that has no meaning in this environment."""
    return CheckResult(name, Status.not_applicable, why)


def exit_of(results: Iterable[CheckResult]) -> int:
    """The exit code of a pre-flight: 1 for a failure, else 3 for an unknown or for no check."""
    statuses = {result.status for result in results}
    if Status.failed in statuses:
        return FINDING
    return COULD_NOT_TELL if Status.unknown in statuses or not statuses else OK
