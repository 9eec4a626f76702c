"""Scopes of credentials: asked before policy, deny by default."""

from __future__ import annotations

import pytest

from mc_platform.decide import outside_scopes
from mc_platform.model.credential import OF_ROLE, SCOPES, Scope, covers
from mc_platform.model.tenant import Principal, Role, Tenant
from mc_platform.model.verdict import Action, Question

TENANT = Tenant("T", "eu", frozenset(), frozenset(), 0)


def asked(action, scopes):
    principal = Principal("p", "T", "k" * 12, Role.agent, scopes)
    question = Question(principal, TENANT, action, "Agent", "records")
    return outside_scopes(question, lambda: "dec_1", "digest")


def test_every_action_has_a_scope():
    """An action that stood in no scope could be done by no credential that has scopes."""
    assert set(SCOPES) == set(Action)
    assert all(SCOPES.values())
    assert set(OF_ROLE) == set(Role)
    assert set().union(*OF_ROLE.values()) == set(Scope)


@pytest.mark.parametrize("action", list(Action))
def test_an_action_needs_one_of_its_scopes(action):
    """With any of them policy decides; with all others, or none, it is refused before."""
    for scope in SCOPES[action]:
        assert asked(action, frozenset({scope})) is None
    for scopes in (frozenset(), frozenset(set(Scope) - SCOPES[action]), frozenset({"unknown"})):
        refusal = asked(action, scopes)
        assert (refusal.allowed, refusal.policy_ids) == (False, ())
        assert f"no scope for {action.value}" in refusal.reason


def test_a_credential_without_scopes_has_all_of_its_role():
    """Those of a file, and those from before there were scopes."""
    assert all(covers(Principal("p", "T", "k"), action) for action in Action)
