"""The region's heartbeat, and what it shows of the peer: lag, WAL kept for it, rows that were refused."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.errors import Unavailable
from mc_platform.observe import metrics

_BEAT_S = 1.0
_NO_PEER_S = 5.0  # until it is looked again whether there is one
_BEAT = """
SELECT b.*, (SELECT count(*) FILTER (WHERE c.whole) = 2 FROM mc.region_copy c) AS whole FROM mc.beat() AS b
"""
_log = structlog.get_logger()


class Heartbeat:
    """Beats once a second, whichever replica comes first; every replica shows the same figures."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._peer = ""
        self._lag_s = 0.0
        self._known_at = 0.0

    async def run(self) -> None:
        """Beat, where there is a peer, until the process stops."""
        while True:
            try:
                row = await self._beat()
            except Unavailable as error:
                # What is not known grows: a lag that stands still would look well
                if self._peer:
                    metrics.replication_lag.labels(self._peer).set(
                        self._lag_s + time.monotonic() - self._known_at
                    )
                _log.warning("heartbeat_postponed", reason=error.message)
            else:
                self._show(row)
            await asyncio.sleep(_BEAT_S if self._peer else _NO_PEER_S)

    @wrapped("the region's heart does not beat")
    async def _beat(self) -> Any:
        return await self._pools.record.fetchrow(_BEAT)

    def _show(self, row: Any) -> None:
        if row is None:
            return
        self._peer, self._lag_s, self._known_at = row["peer"], row["lag_s"], time.monotonic()
        metrics.replication_lag.labels(self._peer).set(self._lag_s)
        metrics.replication_refused.labels(self._peer).set(row["refused"])
        metrics.replication_whole.labels(self._peer).set(row["whole"])
        if row["retained_bytes"] is None:  # no slot, or a lost one: the last figure would look kept
            metrics.replication_retained.remove_by_labels({"peer": self._peer})
        else:
            metrics.replication_retained.labels(self._peer).set(row["retained_bytes"])
