"""What policy is asked, and what it answers. A verdict carries its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mc_platform.model.ids import DecisionId
from mc_platform.model.tenant import Principal, Tenant


class Action(StrEnum):
    """What a principal wants to do; the Cedar actions bear the same names."""

    send_message = "SendMessage"
    release_reply = "ReleaseReply"
    enact = "Enact"
    read_task = "ReadTask"
    cancel_task = "CancelTask"
    read_records = "ReadRecords"
    read_operations = "ReadOperations"
    manage_operation = "ManageOperation"
    halt_autonomy = "HaltAutonomy"
    resume_autonomy = "ResumeAutonomy"
    read_ledger = "ReadLedger"
    read_aggregate = "ReadAggregate"
    reveal_pseudonym = "RevealPseudonym"
    break_glass = "BreakGlass"
    approve_break_glass = "ApproveBreakGlass"
    override_canary = "OverrideCanary"
    move_home = "MoveHome"
    resend_dead_letters = "ResendDeadLetters"
    change_rules = "ChangeRules"
    read_credentials = "ReadCredentials"
    manage_credential = "ManageCredential"


@dataclass(frozen=True, slots=True)
class Question:
    """One authorization question.

    Attributes:
        principal: Who asks.
        tenant: The principal's tenant, as catalogued.
        action: What is to be done.
        resource_type: `Agent`, `Operation` or `Task`; `Ledger` for reading records; `Dataset` for
            aggregates and pseudonyms; `Platform` for what concerns all tenants.
        resource_id: Name of the resource.
        resource_agent: The agent in whose name an operation runs.
        resource_tenant: The tenant that owns the resource; None for shared ones.
        resource_tier: Autonomy tier that the resource demands (0 none).
        resource_purposes: Purposes that the resource serves; empty means any.
        resource_residency: Region family where the resource processes data.
        resource_accepts: Data classes that an agent, or the agent of an operation, may be sent.
        purpose: Declared purpose of the request.
        residency: Residency that the request demands.
        labels: Label types found by screening.
        redacted: True if the labelled spans were replaced already.
        classes: Data classes of the labels (`model.label.CLASSES`).
        tainted: Whether content from outside is in the conversation, or in the message itself.
        origins: Where it came from: `agent-reply`, `tool-result`, `document`, `injection-sign`.
        named: Whether the conversation named this destination before it was tainted.
        tier_ceiling: The highest autonomy tier that the conversation may use; the tenant's own
            while it is untainted.
        operations_this_hour: What the tenant has enacted in the last hour, this one not counted.
        break_glass: Whether an approved, unexpired break-glass grant of this principal covers
            the resource's tenant.
    """

    principal: Principal
    tenant: Tenant
    action: Action
    resource_type: str
    resource_id: str
    resource_tenant: str | None = None
    resource_agent: str = ""
    resource_tier: int = 0
    resource_purposes: frozenset[str] = frozenset()
    resource_residency: str = ""
    purpose: str = ""
    residency: str = ""
    labels: frozenset[str] = field(default_factory=frozenset)
    redacted: bool = False
    resource_accepts: frozenset[str] = frozenset()
    classes: frozenset[str] = field(default_factory=frozenset)
    tainted: bool = False
    origins: frozenset[str] = field(default_factory=frozenset)
    named: bool = True
    tier_ceiling: int = 3
    operations_this_hour: int = 0
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer: allowed or not, by which policies, for what reason.

    `reason` is fit to be shown to the caller: it names policies and context, never content.
    `asked` is the question as the ledger keeps it, where the one who asked wants it kept.
    """

    id: DecisionId
    allowed: bool
    action: Action
    policy_ids: tuple[str, ...]
    reason: str
    policy_digest: str
    asked: Mapping[str, Any] | None = None
