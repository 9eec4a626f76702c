"""Who may run operations now: a lease for each replica, kept alive by a heartbeat.

A replica that stops to renew (killed, paused, cut off) loses its lease after `TTL_S`; a live one
marks it lost and takes its operations over. Three things together make that safe:

(1) the engine's own fence: each start of an operation writes a token to its row, and no step of
    an older start can be kept afterwards;
(2) the holder's fence: it counts its lease from before it asked for the renewal, by a clock that
    goes on while the process is paused, and begins no effect once that time is over. When it
    learns that the lease was lost, everything that it ran before (its `term`) is given up;
(3) what slips between check and call is told by the idempotency key of the call.

What the holder claimed and does not run (the database died between a claim's commit and its
answer) is found by comparing both, and queued again.

A lease that lapsed without anybody noticing (the database was down for all) is simply renewed. So
that all get the chance to, nobody adopts within `_PATIENCE` renewals of its own after a failure.

The whole way is measured by the crash test: a dead replica's operations go on within 15 s.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mc_platform.observe import metrics

TTL_S = 8.0
HEARTBEAT_S = 1.0
_PATIENCE = 3
_UNRUN_S = 6.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that runs operations: its replica's name, itself, and its code's version."""

    executor_id: str
    instance: str
    application_version: str


def boot_time() -> float:
    """Seconds that include the machine's sleep, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Renewal(StrEnum):
    """What a renewal found.

    kept        the lease was held without a gap that anybody noticed
    lost        another replica had marked it lost, or it was forgotten; it is held anew
    superseded  another process runs under this replica's name
    """

    kept = "kept"
    lost = "lost"
    superseded = "superseded"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Operations that wait for their turn, and those that wait for a version nobody runs."""

    queued: int
    for_version: int


class Leases(Protocol):
    """Leases at rest; all methods block. Behind it: PostgreSQL; memory in tests.

    Any exception means that the store did not answer.
    """

    def claim(self, holder: Holder, ttl_s: float) -> None:
        """Take the lease of `holder.executor_id`, whoever had it."""

    def renew(self, holder: Holder, ttl_s: float) -> Renewal:
        """Hold the lease for `ttl_s` more seconds."""

    def release(self, holder: Holder) -> None:
        """Give the lease back; what is unfinished may be adopted at once."""

    def unrun(self, holder: Holder, running: Sequence[str], older_than_s: float) -> Sequence[str]:
        """Operations that are the holder's at rest, are not `running`, and were left so long."""

    def abandoned(self, application_version: str) -> Sequence[str]:
        """Mark lapsed leases lost; replicas with unfinished operations and no lease."""

    def reassign(self, application_version: str) -> int:
        """Give operations that no code has begun, of versions that nobody runs, to this one."""

    def waiting(self) -> Waiting:
        """What waits now."""

    def live(self) -> dict[str, str]:
        """Versions by replica, of those that hold a lease."""


class LeaseKeeper:
    """Holds one replica's lease, and adopts what dead ones left.

    Args:
        leases: The leases at rest.
        holder: Whose lease it is.
        adopt: Takes over the unfinished operations of the replicas named; blocks.
        running: Ids of the operations that run here now.
        requeue: Puts one operation of this holder back into the queue; blocks.
        ttl_s: How long a lease holds without renewal.
        heartbeat_s: How often it is renewed.
        monotonic: A clock that goes on while the process is paused, and the machine sleeps.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        holder: Holder,
        adopt: Callable[[list[str]], None],
        running: Callable[[], Sequence[str]] = lambda: (),
        requeue: Callable[[str], None] = lambda _operation_id: None,
        ttl_s: float = TTL_S,
        heartbeat_s: float = HEARTBEAT_S,
        monotonic: Callable[[], float] = boot_time,
    ) -> None:
        self._leases = leases
        self._holder = holder
        self._adopt = adopt
        self._running = running
        self._requeue = requeue
        self._ttl_s = ttl_s
        self._heartbeat_s = heartbeat_s
        self._monotonic = monotonic
        self._held_until = 0.0
        self._steady = 0
        self._reclaim = False
        self._stop = threading.Event()
        # Two threads: taking over may take long, and must not keep a renewal waiting
        self._threads = [
            threading.Thread(target=self._every_beat, args=(work,), name=name, daemon=True)
            for name, work in (("operation-lease", self._beat), ("operation-care", self._care))
        ]
        self.term = 1
        self.superseded = False
        self.retiring = False  # it holds its lease, and takes nothing over

    def held(self, term: int | None = None) -> bool:
        """Whether the lease is surely held now, and since that `term` without a loss."""
        current = term is None or term == self.term
        return current and not self.superseded and self._monotonic() < self._held_until

    def start(self) -> None:
        """Take the lease, then keep it in a thread of its own.

        Raises:
            Exception: the store did not answer.
        """
        asked = self._monotonic()
        self._leases.claim(self._holder, self._ttl_s)
        self._held_until = asked + self._ttl_s
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the heartbeat, and let others adopt at once what is left."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(self._ttl_s)
        self._held_until = 0.0
        if not self.superseded:
            try:
                self._leases.release(self._holder)
            except Exception as error:  # noqa: BLE001 it lapses by itself
                _log.warning("the lease was not released: %s", type(error).__name__)

    def _every_beat(self, work: Callable[[], None]) -> None:
        while not self._stop.wait(self._heartbeat_s):
            try:
                work()
            except Exception as error:  # noqa: BLE001 the heartbeat must outlive any defect
                self._steady = 0
                name = threading.current_thread().name
                _log.warning("%s failed, trying again: %s", name, type(error).__name__)

    def _beat(self) -> None:
        asked = self._monotonic()
        found = self._leases.renew(self._holder, self._ttl_s)
        if found is Renewal.superseded:
            if not self.superseded:
                _log.error(
                    "another process runs operations as %s; this one stops to",
                    self._holder.executor_id,
                )
                self.term += 1
            self.superseded = True
            return
        if found is Renewal.lost:
            # Threads of the former term find out at their next step or effect
            self.term += 1
            self._reclaim = True
            metrics.operation_leases_lost.inc()
            _log.warning("the operation lease was lost meanwhile: term %d begins", self.term)
        self._held_until = asked + self._ttl_s
        self._steady += 1

    def _care(self) -> None:
        if not self.held() or self.retiring:
            return
        if self._reclaim:
            self._adopt([self._holder.executor_id])
            self._reclaim = False
        for operation_id in self._leases.unrun(self._holder, self._running(), _UNRUN_S):
            _log.warning("operation %s was claimed here and is not run: queued again", operation_id)
            self._requeue(operation_id)
        if self._steady >= _PATIENCE:
            self._look_after_others()

    def _look_after_others(self) -> None:
        version = self._holder.application_version
        dead = [
            name for name in self._leases.abandoned(version) if name != self._holder.executor_id
        ]
        if dead:
            _log.warning("adopting the operations of %s", ", ".join(dead))
            self._adopt(dead)
            metrics.operation_adoptions.inc(len(dead))
        if self._leases.reassign(version):
            _log.info("operations that no code had begun were moved to version %s", version)
        waiting = self._leases.waiting()
        metrics.operations_waiting.labels("turn").set(waiting.queued)
        metrics.operations_waiting.labels("version").set(waiting.for_version)
