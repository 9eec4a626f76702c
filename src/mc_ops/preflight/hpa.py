"""Enough replicas for the autoscaler's minimum; local has replicas but no autoscaler."""

from __future__ import annotations

from mc_ops.preflight.result import CheckResult, found, not_applicable, unknown


def check_hpa(colour: str | None, running: int, minimum: int) -> list[CheckResult]:
    """Every check of this subject.

    Args:
        colour: The colour that serves; None when nothing was ever put in service.
        running: How many replicas of it live.
        minimum: How many there must be.
    """
    return [
        replicas_minimum(colour, running, minimum),
        not_applicable("horizontal-pod-autoscaler", "local has no HPA"),
    ]


def replicas_minimum(colour: str | None, running: int, minimum: int) -> CheckResult:
    """The colour that serves has at least the minimum of replicas."""
    name = "replicas-minimum"
    if colour is None:
        return unknown(name, "no colour serves", "mcctl up")
    problems = [f"{running} replicas of {colour} run, at least {minimum} must"]
    return found(
        name,
        problems if running < minimum else [],
        f"{running} replicas of {colour} run, at least {minimum} must",
        f"mcctl scale agent-workbench --replicas {minimum}",
    )
