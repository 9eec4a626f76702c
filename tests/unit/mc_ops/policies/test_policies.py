"""Bringing a set into force on replicas that may refuse it, and finding recorded decisions."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mc_ops.environments.interface import Colour, Instance
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.policies import PolicyHealth, apply_set, ask_service, find_decision, roll_back

BLUE = Instance("blue-1", Colour.blue, "http://127.0.0.1:1")
GREEN = Instance("green-1", Colour.green, "http://127.0.0.1:2")


@dataclass
class FakePlatform:
    """Two replicas that look at one place; `slow` looks pass before one takes what is there."""

    refuses: bool = False
    slow: int = 0
    place: list[str] = field(default_factory=lambda: ["before", "older"])
    replicas: list[Instance] = field(default_factory=lambda: [BLUE, GREEN])
    now: float = 0.0

    def install(self, source: Path) -> None:
        self.place.insert(0, source.name)

    def undo(self) -> None:
        self.place.pop(0)

    def restore(self, digest: str) -> None:
        self.place.insert(0, digest)

    def instances(self) -> list[Instance]:
        return self.replicas

    def health(self, instance: Instance) -> PolicyHealth:
        self.slow -= 1
        if self.refuses and instance is GREEN:
            return PolicyHealth("before", {"digest": self.place[0], "reason": "its table fails"})
        return PolicyHealth("before" if self.slow >= 0 else self.place[0], None)

    def pause(self, seconds: float) -> None:
        self.now += seconds


def _apply(platform: FakePlatform) -> tuple[str, ...]:
    return apply_set(
        platform,
        Path("new"),
        "new",
        timeout_s=10.0,
        health=platform.health,
        pause=platform.pause,
        clock=lambda: platform.now,
    ).replicas


def test_a_set_is_applied_when_every_replica_has_it() -> None:
    """However long the slower one takes, within the time."""
    platform = FakePlatform(slow=9)
    assert _apply(platform) == ("blue-1", "green-1")
    assert platform.place[0] == "new"


def test_a_refused_set_is_undone() -> None:
    """One replica that refuses is enough; nothing is left of the set."""
    platform = FakePlatform(refuses=True)
    with pytest.raises(Finding, match="green-1 refuses the set: its table fails"):
        _apply(platform)
    assert platform.place == ["before", "older"]


def test_a_set_that_is_not_taken_in_time_is_undone() -> None:
    """A replica that does not say that it has it does not have it."""
    platform = FakePlatform(slow=10_000)
    with pytest.raises(CouldNotTell, match="did not activate the set within 10 s"):
        _apply(platform)
    assert platform.place == ["before", "older"]


def test_a_platform_that_is_down_begins_with_it() -> None:
    """Nobody has to be waited for."""
    assert _apply(FakePlatform(replicas=[])) == ()


def test_rolling_back_waits_for_every_replica() -> None:
    """As applying does."""
    platform = FakePlatform()
    done = roll_back(platform, "older", timeout_s=1.0, health=platform.health, pause=platform.pause)
    assert done.digest == "older"
    assert platform.place[0] == "older"


def test_a_set_that_is_refused_on_the_way_back_is_undone_too() -> None:
    """Else no replica would have what stands there, and none could start with it."""
    platform = FakePlatform(refuses=True)
    with pytest.raises(Finding, match="green-1 refuses the set") as told:
        roll_back(platform, "older", timeout_s=1.0, health=platform.health, pause=platform.pause)
    assert "the set before is in place again" in told.value.hint
    assert platform.place == ["before", "older"]


def test_an_interrupted_apply_is_undone() -> None:
    """Whoever stops waiting leaves no set in force that was never said to be."""
    platform = FakePlatform(slow=9)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_set(
            platform,
            Path("new"),
            "new",
            timeout_s=10.0,
            health=platform.health,
            pause=interrupt,
        )
    assert platform.place == ["before", "older"]


def _event(decision: str, kind: str = "request.refused") -> dict[str, object]:
    detail = {"decision": decision, "policies": ["a"], "policy_set": "d", "reason": "r"}
    return {
        "id": f"e-{decision}",
        "kind": kind,
        "tenant": "T",
        "occurred_at": "2026-01-02T03:04:05+00:00",
        "detail": detail | {"asked": {"action": "Enact"}},
    }


def test_a_decision_is_found_among_other_leaves() -> None:
    """By its own field: an id that another event only mentions is not it."""
    mentions = json.dumps({"detail": {"note": "dec_1"}}).encode()
    leaves = [b"no json dec_1", mentions, _event("dec_2"), json.dumps(_event("dec_1")).encode()]
    found = find_decision("dec_1", leaves)
    assert found is not None
    assert (found.event, found.allowed, found.policies) == ("e-dec_1", False, ("a",))
    assert found.asked == {"action": "Enact"}
    halted = _event("dec_3")
    halted["detail"] = {**halted["detail"], "allowed": True}  # type: ignore[dict-item]
    found = find_decision("dec_3", [halted])  # refused, and not by policy
    assert found is not None
    assert found.allowed
    released = find_decision("dec_2", [_event("dec_2", "reply.released")])
    assert released is not None
    assert released.allowed
    assert find_decision("dec_9", leaves) is None


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("import sys; sys.exit('boom')", CouldNotTell, "the policy command failed: boom"),
        ("print('no json')", CouldNotTell, "the policy command failed"),
        (
            "import sys; sys.stderr.write('error: no set\\n  -> name one\\n'); sys.exit(2)",
            UnusableInput,
            "no set",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            UnusableInput,
            "crashed on the set",
        ),
    ],
)
def test_a_command_that_fails_is_no_report(
    script: str, error: type[Exception], message: str
) -> None:
    """An answer that cannot be read is neither `holds` nor a finding."""
    with pytest.raises(error, match=message):
        ask_service(["check"], service=(sys.executable, "-c", script))
