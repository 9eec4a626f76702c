"""Resolving a stuck operation, told in small stories; the laws are in the property tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.fake_saga import REQUEST

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.resolution import Resolution, ResolutionMode, ResolutionReport, bounded
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ActionName, PrincipalId
from mc_platform.model.operation import Standing
from mc_platform.model.task import Task

STANDING = (
    Standing(0, ActionName("reserve"), "landed", {"id": "R-1"}),
    Standing(2, ActionName("book"), "unknown", None),
)


@dataclass
class Activities:
    """A receiver whose compensations of the actions in `resisting` fail."""

    resisting: set[str] = field(default_factory=set)
    asked: list[tuple[str, Any, str]] = field(default_factory=list)
    ledger: dict[str, Event] = field(default_factory=dict)

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        self.asked.append((action, result, key))
        if action in self.resisting:
            return Called(ok=False, attempts=6, effect=Effect.unknown, reason="unavailable (503)")
        return Called(ok=True, attempts=1, effect=Effect.landed)

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        assert task is None
        for event in events:
            self.ledger.setdefault(event.id, event)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def kinds(self) -> list[str]:
        return [event.kind.value for event in self.ledger.values()]


def resolve(
    activities: Activities,
    standing: Sequence[Standing] = STANDING,
    *,
    attempt: int = 1,
    mode: ResolutionMode = ResolutionMode.retry,
    reason: str = "the courier is back",
) -> tuple[ResolutionReport, tuple[Standing, ...]]:
    def durable_step(_name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return body()

    resolution = Resolution(
        REQUEST,
        standing,
        attempt=attempt,
        mode=mode,
        principal=PrincipalId("sre@platform"),
        reason=reason,
        activities=activities,
        durable_step=durable_step,
    )
    return resolution.run(), resolution.standing()


def test_retry_undoes_in_reverse_under_the_same_keys() -> None:
    """A retry asks for the latest effect first, with the key and the result of the operation."""
    activities = Activities()
    report, left = resolve(activities)
    assert activities.asked == [
        ("book", None, "op:2:undo"),
        ("reserve", {"id": "R-1"}, "op:0:undo"),
    ]
    assert report == ResolutionReport(
        REQUEST.id, 1, ResolutionMode.retry, resolved=True, standing=()
    )
    assert left == ()
    last = list(activities.ledger.values())[-1]
    assert last.kind is Kind.operation_resolved
    assert last.detail["principal"] == "sre@platform"
    assert last.detail["reason"] == "the courier is back"
    assert (last.detail["resolution"], last.detail["mode"]) == (1, "retry")


def test_what_resists_is_left_for_the_next_resolution() -> None:
    """A retry in vain says `operation.still-stuck`; the next has events of its own, and goes on."""
    activities = Activities(resisting={"reserve"})
    report, left = resolve(activities)
    assert (report.resolved, report.standing) == (False, ("reserve",))
    assert left == (STANDING[0],)
    assert activities.kinds()[-2:] == ["compensation.failed", "operation.still-stuck"]
    before = len(activities.ledger)
    activities.resisting.clear()
    report, left = resolve(activities, left, attempt=2)
    assert (report.resolved, left) == (True, ())
    assert activities.kinds()[before:] == [
        "compensation.intended",
        "compensation.done",
        "operation.resolved",
    ]


def test_accept_calls_nothing() -> None:
    """A person's word closes the operation, and the ledger keeps what that word is about."""
    activities = Activities(resisting={"reserve", "book"})
    report, _ = resolve(activities, mode=ResolutionMode.accept)
    assert (report.resolved, report.standing) == (True, ("reserve", "book"))
    assert activities.asked == []
    (event,) = activities.ledger.values()
    assert event.kind is Kind.operation_resolved
    assert event.detail["standing"] == ["reserve", "book"]


def test_a_reason_is_bounded() -> None:
    """What an operator types is recorded as typed, but printable and at most 200 characters."""
    assert bounded("refunded by hand, see case 7") == "refunded by hand, see case 7"
    assert bounded("a\x1b[31m\nb") == "a [31m b"
    assert len(bounded("x" * 500)) == 200


def test_resolutions_are_numbered_from_one() -> None:
    """A number below 1 would take the operation's own event ids."""
    with pytest.raises(ValueError, match="numbered from 1"):
        resolve(Activities(), attempt=0)
