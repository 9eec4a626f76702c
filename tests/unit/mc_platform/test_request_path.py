"""What one message keeps for itself, and what becomes of it when the gateway cannot go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tests.fakes import (
    KEYRING,
    NOW,
    ROOT,
    HostileAgent,
    MemoryLedger,
    NoOperations,
    local_catalogue,
    request_path,
)

from mc_contract.governance import Governance
from mc_contract.keyring import Keyring, Purpose, accept_new, activate
from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.errors import BadRequest, Conflict, PolicyDenied, Unavailable
from mc_platform.model.event import Event, Recorded
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.request_path import Envelope, RequestPath
from mc_platform.screen import LibraryScreener

T1 = TenantId("TENANT_001")
ORDER = {"item": "lamp", "quantity": 1, "customer": "x", "amount_cents": 100, "address_ref": "a"}
_LONG_S = 60.0  # how long a repeat waits
_SOON_S = 20.0


class SlowAgent(HostileAgent):
    """Answers when it may."""

    def __init__(self) -> None:
        super().__init__({"result": {"message": {"parts": [{"text": "All is well."}]}}})
        self.may = asyncio.Event()

    async def ask(self, **asked: Any) -> Any:
        answer = await super().ask(**asked)
        await self.may.wait()
        return answer


class SlowOperations(NoOperations):
    """Operations that do not end."""

    async def wait(self, _operation_id: Any, timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)


class LookedUp(MemoryLedger):
    """Counts who looks at tasks."""

    looks = 0

    async def get(self, tenant: TenantId, task_id: str) -> Task | None:
        self.looks += 1
        return await super().get(tenant, task_id)


def a_path(ledger: MemoryLedger, agent: HostileAgent, operations: NoOperations) -> RequestPath:
    catalogue = local_catalogue()
    bounded = replace(catalogue.tenants[T1], operations_per_hour=100)
    return request_path(
        catalogue=replace(catalogue, tenants={**catalogue.tenants, T1: bounded}),
        decisions=CedarDecisionPoint.load(ROOT / "policies"),
        screener=LibraryScreener(),
        ledger=ledger,
        downstream=agent,
        operations=operations,
        operation_wait_s=_LONG_S,
    )


def question(message_id: str) -> Envelope:
    return Envelope(
        principal=Principal(PrincipalId("agent@tenant-001"), T1, "0" * 12),
        message_id=message_id,
        context_id="",
        parts=({"text": "hello"},),
        governance=Governance(),
    )


def order(message_id: str) -> Envelope:
    return replace(
        question(message_id),
        parts=({"data": ORDER},),
        governance=Governance(operation="place-order", purpose="fulfilment"),
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_SOON_S):
        while not condition():
            await asyncio.sleep(0)


async def test_repeats_that_wait_do_not_keep_the_reply_that_they_wait_for() -> None:
    """A client that gives up early and asks again, and again, gets what the first one gets."""
    ledger, agent = LookedUp(), SlowAgent()
    path = a_path(ledger, agent, NoOperations())
    first = asyncio.create_task(path.handle(question("m-1")))
    await until(lambda: bool(agent.asked))
    repeats = [asyncio.create_task(path.handle(question("m-1"))) for _ in range(20)]
    await until(lambda: ledger.looks >= 8)  # as many as a tenant's messages are worked on at once
    agent.may.set()
    async with asyncio.timeout(_SOON_S):
        ended = await asyncio.gather(first, *repeats)
    assert {task.state for task in ended} == {TaskState.completed}
    assert len({task.id for task in ended}) == len(agent.asked) == 1


class Kept(MemoryLedger):
    """Knows event ids for good, as the log does, whatever becomes of tasks."""

    async def record(self, events: Sequence[Event], task: Task | None = None) -> list[Recorded]:
        known = {event.id for event in self.events}
        if any(event.id in known for event in events):
            return [Recorded(event.id, 0, fresh=False) for event in events]
        return await super().record(events, task)


@pytest.mark.parametrize("message", [question, order])
async def test_a_message_id_whose_task_was_removed_is_refused_for_good(
    message: Callable[[str], Envelope],
) -> None:
    """Nothing is asked or enacted a second time: the log knows the id longer than the task is kept."""
    ledger, agent, operations = Kept(), SlowAgent(), NoOperations()
    path = a_path(ledger, agent, operations)
    agent.may.set()
    with suppress(TimeoutError):  # no operation ends here
        await asyncio.wait_for(path.handle(message("m-1")), 0.2)
    begun = (list(agent.asked), list(operations.begun))
    events = len(ledger.events)
    ledger.tasks.clear()
    for _ in range(2):
        with pytest.raises(Conflict, match="its task is kept no more"):
            await path.handle(message("m-1"))
    assert (agent.asked, operations.begun) == begun
    assert len(ledger.events) == events


async def test_a_repeat_of_a_running_operation_does_not_keep_the_next_from_beginning() -> None:
    """Operations of a tenant with an hourly budget begin in turn; waiting for one takes no turn."""
    ledger, operations = LookedUp(), SlowOperations()
    path = a_path(ledger, SlowAgent(), operations)
    under_way = [asyncio.create_task(path.handle(order("m-1")))]
    await until(lambda: len(operations.begun) == 1)
    under_way.append(asyncio.create_task(path.handle(order("m-1"))))
    await until(lambda: ledger.looks >= 1)
    under_way.append(asyncio.create_task(path.handle(order("m-2"))))
    try:
        await until(lambda: len({request.id for request in operations.begun}) == 2)
    finally:
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


@pytest.mark.parametrize("reading", [True, False])
async def test_a_worker_that_ends_on_a_reply_ends_the_task(
    reading: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is failed at once, and says why; a repeat does not wait for what nobody works on."""
    ledger, agent = MemoryLedger(), SlowAgent()
    path = a_path(ledger, agent, NoOperations())
    agent.may.set()

    async def ended(*_what: Any, **_how: Any) -> Any:
        raise Unavailable("a worker process ended meanwhile")

    if reading:
        monkeypatch.setattr(agent, "ask", ended)
    else:
        monkeypatch.setattr(path.room, "outgoing", ended)
    with pytest.raises(Unavailable):
        await path.handle(question("m-1"))
    [task] = ledger.tasks.values()
    assert (task.state, task.status_text) == (TaskState.failed, "a worker process ended meanwhile")
    assert [event.kind.value for event in ledger.events] == ["request.accepted", "request.failed"]
    async with asyncio.timeout(_SOON_S):
        with pytest.raises(Unavailable) as again:
            await path.handle(question("m-1"))
    assert again.value.task_id == task.id


async def test_who_waits_for_an_operation_is_answered_when_the_replica_leaves() -> None:
    """With the task as it stands: the operation goes on elsewhere, and the message finds it there."""
    ledger, operations = MemoryLedger(), SlowOperations()
    path = a_path(ledger, SlowAgent(), operations)
    waiting = asyncio.create_task(path.handle(order("m-1")))
    await until(lambda: len(operations.begun) == 1)
    following = asyncio.create_task(
        path.open_tasks.followed(ledger.tasks[operations.begun[0].task_id])
    )
    await asyncio.sleep(0)
    path.open_tasks.leaving.set()
    async with asyncio.timeout(_SOON_S):
        answered, followed = await asyncio.gather(waiting, following)
    assert {answered.state, followed.state} == {TaskState.working}
    assert answered.id == followed.id == operations.begun[0].task_id


async def test_what_keeps_an_operation_from_being_waited_for_is_told() -> None:
    class Broken(NoOperations):
        async def wait(self, _operation_id: Any, _timeout_s: float) -> None:
            raise Unavailable("the operation engine is not running")

    with pytest.raises(Unavailable, match="engine"):
        await a_path(MemoryLedger(), SlowAgent(), Broken()).handle(order("m-1"))


class LooksFirst(MemoryLedger):
    """Never records without having been asked before what a message quotes."""

    async def record_unless_quoted(self, *_what: Any) -> list[Recorded] | None:
        return None


_QUOTATION = "the parcel was left behind the blue door of the old mill beside the river on Tuesday"
_MESSAGES = (
    ("What is the status of order O-2001-4711?", {}),
    ("Somebody wrote: " + _QUOTATION, {}),
    ("And this is my own: account 998877665544332211.", {}),
    ("Somebody wrote: " + _QUOTATION, {"purpose": "no-such-purpose"}),
    ("Somebody wrote: " + _QUOTATION, {"agent": "fulfilment"}),
    ("hello", {}),
)


def allowed() -> float:
    """Decisions that allowed something, of all tenants, as Prometheus is told."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "mc_policy_decisions_total" and sample.labels["decision"] == "allow"
    )


async def test_what_a_record_looks_up_by_itself_leads_to_what_a_look_before_it_leads_to() -> None:
    """The same events, questions, answers and figures, of what quotes and what does not."""
    told: list[list[tuple[str, Any]]] = []
    for kind in (MemoryLedger, LooksFirst):
        ledger, agent = kind(), SlowAgent()
        agent.body = {"result": {"message": {"parts": [{"text": _QUOTATION}]}}}
        agent.may.set()
        path = a_path(ledger, agent, NoOperations())
        allowed_before = allowed()
        for number, (text, governance) in enumerate(_MESSAGES):
            asked = replace(
                question(f"m-{number}"),
                parts=({"text": text},),
                governance=Governance(**governance),
            )
            with suppress(PolicyDenied, BadRequest):
                await path.handle(asked)
        fields = ("origins", "asked", "allowed", "policies", "labels", "agent")
        told.append(
            [("allowed", allowed() - allowed_before)]
            + [
                (
                    event.kind.value,
                    {key: event.detail[key] for key in fields if key in event.detail},
                )
                for event in ledger.events
            ]
        )
    assert told[0] == told[1]
    accepted = [detail for kind, detail in told[0] if kind == "request.accepted"]
    assert [detail["origins"] for detail in accepted][:3] == [[], ["agent-reply"], []]
    assert any(kind == "request.refused" for kind, _ in told[0])


def _rotated(purpose: Purpose, keyring: Keyring = KEYRING) -> tuple[Keyring, Keyring]:
    """A keyring with a new key accepted, and with it active."""
    accepted = accept_new(keyring, purpose, NOW)
    return accepted, activate(accepted, purpose, NOW)


@pytest.mark.parametrize("purpose", [Purpose.identity, Purpose.digest, Purpose.sealing])
async def test_a_repeat_finds_its_task_across_a_rotation(purpose: Purpose) -> None:
    """From before to after, and from a replica that is ahead to one that is behind: one task, one ask."""
    ledger, agent = MemoryLedger(), HostileAgent(_ANSWER)
    accepted, active = _rotated(purpose)
    _, again = _rotated(purpose, active)
    for number, (first, later) in enumerate(
        [(KEYRING, active), (KEYRING, again), (active, accepted), (accepted, active)]
    ):
        one, other = (_path(ledger, agent, keyring) for keyring in (first, later))
        sent = question(f"message-{number}")
        task = await one.handle(sent)
        assert await other.handle(sent) == task
        assert len(agent.asked) == number + 1
    assert len(ledger.tasks) == 4


class Rotating:
    """A ledger; before the nth of what it is asked, the path that asks takes other keys."""

    path: RequestPath

    def __init__(self, ledger: MemoryLedger, before: int, keyring: Keyring) -> None:
        self._ledger, self.left, self._keyring = ledger, before, keyring

    def __getattr__(self, name: str) -> Callable[..., Any]:
        asked = getattr(self._ledger, name)

        async def answer(*args: Any, **named: Any) -> Any:
            if self.left == 0:
                self.path.identity.renew(self._keyring.of(Purpose.identity))
                self.path.digester.renew(self._keyring.of(Purpose.digest))
            self.left -= 1
            return await asked(*args, **named)

        return answer


@pytest.mark.parametrize("purpose", [Purpose.identity, Purpose.digest])
async def test_a_repeat_finds_its_task_whenever_a_key_is_rotated_meanwhile(
    purpose: Purpose,
) -> None:
    """A replica was ahead; the one that has the repeat takes the key as active while it works on it."""
    accepted, active = _rotated(purpose)
    sent = replace(question("message"), context_id="c-1")
    for before in count():
        ledger, agent = MemoryLedger(), HostileAgent(_ANSWER)
        task = await _path(ledger, agent, active).handle(sent)
        rotating = Rotating(ledger, before, active)
        rotating.path = _path(rotating, agent, accepted)
        assert await rotating.path.handle(sent) == task
        assert len(agent.asked) == len(ledger.tasks) == 1
        if rotating.left >= 0:
            break  # it was asked less often
    assert before >= 2


async def test_a_repeat_that_means_another_thing_is_refused_across_a_rotation() -> None:
    """The digest that was kept is compared under the key that made it."""
    ledger, agent = MemoryLedger(), HostileAgent(_ANSWER)
    _, active = _rotated(Purpose.digest)
    await _path(ledger, agent, KEYRING).handle(question("message-1"))
    changed = replace(question("message-1"), parts=({"text": "And another order?"},))
    with pytest.raises(Conflict, match="a different request"):
        await _path(ledger, agent, active).handle(changed)


async def test_a_message_whose_task_is_gone_is_no_new_one_across_a_rotation() -> None:
    """As without a rotation: the ledger knows the message, so nothing is done a second time."""
    ledger, agent = MemoryLedger(), HostileAgent(_ANSWER)
    _, active = _rotated(Purpose.identity)
    await _path(ledger, agent, KEYRING).handle(question("message-1"))
    ledger.tasks.clear()
    with pytest.raises(Conflict, match="its task is kept no more"):
        await _path(ledger, agent, active).handle(question("message-1"))
    assert len(agent.asked) == 1


_ANSWER = {"result": {"message": {"parts": [{"text": "All is well."}]}}}


def _path(ledger: MemoryLedger | Rotating, agent: HostileAgent, keyring: Keyring) -> RequestPath:
    return request_path(
        catalogue=local_catalogue(),
        decisions=CedarDecisionPoint.load(ROOT / "policies"),
        screener=LibraryScreener(),
        ledger=ledger,
        downstream=agent,
        keyring=keyring,
    )
