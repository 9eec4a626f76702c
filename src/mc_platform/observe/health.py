"""What `/health` says: this replica, and each dependency as it is now.

`unavailable` (503) when a request could not be served: no database, no policy, no operations.
`degraded` (200) when it can, but something that must heal does not work: the SIEM, an agent.
Each probe really looks; none reports what it was told at start-up. Anyone may ask, so one look
serves all who ask within an interval, and a stranger is told no name of a tenant or an agent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

Probe = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
"""Answers whether the dependency works, and details fit for anyone to see."""

_PROBE_TIMEOUT_S = 3.0
_log = structlog.get_logger()
_FOR_STRANGERS = ("status", "service", "version", "colour")
_FOR_TENANTS = (*_FOR_STRANGERS, "replica", "running")  # who compares replicas must know them apart


class Health:
    """Composes the answer from probes; `vital` ones decide whether this replica can serve."""

    def __init__(
        self,
        *,
        identity: Callable[[], Mapping[str, Any]],
        vital: Mapping[str, Probe],
        other: Mapping[str, Probe],
        keep_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity
        self._vital = vital
        self._probes = {**vital, **other}
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._looking: asyncio.Task[dict[str, dict[str, Any]]] | None = None
        self._until = 0.0
        self.draining = False
        self._unable: list[str] = []

    async def look(self, *, detail: bool = True, known: bool = False) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the JSON body; probes at most once in `keep_s`, all at once.

        Args:
            detail: False for strangers: whether it serves, and which version of what.
            known: Without detail: whether it is a tenant, who is told what runs here, too.
        """
        if self._looking is None or (self._looking.done() and self._monotonic() >= self._until):
            self._looking = asyncio.create_task(self._probe_all())
        # Whoever asks meanwhile waits for the same look, and may leave without ending it
        dependencies = await asyncio.shield(self._looking)
        down = [name for name, found in dependencies.items() if found["state"] != "ok"]
        vital = [name for name in down if name in self._vital]
        self._tell(vital, dependencies)
        unable = bool(self.draining or vital)
        status = "unavailable" if unable else "degraded" if down else "ok"
        body = {
            "status": "draining" if self.draining else status,
            **self._identity(),
            "dependencies": dependencies,
        }
        if not detail:
            names = _FOR_TENANTS if known else _FOR_STRANGERS
            body = {name: body[name] for name in names if name in body}
        return (503 if unable else 200), body

    def _tell(self, unable: list[str], dependencies: Mapping[str, Mapping[str, Any]]) -> None:
        """Log when it ceases to serve, and when it serves again: each 503 for itself is no line."""
        if unable and unable != self._unable:
            _log.warning("cannot_serve", **{name: dependencies[name] for name in unable})
        elif self._unable and not unable:
            _log.info("serves_again", after=self._unable)
        self._unable = unable

    async def _probe_all(self) -> dict[str, dict[str, Any]]:
        names = list(self._probes)
        results = await asyncio.gather(*(self._ask(self._probes[name]) for name in names))
        self._until = self._monotonic() + self._keep_s
        return {
            name: {"state": "ok" if works else "down", **detail}
            for name, (works, detail) in zip(names, results, strict=True)
        }

    @staticmethod
    async def _ask(probe: Probe) -> tuple[bool, dict[str, Any]]:
        try:
            return await asyncio.wait_for(probe(), _PROBE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - a probe that fails is an answer
            return False, {"reason": type(error).__name__}
