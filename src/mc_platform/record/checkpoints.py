"""Signed checkpoints over the region's log, on demand and at an interval.

Any replica may sign: the head row says what the log is, the key is the region's. A checkpoint is
public by nature; it tells the log's size and root, and nothing about what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.merkle import Frontier
from mc_platform.errors import Unavailable

_log = structlog.get_logger()


def ledger_origin(region: str) -> str:
    """The log's identity, as the first line of its checkpoints and its key's name."""
    return f"mc-platform.example.com/ledger/{region}"


class CheckpointKeeper:
    """Signs the head, and stores a checkpoint whenever the log has grown."""

    def __init__(
        self,
        *,
        region: str,
        key: Ed25519PrivateKey,
        head: Callable[[], Awaitable[Frontier]],
        store: Callable[[int, str], Awaitable[None]],
        interval_s: float,
    ) -> None:
        self._origin = ledger_origin(region)
        self._key = key
        self._head = head
        self._store = store
        self._interval_s = interval_s
        self._stored_size = 0

    async def current(self) -> str:
        """A checkpoint note over the log as it is now.

        Raises:
            Unavailable: the log cannot be read.
        """
        return self._sign(await self._head())

    async def run(self) -> None:
        """Store a checkpoint each interval in which the log grew; until cancelled."""
        while True:
            try:
                head = await self._head()
                if head.size > self._stored_size:
                    await self._store(head.size, self._sign(head))
                    self._stored_size = head.size
            except Unavailable as error:
                _log.warning("checkpoint_postponed", reason=error.message)
            await asyncio.sleep(self._interval_s)

    def _sign(self, head: Frontier) -> str:
        checkpoint = Checkpoint(self._origin, head.size, head.root())
        return sign_checkpoint(checkpoint, self._origin, self._key)
