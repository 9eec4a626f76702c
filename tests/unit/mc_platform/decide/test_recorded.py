"""A recorded question can be asked again, and holds no content."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.decide import NotRestorable, record_question, restore_question
from mc_platform.model.catalogue import Catalogue, parse_catalogue
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.label import CLASSES
from mc_platform.model.tenant import Principal, Role
from mc_platform.model.verdict import Action, Question

HTTP = {"method": "POST", "url": "http://x"}
CATALOGUE: Catalogue = parse_catalogue(
    {
        "tenants": {
            "T1": {
                "residency": "eu",
                "purposes": ["support"],
                "agents": ["records"],
                "autonomy_tier": 2,
                "outbound": {"support": ["personal"]},
            },
        },
        "agents": {"records": {"url": "http://x", "residency": "eu", "purposes": ["support"]}},
        "actions": {"ship": {"do": HTTP, "undo": HTTP}},
        "operations": {
            "order": {"agent": "records", "steps": ["ship"], "autonomy_tier": 1, "purposes": ["x"]}
        },
    }
)
T1 = CATALOGUE.tenants[TenantId("T1")]
AGENT = CATALOGUE.agents["records"]
SEND = Question(
    principal=Principal(PrincipalId("bot"), T1.id, ""),
    tenant=T1,
    action=Action.send_message,
    resource_type="Agent",
    resource_id="records",
    resource_purposes=AGENT.purposes,
    resource_residency="eu",
    resource_accepts=AGENT.accepts,
    purpose="support",
)
ORDER = replace(
    SEND,
    action=Action.enact,
    resource_type="Operation",
    resource_id="order",
    resource_agent="records",
    resource_tier=1,
    resource_purposes=frozenset({"x"}),
)
TASK = replace(
    SEND,
    action=Action.read_task,
    resource_type="Task",
    resource_id="t-1",
    resource_tenant="T1",
    resource_purposes=frozenset(),
    resource_residency="",
    resource_accepts=frozenset(),
)
questions = st.builds(
    lambda question, role, **circumstances: replace(
        question, principal=replace(question.principal, role=role), **circumstances
    ),
    st.sampled_from([SEND, ORDER, TASK]),
    st.sampled_from([str(role) for role in Role]),
    purpose=st.sampled_from(["", "support", "undeclared"]),
    residency=st.sampled_from(["", "eu"]),
    labels=st.frozensets(st.sampled_from(sorted(CLASSES))),
    classes=st.frozensets(st.sampled_from(sorted(set(CLASSES.values())))),
    redacted=st.booleans(),
    tainted=st.booleans(),
    origins=st.frozensets(st.sampled_from(["document", "agent-reply"])),
    named=st.booleans(),
    tier_ceiling=st.integers(0, 3),
    operations_this_hour=st.integers(0, 10**6),
    break_glass=st.booleans(),
)


@given(questions)
def test_a_recorded_question_is_asked_again_as_it_was(question: Question) -> None:
    """Through JSON and back nothing is lost that policy can see."""
    recorded = json.loads(json.dumps(record_question(question)))
    assert restore_question(recorded, CATALOGUE) == question


def test_what_is_as_usual_is_left_out() -> None:
    """The ledger keeps one of these for every decision."""
    assert record_question(SEND) == {
        "principal": "bot",
        "tenant": "T1",
        "action": "SendMessage",
        "resource": {"type": "Agent", "id": "records"},
        "purpose": "support",
    }


def test_a_restored_question_is_about_todays_catalogue() -> None:
    """What the catalogue declares is looked up, not recorded."""
    richer = replace(T1, autonomy_tier=3)
    changed = replace(CATALOGUE, tenants={T1.id: richer})
    assert restore_question(record_question(SEND), changed).tenant == richer


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tenant": "T9"}, "no tenant 'T9'"),
        ({"resource": {"type": "Agent", "id": "gone"}}, "no agent 'gone'"),
        ({"resource": {"type": "Operation", "id": "gone"}}, "no operation 'gone'"),
        ({"resource": {"type": "Printer", "id": "x"}}, "unknown resource type 'Printer'"),
        ({"resource": "records"}, "no recorded question"),
        ({"action": "Fly"}, "no recorded question"),
        ({"labels": "email"}, "labels of the recorded question must be a list of words"),
        ({"tainted": 1}, "tainted of the recorded question must be bool"),
        ({"tier_ceiling": True}, "tier_ceiling of the recorded question must be int"),
        ({"moon": "full"}, "unknown key 'moon'"),
    ],
)
def test_what_cannot_be_asked_again_says_why(changed: dict[str, Any], reason: str) -> None:
    """A question that would be another one is not asked."""
    with pytest.raises(NotRestorable, match=reason):
        restore_question({**record_question(SEND), **changed}, CATALOGUE)
