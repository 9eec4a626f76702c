"""How many connections to PostgreSQL a replica has at most, and how many replicas fit a server.

The one place of these numbers: the service's pools are made of them, and `mcctl scale`, the
pre-flight and the maximum of an autoscaler count with them. `docs/how-to/connections.md` explains
them.
"""

from __future__ import annotations

from dataclasses import dataclass

TENANT = 3
"""Reads bound to one tenant by row-level security, credentials and probes."""
RECORD = 4
"""The ledger's writer, its proofs, look-ups, and the claims of delivery."""
ENGINE = 2
"""The operation engine: its steps, and its looks at the queue."""
LEASE = 1
"""The heartbeat of operations, which must wait for nothing."""
PER_REPLICA = TENANT + RECORD + ENGINE + LEASE
"""At most, under any load."""
OF_THE_TOOLS = 2
"""Kept for `mcctl`, `python -m mc_platform` and a person with psql."""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server has, and who has it.

    Attributes:
        most: `max_connections`.
        reserved: Kept by the server for superusers and for reserved roles.
        others: Connections now that are no replica's.
    """

    most: int
    reserved: int
    others: int

    @property
    def fitting(self) -> int:
        """How many replicas may have all their connections at once."""
        free = self.most - self.reserved - max(self.others, OF_THE_TOOLS)
        return max(0, free // PER_REPLICA)

    def required(self, replicas: int) -> int:
        """The least `max_connections` with which so many replicas fit."""
        return replicas * PER_REPLICA + self.reserved + max(self.others, OF_THE_TOOLS)


COUNT = """
SELECT current_setting('max_connections')::int AS most,
    current_setting('superuser_reserved_connections')::int
        + coalesce(current_setting('reserved_connections', true), '0')::int AS reserved,
    (SELECT count(*) FROM pg_stat_activity
     WHERE datid IS NOT NULL AND usename IS NOT NULL AND pid <> pg_backend_pid() AND NOT (
        usename = session_user AND split_part(application_name, ':', 1) = ANY($1::text[])))::int
        AS others
"""
"""Fills a `Server`, asked by the service's login. $1: names of replicas, whose connections the
budget counts. Connections of other logins are counted although their details may not be read."""
