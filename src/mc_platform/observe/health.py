"""What `/health` says: this replica, and each dependency as it is now.

`unavailable` (503) when a request could not be served: no database, no policy, no operations.
`degraded` (200) when it can, but something that must heal does not work: the SIEM, an agent.
Each probe really looks; none reports what it was told at start-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Probe = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
"""Answers whether the dependency works, and details fit for anyone to see."""

_PROBE_TIMEOUT_S = 3.0


class Health:
    """Composes the answer from probes; `vital` ones decide whether this replica can serve."""

    def __init__(
        self,
        *,
        identity: Callable[[], Mapping[str, Any]],
        vital: Mapping[str, Probe],
        other: Mapping[str, Probe],
    ) -> None:
        self._identity = identity
        self._vital = vital
        self._probes = {**vital, **other}
        self.draining = False

    async def look(self) -> tuple[int, dict[str, Any]]:
        """The HTTP status and the JSON body, by probing everything at once."""
        names = list(self._probes)
        results = await asyncio.gather(*(self._ask(self._probes[name]) for name in names))
        dependencies = {
            name: {"state": "ok" if works else "down", **detail}
            for name, (works, detail) in zip(names, results, strict=True)
        }
        down = [name for name in names if dependencies[name]["state"] != "ok"]
        unable = self.draining or any(name in self._vital for name in down)
        status = "unavailable" if unable else "degraded" if down else "ok"
        body = {
            "status": "draining" if self.draining else status,
            **self._identity(),
            "dependencies": dependencies,
        }
        return (503 if unable else 200), body

    @staticmethod
    async def _ask(probe: Probe) -> tuple[bool, dict[str, Any]]:
        try:
            return await asyncio.wait_for(probe(), _PROBE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - a probe that fails is an answer
            return False, {"reason": type(error).__name__}
