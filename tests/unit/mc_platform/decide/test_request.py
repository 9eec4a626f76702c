"""A question in Cedar's terms, and the answer in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mc_platform.decide import (
    ContradictoryQuestion,
    context_key,
    describe_context,
    describe_request,
    describe_world,
    explain,
    world_key,
)
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question

QUESTION = Question(
    principal=Principal(PrincipalId("bot"), TenantId("TENANT_001"), "0" * 12),
    tenant=Tenant(
        id=TenantId("TENANT_001"),
        residency="eu",
        purposes=frozenset({"support"}),
        agents=frozenset({AgentName("records")}),
        autonomy_tier=1,
    ),
    action=Action.send_message,
    resource_type="Agent",
    resource_id="records",
    resource_residency="eu",
    purpose="marketing",
)


def test_request_carries_circumstances_as_context() -> None:
    """Purpose, residency, labels and redaction reach the policies."""
    question = replace(QUESTION, labels=frozenset({"phone", "email"}), redacted=True)
    assert describe_request(question)["context"] == {
        "purpose": "marketing",
        "residency": "",
        "labels": ["email", "phone"],
        "classes": [],
        "redacted": True,
        "tainted": False,
        "origins": [],
        "named": True,
        "tier_ceiling": 3,
        "operations_this_hour": 0,
        "break_glass": False,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"purpose": "support"},
        {"residency": "eu"},
        {"labels": frozenset({"email"})},
        {"classes": frozenset({"personal"})},
        {"redacted": True},
        {"tainted": True},
        {"origins": frozenset({"document"})},
        {"named": False},
        {"tier_ceiling": 2},
        {"operations_this_hour": 1},
        {"break_glass": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_circumstance_is_described_and_told_apart(changed: dict[str, Any]) -> None:
    """What policy can see is in the context, and in the key under which its text is kept."""
    other = replace(QUESTION, **changed)
    assert describe_context(other) != describe_context(QUESTION)
    assert context_key(other) != context_key(QUESTION)
    assert world_key(other) == world_key(QUESTION)


def test_world_tells_budget_outbound_and_what_may_be_done_when_tainted() -> None:
    """A budget that is not declared is absent: policy must not read it as none."""
    declared = replace(
        QUESTION.tenant,
        operations_per_hour=5,
        outbound={"support": frozenset({"personal", "financial"})},
        tainted_operations=frozenset({"cancel-order"}),
    )
    tenant = describe_world(replace(QUESTION, tenant=declared))[0]["attrs"]
    assert tenant["operations_per_hour"] == 5
    assert tenant["outbound"] == [
        {"purpose": "support", "class": "financial"},
        {"purpose": "support", "class": "personal"},
    ]
    assert tenant["tainted_operations"] == [
        {"__entity": {"type": "Operation", "id": "cancel-order"}}
    ]
    assert "operations_per_hour" not in describe_world(QUESTION)[0]["attrs"]


def test_world_key_ignores_what_is_in_the_context() -> None:
    """Questions that differ only in context share their entities."""
    other = replace(QUESTION, purpose="x", labels=frozenset({"email"}), residency="eu")
    assert world_key(other) == world_key(QUESTION)
    assert world_key(replace(QUESTION, resource_tier=3)) != world_key(QUESTION)


def test_world_refuses_a_principal_of_another_tenant() -> None:
    """A principal never acts with another tenant's rights."""
    stranger = Principal(PrincipalId("bot"), TenantId("TENANT_002"), "0" * 12)
    with pytest.raises(ContradictoryQuestion, match="another tenant"):
        describe_world(replace(QUESTION, principal=stranger))


def test_world_refuses_an_unknown_resource_type() -> None:
    """What policies have no word for is not described."""
    with pytest.raises(ContradictoryQuestion, match="unknown resource type 'Printer'"):
        describe_world(replace(QUESTION, resource_type="Printer"))


def test_explanation_without_policies_says_what_nothing_permits() -> None:
    """A denial by default names action, resource, purpose and labels."""
    question = replace(QUESTION, labels=frozenset({"email"}))
    assert explain(question, allowed=False, policy_ids=(), reasons={}) == (
        'no policy permits SendMessage on Agent "records" with unredacted email: '
        "the purpose is not one that TENANT_001 has declared (support)"
    )


def test_explanation_names_each_policy_with_its_reason() -> None:
    """A denial by policies gives the id and the reason of each."""
    text = explain(QUESTION, allowed=False, policy_ids=("a", "b"), reasons={"a": "no", "b": "nor"})
    assert text == 'forbidden by policies "a": no; "b": nor'


def test_explanation_bounds_and_escapes_what_the_caller_named() -> None:
    """A name can neither flood nor forge a log line."""
    question = replace(QUESTION, purpose="x\n" + "y" * 500)
    text = explain(question, allowed=False, policy_ids=(), reasons={})
    assert "\n" not in text
    assert len(text) < 200
