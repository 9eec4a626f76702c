"""Pre-flight: what must hold before a cutover, measured rather than declared.

    results = check_local("pod-security", open_environment(), minimum_replicas=1)
    raise SystemExit(exit_of(results))

A check that cannot be made is `unknown`, never a pass; one without meaning here is
`not-applicable`, with the reason.
"""

from __future__ import annotations

from mc_ops.preflight.local import SUBJECTS, check_edge_of, check_local
from mc_ops.preflight.result import CheckResult, Severity, Status, exit_of, found

__all__ = [
    "SUBJECTS",
    "CheckResult",
    "Severity",
    "Status",
    "check_edge_of",
    "check_local",
    "exit_of",
    "found",
]
