"""What the breaker counts, without counting a whole day at each look.

Operations that ended some minutes ago stand still: their times are kept here, eight bytes each, and
what came since is counted by the database. So a look costs what ended within minutes, however many
operations a day has. Whatever is recorded later than `_SETTLED_AFTER` tells (a replica whose clock is
behind), or changed by hand, counts when the memory is read anew: every hour, and after a failure.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from mc_platform.enact.breaker import Count, OperationCounts
from mc_platform.model.ids import TenantId

_SETTLED_AFTER = timedelta(minutes=5)
_READ_ON_AFTER = timedelta(minutes=1)
_SLICE = timedelta(hours=1)
_ANEW_AFTER_S = 3600.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ends:
    """When operations of one tenant ended, in microseconds since 1970, in order.

    Attributes:
        ended: All that count.
        compensated: Those among them that were compensated or are stuck.
    """

    ended: Iterable[int]
    compensated: Iterable[int]


class EndedRows(OperationCounts, Protocol):
    """Operations that ended, of all tenants. Behind it: PostgreSQL; memory in tests."""

    async def ended_between(
        self, tenants: Sequence[TenantId], after_at: datetime, until_at: datetime
    ) -> Mapping[TenantId, Ends]:
        """What ended after the first time and not after the second; no entry where nothing did."""


@dataclass(slots=True)
class _Kept:
    """The times of one tenant, and from when on they are all here."""

    since_at: datetime
    ended: array[int] = field(default_factory=lambda: array("q"))
    compensated: array[int] = field(default_factory=lambda: array("q"))

    def add(self, ends: Ends) -> None:
        self.ended.extend(ends.ended)
        self.compensated.extend(ends.compensated)

    def forget_until(self, at: datetime) -> None:
        """Drop what no longer counts: a tenant's window only moves on."""
        self.since_at = at
        for times in (self.ended, self.compensated):
            del times[: bisect_right(times, _microseconds(at))]

    def count(self) -> Count:
        return Count(len(self.ended), len(self.compensated))


class EndedOperations:
    """Counts as `rows.ended` does, by memory and a short query.

    Args:
        rows: Where operations are kept.
        clock: The time of day; what ended is known by the clock of the replica that ended it.
        monotonic: Seconds.
    """

    def __init__(
        self,
        rows: EndedRows,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._monotonic = monotonic
        self._alone = asyncio.Lock()
        self._kept: dict[TenantId, _Kept] = {}
        self._settled_at = _EPOCH
        self._anew_at_s = 0.0

    async def ended(self, since_at: Mapping[TenantId, datetime]) -> Mapping[TenantId, Count]:
        """As `OperationCounts.ended`.

        Raises:
            Unavailable: operations cannot be read.
        """
        if not since_at:
            return {}
        async with self._alone:
            try:
                await self._read_on(since_at)
                asked = {tenant: max(at, self._settled_at) for tenant, at in since_at.items()}
                recent = await self._rows.ended(asked)
            except BaseException:
                self._kept = {}  # what was written meanwhile may be late
                raise
            found = {}
            for tenant, kept in self._kept.items():
                count = kept.count() + recent.get(tenant, Count())
                if count.ended:
                    found[tenant] = count
            return found

    async def stuck(self, tenants: Sequence[TenantId]) -> Mapping[TenantId, int]:
        """As `OperationCounts.stuck`."""
        return await self._rows.stuck(tenants)

    async def _read_on(self, since_at: Mapping[TenantId, datetime]) -> None:
        """Keep what has settled since the last look, and drop what no longer counts."""
        until_at = self._clock() - _SETTLED_AFTER
        if self._is_stale(since_at, until_at):
            self._kept = {tenant: _Kept(at) for tenant, at in since_at.items()}
            self._settled_at = min(since_at.values())
            self._anew_at_s = self._monotonic() + _ANEW_AFTER_S
        if until_at - self._settled_at >= _READ_ON_AFTER:
            while self._settled_at < until_at:
                next_at = min(self._settled_at + _SLICE, until_at)
                slices = await self._rows.ended_between(list(since_at), self._settled_at, next_at)
                for tenant, ends in slices.items():
                    self._kept[tenant].add(ends)
                self._settled_at = next_at
        for tenant, at in since_at.items():
            self._kept[tenant].forget_until(at)

    def _is_stale(self, since_at: Mapping[TenantId, datetime], until_at: datetime) -> bool:
        return (
            self._monotonic() >= self._anew_at_s
            or self._kept.keys() != since_at.keys()
            or self._settled_at > max(until_at, min(since_at.values()))  # a clock was set back
            or any(at < self._kept[tenant].since_at for tenant, at in since_at.items())
        )


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
