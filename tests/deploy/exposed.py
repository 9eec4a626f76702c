"""What the service exposes, out of its own registry; and what an expression asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from mc_platform.observe import metrics

# Labels of where a sample comes from: Prometheus' own, and those of our scrape settings
SCRAPED = frozenset({"instance", "job", "colour", "region", "namespace"})
_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}
_PROCESS = (
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
)
_OF_PROMETHEUS = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    **dict.fromkeys(_PROCESS, frozenset()),
}
_WORDS = frozenset(
    [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "and",
        "or",
        "unless",
        "bool",
        "offset",
        "sum",
        "min",
        "max",
        "avg",
        "count",
        "count_values",
        "time",
        "label_replace",
        "rate",
        "increase",
        "absent",
        "vector",
        "scalar",
        "histogram_quantile",
        "max_over_time",
        "last_over_time",
        "avg_over_time",
        "sum_over_time",
        "round",
    ]
)
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_MADE = re.compile(r'count_values[^"]*"(\w+)"')
_CLAUSE = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclass
class Asked:
    """What an expression asks for: series, matchers of each, labels that it groups by or makes."""

    names: set[str] = field(default_factory=set)
    matchers: list[tuple[str, str, str, str]] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)


def asked(expression: str) -> Asked:
    """Take an expression of ours apart; strings hold no braces in them."""
    found = Asked(made=set(_MADE.findall(expression)))
    for name, inside in _SELECTOR.findall(expression):
        found.matchers += [(name, *matcher) for matcher in _MATCHER.findall(inside)]
    rest = re.sub(r'\{[^}]*\}|"[^"]*"', "", expression)
    for _, labels in _CLAUSE.findall(rest):
        found.labels |= {label.strip() for label in labels.split(",") if label.strip()}
    rest = re.sub(r"\[[^\]]*\]", "", _CLAUSE.sub("", rest))
    # A letter within a number, 1e3 for one, is no name
    identifiers = re.findall(r"(?<![\w.])[a-zA-Z_:][a-zA-Z0-9_:]*", rest)
    found.names = set(identifiers) - _WORDS
    return found


def series() -> dict[str, frozenset[str]]:
    """Each series' name that a replica exposes, with its labels' names."""
    found = dict(_OF_PROMETHEUS)
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            for suffix in _SUFFIXES[metric._type]:
                own = frozenset(metric._labelnames)
                found[metric._name + suffix] = own | ({"le"} if suffix == "_bucket" else set())
    return found


def values(name: str, label: str) -> set[str]:
    """The values of a label that exist before the first request; empty: none is known."""
    return {
        sample.labels[label]
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == name and label in sample.labels
    }


def faults(
    where: str, expression: str, recorded: dict[str, frozenset[str]], closed: Iterable[str]
) -> Iterator[str]:
    """What an expression asks for that nobody exposes or records.

    Args:
        where: The rule or panel, for the message.
        expression: PromQL.
        recorded: Names of recording rules, with their labels.
        closed: Labels whose values are all known at the start, such as `status`.
    """
    known = series() | recorded
    wanted = asked(expression)
    for name in sorted(wanted.names - known.keys()):
        yield f"{where}: nobody exposes or records {name}"
    bearing = SCRAPED.union(wanted.made, *(known[name] for name in wanted.names & known.keys()))
    for label in sorted(wanted.labels - bearing):
        yield f"{where}: groups by {label}, which none of its series has"
    for name, label, operator, value in wanted.matchers:
        if label not in known.get(name, frozenset()) | SCRAPED:
            yield f"{where}: {name} has no label {label}"
        elif operator == "=" and label in closed and value not in values(name, label):
            yield f'{where}: {name} never has {label}="{value}"'
