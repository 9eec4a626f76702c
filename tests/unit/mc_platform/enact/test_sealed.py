"""Content of operations at rest: sealed for one place, unreadable in the engine's tables."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.fake_saga import SEALER, START

from mc_contract.keyring import Key, KeySet
from mc_platform.adapters.http import BlockingLanes
from mc_platform.enact import OperationEngine, ResolutionMode, RetryPolicy
from mc_platform.enact.calls import Abandoned
from mc_platform.enact.sealed import SealBroken, SealedContent, StepBroken
from mc_platform.enact.worker import payload_of
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.ids import OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.operation import OperationReport, OperationRequest, Outcome
from mc_platform.record import Sealer

CHARGE, COURIER, UNSTOCK = "/payments/charges", "/courier/bookings", "/stock/reservations/cancel"
CANARY = "canary-7f3a"
QUICK = RetryPolicy(attempts=2, first_wait_s=0.01, longest_wait_s=0.02)
CONTENT = SealedContent(SEALER)
NAMES = some.text(max_size=8)
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=8,
)


@given(place=some.tuples(NAMES, NAMES, NAMES), value=some.dictionaries(some.text(), JSON))
def test_what_was_sealed_is_opened_as_it_was(place: tuple[str, str, str], value: Any) -> None:
    """Whatever JSON it is, at its own place."""
    assert CONTENT.open(*place[1:], CONTENT.seal(*place, value)) == value


@given(sealed=some.tuples(NAMES, NAMES, NAMES), asked=some.tuples(NAMES, NAMES, NAMES))
def test_what_was_sealed_is_opened_nowhere_else(
    sealed: tuple[str, str, str], asked: tuple[str, str, str]
) -> None:
    """Not for another tenant, operation or step: names that run together make no other place."""
    kept = {**CONTENT.seal(*sealed, {}), "tenant": asked[0]}
    if sealed == asked:
        assert CONTENT.open(*asked[1:], kept) == {}
    else:
        with pytest.raises(SealBroken):
            CONTENT.open(*asked[1:], kept)


def test_a_former_key_opens_and_a_strange_one_is_waited_for() -> None:
    """After a rotation what was sealed before is read; a replica that lacks the key leaves it to others."""
    former, later = Key("k1", b"1" * 32, START), Key("k2", b"2" * 32, START)
    kept = SealedContent(Sealer(KeySet(former))).seal("T", "op", "input", {"n": 1})
    assert SealedContent(Sealer(KeySet(later, (former,)))).open("op", "input", kept) == {"n": 1}
    with pytest.raises(Abandoned):
        SealedContent(Sealer(KeySet(later))).open("op", "input", kept)


def test_of_a_step_that_broke_the_error_is_kept_by_its_name() -> None:
    """Neither in clear nor sealed does its message stay; a later run raises the same."""
    kept: list[dict[str, Any]] = []

    def keep(body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if not kept:
            kept.append(body())
        return kept[0]

    def body() -> dict[str, Any]:
        raise LookupError(CANARY)

    for _ in range(2):
        with pytest.raises(StepBroken, match=r"^LookupError$"):
            CONTENT.kept_step("T", "op", "do:0", keep, body)
    assert CONTENT.open("op", "do:0", kept[0]) == {"broken": "LookupError"}


# -- in the engine's tables ---------------------------------------------------------------------


class Clear(SealedContent):
    """As versions before this one kept it."""

    def seal(self, tenant: str, operation_id: str, step: str, value: Any) -> dict[str, Any]:
        return dict(value)


class Stage:
    """Starts one engine after another under the same name."""

    def __init__(self, url: str, catalogue: Catalogue) -> None:
        self.url = url
        self._catalogue = catalogue
        self._name = f"sealed-{uuid.uuid4()}"

    async def engine(self, content: SealedContent | None = None) -> OperationEngine:
        made = OperationEngine(
            database_url=self.url,
            executor_id=self._name,
            application_version="test-sealed",
            catalogue=self._catalogue,
            http=BlockingLanes(),
            record_blocking=lambda _events, _task: None,
            load_task=lambda _tenant, _task_id: None,
            seals=SEALER,
            do_retries=QUICK,
            undo_retries=QUICK,
        )
        if content is not None:
            made._content = made._worker._content = content
        await made.launch()
        return made

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []


@pytest.fixture
def stage(engine_url: str, catalogue: Catalogue) -> Stage:
    return Stage(engine_url, catalogue)


def request(item: str = "kettle") -> OperationRequest:
    operation_id = OperationId(str(uuid.uuid4()))
    content = {"quantity": 1, "customer": CANARY, "amount_cents": 5, "address_ref": CANARY}
    return OperationRequest(
        id=operation_id,
        tenant=TenantId("TENANT_001"),
        principal=PrincipalId(CANARY),
        task_id=TaskId(operation_id),
        operation="place-order",
        input={"item": item, **content},
        decision_id="d",
    )


async def ended(engine: OperationEngine, operation: OperationRequest) -> OperationReport:
    report = await engine.wait(operation.id, 30)
    assert report is not None, "the operation did not end"
    return report


@contextmanager
def _held(receiver: Any, gate: Any) -> Iterator[Any]:
    receiver.gates[CHARGE] = made = gate()
    yield made
    made.open.set()


async def test_nothing_clear_is_in_any_table_of_the_engine(stage: Stage, receiver: Any) -> None:
    """Inputs, results and what stands after a stuck end and its resolution: not one row has the string."""
    receiver.contents["/stock/reservations"] = b'{"reservation_id": "%s"}' % CANARY.encode()
    receiver.script[UNSTOCK] = [500] * QUICK.attempts
    engine = await stage.engine()
    try:
        operation = request("unbookable")
        await engine.start(operation)
        assert (await ended(engine, operation)).outcome is Outcome.stuck
        asked = {"mode": ResolutionMode.retry, "principal": PrincipalId(CANARY), "reason": CANARY}
        assert (await engine.resolve(operation.id, **asked)).resolved
        for [table] in stage.run(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'dbos' ORDER BY 1"
        ):
            found = stage.run(
                f"SELECT t::text FROM dbos.{table} AS t WHERE t::text LIKE %s", f"%{operation.id}%"
            )
            assert not [row for [row] in found if CANARY in row], table
            if table in ("workflow_input", "workflow_output", "operation_outputs"):
                assert found, f"{table} holds nothing of the operation: the test is blind"
    finally:
        await engine.shutdown(5)


async def test_results_of_two_operations_cannot_change_places(
    stage: Stage, receiver: Any, gate: Any
) -> None:
    """Somebody swaps their rows: neither goes on with the other's result, and both are undone."""
    operations = [request(), request()]
    engine = await stage.engine()
    with _held(receiver, gate) as held:
        for operation in operations:
            await engine.start(operation)
        assert await asyncio.to_thread(held.arrived.wait, 30)
        while stage.run(_STEPS, [one.id for one in operations]) != [(2,)]:
            await asyncio.sleep(0.02)
        await engine.shutdown(0)
    stage.run(
        "UPDATE dbos.operation_outputs o SET output = p.output FROM dbos.operation_outputs p"
        " WHERE o.workflow_uuid <> p.workflow_uuid AND o.function_id = p.function_id"
        " AND o.workflow_uuid = ANY(%s) AND p.workflow_uuid = ANY(%s)",
        *[[one.id for one in operations]] * 2,
    )
    engine = await stage.engine()
    try:
        for operation in operations:
            report = await ended(engine, operation)
            assert report.outcome is Outcome.compensated
            assert "internal error (sealbroken)" in report.reason
    finally:
        await engine.shutdown(5)


_STEPS = "SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = ANY(%s)"


async def test_rows_of_an_earlier_version_run_on(stage: Stage, receiver: Any, gate: Any) -> None:
    """Begun and kept in clear, then upgraded: the rest is sealed, and each effect is had once."""
    operation = request()
    engine = await stage.engine(Clear(SEALER))
    with _held(receiver, gate) as held:
        await engine.start(operation)
        assert await asyncio.to_thread(held.arrived.wait, 30)
        assert CANARY in str(stage.run(_INPUT, operation.id))
        await engine.shutdown(0)
    engine = await stage.engine()
    try:
        report = await ended(engine, operation)
        assert report.outcome is Outcome.completed
        assert set(receiver.applied.values()) == {1}
        kept = stage.run(
            "SELECT output FROM dbos.operation_outputs WHERE workflow_uuid = %s"
            " ORDER BY function_id",
            operation.id,
        )
        assert ["sealed" in one for [one] in kept] == [False, True, True, True]
    finally:
        await engine.shutdown(5)


_INPUT = "SELECT inputs FROM dbos.workflow_input WHERE workflow_uuid = %s"


async def test_what_waits_sealed_is_kept_from_versions_that_cannot_open_it(stage: Stage) -> None:
    """The statement by which earlier versions take what is queued finds it begun."""
    engine = await stage.engine()
    try:
        operation = request()
        await asyncio.to_thread(_queue, engine, operation)
        assert (await ended(engine, operation)).outcome is Outcome.completed
        marked = stage.run(
            "SELECT function_name FROM dbos.operation_outputs"
            " WHERE workflow_uuid = %s AND function_id = 0",
            operation.id,
        )
        assert marked == [("mc.sealed",)]
    finally:
        await engine.shutdown(5)


def _queue(engine: OperationEngine, operation: OperationRequest) -> None:
    engine._slots.total = 0
    spec = engine._operations[operation.operation]
    engine._begin(operation, payload_of(operation, spec.plan))
