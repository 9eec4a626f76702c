"""The autonomy switch: what is halted, since when, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from mc_platform.model.ids import PrincipalId, TenantId

Scope = NewType("Scope", str)
"""What a switch is about: a tenant's id, or `ALL`."""

ALL = Scope("*")


class Source(StrEnum):
    """What threw a switch."""

    operator = "operator"
    alertmanager = "alertmanager"
    breaker = "breaker"


@dataclass(frozen=True, slots=True)
class Switch:
    """One throw of the switch; the newest of a scope and region holds. `at` is the database's time.

    Attributes:
        region: Of which it was thrown, if that is the peer; only there it can be resumed.
    """

    id: UUID
    scope: Scope
    halted: bool
    reason: str
    principal: PrincipalId
    source: Source
    at: datetime
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Thrown:
    """The answer to a throw: the switch that holds now, and whether this throw made it.

    After a resume the switch is the peer region's, if that still halts the scope.
    """

    switch: Switch | None
    changed: bool


@dataclass(frozen=True, slots=True)
class AutonomyStatus:
    """The newest switch of each scope that ever had one, as it stood at `at` (database's time).

    Of a scope that another region halts, and this one does not, it is that region's.
    """

    at: datetime
    switches: Mapping[Scope, Switch]

    def halt_of(self, tenant: TenantId) -> Switch | None:
        """The switch that halts a tenant: that of all first, else its own; None if none does."""
        for scope in (ALL, Scope(tenant)):
            switch = self.switches.get(scope)
            if switch is not None and switch.halted:
                return switch
        return None

    def resumed_at(self, scope: Scope) -> datetime | None:
        """When a scope was resumed, if that is the last that happened to it."""
        switch = self.switches.get(scope)
        return None if switch is None or switch.halted else switch.at
