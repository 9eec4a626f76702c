"""A replica killed with `kill -9` amid an operation, and started again under the same name."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest
from tests.unit.mc_platform.enact.replicas import CHARGE, COURIER, Replica, ledger, order

pytestmark = pytest.mark.slow


@pytest.fixture
def replicas(replica_of: Any) -> Any:
    """Starts replicas of one name: a later one is the former after its restart."""
    name = f"blue-{uuid.uuid4()}"

    def start(*requests: dict[str, Any], cancel: tuple[str, ...] = ()) -> Replica:
        made: Replica = replica_of(name, *requests, cancel=cancel)
        return made

    return start


@pytest.mark.parametrize(
    ("item", "killed_at", "outcome"),
    [("kettle", CHARGE, "completed"), ("unbookable", "/payments/refunds", "compensated")],
)
def test_killed_replica_ends_its_operation_after_restart(
    replicas: Any,
    receiver: Any,
    gate: Any,
    engine_url: str,
    item: str,
    killed_at: str,
    outcome: str,
) -> None:
    """Killed after an effect and before its answer: the operation ends, no effect is had twice."""
    receiver.gates[killed_at] = gate()
    operation = order(item)
    first = replicas(operation)
    assert receiver.gates[killed_at].arrived.wait(60)
    first.kill()
    receiver.gates[killed_at].open.set()
    assert replicas().end() == {"id": operation["id"], "outcome": outcome}
    assert all(times == 1 for times in receiver.applied.values())
    assert len(receiver.undone) == len(set(receiver.undone))
    assert len(receiver.standing) == (3 if outcome == "completed" else 0)
    told = ledger(engine_url, operation["id"])
    assert told[0] == "operation.started"
    assert told[-1] == f"operation.{outcome}"
    assert sum(kind.startswith("operation.") for kind in told) == 2


def test_cancel_survives_the_kill(replicas: Any, receiver: Any, gate: Any, engine_url: str) -> None:
    """A cancel acknowledged before the kill is honoured after the restart."""
    receiver.gates[CHARGE] = gate()
    operation = order()
    first = replicas(operation, cancel=(operation["id"],))
    first.kill()
    receiver.gates[CHARGE].open.set()
    assert replicas().end() == {"id": operation["id"], "outcome": "compensated"}
    assert COURIER not in receiver.paths()
    assert receiver.standing == []
    with psycopg.connect(engine_url) as connection:
        row = connection.execute(
            "SELECT state FROM task_states WHERE id = %s", (operation["task_id"],)
        ).fetchone()
    assert row == ("TASK_STATE_CANCELED",)


def test_effect_of_a_killed_run_is_undone_though_the_repeat_is_refused(
    replicas: Any, receiver: Any, gate: Any, engine_url: str
) -> None:
    """A receiver that forgot the key refuses the repeat: the first run's effect is undone by key."""
    receiver.gates[CHARGE] = gate()
    operation = order()
    first = replicas(operation)
    assert receiver.gates[CHARGE].arrived.wait(60)
    first.kill()
    receiver.forget()
    receiver.script[CHARGE] = [409]
    receiver.gates[CHARGE].open.set()
    assert replicas().end() == {"id": operation["id"], "outcome": "compensated"}
    assert receiver.standing == []
    assert "compensation.done" in ledger(engine_url, operation["id"])
