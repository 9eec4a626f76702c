"""The canary's metrics: the configuration file, the sides' selectors, what Prometheus has of both.

What was asked and answered becomes one document, `metrics.json`: rules, selectors, queries, windows,
series and result. `mc_contract.metric_judgement.verdict` judges it; nothing here decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mc_contract.configuration import FileProblems, toml_of
from mc_contract.metric_judgement.verdict import (
    FORMAT,
    Metric,
    MetricConfig,
    MetricJudgement,
    MetricsUnusable,
    check_selector,
    parse_config,
    rejudge_metrics,
)
from mc_ops.errors import CouldNotTell, OpsError, UnusableInput
from mc_ops.files import json_object, read_limited
from mc_ops.service_client import PrometheusClient, RangeSeries

# host:port of a target, as the settings under deploy/prometheus and deploy/kubernetes/monitoring say it;
# their `instance` is a replica's name, and that of others host:port, as Prometheus has it by default
ADDRESS = "address"
_LARGEST_CONFIG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """When one side is measured; aware times."""

    start: datetime
    end: datetime

    def as_dict(self) -> dict[str, str]:
        """ISO 8601 in UTC, milliseconds."""
        return {
            name: at.astimezone(UTC).isoformat(timespec="milliseconds")
            for name, at in (("start", self.start), ("end", self.end))
        }


@dataclass(frozen=True, slots=True)
class Selectors:
    """The label matchers that stand for `$side`, checked."""

    baseline: str
    candidate: str

    def as_dict(self) -> dict[str, str]:
        """By side."""
        return {"baseline": self.baseline, "candidate": self.candidate}


def read_config(path: Path) -> MetricConfig:
    """Read a metric configuration (TOML).

    Raises:
        UnusableInput: When it cannot be read, or has problems; the message has all of them.
    """
    raw = read_limited(path, _LARGEST_CONFIG_BYTES)
    try:
        return parse_config(toml_of(raw, most_bytes=_LARGEST_CONFIG_BYTES))
    except FileProblems as error:
        raise UnusableInput(f"{path}: {error}") from error
    except MetricsUnusable as error:
        raise UnusableInput(f"{path}: {error.message}", hint=error.hint) from error


def make_selectors(baseline: str, candidate: str) -> Selectors:
    """Check what stands for each side.

    Raises:
        UnusableInput: When one is no list of label matchers.
    """
    try:
        return Selectors(
            check_selector("baseline", baseline), check_selector("candidate", candidate)
        )
    except MetricsUnusable as error:
        raise UnusableInput(error.message, hint=error.hint) from error


def find_selector(client: PrometheusClient, urls: Sequence[str]) -> str:
    """The matcher of instances by their URLs: by our own settings' label, else by `instance`.

    Raises:
        OpsError: As `PrometheusClient.query`.
    """
    ours = selector_of(urls, ADDRESS)
    return ours if has_target(client, ours) else selector_of(urls, "instance")


def has_target(client: PrometheusClient, selector: str) -> bool:
    """Whether Prometheus scrapes anything that a side's matchers select; raises as its query."""
    return bool(client.query(f"up{{{selector}}}"))


def selector_of(urls: Sequence[str], label: str) -> str:
    """The matcher of instances whose `label` is the host:port of one of these URLs."""
    places = []
    for url in urls:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        places.append(f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}")
    if len(places) == 1:
        return f'{label}="{places[0]}"'
    return '{}=~"{}"'.format(label, "|".join(map(re.escape, places)).replace("\\", "\\\\"))


def ask(
    client: PrometheusClient,
    config: MetricConfig,
    selectors: Selectors,
    spans: Mapping[str, Span],
    *,
    keep_going: bool,
) -> dict[str, Any]:
    """Both sides' series of every metric, as `metrics.json` has them.

    If it is to keep going, a side that Prometheus did not give is null with `why`, which is
    another thing than no data.

    Raises:
        OpsError: As `range_of`, unless it is to keep going.
    """
    return {
        metric.name: _ask_metric(client, config, metric, selectors, spans, keep_going=keep_going)
        for metric in config.metrics
    }


def _ask_metric(
    client: PrometheusClient,
    config: MetricConfig,
    metric: Metric,
    selectors: Selectors,
    spans: Mapping[str, Span],
    *,
    keep_going: bool,
) -> dict[str, Any]:
    told: dict[str, Any] = {"queries": {}, "why": {}}
    for side, selector in selectors.as_dict().items():
        query = metric.query_for(selector)
        told["queries"][side] = query
        try:
            told[side] = _columns(range_of(client, query, metric, spans[side], config.step_s))
        except OpsError as error:
            if not keep_going:
                raise
            told[side], told["why"][side] = None, error.message
    return told


def range_of(
    client: PrometheusClient, query: str, metric: Metric, span: Span, step_s: float
) -> RangeSeries | None:
    """One query's series over a span, None when there is none.

    The first point is a whole range after the span's start, so that none looks back before it; a
    span shorter than that gives its last point.

    Raises:
        UnusableInput: The query is refused, or gives several series.
        CouldNotTell: Prometheus does not answer.
        NotAllowed: Prometheus wants other credentials.
    """
    start = min(span.start + timedelta(seconds=metric.range_s), span.end)
    found = client.query_range(query, start=start, end=span.end, step_s=step_s)
    if len(found) > 1:
        raise UnusableInput(
            f'metric {metric.name}: "{query}" gives {len(found)} series, expected one a side',
            hint="aggregate: sum(...) or max(...)",
        )
    return found[0] if found else None


def points_of(
    client: PrometheusClient, query: str, metric: Metric, span: Span, step_s: float
) -> int:
    """How many usable values a query has over a span; raises as `range_of`."""
    series = range_of(client, query, metric, span, step_s)
    return sum(map(math.isfinite, series.values)) if series else 0


def _columns(series: RangeSeries | None) -> dict[str, Any]:
    if series is None:
        return {"times": [], "values": []}
    # JSON has no NaN (a ratio without any request) and no infinity: a gap is null
    values = [value if math.isfinite(value) else None for value in series.values]
    return {"times": list(series.times), "values": values}


def judged_document(
    config: MetricConfig,
    selectors: Selectors,
    spans: Mapping[str, Span],
    series: Mapping[str, Any],
    *,
    prometheus: str,
) -> tuple[dict[str, Any], MetricJudgement]:
    """The whole of `metrics.json`, and its judgement.

    Raises:
        CouldNotTell: When Prometheus gave what cannot be used.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "prometheus": prometheus,
        "selectors": selectors.as_dict(),
        "window": {side: span.as_dict() for side, span in spans.items()},
        "config": config.as_dict(),
        "series": dict(series),
    }
    try:
        judgement = rejudge_metrics(document)
    except MetricsUnusable as error:
        raise CouldNotTell(f"what Prometheus gave cannot be judged: {error.message}") from error
    return document | {"result": judgement.as_dict()}, judgement


def judge_metrics_file(path: Path) -> MetricJudgement:
    """Redo a metric judgement from a `metrics.json`.

    Raises:
        UnusableInput: When it cannot be read, or is no such file.
    """
    document = json_object(path, read_limited(path))
    try:
        return rejudge_metrics(document)
    except MetricsUnusable as error:
        raise UnusableInput(f"{path}: {error.message}", hint=error.hint) from error
