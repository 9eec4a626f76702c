"""The one place where policy is asked, and where its denials take effect.

Messages, replies, tasks, GraphQL, the audit, operators, aggregates and break-glass all come here: a
question is built from what the catalogue declares, decided, counted, and kept with its decision. A
refusal is recorded in one form before it is raised. `ports.DecisionPoint` is behind it.

An allowed decision counts when it is made, a denial when it takes effect (`count_denial`, `refuse`):
what is refused raw is released redacted if that is permitted, and a retry gets its first answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import structlog

from mc_contract.governance import Governance
from mc_platform.decide import record_question
from mc_platform.errors import NotFound, PlatformError, PolicyDenied
from mc_platform.model.catalogue import Agent, Catalogue, OperationSpec
from mc_platform.model.event import Kind
from mc_platform.model.flow import Flow
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Screening
from mc_platform.model.tenant import PLATFORM, Principal, Tenant
from mc_platform.model.verdict import Action, Decision, Question
from mc_platform.observe import logs, metrics
from mc_platform.ports import DecisionPoint
from mc_platform.record import AuditRecorder

_UNDECLARED = "undeclared"
_log = structlog.get_logger()


class Enforcement:
    """Asks the decision point and enforces its answers."""

    def __init__(
        self, *, catalogue: Catalogue, decisions: DecisionPoint, recorder: AuditRecorder
    ) -> None:
        self._tenants = catalogue.tenants
        self._vocabulary = catalogue.vocabulary()
        self._decisions = decisions
        self._recorder = recorder

    def tenant(self, principal: Principal) -> Tenant:
        """The principal's tenant, as catalogued.

        Raises:
            NotFound: the catalogue has no such tenant (any more).
        """
        tenant = self._tenants.get(principal.tenant)
        if tenant is None:
            raise NotFound(f"tenant {principal.tenant} is not in the catalogue")
        return tenant

    def is_tenant(self, name: str) -> bool:
        """Whether the catalogue has a tenant of this name, or the platform itself has it."""
        return name == PLATFORM or name in self._tenants

    def declared(self, word: str) -> str:
        """A purpose or residency as the catalogue knows it; free text is not carried on.

        What a caller writes there would stand in decisions, the log and the ledger.
        """
        return word if not word or word in self._vocabulary else _UNDECLARED

    def as_declared(self, governance: Governance) -> Governance:
        """The same, its purpose and residency in the catalogue's words (`declared`)."""
        purpose, residency = self.declared(governance.purpose), self.declared(governance.residency)
        if (purpose, residency) == (governance.purpose, governance.residency):
            return governance
        return replace(governance, purpose=purpose, residency=residency)

    def decide(self, question: Question, *, counted: bool = True) -> Decision:
        """The answer, together with the question as the ledger keeps it; a denial is an answer.

        What is not `counted` here is given to `count_allowed` once it is known to hold.
        """
        answer = self._decisions.decide(question)
        decision = Decision(  # not `replace`, which costs four times as much for each message
            id=answer.id,
            allowed=answer.allowed,
            action=answer.action,
            policy_ids=answer.policy_ids,
            reason=answer.reason,
            policy_digest=answer.policy_digest,
            asked=record_question(question),
        )
        if counted and decision.allowed:
            self.count_allowed(question.tenant.id)
        return decision

    def count_allowed(self, tenant: TenantId) -> None:
        """Count one decision that allows; one that denies is counted when it is refused."""
        metrics.add(metrics.policy_decisions, 1, "allow", tenant)

    def decide_message(
        self,
        *,
        principal: Principal,
        tenant: Tenant,
        agent: Agent,
        operation: OperationSpec | None,
        governance: Governance,
        screening: Screening,
        before: Flow,
        flow: Flow,
        operations_this_hour: int,
        counted: bool = True,
    ) -> Decision:
        """Whether a message may be sent, or an operation enacted.

        Args:
            counted: As `decide`.
            governance: With a purpose and residency that the catalogue declares.
            before: What held of the conversation before the message.
            flow: What holds with it.
        """
        question = Question(
            principal=principal,
            tenant=tenant,
            action=Action.enact if operation else Action.send_message,
            resource_type="Operation" if operation else "Agent",
            resource_id=operation.name if operation else agent.name,
            resource_agent=agent.name if operation else "",
            resource_tier=operation.autonomy_tier if operation else 0,
            resource_purposes=operation.purposes if operation else agent.purposes,
            resource_residency=agent.residency,
            resource_accepts=agent.accepts,
            purpose=governance.purpose,
            residency=governance.residency,
            labels=screening.types,
            classes=screening.classes,
            tainted=flow.tainted,
            origins=flow.origins,
            named=not before.tainted or agent.name in before.destinations,
            tier_ceiling=max(before.tier, tenant.tainted_tier)
            if flow.tainted
            else tenant.autonomy_tier,
            operations_this_hour=operations_this_hour,
        )
        return self.decide(question, counted=counted)

    async def permit(
        self,
        principal: Principal,
        action: Action,
        resource: str = "Platform",
        *,
        resource_id: str = "",
        owner: TenantId | None = None,
        purpose: str = "",
        break_glass: bool = False,
        refused_as: Kind | None = Kind.request_refused,
    ) -> Decision:
        """The decision that lets a principal do something other than send a message.

        Args:
            resource: Its type; `Platform` is what concerns all tenants.
            resource_id: Left out for what stands for all of its type.
            owner: Whose the resource is, for those that are a tenant's.
            purpose: As the caller declares it.
            break_glass: Whether a grant of the principal's covers the owner.
            refused_as: The kind of event that records a refusal; None for probes, which are asked
                every few seconds and while the database is down: they are refused unrecorded.

        Raises:
            PolicyDenied: recorded before it is raised.
            Unavailable: the refusal could not be recorded.
        """
        purpose = self.declared(purpose)
        decision = self.decide(
            Question(
                principal=principal,
                tenant=self.tenant(principal),
                action=action,
                resource_type=resource,
                resource_id=resource_id or owner or principal.tenant,
                resource_tenant=owner,
                purpose=purpose,
                break_glass=break_glass,
            )
        )
        if not decision.allowed:
            detail = {"purpose": purpose} if purpose else {}
            what = f"{action.value} is refused"
            await self.refuse(principal, decision, detail, what=what, kind=refused_as)
        return decision

    async def refuse(
        self,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
        *,
        what: str = "the request is refused",
        error: PlatformError | None = None,
        kind: Kind | None = Kind.request_refused,
    ) -> NoReturn:
        """Record a refusal, then raise it.

        Args:
            detail: What else is known of what was asked.
            error: Why what policy permits is refused all the same; None: policy denies it.
            kind: The event that records it; None: it is not recorded.

        Raises:
            PolicyDenied: or the error that was given.
            Unavailable: the refusal could not be recorded.
        """
        if error is None:
            count_denial(principal.tenant, decision)
            error = denial(decision, what)
        else:
            detail = {"reason": error.message, **detail}
        if kind is not None:
            await self._recorder.record_refusal(principal, decision, detail, kind)
        raise error


def count_denial(tenant: TenantId, decision: Decision) -> None:
    """Count a denial that takes effect; log it in the form that the runbook's grep finds."""
    metrics.policy_decisions.labels("deny", tenant).inc()
    _log.info(
        logs.DENIAL,
        decision="deny",
        decision_id=decision.id,
        action=decision.action.value,
        tenant=tenant,
        policies=list(decision.policy_ids),
        policy_set=decision.policy_digest,
        reason=decision.reason,
    )


def denial(decision: Decision, what: str) -> PolicyDenied:
    """The error that tells a caller of a denial."""
    return PolicyDenied(
        f"{what}: {decision.reason}", decision_id=decision.id, reason=decision.reason
    )
