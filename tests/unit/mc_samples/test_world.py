"""The fulfilment agent's world: idempotency, undo, and survival."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_samples.world import Refused, Thing, World

BODIES: dict[Thing, dict[str, Any]] = {
    "reservation": {"item": "widget", "quantity": 2},
    "charge": {"customer": "C-1001", "amount_cents": 500},
    "booking": {"address_ref": "A-1", "item": "widget"},
}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the world is kept."""
    return tmp_path / "fulfilment" / "journal.jsonl"


def test_the_same_key_has_one_effect_and_one_result(journal: Path) -> None:
    """A repeated call gets the first result; a different body under its key is refused."""
    world = World(journal)
    first = world.do("charge", BODIES["charge"], "k1")
    assert first == world.do("charge", BODIES["charge"], "k1")
    assert len(world.effects) == 1
    with pytest.raises(Refused) as caught:
        world.do("charge", {**BODIES["charge"], "amount_cents": 501}, "k1")
    assert caught.value.status == 422


def test_undo_works_without_the_lost_answer(journal: Path) -> None:
    """A caller that never saw the id undoes by the key of its call."""
    world = World(journal)
    before = world.snapshot()
    world.do("reservation", BODIES["reservation"], "k1")
    status, answer = world.undo("reservation", {"effect_key": "k1"}, "u1")
    assert (status, answer["cancelled"]) == (200, True)
    assert world.snapshot() == before


def test_undo_of_nothing_does_nothing_and_bars_the_late_call(journal: Path) -> None:
    """A call that arrives after its own undo must not take effect, also after a restart."""
    world = World(journal)
    result = world.undo("booking", {"booking_id": None, "effect_key": "k1"}, "u1")
    assert result == (200, {"cancelled": False, "note": "nothing to undo"})
    world.close()
    world = World(journal)
    with pytest.raises(Refused, match="undone before") as caught:
        world.do("booking", BODIES["booking"], "k1")
    assert caught.value.status == 409
    assert world.effects == []


def test_a_refusal_is_a_result_and_changes_nothing(journal: Path) -> None:
    """What no courier takes, or is not in stock, is 409 and stays so under its key."""
    world = World(journal)
    before = world.snapshot()
    body = {"address_ref": "A-1", "item": "unbookable"}
    assert world.do("booking", body, "k1")[0] == 409
    assert world.do("booking", body, "k1")[0] == 409
    assert world.do("reservation", {"item": "scarce", "quantity": 2}, "k2")[0] == 409
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("thing", "body", "status"),
    [
        ("reservation", {"item": "widget"}, 400),
        ("reservation", {"item": "widget", "quantity": 0}, 400),
        ("reservation", {"item": "widget", "quantity": True}, 400),
        ("reservation", {"item": "widget", "quantity": 1.5}, 400),
        ("reservation", {"item": "moon", "quantity": 1}, 404),
        ("charge", {"customer": "", "amount_cents": 1}, 400),
        ("charge", {"customer": "C-1", "amount_cents": -1}, 400),
        ("booking", {"item": "widget"}, 400),
    ],
)
def test_an_unusable_body_is_refused(
    thing: Thing, body: dict[str, Any], status: int, journal: Path
) -> None:
    """A malformed body changes nothing and takes no key."""
    world = World(journal)
    with pytest.raises(Refused) as caught:
        world.do(thing, body, "k")
    assert caught.value.status == status
    assert world.do(thing, BODIES[thing], "k")[0] == 201


def test_a_torn_last_line_is_dropped(journal: Path) -> None:
    """Killed in the middle of a write, the world starts with what was answered."""
    world = World(journal)
    world.do("charge", BODIES["charge"], "k1")
    world.close()
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op":"do","thi')
    again = World(journal)
    assert again.snapshot() == world.snapshot()
    assert journal.read_bytes() == whole


steps = st.lists(
    st.tuples(st.sampled_from(sorted(BODIES)), st.integers(0, 5), st.booleans()), max_size=12
)


@settings(max_examples=40)
@given(steps)
def test_undoing_everything_restores_the_world_and_restarts_forget_nothing(
    calls: list[tuple[Thing, int, bool]],
) -> None:
    """Whatever was done, repeated and undone in any order: undo all, and the world is as it was."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        world = World(path)
        fresh = world.snapshot()
        for thing, number, undo in calls:
            key = f"{thing}-{number}"
            if undo:
                world.undo(thing, {"effect_key": key}, None)
            else:
                try:
                    world.do(thing, BODIES[thing], key)
                except Refused as refusal:
                    assert refusal.status == 409
        world.close()
        again = World(path)
        assert (again.snapshot(), again.effects) == (world.snapshot(), world.effects)
        for thing, number, _ in calls:
            again.undo(thing, {"effect_key": f"{thing}-{number}"}, None)
        assert again.snapshot() == fresh
        again.close()
