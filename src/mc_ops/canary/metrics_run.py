"""The metrics of a canary run: asked before anything is sent, and judged over the run's window.

The verdict needs both, the samples and the metrics: PROMOTE by samples becomes HOLD
(`kind: metrics`) unless the metrics pass. A HOLD by samples stays what it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mc_contract.metric_judgement.statistics import LEAST_BLOCKS
from mc_contract.metric_judgement.verdict import MetricConfig, MetricJudgement
from mc_ops.canary import files, metrics
from mc_ops.canary.metrics import Selectors, Span
from mc_ops.canary_folder import METRICS
from mc_ops.errors import CouldNotTell, OpsError, UnusableInput
from mc_ops.service_client import PrometheusClient

PENDING = "the metrics are not judged yet"
# Prometheus scrapes every minute unless told otherwise, and a scrape may take 10 s
_PATIENCE_S = 75.0
_POLL_S = 1.0

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """What a run's metrics are judged by, and where they are asked."""

    config: MetricConfig
    selectors: Selectors
    client: PrometheusClient
    told: Told = lambda _: None
    patience_s: float = _PATIENCE_S

    def check(self, minutes: float) -> list[dict[str, Any]]:
        """Find before the run what would leave it without a metric verdict; gives `points`.

        Raises:
            UnusableInput: A run of that length cannot decide a metric, or a query is refused.
            CouldNotTell: Prometheus does not answer.
            NotAllowed: Prometheus wants other credentials.
        """
        undecided = [
            f"metric {metric.name} needs {needed / 60:.1f} min"
            for metric in self.config.metrics
            if (needed := _least_s(metric.range_s, metric.min_samples, self.config.step_s))
            > minutes * 60
        ]
        if undecided:
            raise UnusableInput(
                f"a run of {minutes:g} min decides too little: {'; '.join(undecided)}",
                hint="a longer run, a shorter range in the query, a smaller step_s or min_samples",
            )
        for text in self.without_target():
            self.told(text)
        return self.points(minutes)

    def without_target(self) -> list[str]:
        """The sides of which Prometheus scrapes no target, as sentences; raises as `check`."""
        return [
            f"{self.client.url} has no target of the {side} ({selector}): is it scraped, and by "
            f"which labels? --{side}-selector names others"
            for side, selector in self.selectors.as_dict().items()
            if not metrics.has_target(self.client, selector)
        ]

    def points(self, minutes: float) -> list[dict[str, Any]]:
        """Each metric's queries, and how many values each side has over the past `minutes`.

        Raises:
            OpsError: As `check`.
        """
        now = datetime.now(UTC)
        span = Span(now - timedelta(minutes=minutes), now)
        found = []
        for metric in self.config.metrics:
            queries = {
                side: metric.query_for(selector)
                for side, selector in self.selectors.as_dict().items()
            }
            counts = {
                side: metrics.points_of(self.client, query, metric, span, self.config.step_s)
                for side, query in queries.items()
            }
            found.append({"name": metric.name, "queries": queries, "points": counts})
        return found

    def judge(self, span: Span, folder: Path) -> MetricJudgement:
        """Wait until the run's end is scraped, ask both sides' series, write `metrics.json`.

        Raises:
            CouldNotTell: The file cannot be written, or what Prometheus gave is unusable.
        """
        self._await_scrape(span.end)
        spans = {"baseline": span, "candidate": span}
        series = metrics.ask(self.client, self.config, self.selectors, spans, keep_going=True)
        for name, told in series.items():
            for side, why in told["why"].items():
                self.told(f"metric {name} of the {side}: {why}")
        document, judgement = metrics.judged_document(
            self.config, self.selectors, spans, series, prometheus=self.client.url
        )
        files.write_json(folder / METRICS, document, indent=1)
        return judgement

    def _await_scrape(self, end: datetime) -> None:
        """Wait for a scrape of every instance after `end`; what has no `up` is not waited for."""
        deadline = time.monotonic() + self.patience_s
        while (seen := self._last_scrape()) is not None and seen < end.timestamp():
            if time.monotonic() >= deadline:
                self.told(f"no scrape within {self.patience_s:.0f} s after the run; going on")
                return
            time.sleep(_POLL_S)

    def _last_scrape(self) -> float | None:
        """When the instance that was scraped longest ago was scraped, in Unix seconds."""
        try:
            times = [
                sample.value
                for selector in self.selectors.as_dict().values()
                for sample in self.client.query(f"min(timestamp(up{{{selector}}}))")
            ]
        except OpsError:
            return None  # what was asked for then tells why
        return min(times, default=None)


def compose(verdict: dict[str, Any], judgement: MetricJudgement) -> dict[str, Any]:
    """The verdict of samples and metrics together, as `verdict.json` has it."""
    together = verdict | {"metrics": judgement.summary()}
    if verdict["verdict"] == "PROMOTE" and not judgement.passed:
        together |= {
            "verdict": "HOLD",
            "kind": "metrics",
            "reason": f"metrics {judgement.outcome}: {judgement.reason}",
            "samples": {key: verdict[key] for key in ("verdict", "kind", "reason")},
        }
    return together


def pending(verdict: dict[str, Any]) -> dict[str, Any]:
    """The verdict to write before the metrics are asked: no PROMOTE stands without them."""
    if verdict["verdict"] != "PROMOTE":
        return verdict
    return verdict | {"verdict": "HOLD", "kind": "metrics", "reason": PENDING}


def refuse_unasked(judgement: MetricJudgement) -> None:
    """Tell apart that no metric could be asked from metrics that did not pass.

    Raises:
        CouldNotTell: When Prometheus gave nothing.
    """
    if all(None in result.points for result in judgement.results):
        raise CouldNotTell(
            "the metrics could not be asked, so that nothing is promoted",
            hint="is Prometheus up? metrics.json says what it answered",
        )


def _least_s(range_s: float, min_samples: int, step_s: float) -> float:
    """The shortest run that can decide a metric: its points, and enough that do not overlap."""
    overlap = max(1, math.ceil(range_s / step_s - 1e-9))
    return range_s + max(min_samples - 1, (LEAST_BLOCKS - 1) * overlap) * step_s
