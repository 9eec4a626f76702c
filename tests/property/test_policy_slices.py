"""The law of slices: a question gets the answer that the whole policy set gives it."""

from __future__ import annotations

import json
from itertools import product

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.mc_platform.adapters.cedar.questions import POLICY_DIR, QUESTION

from mc_platform.adapters.cedar.decision_point import (
    CedarDecisionPoint,
    PolicyFiles,
    read_policy_files,
)
from mc_platform.decide import describe_request, describe_world
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question

# An action group, so that `action in` is more than a list
SCHEMA = (POLICY_DIR / "schema.cedarschema").read_text()
for _name in ("SendMessage", "Enact"):
    SCHEMA = SCHEMA.replace(
        f'action "{_name}" appliesTo', f'action "{_name}" in ["Outgoing"] appliesTo'
    )
SCHEMA += 'action "Outgoing" in ["Anything"];\naction "Anything";\n'

OVERFLOWS = "context.operations_this_hour * 9223372036854775807 > 0"
ATOMS = (
    'principal.tenant == Tenant::"T1"',
    'Tenant::"T2" == principal.tenant',
    'principal.tenant != Tenant::"T1"',
    'principal.tenant in [Tenant::"T1", Tenant::"T3"]',
    'principal.tenant in Tenant::"T2"',
    '[Tenant::"T2", Tenant::"T3"].contains(principal.tenant)',
    'principal == Principal::"a"',
    'resource has tenant && resource.tenant == Tenant::"T1"',
    'resource has tenant && resource.tenant != Tenant::"T1"',
    'resource == Agent::"records"',
    'resource == Operation::"place-order"',
    'resource has agent && resource.agent.residency == "eu"',  # that entity is not there: errs
    OVERFLOWS,
    "context.tainted",
    'context.labels.contains("email")',
    'principal.role == "agent"',
    'context.purpose like "sup*"',
    "true",
)
SCOPES = product(
    ("principal", 'principal == Principal::"a"', 'principal in Principal::"b"'),
    (
        "action",
        'action == Action::"SendMessage"',
        'action in [Action::"Enact", Action::"ReadTask"]',
        'action in Action::"Outgoing"',
        'action in [Action::"Anything", Action::"ReadOperations"]',
    ),
    ("resource", 'resource == Agent::"records"', "resource is Operation", "resource is Task"),
)


def _compound(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(parts, parts)
    return st.one_of(
        two.map(lambda both: f"({both[0]}) && ({both[1]})"),
        two.map(lambda both: f"({both[0]}) || ({both[1]})"),
        parts.map(lambda part: f"!({part})"),
        st.tuples(parts, parts, parts).map(
            lambda three: f"if ({three[0]}) then ({three[1]}) else ({three[2]})"
        ),
    )


# What may err before or behind what demands a tenant: drawn often, for it is what matters most
CHAIN = st.lists(st.sampled_from((*ATOMS[:5], OVERFLOWS)), min_size=2, max_size=3).map(
    lambda parts: " && ".join(f"({part})" for part in parts)
)
CONDITION = st.tuples(
    st.sampled_from(("when", "unless")),
    st.one_of(CHAIN, st.recursive(st.sampled_from(ATOMS), _compound, max_leaves=4)),
).map(lambda both: f"{both[0]} {{ {both[1]} }}")
POLICY = st.tuples(
    st.sampled_from(("permit", "forbid")),
    st.sampled_from(list(SCOPES)).map(", ".join),
    st.lists(CONDITION, max_size=2).map(" ".join),
).map(lambda parts: "{} ({}) {};".format(*parts))


def _questions() -> list[Question]:
    resources = (
        (Action.send_message, "Agent", "records", None),
        (Action.send_message, "Agent", "other", None),
        (Action.enact, "Operation", "place-order", None),
        (Action.enact, "Operation", "place-order", TenantId("T1")),
        (Action.read_task, "Task", "task-1", TenantId("T1")),
        (Action.read_task, "Task", "task-2", TenantId("T2")),
        (Action.read_task, "Task", "nobodys", None),  # the schema refuses it
        (Action.read_operations, "Platform", "PLATFORM", None),
        (Action.send_message, "Platform", "PLATFORM", None),  # nor is that asked of it
    )
    asked = []
    for (name, own), about, eventful in product(
        (("a", "T1"), ("a", "T2"), ("b", "T2"), ("c", "T3")), resources, (False, True)
    ):
        action, kind, resource_id, owner = about
        tenant = Tenant(TenantId(own), "eu", frozenset({"support"}), frozenset(), 1)
        asked.append(
            Question(
                principal=Principal(PrincipalId(name), tenant.id, "0" * 12),
                tenant=tenant,
                action=action,
                resource_type=kind,
                resource_id=resource_id,
                resource_tenant=owner,
                purpose="support" if eventful else "",
                labels=frozenset({"email"}) if eventful else frozenset(),
                tainted=eventful,
                operations_this_hour=5 if eventful else 0,
            )
        )
    return asked


QUESTIONS = _questions()


class Whole:
    """Every policy evaluated for every question, as the decision point did it before slices."""

    def __init__(self, files: PolicyFiles) -> None:
        self.schema = cedarpy.Schema.from_str(files.schema)
        parsed = json.loads(cedarpy.policies_to_json_str("\n".join(files.sources.values())))
        bodies = {body["annotations"]["id"]: body for body in parsed["staticPolicies"].values()}
        self.count = len(bodies)
        whole = {"staticPolicies": bodies, "templates": {}, "templateLinks": []}
        self.policies = cedarpy.PolicySet.from_json_str(json.dumps(whole))

    def decide(self, question: Question) -> tuple[bool, tuple[str, ...], bool]:
        """Allowed, the determining policies, and whether it could be evaluated."""
        try:
            world = cedarpy.Entities.from_json_str(
                json.dumps(describe_world(question)), self.schema
            )
            result = cedarpy.is_authorized(
                describe_request(question), self.policies, world, self.schema
            )
        except ValueError:
            return False, (), False
        if result.diagnostics.errors:
            return False, (), False
        return result.allowed, tuple(sorted(result.diagnostics.reasons)), True


def _files(policies: list[str]) -> PolicyFiles | None:
    schema = cedarpy.Schema.from_str(SCHEMA)
    valid = [text for text in policies if not cedarpy.validate_policies(text, schema).errors]
    texts = [f'@id("p{n}") @reason("reason {n}") {text}' for n, text in enumerate(valid)]
    return PolicyFiles("set", SCHEMA, {"all.cedar": "\n".join(texts)}, {}) if texts else None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    policies=st.one_of(
        st.lists(POLICY, min_size=1, max_size=2), st.lists(POLICY, min_size=1, max_size=12)
    )
)
def test_a_slice_answers_as_the_whole_set(policies: list[str]) -> None:
    """The answer, the policies that determine it, the reason and what errs are the whole set's."""
    files = _files(policies)
    if files is None:
        return
    point, whole = CedarDecisionPoint.from_files(files), Whole(files)
    for question in QUESTIONS * 2:  # and the second time alike, from what is kept
        decision = point.decide(question)
        allowed, by, evaluated = whole.decide(question)
        assert (decision.allowed, decision.policy_ids) == (allowed, by), question
        assert ("could not be evaluated" in decision.reason) == (not evaluated), question
        assert all(f'"{name}": reason {name[1:]}' in decision.reason for name in by)
        assert decision.policy_digest == files.digest


@pytest.mark.parametrize(
    ("policy", "left_out"),
    [
        ('when { principal.tenant == Tenant::"T9" && context.tainted }', True),
        ('when { context.tainted } unless { principal.tenant != Tenant::"T9" }', True),
        ('when { [Tenant::"T8", Tenant::"T9"].contains(principal.tenant) }', True),
        ('when { resource has tenant && resource.tenant == Tenant::"T9" }', True),
        (f'when {{ principal.tenant == Tenant::"T9" && {OVERFLOWS} }}', True),
        (f'when {{ {OVERFLOWS} && principal.tenant == Tenant::"T9" }}', False),
        ('when { context.tainted || principal.tenant == Tenant::"T9" }', False),
        ('unless { principal.tenant == Tenant::"T9" }', False),
        ('when { principal.tenant != Tenant::"T9" }', False),
        ('when { !(principal.tenant == Tenant::"T9") }', False),
    ],
)
def test_only_what_is_shown_to_be_anothers_is_left_out(policy: str, left_out: bool) -> None:
    """A policy whose leading conditions demand another tenant is not evaluated; all else is."""
    files = _files([f"forbid (principal, action, resource) {policy};"])
    assert files is not None
    point = CedarDecisionPoint.from_files(files)
    assert len(point._slices.slice_of(QUESTION)) == (0 if left_out else 1)


def test_a_decision_meets_its_own_tenants_policies_alone() -> None:
    """With a policy for each of 300 tenants a slice has one of them, beside those of all."""
    shared = read_policy_files(POLICY_DIR)
    own = "\n".join(
        f'@id("own-{n}") @reason("own") forbid (principal, action == Action::"SendMessage", '
        f'resource) when {{ principal.tenant == Tenant::"TENANT_{n:03}" && context.tainted }};'
        for n in range(300)
    )
    files = PolicyFiles("set", shared.schema, {**shared.sources, "own.cedar": own}, {})
    before = CedarDecisionPoint.from_files(shared)._slices.slice_of(QUESTION)
    slices = CedarDecisionPoint.from_files(files)._slices
    assert len(slices.slice_of(QUESTION)) == len(before) + 1
    assert len(before) < len(Whole(shared).policies) / 2
