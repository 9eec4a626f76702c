"""A worker's activities look at switch and deadline when an effect may really be begun."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.fake_saga import REQUEST, SEALER, START

from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.saga import Signals
from mc_platform.enact.sealed import END, SealedContent
from mc_platform.enact.worker import Worker, payload_of
from mc_platform.model.ids import ActionName


class Lapsing:
    """A lease that is found lapsed the so-manieth time, and comes back after something befell."""

    def __init__(self, meanwhile: Callable[[], None], *, lapsed_at: int) -> None:
        self._meanwhile = meanwhile
        self._lapsed_at = lapsed_at
        self._asked = 0

    def held(self, _term: int) -> bool:
        self._asked += 1
        if self._asked == self._lapsed_at:
            self._meanwhile()
        return self._asked != self._lapsed_at


class CountingRegistry(ActionRegistry):
    """Every call succeeds, and is counted."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.undone: list[str] = []

    def do(self, action: ActionName, *_more: Any, **_named: Any) -> Called:
        self.done.append(action)
        return Called(ok=True, attempts=1, effect=Effect.landed)

    def undo(self, action: ActionName, *_more: Any, **_named: Any) -> Called:
        self.undone.append(action)
        return Called(ok=True, attempts=1, effect=Effect.landed)


def run_with(
    lease: Lapsing, *, clock: Callable[[], datetime], halted: Callable[[], bool]
) -> tuple[dict[str, Any], CountingRegistry]:
    registry = CountingRegistry()
    worker = Worker(
        registry=registry,
        record_blocking=lambda _events, _task: None,
        load_task=lambda _tenant, _task: None,
        release=lambda _request, parts: (parts, ()),
        on_finished=None,
        clock=clock,
        durable_step=lambda _name, body: body(),
        content=SealedContent(SEALER),
        signals=lambda _id: Signals(),
        halted=lambda _request: halted(),
        held=lease.held,
    )
    plan = [ActionName("a"), ActionName("b")]
    payload = payload_of(REQUEST, plan, deadline_at=START + timedelta(seconds=60))
    sealed = worker.run(REQUEST.id, payload, lambda: None)
    return SealedContent(SEALER).open(REQUEST.id, END, sealed), registry


def test_a_halt_while_the_lease_is_waited_for_stops_the_first_step() -> None:
    """What was read before the wait is old: the switch is read again after it."""
    switch = {"halted": False}
    lease = Lapsing(lambda: switch.update(halted=True), lapsed_at=1)
    report, registry = run_with(lease, clock=lambda: START, halted=lambda: switch["halted"])
    assert (report["outcome"], report["reason"]) == ("compensated", "autonomy is halted")
    assert registry.done == []


def test_a_deadline_that_passes_while_the_lease_is_waited_for_stops_the_step() -> None:
    """No call begins after it, in a later step neither; that step had no effect to be undone."""
    at = {"now": START}
    late = START + timedelta(seconds=61)
    # Asked before the switch is believed, before the first call, and before the second
    lease = Lapsing(lambda: at.update(now=late), lapsed_at=3)
    report, registry = run_with(lease, clock=lambda: at["now"], halted=lambda: False)
    assert (report["outcome"], report["reason"]) == ("compensated", "deadline passed")
    assert [step["reason"] for step in report["steps"]] == ["", "deadline passed"]
    assert (registry.done, registry.undone) == (["a"], ["a"])
