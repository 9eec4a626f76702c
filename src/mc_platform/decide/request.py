"""A `Question` as the request and the entities that Cedar evaluates.

The words here are those of `policies/schema.cedarschema`; a test holds the two together. Ids
travel as JSON objects, never as Cedar source, so no id can change the meaning of a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any

from mc_platform.model.verdict import Question

Json = dict[str, Any]


class ContradictoryQuestion(ValueError):
    """The question's parts disagree; it can only be answered by a denial."""


def describe_request(question: Question) -> Json:
    """Principal, action, resource and context in the form that `cedarpy` takes."""
    return {
        "principal": _uid("Principal", question.principal.id),
        "action": _uid("Action", question.action.value),
        "resource": _uid(question.resource_type, question.resource_id),
        "context": describe_context(question),
    }


def describe_context(question: Question) -> Json:
    """The circumstances: all of them, always, so that no policy finds one missing."""
    return {
        "purpose": question.purpose,
        "residency": question.residency,
        "labels": sorted(question.labels),
        "classes": sorted(question.classes),
        "redacted": question.redacted,
        "tainted": question.tainted,
        "origins": sorted(question.origins),
        "named": question.named,
        "tier_ceiling": question.tier_ceiling,
        "operations_this_hour": question.operations_this_hour,
        "break_glass": question.break_glass,
    }


context_key: Callable[[Question], Hashable] = attrgetter(
    "purpose", "residency", "labels", "classes", "redacted", "tainted", "origins", "named",
    "tier_ceiling", "operations_this_hour", "break_glass",
)  # fmt: skip
"""What `describe_context` depends on: equal keys describe equal circumstances.

Two questions with equal keys and equal kinds of action and resource are alike to the schema.
"""
world_key: Callable[[Question], Hashable] = attrgetter(
    "principal", "tenant", "resource_type", "resource_id", "resource_tenant", "resource_agent",
    "resource_tier", "resource_purposes", "resource_residency", "resource_accepts",
)  # fmt: skip
"""Everything that `describe_world` depends on: equal keys describe equal worlds."""


def describe_world(question: Question) -> list[Json]:
    """The tenant, its principal and the resource as Cedar entities.

    Raises:
        ContradictoryQuestion: the principal belongs to another tenant than the one given, or
            the resource is of a type that policies do not know.
    """
    tenant = question.tenant
    if question.principal.tenant != tenant.id:
        raise ContradictoryQuestion("the principal belongs to another tenant than the one given")
    budget = (
        {}
        if tenant.operations_per_hour is None
        else {"operations_per_hour": tenant.operations_per_hour}
    )
    tenant_entity = _entity(
        "Tenant",
        tenant.id,
        residency=tenant.residency,
        purposes=sorted(tenant.purposes),
        agents=[_reference("Agent", name) for name in sorted(tenant.agents)],
        autonomy_tier=tenant.autonomy_tier,
        outbound=[
            {"purpose": purpose, "class": data_class}
            for purpose, classes in sorted(tenant.outbound.items())
            for data_class in sorted(classes)
        ],
        tainted_operations=[
            _reference("Operation", name) for name in sorted(tenant.tainted_operations)
        ],
        **budget,
    )
    principal = _entity(
        "Principal",
        question.principal.id,
        tenant=_reference("Tenant", tenant.id),
        role=question.principal.role,
    )
    return [tenant_entity, principal, _resource(question)]


def _resource(question: Question) -> Json:
    attributes: Json
    match question.resource_type:
        case "Agent":
            attributes = {
                "residency": question.resource_residency,
                "purposes": sorted(question.resource_purposes),
                "accepts": sorted(question.resource_accepts),
            }
        case "Operation":
            attributes = {
                "purposes": sorted(question.resource_purposes),
                "autonomy_tier": question.resource_tier,
                "agent": _reference("Agent", question.resource_agent),
                "accepts": sorted(question.resource_accepts),
                **_owner(question),
            }
            if question.resource_residency:
                attributes["residency"] = question.resource_residency
        case "Task" | "Ledger" | "Dataset":
            # Without an owner the schema refuses the entity, and so the question is denied.
            attributes = _owner(question)
        case "Platform":
            attributes = {}
        case other:
            raise ContradictoryQuestion(f"unknown resource type {other!r}")
    return _entity(question.resource_type, question.resource_id, **attributes)


def _owner(question: Question) -> Json:
    if question.resource_tenant is None:
        return {}
    return {"tenant": _reference("Tenant", question.resource_tenant)}


def _uid(kind: str, name: str) -> Json:
    return {"type": kind, "id": name}


def _reference(kind: str, name: str) -> Json:
    return {"__entity": _uid(kind, name)}


def _entity(kind: str, name: str, **attributes: object) -> Json:
    return {"uid": _uid(kind, name), "attrs": attributes, "parents": []}
