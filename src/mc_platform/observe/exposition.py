"""The metrics as Prometheus' text, made anew only where something was counted since the last time.

`prometheus_client.generate_latest` makes a dictionary, an object and a formatted line of every series at
each scrape, which is 9 microseconds a series. Most series of most tenants stand still between two
scrapes: their lines are kept, and a series that stands costs a comparison. It reads the client's own
values (fields without a public name; the version is pinned, and a property test holds this beside
`generate_latest`); whatever is no plain counter, gauge or histogram is rendered by the client.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
    utils,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

_PLAIN = (Counter, Gauge, Histogram)
_CHILDREN_AT_A_TIME = 500
"""How many are looked at before the interpreter is offered to other threads: well under a millisecond."""


class Exposition:
    """Renders a registry; may be called in any thread, by one at a time.

    Args:
        registry: Whose metrics they are.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._kept: dict[Any, _Lines] = {}
        self._alone = threading.Lock()

    def render(self) -> bytes:
        """All metrics as they are now, as `generate_latest` would write them."""
        with self._alone:
            return "".join(self._texts()).encode()

    def _texts(self) -> Iterator[str]:
        with self._registry._lock:
            collectors = list(self._registry._collector_to_names)
        kept: dict[Any, _Lines] = {}  # anew each time, so that nothing of a removed series is held
        looked_at = 0
        for collector in collectors:
            children = _children(collector) if type(collector) in _PLAIN else None
            if children is None or any("_child_samples" in vars(one) for _, one in children):
                # A gauge whose value is a function is the client's as well
                yield generate_latest(_Only(collector)).decode()
                continue
            yield _heading(collector)
            for values, child in children:
                lines = self._kept.get(child)
                if lines is None:
                    lines = _Lines(collector, values, child)
                kept[child] = lines
                yield lines.text()
                looked_at += 1
                if looked_at % _CHILDREN_AT_A_TIME == 0:
                    time.sleep(0)  # the event loop need not wait for the interpreter's 5 ms
        self._kept = kept


class _Only(Collector):
    """A registry of one collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        return self._collector.collect()


class _Lines:
    """The lines of one set of label values, and the values of which they were made."""

    __slots__ = ("_bounds", "_held", "_sources", "_starts", "_text")

    def __init__(self, metric: Any, values: Iterable[str], child: Any) -> None:
        labels = dict(zip(metric._labelnames, values, strict=True))
        self._held: list[float] | None = None
        self._text = ""
        name = metric._name
        if isinstance(metric, Histogram):
            bounds = [_number(bound) for bound in metric._upper_bounds]
            self._bounds = len(bounds)
            self._sources = [*child._buckets, child._sum]
            self._starts = [
                *(_start(f"{name}_bucket", {**labels, "le": bound}) for bound in bounds),
                _start(f"{name}_count", labels),
                _start(f"{name}_sum", labels),
            ]
        else:
            self._bounds = 0
            self._sources = [child._value]
            self._starts = [_start(f"{name}{_suffix(metric)}", labels)]

    def text(self) -> str:
        """The lines for the values as they are now."""
        held = [source._value for source in self._sources]
        if held != self._held:
            self._held = held
            shown = held if not self._bounds else _cumulative(held)
            pairs = zip(self._starts, shown, strict=True)
            self._text = "".join(f"{start}{_number(value)}\n" for start, value in pairs)
        return self._text


def _cumulative(held: list[float]) -> list[float]:
    """What a histogram shows: buckets added up, the count, the sum."""
    shown, total = [], 0.0
    for count in held[:-1]:
        total += count
        shown.append(total)
    return [*shown, total, held[-1]]


def _children(metric: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Each set of label values, with what holds its values."""
    if not metric._labelnames:
        return [((), metric)]
    with metric._lock:
        return list(metric._metrics.items())


def _suffix(metric: MetricWrapperBase) -> str:
    return "_total" if isinstance(metric, Counter) else ""


def _heading(metric: Any) -> str:
    name = metric._name + _suffix(metric)
    told = metric._documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {told}\n# TYPE {name} {metric._type}\n"


def _number(value: float) -> str:
    told: str = utils.floatToGoString(value)  # type: ignore[no-untyped-call]
    return told


def _start(name: str, labels: Mapping[str, str]) -> str:
    """A line up to its value."""
    if not labels:
        return f"{name} "
    told = ",".join(f'{key}="{_escaped(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{told}}} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
