"""How fast: waits after a refusal, and the bound at which a backlog drains.

A backlog is what the log has beyond a batch and beyond two seconds of what is being recorded. It
drains at `drain_events_per_s`, or at twice the measured rate of recording if that is more: so it
shrinks at least as fast as it was made, and an event recorded now waits no longer than the backlog
before it takes at that rate. Without a backlog there is no bound.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable

_WINDOW_SAMPLES = 6
_STEADY_S = 2.0
_SLICE_S = 0.25  # a batch while draining holds what the bound allows in this time
_LEAST_BATCH = 50
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MOST_S = 10.0
_RETRY_AFTER_MOST_S = 300.0


def backoff_s(failures: int, retry_after_s: float | None) -> float:
    """How long to wait after the n-th refusal in a row: doubling, jittered, or longer if asked.

    A sink that asks for no wait, or for one that is over, does not get a loop without one.
    """
    longest = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 10))
    own_s = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    return own_s if retry_after_s is None else max(own_s, min(_RETRY_AFTER_MOST_S, retry_after_s))


class Pace:
    """The bound on draining. Told the log's size about once a second."""

    def __init__(
        self,
        *,
        drain_events_per_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._least = drain_events_per_s
        self._clock = clock
        self._sizes: deque[tuple[float, int]] = deque(maxlen=_WINDOW_SAMPLES)
        self._not_before = 0.0

    def saw(self, size: int) -> None:
        """The log has `size` events now."""
        self._sizes.append((self._clock(), size))

    @property
    def recorded_per_s(self) -> float:
        """The rate of recording: over the window or over the last sample, the greater."""
        if len(self._sizes) < 2:
            return 0.0
        last_at, last = self._sizes[-1]
        rates = [
            (last - size) / (last_at - at)
            for at, size in (self._sizes[0], self._sizes[-2])
            if last_at > at
        ]
        return max(0.0, *rates) if rates else 0.0

    @property
    def bound_per_s(self) -> float:
        """Events a second while a backlog drains."""
        return max(self._least, 2.0 * self.recorded_per_s)

    def waiting(self, next_index: int) -> int:
        """How many events the log has from `next_index` on, as last seen."""
        return max(0, self._sizes[-1][1] - next_index) if self._sizes else 0

    def draining(self, next_index: int, most: int) -> bool:
        """Whether what waits is a backlog, and not the last moments' events."""
        return self.waiting(next_index) > max(most, _STEADY_S * self.recorded_per_s)

    def batch_limit(self, next_index: int, most: int) -> int:
        """How many events the next batch may have."""
        if not self.draining(next_index, most):
            return most
        return min(most, max(_LEAST_BATCH, int(self.bound_per_s * _SLICE_S)))

    async def allow(self, events: int, *, draining: bool) -> None:
        """Wait until `events` more may be sent."""
        now = self._clock()
        if not draining:
            self._not_before = now
            return
        if self._not_before > now:
            await asyncio.sleep(self._not_before - now)
        self._not_before = max(now, self._not_before) + events / self.bound_per_s
