"""The documented algorithm of the HorizontalPodAutoscaler, replayed over what it had to follow.

    replicas = replay(Trace.from_load(load, target=0.7, replicas=3), Rules(max_replicas=20))

Every 15 s it wants `ceil(ratio * ready)` unless the ratio is within the tolerance of 1, takes the
lowest recommendation of the upward window and the highest of the downward window, and is held by
the scaling policies and the bounds. Sources: the Kubernetes page "Horizontal Pod Autoscaling"
(algorithm details, configurable scaling behavior), and `stabilizeRecommendationWithBehaviors` and
`convertDesiredReplicasWithBehaviorRate` in kubernetes/pkg/controller/podautoscaler/horizontal.go.

What the replay leaves out: pods that are not ready yet or have no metrics (the controller counts
them as idle upwards and as busy downwards), and that load may depend on the number of replicas.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from mc_ops.autoscaler.oscillation import Series, check_series, values_at
from mc_ops.errors import UnusableInput

SYNC_S = 15
"""The controller looks every 15 s (`--horizontal-pod-autoscaler-sync-period`)."""
DEFAULT_WINDOW_S = 300
"""The downward window where nothing is set (`--horizontal-pod-autoscaler-downscale-stabilization`)."""
DEFAULT_TOLERANCE = 0.1
LONGEST_RECORD_S = 7 * 86_400
_EPSILON = 1e-9  # ceil of a quotient that is whole but for rounding


@dataclass(frozen=True, slots=True)
class Policy:
    """One scaling policy: at most `pods` or `percent` of change in any `period_s`."""

    period_s: int
    pods: int | None = None
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Direction:
    """The rules of one direction: `spec.behavior.scaleUp` or `.scaleDown`.

    Attributes:
        select: Of several policies: `Max` change, `Min` change, or `Disabled`.
        window_s: `stabilizationWindowSeconds`.
        tolerance: A ratio that is off 1 by no more than this moves nothing.
    """

    policies: tuple[Policy, ...]
    window_s: int
    select: str = "Max"
    tolerance: float = DEFAULT_TOLERANCE


UP = Direction((Policy(SYNC_S, pods=4), Policy(SYNC_S, percent=100)), 0)
DOWN = Direction((Policy(SYNC_S, percent=100),), DEFAULT_WINDOW_S)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an HPA is told; the defaults are those of Kubernetes, but for the bounds."""

    min_replicas: int = 1
    max_replicas: int = 1_000_000
    up: Direction = UP
    down: Direction = DOWN

    def with_window(self, window_s: int) -> Rules:
        """The same with another downward window."""
        return replace(self, down=replace(self.down, window_s=window_s))

    def without_tolerance(self) -> Rules:
        """The same, moving at every ratio that is not 1."""
        up, down = (replace(one, tolerance=0.0) for one in (self.up, self.down))
        return replace(self, up=up, down=down)


@dataclass(frozen=True, slots=True)
class Trace:
    """What an HPA had to follow, one value every 15 s.

    Attributes:
        start_s: Unix time of the first value.
        demand: How many replicas' worth of load there was: load / (target of one replica).
        replicas: How many there were at the start.
        passed_s: The downward window that the demand went through already: 0 when it is a load
            that was measured; the HPA's window when it is the replicas that it chose.
    """

    start_s: float
    demand: tuple[float, ...]
    replicas: int
    passed_s: int = 0

    @classmethod
    def from_load(
        cls, load: Sequence[tuple[float, float]], *, target: float, replicas: int
    ) -> Trace:
        """Of a load that was measured: (Unix seconds, total of the metric over all replicas).

        Args:
            load: In time order; a value holds until the next.
            target: What one replica should carry, in the unit of the load.
            replicas: How many there were at the start.

        Raises:
            UnusableInput: The target is not above 0, a load is below 0 or no number, or it is over
                a week long.
        """
        if not (math.isfinite(target) and target > 0):
            raise UnusableInput(f"the target of one replica must be above 0, got {target}")
        if not load or any(not math.isfinite(value) or value < 0 for _, value in load):
            raise UnusableInput("the load series is empty, or has a value below 0 or no number")
        demand = tuple(value / target for value in _every_sync(load))
        if not all(map(math.isfinite, demand)):
            raise UnusableInput(f"a load is beyond all numbers in units of the target {target}")
        return cls(load[0][0], demand, replicas)

    @classmethod
    def from_replicas(cls, series: Series, *, window_s: int) -> Trace:
        """Of the replicas that the HPA chose, where nothing tells the load.

        The load itself is censored: below the replicas that the window still held, any load gives
        the same series. But of a *longer* window the answer is known all the same: the highest
        recommendation of the last W' seconds is the highest of what the window of W seconds gave
        at any time in the last W' - W. This assumes that no bound cut what the HPA wanted, that its
        upward window was 0, and that the load is the same with more replicas. Policies that make the
        replicas move in steps make the answer longer than it need be, by as long as the move takes.

        Args:
            series: (Unix seconds, replicas).
            window_s: The downward window that the HPA had then, in seconds.

        Raises:
            UnusableInput: As `oscillation`; or it is over a week long.
        """
        check_series(series)
        demand = tuple(map(float, _every_sync(series)))
        return cls(series[0][0], demand, series[0][1], whole_syncs(window_s))


def whole_syncs(window_s: int) -> int:
    """The window in whole syncs, which is as it acts; the newest recommendation always counts."""
    return max(1, math.ceil(window_s / SYNC_S)) * SYNC_S


def _every_sync(series: Sequence[tuple[float, float]]) -> Iterator[float]:
    """The value that holds at the start and every 15 s after it, up to the last point."""
    start_s, end_s = series[0][0], series[-1][0]
    if end_s - start_s > LONGEST_RECORD_S:
        raise UnusableInput(
            f"the record is {(end_s - start_s) / 86_400:.0f} days long, the limit is "
            f"{LONGEST_RECORD_S // 86_400}",
            hint="take the days on which it oscillates",
        )
    syncs = range(1 + int((end_s - start_s) / SYNC_S))
    return values_at(series, (start_s + step * SYNC_S for step in syncs))


def replay(trace: Trace, rules: Rules) -> list[tuple[float, int]]:
    """The replicas that the HPA would have had, every 15 s.

    A trace of replicas has been through tolerance and upward policies already; for it the window
    of `rules` must be at least the trace's, and the tolerance is 0.

    Raises:
        UnusableInput: The window is below the one that the trace went through.
    """
    window_s = whole_syncs(rules.down.window_s)
    if window_s < trace.passed_s:
        raise UnusableInput(
            f"with the replicas alone, a window below the {trace.passed_s} s that they were made "
            "with cannot be replayed",
            hint="give the load too",
        )
    if trace.passed_s:
        rest_s = window_s - trace.passed_s + SYNC_S
        rules = rules.with_window(rest_s).without_tolerance()
    controller = _Controller(rules, trace.replicas)
    return [
        (trace.start_s + step * SYNC_S, controller.sync(step * SYNC_S, demand))
        for step, demand in enumerate(trace.demand)
    ]


@dataclass(slots=True)
class _Extreme:
    """The lowest or highest of the recommendations that are younger than the window."""

    window_s: int
    highest: bool
    kept: deque[tuple[int, int]] = field(default_factory=deque)

    def add(self, at: int, value: int) -> int:
        """Add the newest; what no later answer can be is dropped."""
        while self.kept and (
            self.kept[-1][1] <= value if self.highest else self.kept[-1][1] >= value
        ):
            self.kept.pop()
        self.kept.append((at, value))
        while len(self.kept) > 1 and self.kept[0][0] <= at - self.window_s:
            self.kept.popleft()
        return self.kept[0][1]


class _Controller:
    """The controller's state for one HPA; the pods are ready at once."""

    def __init__(self, rules: Rules, replicas: int) -> None:
        self._rules = rules
        self._replicas = min(max(replicas, rules.min_replicas), rules.max_replicas)
        self._lowest = _Extreme(rules.up.window_s, highest=False)
        self._highest = _Extreme(rules.down.window_s, highest=True)
        self._moves: deque[tuple[int, int]] = deque()
        periods = [p.period_s for p in (*rules.up.policies, *rules.down.policies)]
        self._longest_s = max(periods, default=0)

    def sync(self, at: int, demand: float) -> int:
        """One look at the metric: the replicas after it."""
        wanted = self._recommend(demand)
        up, down = self._lowest.add(at, wanted), self._highest.add(at, wanted)
        stable = min(max(self._replicas, up), down)
        limited = self._limit(at, stable)
        bounded = min(max(limited, self._rules.min_replicas), self._rules.max_replicas)
        if bounded != self._replicas:
            self._moves.append((at, bounded - self._replicas))
            self._replicas = bounded
        return self._replicas

    def _recommend(self, demand: float) -> int:
        ratio = demand / self._replicas if self._replicas else math.inf
        rules = self._rules.up if ratio > 1.0 else self._rules.down
        if abs(1.0 - ratio) <= rules.tolerance:
            return self._replicas
        return math.ceil(demand - _EPSILON)  # = ceil(ratio * ready)

    def _limit(self, at: int, wanted: int) -> int:
        while self._moves and self._moves[0][0] <= at - self._longest_s:
            self._moves.popleft()
        if wanted > self._replicas:
            return min(wanted, max(self._replicas, self._most(at)))
        if wanted < self._replicas:
            return max(wanted, min(self._replicas, self._least(at)))
        return wanted

    def _most(self, at: int) -> int:
        rules = self._rules.up
        if rules.select == "Disabled":
            return self._replicas
        allowed = [
            begun + policy.pods
            if policy.pods is not None
            else math.ceil(begun * (1 + (policy.percent or 0) / 100) - _EPSILON)
            for policy in rules.policies
            for begun in (self._begun(at, policy),)
        ]
        return min(allowed) if rules.select == "Min" else max(allowed)

    def _least(self, at: int) -> int:
        rules = self._rules.down
        if rules.select == "Disabled":
            return self._replicas
        allowed = [
            begun - policy.pods
            if policy.pods is not None
            else int(begun * (1 - (policy.percent or 0) / 100) + _EPSILON)
            for policy in rules.policies
            for begun in (self._begun(at, policy),)
        ]
        return max(allowed) if rules.select == "Min" else min(allowed)

    def _begun(self, at: int, policy: Policy) -> int:
        """How many there were when the policy's period began."""
        return self._replicas - sum(
            change for moved_at, change in self._moves if moved_at > at - policy.period_s
        )
