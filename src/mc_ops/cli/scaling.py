"""Whether the replicas oscillate, as one more figure of a cost or health report.

The incident room tells oscillation, the SLO room has the figures; they meet here alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_ops import incidents as room
from mc_ops.cli.slo_access import LOCAL
from mc_ops.errors import CouldNotTell, OpsError

if TYPE_CHECKING:
    from mc_ops.slo import Figure, PrometheusSource, Source

_LOOK_BACK_S = 6 * 3600.0
_HPA = "agent-workbench"
_NAME, _TITLE, _TARGET = "hpa-oscillation", "replica oscillation", "< 4 an hour"


def oscillation_figure(source: Source, env: str) -> Figure:
    """Reversals an hour: of the last six hours by Prometheus, else of the cluster's events.

    A laptop without Prometheus has neither, nor an autoscaler. What cannot be read leaves the
    figure unknown, and the rest of the report stands.
    """
    from mc_ops.slo import Figure, PrometheusSource, Verdict

    def blank(verdict: Verdict, reason: str, origin: str) -> Figure:
        return Figure(_NAME, _TITLE, None, "count", _TARGET, verdict, "-", origin, reason)

    looks_back = isinstance(source, PrometheusSource)
    if not looks_back and env == LOCAL:
        why = "no autoscaler: a person scales the processes"
        return blank(Verdict.not_applicable, why, source.name)
    origin = source.name if looks_back else "events of the cluster"
    try:
        found = _of_prometheus(source) if isinstance(source, PrometheusSource) else _of_cluster()
    except OpsError as error:
        return blank(Verdict.unknown, error.message, origin)
    verdict = Verdict.unknown
    if found.oscillating or found.enough:
        verdict = Verdict.missed if found.oscillating else Verdict.met
    return Figure(
        _NAME,
        _TITLE,
        found.reversals_per_hour,
        "count",
        _TARGET,
        verdict,
        f"last {found.window_s / 60:.0f} min",
        origin,
        found.why,
        few=verdict is Verdict.unknown,
        detail=found.as_dict(),
    )


def _of_prometheus(source: PrometheusSource) -> room.Oscillation:
    from mc_ops.autoscaler.record import GAP_S

    series = source.replica_series(_LOOK_BACK_S, now=datetime.now(UTC))
    if not series:
        raise CouldNotTell("Prometheus knows no count of replicas")
    return room.oscillation(series, gap_s=GAP_S)


def _of_cluster() -> room.Oscillation:
    """By the events of the HPA, in the namespace of the kubeconfig's context."""
    from mc_ops.autoscaler.record import judged
    from mc_ops.cli.incident_hpa import recorded_of
    from mc_ops.environments.kubernetes import Autoscalers

    cluster = Autoscalers()
    return judged(recorded_of(cluster, cluster.read(_HPA)))
