"""The engine against a real PostgreSQL and a real HTTP receiver."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from tests.fake_saga import SEALER

from mc_platform.adapters.http import BlockingLanes
from mc_platform.enact import OperationEngine, ResolutionMode, RetryPolicy, operation_of
from mc_platform.enact.resolution import ResolutionReport
from mc_platform.errors import BadRequest, Conflict, Misconfigured, NotFound, Unavailable
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.engine_state import Phase
from mc_platform.model.event import Event
from mc_platform.model.ids import ContextId, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.operation import OperationReport, OperationRequest, Outcome
from mc_platform.model.task import Task, TaskState

ORDER = {
    "item": "kettle",
    "quantity": 2,
    "customer": "C-1002",
    "amount_cents": 4200,
    "address_ref": "A-77",
}
STOCK, CHARGE, COURIER = "/stock/reservations", "/payments/charges", "/courier/bookings"
UNSTOCK, REFUND = "/stock/reservations/cancel", "/payments/refunds"
QUICK = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.05)
QUICK_UNDO = RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.05, permanent_too=True)


@dataclass
class MemoryJournal:
    """Keeps events by id, as the ledger does, and the last state of each task."""

    events: dict[str, Event] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    commits: list[tuple[list[str], str | None]] = field(default_factory=list)
    failures: int = 0
    finished: list[OperationReport] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        with self.lock:
            if self.failures:
                self.failures -= 1
                raise Unavailable("the ledger is down")
            for event in events:
                self.events.setdefault(event.id, event)
            if task is not None:
                self.tasks[task.id] = task
            state = None if task is None else task.state.value
            self.commits.append(([event.kind.value for event in events], state))

    def kinds(self) -> list[str]:
        names = []
        for event in self.events.values():
            step = event.detail.get("step")
            names.append(event.kind.value if step is None else f"{event.kind.value} {step}")
        return names


def load_task(tenant: TenantId, task_id: TaskId) -> Task:
    return Task(
        id=task_id,
        context_id=ContextId("context-1"),
        tenant=tenant,
        principal=PrincipalId("principal-1"),
        message_id="message-1",
        request_digest="digest-1",
        state=TaskState.working,
        updated_at=datetime.now(UTC),
        governance={"purpose": "support"},
    )


def request(operation: str = "place-order", **changes: Any) -> OperationRequest:
    operation_id = OperationId(str(uuid.uuid4()))
    return OperationRequest(
        id=operation_id,
        tenant=TenantId("TENANT_001"),
        principal=PrincipalId("principal-1"),
        task_id=TaskId(f"task-{operation_id}"),
        operation=operation,
        input={**ORDER, **changes},
        decision_id="decision-1",
    )


Start = Callable[..., AbstractAsyncContextManager[OperationEngine]]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def running(engine_url: str, catalogue: Catalogue, journal: MemoryJournal) -> Start:
    """An engine of a replica with a name of its own, launched and shut down."""
    name = f"replica-{uuid.uuid4()}"

    @asynccontextmanager
    async def start(drain_s: float = 5, **changes: Any) -> AsyncIterator[OperationEngine]:
        settings: dict[str, Any] = {
            "database_url": engine_url,
            "executor_id": name,
            "application_version": "test-1",
            "catalogue": catalogue,
            "http": BlockingLanes(),
            "record_blocking": journal.record,
            "load_task": load_task,
            "seals": SEALER,
            "on_finished": lambda _request, report: journal.finished.append(report),
            "pool_size": 5,
            "do_retries": QUICK,
            "undo_retries": QUICK_UNDO,
        }
        engine = OperationEngine(**{**settings, **changes})
        await engine.launch()
        try:
            yield engine
        finally:
            await engine.shutdown(drain_s)

    return start


async def ended(engine: OperationEngine, operation: OperationRequest) -> OperationReport:
    report = await engine.wait(operation.id, 20)
    assert report is not None, "the operation did not end"
    return report


async def test_operation_completed(running: Start, receiver: Any, journal: MemoryJournal) -> None:
    """All steps done: the results are in the task, and intents stand before outcomes."""
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.completed
    assert [(step.action, step.state, step.attempts) for step in report.steps] == [
        ("reserve-stock", "done", 1),
        ("charge-payment", "done", 1),
        ("book-courier", "done", 1),
    ]
    assert [call[1] for call in receiver.calls] == [f"{operation.id}:{i}:do" for i in range(3)]
    assert receiver.calls[0][2] == {"item": "kettle", "quantity": 2}
    assert journal.kinds() == [
        "operation.started",
        "step.intended 0",
        "step.done 0",
        "step.intended 1",
        "step.done 1",
        "step.intended 2",
        "step.done 2",
        "operation.completed",
    ]
    assert journal.commits[-1] == (["step.done", "operation.completed"], "TASK_STATE_COMPLETED")
    task = journal.tasks[operation.task_id]
    assert task.status_text == 'operation "place-order" completed: 3 of 3 steps done'
    assert task.parts[0]["data"]["steps"][1] == {
        "action": "charge-payment",
        "result": {"charge_id": "id-2"},
    }
    assert task.governance["purpose"] == "support"
    assert task.governance["outcome"] == "completed"
    assert task.message_id == "message-1"
    assert journal.finished == [report]


async def test_numbers_reach_actions_and_the_task_as_they_were(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """From the input to the receiver, from its answer to a compensation and to the task."""
    long = Decimal("0.12345678901234567890")
    operation = request(quantity=9007199254740993, amount_cents=5.0, customer=5, item=long)
    text = b'{"charge_id": 1234567890123456789, "n": [5, 5.0, 0.12345678901234567890]}'
    receiver.contents[CHARGE] = text
    async with running() as engine:
        await engine.start(operation)
        assert (await ended(engine, operation)).outcome is Outcome.completed
    assert repr(receiver.calls[0][2]) == repr({"item": float(long), "quantity": 9007199254740993})
    assert repr(receiver.calls[1][2]) == repr({"customer": 5, "amount_cents": 5.0})
    [_, charged, _] = journal.tasks[operation.task_id].parts[0]["data"]["steps"]
    assert repr(charged["result"]) == repr({"charge_id": 1234567890123456789, "n": [5, 5.0, long]})


async def test_a_result_is_given_to_its_compensation_as_it_was(
    running: Start, receiver: Any
) -> None:
    """A charge with a large number for an id is refunded by that number."""
    receiver.contents[CHARGE] = b'{"charge_id": 1234567890123456789}'
    operation = request(item="unbookable")
    async with running() as engine:
        await engine.start(operation)
        assert (await ended(engine, operation)).outcome is Outcome.compensated
    assert receiver.calls[3][2]["charge_id"] == 1234567890123456789


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"charge_id": 1' + b"0" * 309 + b"}", "number too long"),
        (b'{"charge_id": "x\\ud800y"}', "half a surrogate pair"),
        (b'{"charge_id": {"a":' + b"[" * 45 + b"]" * 45 + b"}}", "nested too deep"),
    ],
)
async def test_a_result_that_cannot_be_kept_is_the_actions_failure(
    running: Start, receiver: Any, journal: MemoryJournal, answer: bytes, kind: str
) -> None:
    """Its effect may have happened: it is undone by its key, and so are those before it."""
    receiver.contents[CHARGE] = answer
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.compensated
    assert report.reason == f'step "charge-payment" failed: reply cannot be kept ({kind})'
    assert receiver.paths() == [STOCK, CHARGE, REFUND, UNSTOCK]
    assert receiver.calls[2][2] == {"charge_id": None, "effect_key": f"{operation.id}:1:do"}
    assert "internal" not in journal.tasks[operation.task_id].status_text


async def test_failing_step_is_compensated_in_reverse(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """A refused third step undoes the second, then the first, and the ledger shows each."""
    operation = request(item="unbookable")
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
        assert await engine.report(operation.id) in (report, None)
    assert report.outcome is Outcome.compensated
    assert receiver.standing == []
    assert receiver.paths() == [STOCK, CHARGE, COURIER, REFUND, UNSTOCK]
    assert receiver.calls[3][1:] == (
        f"{operation.id}:1:undo",
        {"charge_id": "id-2", "effect_key": f"{operation.id}:1:do"},
    )
    assert journal.kinds()[5:] == [
        "step.intended 2",
        "step.failed 2",
        "compensation.intended 1",
        "compensation.done 1",
        "compensation.intended 0",
        "compensation.done 0",
        "operation.compensated",
    ]
    task = journal.tasks[operation.task_id]
    assert task.state is TaskState.failed
    assert task.status_text == (
        'operation "place-order" compensated: step "book-courier" failed: refused (409); '
        "2 of 2 effects undone"
    )
    assert task.parts == ()
    assert task.governance == {
        "purpose": "support",
        "operation_id": operation.id,
        "outcome": "compensated",
        "canceled": False,
        "effects": 2,
        "effects_undone": 2,
        "steps": [
            {"action": "reserve-stock", "state": "compensated", "attempts": 1, "reason": ""},
            {"action": "charge-payment", "state": "compensated", "attempts": 1, "reason": ""},
            {"action": "book-courier", "state": "failed", "attempts": 1, "reason": "refused (409)"},
        ],
        "decision_id": "decision-1",
    }
    assert [report.outcome for report in journal.finished] == [Outcome.compensated]


async def test_events_hold_no_content(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """Nothing of the input or of a reply's body is in an event or in the task's sentence."""
    operation = request(item="unbookable", customer="jane@example.org")
    async with running() as engine:
        await engine.start(operation)
        await ended(engine, operation)
    told = json.dumps([dict(event.detail) for event in journal.events.values()])
    told += journal.tasks[operation.task_id].status_text
    assert "jane@example.org" not in told
    assert "no courier" not in told
    assert "A-77" not in told


async def test_passing_failure_is_tried_again(running: Start, receiver: Any) -> None:
    """5xx and 429 are tried again with the same key; the attempts are reported."""
    receiver.script[CHARGE] = [503, 429]
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.completed
    assert report.steps[1].attempts == 3
    assert {key for path, key, _ in receiver.calls if path == CHARGE} == {f"{operation.id}:1:do"}


async def test_uncertain_effect_is_compensated_by_its_key(running: Start, receiver: Any) -> None:
    """An effect that landed without an answer is undone by its key, its id being unknown."""
    receiver.script[CHARGE] = ["drop"]
    operation = request()
    once = RetryPolicy(attempts=1)
    async with running(do_retries=once) as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.compensated
    assert receiver.standing == []
    assert receiver.calls[2] == (
        REFUND,
        f"{operation.id}:1:undo",
        {"charge_id": None, "effect_key": f"{operation.id}:1:do"},
    )
    assert report.steps[1].reason == "connection lost; effect undone"


async def test_uncertain_effect_that_never_landed_needs_no_undo(
    running: Start, receiver: Any
) -> None:
    """A receiver that does not know the effect (404) leaves nothing to undo."""
    receiver.script[CHARGE] = [500, 500, 500]
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.compensated
    assert report.reason == 'step "charge-payment" failed: unavailable (500)'


async def test_resisting_compensation_ends_stuck(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """A compensation is tried again, then parked as stuck; earlier effects are undone anyway."""
    receiver.script[REFUND] = [500] * 3
    operation = request(item="unbookable")
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.stuck
    assert [(step.action, step.state, step.attempts, step.reason) for step in report.steps] == [
        ("reserve-stock", "compensated", 1, ""),
        ("charge-payment", "stuck", 3, "unavailable (500)"),
        ("book-courier", "failed", 1, "refused (409)"),
    ]
    assert receiver.paths().count(REFUND) == 3
    assert receiver.standing == [f"{operation.id}:1:do"]
    assert journal.kinds()[-1] == "operation.stuck"
    task = journal.tasks[operation.task_id]
    assert task.state is TaskState.failed
    assert task.status_text.endswith('1 of 2 effects undone; still standing: "charge-payment"')


async def stuck(engine: OperationEngine, receiver: Any) -> OperationRequest:
    """An operation whose charge could not be taken back."""
    receiver.script[REFUND] = [500] * 3
    operation = request(item="unbookable")
    await engine.start(operation)
    assert (await ended(engine, operation)).outcome is Outcome.stuck
    return operation


async def test_a_stuck_operation_is_resolved_by_trying_again(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """What resisted is undone by its own key; the ledger tells it, and once is enough."""
    async with running() as engine:
        operation = await stuck(engine, receiver)
        receiver.script[REFUND] = [500] * 3
        first = await resolved(engine, operation)
        assert (first.resolved, first.attempt, first.standing) == (False, 1, ("charge-payment",))
        second = await resolved(engine, operation)
        assert (second.resolved, second.attempt, second.standing) == (True, 2, ())
        assert receiver.standing == []
        assert journal.kinds()[-3:] == [
            "compensation.intended 1",
            "compensation.done 1",
            "operation.resolved",
        ]
        with pytest.raises(Conflict, match="resolved already"):
            await resolved(engine, operation)


async def test_what_is_forgotten_is_ended_and_its_rows_are_gone(
    running: Start, receiver: Any, engine_url: str
) -> None:
    """The operation and what resolved it, with inputs, results and steps; the others stay."""
    async with running() as engine:
        first, second = await stuck(engine, receiver), await stuck(engine, receiver)
        await resolved(engine, first, mode=ResolutionMode.accept)
        gone, stays = first.id, second.id
        soon = datetime.now(UTC) + timedelta(minutes=1)
        ids = await engine.ended_before(soon, 1000, 0)
        assert ids.index(gone) < ids.index(stays)
        assert await engine.ended_before(soon, 1, ids.index(stays)) == [stays]
        assert gone not in await engine.ended_before(soon - timedelta(hours=1), 1000, 0)
        mine = [one for one in ids if operation_of(one) == gone]
        assert mine == [gone, f"{gone}:resolve:1"]
        await engine.forget(mine)
        assert not await engine.known(gone)
        assert await engine.known(stays)
    with psycopg.connect(engine_url) as connection:
        for table in ("workflow_status", "workflow_input", "workflow_output", "operation_outputs"):
            [left] = connection.execute(
                f"SELECT count(*) FROM dbos.{table} WHERE workflow_uuid LIKE %s", (f"{gone}%",)
            ).fetchone() or (None,)
            assert left == 0, table


async def test_a_stuck_operation_is_accepted_by_a_person(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """Nothing is called; who answers for it, and why, is in the ledger."""
    async with running() as engine:
        operation = await stuck(engine, receiver)
        calls = len(receiver.calls)
        report = await resolved(engine, operation, mode=ResolutionMode.accept)
        assert report.resolved
        assert len(receiver.calls) == calls
        told = list(journal.events.values())[-1]
        assert told.kind.value == "operation.resolved"
        assert told.detail["principal"] == "operator-1"
        assert told.detail["reason"] == "refunded by hand"


async def test_only_what_is_stuck_can_be_resolved(running: Start) -> None:
    """Neither an unknown operation nor one that completed."""
    async with running() as engine:
        operation = request()
        with pytest.raises(NotFound):
            await resolved(engine, operation)
        await engine.start(operation)
        await ended(engine, operation)
        with pytest.raises(Conflict, match="completed, not stuck"):
            await resolved(engine, operation)


async def resolved(
    engine: OperationEngine,
    operation: OperationRequest,
    mode: ResolutionMode = ResolutionMode.retry,
) -> ResolutionReport:
    return await engine.resolve(
        operation.id, mode=mode, principal=PrincipalId("operator-1"), reason="refunded by hand"
    )


async def test_what_is_given_up_never_begins(running: Start, receiver: Any) -> None:
    """Of a start and a giving up the first holds, whoever comes later."""
    async with running() as engine:
        given_up, begun = request(), request()
        assert await engine.void(given_up.id)
        assert await engine.void(given_up.id)
        with pytest.raises(Conflict, match="given up"):
            await engine.start(given_up)
        assert receiver.calls == []
        await engine.start(begun)
        assert not await engine.void(begun.id)
        assert (await ended(engine, begun)).outcome is Outcome.completed


async def test_what_may_not_begin_has_no_effect(running: Start, receiver: Any) -> None:
    """Accepted, then halted before it began: it ends, and nothing was called."""
    async with running(halted=lambda _request: True) as engine:
        operation = request()
        await engine.start(operation)
        report = await ended(engine, operation)
        assert report.outcome is Outcome.compensated
        assert report.reason == "autonomy is halted"
        assert receiver.calls == []


async def test_the_engine_tells_where_an_operation_is(
    running: Start, receiver: Any, gate: Any
) -> None:
    """Running here, then ended; nothing of one that was never begun."""
    receiver.gates[CHARGE] = gate()
    async with running() as engine:
        operation, unknown = request(), request()
        await engine.start(operation)
        await asyncio.to_thread(receiver.gates[CHARGE].arrived.wait, 10)
        states = await engine.states([operation.id, unknown.id])
        assert list(states) == [operation.id]
        assert states[operation.id].phase is Phase.running
        receiver.gates[CHARGE].open.set()
        await ended(engine, operation)
        while (await engine.states([operation.id]))[operation.id].phase is Phase.running:
            await asyncio.sleep(0.02)
        assert (await engine.states([operation.id]))[operation.id].phase is Phase.ended


async def test_cancel_between_steps_compensates(
    running: Start, receiver: Any, journal: MemoryJournal, gate: Any
) -> None:
    """A cancel during the second step lets it end, then undoes both; the third never runs."""
    receiver.gates[CHARGE] = gate()
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        await asyncio.to_thread(receiver.gates[CHARGE].arrived.wait, 10)
        assert await engine.cancel(operation.id) is True
        assert engine.pending_count() == 1
        receiver.gates[CHARGE].open.set()
        report = await ended(engine, operation)
    assert (report.outcome, report.canceled) == (Outcome.compensated, True)
    assert COURIER not in receiver.paths()
    assert receiver.standing == []
    task = journal.tasks[operation.task_id]
    assert task.state is TaskState.canceled
    assert task.status_text == 'operation "place-order" canceled: 2 of 2 effects undone'


async def test_cancel_during_last_step_compensates(
    running: Start, receiver: Any, gate: Any
) -> None:
    """A cancel that arrives before the last step has ended still undoes everything."""
    receiver.gates[COURIER] = gate()
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        await asyncio.to_thread(receiver.gates[COURIER].arrived.wait, 10)
        assert await engine.cancel(operation.id) is True
        receiver.gates[COURIER].open.set()
        report = await ended(engine, operation)
    assert report.canceled is True
    assert receiver.standing == []


async def test_cancel_after_the_end_says_so(running: Start) -> None:
    """Cancelling what has ended, or what is unknown, changes nothing and returns False."""
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        await ended(engine, operation)
        while await engine.report(operation.id) is None:
            await asyncio.sleep(0)
        assert await engine.cancel(operation.id) is False
        assert await engine.cancel(OperationId("unknown")) is False
        report = await engine.report(operation.id)
    assert report is not None
    assert report.outcome is Outcome.completed


async def test_start_twice_runs_once(running: Start, receiver: Any, journal: MemoryJournal) -> None:
    """The same id started at once, again, and after its end has each effect once."""
    operation = request()
    async with running() as engine:
        await asyncio.gather(engine.start(operation), engine.start(operation))
        first = await ended(engine, operation)
        await engine.start(operation)
        assert await ended(engine, operation) == first
    assert receiver.paths() == [STOCK, CHARGE, COURIER]
    assert len(journal.finished) == 1


async def test_a_repeat_that_finds_no_slot_is_no_warning(
    running: Start, receiver: Any, gate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Begun at once or in the queue, and begun again the other way: once, and nobody is alarmed."""
    receiver.gates[CHARGE] = gate()
    direct, queued = request(), request()
    async with running(max_concurrent=2) as engine:
        await engine.start(direct)
        await engine.start(queued)
        await engine.start(direct)
        receiver.gates[CHARGE].open.set()
        for operation in (direct, queued):
            assert (await ended(engine, operation)).outcome is Outcome.completed
        await engine.start(queued)
    assert "already exists" not in caplog.text
    assert sorted(receiver.paths()) == sorted([STOCK, CHARGE, COURIER] * 2)


async def test_canary_probe_leaves_nothing(running: Start, receiver: Any) -> None:
    """The canary's operation always fails in the end, and is always undone."""
    operation = request("canary-probe")
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.compensated
    assert report.reason == 'step "refuse" failed: refused'
    assert receiver.standing == []


async def test_unrecordable_intent_holds_the_effect(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """While the ledger is down nothing goes on; afterwards nothing is missing."""
    journal.failures = 2
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        report = await ended(engine, operation)
    assert report.outcome is Outcome.completed
    assert len(journal.kinds()) == 8


async def test_results_leave_only_as_released(running: Start, journal: MemoryJournal) -> None:
    """What the release hook returns is what the task bears."""
    operation = request()
    async with running(release=lambda _request, _parts: (({"text": "withheld"},), ())) as engine:
        await engine.start(operation)
        await ended(engine, operation)
    assert journal.tasks[operation.task_id].parts == ({"text": "withheld"},)


async def test_who_retires_ends_what_it_accepts_and_takes_nothing_from_the_queue(
    running: Start, receiver: Any
) -> None:
    """What its last clients ask for begins at once; what waits is for the replicas that stay."""
    receiver.script[CHARGE] = [503]
    held = RetryPolicy(attempts=5, first_wait_s=1, longest_wait_s=1)
    first, second = request(), request()
    async with running(do_retries=held, max_concurrent=2, max_concurrent_per_tenant=2) as engine:
        engine.retire()
        await engine.start(first)
        await engine.start(second)  # there is one slot
        assert (await ended(engine, first)).outcome is Outcome.completed
        assert await engine.known(second.id)
        assert await engine.wait(second.id, 0.6) is None
        assert {key.split(":")[0] for key in receiver.applied} == {first.id}
    async with running() as engine:
        assert (await ended(engine, second)).outcome is Outcome.completed


async def test_shutdown_leaves_work_to_the_next_launch(
    running: Start, receiver: Any, journal: MemoryJournal
) -> None:
    """An operation that does not end within the drain is taken up by the next launch."""
    receiver.script[CHARGE] = [503] * 2
    slow = RetryPolicy(attempts=5, first_wait_s=60, longest_wait_s=60)
    operation = request()
    async with running(drain_s=0, do_retries=slow) as engine:
        await engine.start(operation)
        while CHARGE not in receiver.paths():
            await asyncio.sleep(0.01)
    assert engine.healthy() is False
    with pytest.raises(Unavailable, match="not running"):
        await engine.start(operation)
    assert journal.finished == []
    async with running() as engine:
        assert engine.healthy() is True
        report = await ended(engine, operation)
    assert report.outcome is Outcome.completed
    assert all(times == 1 for times in receiver.applied.values())
    assert len(journal.finished) == 1


async def test_a_noisy_tenant_waits_for_itself(
    running: Start, receiver: Any, gate: Any, wait_until: Any, engine_url: str
) -> None:
    """One tenant's crowd takes its own slots; the other's operation begins all the same."""
    with psycopg.connect(engine_url, autocommit=True) as connection:
        # Another test's limits would hold for the first poll
        connection.execute("DELETE FROM dbos.queues")
    receiver.gates[CHARGE] = gate()
    noisy = [request() for _ in range(14)]
    other = replace(request(), tenant=TenantId("TENANT_002"))
    async with running(max_concurrent=8, max_concurrent_per_tenant=4) as engine:
        for operation in noisy:
            await engine.start(operation)

        def begun(requests: list[OperationRequest]) -> int:
            ids = {operation.id for operation in requests}
            return sum(
                path == CHARGE and key.split(":")[0] in ids for path, key, _ in receiver.calls
            )

        await asyncio.to_thread(wait_until, lambda: begun(noisy) == 4, what="its slots are taken")
        await engine.start(other)
        await asyncio.to_thread(wait_until, lambda: begun([other]) == 1, what="the other began")
        assert begun(noisy) == 4
        receiver.gates[CHARGE].open.set()
        for operation in [*noisy, other]:
            assert (await ended(engine, operation)).outcome is Outcome.completed


async def test_bad_requests_are_refused(running: Start, receiver: Any) -> None:
    """An unknown operation and missing input are refused before anything is stored."""
    async with running() as engine:
        with pytest.raises(BadRequest, match=r"unknown operation .*fly"):
            await engine.start(request("fly"))
        with pytest.raises(BadRequest, match="needs input item, quantity"):
            await engine.start(request(item=None, quantity=None))
    assert receiver.calls == []


async def test_wait_for_unknown_operation_gives_none(running: Start) -> None:
    """Waiting for what does not exist ends at the timeout, with None."""
    async with running() as engine:
        assert await engine.wait(OperationId("nobody"), 0.05) is None


async def test_launch_without_schema_names_the_remedy(engine_url: str, running: Start) -> None:
    """A schema that was never migrated stops the launch, and the hint says what to run."""
    with pytest.raises(Misconfigured) as caught:
        async with running(schema="elsewhere"):
            pass
    assert "migrate" in caught.value.hint
    async with running():
        pass


async def test_launch_without_database_is_unavailable(running: Start) -> None:
    """A database that cannot be reached stops the launch, and a later launch is a fresh one."""
    with pytest.raises(Unavailable, match="does not start"):
        async with running(database_url="postgresql://nobody@127.0.0.1:1/mc"):
            pass
    async with running():
        pass


async def test_second_engine_in_a_process_is_refused(running: Start) -> None:
    """DBOS is a singleton; a second engine must not silently share the first one's."""
    async with running():
        with pytest.raises(Misconfigured, match="lives in this process"):
            async with running():
                pass


@pytest.mark.parametrize(
    "kept", ["{}", '{"outcome": "lost"}', "[1]", "null", "no json", '{"id": 1}']
)
async def test_a_report_that_cannot_be_read_is_told_as_that(
    running: Start, engine_url: str, kept: str
) -> None:
    """By hand the engine's table was changed: nobody knows what stands, and nobody gets an error."""
    async with running() as engine:
        operation = request()
        await engine.start(operation)
        await ended(engine, operation)
        while await engine.report(operation.id) is None:
            await asyncio.sleep(0.01)
        with psycopg.connect(engine_url) as connection:
            connection.execute(
                "UPDATE dbos.workflow_output SET output = %s WHERE workflow_uuid = %s",
                (kept, operation.id),
            )
        report = await engine.report(operation.id)
        assert report is not None
        assert (report.outcome, report.reason) == (
            Outcome.stuck,
            "the engine's report of it cannot be read",
        )


def test_service_role_cannot_alter_the_schema(engine_url: str) -> None:
    """The service's role uses the engine's tables and cannot change or add any."""
    with psycopg.connect(engine_url) as connection:
        connection.execute("SELECT count(*) FROM dbos.workflow_status")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE dbos.mine (x int)")


async def test_engine_is_quiet(
    running: Start, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is printed, and no line advertises anything."""
    caplog.set_level(logging.DEBUG)
    operation = request()
    async with running() as engine:
        await engine.start(operation)
        await ended(engine, operation)
    out, err = capfd.readouterr()
    assert "dbos" not in (out + err).lower()
    assert "conductor" not in caplog.text.lower()
