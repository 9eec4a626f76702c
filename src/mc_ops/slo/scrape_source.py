"""Figures of the replicas' own `/metrics`, for a machine without Prometheus.

One look gives what each process counted since it started; two looks give what happened between
them. What a process counted that has ended since is in neither. A replica that does not answer is
named in `unread`; if none does, nothing can be told.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mc_ops.errors import CouldNotTell, OpsError
from mc_ops.service_client import Sample, ServiceClient
from mc_ops.slo.source import Capacity, Key, Window, span_of

_TIMEOUT_S = 5.0
_CPU, _STARTED = "process_cpu_seconds_total", "process_start_time_seconds"
_Series = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class _Look:
    """What one replica told: its samples, and when (Unix seconds)."""

    at: float
    samples: Mapping[_Series, float]

    @property
    def started(self) -> float | None:
        """When its process started (Unix seconds); None where it does not tell."""
        return self.samples.get((_STARTED, frozenset()))


class ScrapeSource:
    """A `Source` out of one look at each replica, or two.

    Args:
        replicas: Each replica's name and URL.
        missing: Replicas that are known to be gone: what they counted is lost.
        over_s: Seconds between two looks; None: one look, and counts since each start.
        sleep: How to wait between them.

    Raises:
        CouldNotTell: no replica is given, or none answers.
    """

    name = "replicas"
    looks_back = False

    def __init__(
        self,
        replicas: Mapping[str, str],
        *,
        missing: Iterable[str] = (),
        over_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not replicas:
            raise CouldNotTell(
                "no replica is known here", hint="mcctl up, or name one with --scrape URL"
            )
        self._over_s = over_s
        self._why: dict[str, str] = {}
        before = self._look(replicas) if over_s is not None else {}
        if over_s is not None:
            sleep(over_s)
        self._now = self._look(replicas)
        self._before = before
        if not self._now:
            why = "; ".join(f"{name} ({self._why[name]})" for name in replicas)
            raise CouldNotTell(f"no replica answers: {why}", hint="is it running? mcctl status")
        silent = (name for name in replicas if name not in self._now)
        self._unread = (*silent, *missing)

    @property
    def unread(self) -> tuple[str, ...]:
        """Replicas that did not answer the last look, or are gone."""
        return self._unread

    def span(self, window: Window) -> str:  # noqa: ARG002 - it has one answer for every window
        """Since when the counts are."""
        covered = self._longest_s()
        if self._over_s is not None:
            return f"last {span_of(covered or 0)}"
        return "since start" if covered is None else f"since start, {span_of(covered)}"

    def covered_s(self, window: Window) -> float | None:  # noqa: ARG002
        """The longest time that a replica's counts are about."""
        return self._longest_s()

    def increases(
        self,
        metric: str,
        by: tuple[str, ...],
        window: Window,  # noqa: ARG002
    ) -> Mapping[Key, float]:
        """As the interface says, over `span`."""
        told: dict[Key, float] = defaultdict(float)
        for name, look in self._now.items():
            for series, value in look.samples.items():
                if series[0] == metric:
                    told[_key(series, by)] += self._grown(name, look, series, value)
        return dict(told)

    def levels(self, metric: str, by: tuple[str, ...]) -> Mapping[Key, float]:
        """As the interface says, at the last look."""
        told: dict[Key, float] = {}
        for look in self._now.values():
            for series, value in look.samples.items():
                if series[0] == metric:
                    key = _key(series, by)
                    told[key] = max(value, told.get(key, -math.inf))
        return told

    def stopped(self, metric: str) -> bool:  # noqa: ARG002
        """Never known: what was told before is not seen here."""
        return False

    def capacity(self, window: Window) -> Capacity:
        """CPU and running time, each over `span`."""
        cpu = self.increases(_CPU, (), window)
        times = [self._time_s(name, look) for name, look in self._now.items()]
        known = [one for one in times if one is not None]
        return Capacity(
            process_cpu_s=cpu.get(()),
            replica_s=sum(known) if len(known) == len(times) else None,
            replicas=len(self._now),
        )

    def _grown(self, name: str, look: _Look, series: _Series, value: float) -> float:
        earlier = self._earlier(name, look)
        if earlier is None:
            return value
        # A counter that fell was begun anew, though the process did not say so
        before = earlier.samples.get(series, 0.0)
        return value - before if value >= before else value

    def _earlier(self, name: str, look: _Look) -> _Look | None:
        """The first look at the same process; None if there was none, or it restarted since."""
        earlier = self._before.get(name)
        return earlier if earlier and earlier.started == look.started else None

    def _time_s(self, name: str, look: _Look) -> float | None:
        if earlier := self._earlier(name, look):
            return look.at - earlier.at
        # Of a replica whose clock is ahead of ours nobody knows how long it has run
        return None if look.started is None or look.started > look.at else look.at - look.started

    def _longest_s(self) -> float | None:
        times = [self._time_s(name, look) for name, look in self._now.items()]
        return max((one for one in times if one is not None), default=None)

    def _look(self, replicas: Mapping[str, str]) -> dict[str, _Look]:
        found: dict[str, _Look] = {}
        with ThreadPoolExecutor(max_workers=min(16, len(replicas))) as pool:
            looks = pool.map(_read, replicas.values())
            for name, look in zip(replicas, looks, strict=True):
                if isinstance(look, _Look):
                    found[name] = look
                else:
                    self._why[name] = look
        return found


def _read(url: str) -> _Look | str:
    """One replica's samples; why not, if it gives none."""
    try:
        with ServiceClient(url, timeout_s=_TIMEOUT_S) as client:
            samples = client.metrics()
    except OpsError as error:
        return error.message
    return _Look(time.time(), _by_series(samples)) if samples else "it tells no metric"


def _by_series(samples: Iterable[Sample]) -> dict[_Series, float]:
    """What is no number (a gauge of which nothing is known, for one) is not there."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for one in samples
        if math.isfinite(one.value)
    }


def _key(series: _Series, by: tuple[str, ...]) -> Key:
    labels = dict(series[1])
    return tuple(labels.get(name, "") for name in by)
