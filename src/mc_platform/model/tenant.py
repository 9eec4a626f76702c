"""Who asks: a tenant, and a principal that belongs to exactly one tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mc_platform.model.ids import AgentName, PrincipalId, TenantId


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of the platform, as the catalogue declares it.

    Attributes:
        id: e.g. `TENANT_001`.
        residency: Region family in which its data must stay, e.g. `eu`.
        purposes: The purposes for which its agents may ask.
        agents: Downstream agents that it may reach.
        autonomy_tier: The highest tier of operation that it may enact (0 none, 3 all).
        generally_available: False for tenants of the platform's own, such as the canary.
        customer_ids: RE2 patterns of its customers' ids; to other tenants they are foreign.
        dictionary: Its confidential words.
        hosts: Hosts to which links in replies may carry data.
        redaction: `placeholder`, or `pseudonym` (keyed, reversible by whom policy permits).
        outbound: Data classes that may leave unredacted, for each purpose.
        operations_per_hour: Budget of operations; None is without end.
        tainted_operations: Operations that it may enact in a tainted conversation.
        tainted_tier: The highest tier of these.
        retention_days: How long its ended tasks are kept; None is the platform's default.
        replication: `sync`: an answer leaves once the peer region has what it tells; or `async`.
        peer_away: What `sync` does when the peer does not confirm: `refuse`, or `degrade` to async.
    """

    id: TenantId
    residency: str
    purposes: frozenset[str]
    agents: frozenset[AgentName]
    autonomy_tier: int
    generally_available: bool = True
    customer_ids: tuple[str, ...] = ()
    dictionary: tuple[str, ...] = ()
    hosts: frozenset[str] = frozenset()
    redaction: str = "placeholder"
    outbound: Mapping[str, frozenset[str]] = field(default_factory=dict)
    operations_per_hour: int | None = None
    tainted_operations: frozenset[str] = frozenset()
    tainted_tier: int = 0
    retention_days: int | None = None
    replication: str = "async"
    peer_away: str = "refuse"

    def __hash__(self) -> int:
        # Of the id alone: each decision looks a tenant up, whose dictionary may be long
        return hash(self.id)


class Role(StrEnum):
    """What a credential is for; policy decides what each may do."""

    agent = "agent"
    operator = "operator"
    auditor = "auditor"
    alertmanager = "alertmanager"
    administrator = "administrator"


PLATFORM = TenantId("PLATFORM")
"""The pseudo tenant to which all credentials but those of agents belong."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller; all but its id comes from the credential, from nothing else.

    Attributes:
        scopes: What the credential may be used for (`model.credential`); None: all of its role.
    """

    id: PrincipalId
    tenant: TenantId
    key_id: str
    role: str = Role.agent
    scopes: frozenset[str] | None = None
