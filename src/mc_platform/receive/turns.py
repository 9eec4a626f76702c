"""Arrivals, large bodies and large answers in turn, so that the event loop serves others in between.

Hundreds of small requests that come together are no long stretch of work each, but all of them in one
round of the loop are: so a few of each tenant begin in a round.

Reading or writing one mebibyte takes the loop some 20 ms. That is bounded; thirty of them that are
ready together are not. Each takes a turn and pauses for longer than its own work, one at a time,
and the tenants that wait go in rotation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mc_contract.keepable import json_bytes
from mc_platform.bulkheads import Slots
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Part
from mc_platform.model.task import Task

LARGE_BYTES = 65_536
_SHORT_CHARS = 4096  # of at most six bytes each, where JSON escapes them
_PAUSE_S_PER_BYTE = 0.04 / 1_048_576
_WAIT_S = 10.0
_MOST_WAITING = 64
_A_ROUND = 2  # requests of one tenant
_MOST_ARRIVING = 1024  # as many as one address has connections, unless set otherwise


class Turns:
    """Turns of one kind.

    Args:
        kind: What takes one, in the plural.
    """

    def __init__(self, kind: str) -> None:
        self._slots = Slots(kind, per_tenant=1, total=1, wait_s=_WAIT_S, most_waiting=_MOST_WAITING)

    async def take(self, tenant: TenantId, size_bytes: int, *, patient: bool = False) -> None:
        """Return when it is the tenant's turn; at once if it is not large.

        Args:
            patient: For the answer to what was accepted: it waits however long it takes.

        Raises:
            RateLimited: too many of the tenant wait already, or none came in time.
        """
        if size_bytes > LARGE_BYTES:
            async with self._slots.held(tenant, patient=patient):
                await asyncio.sleep(size_bytes * _PAUSE_S_PER_BYTE)

    async def to_show(
        self, tenant: TenantId, tasks: Sequence[Task], *, patient: bool = False
    ) -> None:
        """As `take`, for an answer that shows these tasks."""
        if len(tasks) == 1 and _is_short(tasks[0].parts):
            return
        size_bytes = sum(_size(task) for task in tasks if task.parts)
        await self.take(tenant, size_bytes, patient=patient)


class Arrivals:
    """Requests that begin: a few of each tenant in one round of the event loop."""

    def __init__(self) -> None:
        self._slots = Slots(
            "arrivals", per_tenant=_A_ROUND, wait_s=_WAIT_S, most_waiting=_MOST_ARRIVING
        )

    async def begin(self, tenant: TenantId) -> None:
        """Return in the round in which a request of the tenant may begin.

        Raises:
            RateLimited: too many of the tenant wait already, or its round did not come in time.
        """
        if not self._slots.take_now(tenant):
            await self._slots.wait(tenant)
        # Its place is the next one's in the next round; who finds one goes on without a pause
        asyncio.get_running_loop().call_soon(self._slots.give_back, tenant)


def _is_short(parts: Sequence[Part]) -> bool:
    """Whether it is one short text, as most replies are: its size need not be found out."""
    if len(parts) != 1 or len(parts[0]) != 1:
        return False
    text = parts[0].get("text")
    return type(text) is str and len(text) <= _SHORT_CHARS


def _size(task: Task) -> int:
    try:
        return len(json_bytes(task.parts))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return LARGE_BYTES + 1  # of an earlier version, which kept what cannot be shown
