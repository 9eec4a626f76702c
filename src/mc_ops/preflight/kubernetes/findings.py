"""What a check of manifests finds: which object, which field, why, and what to write there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mc_ops.preflight.result import CheckResult, Status

ELSEWHERE = (
    "name where the manifests are; on a cluster their namespace: --namespace, or MC_NAMESPACE"
)
"""What to do where there is nothing to look at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        object: Which, as `str(Object)` says it.
        field: Where in it; empty if it is all of it.
        why: What is wrong with what stands there.
        fix: What to do.
    """

    object: str
    field: str
    why: str
    fix: str


def results(name: str, findings: Iterable[Finding], good: str) -> Iterator[CheckResult]:
    """A check's results: one for each finding, or one that passes with `good`."""
    passed = True
    for one in findings:
        passed = False
        where = f"{one.object} {one.field}".strip()
        detail = f"{where}: {one.why}"
        yield CheckResult(name, Status.failed, detail, one.fix, object=one.object, field=one.field)
    if passed:
        yield CheckResult(name, Status.passed, good)
