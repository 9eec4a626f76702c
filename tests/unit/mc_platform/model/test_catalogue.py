"""The catalogue's actions and operations: groups, deadlines, retries, and every problem at once."""

from __future__ import annotations

from typing import Any

import pytest

from mc_platform.model.catalogue import CatalogueProblems, Retries, parse_catalogue
from mc_platform.model.operation import plan_as_json, plan_from


def raw(steps: Any, *, actions: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "agents": {"agent": {"url": "http://a/", "residency": "eu"}},
        "actions": {name: {"entry_point": "mc.refuse"} for name in "abcd"} | (actions or {}),
        "operations": {"op": {"agent": "agent", "steps": steps, "autonomy_tier": 1} | changes},
    }


def problems_of(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(CatalogueProblems) as caught:
        parse_catalogue(raw)
    return caught.value.problems


def test_a_plan_may_hold_groups() -> None:
    """A list within the steps is a group; `steps` is the plan laid flat; 300 s are its time."""
    operation = parse_catalogue(raw(["a", ["b", "c"], "d"])).operations["op"]
    assert operation.plan == (("a",), ("b", "c"), ("d",))
    assert operation.steps == ("a", "b", "c", "d")
    assert operation.deadline_s == 300


def test_a_plan_travels_as_json() -> None:
    """A plan comes back from JSON as it was, and a flat list is a plan without groups."""
    plan = parse_catalogue(raw(["a", ["b", "c"], "d"])).operations["op"].plan
    assert plan_as_json(plan) == ["a", ["b", "c"], "d"]
    assert plan_from(plan_as_json(plan)) == plan
    assert plan_from(["a", "b"]) == (("a",), ("b",))


def test_every_problem_of_a_plan_is_told() -> None:
    """Nested and empty groups, too large ones, unknown actions and a bad deadline: all at once."""
    steps = ["a", [], ["b", ["c"]], ["nobody"], 7, ["a"] * 9]
    assert problems_of(raw(steps, deadline_s=0)) == [
        "operations.op: steps[1] is an empty group",
        "operations.op: steps[2] holds a group within a group",
        "operations.op: unknown action 'nobody'",
        "operations.op: steps[4] is neither an action nor a list of actions",
        "operations.op: steps[5] has 9 actions, at most 8 at once",
        "operations.op: deadline_s is 0, must be above 0 and at most 604800",
    ]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [([], "operations.op: no steps"), ("ab", "operations.op: steps must be a list, got str")],
)
def test_steps_are_a_list(steps: Any, problem: str) -> None:
    """No steps, or a text of them, is no plan."""
    assert problems_of(raw(steps)) == [problem]


def test_an_action_may_say_how_it_is_retried() -> None:
    """What a retry table leaves out has the usual value, which differs for compensations."""
    declared = {
        "entry_point": "mc.refuse",
        "timeout_s": 2,
        "retries": {"attempts": 2, "first_wait_s": 0.5, "longest_wait_s": 1},
        "undo_retries": {"longest_wait_s": 30.0},
    }
    actions = parse_catalogue(raw(["a"], actions={"a": declared})).actions
    spec = next(spec for name, spec in actions.items() if name == "a")
    assert spec.timeout_s == 2
    assert spec.retries == Retries(2, 0.5, 1.0)
    assert spec.undo_retries == Retries(6, 0.2, 30.0)


def test_every_problem_of_an_action_is_told() -> None:
    """Times and counts out of their bounds, and keys that mean nothing: all at once."""
    declared = {
        "entry_point": "mc.refuse",
        "timeout_s": float("inf"),
        "retries": {"attempts": True, "first_wait_s": -1, "pause": 3},
        "undo_retries": {"first_wait_s": 9.0, "longest_wait_s": 2.0},
    }
    assert problems_of(raw(["a"], actions={"a": declared, "b": {"do": {}, "timeout_s": 1}})) == [
        "actions.a: timeout_s is inf, must be above 0 and at most 3600",
        "actions.a: retries: unknown key 'pause'; known: attempts, first_wait_s, longest_wait_s",
        "actions.a: retries.attempts is True, must be a whole number from 1 to 20",
        "actions.a: retries.first_wait_s is -1, must be above 0 and at most 300",
        "actions.a: undo_retries.first_wait_s is above undo_retries.longest_wait_s",
        "actions.b: key 'url' is missing",
        "actions.b: `undo` is missing: every step has a compensation",
        "actions.b: timeout_s belongs to an `entry_point`; HTTP calls have it in `do` and `undo`",
    ]


def test_a_tenant_declares_what_is_its_own() -> None:
    """Patterns, words, hosts, budget and what taint leaves it."""
    document = raw(["a"]) | {
        "tenants": {
            "T": {
                "residency": "eu",
                "purposes": ["support"],
                "agents": [],
                "customer_ids": [r"AC-\d{5}"],
                "hosts": ["Shop.Example"],
                "outbound": {"support": ["personal"]},
                "operations_per_hour": 5,
                "tainted_operations": ["op"],
                "tainted_tier": 1,
                "redaction": "pseudonym",
            }
        }
    }
    [tenant] = parse_catalogue(document).tenants.values()
    assert tenant.customer_ids == (r"AC-\d{5}",)
    assert tenant.hosts == {"shop.example"}
    assert tenant.outbound == {"support": {"personal"}}
    assert (tenant.operations_per_hour, tenant.tainted_tier) == (5, 1)
    assert tenant.tainted_operations == {"op"}
    assert tenant.redaction == "pseudonym"


def test_every_problem_of_a_tenant_is_told() -> None:
    """Also that credentials can never be declared to leave."""
    document = raw(["a"]) | {
        "tenants": {
            "T": {
                "purposes": ["support"],
                "agents": [],
                "customer_ids": "AC",
                "outbound": {"support": ["credential"]},
                "operations_per_hour": -1,
                "tainted_operations": ["nothing"],
                "redaction": "none",
            }
        }
    }
    assert problems_of(document) == [
        "tenants.T: key 'residency' is missing",
        "tenants.T: customer_ids must be a list of words",
        "tenants.T: redaction is 'none', must be placeholder or pseudonym",
        (
            "tenants.T: outbound.support: unknown 'credential';"
            " known: financial, personal, special, tenant"
        ),
        "tenants.T: operations_per_hour is -1, must be a whole number from 0 to 1000000",
        "tenants.T: tainted_operations: unknown 'nothing'; known: op",
    ]


def test_an_agent_is_sent_what_it_accepts() -> None:
    """Special categories and credentials only where they are declared."""
    document = raw(["a"])
    document["agents"]["plain"] = {"url": "http://a", "residency": "eu"}
    document["agents"]["care"] = {"url": "http://a", "residency": "eu", "accepts": ["special"]}
    agents = {str(name): agent for name, agent in parse_catalogue(document).agents.items()}
    assert agents["plain"].accepts == {"personal", "financial", "tenant", "file", "sign"}
    assert agents["care"].accepts == {"special", "sign"}
