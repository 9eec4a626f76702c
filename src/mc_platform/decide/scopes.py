"""What a credential may be used for at all, before policy is asked: its scopes."""

from __future__ import annotations

from collections.abc import Callable

from mc_platform.model.credential import SCOPES, covers
from mc_platform.model.ids import DecisionId
from mc_platform.model.verdict import Decision, Question


def outside_scopes(
    question: Question, new_id: Callable[[], DecisionId], policy_digest: str
) -> Decision | None:
    """The refusal of an action that no scope of the credential covers; None: policy decides."""
    principal, action = question.principal, question.action
    if covers(principal, action):
        return None
    needed = " or ".join(sorted(SCOPES.get(action, ()))) or "no scope there is"
    return Decision(
        id=new_id(),
        allowed=False,
        action=action,
        policy_ids=(),
        reason=f"the credential has no scope for {action.value}: it needs {needed}",
        policy_digest=policy_digest,
    )
