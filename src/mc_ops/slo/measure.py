"""The service's targets that are shares, measured from a source: success and latency.

Every target that is a share, latency among them (the share of requests at or under the limit, of
which 95 % must be), is judged in one way. A p95 in milliseconds is told beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from mc_ops.errors import CouldNotTell
from mc_ops.slo import targets
from mc_ops.slo.figure import Figure, Heading, Judged, Share, Verdict, budget_of, judge
from mc_ops.slo.quantile import Quantile, at_most, quantile
from mc_ops.slo.source import Key, Source, Window, span_of
from mc_ops.slo.targets import RatioTarget

_BUCKETS = "mc_request_duration_seconds_bucket"
_TENANT_BUCKETS = "mc_tenant_request_duration_seconds_bucket"
_COVERED_ENOUGH = 0.9


class Measure:
    """Figures of one source.

    Args:
        source: Where they come from.
        window: Asked for in place of each target's own; None: each its own.
    """

    def __init__(self, source: Source, window: Window | None = None) -> None:
        self.source = source
        self.asked = window
        self._unread = source.unread

    def window(self, own: Window) -> Window:
        """The window that is asked for where a target's own is `own`."""
        return self.asked or own

    def ratio(self, target: RatioTarget) -> Figure:
        """A target on the share of good events, over all tenants, with each tenant beside it."""
        window = self.window(target.window)
        by = ("status", "tenant")
        rows = self.source.increases(target.metric, by, window)
        if not rows:
            return self.absent(target, target.metric, window)
        rows = {key: n for key, n in rows.items() if key[1] not in target.tenants_left_out}
        counted = {key: n for key, n in rows.items() if key[0] not in target.left_out and n > 0}
        good = sum(value for (status, _), value in counted.items() if status in target.good)
        total = sum(counted.values())
        figure = self._share(target, target.share, good, total, window)
        statuses: dict[str, float] = defaultdict(float)
        for (status, _), value in rows.items():
            statuses[status] += value
        detail: dict[str, object] = {"by_status": dict(sorted(statuses.items()))}
        if any(tenant for _, tenant in rows):
            detail["by_tenant"] = _by_tenant(counted, target.good)
        return replace(figure, detail=detail)

    def compensation(self) -> Figure:
        """Compensated operations among those that nobody canceled: at most 0.5 % in 24 h."""
        window = self.window(targets.COMPENSATION_WINDOW)
        heading = Heading("compensation", "compensated operations", "<= 0.5 %")
        found = []
        for metric in (targets.AUTONOMY.metric, "mc_autonomy_compensation_total"):
            rows = self.source.increases(metric, ("status", "tenant"), window)
            if not rows:
                return self.absent(heading, metric, window)
            by_tenant: dict[str, float] = defaultdict(float)
            for (status, tenant), n in rows.items():
                if tenant not in targets.NO_CUSTOMERS and status not in targets.CANCELED:
                    by_tenant[tenant] += n
            found.append(by_tenant)
        ended, undone = found
        # `increase` extrapolates each counter by itself, hence never below none
        good = {tenant: max(0.0, n - undone.get(tenant, 0.0)) for tenant, n in ended.items()}
        share = targets.COMPENSATION
        figure = self._share(heading, share, sum(good.values()), sum(ended.values()), window)
        # One tenant over the limit is a miss, however many operations others have
        over = [
            tenant
            for tenant, n in sorted(ended.items())
            if judge(share, good[tenant], n).verdict is Verdict.missed
        ]
        if over:
            reason = f"{', '.join(over)}: over the limit"
            figure = replace(figure, verdict=Verdict.missed, reason=reason, few=False)
        value = None if figure.value is None else 1 - figure.value
        bounds = figure.bounds and (1 - figure.bounds[1], 1 - figure.bounds[0])
        detail = {
            tenant: {"compensated": n - good[tenant], "events": n}
            for tenant, n in sorted(ended.items())
            if n
        }
        return replace(figure, value=value, bounds=bounds, detail={"by_tenant": detail})

    def tenants_p95(self) -> list[Figure]:
        """The p95 of every tenant that made requests, against 200 ms."""
        window = self.window(targets.LATENCY_WINDOW)
        tenants = self._by_tenant(window)
        busy = {name: buckets for name, buckets in tenants.items() if max(buckets.values()) > 0}
        heading = Heading("p95", "p95 of every tenant", "< 200 ms", "ms")
        if not tenants:
            return [self.absent(heading, _TENANT_BUCKETS, window)]
        if not busy:
            idle = Judged(Verdict.unknown, "no tenant made a request in this time", few=True)
            return [self.figure(heading, None, idle, window)]
        share = Share(targets.P95, strict=True)
        return [
            self._latency(
                replace(heading, name=f"p95:{tenant}", title=f"p95 of {tenant}"),
                (targets.P95_LIMIT_S, share),
                buckets,
                window,
            )
            for tenant, buckets in sorted(busy.items())
        ]

    def graphql_p95(self) -> list[Figure]:
        """The p95 of GraphQL against the warning's 250 ms and the page's 350 ms."""
        window = self.window(targets.LATENCY_WINDOW)
        rows = self.source.increases(_BUCKETS, ("route", "le"), window)
        buckets = _histograms(rows).get("graphql", {})
        share = Share(targets.P95)
        found = []
        for kind, edge in (
            ("warning", targets.GRAPHQL_WARNING_S),
            ("critical", targets.GRAPHQL_CRITICAL_S),
        ):
            target = f"<= {1000 * edge:g} ms"
            heading = Heading(f"graphql-p95-{kind}", f"GraphQL p95 ({kind})", target, "ms")
            found.append(
                self._latency(heading, (edge, share), buckets, window)
                if buckets
                else self.absent(heading, _BUCKETS, window)
            )
        return found

    def p95_ms(self, window: Window) -> Figure:
        """The p95 of all tenants' requests together, in milliseconds: what the delta tells."""
        buckets: dict[float, float] = defaultdict(float)
        for one in self._by_tenant(window).values():
            for edge, count in one.items():
                buckets[edge] += count
        heading = Heading("p95", "p95 of all tenants' requests", "< 200 ms", "ms")
        if not buckets:
            return self.absent(heading, _TENANT_BUCKETS, window)
        share = Share(targets.P95, strict=True)
        return self._latency(heading, (targets.P95_LIMIT_S, share), buckets, window)

    def _by_tenant(self, window: Window) -> dict[str, dict[float, float]]:
        """Each customer's histogram of the routes on which it waits for an answer."""
        rows = self.source.increases(_TENANT_BUCKETS, ("tenant", "le"), window)
        return _histograms({key: n for key, n in rows.items() if key[0] != targets.CANARY})

    def _latency(
        self,
        heading: Heading,
        limit: tuple[float, Share],
        buckets: Mapping[float, float],
        window: Window,
    ) -> Figure:
        edge, share = limit
        total = max(buckets.values())
        under = at_most(edge, buckets)
        told = quantile(targets.P95, buckets)
        value = None if told.value is None else 1000 * told.value
        if under is None:
            judged = Judged(Verdict.unknown, f"{1000 * edge:g} ms is no edge of the histogram")
        else:
            judged = judge(share, under, total)
        figure = self.figure(heading, value, _told(judged, told), window)
        good = under or 0.0
        return replace(figure, events=total, budget=budget_of(share, good, total))

    def _share(
        self, heading: Heading, share: Share, good: float, total: float, window: Window
    ) -> Figure:
        value = good / total if total > 0 else None
        figure = self.figure(heading, value, judge(share, good, total), window)
        return replace(figure, events=total, budget=budget_of(share, good, total))

    def absent(self, heading: Heading, metric: str, window: Window) -> Figure:
        """The figure of a metric that the source does not have."""
        why = f"{self.source.name} has no {metric.removesuffix('_bucket')} of this time"
        return self.figure(heading, None, Judged(Verdict.unknown, why), window)

    def figure(
        self, heading: Heading, value: float | None, judged: Judged, window: Window
    ) -> Figure:
        """A figure over a window, unless a replica's silence leaves it unknown."""
        span, covered = self.source.span(window), self.source.covered_s(window) or 0.0
        if self.source.looks_back and covered < _COVERED_ENOUGH * window.seconds:
            span = f"{span} ({span_of(covered)} known)"
        return self._judged(heading, value, judged, span)

    def now(self, heading: Heading, value: float | None, judged: Judged) -> Figure:
        """A figure of this moment; as `figure`."""
        return self._judged(heading, value, judged, "now")

    def _judged(self, heading: Heading, value: float | None, judged: Judged, span: str) -> Figure:
        judged = self._without_gaps(judged)
        return Figure(
            heading.name,
            heading.title,
            value,
            heading.unit,
            heading.target,
            judged.verdict,
            span,
            self.source.name,
            judged.reason,
            judged.few,
            bounds=judged.bounds,
        )

    def _without_gaps(self, judged: Judged) -> Judged:
        """What a silent replica counted is not known, so that nothing can be called met."""
        if not self._unread or judged.verdict is not Verdict.met:
            return judged
        who = ", ".join(self._unread)
        return replace(judged, verdict=Verdict.unknown, reason=f"without {who}: it does not answer")


def _told(judged: Judged, told: Quantile) -> Judged:
    """Say where the quantile is above every edge of the histogram."""
    if told.above is None:
        return judged
    above = f"above {told.above:g} s, the last edge of the histogram"
    return replace(judged, reason=f"{above}; {judged.reason}" if judged.reason else above)


def _histograms(rows: Mapping[Key, float]) -> dict[str, dict[float, float]]:
    """Cumulative counts by upper edge in seconds, by the first label; the second is `le`."""
    found: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for (name, edge), value in rows.items():
        try:
            found[name][float(edge)] += value  # "+Inf" is read as well
        except ValueError as error:
            raise CouldNotTell(f'a histogram has an edge "{edge[:40]}", not a number') from error
    return {name: dict(buckets) for name, buckets in found.items()}


def _by_tenant(rows: Mapping[Key, float], good: frozenset[str]) -> dict[str, dict[str, float]]:
    told: dict[str, dict[str, float]] = defaultdict(lambda: {"good": 0.0, "events": 0.0})
    for (status, tenant), value in rows.items():
        told[tenant]["events"] += value
        told[tenant]["good"] += value if status in good else 0.0
    return dict(sorted(told.items()))
