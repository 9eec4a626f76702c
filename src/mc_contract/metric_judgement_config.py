"""What a canary's metrics are judged by: the configuration, parsed strictly, all problems at once.

The same form stands in a TOML file and, as JSON, in `metrics.json`, so that a verdict can be
redone under the rules that it was found under. Nothing here reads files or asks Prometheus.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc_contract.errors import McError

DIRECTIONS = ("increase", "decrease", "either")
MISSING = ("fail", "pass", "ignore")
SIDE = "$side"
DEFAULT_GROUP = "metrics"
# A metric that is judged at all must be shown to be well: leeway is for whoever asks for it
DEFAULT_PASS, DEFAULT_MARGINAL = 100.0, 75.0
DEFAULT_STEP_S, DEFAULT_MIN_SAMPLES = 15.0, 10
_MOST_METRICS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MATCHER = r'\s*[A-Za-z_][A-Za-z0-9_]*\s*(?:=~|!~|!=|=)\s*"(?:[^"\\\n]|\\[^\n])*"\s*'
_SELECTOR = re.compile(f"{_MATCHER}(?:,{_MATCHER})*")
_RANGE = re.compile(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*[:\]]")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}


class MetricsUnusable(McError):
    """The metric configuration, or a `metrics.json`, cannot be used; the message has all reasons."""

    code = "metrics-unusable"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric's rules; see docs/canary-metrics.md for each.

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


def parse_config(raw: Mapping[str, Any]) -> MetricConfig:
    """Check a configuration, as parsed from TOML or JSON.

    Raises:
        MetricsUnusable: The message names every problem, one a line.
    """
    reader = _Reader([])
    reader.known("the file", raw, ("pass", "marginal", "step_s", "groups", "metric"))
    top = reader.number("pass", raw.get("pass", DEFAULT_PASS), 0, 100)
    # a lower `pass` alone must not trip over the default of `marginal`
    low = reader.number("marginal", raw.get("marginal", min(DEFAULT_MARGINAL, top)), 0, 100)
    if low > top:
        reader.problems.append(f"marginal: must not be above pass, got {low:g} and {top:g}")
    step_s = reader.number("step_s", raw.get("step_s", DEFAULT_STEP_S), 0.1, 3600)
    metrics = reader.metrics(raw.get("metric"))
    groups = reader.groups(raw.get("groups", {}), {metric.group for metric in metrics})
    if reader.problems:
        raise MetricsUnusable(
            "; ".join(reader.problems),
            hint="docs/canary-metrics.md has each key; deploy/canary/metrics.toml is an example",
        )
    return MetricConfig(metrics, top, low, groups, step_s)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads values and collects what is wrong with them; a bad one is read as something harmless."""

    problems: list[str]

    def known(self, where: str, found: Mapping[str, Any], names: tuple[str, ...]) -> None:
        unknown = sorted(set(found) - set(names))
        if unknown:
            self.problems.append(
                f"{where}: unknown {', '.join(unknown)} (known: {', '.join(names)})"
            )

    def number(self, where: str, value: object, low: float, high: float) -> float:
        usable = isinstance(value, int | float) and not isinstance(value, bool)
        if not (usable and low <= value <= high):  # type: ignore[operator] # NaN is refused too
            self.problems.append(f"{where}: expected a number {low:g} to {high:g}, got {value!r}")
            return low
        return float(value)  # type: ignore[arg-type] # a number, by `usable`

    def one_of(self, where: str, value: object, known: tuple[str, ...]) -> str:
        if value not in known:
            self.problems.append(f"{where}: expected {' or '.join(known)}, got {value!r}")
            return known[0]
        return str(value)

    def name(self, where: str, value: object) -> str:
        if not (isinstance(value, str) and _NAME.fullmatch(value)):
            self.problems.append(f"{where}: expected letters, digits, . _ or -, got {value!r}")
            return ""
        return value

    def metrics(self, value: object) -> tuple[Metric, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= _MOST_METRICS:
            self.problems.append(f"metric: expected 1 to {_MOST_METRICS} of [[metric]]")
            return ()
        found = [self._metric(at, entry) for at, entry in enumerate(value, 1)]
        names = [metric.name for metric in found if metric.name]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.problems.append(f"metric {name}: the name is there twice")
        return tuple(found)

    def _metric(self, at: int, entry: object) -> Metric:
        if not isinstance(entry, dict):
            self.problems.append(f"metric {at}: expected a table")
            return Metric("", "", "increase", 0.0, relative=False)
        name = self.name(f"metric {at}: name", entry.get("name"))
        where = f"metric {name or at}"
        keys = ("name", "query", "direction", "allowed_change", "group", "weight", "critical")
        self.known(where, entry, (*keys, "missing", "min_samples"))
        relative, allowed = self._allowed(f"{where}: allowed_change", entry.get("allowed_change"))
        critical = entry.get("critical", False)
        if not isinstance(critical, bool):
            self.problems.append(f"{where}: critical: expected true or false, got {critical!r}")
        least = self.number(
            f"{where}: min_samples", entry.get("min_samples", DEFAULT_MIN_SAMPLES), 1, 10_000
        )
        if least != int(least):
            self.problems.append(f"{where}: min_samples: expected a whole number, got {least!r}")
        missing = self.one_of(f"{where}: missing", entry.get("missing", "fail"), MISSING)
        if critical is True and missing != "fail":
            self.problems.append(f"{where}: is critical, so missing must be fail, got {missing}")
        return Metric(
            name=name,
            query=self._query(f"{where}: query", entry.get("query")),
            direction=self.one_of(f"{where}: direction", entry.get("direction"), DIRECTIONS),
            allowed_change=allowed,
            relative=relative,
            group=self.name(f"{where}: group", entry.get("group", DEFAULT_GROUP)),
            weight=self.number(f"{where}: weight", entry.get("weight", 1.0), 1e-6, 1e6),
            critical=critical is True,
            missing=missing,
            min_samples=int(least),
        )

    def _allowed(self, where: str, value: object) -> tuple[bool, float]:
        if not isinstance(value, dict) or set(value) not in ({"relative"}, {"absolute"}):
            self.problems.append(
                f"{where}: expected {{ relative = 0.05 }} or {{ absolute = 0.001 }}, got {value!r}"
            )
            return True, 0.0
        [(kind, size)] = value.items()
        return kind == "relative", self.number(f"{where}: {kind}", size, 0, 1e12)

    def _query(self, where: str, value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= 10_000:
            self.problems.append(f"{where}: expected a PromQL expression")
            return ""
        problem = _placeholder_problem(value)
        if problem:
            self.problems.append(f"{where}: {problem}")
        return value

    def groups(self, value: object, used: set[str]) -> dict[str, float]:
        """Each used group's weight: those without one share what the others leave of 100."""
        if not isinstance(value, dict):
            self.problems.append("groups: expected a table of name = weight")
            return {}
        given = {
            name: self.number(f"groups: {name}", weight, 1e-6, 100)
            for name, weight in value.items()
        }
        for name in sorted(given.keys() - used):
            self.problems.append(f"groups: no metric is in group {name}")
        rest, open_ones = 100 - math.fsum(given.values()), sorted(used - given.keys())
        if open_ones and rest <= 0:
            self.problems.append(f"groups: nothing of 100 is left for {', '.join(open_ones)}")
        elif not open_ones and abs(rest) > 1e-6:
            self.problems.append(f"groups: weights must sum to 100, got {100 - rest:g}")
        return given | {name: rest / len(open_ones) for name in open_ones}


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
