"""The whole journey of one A2A message, on one page.

(1) receive       parsed and size-limited already: an `Envelope`
(2) authenticate  done by the middleware: the envelope carries the principal
(3) screen        label what came in, and what the conversation has had in it
(4) decide        may this principal send this, for this purpose, to that agent or operation?
                  and, for an operation: is autonomy halted?
(5) record        the intent, committed before any effect; a refusal is recorded too
(6) enact         forward to the agent, or run the operation
(7) screen, decide the reply: raw if policy permits; else redacted; else withheld
(8) record        the outcome and the task's new state, in one commit, before the reply leaves
(9) deliver       the outbox follows the ledger by itself

Steps 3 to 5 are `begin`, 6 to 8 are `finish` (7 is `pipeline.replies`); a caller that does not want to wait gets the task
after `begin`. A process that dies between them leaves an open task: an operation is finished by
its engine, a forwarded question is failed by `OpenTasks.fail_abandoned`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mc_contract.governance import Governance
from mc_platform.bulkheads import Messages, Slot, nobody_waits
from mc_platform.errors import (
    AgentFailed,
    AutonomyHalted,
    BadRequest,
    Conflict,
    PlatformError,
    PolicyDenied,
    RateLimited,
    Unavailable,
)
from mc_platform.model.autonomy import ALL
from mc_platform.model.catalogue import Agent, Catalogue, OperationSpec
from mc_platform.model.event import Kind
from mc_platform.model.flow import UNTAINTED
from mc_platform.model.ids import AgentName, OperationId, TaskId, TenantId
from mc_platform.model.label import Part, Scope
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Decision
from mc_platform.pipeline.conversation import Conversation, Conversations
from mc_platform.pipeline.enforcement import Enforcement, denial
from mc_platform.pipeline.examine import ExaminationRoom, Incoming
from mc_platform.pipeline.idempotency import (
    Envelope,
    agent_context_of,
    meaning_of,
    task_id_of,
    task_ids_of,
)
from mc_platform.pipeline.open_tasks import OpenTasks, as_first_answered
from mc_platform.pipeline.operation_turns import OperationTurns
from mc_platform.pipeline.replies import Released, Replies, count_labels
from mc_platform.ports import (
    Autonomy,
    Budgets,
    Clock,
    Downstream,
    Homes,
    Journal,
    Operations,
    PeerCopies,
    Tasks,
)
from mc_platform.record import (
    Digester,
    EventFactory,
    Identity,
    Sealer,
    carried_id,
    decision_detail,
    subject_id,
)
from mc_platform.screen.content import Content

_FEW_REPEATS = 64  # fingerprints that a record looks up, which others' records wait for


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that policy let in and the ledger holds; `operation` is None for a question.

    Whoever does not `finish` it releases its `slot`.
    """

    envelope: Envelope
    tenant: Tenant
    task: Task
    agent: Agent
    operation: OperationSpec | None
    decision: Decision
    conversation: Conversation
    slot: Slot


class _Message(NamedTuple):
    """A message that is screened, and what it is decided by."""

    envelope: Envelope
    tenant: Tenant
    agent: Agent
    operation: OperationSpec | None
    task_id: TaskId
    known: Incoming
    operations_this_hour: int
    slot: Slot


@dataclass(slots=True, kw_only=True)
class RequestPath:
    """Carries one message through the stages."""

    catalogue: Catalogue
    room: ExaminationRoom
    enforcement: Enforcement
    journal: Journal
    tasks: Tasks
    downstream: Downstream
    operations: Operations
    autonomy: Autonomy
    budgets: Budgets
    events: EventFactory
    identity: Identity
    digester: Digester
    sealer: Sealer
    clock: Clock
    operation_wait_s: float
    messages: Messages
    homes: Homes | None = None
    copies: PeerCopies | None = None
    open_tasks: OpenTasks = field(init=False)
    replies: Replies = field(init=False)
    _conversations: Conversations = field(init=False)
    _scopes: Mapping[TenantId, Scope] = field(init=False)
    _turns: OperationTurns = field(init=False)

    def __post_init__(self) -> None:
        """Make what follows from the rest."""
        self.open_tasks = OpenTasks(
            tasks=self.tasks,
            journal=self.journal,
            operations=self.operations,
            enforcement=self.enforcement,
            events=self.events,
            clock=self.clock,
            operation_wait_s=self.operation_wait_s,
            homes=self.homes,
        )
        self._conversations = Conversations(self.tasks, self.sealer)
        tenants = self.catalogue.tenants.values()
        self._scopes = {tenant.id: self.catalogue.scope_of(tenant) for tenant in tenants}
        self.replies = Replies(
            catalogue=self.catalogue,
            room=self.room,
            enforcement=self.enforcement,
            tasks=self.tasks,
            events=self.events,
            conversations=self._conversations,
            scopes=self._scopes,
        )
        self._turns = OperationTurns(tenants=tenants, budgets=self.budgets, clock=self.clock)

    async def handle(self, envelope: Envelope) -> Task:
        """The whole way; returns the task as it stands when the reply may leave.

        Raises:
            PolicyDenied, BadRequest, NotFound, Conflict, AgentFailed, Unavailable.
        """
        accepted = await self.begin(envelope)
        if isinstance(accepted, Accepted):
            try:
                return await self.finish(accepted)
            finally:
                if accepted.operation is None:
                    self.messages.questions.heed(accepted.tenant.id, left=nobody_waits())
        return as_first_answered(await self.open_tasks.followed(accepted, self.operation_wait_s))

    async def begin(self, envelope: Envelope) -> Accepted | Task:
        """Steps 3 to 5; a repeat gives the first one's task instead, as it stands.

        Raises:
            PolicyDenied: recorded before it is raised.
            RateLimited: there is no place for it; nothing is recorded.
            HomeElsewhere: it is an operation, and another region enacts for the tenant.
            PeerAway: it is an operation, recorded, and not begun: the peer does not have it.
            BadRequest, NotFound, Conflict, Unavailable.
        """
        tenant = self._tenant_of(envelope)
        agent, operation = self._target(envelope.governance, tenant)
        if operation is not None:
            _operation_input(envelope.parts, operation)  # refused before anything is recorded
            if self.homes is not None:
                self.homes.require(tenant.id)
        try:
            slot = await self.messages.take(tenant.id, agent.name, operation=operation is not None)
        except RateLimited:
            if await self._first(envelope, looked_for=self.identity.overlaps) is None:
                raise
            # What was let in once is not refused to a retry
            return await self._repeat(envelope, await self._digest(envelope), operation)
        kept = False
        try:
            async with (
                self._turns.of(tenant, operation) as operations_this_hour,
                self.room.at_work(tenant.id, envelope.parts),
            ):
                begun = await self._begin(
                    envelope, tenant, agent, operation, operations_this_hour, slot
                )
            if isinstance(begun, Accepted):
                if operation is not None:
                    await self._enact(envelope, begun.task, operation)
                kept = True
                return begun
            return await self._repeat(envelope, begun, operation)
        finally:
            if not kept:
                slot.release()

    async def _begin(
        self,
        envelope: Envelope,
        tenant: Tenant,
        agent: Agent,
        operation: OperationSpec | None,
        operations_this_hour: int,
        slot: Slot,
    ) -> Accepted | str:
        """Steps 3 to 5; of a repeat, its digest."""
        task_id = task_id_of(envelope, self.identity)

        # (3) screen what came in, and what the conversation has had in it
        conversation, known = await self._screen(envelope, tenant, task_id)
        if self.identity.overlaps and await self._known_otherwise(envelope, task_id):
            return known.digest
        message = _Message(
            envelope, tenant, agent, operation, task_id, known, operations_this_hour, slot
        )
        if _may_repeat(message, conversation):  # then its record is the look-up as well
            begun = await self._begin_in(conversation, message, known.repeats)
            if begun is not None:
                return begun
        conversation = await self._conversations.carried(
            tenant.id,
            task_id,
            conversation,
            repeats=known.repeats,
            references=envelope.references,
        )
        begun = await self._begin_in(conversation, message)
        assert begun is not None  # nothing was left to look up
        return begun

    async def _begin_in(
        self,
        conversation: Conversation,
        message: _Message,
        unless_quoted: Sequence[int] = (),
    ) -> Accepted | str | None:
        """Steps 4 and 5 in a conversation; None, and nothing done, if one of the digests is quoted.

        What is refused is not recorded before it is known whether it quotes: None as well.
        """
        # Over 60 lines: what is decided, described and recorded of a message stands in one view
        envelope, tenant, agent, operation, task_id, known, operations_this_hour, slot = message
        flow = self._conversations.continued(
            conversation,
            tenant=tenant.id,
            came=known.origins,
            hosts=known.hosts,
            classes=known.screening.classes,
            tail=known.tail,
            named=frozenset({agent.name, *envelope.governance.destinations}),
            tier=operation.autonomy_tier if operation else 0,
        )

        # (4) decide
        governance = self.enforcement.as_declared(envelope.governance)
        decision = self.enforcement.decide_message(
            principal=envelope.principal,
            tenant=tenant,
            agent=agent,
            operation=operation,
            governance=governance,
            screening=known.screening,
            before=conversation.flow,
            flow=flow,
            operations_this_hour=operations_this_hour,
            counted=not unless_quoted,
        )
        described = {
            "principal": envelope.principal.id,
            "agent": agent.name,
            "operation": governance.operation,
            "purpose": governance.purpose,
            "residency": governance.residency,
            "message": self.digester.digest(envelope.message_id.encode()),
            "request": known.digest,
            "labels": known.screening.counts(),
            "origins": sorted(flow.origins),
        }
        if not decision.allowed:
            if unless_quoted:
                return None
            if await self.tasks.get(tenant.id, task_id) is not None:
                return known.digest  # what was let in once is not refused to a retry
            await self.enforcement.refuse(envelope.principal, decision, described)
        if operation is not None:
            await self._require_autonomy(envelope.principal, task_id, decision, described)

        # (5) record the intent
        task = Task(
            id=task_id,
            context_id=conversation.id,
            tenant=tenant.id,
            principal=envelope.principal.id,
            message_id=envelope.message_id,
            request_digest=known.digest,
            state=TaskState.working,
            updated_at=self.clock(),
            governance={
                "decision_id": decision.id,
                "purpose": governance.purpose,
                "residency": governance.residency,
            }
            | ({"operation_id": task_id, "operation": operation.name} if operation else {}),
            flow=flow,
            quotable=known.quotable,
        )
        described |= decision_detail(decision)
        event = self.events.event(Kind.request_accepted, tenant.id, task_id, **described)
        if unless_quoted:
            recorded = await self.journal.record_unless_quoted(event, task, unless_quoted)
            if recorded is None:
                return None
            self.enforcement.count_allowed(tenant.id)
        else:
            recorded = await self.journal.record([event], task)
        if not recorded[0].fresh:  # the message id is known, so nothing was written
            return known.digest
        return Accepted(envelope, tenant, task, agent, operation, decision, conversation, slot)

    async def _enact(self, envelope: Envelope, task: Task, operation: OperationSpec) -> None:
        """Begin an operation; of a `sync` tenant once the peer knows that it was accepted.

        Else a region that dies would leave effects that the survivor has never heard of.
        """
        if self.copies is not None:
            await self.copies.require(task.tenant)
        await self.operations.start(_operation_request(envelope, task, operation))

    async def _screen(
        self, envelope: Envelope, tenant: Tenant, task_id: TaskId
    ) -> tuple[Conversation, Incoming]:
        """The conversation before the message, and what is known of its parts."""
        conversation = await self._conversations.before(tenant.id, envelope.context_id, task_id)
        known = await self.room.incoming(
            tenant.id,
            envelope.parts,
            meaning_of(envelope.governance),
            self._scopes[tenant.id],
            conversation.said,
        )
        count_labels(known.screening, "inbound")
        return conversation, known

    async def finish(self, accepted: Accepted) -> Task:
        """Steps 6 to 8.

        Raises:
            AgentFailed: recorded before it is raised, the task is failed.
            PolicyDenied: the reply is withheld, recorded, the task is rejected.
            Unavailable: the outcome could not be recorded.
        """
        try:
            if accepted.operation is not None:
                return await self.open_tasks.until_ended(accepted.task)
            return await self._answer(accepted)
        finally:
            accepted.slot.release()

    async def _answer(self, accepted: Accepted) -> Task:
        """Steps 6 to 8 of a question; whatever ends it before its reply is recorded is recorded."""
        task, asked = accepted.task, accepted.envelope.parts
        released = None
        try:
            # (6) enact: forward
            reply = Content(await self._forward(accepted))
            async with self.room.at_work(task.tenant, reply, asked, patient=True):
                # (7) screen and decide the reply
                released = await self.replies.release(
                    reply,
                    task=task,
                    tenant=accepted.tenant,
                    principal=accepted.envelope.principal,
                    agent=accepted.agent,
                    asked=asked,
                    heard=accepted.conversation.heard,
                )
                # (8) record the outcome with the task
                return await self._record_reply(task, released)
        except (AgentFailed, Unavailable) as error:
            if released is None:  # the agent failed, or a worker ended; else the ledger is away
                await self.open_tasks.fail(task, error)
            raise
        except PolicyDenied:
            raise  # recorded already
        except asyncio.CancelledError:
            stopped = AgentFailed("the gateway stopped before the agent had answered")
            await self.open_tasks.fail(task, stopped)
            raise
        except Exception as error:
            crash = PlatformError("the gateway failed on the agent's answer")
            await self.open_tasks.fail(task, crash)
            raise crash from error

    async def _forward(self, accepted: Accepted) -> tuple[Part, ...]:
        task = accepted.task
        return await self.downstream.ask(
            tenant=task.tenant,
            url=accepted.agent.url,
            message_id=task.id,
            context_id=agent_context_of(task.tenant, task.context_id),
            parts=accepted.envelope.parts,
            governance={
                "tenant": task.tenant,
                "purpose": str(task.governance["purpose"]),
                "residency": str(task.governance["residency"]),
            },
            timeout_s=accepted.agent.timeout_s,
        )

    async def _record_reply(self, task: Task, released: Released) -> Task:
        labels = sorted(released.screening.types)
        event = self.replies.event(task.tenant, task.id, released)
        if released.parts is None:
            denied = denial(released.decision, "the reply is withheld")
            denied.task_id = task.id
            await self.open_tasks.close(
                task,
                event,
                state=TaskState.rejected,
                status_text=denied.message,
                governance={**task.governance, "release_decision_id": released.decision.id},
            )
            raise denied
        governance = {
            **task.governance,
            "release_decision_id": released.decision.id,
            "redacted": released.redacted,
            "labels": labels,
        }
        return await self.open_tasks.close(
            task,
            event,
            state=TaskState.completed,
            parts=released.parts,
            quotable=released.quotable,
            governance=governance,
        )

    # -- the steps' details, in the order of their use ---------------------------------------

    def _tenant_of(self, envelope: Envelope) -> Tenant:
        claimed = envelope.governance.tenant
        if claimed and claimed != envelope.principal.tenant:
            raise BadRequest(
                "the governance metadata names a tenant that is not the credential's",
                hint="leave `tenant` out: the credential tells it",
            )
        return self.enforcement.tenant(envelope.principal)

    def _target(self, governance: Governance, tenant: Tenant) -> tuple[Agent, OperationSpec | None]:
        operation, name = None, governance.agent
        if governance.operation:
            operation = self.catalogue.operations.get(governance.operation)
            if operation is None:
                raise _unknown("operation", self.catalogue.operations)
            name = operation.agent
        agent = self.catalogue.agents.get(AgentName(name))
        if agent is None:
            raise _unknown("agent", tenant.agents)
        return agent, operation

    async def _repeat(
        self, envelope: Envelope, digest: str, operation: OperationSpec | None
    ) -> Task:
        first = await self._first(envelope, looked_for=True)
        if first is None:
            raise Conflict(
                "this message id was used, and its task is kept no more",
                hint="use a fresh messageId for each request",
            )
        # Not whether the active key made it: that may be another one than when `digest` was made
        if carried_id(first.request_digest) != carried_id(digest):
            digest = await self._digest(envelope, like=first.request_digest)
        if first.request_digest != digest:
            raise Conflict(
                "this message id was used for a different request",
                hint="use a fresh messageId for each request",
            )
        if first.principal != envelope.principal.id:
            raise Conflict("this message id was used by another principal of the tenant")
        if (
            operation is not None
            and not first.state.terminal
            and not await self.operations.known(OperationId(first.id))
        ):
            # It was accepted by a gateway that died before it could begin it
            await self._enact(envelope, first, operation)
        return first

    async def _digest(self, envelope: Envelope, like: str = "") -> str:
        tenant, meaning = envelope.principal.tenant, meaning_of(envelope.governance)
        return await self.room.digest(tenant, envelope.parts, meaning, like)

    async def _first(self, envelope: Envelope, *, looked_for: bool) -> Task | None:
        """The task that the message made when it came first.

        Args:
            looked_for: Also by its message id: it may have been made under another identity key.
        """
        tenant = envelope.principal.tenant
        first = await self.tasks.get(tenant, task_id_of(envelope, self.identity))
        if first is None and looked_for:
            first = await self.tasks.of_message(tenant, envelope.message_id)
        return first

    async def _known_otherwise(self, envelope: Envelope, task_id: TaskId) -> bool:
        """Whether the message was accepted under another identity key than the one of `task_id`."""
        others = [one for one in task_ids_of(envelope, self.identity) if one != task_id]
        return await self.journal.knows([subject_id(Kind.request_accepted, one) for one in others])

    async def _require_autonomy(
        self,
        principal: Principal,
        task_id: TaskId,
        decision: Decision,
        described: Mapping[str, Any],
    ) -> None:
        halt = await self.autonomy.halted(principal.tenant)
        if halt is not None:
            # A repeat of what was accepted before the halt is no new enactment
            if await self.tasks.get(principal.tenant, task_id) is not None:
                return
            whose = "all tenants" if halt.scope == ALL else f"tenant {principal.tenant}"
            since = halt.at.isoformat(timespec="seconds")
            # The operator's words are not for tenants; the ledger has them with the switch
            error = AutonomyHalted(
                f"autonomy is halted for {whose} since {since}",
                scope=halt.scope,
                since=since,
                hint="nothing is enacted until an operator resumes it; questions are answered",
            )
            await self.enforcement.refuse(principal, decision, described, error=error)
        if not self.operations.healthy():  # told before anything is recorded
            raise Unavailable("this replica begins no operations now", hint="ask again")


def _may_repeat(message: _Message, conversation: Conversation) -> bool:
    """Whether a message could quote, but hardly does: a short question that opens a conversation."""
    return (
        0 < len(message.known.repeats) <= _FEW_REPEATS
        and message.operation is None
        and not message.envelope.references
        and conversation.flow is UNTAINTED
    )


def _unknown(what: str, known: Iterable[str]) -> BadRequest:
    return BadRequest(
        f"the governance metadata names an unknown {what}",
        hint=f"known: {', '.join(sorted(known))}",
    )


def _operation_request(
    envelope: Envelope, task: Task, operation: OperationSpec
) -> OperationRequest:
    return OperationRequest(
        id=OperationId(task.id),
        tenant=task.tenant,
        principal=task.principal,
        task_id=task.id,
        operation=operation.name,
        input=_operation_input(envelope.parts, operation),
        decision_id=str(task.governance["decision_id"]),
    )


def _operation_input(parts: Sequence[Part], operation: OperationSpec) -> dict[str, Any]:
    objects = [part["data"] for part in parts if isinstance(part.get("data"), dict)]
    if len(objects) != 1 and (operation.required or objects):
        raise BadRequest(
            f"operation {operation.name!r} takes one data part with an object, got {len(objects)}"
        )
    given = objects[0] if objects else {}
    missing = [key for key in operation.required if given.get(key) is None]
    if missing:
        raise BadRequest(f"operation {operation.name!r} needs input {', '.join(missing)}")
    return dict(given)
