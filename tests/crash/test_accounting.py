"""The accounting finds every kind of loss: a check that cannot fail would prove nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from mc_contract.ledger.merkle import leaf_hash, tree_root

from .accounting import account, outage_account
from .evidence import Delivered, Filed, Head, LedgerEvent, StoredTask, World
from .faults import What, plan
from .load import Acknowledgement, Kind, Promise

_ORDER, _DOOMED, _QUESTION, _DENIAL = "order-1", "order-2", "question-1", "decision-1"
_STORY: list[tuple[str, str, dict[str, Any]]] = [
    ("request.accepted", _ORDER, {"operation": "place-order"}),
    ("operation.started", _ORDER, {}),
    ("request.accepted", _QUESTION, {}),
    ("operation.completed", _ORDER, {}),
    ("request.accepted", _DOOMED, {"operation": "place-order"}),
    ("task.cancel-requested", _DOOMED, {}),
    ("operation.compensated", _DOOMED, {}),
    ("reply.released", _QUESTION, {}),
    ("request.refused", _DENIAL, {}),
]
_EFFECTS = [
    {"verb": verb, "thing": thing, "key": f"{operation}:{step}:do"}
    for verb, operation, step, thing in (
        ("do", _ORDER, 0, "reservation"),
        ("do", _DOOMED, 0, "reservation"),
        ("do", _ORDER, 1, "charge"),
        ("do", _ORDER, 2, "booking"),
        ("undo", _DOOMED, 0, "reservation"),
    )
]


def _event(index: int, kind: str, subject: str, detail: Mapping[str, Any]) -> LedgerEvent:
    content = {
        "id": f"id-{index}",
        "kind": kind,
        "tenant": "TENANT_001",
        "detail": {"subject": subject, **detail},
    }
    raw = json.dumps(content).encode()
    return LedgerEvent(index, f"id-{index}", raw, leaf_hash(raw), datetime.now(UTC), content)


def _ledger(story: list[tuple[str, str, dict[str, Any]]] = _STORY) -> list[LedgerEvent]:
    return [_event(index, *told) for index, told in enumerate(story)]


def _world(ledger: list[LedgerEvent] | None = None, **changed: Any) -> World:
    """A world in which nothing is wrong, but for what is changed."""
    ledger = _ledger() if ledger is None else ledger
    tasks = [
        StoredTask(_ORDER, "TASK_STATE_COMPLETED", operation=True, message_id="m-1"),
        StoredTask(_DOOMED, "TASK_STATE_CANCELED", operation=True, message_id="m-2"),
        StoredTask(_QUESTION, "TASK_STATE_COMPLETED", operation=False, message_id="m-3"),
    ]
    whole = World(
        ledger=ledger,
        tasks=tasks,
        siem=[Delivered(event.id, event.index, event.content) for event in ledger],
        effects=_EFFECTS,
        head=Head(len(ledger), tree_root([event.leaf_hash for event in ledger])),
    )
    return replace(whole, **changed)


def _ack(subject: str, state: str, promise: Promise = Promise.accepted) -> Acknowledgement:
    return Acknowledgement(promise, Kind.order, "T", f"m-{subject}", subject, state, "", 1, 0.0)


_ACKNOWLEDGED = [
    _ack(_ORDER, "TASK_STATE_WORKING"),
    replace(_ack(_ORDER, "TASK_STATE_COMPLETED"), outcome="completed"),
    _ack(_DOOMED, "TASK_STATE_WORKING"),
    _ack(_DOOMED, "TASK_STATE_CANCELED", Promise.cancel_taken),
    _ack(_QUESTION, "TASK_STATE_COMPLETED"),
    _ack(_DENIAL, "", Promise.refused),
]


def _without(kind: str, subject: str) -> World:
    return _world(_ledger([told for told in _STORY if told[:2] != (kind, subject)]))


def _with(kind: str, subject: str, **detail: Any) -> World:
    return _world(_ledger([*_STORY, (kind, subject, detail)]))


def _changed_event(place: int, **changed: Any) -> World:
    ledger = _ledger()
    ledger[place] = replace(ledger[place], **changed)
    return replace(_world(), ledger=ledger)


def _siem(change: Callable[[list[Delivered]], list[Delivered]]) -> World:
    return _world(siem=change(_world().siem))


def _states(**states: str) -> World:
    tasks = [replace(task, state=states.get(task.id, task.state)) for task in _world().tasks]
    return _world(tasks=tasks)


def _fired(world: World, acknowledged: list[Acknowledgement] = _ACKNOWLEDGED) -> set[str]:
    return {check.name for check in account(world, acknowledged).checks if check.count}


def test_a_whole_world_is_accounted_for():
    """Where every promise is kept, every count is 0."""
    made = account(_world(), _ACKNOWLEDGED)
    assert made.good
    assert made.figures["operations completed"] == 1
    assert made.figures["operations compensated"] == 1
    assert made.figures["questions answered"] == 1


_BREACHES: dict[str, tuple[World, str]] = {
    "an accepted request is gone": (
        _without("request.accepted", _QUESTION),
        "lost: accepted",
    ),
    "an accepted request stands twice": (
        _with("request.accepted", _QUESTION),
        "lost: accepted",
    ),
    "a task's row is gone": (_world(tasks=_world().tasks[:2]), "lost: accepted"),
    "a refusal is gone": (_without("request.refused", _DENIAL), "lost: refused"),
    "a cancel is gone": (_without("task.cancel-requested", _DOOMED), "lost: cancels"),
    "a told end is gone": (_without("operation.completed", _ORDER), "lost: ends"),
    "a told answer is gone": (_without("reply.released", _QUESTION), "lost: ends"),
    "an operation does not end": (
        _without("operation.compensated", _DOOMED),
        "operations: no end",
    ),
    "an operation ends twice": (
        _with("operation.stuck", _ORDER),
        "operations: two ends",
    ),
    "a task stays open": (
        _states(**{_DOOMED: "TASK_STATE_WORKING"}),
        "operations: task open",
    ),
    "a stuck operation is not told": (
        _with("operation.stuck", _DOOMED),
        "operations: stuck and not told",
    ),
    "a question does not end": (
        _without("reply.released", _QUESTION),
        "questions: no end",
    ),
    "a question ends twice": (
        _with("request.failed", _QUESTION),
        "questions: two ends",
    ),
    "an effect is applied twice": (
        _world(effects=[*_EFFECTS, {**_EFFECTS[0], "key": f"{_ORDER}:9:do"}]),
        "effects: twice",
    ),
    "an effect is undone twice": (
        _world(effects=[*_EFFECTS, _EFFECTS[-1]]),
        "effects: twice",
    ),
    "a completed operation lacks an effect": (_world(effects=_EFFECTS[1:]), "effects: unfit"),
    "a compensated operation left an effect": (_world(effects=_EFFECTS[:-1]), "effects: unfit"),
    "an effect belongs to nobody": (
        _world(effects=[*_EFFECTS, {"verb": "do", "thing": "charge", "key": "x:0:do"}]),
        "effects: unknown",
    ),
    "the log has a gap": (_changed_event(4, index=40), "ledger: gaps"),
    "an id stands twice": (_changed_event(4, id="id-3"), "ledger: ids"),
    "a leaf was changed": (_changed_event(4, raw=b"{}"), "ledger: leaf hashes"),
    "the log was rewritten": (_changed_event(4, leaf_hash=bytes(32)), "ledger: root"),
    "a signed leaf is gone": (replace(_world(), ledger=_ledger()[:-1]), "ledger: root"),
    "there is no checkpoint": (_world(head=None), "ledger: root"),
    "the SIEM lacks an event": (_siem(lambda got: got[:3] + got[4:]), "SIEM: missing"),
    "the SIEM has a stranger": (
        _siem(lambda got: [*got, Delivered("id-99", 99, {})]),
        "SIEM: unknown",
    ),
    "an event arrives changed": (
        _siem(lambda got: [replace(got[0], leaf={}), *got[1:]]),
        "SIEM: altered",
    ),
    "the SIEM's order is another": (
        _siem(lambda got: [got[1], got[0], *got[2:]]),
        "SIEM: order",
    ),
}


@pytest.mark.parametrize("breach", _BREACHES)
def test_each_breach_is_found_by_name(breach):
    """Whatever is lost, doubled, changed or out of order is counted under its own name."""
    world, check = _BREACHES[breach]
    assert check in _fired(world)


def test_a_repeat_at_the_siem_is_no_breach():
    """Delivery is at least once: an event that the SIEM has seen may come again, anywhere."""
    world = _siem(lambda got: [*got[:4], *got[1:4], *got[4:]])
    made = account(world, _ACKNOWLEDGED)
    assert made.good
    assert made.figures["SIEM repeats"] == 3
    assert made.figures["SIEM longest run of repeats"] == 3


def test_a_message_with_two_tasks_is_found():
    """The same message may never be answered with another task."""
    second = replace(_ack(_DOOMED, ""), message_id=_ACKNOWLEDGED[0].message_id)
    assert "changed answers" in _fired(_world(), [*_ACKNOWLEDGED, second])


def test_an_operation_that_never_began_has_no_effect():
    """One that failed before it began has ended, if nothing of it stands."""
    story = [("request.accepted", "o-9", {"operation": "x"}), ("request.failed", "o-9", {})]
    tasks = [StoredTask("o-9", "TASK_STATE_FAILED", operation=True, message_id="m")]
    world = _world(_ledger(story), tasks=tasks, effects=[])
    assert not _fired(world, [])
    assert account(world, []).figures["operations failed before they began"] == 1
    effects = [{"verb": "do", "thing": "charge", "key": "o-9:0:do"}]
    assert _fired(replace(world, effects=effects), []) == {"effects: unfit"}


@pytest.mark.parametrize(
    ("indexes", "check"),
    [
        ([2, 3, 4, 5], None),
        ([2, 3, 3, 4, 5], None),
        ([3, 4, 5], "file: missing"),
        ([2, 4, 3, 5], "file: order"),
        ([2, 3, 4, 5, 77], "file: unknown events"),
    ],
)
def test_the_file_backup_is_checked(indexes, check):
    """The file holds what happened without the SIEM: all of it, in order, and nothing else."""
    made = account(_world(), _ACKNOWLEDGED)
    filed = [Filed(f"id-{index}", index) for index in indexes]
    outage_account(made, _ledger(), filed, must_hold=range(2, 6))
    assert [one.name for one in made.checks if one.count] == ([check] if check else [])


def test_a_seed_fixes_the_plan():
    """The same seed gives the same faults; they hold as many kills as were asked for."""
    faults = plan(seed=3, kills=200, gap_s=3)
    assert faults == plan(seed=3, kills=200, gap_s=3)
    assert faults != plan(seed=4, kills=200, gap_s=3)
    assert sum(fault.what in (What.kill, What.abandon) for fault in faults) == 200
    assert {fault.what for fault in faults} == set(What)


def test_what_came_before_is_not_judged_and_what_came_since_is():
    """An earlier story's operation that never ended, and its events that the SIEM lost, are not ours."""
    story = [("request.accepted", "old-1", {"operation": "place-order"}), *_STORY]
    ledger = _ledger(story)
    known = [Delivered(event.id, event.index, event.content) for event in ledger[1:]]
    effects = [{"verb": "do", "thing": "charge", "key": "old-1:1:do"}, *_EFFECTS]
    world = _world(ledger, siem=known, effects=effects)
    assert not account(world, []).good
    assert account(world, [], since=1).good
    lost = account(replace(world, siem=known[1:]), [], since=1)
    assert [check.name for check in lost.checks if check.count] == ["SIEM: missing"]
