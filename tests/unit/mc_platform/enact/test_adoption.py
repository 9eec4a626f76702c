"""Replicas that die or are paused amid an operation: another one goes on with it."""

from __future__ import annotations

import signal
from typing import Any

import psycopg
import pytest
from tests.unit.mc_platform.enact.replicas import CHARGE, Replica, ledger, order

pytestmark = pytest.mark.slow


@pytest.fixture
def replica(engine_url: str, replica_of: Any) -> Any:
    """Starts replicas that hold leases."""
    with psycopg.connect(engine_url, autocommit=True) as connection:
        for table in ("mc.operation_lease", "dbos.workflow_status"):
            connection.execute(f"DELETE FROM {table}")

    def start(name: str, *requests: dict[str, Any], version: str = "1.0") -> Replica:
        made: Replica = replica_of(name, *requests, version=version)
        return made

    return start


def test_a_dead_replicas_operation_is_adopted(
    replica: Any, receiver: Any, gate: Any, engine_url: str
) -> None:
    """Killed amid its second step and never started again: another replica ends the operation."""
    receiver.gates[CHARGE] = gate()
    operation = order()
    first = replica("blue-1", operation)
    second = replica("blue-2")
    assert receiver.gates[CHARGE].arrived.wait(60)
    first.signal(signal.SIGKILL)
    receiver.gates[CHARGE].open.set()
    assert second.end() == {"id": operation["id"], "outcome": "completed"}
    assert all(times == 1 for times in receiver.applied.values())
    assert ledger(engine_url, operation["id"]).count("operation.completed") == 1


def test_a_paused_replica_that_wakes_after_its_adoption_does_no_harm(
    replica: Any, receiver: Any, gate: Any, engine_url: str
) -> None:
    """SIGSTOP, adopted and compensated by another, SIGCONT: no effect stands, one end is told."""
    receiver.gates[CHARGE] = gate()
    operation = order("unbookable")
    first = replica("blue-1", operation)
    second = replica("blue-2")
    assert receiver.gates[CHARGE].arrived.wait(60)
    first.signal(signal.SIGSTOP)
    receiver.gates[CHARGE].open.set()
    assert second.end() == {"id": operation["id"], "outcome": "compensated"}
    first.signal(signal.SIGCONT)

    # It finds out, gives up what it ran, and works on under a new term of its lease
    following = order()
    first.start(following)
    assert first.end() == {"id": following["id"], "outcome": "completed"}
    assert all(times == 1 for times in receiver.applied.values())
    assert all(key.startswith(following["id"]) for key in receiver.standing)
    assert len(receiver.undone) == len(set(receiver.undone)) == 2
    kinds = ledger(engine_url, operation["id"])
    assert [kind for kind in kinds if kind.startswith("operation.")] == [
        "operation.started",
        "operation.compensated",
    ]


def test_an_operation_goes_on_under_the_version_that_began_it(
    replica: Any, receiver: Any, gate: Any
) -> None:
    """A replica of newer code leaves it alone; one of the old version takes it up."""
    receiver.gates[CHARGE] = gate()
    operation = order()
    first = replica("blue-1", operation)
    assert receiver.gates[CHARGE].arrived.wait(60)
    first.signal(signal.SIGKILL)
    receiver.gates[CHARGE].open.set()
    newer = replica("green-1", version="2.0")
    older = replica("blue-2")
    assert older.end() == {"id": operation["id"], "outcome": "completed"}
    with pytest.raises(AssertionError, match="said nothing"):
        newer.end(within_s=0.1)
