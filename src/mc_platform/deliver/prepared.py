"""Encoding batches, and bodies that were made ready ahead, for sinks that encode before they send.

An error amid encoding is the content's, and is told as such; an error anywhere else in a sink is
not, and must not cost an event. Encoding runs in a thread. The last three are kept: the one being
sent, which may have to be sent again, and the two after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mc_platform.deliver.outbox import BatchRejected, Shipment


def encoded(encode: Callable[[Sequence[Shipment]], bytes], batch: Sequence[Shipment]) -> bytes:
    """What `encode` makes of a batch.

    Raises:
        BatchRejected: our own code cannot map an event of it.
    """
    try:
        return encode(batch)
    except MemoryError:
        raise  # of this machine, not of the event
    except Exception as error:
        raise BatchRejected(f"cannot be mapped: {type(error).__name__}") from error


class Prepared:
    """A sink's `prepare`, and the bodies that it made."""

    def __init__(self, encode: Callable[[Sequence[Shipment]], bytes]) -> None:
        self._encode = encode
        self._ready: deque[tuple[Sequence[Shipment], bytes]] = deque(maxlen=3)

    async def prepare(self, batch: Sequence[Shipment]) -> None:
        self._ready.append((batch, await asyncio.to_thread(encoded, self._encode, batch)))

    async def body(self, batch: Sequence[Shipment]) -> bytes:
        """The batch encoded, now or before.

        Raises:
            BatchRejected: it cannot be encoded.
        """
        for known, body in self._ready:
            if known is batch:
                return body
        return await asyncio.to_thread(encoded, self._encode, batch)
