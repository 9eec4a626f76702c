"""What `mcctl slo status` and the runbook's morning check of Day-1 ask, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mc_ops.errors import NotAllowed, OpsError
from mc_ops.service_client import ServiceClient
from mc_ops.service_client.client import NotTheService
from mc_ops.slo import levels, targets
from mc_ops.slo.burn import burns
from mc_ops.slo.figure import Figure, Verdict
from mc_ops.slo.measure import Measure
from mc_ops.slo.trend import policy_figures

_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under one heading of the runbook."""

    name: str
    title: str
    figures: tuple[Figure, ...]


def slo_status(measure: Measure, privacy: Figure, *, least_replicas: int) -> list[Figure]:
    """Every target that the runbook fixes; `privacy` comes from a red-team."""
    return [
        measure.ratio(targets.A2A),
        measure.ratio(targets.AUTONOMY),
        measure.compensation(),
        *measure.tenants_p95(),
        *measure.graphql_p95(),
        levels.replication_lag(measure),
        measure.ratio(targets.SIEM),
        privacy,
        levels.replicas(measure, least_replicas),
    ]


def morning(measure: Measure) -> Section:
    """The section "Morning Health Check": A2A, autonomy, compensation."""
    figures = (measure.ratio(targets.A2A), measure.ratio(targets.AUTONOMY), measure.compensation())
    return Section("morning", "Morning health check", figures)


def policy(measure: Measure) -> Section:
    """The section "Policy Enforcement Health": denials, and their trend."""
    return Section("policy", "Policy enforcement health", tuple(policy_figures(measure)))


def performance(measure: Measure) -> Section:
    """The section "Performance Validation": p95 of every tenant, error budget burn."""
    figures = (*measure.tenants_p95(), *burns(measure))
    return Section("performance", "Performance validation", figures)


def cost(figures: Iterable[Figure], replicas: Figure, oscillation: Figure) -> Section:
    """The section "Cost Validation": unit cost, replicas, HPA oscillation."""
    return Section("cost", "Cost validation", (*figures, replicas, oscillation))


def platform(measure: Measure, health: Iterable[Figure]) -> Section:
    """What the runbook's morning leaves out: health of each replica, SIEM, halted, stuck."""
    figures = (
        *health,
        measure.ratio(targets.SIEM),
        levels.level(
            measure,
            "siem-backlog-age",
            "oldest event not yet in the SIEM",
            "mc_siem_backlog_age_seconds",
            targets.MOST_BACKLOG_AGE_S,
            "s",
        ),
        levels.halted(measure),
        levels.level(
            measure,
            "stuck-operations",
            "stuck operations",
            "mc_autonomy_stuck_operations",
            0,
            "count",
        ),
    )
    return Section("platform", "The platform itself", figures)


def replicas_health(replicas: Mapping[str, str], dead: Iterable[str] = ()) -> list[Figure]:
    """What each replica's /health says; `dead` are those that were started and are gone."""
    if not replicas:
        return [nobody_asked("no replica is known here")]
    with ThreadPoolExecutor(max_workers=min(16, len(replicas))) as pool:
        found = list(pool.map(_asked, replicas.items()))
    return [
        *found,
        *(_health(name, Verdict.missed, "it was started, and it died") for name in dead),
    ]


def nobody_asked(reason: str) -> Figure:
    """The row where no replica could be asked for its health."""
    return _health("replicas", Verdict.unknown, reason)


def _asked(replica: tuple[str, str]) -> Figure:
    name, url = replica
    try:
        with ServiceClient(url, timeout_s=_TIMEOUT_S) as client:
            health = client.health()
    except (NotTheService, NotAllowed) as error:
        return _health(name, Verdict.unknown, error.message)
    except OpsError as error:
        return _health(name, Verdict.missed, error.message)
    if health.status == "ok" and health.serving and not health.faults:
        return _health(name, Verdict.met, "")
    bad = [
        f"{key} {state}"
        for key, value in health.dependencies.items()
        if (state := value.get("state") if isinstance(value, Mapping) else value) != "ok"
    ]
    bad += [f"fault {key}={value}" for key, value in health.faults.items()]
    return _health(name, Verdict.missed, f"{health.status}: {', '.join(bad) or 'no cause told'}")


def _health(name: str, verdict: Verdict, reason: str) -> Figure:
    value = {Verdict.met: 1.0, Verdict.missed: 0.0}.get(verdict)
    return Figure(
        f"health:{name}", f"/health of {name}", value, "ok", "ok", verdict, "now", "health", reason
    )
