"""How far the region's log of writes goes, and how far the peer region has it on its disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mc_platform.adapters.postgres.pools import Pools, wrapped

# While the peer copies whole tables its slot's position tells nothing of them: the peer says when it has them
# all, and of which slot it speaks (migrations 0053, 0065)
_LOOK = """
SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn AS written,
    (SELECT s.confirmed_flush_lsn - '0/0'::pg_lsn FROM mc.region_peer p
     JOIN mc.region_copy c ON c.region = p.peer AND c.whole
     JOIN pg_replication_slots s ON s.slot_name = coalesce(c.slot, 'mc_' || replace(p.peer, '-', '_'))
     WHERE s.slot_type = 'logical' AND s.database = current_database()) AS held
"""


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions in the write-ahead log, in bytes.

    Attributes:
        written: Up to here it is on disk; each commit that was answered before is.
        held: Up to here the peer has it on disk; None: it has no slot, or copies tables still.
    """

    written: int
    held: int | None


class PostgresPeerPosition:
    """Looks once, when asked."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("what the peer has is not known")
    async def look(self) -> Positions:
        """Both, as they stand now.

        Raises:
            Unavailable: the database does not answer.
        """
        row: Any = await self._pools.record.fetchrow(_LOOK)
        held = row["held"]
        return Positions(int(row["written"]), None if held is None else int(held))
