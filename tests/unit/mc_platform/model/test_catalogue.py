"""The catalogue's actions and operations: groups, deadlines, retries, and every problem at once."""

from __future__ import annotations

from typing import Any

import pytest

from mc_contract.configuration import FileProblems
from mc_platform.model.catalogue import Retries, parse_catalogue
from mc_platform.model.ids import TenantId
from mc_platform.model.operation import plan_as_json, plan_from


def raw(steps: Any, *, actions: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "agents": {"agent": {"url": "http://a/", "residency": "eu"}},
        "actions": {name: {"entry_point": "mc.refuse"} for name in "abcd"} | (actions or {}),
        "operations": {"op": {"agent": "agent", "steps": steps, "autonomy_tier": 1} | changes},
    }


def problems_of(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(FileProblems) as caught:
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
    group = "must be a list (each a word of letters, digits, . _ : or -) of 1 to 8"
    assert problems_of(raw(steps, deadline_s=0)) == [
        f"operations.op.steps[1] is a list of 0, {group}",
        "operations.op.steps[2][1] is a list of 1, must be a word of letters, digits, . _ : or -",
        "operations.op.steps[3][0]: unknown 'nobody'; known: a, b, c, d",
        f"operations.op.steps[4] is 7, {group}",
        f"operations.op.steps[5] is a list of 9, {group}",
        "operations.op.deadline_s is 0, must be a number above 0 and at most 604800",
    ]


@pytest.mark.parametrize(("steps", "value"), [([], "a list of 0"), ("ab", '"ab"')])
def test_steps_are_a_list(steps: Any, value: str) -> None:
    """No steps, or a text of them, is no plan."""
    [problem] = problems_of(raw(steps))
    assert problem.startswith(f"operations.op.steps is {value}, must be a list (each a list")


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
        "actions.a.timeout_s is inf, must be a number above 0 and at most 3600",
        "actions.a.retries.attempts is true, must be a whole number from 1 to 20",
        "actions.a.retries.first_wait_s is -1, must be a number above 0 and at most 300",
        "actions.a.retries.pause is unknown; known: attempts, first_wait_s, longest_wait_s",
        "actions.a.undo_retries: first_wait_s is above longest_wait_s",
        "actions.b.do.url is missing, must be a URL: http(s)://host...",
        "actions.b: `undo` is missing: every step has a compensation",
        "actions.b.timeout_s: belongs to an `entry_point`; HTTP calls have it in `do` and `undo`",
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
                "retention_days": 15,
                "redaction": "pseudonym",
            }
        }
    }
    [tenant] = parse_catalogue(document).tenants.values()
    assert tenant.customer_ids == (r"AC-\d{5}",)
    assert tenant.hosts == {"shop.example"}
    assert tenant.outbound == {"support": {"personal"}}
    assert (tenant.operations_per_hour, tenant.tainted_tier) == (5, 1)
    assert tenant.retention_days == 15
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
        "tenants.T.residency is missing, must be a word of letters, digits, . _ : or -",
        'tenants.T.customer_ids is "AC", must be a list (each text)',
        'tenants.T.redaction is "none", must be placeholder or pseudonym',
        (
            "tenants.T.outbound.support[0]: unknown 'credential';"
            " known: financial, personal, special, tenant"
        ),
        "tenants.T.operations_per_hour is -1, must be a whole number from 0 to 1000000",
        "tenants.T.tainted_operations[0]: unknown 'nothing'; known: op",
    ]


@pytest.mark.parametrize("days", [14, 3651, "90", True, 90.0])
def test_days_of_retention_are_a_whole_number_within_bounds(days: object) -> None:
    """Shorter than a quotation is known it cannot be: what is quoted would have no task."""
    document = raw(["a"]) | {"tenants": {"T": TENANT | {"retention_days": days}}}
    [problem] = problems_of(document)
    assert problem.startswith("tenants.T.retention_days is ")
    assert "a whole number from 15 to 3650" in problem


def test_a_tenant_waits_for_the_peer_only_if_it_says_so() -> None:
    """And what it does when the peer is away belongs to one that waits."""
    table = {"replication": "sync", "peer_away": "degrade"}
    tenants = {"A": TENANT, "B": TENANT | table}
    read = parse_catalogue(raw(["a"]) | {"tenants": tenants}).tenants
    assert (read[TenantId("A")].replication, read[TenantId("A")].peer_away) == ("async", "refuse")
    assert (read[TenantId("B")].replication, read[TenantId("B")].peer_away) == ("sync", "degrade")
    for wrong in ({"replication": "semi"}, {"replication": "sync", "peer_away": "wait"}):
        with pytest.raises(FileProblems, match="must be"):
            parse_catalogue(raw(["a"]) | {"tenants": {"T": TENANT | wrong}})
    with pytest.raises(FileProblems, match="nothing else waits"):
        parse_catalogue(raw(["a"]) | {"tenants": {"T": TENANT | {"peer_away": "degrade"}}})


def test_an_agent_is_sent_what_it_accepts() -> None:
    """Special categories and credentials only where they are declared."""
    document = raw(["a"])
    document["agents"]["plain"] = {"url": "http://a", "residency": "eu"}
    document["agents"]["care"] = {"url": "http://a", "residency": "eu", "accepts": ["special"]}
    agents = {str(name): agent for name, agent in parse_catalogue(document).agents.items()}
    assert agents["plain"].accepts == {"personal", "financial", "tenant", "file", "sign"}
    assert agents["care"].accepts == {"special", "sign"}


TENANT = {"residency": "eu", "purposes": ["support"], "agents": []}
AGENT = {"url": "http://a/", "residency": "eu"}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"tenant": {"Z": TENANT}}, "tenant is unknown; did you mean tenants?"),
        (
            {"tenants": {"T": TENANT | {"operations_per_hours": 5}}},
            "tenants.T.operations_per_hours is unknown; did you mean operations_per_hour?",
        ),
        (
            {"tenants": {"T": TENANT | {"purposes": "support"}}},
            'tenants.T.purposes is "support", must be a list',
        ),
        (
            {"tenants": {"T": TENANT | {"generally_available": "false"}}},
            'tenants.T.generally_available is "false", must be true or false',
        ),
        (
            {"tenants": {"T": TENANT | {"generally_available": 0}}},
            "tenants.T.generally_available is 0, must be true or false",
        ),
        *[
            (
                {"tenants": {"T": TENANT | {key: tier}}},
                f"tenants.T.{key} is {tier}, must be a whole number from 0 to 3",
            )
            for key in ("autonomy_tier", "tainted_tier")
            for tier in (99, 2.9, -3, 2.0)
        ],
        ({"tenants": {"": TENANT}}, 'tenants."" is "", must be a word'),
        ({"tenants": {"T": 3}}, "tenants.T is 3, must be a table"),
        ({"tenants": [TENANT]}, "tenants is a list of 1, must be a table"),
        (
            {"tenants": {"T": TENANT | {"agents": ["recrods"]}}, "agents": {"records": AGENT}},
            "tenants.T.agents[0]: unknown 'recrods'; did you mean records?",
        ),
        (
            {"agents": {"a": AGENT | {"accept": []}}},
            "agents.a.accept is unknown; did you mean accepts?",
        ),
        ({"agents": {"a": AGENT | {"url": 7}}}, "agents.a.url is 7, must be a URL"),
        ({"agents": {"a": {"residency": "eu"}}}, "agents.a: needs either `url`"),
        ({"agents": {"a": AGENT | {"agent": "python:m:f"}}}, "agents.a: needs either `url`"),
        *[
            (
                {"agents": {"a": {"residency": "eu", "agent": named}}},
                f"agents.a.agent is {shown}, must be python:module:callable",
            )
            for named, shown in (
                (7, "7"),
                ("", '""'),
                ("shop:answer", '"shop:answer"'),
                ("python:shop", '"python:shop"'),
                ("python:shop:answer:more", '"python:shop:answer:more"'),
                ("python:shop:answer()", '"python:shop:answer()"'),
                ("python:../shop:answer", '"python:../shop:answer"'),
                ("python:.shop:answer", '"python:.shop:answer"'),
                ("python:shop:answer\n", r'"python:shop:answer\n"'),
                ("http://a/", '"http://a/"'),
            )
        ],
        *[
            (
                {"agents": {"a": AGENT | {"url": url}}},
                f'agents.a.url is "{shown}", must be a URL',
            )
            for url, shown in (
                ("records", "records"),
                ("ftp://host/", "ftp://host/"),
                ("http://", "http://"),
                ("http://me:geheim@h:x/", "http://***@h:x/"),
            )
        ],
        *[
            (
                {"agents": {"a": AGENT | {"timeout_s": value}}},
                f"agents.a.timeout_s is {shown}, must be a number above 0 and at most 3600",
            )
            for value, shown in (
                (float("nan"), "nan"),
                (float("inf"), "inf"),
                (0, "0"),
                ("30", '"30"'),
                (True, "true"),
                (10**400, "a number of more than 30 digits"),
            )
        ],
    ],
)
def test_what_is_no_catalogue_is_refused(document: dict[str, Any], problem: str) -> None:
    """Unknown keys and tables, texts for lists and switches, tiers that are none, NaN."""
    [told] = problems_of(document)
    assert told.startswith(problem)


def test_a_problem_shows_what_the_file_has() -> None:
    """Not what a placeholder is filled with: that may be a secret."""
    document = {"agents": {"a": AGENT | {"url": "geheim"}}}
    shown = {"agents": {"a": AGENT | {"url": "${MC_URL}"}}}
    with pytest.raises(FileProblems) as caught:
        parse_catalogue(document, shown=shown)
    assert str(caught.value) == ('agents.a.url is "${MC_URL}", must be a URL: http(s)://host...')


def test_an_agent_in_the_gateway_is_named_by_its_callable() -> None:
    document = raw(["a"])
    document["agents"]["agent"] = {"agent": "python:shop.agents:Shop.answer", "residency": "eu"}
    assert parse_catalogue(document).agents["agent"].url == "python:shop.agents:Shop.answer"
