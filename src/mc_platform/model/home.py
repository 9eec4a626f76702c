"""A tenant's home: the region that enacts for it."""

from __future__ import annotations

from dataclasses import dataclass

from mc_platform.model.ids import TenantId


@dataclass(frozen=True, slots=True)
class Home:
    """Where a tenant's home is.

    Attributes:
        region: Its name.
        term: How many homes the tenant has had; never goes back.
        bound_for: The region that is to be the next home; nobody enacts until it is.
        principal: Who decided it: a person, or `arbiter`.
        reason: Why.
        from_region: The home before; None for the first.
    """

    region: str
    term: int
    bound_for: str | None
    principal: str
    reason: str
    from_region: str | None


@dataclass(frozen=True, slots=True)
class HomeMove:
    """That a tenant has another home than this process knew.

    Attributes:
        known_before: False for what a process that begins learns first.
    """

    tenant: TenantId
    home: Home
    known_before: bool
