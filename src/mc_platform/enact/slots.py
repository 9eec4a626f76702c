"""Slots for operations that begin where they are accepted: so many, and so many for each tenant."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_STALE_S = 5.0


class Slots:
    """Counts what began at once here; what finds no slot has to queue. Safe between threads.

    Args:
        total: Operations that may hold a slot.
        per_tenant: Of them, how many may be one tenant's.
        runs: Whether an operation runs here now.
    """

    def __init__(self, *, total: int, per_tenant: int, runs: Callable[[str], bool]) -> None:
        self.total = total
        self.per_tenant = per_tenant
        self._runs = runs
        self._lock = threading.Lock()
        self._taken: dict[str, tuple[str, float]] = {}  # operation: tenant, and when

    def take(self, operation_id: str, tenant: str) -> bool:
        """Take a slot; False if there is none for this tenant."""
        now = time.monotonic()
        with self._lock:
            # One that was begun before, elsewhere, does not run here and gives nothing back
            self._taken = {
                name: (whose, taken_at)
                for name, (whose, taken_at) in self._taken.items()
                if now - taken_at < _STALE_S or self._runs(name)
            }
            tenants = [whose for whose, _ in self._taken.values()]
            if len(tenants) >= self.total or tenants.count(tenant) >= self.per_tenant:
                return False
            self._taken[operation_id] = (tenant, now)
            return True

    def give_back(self, operation_id: str) -> None:
        """The operation ended, or did not begin; harmless if it had no slot."""
        with self._lock:
            self._taken.pop(operation_id, None)
