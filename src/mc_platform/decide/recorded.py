"""A `Question` as the ledger keeps it, and back: so that a decision can be asked for again.

What is recorded holds no content: names, label types, data classes and the circumstances that
policy saw. What the catalogue declares is not repeated; it is looked up when the question is asked
again, so the answer is that of today's catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from mc_platform.model.catalogue import Catalogue
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Role
from mc_platform.model.verdict import Action, Question

_SETS = ("labels", "classes", "origins")
_NO_CATALOGUE_KIND = frozenset({"Task", "Ledger", "Dataset", "Platform"})
_CIRCUMSTANCES = (
    "purpose", "residency", "redacted", "tainted", "named", "tier_ceiling", "operations_this_hour",
    "break_glass",
)  # fmt: skip
# Field of the question -> what it is when it is not recorded
_USUAL = {field.name: field.default for field in fields(Question) if field.name in _CIRCUMSTANCES}
_RESOURCE_USUAL: Mapping[str, Any] = {"agent": "", "tenant": None, "tier": 0}
_circumstances_of = attrgetter(*_USUAL)
_resource_of = attrgetter("resource_agent", "resource_tenant", "resource_tier")
_USUAL_RESOURCE = tuple(_RESOURCE_USUAL.values())
_sets_of = attrgetter(*_SETS)
_NEEDED = ("principal", "tenant", "action", "resource")
_KNOWN = frozenset({*_NEEDED, "role", *_SETS, *_USUAL})


class NotRestorable(ValueError):
    """A recorded question cannot be asked again; the message says why."""


def record_question(question: Question) -> dict[str, Any]:
    """The question as compact JSON; what is as usual is left out.

    `{"principal", "role", "tenant", "action", "resource": {"type", "id", "agent", "tenant",
    "tier"}, "purpose", "residency", "labels", "classes", "redacted", "tainted", "origins",
    "named", "tier_ceiling", "operations_this_hour", "break_glass"}`
    """
    principal = question.principal
    resource: dict[str, Any] = {"type": question.resource_type, "id": question.resource_id}
    recorded: dict[str, Any] = {
        "principal": principal.id,
        "tenant": question.tenant.id,
        "action": str(question.action),
        "resource": resource,
    }
    of_resource = _resource_of(question)
    if of_resource != _USUAL_RESOURCE:
        resource |= _unusual(of_resource, _RESOURCE_USUAL)
    recorded |= _unusual(_circumstances_of(question), _USUAL)
    for name, words in zip(_SETS, _sets_of(question), strict=True):
        if words:
            recorded[name] = sorted(words)
    if principal.role != Role.agent:
        recorded["role"] = str(principal.role)
    return recorded


def restore_question(recorded: Mapping[str, Any], catalogue: Catalogue) -> Question:
    """The question that `record_question` recorded, with what the catalogue declares today.

    Raises:
        NotRestorable: it is no recorded question, or the catalogue lacks what it names.
    """
    try:
        return _restored(recorded, catalogue)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, NotRestorable):
            raise
        raise NotRestorable(f"this is no recorded question: {error}") from error


def _restored(recorded: Mapping[str, Any], catalogue: Catalogue) -> Question:
    unknown = sorted(set(recorded) - _KNOWN)
    if unknown:
        # A circumstance that this version does not know could have decided it
        raise NotRestorable(f"unknown key {unknown[0]!r} in the recorded question")
    tenant = catalogue.tenants.get(TenantId(recorded["tenant"]))
    if tenant is None:
        raise NotRestorable(f"the catalogue has no tenant {recorded['tenant']!r}")
    resource = {**_RESOURCE_USUAL, **recorded["resource"]}
    circumstances: dict[str, Any] = {
        name: frozenset(_words(name, recorded.get(name, ()))) for name in _SETS
    }
    circumstances |= {
        name: _typed(name, recorded.get(name, usual), type(usual)) for name, usual in _USUAL.items()
    }
    question = Question(
        principal=Principal(
            PrincipalId(recorded["principal"]),
            tenant.id,
            "",
            _typed("role", recorded.get("role", str(Role.agent)), str),
        ),
        tenant=tenant,
        action=Action(recorded["action"]),
        resource_type=_typed("resource.type", resource["type"], str),
        resource_id=_typed("resource.id", resource["id"], str),
        resource_tenant=resource["tenant"],
        resource_agent=_typed("resource.agent", resource["agent"], str),
        resource_tier=_typed("resource.tier", resource["tier"], int),
        **circumstances,
    )
    return _with_resource(question, catalogue)


def _with_resource(question: Question, catalogue: Catalogue) -> Question:
    kind, name = question.resource_type, question.resource_id
    if kind in _NO_CATALOGUE_KIND:
        return question
    operation = None
    agent_name = name
    if kind == "Operation":
        operation = catalogue.operations.get(name)
        if operation is None:
            raise NotRestorable(f"the catalogue has no operation {name!r}")
        agent_name = operation.agent
    elif kind != "Agent":
        raise NotRestorable(f"unknown resource type {kind!r}")
    agent = catalogue.agents.get(AgentName(agent_name))
    if agent is None:
        raise NotRestorable(f"the catalogue has no agent {agent_name!r}")
    return replace(
        question,
        resource_purposes=agent.purposes if operation is None else operation.purposes,
        resource_residency=agent.residency,
        resource_accepts=agent.accepts,
    )


def _unusual(values: Iterable[Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields that are not as usual, given the values in the order of `usual`."""
    return {
        name: value
        for value, (name, usually) in zip(values, usual.items(), strict=True)
        if value != usually
    }


def _typed(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise NotRestorable(f"{name} of the recorded question must be {kind.__name__}")
    return value


def _words(name: str, raw: Any) -> list[str]:
    if not isinstance(raw, list | tuple) or not all(isinstance(word, str) for word in raw):
        raise NotRestorable(f"{name} of the recorded question must be a list of words")
    return list(raw)
