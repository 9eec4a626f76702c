"""What is shortened of DBOS, beside DBOS's own methods, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from dbos import DBOS, SetWorkflowID
from dbos import error as dbos_error
from tests.fake_saga import SEALER

from mc_platform.adapters.http import BlockingLanes
from mc_platform.enact import OperationEngine
from mc_platform.enact.engine_database import open_pool
from mc_platform.enact.engine_rows import EngineRows
from mc_platform.enact.saga import Signals
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.ids import OperationId

_SHORTENED = ("check_operation_execution", "record_operation_result")
_COLUMNS = """function_id, function_name, output, error, child_workflow_id, serialization,
    application_name, started_at_epoch_ms <= completed_at_epoch_ms,
    retention_timestamp BETWEEN completed_at_epoch_ms - 60000 AND completed_at_epoch_ms + 60000"""
_NAME = "test.shortened"


@pytest_asyncio.fixture
async def engine(engine_url: str, catalogue: Catalogue) -> AsyncIterator[OperationEngine]:
    made = OperationEngine(
        database_url=engine_url,
        executor_id=f"rows-{uuid.uuid4()}",
        application_version="test-rows",
        catalogue=catalogue,
        http=BlockingLanes(),
        record_blocking=lambda _events, _task: None,
        load_task=lambda _tenant, _task_id: None,
        seals=SEALER,
    )
    await made.launch()
    yield made
    await made.shutdown(5)


@contextmanager
def _as_dbos_has_it(system: Any) -> Iterator[None]:
    ours = {name: vars(system).pop(name) for name in _SHORTENED}
    try:
        yield
    finally:
        vars(system).update(ours)


async def _in_workflow(body: Callable[[], Any], operation_id: str) -> Any:
    """Run `body` as a workflow of this very engine."""

    def run() -> Any:
        with SetWorkflowID(operation_id):
            return DBOS.start_workflow(workflow).get_result()

    workflow = DBOS.workflow(name=f"{_NAME}.{operation_id}")(body)
    return await asyncio.to_thread(run)


def _step(name: str, result: dict[str, Any]) -> Any:
    return DBOS.run_step({"name": name}, lambda: result)


def _rows(url: str, operation_id: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        query = f"SELECT {_COLUMNS} FROM dbos.operation_outputs WHERE workflow_uuid = %s ORDER BY 1"
        return connection.execute(query, (operation_id,)).fetchall()


@pytest.mark.parametrize("result", [{}, {"calls": [{"reason": "ä\u2028", "n": 2**53}]}])
async def test_a_step_is_kept_as_dbos_keeps_it(
    engine: OperationEngine, engine_url: str, result: dict[str, Any]
) -> None:
    """Column by column the row is the one that DBOS writes."""
    system, operation_id = engine._dbos._sys_db, str(uuid.uuid4())

    def body() -> None:
        _step("do:0", result)
        with _as_dbos_has_it(system):
            _step("do:0", result)

    await _in_workflow(body, operation_id)
    ours, theirs = _rows(engine_url, operation_id)
    assert ours[1:] == theirs[1:]
    assert ours[-2:] == (True, True)


async def test_a_step_that_is_known_is_not_run_again(engine: OperationEngine) -> None:
    """DBOS itself answers for what has been done: its result comes back, and no body runs."""
    system, operation_id = engine._dbos._sys_db, str(uuid.uuid4())

    def body() -> list[Any]:
        _step("do:0", {"first": True})
        found = system.check_operation_execution(operation_id, 1, "do:0")
        with _as_dbos_has_it(system):
            theirs = system.check_operation_execution(operation_id, 1, "do:0")
        with pytest.raises(dbos_error.DBOSUnexpectedStepError):
            system.check_operation_execution(operation_id, 1, "do:another")
        return [found == theirs, found is not None]

    assert await _in_workflow(body, operation_id) == [True, True]


async def test_who_has_lost_the_operation_keeps_nothing(
    engine: OperationEngine, engine_url: str
) -> None:
    """The engine's fence: with another owner's token in the row no step is kept."""
    operation_id = str(uuid.uuid4())

    def own(change: str) -> dict[str, Any]:
        with psycopg.connect(engine_url) as connection:
            connection.execute(
                f"UPDATE dbos.workflow_status SET owner_xid = {change} WHERE workflow_uuid = %s",
                (operation_id,),
            )
        return {}

    def body() -> None:
        with pytest.raises(dbos_error.DBOSWorkflowConflictIDError):
            DBOS.run_step({"name": "do:0"}, lambda: own("'not-' || owner_xid"))
        own("substr(owner_xid, 5)")  # the workflow itself has to end

    await _in_workflow(body, operation_id)
    assert _rows(engine_url, operation_id) == []


async def test_a_cancelled_operation_begins_no_step(
    engine: OperationEngine, engine_url: str
) -> None:
    """As DBOS has it: the step's body does not run."""
    operation_id = str(uuid.uuid4())
    ran: list[int] = []

    def set_status(status: str) -> None:
        with psycopg.connect(engine_url) as connection:
            connection.execute(
                "UPDATE dbos.workflow_status SET status = %s WHERE workflow_uuid = %s",
                (status, operation_id),
            )

    def body() -> None:
        set_status("CANCELLED")
        with pytest.raises(dbos_error.DBOSWorkflowCancelledError):
            DBOS.run_step({"name": "do:0"}, lambda: ran.append(1))
        set_status("PENDING")  # the workflow itself has to end

    await _in_workflow(body, operation_id)
    assert not ran


async def test_a_lost_answer_is_no_second_step(
    engine: OperationEngine, engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was committed before the connection broke is known as this run's own."""
    operation_id, rows = str(uuid.uuid4()), engine._rows
    kept = rows._kept

    def lose(*args: Any) -> bool:
        assert kept(*args)
        return False

    monkeypatch.setattr(rows, "_kept", lose)
    await _in_workflow(lambda: _step("do:0", {"n": 1}), operation_id)
    assert [row[1] for row in _rows(engine_url, operation_id)] == ["do:0"]


async def test_signals_are_read_with_the_step_and_then_afresh(engine: OperationEngine) -> None:
    """A wish that comes amid a step is seen by the second look within it."""
    operation_id = OperationId(str(uuid.uuid4()))
    seen: list[Signals] = []

    def body() -> None:
        def step() -> dict[str, Any]:
            seen.append(engine._rows.signals(operation_id))
            DBOS.update_workflow_attributes(operation_id, {"cancel_requested": True}, merge=True)
            seen.append(engine._rows.signals(operation_id))
            return {}

        DBOS.run_step({"name": "do:0"}, step)
        DBOS.run_step({"name": "do:1"}, lambda: seen.append(engine._rows.signals(operation_id)))

    await _in_workflow(body, operation_id)
    assert [one.cancel_requested for one in seen] == [False, True, True]


async def test_errors_leave_the_step_to_dbos(
    engine: OperationEngine, engine_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the short way raises, the step is asked for and kept by DBOS."""
    operation_id = str(uuid.uuid4())

    def fail(*_: object) -> Any:
        raise psycopg.OperationalError("the server closed the connection")

    monkeypatch.setattr(engine._rows, "_row", fail)
    monkeypatch.setattr(engine._rows, "_connection", fail)
    await _in_workflow(lambda: _step("do:0", {"n": 1}), operation_id)
    assert [row[1] for row in _rows(engine_url, operation_id)] == ["do:0"]


async def test_a_queue_is_looked_at_as_dbos_does(engine: OperationEngine, engine_url: str) -> None:
    """The same partitions while something waits and while nothing does; the same settings."""
    system, operation_id, tenant = engine._dbos._sys_db, str(uuid.uuid4()), str(uuid.uuid4())
    queue = f"test-{operation_id}"

    def looked() -> bool:
        ours = system.get_queue_partitions(queue)
        return bool(ours == type(system).get_queue_partitions(system, queue))

    assert looked()
    await _in_workflow(lambda: None, operation_id)
    for status in ("ENQUEUED", "PENDING"):
        with psycopg.connect(engine_url) as connection:
            connection.execute(
                "UPDATE dbos.workflow_status SET status = %s, queue_name = %s,"
                " queue_partition_key = %s WHERE workflow_uuid = %s",
                (status, queue, tenant, operation_id),
            )
        assert looked()
        assert system.get_queue_partitions(queue) == ([tenant] if status == "ENQUEUED" else [])
    ours, theirs = (
        system.get_queue("mc.operations"),
        type(system).get_queue(system, "mc.operations"),
    )
    assert (ours._worker_concurrency, ours._partition_worker_concurrency) == (
        theirs._worker_concurrency,
        theirs._partition_worker_concurrency,
    )


def test_a_connection_that_the_server_ended_is_replaced(postgres: str, engine_url: str) -> None:
    """No error reaches whoever asks next, and no question is spent on finding out."""
    pool = open_pool(engine_url, application_name="ended-by-server", connections=2)
    rows = EngineRows(pool, "dbos")
    assert rows.status(OperationId("nobody")) is None
    with psycopg.connect(postgres, autocommit=True) as admin:
        ended = admin.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE application_name = 'ended-by-server'"
        ).fetchone()
    assert ended == (1,)
    assert rows.status(OperationId("nobody")) is None
    pool.dispose()
