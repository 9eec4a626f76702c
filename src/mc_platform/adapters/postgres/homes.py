"""Homes and regions' leases in PostgreSQL; implement `enact.homes.HomeStore` and `query.homes.HomeRegister`.

The database is the arbiter's, or, where a person decides, the region's own. Blocking, on one connection of
its own: a renewal must not wait for a pool that requests share. No statement takes longer than a
fraction of a lease; a server that does not answer at all is noticed by the system's timers.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import psycopg

from mc_platform.adapters.postgres.own_connection import OwnConnection
from mc_platform.enact.homes import View
from mc_platform.errors import Unavailable
from mc_platform.model.home import Home
from mc_platform.model.ids import TenantId

_CONNECT_TIMEOUT_S = 2
_STATEMENT_TIMEOUT_MS = 1000
_TCP_TIMEOUT_MS = 1500


class PostgresHomes:
    """Homes of all regions' tenants.

    Args:
        url: `postgresql://` URL of a role that may use the schema `mc_home`.
        application_name: As `pg_stat_activity` shows it.
    """

    _regions = """
        SELECT region, extract(epoch FROM clock_timestamp() - renewed_at)::float8 FROM mc_home.lease
        ORDER BY region
    """
    _hint = (
        "see that the database of MC_ARBITER_URL answers, and that migrate-arbiter was run there"
    )

    def __init__(self, url: str, *, application_name: str) -> None:
        self._own = OwnConnection(
            url,
            application_name=application_name,
            statement_timeout_ms=_STATEMENT_TIMEOUT_MS,
            connect_timeout=_CONNECT_TIMEOUT_S,
            tcp_user_timeout=_TCP_TIMEOUT_MS,
        )

    def renew(self, region: str, tenants: Collection[TenantId], known: int) -> View:
        return _view(self._value("renew", region, sorted(tenants), known))

    def look(self, known: int) -> View:
        return _view(self._value("look", known))

    def take_over(self, region: str, lapsed: str, renewals: int) -> int:
        return int(self._value("take_over", region, lapsed, renewals))

    def claim(self, tenant: TenantId, region: str, term: int) -> bool:
        return bool(self._value("claim", tenant, region, term))

    def release(self, tenant: str, term: int, target: str, *, principal: str, reason: str) -> bool:
        """Have the home give a tenant up for another region; False if it was moved meanwhile.

        Raises:
            Unavailable: the store did not answer.
        """
        return bool(self._value("release", tenant, term, target, principal, reason))

    def regions(self) -> dict[str, float]:
        """Regions, each with the age in seconds of its last renewal, by the store's clock.

        Raises:
            Unavailable: the store did not answer.
        """
        return {str(row[0]): float(row[1]) for row in self._execute(self._regions, ())}

    def close(self) -> None:
        """Close the connection; the next call makes another one."""
        self._own.close()

    def _value(self, function: str, *values: Any) -> Any:
        places = ", ".join(_PLACES.get(type(value), "%s") for value in values)
        [(value,)] = self._execute(f"SELECT mc_home.{function}({places})", values)
        return value

    def _execute(self, text: str, values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._own.execute(text, values)
        except psycopg.Error as error:
            raise Unavailable(
                f"the homes of tenants cannot be read: {type(error).__name__}", hint=self._hint
            ) from error


class RegionHomes(PostgresHomes):
    """The same in a region's own database, of which the peer is told (migration 0069): a person decides."""

    _regions = "SELECT * FROM mc_home.regions_here()"
    _hint = "see that the database of MC_DATABASE_URL answers, and that it is migrated"

    def release(self, tenant: str, term: int, target: str, *, principal: str, reason: str) -> bool:
        """Give a home of this region up for the peer, for good; False if it was moved meanwhile.

        Raises:
            Unavailable: the database did not answer.
        """
        return bool(self._value("give_up", tenant, term, target, principal, reason))

    def seize(self, tenant: str, region: str, term: int, *, principal: str, reason: str) -> bool:
        """Make this region the home behind that term (0: there is none); False if it was moved meanwhile.

        Raises:
            Unavailable: the database did not answer.
        """
        return bool(self._value("seize", tenant, region, term, principal, reason))


_PLACES = {list: "%s::text[]", int: "%s::bigint", str: "%s::text"}


def _view(told: Any) -> View:
    told = json.loads(told) if isinstance(told, str) else told
    homes = told["homes"]
    return View(
        changes=told["changes"],
        leases=told["leases"],
        homes=None
        if homes is None
        else {TenantId(tenant): Home(**home) for tenant, home in homes.items()},
    )
