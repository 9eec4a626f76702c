"""What a red-team's report says of the replicas behind its target."""

from __future__ import annotations

import pytest

from mc_contract.running import FACTS
from mc_ops.redteam import Result, Size, report

Facts = dict[str, str | None]


def replica(name: str, **more: str) -> Facts:
    return {**dict.fromkeys(FACTS, "same"), "replica": name, "instance": name, **more}


ONE, TWO, OTHER = replica("one"), replica("two"), replica("three", policy_set="other")


@pytest.mark.parametrize(
    ("before", "after", "problems", "policy_set"),
    [
        ([ONE, TWO], [TWO, ONE, replica("three")], [], "same"),
        ([ONE, TWO], [OTHER], ["the policy set was changed during the run"], "other"),
        ([ONE, OTHER], [OTHER, ONE], ["the policy set is not the same in all replicas"], None),
    ],
)
def test_replicas_behind_a_service_must_run_one_release(
    before: list[Facts], after: list[Facts], problems: list[str], policy_set: str | None
) -> None:
    """More of the same are no change; what differs leaves no verdict."""
    told = report(Result([], []), Size(seed=1), "http://service", (before, after))
    assert told["problems"] == problems
    assert told["policy_set"] == policy_set
    assert told["running"] == {"at_start": {"target": before}, "at_end": {"target": after}}


def test_one_address_is_asked_itself() -> None:
    """Of a target elsewhere it is known what it tells strangers."""
    health = {"version": "1.2", "policy_set": "p"}
    told = report(Result([], [], health=(health, health)), Size(seed=1), "http://elsewhere")
    [one] = told["running"]["at_end"]["target"]
    assert (one["version"], one["code"], told["policy_set"]) == ("1.2", None, "p")
