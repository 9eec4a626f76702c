"""What may leave: step 7 of the request's way, for an agent's reply and for an operation's results.

The content is screened and policy is asked whether it may leave raw; if not, whether redacted; else it
is withheld. `request_path` has the steps before and after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mc_contract.keepable import MOST_DEPTH, NotKeepable, check_keepable
from mc_platform.model.catalogue import Agent, Catalogue
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import TaskId, TenantId
from mc_platform.model.label import Part, Scope, Screening
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Decision, Question
from mc_platform.observe import metrics
from mc_platform.pipeline.conversation import Conversations
from mc_platform.pipeline.enforcement import Enforcement, count_denial
from mc_platform.pipeline.examine import ExaminationRoom
from mc_platform.ports import Tasks
from mc_platform.record import EventFactory, decision_detail


@dataclass(frozen=True, slots=True)
class Released:
    """What became of content that wants to leave.

    Attributes:
        parts: What may leave; None: it is withheld.
        decision: The one that holds.
        screening: The labels found in the raw content.
        redacted: Whether labelled spans were replaced.
        quotable: Fingerprints by which what leaves is known again.
    """

    parts: tuple[Part, ...] | None
    decision: Decision
    screening: Screening
    redacted: bool
    quotable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """Releases replies and results.

    Attributes:
        scopes: Of each tenant, what screening is told of it.
    """

    catalogue: Catalogue
    room: ExaminationRoom
    enforcement: Enforcement
    tasks: Tasks
    events: EventFactory
    conversations: Conversations
    scopes: Mapping[TenantId, Scope]

    async def release(
        self,
        parts: Sequence[Part],
        *,
        task: Task,
        tenant: Tenant,
        principal: Principal,
        agent: Agent,
        asked: Sequence[Part] = (),
        heard: Sequence[str] = (),
    ) -> Released:
        """Raw if permitted, else redacted if that is, else not at all.

        Args:
            task: Its conversation's flow bounds where links may lead.
            asked: The request's parts, whose words a reply may repeat.
            heard: Earlier replies of the conversation.
        """
        scope = self.scopes[tenant.id]
        hosts = scope.hosts | task.flow.hosts
        known = await self.room.outgoing(
            tenant.id, parts, asked=asked, scope=scope, heard=heard, hosts=hosts
        )
        screening = known.screening
        count_labels(screening, "outbound")
        question = Question(
            principal=principal,
            tenant=tenant,
            action=Action.release_reply,
            resource_type="Agent",
            resource_id=agent.name,
            resource_residency=agent.residency,
            resource_accepts=agent.accepts,
            purpose=str(task.governance.get("purpose", "")),
            residency=str(task.governance.get("residency", "")),
            labels=screening.types,
            classes=screening.classes,
            tainted=task.flow.tainted,
            origins=task.flow.origins,
        )
        decision = self.enforcement.decide(question)
        if decision.allowed:
            return Released(tuple(parts), decision, screening, False, known.quotable)
        # What is refused raw is not refused yet: only the second answer counts as a denial
        decision = self.enforcement.decide(replace(question, redacted=True))
        if not decision.allowed:
            count_denial(tenant.id, decision)
            metrics.privacy_withheld.labels(tenant.id).inc()
            return Released(None, decision, screening, False)
        metrics.privacy_redactions.labels(tenant.id).inc()
        redacted, quotable = await self.room.redacted(
            tenant.id,
            parts,
            screening,
            asked=asked,
            scope=scope,
            pseudonyms=tenant.redaction == "pseudonym",
        )
        return Released(redacted, decision, screening, True, quotable)

    def event(self, tenant: TenantId, task_id: TaskId, released: Released) -> Event:
        """What the ledger is told of it."""
        return self.events.event(
            Kind.reply_withheld if released.parts is None else Kind.reply_released,
            tenant,
            task_id,
            labels=released.screening.counts(),
            redacted=released.redacted,
            **decision_detail(released.decision),
        )

    async def release_results(
        self, request: OperationRequest, parts: Sequence[Part]
    ) -> tuple[tuple[Part, ...], list[Event]]:
        """For an operation's results; its engine asks before it records the end.

        The operation's outcome stays what it is: what policy does not let out is left out.

        Returns:
            The parts that may leave, and the event that tells the release.
        """
        begun = await self.tasks.get(request.tenant, request.task_id)
        tenant = self.catalogue.tenants.get(request.tenant)
        operation = self.catalogue.operations.get(request.operation)
        if begun is None or tenant is None or operation is None:
            return (), []  # no longer catalogued: nobody can say that it may leave
        try:
            check_keepable(parts, most_depth=MOST_DEPTH + 2)
        except NotKeepable as error:  # of steps that an earlier version ran
            parts = ({"text": f"[not kept: {error.kind}]"},)
        conversation = await self.conversations.before(begun.tenant, begun.context_id, begun.id)
        released = await self.release(
            parts,
            task=begun,
            tenant=tenant,
            principal=Principal(request.principal, request.tenant, ""),
            agent=self.catalogue.agents[operation.agent],
            heard=conversation.heard,
        )
        return released.parts or (), [self.event(request.tenant, request.task_id, released)]


def count_labels(screening: Screening, direction: str) -> None:
    """Count what was found; `direction` is `inbound` or `outbound`."""
    for kind, count in screening.counts().items():
        metrics.add(metrics.privacy_labels, count, kind, direction)
