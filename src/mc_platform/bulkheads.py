"""Bulkheads: what all tenants use is shared so that none of them can take it from the others.

A request that finds no place waits for one for a bounded time, which is ours and nobody else's
fault; then it is refused with 429, before anything of it is recorded. Places that become free go
to the waiting tenants in turn, whoever waits longest within a tenant first.

A place is worth something to whoever waits for its end. Where most of a tenant's clients have left when
their questions end, the tenant has more places than it can be served in time: half of them are withdrawn,
and places go to whoever came last, until its clients stay again. So an overload serves some in time, and
refuses the rest at once, instead of serving everybody too late.

All of it belongs to one event loop and to one replica: N replicas have N times the places.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

from mc_platform.errors import RateLimited
from mc_platform.model.ids import AgentName, TenantId
from mc_platform.observe import metrics

_RETRY_AFTER_S = 1.0
_HEARD = 16  # ends of a tenant's questions, before its places are judged
_FEWEST = 2

# Whether the client of this context's request has left; set by the middleware
client_left: ContextVar[Callable[[], bool]] = ContextVar("client_left")


def nobody_waits() -> bool:
    """Whether the client of this context's request has left."""
    left = client_left.get(None)
    return left is not None and left()


class Slot:
    """A place that a request holds; `release` gives it back, once however often it is called.

    Args:
        tenant: Whose it is.
        slots: Each kind of place that the request holds one of.
    """

    __slots__ = ("_slots", "_tenant")

    def __init__(self, tenant: TenantId, *slots: Slots) -> None:
        self._tenant = tenant
        self._slots = slots

    def release(self) -> None:
        """Give the place back."""
        slots, self._slots = self._slots, ()
        for one in slots:
            one.give_back(self._tenant)


class Slots:
    """Places of one kind.

    Args:
        kind: What takes a place, in the plural: it names the metric's label.
        per_tenant: Places that one tenant may have at once.
        total: Places in all; None: as many as all tenants may have.
        kept_each: Places kept free for each tenant that has none: with `tenants` of them, nobody
            takes the last ones of another.
        tenants: How many tenants there can be.
        wait_s: How long a request waits for a place.
        most_waiting: Requests of one tenant that may wait; more are refused at once.
    """

    def __init__(
        self,
        kind: str,
        *,
        per_tenant: int,
        total: int | None = None,
        kept_each: int = 0,
        tenants: int = 1,
        wait_s: float,
        most_waiting: int,
    ) -> None:
        self.kind = kind
        self.per_tenant = per_tenant
        self.total = total
        self._kept_each = kept_each
        self._tenants = tenants
        self._wait_s = wait_s
        self._most_waiting = most_waiting
        self._taken: dict[TenantId, int] = {}
        self._all_taken = 0
        self._waiting: dict[TenantId, deque[_Waiting]] = {}  # in the order of turns
        self._left_to: dict[TenantId, int] = {}  # places of those who had some withdrawn
        self._heard: dict[TenantId, list[bool]] = {}

    def taken(self, tenant: TenantId) -> int:
        """How many places the tenant has now."""
        return self._taken.get(tenant, 0)

    def waiting(self, tenant: TenantId) -> int:
        """How many requests of the tenant wait for a place now."""
        return len(self._waiting.get(tenant, ()))

    def most(self, tenant: TenantId) -> int:
        """How many places the tenant may have now."""
        return self._left_to.get(tenant, self.per_tenant)

    def heed(self, tenant: TenantId, *, left: bool) -> None:
        """Hear whether a client had left when its work ended; withdraw places, or give some again."""
        heard = self._heard.setdefault(tenant, [])
        heard.append(left)
        if len(heard) < _HEARD:
            return
        gone, most = sum(heard), self.most(tenant)
        heard.clear()
        if 2 * gone > _HEARD:
            self._left_to[tenant] = max(_FEWEST, most // 2)
        elif tenant in self._left_to and 8 * gone <= _HEARD:
            more = min(max(1, most // 4), self.per_tenant - most)
            if most + more < self.per_tenant:
                self._left_to[tenant] = most + more
            else:
                del self._left_to[tenant]
            for _ in range(more):
                self._pass_on()

    async def take(self, tenant: TenantId, *, patient: bool = False) -> Slot:
        """A place; whoever takes one must release it.

        Args:
            patient: For work on what was accepted already: before the tenant's other requests, and
                never refused.

        Raises:
            RateLimited: none became free in time, or too many of the tenant wait already.
        """
        if not self.take_now(tenant):
            await self.wait(tenant, patient=patient)
        return Slot(tenant, self)

    def take_now(self, tenant: TenantId) -> bool:
        """Take a place if one is free and nobody of the tenant waits; whether it was taken.

        Whoever takes one calls `give_back`.
        """
        mine = self._taken.get(tenant, 0)
        if mine >= self.most(tenant) or tenant in self._waiting:
            return False
        if self.total is not None and not self._may(tenant):
            return False
        self._taken[tenant] = mine + 1
        self._all_taken += 1
        return True

    async def wait(self, tenant: TenantId, *, patient: bool = False) -> None:
        """Wait for a place, which is taken then: for what `take_now` did not give; as `take`."""
        queue = self._waiting.setdefault(tenant, deque())
        if len(queue) >= self._most_waiting and not patient:
            raise self._refusal(tenant)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        waiting = _Waiting(turn, patient)
        before = sum(one.patient for one in queue) if patient else len(queue)
        queue.insert(before, waiting)
        # No `asyncio.timeout`: under load most requests wait a round of the loop for their turn
        timer = None if patient else loop.call_later(self._wait_s, _give_up, turn)
        given = False
        try:
            given = await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_back(tenant)  # it was given while the wait ended
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if not given:
                self._leave(tenant, waiting)
        if not given:
            raise self._refusal(tenant)

    def held(self, tenant: TenantId, *, patient: bool = False) -> Held:
        """As `take`, for the time of an `async with` block."""
        return Held(self, tenant, patient=patient)

    def give_back(self, tenant: TenantId) -> None:
        """One of the tenant's places is free; `Slot.release` calls this."""
        left = self._taken[tenant] - 1
        if left:
            self._taken[tenant] = left
        else:
            del self._taken[tenant]
        self._all_taken -= 1
        if self._waiting:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give a place that is free to whoever's turn it is."""
        for tenant, queue in list(self._waiting.items()):
            if not self._may(tenant):
                continue
            del self._waiting[tenant]
            # Who came last may still be waited for
            next_ = queue.pop if tenant in self._left_to else queue.popleft
            turn = next_().turn
            while turn.done() and queue:  # its wait has ended, and it has not left the queue yet
                turn = next_().turn
            if queue:
                self._waiting[tenant] = queue  # at the end: the next place is another's
            if not turn.done():
                self._taken[tenant] = self._taken.get(tenant, 0) + 1
                self._all_taken += 1
                turn.set_result(True)
                return

    def _may(self, tenant: TenantId) -> bool:
        mine = self._taken.get(tenant, 0)
        if mine >= self.most(tenant):
            return False
        if self.total is None:
            return True
        free = self.total - self._all_taken
        if mine < self._kept_each:
            return free > 0
        others = sum(
            min(self._kept_each, taken) for whose, taken in self._taken.items() if whose != tenant
        )
        return free > self._kept_each * (self._tenants - 1) - others

    def _leave(self, tenant: TenantId, waiting: _Waiting) -> None:
        queue = self._waiting.get(tenant, deque())
        if waiting in queue:  # else it was passed over already
            queue.remove(waiting)
        if not queue:
            self._waiting.pop(tenant, None)

    def _refusal(self, tenant: TenantId) -> RateLimited:
        metrics.slots_refused.labels(self.kind, tenant).inc()
        return RateLimited(
            f"tenant {tenant} has {self.taken(tenant)} {self.kind} under way on this replica, "
            f"and no place became free in {self._wait_s:g} s",
            retry_after_s=_RETRY_AFTER_S,
            hint=f"send fewer at once (at most {self.most(tenant)}), and try again in a second",
        )


class Held:
    """A place for the time of a block; a class, as each message passes several of them."""

    __slots__ = ("_patient", "_slots", "_tenant")

    def __init__(self, slots: Slots, tenant: TenantId, *, patient: bool) -> None:
        self._slots = slots
        self._tenant = tenant
        self._patient = patient

    async def __aenter__(self) -> None:
        if not self._slots.take_now(self._tenant):
            await self._slots.wait(self._tenant, patient=self._patient)

    async def __aexit__(self, *_: object) -> None:
        self._slots.give_back(self._tenant)


class _Waiting(NamedTuple):
    turn: asyncio.Future[bool]
    patient: bool


def _give_up(turn: asyncio.Future[bool]) -> None:
    if not turn.done():
        turn.set_result(False)


class Messages:
    """Places for messages: questions by tenant and by agent, operations that are waited for.

    Args:
        tenants: How many the catalogue has.
        per_tenant: Questions of one tenant at once.
        per_agent: Questions to one agent at once; half of them are kept, a fair share for each
            tenant, for those who have not used theirs.
        operations: Operations of one tenant whose end is waited for at once.
        wait_s: How long a message waits for a place.
    """

    def __init__(
        self, *, tenants: int, per_tenant: int, per_agent: int, operations: int, wait_s: float
    ) -> None:
        self._tenants = tenants
        self._per_agent = per_agent
        self._wait_s = wait_s
        self.questions = Slots(
            "questions", per_tenant=per_tenant, wait_s=wait_s, most_waiting=per_tenant
        )
        self.operations = Slots(
            "operations", per_tenant=operations, wait_s=wait_s, most_waiting=operations
        )
        self._agents: dict[AgentName, Slots] = {}

    def agent(self, name: AgentName) -> Slots:
        """The places at one of the catalogue's agents."""
        if name not in self._agents:
            self._agents[name] = Slots(
                "questions to one agent",
                per_tenant=self._per_agent,
                total=self._per_agent,
                kept_each=self._per_agent // (2 * max(1, self._tenants)),
                tenants=self._tenants,
                wait_s=self._wait_s,
                most_waiting=self._per_agent,
            )
        return self._agents[name]

    async def take(self, tenant: TenantId, agent: AgentName, *, operation: bool) -> Slot:
        """A place for one message; whoever takes one must release it.

        Raises:
            RateLimited: there is none, and the reason is not the agent.
        """
        if operation:
            return await self.operations.take(tenant)
        places = self.agent(agent)
        if not self.questions.take_now(tenant):
            await self.questions.wait(tenant)
            if nobody_waits():
                self.questions.give_back(tenant)
                raise RateLimited("the client left before a place was free", retry_after_s=1.0)
        if not places.take_now(tenant):
            try:
                await places.wait(tenant)
            except BaseException:
                self.questions.give_back(tenant)
                raise
        return Slot(tenant, self.questions, places)
