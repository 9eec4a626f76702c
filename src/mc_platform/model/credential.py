"""Credentials: what one is for (its role), what it may be used for (its scopes), when it ends.

A scope covers actions; policy still decides each of them. A credential without scopes of its own
has all of its role's; one that is made by an administrator has those that were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Role
from mc_platform.model.verdict import Action

LONGEST_OVERLAP_S = 7 * 24 * 3600
LONGEST_LIFE_S = 400 * 24 * 3600


class Scope(StrEnum):
    """What a credential may be used for."""

    a2a = "a2a"
    records = "records"
    aggregates = "aggregates"
    reveal = "reveal"
    operations = "operations"
    ledger = "ledger"
    break_glass = "break-glass"
    rules = "rules"
    credentials = "credentials"


SCOPES: Mapping[Action, frozenset[Scope]] = {
    Action.send_message: frozenset({Scope.a2a}),
    Action.release_reply: frozenset({Scope.a2a}),
    Action.enact: frozenset({Scope.a2a}),
    Action.cancel_task: frozenset({Scope.a2a}),
    Action.read_task: frozenset({Scope.a2a, Scope.break_glass}),
    Action.read_records: frozenset({Scope.records}),
    Action.read_aggregate: frozenset({Scope.aggregates}),
    Action.reveal_pseudonym: frozenset({Scope.reveal, Scope.break_glass}),
    Action.read_operations: frozenset({Scope.operations, Scope.break_glass}),
    Action.manage_operation: frozenset({Scope.operations}),
    Action.halt_autonomy: frozenset({Scope.operations}),
    Action.resume_autonomy: frozenset({Scope.operations}),
    Action.override_canary: frozenset({Scope.operations}),
    Action.move_home: frozenset({Scope.operations}),
    Action.resend_dead_letters: frozenset({Scope.operations}),
    Action.read_ledger: frozenset({Scope.ledger}),
    Action.break_glass: frozenset({Scope.break_glass}),
    Action.approve_break_glass: frozenset({Scope.break_glass}),
    Action.change_rules: frozenset({Scope.rules}),
    Action.read_credentials: frozenset({Scope.credentials}),
    Action.manage_credential: frozenset({Scope.credentials}),
}
"""Any of these suffices; an action that stands here with none could be done by no scope."""

OF_ROLE: Mapping[Role, frozenset[Scope]] = {
    Role.agent: frozenset({Scope.a2a, Scope.records, Scope.aggregates, Scope.reveal}),
    Role.operator: frozenset({Scope.operations, Scope.ledger, Scope.break_glass, Scope.rules}),
    Role.auditor: frozenset({Scope.operations, Scope.ledger, Scope.credentials}),
    Role.alertmanager: frozenset({Scope.operations}),
    Role.administrator: frozenset({Scope.credentials, Scope.rules, Scope.ledger}),
}
"""What a scope can be of use for to each role; policy permits no more of it."""


def covers(principal: Principal, action: Action) -> bool:
    """Whether a credential's scopes cover an action; deny by default."""
    if principal.scopes is None:
        return True
    return not principal.scopes.isdisjoint(SCOPES.get(action, frozenset()))


@dataclass(frozen=True, slots=True)
class Found:
    """A credential that holds now, as the authenticator needs it.

    Attributes:
        valid_for_s: Until it ends, by the database's clock; None: it has no end.
    """

    secret_sha256: bytes
    principal: Principal
    valid_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential without its secret, as it is listed.

    Attributes:
        scopes: None: all of its role.
        state: `valid`, `ending` (it has an end, and holds until then), `expired` or `revoked`.
        origin: `import` (a file, with the administrator's connection) or `administrator`.
    """

    key_id: str
    tenant: TenantId
    principal: PrincipalId
    role: str
    scopes: tuple[str, ...] | None
    state: str
    origin: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
