"""What the ledger records: one event, without content. Labels, digests and ids only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mc_platform.model.ids import EventId, TenantId


class Kind(StrEnum):
    """The kinds of event; `*.intended` is committed before its effect, the rest after it."""

    request_accepted = "request.accepted"
    request_refused = "request.refused"
    reply_released = "reply.released"
    reply_withheld = "reply.withheld"
    request_failed = "request.failed"
    operation_started = "operation.started"
    step_intended = "step.intended"
    step_done = "step.done"
    step_failed = "step.failed"
    compensation_intended = "compensation.intended"
    compensation_done = "compensation.done"
    compensation_failed = "compensation.failed"
    operation_completed = "operation.completed"
    operation_compensated = "operation.compensated"
    operation_stuck = "operation.stuck"
    operation_adopted = "operation.adopted"
    operation_resolved = "operation.resolved"
    operation_still_stuck = "operation.still-stuck"
    task_cancel_requested = "task.cancel-requested"
    operation_cancel_requested = "operation.cancel-requested"
    operation_resolve_requested = "operation.resolve-requested"
    autonomy_halted = "autonomy.halted"
    autonomy_resumed = "autonomy.resumed"
    home_move_requested = "home.move-requested"
    home_moved = "home.moved"
    replication_degraded = "replication.degraded"
    replication_restored = "replication.restored"
    break_glass_requested = "break-glass.requested"
    break_glass_approved = "break-glass.approved"
    break_glass_ended = "break-glass.ended"
    break_glass_used = "break-glass.used"
    pseudonyms_revealed = "pseudonyms.revealed"
    canary_overridden = "canary.overridden"
    policy_changed = "policy.changed"
    policy_refused = "policy.refused"
    task_repaired = "task.repaired"
    dead_letters_resent = "dead-letters.resent"
    retention_applied = "retention.applied"
    tenant_erased = "tenant.erased"
    signer_state_rebuilt = "signer.state-rebuilt"
    ledger_epoch_began = "ledger.epoch-began"
    catalogue_changed = "catalogue.changed"
    keys_changed = "keys.changed"
    rules_declared = "rules.declared"
    credential_created = "credential.created"
    credential_changed = "credential.changed"
    credential_revoked = "credential.revoked"
    aggregate_answered = "aggregate.answered"
    aggregate_refused = "aggregate.refused"


UNREADABLE = "unreadable"
"""What stands for the kind of a recorded event that cannot be read; nothing is recorded as that."""


@dataclass(frozen=True, slots=True)
class Event:
    """One fact for the ledger.

    Attributes:
        id: Stable; recording the same id twice records it once (a SIEM dedupes by it too).
        kind: What happened.
        tenant: Whose it is.
        occurred_at: Aware UTC.
        detail: JSON values without floats: ids, labels with counts, digests, reasons.
            Never message text, personal data or credentials.
    """

    id: EventId
    kind: Kind
    tenant: TenantId
    occurred_at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A recorded event as it is read back: its index, when it was committed, and its leaf."""

    index: int
    recorded_at: datetime
    leaf: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where an event stands in the region's log; `fresh` is False if it stood there before."""

    event_id: EventId
    index: int
    fresh: bool
