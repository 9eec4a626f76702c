"""What makes a repeat of a message known: its envelope, the task's id, and what it means."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from mc_contract.governance import Governance
from mc_platform.model.ids import ContextId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.made_ids import derived_id
from mc_platform.model.tenant import Principal
from mc_platform.record import Identity

_NAMESPACE = uuid.UUID("1d6cbb0e-54a5-5c3f-8f0e-0c9a2f6e7b51").bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A received message and who sent it.

    Attributes:
        message_id: The client's; the idempotency key within the tenant.
        parts: A2A parts in JSON form.
        references: Tasks that the message says it refers to.
    """

    principal: Principal
    message_id: str
    context_id: str
    parts: tuple[Part, ...]
    governance: Governance
    references: tuple[TaskId, ...] = ()


def task_id_of(envelope: Envelope, identity: Identity) -> TaskId:
    """The same for each repeat of a message."""
    # Keyed: a message id may hold what must not be guessed from the ledger's subjects
    return TaskId(derived_id(_NAMESPACE, identity.name(_named(envelope))))


def task_ids_of(envelope: Envelope, identity: Identity) -> list[TaskId]:
    """Ids that the message's task has if it was made under any key of the platform."""
    return [TaskId(derived_id(_NAMESPACE, name)) for name in identity.names(_named(envelope))]


def _named(envelope: Envelope) -> bytes:
    return f"{envelope.principal.tenant}|{envelope.message_id}".encode()


def agent_context_of(tenant: TenantId, context_id: ContextId) -> str:
    """A conversation as agents know it: two tenants' are two, whatever id both chose."""
    return derived_id(_NAMESPACE, f"{tenant}|{context_id}")


def meaning_of(governance: Governance) -> dict[str, Any]:
    """What a request means beside its parts: a repeat must mean the same."""
    return {
        "agent": governance.agent,
        "operation": governance.operation,
        "purpose": governance.purpose,
        "residency": governance.residency,
        **({"destinations": list(governance.destinations)} if governance.destinations else {}),
    }
