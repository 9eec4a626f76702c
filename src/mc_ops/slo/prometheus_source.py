"""Figures of Prometheus, which has looked at every replica all along.

Counters are `sum by (...) (increase(...[window]))`: `increase` sees a restart, and extrapolates to
the window's ends, so that counts are not whole. Series of other programs that the same Prometheus
scrapes are kept apart by `mc_ledger_size`, which only the workbench tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from mc_ops.service_client import InstantSample, PrometheusClient
from mc_ops.slo.source import Capacity, Key, Window, span_of

_OURS = "mc_ledger_size"
_POINTS = 500  # of a subquery over a window; enough to tell how much of it is covered
_HPA_REPLICAS = (
    "max(kube_horizontalpodautoscaler_status_current_replicas"
    '{horizontalpodautoscaler="agent-workbench"})'
)
_WHOLE = 0.95  # of a window: scrapes are apart
_CLOSE = 0.05  # of what was looked at; the step's own size would be much of less


class PrometheusSource:
    """A `Source` by queries; the client is the caller's to close."""

    name = "prometheus"
    looks_back = True

    def __init__(self, client: PrometheusClient) -> None:
        self._client = client
        self._covered: dict[int, float | None] = {}

    @property
    def unread(self) -> tuple[str, ...]:
        """Instances of the workbench that Prometheus could not scrape the last time.

        The workbench itself, where it was scraped within a day, is not now, and is no target any
        more: what happens since is in no figure.
        """
        # `up` of a job that also scrapes others says nothing of us: only instances that have told
        # our metric within a day count.
        rows = self._client.query(
            f"(up == 0) and on (job, instance) max_over_time({_OURS}[1d])",
        )
        if not rows and self.stopped(_OURS):
            return ("the workbench",)
        return tuple(sorted(row.labels.get("instance", "unnamed") for row in rows))

    def span(self, window: Window) -> str:
        """The window as it was asked for, and how much of it is known where that is less."""
        known_s = self.covered_s(window)
        if known_s is None or known_s >= _WHOLE * window.seconds:
            return window.text
        return f"{window.text}, of which {span_of(known_s)} are known"

    def covered_s(self, window: Window) -> float | None:
        """From the oldest sample of the workbench in the window until now."""
        if window.seconds not in self._covered:
            self._covered[window.seconds] = self._known_s(window.seconds)
        return self._covered[window.seconds]

    def _known_s(self, seconds: int) -> float | None:
        """A look at the whole window by coarse steps; closer ones where it began just now."""
        look, known = seconds, None
        while True:
            step = max(1, look // _POINTS)
            found = _only(
                self._client.query(
                    f"time() - min(min_over_time(timestamp({_OURS})[{look}s:{step}s]))"
                )
            )
            known = known if found is None else min(found, float(seconds))
            if look <= _POINTS or (found is not None and found > look * _CLOSE):
                return known
            look = max(_POINTS, look // 20)

    def increases(self, metric: str, by: tuple[str, ...], window: Window) -> Mapping[Key, float]:
        """As the interface says; raises what `PrometheusClient.query` does."""
        expression = f"sum by ({', '.join(by)}) (increase({metric}[{window.seconds}s]))"
        return _keyed(self._client.query(expression), by)

    def levels(self, metric: str, by: tuple[str, ...]) -> Mapping[Key, float]:
        """As the interface says; raises what `PrometheusClient.query` does."""
        return _keyed(self._client.query(f"max by ({', '.join(by)}) ({metric})"), by)

    def stopped(self, metric: str) -> bool:
        """Whether the metric was told within a day and is not told now."""
        return not self._client.query(metric) and bool(
            self._client.query(f"last_over_time({metric}[1d])")
        )

    def capacity(self, window: Window) -> Capacity:
        """CPU of the workbench's processes alone; replicas counted at each step of the window."""
        seconds, covered = window.seconds, self.covered_s(window)
        cpu = self._client.query(
            f"sum(increase(process_cpu_seconds_total[{seconds}s])"
            f" and on (job, instance) max_over_time({_OURS}[{seconds}s]))"
        )
        return Capacity(
            process_cpu_s=_only(cpu),
            replica_s=None if covered is None else self._replica_s(covered),
            replicas=round(_only(self._client.query(f"count({_OURS})")) or 0),
        )

    def replica_series(self, seconds: float, *, now: datetime) -> list[tuple[float, int]]:
        """(Unix seconds, replicas) by the minute: the autoscaler's own count, else ours.

        Empty where Prometheus knows neither. A minute without a sample is left out.
        """
        for expression in (_HPA_REPLICAS, f"count({_OURS})"):
            rows = self._client.query_range(
                expression, start=now - timedelta(seconds=seconds), end=now, step_s=60
            )
            if rows:
                return [
                    (at, round(value))
                    for at, value in zip(rows[0].times, rows[0].values, strict=True)
                    if math.isfinite(value)
                ]
        return []

    def _replica_s(self, covered_s: float) -> float | None:
        """The mean count of replicas over the time that is known, times that time."""
        look = max(1, math.ceil(covered_s))
        step = max(1, look // _POINTS)
        mean = _only(self._client.query(f"avg_over_time(count({_OURS})[{look}s:{step}s])"))
        return None if mean is None else mean * covered_s


def _only(rows: Iterable[InstantSample]) -> float | None:
    values = [row.value for row in rows if math.isfinite(row.value)]
    return values[0] if values else None


def _keyed(rows: Iterable[InstantSample], by: tuple[str, ...]) -> dict[Key, float]:
    return {
        tuple(row.labels.get(name, "") for name in by): row.value
        for row in rows
        if math.isfinite(row.value)
    }
