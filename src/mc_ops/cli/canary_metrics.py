"""`mcctl canary retrospective|judge-metrics`, and the metrics of `canary run` and its `--dry-run`.

stdout is the result. Exit 0 when the metrics pass, 1 when they do not, 2 unusable input, 3 could
not tell (Prometheus down), 4 Prometheus wants other credentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops.cli.options import OptionGroup, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, note, show, styled, warn
from mc_ops.cli.slo_access import prometheus_client
from mc_ops.environments import Workspace
from mc_ops.errors import CouldNotTell, UnusableInput

if TYPE_CHECKING:
    from mc_contract.metric_judgement.verdict import MetricJudgement
    from mc_ops.canary.metrics_run import RunMetrics
    from mc_ops.canary.plan import Plan


app = Verbs()


@dataclass(frozen=True, kw_only=True)
class MetricsOptions(OptionGroup):
    """The options of a run that judges metrics, too."""

    metrics: Annotated[
        Path | None,
        typer.Option(help="TOML file with more metrics to judge; needs --prometheus."),
    ] = None
    prometheus: Annotated[
        str | None, typer.Option(help="URL of the Prometheus server to query.")
    ] = None
    baseline_selector: Annotated[
        str | None,
        typer.Option(
            help="Label matchers of the baseline, put in for $side; default: by the address of its URLs."
        ),
    ] = None
    candidate_selector: Annotated[
        str | None,
        typer.Option(
            help="Label matchers of the candidate, put in for $side; default: by the address of its URLs."
        ),
    ] = None

    def of_run(self, planned: Plan) -> RunMetrics | None:
        """What a run's metrics are judged by; None when none were asked for.

        Raises:
            UnusableInput: An option without the others, or a file or selector that cannot be used.
        """
        given = (self.baseline_selector, self.candidate_selector)
        if self.metrics is None:
            if any(option is not None for option in (self.prometheus, *given)):
                raise UnusableInput("--prometheus and the selectors are for --metrics FILE")
            return None
        if self.prometheus is None:
            raise UnusableInput(
                "--metrics needs --prometheus", hint="the URL of the Prometheus to ask"
            )
        from mc_ops.canary import metrics
        from mc_ops.canary.metrics_run import RunMetrics

        config, client = metrics.read_config(self.metrics), prometheus_client(self.prometheus)
        selectors = metrics.make_selectors(
            *(
                metrics.find_selector(client, urls) if selector is None else selector
                for selector, urls in zip(given, (planned.baseline, planned.candidate), strict=True)
            )
        )
        if selectors.baseline == selectors.candidate:
            raise UnusableInput("baseline and candidate have the same selector")
        return RunMetrics(
            config,
            selectors,
            client,
            told=lambda text: warn(escape(text)),
        )


_ICONS = {
    "pass": ("✔", "green"),
    "fail": ("✘", "red"),
    "nodata": ("○", "yellow"),
    "inconclusive": ("?", "yellow"),
    "marginal": ("▲", "yellow"),
}


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def retrospective(
    prometheus: Annotated[str, typer.Option(help="URL of the Prometheus server to query.")],
    config: Annotated[Path, typer.Option(help="TOML file with the metrics to judge.")],
    baseline_selector: Annotated[
        str, typer.Option(help='Label matchers of the baseline, put in for $side: colour="blue".')
    ],
    candidate_selector: Annotated[
        str, typer.Option(help="Label matchers of the candidate, put in for $side.")
    ],
    start: Annotated[
        str,
        typer.Option(
            help="Start of the window: ISO 8601 time with zone, `now`, or an age such as -90m."
        ),
    ],
    end: Annotated[str, typer.Option(help="End of the window; same format as --start.")] = "now",
    baseline_start: Annotated[
        str | None,
        typer.Option(help="Start of the baseline's window, such as -7d; default: --start."),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            help="Interval between points, such as 15s; default: the interval in --config."
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Output folder; default: a new one in MC_HOME/runs.")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Compare metrics of two past time ranges; sends no traffic and gives no canary verdict."""
    from mc_ops.canary import metrics
    from mc_ops.canary import metrics_retrospective as past

    now = datetime.now(UTC)
    rules = metrics.read_config(config)
    if step is not None:
        rules = rules.model_copy(update={"step_s": _step_s(step)})
    times = [
        past.parse_time(name, text, now=now) for name, text in (("--start", start), ("--end", end))
    ]
    other = (
        None
        if baseline_start is None
        else past.parse_time("--baseline-start", baseline_start, now=now)
    )
    folder = out_dir or Workspace.from_env().runs / f"retrospective-{now:%Y%m%dT%H%M%S%fZ}"
    with prometheus_client(prometheus) as client:
        found = past.judge_past(
            client,
            rules,
            metrics.make_selectors(baseline_selector, candidate_selector),
            past.spans_of(times[0], times[1], other, now=now),
            out_dir=folder,
        )
    result = found.verdict | {"metrics": found.judgement.as_dict(), "out_dir": str(folder)}
    lines = judgement_lines(found.judgement)
    show(output, result, [*lines, f"  {past.WHAT}", f"  files       {folder}"])
    raise typer.Exit(exit_codes.OK if found.judgement.passed else exit_codes.FINDING)


@app.command()
def judge_metrics(
    file: Annotated[Path, typer.Argument(help="metrics.json of a canary run or a retrospective.")],
    output: OutputOption = Format.table,
) -> None:
    """Judge a metrics.json again from the series and rules it holds."""
    from mc_ops.canary.metrics import judge_metrics_file

    judgement = judge_metrics_file(file)
    show(output, judgement.as_dict(), judgement_lines(judgement))
    raise typer.Exit(exit_codes.OK if judgement.passed else exit_codes.FINDING)


def dry_run(planned: Plan, minutes: float, found: RunMetrics | None, output: Format) -> None:
    """Print all that a run would do, and what Prometheus has of each metric now; sends nothing.

    Raises:
        OpsError: As the run itself would, before its first request.
        CouldNotTell: Prometheus has no point of a metric that must have data.
    """
    rows = [] if found is None else found.check(minutes)
    plan: dict[str, Any] = {
        "dry_run": True,
        **planned.parameters(),
        "minutes": minutes,
        "urls": {"baseline": list(planned.baseline), "candidate": list(planned.candidate)},
        "metrics": None
        if found is None
        else {
            "prometheus": found.client.url,
            "selectors": found.selectors.as_dict(),
            "config": found.config.as_dict(),
            "queries": rows,
        },
    }
    show(output, plan, _plan_lines(planned, minutes, found, rows))
    if output is Format.table:
        note("nothing was sent to either side")
    if found is not None:
        _refuse_empty(found, rows, minutes)


def _refuse_empty(found: RunMetrics, rows: list[dict[str, Any]], minutes: float) -> None:
    needed = {metric.name for metric in found.config.metrics if metric.missing == "fail"}
    empty = [
        f"{row['name']} of the {side}"
        for row in rows
        for side, count in row["points"].items()
        if not count and row["name"] in needed
    ]
    if empty:
        raise CouldNotTell(
            f"no points in the last {minutes:g} min: {', '.join(empty)}",
            hint="was nothing asked there meanwhile, does the metric have another name, has it counted "
            "nothing yet (write `(...) or vector(0)`), or does Prometheus know the sides by other labels "
            "(--baseline-selector, --candidate-selector)?",
        )


def judgement_lines(judgement: MetricJudgement) -> list[Text]:
    """What the metrics showed, each with its reason."""
    head = (
        f"{_marked(judgement.outcome, f'metrics {judgement.outcome}')}: {escape(judgement.reason)}"
    )
    rows = [
        (
            styled(f"  {_marked(result.outcome, result.outcome)}"),
            f"{result.metric.name}{' critical' if result.metric.critical else ''}",
            result.reason,
        )
        for result in judgement.results
    ]
    return [styled(head), *columns(rows)]


def _marked(outcome: str, text: str) -> str:
    icon, colour = _ICONS[outcome]
    return f"[{colour}]{icon} {text}[/{colour}]"


def _plan_lines(
    planned: Plan, minutes: float, found: RunMetrics | None, queries: list[dict[str, Any]]
) -> list[str | Text]:
    kind = "rehearsal, not the full verdict" if planned.rehearsal else "full verdict"
    asked = "none are judged (--metrics)" if found is None else f"{found.client.url} answers"
    rows = [
        ("pairs", f"{planned.pairs} at {planned.rate:g}/s at most, {minutes:g} min"),
        ("margin", f"{planned.margin} ({kind})"),
        ("baseline", ", ".join(planned.baseline)),
        ("candidate", ", ".join(planned.candidate)),
        ("metrics", asked),
    ]
    lines: list[str | Text] = [*columns(rows)]
    for metric, row in zip(() if found is None else found.config.metrics, queries, strict=True):
        weight = "critical" if metric.critical else f"weight {metric.weight:g}"
        about = f"group {metric.group}, {_allowed(metric)}, missing: {metric.missing}"
        lines.append(f"  {metric.name} ({weight}, {about})")
        for side, query in row["queries"].items():
            seen = f"{counted(row['points'][side], 'point')} in the last {minutes:g} min"
            lines.append(f"    {side:<9} {seen}: {query}")
    return lines


def _allowed(metric: Any) -> str:
    share, size = metric.allowed_change.relative, metric.allowed_change.absolute
    allowed = f"{size:g}" if share is None else f"{share:.2%}"
    bad = "change" if metric.direction == "either" else metric.direction
    return f"allowed {bad} {allowed}"


def _step_s(text: str) -> float:
    from mc_contract.numbers import number

    try:
        step_s = number(text.removesuffix("s"))
    except ValueError:
        step_s = 0.0
    if not 0.1 <= step_s <= 3600:
        raise UnusableInput(f'--step: expected 0.1 to 3600 seconds, got "{text}"', hint="15s")
    return step_s
