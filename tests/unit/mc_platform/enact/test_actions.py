"""The registry of actions, and single calls against a real HTTP receiver."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import EntryPoint, EntryPoints
from types import MappingProxyType
from typing import Any

import pytest

from mc_platform.adapters.http import BlockingLanes
from mc_platform.enact import actions as registry_module
from mc_platform.enact.actions import ActionRegistry, TimedAction
from mc_platform.enact.calls import Called, Effect, RetryPolicy, StepFailed, at_once
from mc_platform.enact.http_actions import effect_key_of
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import ActionSpec, Catalogue, HttpCall, Retries
from mc_platform.model.ids import ActionName

STOCK = "/stock/reservations"
NAME = ActionName("act")


@pytest.fixture
def client() -> Iterator[BlockingLanes]:
    made = BlockingLanes()
    yield made
    made.close()


@pytest.fixture
def waits() -> list[float]:
    return []


def spec(url: str, *, do: Mapping[str, Any] | None = None, **changes: Any) -> ActionSpec:
    undo = HttpCall("POST", f"{url}{STOCK}/cancel", {"effect_key": "{effect_key}"})
    return ActionSpec(NAME, HttpCall("POST", f"{url}{STOCK}", do or {}, **changes), undo)


def registry(client: BlockingLanes, *specs: ActionSpec, attempts: int = 3) -> ActionRegistry:
    policy = RetryPolicy(attempts=attempts)
    return ActionRegistry(
        {one.name: one for one in specs}, http=client, do_retries=policy, undo_retries=policy
    )


def test_catalogue_of_the_local_environment_binds(
    catalogue: Catalogue, client: BlockingLanes
) -> None:
    """The shipped catalogue has no problem."""
    ActionRegistry(catalogue.actions, http=client)
    assert {str(tenant) for tenant in catalogue.tenants} == {
        "TENANT_001",
        "TENANT_002",
        "TENANT_003",
        "CANARY",
        "PLATFORM",
    }


def test_registration_problems_are_told_at_once(client: BlockingLanes) -> None:
    """Every problem of every action is in one error."""
    wrong = HttpCall("POST", "http://h/", {"a": "{result.x}", "b": "{inptu.y}", "c": [math.nan]})
    specs = [
        ActionSpec(ActionName("one"), wrong, HttpCall("POST", "http://h/")),
        ActionSpec(ActionName("three"), None, None, entry_point="nobody.offers"),
    ]
    with pytest.raises(Misconfigured) as caught:
        registry(client, *specs)
    for told in (
        "actions.one: do: template {result.x} has a meaning in `undo` only",
        "{inptu.y}",
        "do: body.c[0] is a number outside a double's range",
        "actions.three: no installed package offers entry point 'nobody.offers'",
    ):
        assert told in caught.value.message


def test_success_carries_the_result(
    receiver: Any, client: BlockingLanes, waits: list[float]
) -> None:
    """A success gives the reply's object, and the key is on the call."""
    called = registry(client, spec(receiver.url)).do(NAME, {}, "op:0:do", waits.append, tenant="T")
    assert called == Called(
        ok=True, attempts=1, effect=Effect.landed, result={"reservation_id": "id-1"}
    )
    assert receiver.calls == [(STOCK, "op:0:do", {})]


@pytest.mark.parametrize(
    ("script", "attempts", "effect", "reason"),
    [
        ([409], 1, Effect.none, "refused (409)"),
        ([301], 1, Effect.none, "redirected (301)"),
        ([302], 1, Effect.unknown, "redirected (302)"),
        ([303], 1, Effect.unknown, "redirected (303)"),
        ([308], 1, Effect.none, "redirected (308)"),
        ([429, 425, 429], 3, Effect.none, "not now (429)"),
        ([408, 400], 2, Effect.unknown, "refused (400)"),
        ([503, 409], 2, Effect.unknown, "refused (409)"),
        ([500, 502, 503], 3, Effect.unknown, "unavailable (503)"),
    ],
)
def test_failure_tells_what_is_known_of_the_effect(
    receiver: Any,
    client: BlockingLanes,
    waits: list[float],
    script: list[int],
    attempts: int,
    effect: Effect,
    reason: str,
) -> None:
    """Permanent failures end at once; once an attempt may have landed, it stays uncertain."""
    receiver.script[STOCK] = script
    called = registry(client, spec(receiver.url)).do(NAME, {}, "op:0:do", waits.append, tenant="T")
    assert called == Called(ok=False, attempts=attempts, effect=effect, reason=reason)
    assert len(waits) == attempts - 1


def test_waits_grow_and_stay_bounded() -> None:
    """Waits double with jitter, honour `Retry-After`, and never exceed the longest."""
    policy = RetryPolicy(first_wait_s=0.2, longest_wait_s=5.0)
    assert policy.wait_s(1, 0, 0) == pytest.approx(0.1)
    assert policy.wait_s(3, 0, 0.5) == pytest.approx(0.6)
    assert policy.wait_s(1, 2, 0) == 2
    assert policy.wait_s(1, 3600, 0) == 5
    assert policy.wait_s(30, 0, 0) == 5


def test_unreachable_receiver_has_no_effect(
    client: BlockingLanes, waits: list[float], dead_port: int
) -> None:
    """A connection that was never made cannot have had an effect."""
    url = f"http://127.0.0.1:{dead_port}"
    called = registry(client, spec(url)).do(NAME, {}, "op:0:do", waits.append, tenant="T")
    assert called == Called(ok=False, attempts=3, effect=Effect.none, reason="unreachable")


def test_timeout_leaves_the_effect_uncertain(
    receiver: Any, client: BlockingLanes, waits: list[float], gate: Any
) -> None:
    """A reply that does not come in time may belong to an effect that happened."""
    receiver.gates[STOCK] = gate()
    called = registry(client, spec(receiver.url, timeout_s=0.2), attempts=1).do(
        NAME, {}, "op:0:do", waits.append, tenant="T"
    )
    assert called == Called(ok=False, attempts=1, effect=Effect.unknown, reason="timed out")


def test_undo_of_uncertain_effect_takes_gone_for_done(
    receiver: Any, client: BlockingLanes, waits: list[float]
) -> None:
    """404 means nothing to undo if the effect is uncertain, and failure if it is certain."""
    acts = registry(client, spec(receiver.url), attempts=1)
    called = acts.undo(NAME, {}, None, "op:0:undo", waits.append, tenant="T")
    assert (called.ok, called.reason) == (True, "nothing to undo")
    assert receiver.calls[0][2] == {"effect_key": "op:0:do"}
    called = acts.undo(NAME, {}, {}, "op:0:undo", waits.append, tenant="T")
    assert (called.ok, called.reason) == (False, "refused (404)")


def test_absent_value_fails_without_a_call(
    receiver: Any, client: BlockingLanes, waits: list[float]
) -> None:
    """A call that cannot be written is not made."""
    called = registry(client, spec(receiver.url, do={"a": "to {input.who}"})).do(
        NAME, {}, "op:0:do", waits.append, tenant="T"
    )
    assert called.reason == "a value that the call needs is absent"
    assert receiver.calls == []


def test_a_call_that_is_too_large_is_not_made(
    receiver: Any, client: BlockingLanes, waits: list[float]
) -> None:
    """A template that repeats the input many times is bounded, and the receiver is not blamed."""
    do = {str(number): "{input.text}" for number in range(50)}
    called = registry(client, spec(receiver.url, do=do)).do(
        NAME, {"text": "x" * 100_000}, "op:0:do", waits.append, tenant="T"
    )
    assert (called.ok, called.reason, called.effect) == (
        False,
        "the call is too large",
        Effect.none,
    )
    assert (receiver.calls, waits) == ([], [])


class Measure(float):
    """A number of a library's own, as NumPy's are."""


class Broken(dict[str, Any]):
    """An object that fails whoever reads it."""

    def items(self) -> Any:
        raise RuntimeError("alice@example.com")


ODD: dict[str, Any] = {
    "object": object(),
    "bytes": b"x",
    "set": {1},
    "measure": Measure(1.5),
    "proxy": MappingProxyType({"a": 1}),
    "broken": Broken(a=1),
    "time": datetime(2026, 1, 2, tzinfo=UTC),
    "key": {1: 2},
    "nan": math.nan,
    "long": 10**308,
    "deep": json.loads("[" * 29 + "]" * 29),
    "surrogate": "\ud800",
    "nul": "\0",
    "large": "x" * 65_536,
    "fine": (9007199254740993, 5.0, Decimal("0.12345678901234567890")),
}


class Greeter:
    """A Python action that does as its input says."""

    def do(self, input: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        if "raise" in input:
            raise RuntimeError(input["raise"])
        if "fail" in input:
            raise StepFailed(input["fail"])
        return {"key": key, **{name: ODD[value] for name, value in input.items()}}

    def undo(self, input: Mapping[str, Any], result: Mapping[str, Any] | None, key: str) -> None:
        assert effect_key_of(key) == "op:0:do"


@pytest.fixture
def greeter(monkeypatch: pytest.MonkeyPatch, client: BlockingLanes) -> ActionRegistry:
    """A registry with an installed entry point; the package metadata is what we cannot own."""
    point = EntryPoint("acme.greet", f"{__name__}:Greeter", "mc_platform.actions")
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Greeter)
    monkeypatch.setattr(registry_module, "entry_points", lambda **_: EntryPoints([point]))
    return registry(client, ActionSpec(NAME, None, None, entry_point="acme.greet"), attempts=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Called(ok=True, attempts=1, effect=Effect.landed, result={"key": "op:0:do"})),
        (
            {"raise": "jane@example.org"},
            Called(ok=False, attempts=2, effect=Effect.unknown, reason="error (runtimeerror)"),
        ),
        ({"fail": "sold out"}, Called(ok=False, attempts=1, effect=Effect.none, reason="sold out")),
        (
            {"fail": "mail jane@example.org!"},
            Called(ok=False, attempts=1, effect=Effect.none, reason="failed"),
        ),
    ],
)
def test_python_action_ends_as_it_says(
    greeter: ActionRegistry, waits: list[float], given: dict[str, Any], expected: Called
) -> None:
    """A Python action's failures are bounded: no message of its errors gets through."""
    assert greeter.do(NAME, given, "op:0:do", waits.append, tenant="T") == expected


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ("object", "result cannot be kept (not json)"),
        ("bytes", "result cannot be kept (not json)"),
        ("set", "result cannot be kept (not json)"),
        ("measure", "result cannot be kept (not json)"),
        ("proxy", "result cannot be kept (not json)"),
        ("broken", "result cannot be kept (not json)"),
        ("time", "result cannot be kept (not json)"),
        ("key", "result cannot be kept (key no text)"),
        ("nan", "result cannot be kept (number out of range)"),
        ("long", "result cannot be kept (number too long)"),
        ("deep", "result cannot be kept (nested too deep)"),
        ("surrogate", "result cannot be kept (half a surrogate pair)"),
        ("nul", "result cannot be kept (nul character)"),
        ("large", "result too large"),
    ],
)
def test_python_result_that_cannot_be_kept_is_the_actions_failure(
    greeter: ActionRegistry, waits: list[float], odd: str, reason: str
) -> None:
    """Nothing is coerced; the effect may have happened."""
    called = greeter.do(NAME, {"odd": odd}, "op:0:do", waits.append, tenant="T")
    assert called == Called(ok=False, attempts=1, effect=Effect.unknown, reason=reason)


def test_python_result_keeps_its_numbers(greeter: ActionRegistry, waits: list[float]) -> None:
    """As a list of JSON, copied."""
    called = greeter.do(NAME, {"odd": "fine"}, "op:0:do", waits.append, tenant="T")
    assert repr(called.result["odd"]) == repr(list(ODD["fine"]))


def test_python_action_is_undone(greeter: ActionRegistry, waits: list[float]) -> None:
    """The compensation gets its own key, from which the effect's key is known."""
    assert greeter.undo(NAME, {}, None, "op:0:undo", waits.append, tenant="T").ok is True


def test_an_action_has_retries_of_its_own(
    receiver: Any, client: BlockingLanes, waits: list[float]
) -> None:
    """What an action declares wins over the usual, for its effect and its compensation apart."""
    receiver.script[STOCK] = [503] * 9
    receiver.script[f"{STOCK}/cancel"] = [403] * 9
    declared = replace(
        spec(receiver.url),
        retries=Retries(2, 0.01, 0.01),
        undo_retries=Retries(5, 0.01, 0.01),
    )
    usual = RetryPolicy(attempts=1, permanent_too=True)
    acts = ActionRegistry({NAME: declared}, http=client, undo_retries=usual)
    assert acts.do(NAME, {}, "op:0:do", waits.append, tenant="T").attempts == 2
    assert acts.undo(NAME, {}, None, "op:0:undo", waits.append, tenant="T").attempts == 5
    assert max(waits) <= 0.01


def test_no_attempt_begins_after_the_deadline(receiver: Any, client: BlockingLanes) -> None:
    """Between two attempts the deadline is looked at, and no wait goes beyond it."""
    receiver.script[STOCK] = [503] * 9
    left_s = [0.08]
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        left_s[0] -= seconds

    called = registry(client, spec(receiver.url), attempts=9).do(
        NAME, {}, "op:0:do", wait, lambda: left_s[0], tenant="T"
    )
    assert (called.ok, called.late, called.attempts) == (False, True, 1)
    assert called.effect is Effect.unknown
    assert waits == [0.08]


def test_a_call_takes_no_longer_than_is_left(
    receiver: Any, client: BlockingLanes, waits: list[float], gate: Any
) -> None:
    """The call's own 10 s are cut to what is left until the deadline."""
    receiver.gates[STOCK] = gate()
    called = registry(client, spec(receiver.url, timeout_s=10.0), attempts=1).do(
        NAME, {}, "op:0:do", waits.append, lambda: -1.0, tenant="T"
    )
    assert (called.reason, called.effect) == ("timed out", Effect.unknown)


class Sleeper:
    """A Python action that takes its time, and says that it was interrupted by nobody."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.ended = threading.Event()

    def do(self, input: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        assert self.go.wait(20)
        self.ended.set()
        return {}

    def undo(self, input: Mapping[str, Any], result: Mapping[str, Any] | None, key: str) -> None:
        if "fail" in input:
            raise StepFailed("locked")


def test_python_action_that_takes_too_long_is_left_behind() -> None:
    """Its effect is uncertain, for it may yet come: the thread goes on."""
    sleeper = Sleeper()
    with pytest.raises(StepFailed) as caught:
        TimedAction(sleeper, 0.05).do({}, "op:0:do")
    assert caught.value.reason == "timed out"
    assert caught.value.retryable
    assert caught.value.effect_possible
    sleeper.go.set()
    assert sleeper.ended.wait(20)


def test_timed_action_answers_as_the_action_does() -> None:
    """Within its time an action's answers and failures pass through."""
    sleeper = Sleeper()
    sleeper.go.set()
    timed = TimedAction(sleeper, 20.0)
    assert timed.do({}, "op:0:do") == {}
    timed.undo({}, None, "op:0:undo")
    with pytest.raises(StepFailed, match="locked"):
        timed.undo({"fail": True}, None, "op:0:undo")


class Halt(BaseException):
    """An interruption."""


def test_calls_at_once_meet_and_keep_their_order() -> None:
    """All run at the same time, results are in order, and an interruption comes through."""
    meeting = threading.Barrier(8)

    def call(number: int) -> int:
        meeting.wait(20)
        return number

    assert at_once([lambda n=n: call(n) for n in range(8)]) == list(range(8))
    ended: list[int] = []

    def interrupt() -> None:
        raise Halt

    with pytest.raises(Halt):
        at_once([interrupt, lambda: ended.append(1)])
    assert ended == [1]
