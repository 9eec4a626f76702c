"""What a canary's metrics are judged by: the configuration, parsed strictly, all problems at once.

The same form stands in a TOML file and, as JSON, in `metrics.json`, so that a verdict can be
redone under the rules that it was found under. Nothing here reads files or asks Prometheus.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from mc_contract.configuration import FileProblems, Form, Strict, check
from mc_contract.errors import McError

SIDE = "$side"
DEFAULT_GROUP = "metrics"
# A metric that is judged at all must be shown to be well: leeway is for whoever asks for it
DEFAULT_PASS, DEFAULT_MARGINAL = 100.0, 75.0
DEFAULT_STEP_S, DEFAULT_MIN_SAMPLES = 15.0, 10
_MOST_METRICS = 100
_MATCHER = r'\s*[A-Za-z_][A-Za-z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\[^\n])*"\s*'
_SELECTOR = re.compile(f"{_MATCHER}(?:,{_MATCHER})*")
_RANGE = re.compile(r"\[\s*((?:[0-9]+(?:ms|[smhdwy]))+)\s*[:\]]")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


class MetricsUnusable(McError):
    """The metric configuration, or a `metrics.json`, cannot be used; the message has all reasons."""

    code = "metrics-unusable"


_Score = Annotated[float, Field(ge=0, le=100)]
_Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Form("letters, digits, . _ or -, at most 100"),
]


def _checked_query(query: str) -> str:
    """The query, if `$side` and ranges stand in it rightly; a small scan, no PromQL parser."""
    quote, depth, at, seen = "", 0, 0, False
    while at < len(query):
        character = query[at]
        if quote:
            if query.startswith(SIDE, at):
                raise ValueError(f"{SIDE} stands within quotes; it brings its own")
            at += 1 if character == "\\" and quote != "`" else 0
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character == "#":  # a comment, to the end of its line
            at = query.find("\n", at) % (len(query) + 1)
        elif character in "{}":
            depth += 1 if character == "{" else -1
        elif character == "[" and not _RANGE.match(query, at):
            # Newer Prometheus takes [300]; what is not understood would count as no range at all
            raise ValueError("a range must be a duration with its unit, such as [5m]")
        elif query.startswith(SIDE, at):
            if depth < 1:
                raise ValueError(f"{SIDE} stands for label matchers, so it belongs within braces")
            seen = True
        at += 1
    if not seen:
        raise ValueError(f"must have {SIDE}, or both sides get the same answer")
    return query


class AllowedChange(Strict):
    """How far a metric may go for the worse: a share of the baseline, or in the metric's unit."""

    relative: Annotated[float, Field(ge=0, le=1e12)] | None = None
    absolute: Annotated[float, Field(ge=0, le=1e12)] | None = None

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """One of the two."""
        if ("relative" in raw) == ("absolute" in raw):
            yield "", "must be { relative = 0.05 } or { absolute = 0.001 }"

    def at(self, level: float) -> float:
        """In the metric's unit, where the baseline is at `level`."""
        return (self.absolute or 0.0) if self.relative is None else self.relative * abs(level)


class Metric(Strict):
    """One metric's rules; see docs/reference/canary-metrics.md for each.

    Attributes:
        query: PromQL with `$side` where the side's label matchers belong.
        direction: Which change is bad.
        missing: What no data on a side means; `ignore` leaves the metric out of the score.
        min_samples: Points a side below which nothing is decided.
    """

    name: _Name
    query: Annotated[
        str,
        StringConstraints(min_length=1, max_length=10_000),
        AfterValidator(_checked_query),
        Form("a PromQL expression"),
    ]
    direction: Literal["increase", "decrease", "either"]
    allowed_change: AllowedChange
    group: _Name = DEFAULT_GROUP
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    critical: bool = False
    missing: Literal["fail", "pass", "ignore"] = "fail"
    min_samples: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_MIN_SAMPLES

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """A critical metric must have data."""
        if raw.get("critical") is True and raw.get("missing", "fail") != "fail":
            yield "", "is critical, so missing must be fail"

    @property
    def range_s(self) -> float:
        """The longest range that the query looks back over, in seconds; 0 without one."""
        return max((_seconds(found) for found in _RANGE.findall(self.query)), default=0.0)

    def query_for(self, selector: str) -> str:
        """The query of one side; `selector` must have passed `check_selector`."""
        return self.query.replace(SIDE, selector)


class MetricConfig(Strict):
    """All metrics, and how their outcomes make a score.

    Attributes:
        pass_score: At or above it the score passes.
        marginal_score: Below it the score fails; between the two it is marginal.
        step_s: Seconds between the points that are asked for.
        groups: Weight of each group by name; they sum to 100, and those of which the file does not
            tell the weight share what the others leave.
    """

    metrics: Annotated[
        tuple[Metric, ...],
        Field(alias="metric", strict=False, min_length=1, max_length=_MOST_METRICS),
    ]
    pass_score: Annotated[_Score, Field(alias="pass")] = DEFAULT_PASS
    # A lower `pass` alone must not trip over the default of `marginal`
    marginal_score: Annotated[_Score, Field(alias="marginal")] = Field(
        default_factory=lambda read: min(DEFAULT_MARGINAL, read.get("pass_score", DEFAULT_PASS))
    )
    step_s: Annotated[float, Field(ge=0.1, le=3600)] = DEFAULT_STEP_S
    groups: Annotated[
        dict[_Name, Annotated[float, Field(ge=1e-6, le=100)]], Field(validate_default=True)
    ] = Field(default_factory=dict)

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Names that are there twice, and groups without a metric."""
        metrics, groups = raw.get("metric"), raw.get("groups")
        rows = metrics if isinstance(metrics, list) else []
        tables = [row for row in rows if isinstance(row, Mapping)]
        names = [name for row in tables if isinstance(name := row.get("name"), str)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "metric", f"the name {name[:100]!r} is there twice"
        used = {str(row.get("group", DEFAULT_GROUP)) for row in tables}
        for name in sorted(set(groups if isinstance(groups, Mapping) else ()) - used):
            yield "groups", f"no metric is in group {name[:100]!r}"

    @field_validator("marginal_score")
    @classmethod
    def _not_above_pass(cls, marginal: float, info: ValidationInfo) -> float:
        if marginal > (most := info.data.get("pass_score", marginal)):
            raise ValueError(f"must not be above pass, got {marginal:g} and {most:g}")
        return marginal

    @field_validator("groups")
    @classmethod
    def _with_all_weights(cls, told: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        used = {metric.group for metric in info.data.get("metrics", ())}
        rest, open_ones = 100 - math.fsum(told.values()), sorted(used - told.keys())
        if open_ones and rest <= 0:
            raise ValueError(f"nothing of 100 is left for {', '.join(open_ones)}")
        if used and not open_ones and abs(rest) > 1e-6:
            raise ValueError(f"weights must sum to 100, got {100 - rest:g}")
        return told | {name: rest / len(open_ones) for name in open_ones}

    def as_dict(self) -> dict[str, Any]:
        """As the file has it, defaults written out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def check_selector(side: str, selector: str) -> str:
    """The label matchers of one side, trimmed; what could leave its braces is refused.

    Raises:
        MetricsUnusable: When it is anything else than matchers such as `colour="blue"`.
    """
    if not _SELECTOR.fullmatch(selector):
        raise MetricsUnusable(
            f"the {side}'s selector must be label matchers, got {selector[:200]!r}",
            hint='for example: instance=~"10.0.0.1:8080|10.0.0.2:8080",job="mc"',
        )
    return selector.strip()


def parse_config(raw: object) -> MetricConfig:
    """Check a configuration, as parsed from TOML or JSON.

    Raises:
        MetricsUnusable: The message names every problem.
    """
    try:
        return check(MetricConfig, raw)
    except FileProblems as error:
        raise MetricsUnusable(
            str(error),
            hint="docs/reference/canary-metrics.md has each key; deploy/canary/metrics.toml is an example",
        ) from None


def _seconds(duration: str) -> float:
    return sum(
        int(count) * _UNIT_S[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration)
    )
