"""Why a decision fell, in a sentence that its caller may read.

It names policies, the resource and what the caller itself declared; never message content,
and never what another tenant has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mc_platform.model.verdict import Question

_SHOWN_CHARS = 64


def explain(
    question: Question, *, allowed: bool, policy_ids: Sequence[str], reasons: Mapping[str, str]
) -> str:
    """The reason for an answer.

    Args:
        question: What was asked.
        allowed: What was answered.
        policy_ids: The policies that determined it; none if nothing permitted it.
        reasons: The `@reason` of each policy.
    """
    if not policy_ids:
        return _nothing_permits(question)
    verb = "permitted" if allowed else "forbidden"
    named = "; ".join(f'"{name}": {reasons.get(name, "no reason given")}' for name in policy_ids)
    noun = "policy" if len(policy_ids) == 1 else "policies"
    return f"{verb} by {noun} {named}"


def _nothing_permits(question: Question) -> str:
    clause = (
        f"no policy permits {question.action.value} on "
        f"{question.resource_type} {_shown(question.resource_id)}"
    )
    tenant = question.tenant
    declared = question.purpose in {"", *tenant.purposes}
    if question.purpose and declared:
        clause += f" for purpose {_shown(question.purpose)}"
    if question.labels:
        state = "redacted" if question.redacted else "unredacted"
        clause += f" with {state} {', '.join(sorted(question.labels))}"
    if not declared:
        known = ", ".join(sorted(tenant.purposes)) or "none"
        clause += f": the purpose is not one that {tenant.id} has declared ({known})"
    return clause


def _shown(value: str) -> str:
    # Names come from the caller: without a bound and escapes they could forge log lines.
    short = value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "…"
    return (
        '"'
        + "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in short)
        + '"'
    )
