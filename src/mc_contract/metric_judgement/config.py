"""What a canary's metrics are judged by: the configuration, parsed strictly, all problems at once.

The same form stands in a TOML file and, as JSON, in `metrics.json`, so that a verdict can be
redone under the rules that it was found under. Nothing here reads files or asks Prometheus.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

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


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric's rules; see docs/reference/canary-metrics.md for each.

    Attributes:
        query: PromQL with `$side` where the side's label matchers belong.
        direction: Which change is bad: `increase`, `decrease`, or `either`.
        allowed_change: How far it may go that way, as a share of the baseline if `relative`,
            else in the metric's unit.
        missing: What no data on a side means: `fail`, `pass`, or `ignore` (left out of the score).
        min_samples: Points a side below which nothing is decided.
    """

    name: str
    query: str
    direction: str
    allowed_change: float
    relative: bool
    group: str = DEFAULT_GROUP
    weight: float = 1.0
    critical: bool = False
    missing: str = "fail"
    min_samples: int = DEFAULT_MIN_SAMPLES

    @property
    def range_s(self) -> float:
        """The longest range that the query looks back over, in seconds; 0 without one."""
        return max((_seconds(found) for found in _RANGE.findall(self.query)), default=0.0)

    def query_for(self, selector: str) -> str:
        """The query of one side; `selector` must have passed `check_selector`."""
        return self.query.replace(SIDE, selector)

    def as_dict(self) -> dict[str, Any]:
        """As the file has it, defaults written out."""
        return {
            "name": self.name,
            "query": self.query,
            "direction": self.direction,
            "allowed_change": {"relative" if self.relative else "absolute": self.allowed_change},
            "group": self.group,
            "weight": self.weight,
            "critical": self.critical,
            "missing": self.missing,
            "min_samples": self.min_samples,
        }


@dataclass(frozen=True, slots=True)
class MetricConfig:
    """All metrics, and how their outcomes make a score.

    Attributes:
        pass_score: At or above it the score passes, 0 to 100.
        marginal_score: Below it the score fails; between the two it is marginal.
        groups: Weight of each group by name; they sum to 100.
        step_s: Seconds between the points that are asked for.
    """

    metrics: tuple[Metric, ...]
    pass_score: float
    marginal_score: float
    groups: Mapping[str, float]
    step_s: float

    def as_dict(self) -> dict[str, Any]:
        """As the file has it, defaults written out."""
        return {
            "pass": self.pass_score,
            "marginal": self.marginal_score,
            "step_s": self.step_s,
            "groups": dict(self.groups),
            "metric": [metric.as_dict() for metric in self.metrics],
        }


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
        read = check(_File, raw)
    except FileProblems as error:
        raise MetricsUnusable(
            str(error),
            hint="docs/reference/canary-metrics.md has each key; deploy/canary/metrics.toml is an example",
        ) from None
    return MetricConfig(
        metrics=tuple(metric.build() for metric in read.metric),
        pass_score=read.pass_score,
        # a lower `pass` alone must not trip over the default of `marginal`
        marginal_score=min(DEFAULT_MARGINAL, read.pass_score)
        if read.marginal is None
        else read.marginal,
        groups=read.weights(),
        step_s=read.step_s,
    )


_Score = Annotated[float, Field(ge=0, le=100)]
_Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    Form("letters, digits, . _ or -, at most 100"),
]


def _query(value: str) -> str:
    problem = _placeholder_problem(value)
    if problem:
        raise ValueError(problem)
    return value


class _Allowed(Strict):
    relative: Annotated[float, Field(ge=0, le=1e12)] | None = None
    absolute: Annotated[float, Field(ge=0, le=1e12)] | None = None

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if ("relative" in raw) == ("absolute" in raw):
            yield "", "must be { relative = 0.05 } or { absolute = 0.001 }"


class _Metric(Strict):
    name: _Name
    query: Annotated[
        str,
        StringConstraints(min_length=1, max_length=10_000),
        AfterValidator(_query),
        Form("a PromQL expression"),
    ]
    direction: Literal["increase", "decrease", "either"]
    allowed_change: _Allowed
    group: _Name = DEFAULT_GROUP
    weight: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    critical: bool = False
    missing: Literal["fail", "pass", "ignore"] = "fail"
    min_samples: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_MIN_SAMPLES

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if raw.get("critical") is True and raw.get("missing", "fail") != "fail":
            yield "", "is critical, so missing must be fail"

    def build(self) -> Metric:
        told = self.model_dump(exclude={"allowed_change"})
        allowed = self.allowed_change
        relative = allowed.relative is not None
        size = allowed.relative if relative else allowed.absolute
        return Metric(**told, allowed_change=size or 0.0, relative=relative)


class _File(Strict):
    pass_score: Annotated[_Score, Field(alias="pass")] = DEFAULT_PASS
    marginal: _Score | None = None
    step_s: Annotated[float, Field(ge=0.1, le=3600)] = DEFAULT_STEP_S
    groups: dict[_Name, Annotated[float, Field(ge=1e-6, le=100)]] = Field(default_factory=dict)
    metric: Annotated[
        tuple[_Metric, ...], Field(strict=False, min_length=1, max_length=_MOST_METRICS)
    ]

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        metrics, groups = raw.get("metric"), raw.get("groups")
        rows = metrics if isinstance(metrics, list) else []
        tables = [row for row in rows if isinstance(row, Mapping)]
        names = [name for row in tables if isinstance(name := row.get("name"), str)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "metric", f"the name {name[:100]!r} is there twice"
        used = {str(row.get("group", DEFAULT_GROUP)) for row in tables}
        for name in sorted(set(groups if isinstance(groups, Mapping) else ()) - used):
            yield "groups", f"no metric is in group {name[:100]!r}"

    @model_validator(mode="after")
    def _holds_together(self) -> _File:
        found = []
        if self.marginal is not None and self.marginal > self.pass_score:
            found.append(
                f"marginal must not be above pass, got {self.marginal:g} and {self.pass_score:g}"
            )
        rest, open_ones = self._rest()
        if open_ones and rest <= 0:
            found.append(f"groups: nothing of 100 is left for {', '.join(open_ones)}")
        elif not open_ones and abs(rest) > 1e-6:
            found.append(f"groups: weights must sum to 100, got {100 - rest:g}")
        if found:
            raise ValueError("; ".join(found))
        return self

    def _rest(self) -> tuple[float, list[str]]:
        """What the groups leave of 100, and the used groups that share it."""
        used = {metric.group for metric in self.metric}
        return 100 - math.fsum(self.groups.values()), sorted(used - self.groups.keys())

    def weights(self) -> dict[str, float]:
        """Each used group's weight: those without one share what the others leave of 100."""
        rest, open_ones = self._rest()
        return self.groups | {name: rest / len(open_ones) for name in open_ones}


def _placeholder_problem(query: str) -> str | None:
    """What is wrong with how `$side` and ranges stand in a query; a small scan, no PromQL parser."""
    quote, depth, at, seen = "", 0, 0, False
    while at < len(query):
        character = query[at]
        if quote:
            if query.startswith(SIDE, at):
                return f"{SIDE} stands within quotes; it brings its own"
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
            return "a range must be a duration with its unit, such as [5m]"
        elif query.startswith(SIDE, at):
            if depth < 1:
                return f"{SIDE} stands for label matchers, so it belongs within braces"
            seen = True
        at += 1
    return None if seen else f"must have {SIDE}, or both sides get the same answer"


def _seconds(duration: str) -> float:
    return sum(
        int(count) * _UNIT_S[unit] for count, unit in re.findall(r"(\d+)(ms|[smhdwy])", duration)
    )
