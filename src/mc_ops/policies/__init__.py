"""Policy sets, for whoever changes them: judge one offline, bring one into force.

What a policy means is the service's to say: its own command is asked, as a process beside this one.
"""

from mc_ops.policies.apply import (
    Applied,
    PolicyHealth,
    Target,
    apply_set,
    policy_health,
    roll_back,
)
from mc_ops.policies.explain import explanation
from mc_ops.policies.ledger import FoundDecision, changes_in, denial, find_decision
from mc_ops.policies.local_set import LocalSet, require_good
from mc_ops.policies.offline import ask_service

__all__ = [
    "Applied",
    "FoundDecision",
    "LocalSet",
    "PolicyHealth",
    "Target",
    "apply_set",
    "ask_service",
    "changes_in",
    "denial",
    "explanation",
    "find_decision",
    "policy_health",
    "require_good",
    "roll_back",
]
