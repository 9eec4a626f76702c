"""The SDK's request-handler interface over our own tasks.

No per-request queue and no per-request background task are on the way: a message is one
coroutine through `RequestPath`. Streams tell the task's states as they come; the reply itself is
released whole, because screening must have seen all of it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypeVar

from a2a.server.context import ServerCallContext
from a2a.server.events import Event
from a2a.server.request_handlers.request_handler import RequestHandler
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors as sdk

from mc_platform.errors import BadRequest, Conflict, HomeElsewhere, RateLimited
from mc_platform.model.ids import ContextId, TaskId, TenantId
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal
from mc_platform.observe import metrics
from mc_platform.observe.cost import Metered
from mc_platform.pipeline.idempotency import Envelope
from mc_platform.pipeline.open_tasks import as_first_answered
from mc_platform.ports import Tasks
from mc_platform.receive import convert
from mc_platform.receive.exact_values import CLAIMED, VALUES, ExactValues
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.turns import Turns
from mc_platform.receive.wire_errors import outcome, to_wire
from mc_platform.request_path import Accepted, RequestPath

R = TypeVar("R")
PRINCIPAL = "mc_principal"
_MAX_PAGE = 100
_MOST_COUNTED = 10_000  # some milliseconds of the database's time
_MOST_STREAMS = 100


class GovernedRequestHandler(RequestHandler):
    """Answers A2A requests of an authenticated principal."""

    def __init__(
        self, *, path: RequestPath, tasks: Tasks, limiter: RateLimiter, card: pb.AgentCard
    ) -> None:
        self._path = path
        self._tasks = tasks
        self._limiter = limiter
        self._card = card
        self._background: set[asyncio.Task[Task]] = set()
        self._streams: Counter[TenantId] = Counter()
        self._large_answers = Turns("large answers")

    @property
    def busy(self) -> bool:
        """Whether messages whose callers do not wait are under way."""
        return bool(self._background)

    async def stop(self) -> None:
        """Stop messages whose callers do not wait, and record that they failed."""
        open_still = tuple(self._background)
        for task in open_still:
            task.cancel()
        await asyncio.gather(*open_still, return_exceptions=True)

    # -- messages ----------------------------------------------------------------------------

    async def on_message_send(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> pb.Task:
        """SendMessage: the task at its end, or at once with `returnImmediately`."""
        principal, values = _principal(context), _values(context)
        await self._refuse_continuing(params, context, principal)

        def envelope() -> Envelope:
            if params.configuration.HasField("task_push_notification_config"):
                raise sdk.PushNotificationNotSupportedError
            return convert.envelope(params.message, principal, values)

        task = await self.send(
            principal,
            envelope,
            at_once=params.configuration.return_immediately,
            claimed=_claimed(context),
        )
        return convert.task(task, values)

    async def send(
        self,
        principal: Principal,
        envelope: Callable[[], Envelope],
        *,
        at_once: bool,
        claimed: Sequence[str] = (),
    ) -> Task:
        """A message's task at its end, when its answer may leave.

        Args:
            envelope: Gives the message, once the tenant's rate lets it in.
            at_once: The task as it begins is the answer.
            claimed: The tenants that the request names.

        Raises:
            A2AError.
        """
        # Not `_counted`, though it counts alike: each step of a message would go through two more
        try:
            self._admit(claimed, principal)
            message = envelope()
            task = await (self._begin(message) if at_once else self._path.handle(message))
        except Exception as error:
            raise _counted_error(principal, error) from error
        metrics.add(metrics.a2a_requests, 1, "success", principal.tenant)
        await self._large_answers.to_show(principal.tenant, [task], patient=True)
        return task

    async def _begin(self, message: Envelope) -> Task:
        begun = await self._path.begin(message)
        if isinstance(begun, Task):
            return begun
        if begun.operation is None:
            self._finish_apart(begun)
        else:  # its engine ends it; nobody waits here
            begun.slot.release()
        return begun.task

    async def on_message_send_stream(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """SendStreamingMessage: the task as it begins, then its reply, then its end."""
        principal, values = _principal(context), _values(context)
        await self._refuse_continuing(params, context, principal)

        async def begin() -> Accepted | Task:
            return await self._path.begin(self._envelope(params, context, principal))

        begun = await _counted(principal, begin(), count_success=False)
        if isinstance(begun, Task):  # a repeat
            await self._large_answers.to_show(principal.tenant, [begun], patient=True)
            yield convert.task(begun, values)
            ended = await _counted(principal, self._followed(begun, repeated=True))
            for event in await self._ending(ended, values) if ended is not begun else ():
                yield event
            return
        # A client that leaves its stream, be it at once, does not call back what was begun: the
        # work is a task of its own, and only the waiting for it ends.
        finishing = self._finish_apart(begun)
        yield convert.task(begun.task, values)
        ended = await _counted(principal, asyncio.shield(finishing))
        for event in await self._ending(ended, values):
            yield event

    async def _refuse_continuing(
        self, params: pb.SendMessageRequest, context: ServerCallContext, principal: Principal
    ) -> None:
        """Refuse a message to a task, by what the task is: none of the tenant's, or one that has its message."""
        if not params.message.task_id:
            return
        await _counted(
            principal,
            self._read(params.message.task_id, _claimed(context), principal),
            count_success=False,
        )
        told = sdk.UnsupportedOperationError(
            "`message.taskId` continues a task, and this gateway's tasks take one message; "
            "send a new message; use contextId to stay in the conversation"
        )
        raise _counted_error(principal, told)

    def _envelope(
        self, params: pb.SendMessageRequest, context: ServerCallContext, principal: Principal
    ) -> Envelope:
        self._admit(_claimed(context), principal)
        if params.configuration.HasField("task_push_notification_config"):
            raise sdk.PushNotificationNotSupportedError
        return convert.envelope(params.message, principal, _values(context))

    def _finish_apart(self, accepted: Accepted) -> asyncio.Task[Task]:
        """Finish in a task of its own, whose CPU time is counted here."""

        def cost(cpu_s: float) -> None:
            metrics.add(metrics.cost_cpu, cpu_s, accepted.tenant.id)

        async def finish() -> Task:
            ended: Task = await Metered(self._path.finish(accepted), cost)
            return ended

        task = asyncio.create_task(finish())
        self._background.add(task)
        task.add_done_callback(self._finished)
        task.add_done_callback(lambda _: accepted.slot.release())  # if it ended before it began
        return task

    def _finished(self, task: asyncio.Task[Task]) -> None:
        # Its failure is recorded in the task and the ledger, where the caller will look; what is
        # no failure of ours is logged by `to_wire` with an incident id.
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            to_wire(error)

    # -- tasks -------------------------------------------------------------------------------

    async def on_get_task(self, params: pb.GetTaskRequest, context: ServerCallContext) -> pb.Task:
        """GetTask, of the caller's tenant."""
        task = await self.read(_principal(context), params.id, claimed=_claimed(context))
        return convert.task(task, _values(context))

    async def read(
        self, principal: Principal, task_id: str, *, claimed: Sequence[str] = ()
    ) -> Task:
        """A task of the caller's tenant, when its answer may leave.

        Raises:
            A2AError.
        """
        return await _guarded(self._read(task_id, claimed, principal))

    async def on_cancel_task(
        self, params: pb.CancelTaskRequest, context: ServerCallContext
    ) -> pb.Task:
        """CancelTask: a running operation is compensated; the answer is its end."""
        principal = _principal(context)
        try:
            self._admit(_claimed(context), principal)
            convert.plain_id("id", params.id)
            task = await self._path.open_tasks.cancel(principal, params.id)
            await self._large_answers.to_show(principal.tenant, [task], patient=True)
            return convert.task(task, _values(context))
        except Conflict as error:
            raise sdk.TaskNotCancelableError(error.message) from error
        except Exception as error:
            raise to_wire(error) from error

    async def on_subscribe_to_task(
        self, params: pb.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        """SubscribeToTask: the task now, then what becomes of it."""
        principal, values = _principal(context), _values(context)
        task = await _guarded(self._read(params.id, _claimed(context), principal))
        if task.state.terminal:
            raise sdk.UnsupportedOperationError(f"the task is {task.state.name} already")
        yield convert.task(task, values)
        for event in await self._ending(await _guarded(self._followed(task)), values):
            yield event

    async def on_list_tasks(
        self, params: pb.ListTasksRequest, context: ServerCallContext
    ) -> pb.ListTasksResponse:
        """ListTasks of the caller's tenant, newest first."""
        principal = _principal(context)
        return await _guarded(self._list(params, context, principal))

    async def _list(
        self, params: pb.ListTasksRequest, context: ServerCallContext, principal: Principal
    ) -> pb.ListTasksResponse:
        self._admit(_claimed(context), principal)
        convert.plain_id("contextId", params.context_id, required=False)
        size = params.page_size if params.HasField("page_size") else 50
        if not 1 <= size <= _MAX_PAGE:
            raise BadRequest(f"pageSize must be 1 to {_MAX_PAGE}, got {size}")
        filters: Any = {
            "principal": principal.id,
            "context_id": ContextId(params.context_id) if params.context_id else None,
            "state": convert.wanted_state(params.status),
            "since": convert.since(params),
        }
        page = await self._tasks.page(
            principal.tenant,
            **filters,
            limit=size,
            before=_from_token(params.page_token) if params.page_token else None,
            replies=params.include_artifacts,
        )
        total = len(page.tasks)
        if page.more or params.page_token:
            total = await self._tasks.total(principal.tenant, **filters, most=_MOST_COUNTED)
        await self._large_answers.to_show(principal.tenant, page.tasks)
        values = _values(context)
        return pb.ListTasksResponse(
            tasks=[convert.task(task, values) for task in page.tasks],
            next_page_token=_to_token(page.tasks[-1]) if page.more else "",
            page_size=size,
            total_size=total,
        )

    def _admit(self, claimed: Sequence[str], principal: Principal) -> None:
        """Take a request's token. A tenant in it is a claim, not the credential's."""
        if any(tenant and tenant != principal.tenant for tenant in claimed):
            raise BadRequest(
                "the request names a tenant that is not the credential's",
                hint="leave `tenant` out: the credential tells it",
            )
        self._limiter.admit(principal.tenant)

    async def _read(self, task_id: str, claimed: Sequence[str], principal: Principal) -> Task:
        self._admit(claimed, principal)
        convert.plain_id("id", task_id)
        task = await self._path.open_tasks.read(principal, task_id)
        await self._large_answers.to_show(principal.tenant, [task])
        return task

    async def _followed(self, task: Task, *, repeated: bool = False) -> Task:
        """The task at its end.

        Args:
            repeated: What the message's first answer was is raised, or given.
        """
        tenant = task.tenant
        if self._streams[tenant] >= _MOST_STREAMS:
            raise RateLimited(
                f"tenant {tenant} follows {_MOST_STREAMS} tasks on this replica already",
                retry_after_s=1.0,
                hint="close a stream, or poll with GetTask",
            )
        self._streams[tenant] += 1
        try:
            task = await self._path.open_tasks.followed(task)
        finally:
            self._streams[tenant] -= 1
        return as_first_answered(task) if repeated else task

    async def _ending(self, task: Task, values: ExactValues) -> list[Event]:
        await self._large_answers.to_show(task.tenant, [task], patient=True)
        return _ending(task, values)

    # -- what this gateway does not offer ------------------------------------------------------

    async def _not_offered(self, params: Any, context: ServerCallContext) -> NoReturn:
        """The card says so."""
        raise sdk.PushNotificationNotSupportedError

    on_create_task_push_notification_config = _not_offered
    on_get_task_push_notification_config = _not_offered
    on_list_task_push_notification_configs = _not_offered
    on_delete_task_push_notification_config = _not_offered

    async def on_get_extended_agent_card(
        self, params: pb.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> pb.AgentCard:
        """The card says that there is none."""
        raise sdk.UnsupportedOperationError("the public card says all: there is no extended one")


async def _counted(principal: Principal, work: Awaitable[R], *, count_success: bool = True) -> R:
    """Await one message's work, count its result, and turn its error into an A2A one."""
    try:
        result = await work
    except Exception as error:
        raise _counted_error(principal, error) from error
    if count_success:
        metrics.add(metrics.a2a_requests, 1, "success", principal.tenant)
    return result


def _counted_error(principal: Principal, error: Exception) -> sdk.A2AError:
    if isinstance(error, HomeElsewhere):  # counted where it ends: `pass_on`, or the home
        return to_wire(error)
    metrics.add(metrics.a2a_requests, 1, outcome(error), principal.tenant)
    return to_wire(error)


async def _guarded(work: Awaitable[R]) -> R:
    try:
        return await work
    except Exception as error:
        raise to_wire(error) from error


def _principal(context: ServerCallContext) -> Principal:
    principal = context.state.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise sdk.InternalError("a request came past the middleware without a principal")
    return principal


def _claimed(context: ServerCallContext) -> Sequence[str]:
    return (context.tenant, *context.state.get(CLAIMED, ()))


def _values(context: ServerCallContext) -> ExactValues:
    values = context.state.get(VALUES)
    if not isinstance(values, ExactValues):
        raise sdk.InternalError("a request came past the layer that keeps its numbers")
    return values


def _ending(task: Task, values: ExactValues) -> list[Event]:
    events: list[Event] = []
    shown = convert.artifact(task, values)
    if shown is not None and shown.parts:
        events.append(
            pb.TaskArtifactUpdateEvent(
                task_id=task.id,
                context_id=task.context_id,
                artifact=shown,
                last_chunk=True,
            )
        )
    update = pb.TaskStatusUpdateEvent(
        task_id=task.id, context_id=task.context_id, status=convert.status(task, shown)
    )
    update.metadata.CopyFrom(convert.task(task, values).metadata)
    events.append(update)
    return events


def _to_token(task: Task) -> str:
    return base64.urlsafe_b64encode(f"{task.updated_at.isoformat()}|{task.id}".encode()).decode()


def _from_token(token: str) -> tuple[datetime, TaskId]:
    try:
        at, _, task_id = base64.urlsafe_b64decode(token.encode()).decode().partition("|")
        moment = datetime.fromisoformat(at)
    except (ValueError, binascii.Error) as error:
        raise BadRequest("pageToken is not one that this service gave") from error
    if moment.utcoffset() != timedelta(0) or not task_id.isprintable():
        raise BadRequest("pageToken is not one that this service gave")
    return moment, TaskId(task_id)
