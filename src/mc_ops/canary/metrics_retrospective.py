"""Judge the metrics of two ranges that are past already; nothing is sent.

The sides may be told apart by label (two colours in the same hour), by time (this hour and the
same hour a week ago), or by both. It is no canary verdict: nobody sent the same requests to both
sides at once, so that other load may be behind a change. What it writes never says PROMOTE.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mc_contract.metric_judgement.verdict import MetricConfig, MetricJudgement
from mc_ops.canary import files, metrics
from mc_ops.canary.metrics import Selectors, Span
from mc_ops.canary_folder import METRICS
from mc_ops.errors import UnusableInput
from mc_ops.service_client import PrometheusClient

WHAT = (
    "metrics of past ranges alone: no request pairs were sent, so this is no canary verdict and "
    "promotes nothing"
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"-([0-9]{1,9})([smhdw])")


@dataclass(frozen=True, slots=True)
class Retrospective:
    """What was found; `verdict` is what `verdict.json` has."""

    judgement: MetricJudgement
    verdict: dict[str, Any]


def parse_time(name: str, text: str, *, now: datetime) -> datetime:
    """A time as a user writes it: ISO 8601 with its zone, `now`, or `-90m` (also s, h, d, w).

    Raises:
        UnusableInput: For anything else.
    """
    if text == "now":
        return now
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UnusableInput(
        f'{name}: not a time: "{text}"',
        hint="2026-01-31T12:00:00Z (with its zone), now, or -90m (s, m, h, d, w ago)",
    )


def spans_of(
    start: datetime, end: datetime, baseline_start: datetime | None, *, now: datetime
) -> dict[str, Span]:
    """Both sides' ranges, of one length; the baseline's begins elsewhere if `baseline_start`.

    Raises:
        UnusableInput: When the end is not after the start, or is still to come.
    """
    if end <= start:
        raise UnusableInput(f"the end {end} is not after the start {start}")
    base_start = start if baseline_start is None else baseline_start
    spans = {
        "baseline": Span(base_start, base_start + (end - start)),
        "candidate": Span(start, end),
    }
    for side, span in spans.items():
        if span.end > now:
            raise UnusableInput(
                f"the {side}'s range ends {span.end}, which is still to come",
                hint="a retrospective judges what is past",
            )
    return spans


def judge_past(
    client: PrometheusClient,
    config: MetricConfig,
    selectors: Selectors,
    spans: dict[str, Span],
    *,
    out_dir: Path,
) -> Retrospective:
    """Ask both ranges, judge them, write `metrics.json` and `verdict.json`.

    Raises:
        UnusableInput: Both sides are the same; a query is refused; the folder has another run.
        CouldNotTell: Prometheus does not answer.
        NotAllowed: Prometheus wants other credentials.
    """
    if selectors.baseline == selectors.candidate and spans["baseline"] == spans["candidate"]:
        raise UnusableInput(
            "baseline and candidate are the same series",
            hint="give other selectors, or --baseline-start",
        )
    files.check_out_dir(out_dir)
    series = metrics.ask(client, config, selectors, spans, keep_going=False)
    document, judgement = metrics.judged_document(
        config, selectors, spans, series, prometheus=client.url
    )
    verdict = {
        "verdict": "METRICS-PASS" if judgement.passed else "HOLD",
        "kind": "retrospective",
        "reason": f"metrics {judgement.outcome}: {judgement.reason}",
        "what": WHAT,
        "rehearsal": True,
        "metrics": judgement.summary(),
        "window": document["window"],
        "selectors": selectors.as_dict(),
        "judged_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    files.make_out_dir(out_dir)
    files.write_json(out_dir / METRICS, document, indent=1)
    files.write_verdict(out_dir, verdict)
    return Retrospective(judgement, verdict)
