"""Every outside dependency with two real things behind it, as a Protocol.

Adapters raise only `mc_platform.errors`: foreign errors are wrapped at the boundary, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from mc_platform.model.autonomy import AutonomyStatus, Scope, Source, Switch, Thrown
from mc_platform.model.credential import Found
from mc_platform.model.event import Event, LedgerRow, Recorded
from mc_platform.model.ids import ContextId, EventId, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import NO_SCOPE, Part, Screening
from mc_platform.model.label import Scope as ScreenScope
from mc_platform.model.operation import OperationReport, OperationRequest
from mc_platform.model.reply import Reply
from mc_platform.model.task import Page, Task
from mc_platform.model.verdict import Decision, Question

Clock = Callable[[], datetime]
"""The time now, aware UTC; passed in so that tests can hold it still."""


class Directory(Protocol):
    """Credentials at rest. Behind it: PostgreSQL; memory in tests."""

    async def find(self, key_id: str) -> Found | None:
        """A credential that holds now; None if it is unknown, revoked or expired.

        Raises:
            Unavailable: the directory cannot be read.
        """


class Journal(Protocol):
    """The append-only log together with the task rows that change in the same commit."""

    async def record(self, events: Sequence[Event], task: Task | None = None) -> list[Recorded]:
        """Commit events, and the task's new state, together; return once they are durable.

        An event id that is in the log already is not recorded again (its place is returned), and
        a task that comes with no new event is not written: a replay changes nothing.
        A task in a terminal state is never changed again. Nor is a second task made of a message
        that has one under another id: then nothing is recorded, and no event is `fresh`.

        Raises:
            Unavailable: nothing was recorded.
        """

    def record_unless_quoted(
        self, event: Event, task: Task, digests: Sequence[int]
    ) -> Awaitable[list[Recorded] | None]:
        """The same, but nothing is recorded if one of the digests came with another task of the tenant.

        What was committed before this was called is looked at, by whichever replica.

        Returns:
            None: one did; `Tasks.quoted` tells with which tasks.

        Raises:
            Unavailable: nothing was recorded.
        """

    async def knows(self, ids: Sequence[EventId]) -> bool:
        """Whether one of these events is in the log.

        Raises:
            Unavailable: it cannot be read.
        """


class Tasks(Protocol):
    """Reading tasks; every call is bound to one tenant, by row-level security as well."""

    async def get(self, tenant: TenantId, task_id: TaskId) -> Task | None:
        """The tenant's task, or None (also when it is another tenant's)."""

    async def of_message(self, tenant: TenantId, message_id: str) -> Task | None:
        """The tenant's task that this message made, whatever its id."""

    async def accepted_elsewhere(self, task_id: TaskId) -> bool:
        """Whether the peer region accepted it."""

    async def page(
        self,
        tenant: TenantId,
        *,
        principal: PrincipalId | None,
        context_id: ContextId | None,
        state: str | None,
        limit: int,
        before: tuple[datetime, TaskId] | None,
        since: datetime | None,
        replies: bool,
    ) -> Page:
        """Newest first, at most `limit`, strictly older than `before`.

        Args:
            since: Only tasks whose state is of this time or later.
            replies: Whether they come with their parts; then fewer tasks where those are large.
        """

    async def total(
        self,
        tenant: TenantId,
        *,
        principal: PrincipalId,
        context_id: ContextId | None,
        state: str | None,
        since: datetime | None,
        most: int,
    ) -> int:
        """How many tasks the pages of a listing hold together; `most` if there are more."""

    async def conversation(
        self, tenant: TenantId, context_id: ContextId, *, limit: int
    ) -> list[Task]:
        """The conversation's tasks in the order in which they began, newest first.

        A large reply is `LEFT_OUT`, here and in the two below.
        """

    async def answered(self, tenant: TenantId, context_id: ContextId) -> list[Task]:
        """A few of the conversation's tasks in which content was released, whichever."""

    async def with_ids(self, tenant: TenantId, ids: Sequence[str]) -> list[Task]:
        """Those of the tenant's tasks that have one of these ids; large replies are left out."""

    async def quoted(self, tenant: TenantId, digests: Sequence[int]) -> list[Task]:
        """Tasks with which one of these digests (`Task.quotable`) came; a few if there are many."""


class Records(Protocol):
    """Reading a tenant's part of the ledger, bound to it by row-level security as well."""

    async def newest(
        self, tenant: TenantId, *, limit: int, before: int | None, log: str | None = None
    ) -> list[LedgerRow]:
        """Newest first, at most `limit`, with an index below `before`.

        Args:
            log: Of an earlier epoch; by default the one that is written.

        Raises:
            BadRequest: the region has no such log.
        """


class DecisionPoint(Protocol):
    """Policy evaluation. Behind it: Cedar; a table of answers in tests."""

    def decide(self, question: Question) -> Decision:
        """Answer one question; denial is an answer, never an error."""

    @property
    def digest(self) -> str:
        """sha256 (hex) of the policy set in force."""


class Downstream(Protocol):
    """A downstream agent, spoken to in A2A. Behind it: HTTP; a script in tests."""

    async def ask(
        self,
        *,
        tenant: TenantId,
        url: str,
        message_id: str,
        context_id: str,
        parts: Sequence[Part],
        governance: Mapping[str, str],
        timeout_s: float,
    ) -> tuple[Part, ...]:
        """Send one message and return the reply's parts.

        Args:
            tenant: Whose message it is; no connection or state of another's is used.
            governance: What the agent is told of the request: tenant, purpose, residency.

        Raises:
            AgentFailed: no answer in time, not A2A, or the agent says it failed.
        """


class Operations(Protocol):
    """The operation engine, as the request path knows it. Behind it: DBOS; memory in tests."""

    def healthy(self) -> bool:
        """Whether operations are begun here now."""

    async def start(self, request: OperationRequest) -> None:
        """Begin it durably, once for each id."""

    async def report(self, operation_id: OperationId) -> OperationReport | None:
        """Its end as the engine has it; None while it runs, or if it is unknown."""

    async def known(self, operation_id: OperationId) -> bool:
        """Whether it was ever begun."""

    async def wait(self, operation_id: OperationId, timeout_s: float) -> OperationReport | None:
        """Its end, or None if it has not ended in time."""

    async def cancel(self, operation_id: OperationId) -> bool:
        """Ask it to stop between steps and compensate; False if it has ended, or is unknown."""

    async def void(self, operation_id: OperationId) -> bool:
        """Prevent it from ever beginning; False if it was begun."""


class BlockingHttp(Protocol):
    """HTTP calls of declared actions, from worker threads. Behind it: HTTP; a script in tests."""

    def exchange(
        self,
        tenant: str,
        method: str,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        most_bytes: int,
    ) -> Reply:
        """Send one request for a tenant and wait for its reply; any status is a reply.

        Raises:
            PeerFailed: no reply came in `timeout_s`, or not one that can be taken.
        """

    def close(self) -> None:
        """Close the connections; a call under way fails."""


class EntityRecogniser(Protocol):
    """Names that a language model finds wherever they stand. Behind it: a spaCy pipeline, by option.

    It travels to worker processes, where it is loaded anew, once a process.
    """

    def __hash__(self) -> int:
        """A process has one screener for each."""

    @property
    def name(self) -> str:
        """What a label's detector says after `ner.`."""

    @property
    def identity(self) -> str:
        """What it is made of, to the last weight: the same for the same findings."""

    def persons(self, texts: Sequence[str]) -> Sequence[Sequence[tuple[int, int]]]:
        """For each text the spans of persons' names, disjoint and in order.

        Its CPU time is linear in the words of the texts (`screen.cost`); memory does not grow with
        what it has read.
        """


class Screener(Protocol):
    """Finding and replacing what is sensitive. Behind it: libraries; a model beside them, by option."""

    def screen(
        self, parts: Sequence[Part], scope: ScreenScope = NO_SCOPE, history: Sequence[str] = ()
    ) -> Screening:
        """Label every string in the parts; bounded time on any input.

        Args:
            scope: What the tenant declares.
            history: Earlier texts of the conversation, newest last: what only shows when their
                ends and these parts are read together is labelled here.
        """

    def redact(
        self,
        parts: Sequence[Part],
        screening: Screening,
        scope: ScreenScope = NO_SCOPE,
        replacer: Callable[[str, str], str] | None = None,
    ) -> tuple[Part, ...]:
        """The parts with every labelled span replaced.

        Args:
            replacer: Makes a span's replacement from label type and original; None: `[type]`.
        """


class Budgets(Protocol):
    """What a tenant has used up. Behind it: PostgreSQL; memory in tests."""

    async def operations_since(self, tenant: TenantId, since_at: datetime) -> int:
        """How many operations of the tenant were accepted since then.

        Raises:
            Unavailable: it is not known, so nothing may be enacted.
        """


class Homes(Protocol):
    """Of which tenants this region is the home: it alone enacts for them and spends their budgets.

    Nothing here waits or asks anybody: it tells what was heard last, and whether that is still sure.
    """

    def term(self, tenant: TenantId) -> int:
        """The term in which this region is the home, as last heard; 0 if it is not."""

    def held(self, tenant: TenantId, term: int) -> bool:
        """Whether this region is surely the home now, in that term."""

    def require(self, tenant: TenantId) -> int:
        """The term in which this region surely is the home.

        Raises:
            HomeElsewhere: it is not, or that is not sure now.
        """

    def refer(self, tenant: TenantId) -> None:
        """Return if this region was the home when last heard, or none was known.

        Raises:
            HomeElsewhere: another region was.
        """


class PeerCopies(Protocol):
    """What the peer region has of the tenants whose answers wait for it."""

    tenants: frozenset[TenantId]

    async def require(self, tenant: TenantId) -> None:
        """Return once the peer has all that was committed here before; at once for other tenants.

        Raises:
            PeerAway: it has not confirmed it in time, and the tenant is one to refuse then.
        """


class Autonomy(Protocol):
    """The switch that stops enactments. Behind it: PostgreSQL; memory in tests."""

    async def halted(self, tenant: TenantId) -> Switch | None:
        """The switch by which the tenant may enact nothing now, read afresh; None if it may.

        Raises:
            Unavailable: it is not known, so nothing may be enacted.
        """

    async def status(self) -> AutonomyStatus:
        """Where the switch stands, for every scope that ever had one.

        Raises:
            Unavailable: the switch cannot be read.
        """

    async def set(
        self,
        scope: Scope,
        *,
        halted: bool,
        reason: str,
        principal: PrincipalId,
        source: Source,
        unless_resumed_since: datetime | None = None,
    ) -> Thrown:
        """Halt or resume a scope, and tell the ledger; what holds already is not done again.

        Args:
            unless_resumed_since: A halt on what was known at this time: a resume that came later
                overrules it, and nothing is changed.

        Raises:
            Unavailable: nothing was changed, as far as is known.
        """
