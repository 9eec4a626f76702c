"""What each kind of event means to a SIEM: how it went, how bad it is, and whose doing it was.

The formats differ in words, not in this; so the table stands once and each format translates it.
A kind that is not in the table is delivered all the same, with an outcome that says unknown.
Nothing here reads more of a leaf than ids, names and reasons: a leaf holds no content.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from typing import Any

from mc_platform.model.event import Kind

SERVICE = "agent-workbench"
VENDOR = "MC Platform"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Outcome(Enum):
    """How it went; an intent is recorded before anybody can know."""

    success = "success"
    failure = "failure"
    unknown = "unknown"


class Severity(IntEnum):
    """How bad it is; the numbers are OCSF's `severity_id`."""

    unknown = 0
    informational = 1
    low = 2
    medium = 3
    high = 4


class Group(Enum):
    """What sort of happening it is; a format chooses its class by it."""

    activity = "activity"
    """A request, a reply, a step of an operation."""
    refusal = "refusal"
    """Policy kept a request out."""
    withheld = "withheld"
    """Policy kept data in."""
    administration = "administration"
    """A person (or an alert, or the breaker) changed what autonomy may do."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one kind means; `text` is a sentence for people."""

    text: str
    outcome: Outcome = Outcome.success
    severity: Severity = Severity.informational
    group: Group = Group.activity


def _failed(text: str, severity: Severity = Severity.medium) -> Meaning:
    return Meaning(text, Outcome.failure, severity)


def _admin(
    text: str, severity: Severity = Severity.low, outcome: Outcome = Outcome.success
) -> Meaning:
    return Meaning(text, outcome, severity, Group.administration)


MEANINGS: dict[str, Meaning] = {
    Kind.request_accepted: Meaning("policy let a request in"),
    Kind.request_refused: Meaning(
        "policy refused a request", Outcome.failure, Severity.medium, Group.refusal
    ),
    Kind.request_failed: _failed("a request failed"),
    Kind.reply_released: Meaning("a reply was released"),
    Kind.reply_withheld: Meaning(
        "policy withheld a reply", Outcome.failure, Severity.medium, Group.withheld
    ),
    Kind.operation_started: Meaning("an operation began"),
    Kind.step_intended: Meaning("a step is about to take effect", Outcome.unknown),
    Kind.step_done: Meaning("a step took effect"),
    Kind.step_failed: _failed("a step failed"),
    Kind.compensation_intended: Meaning(
        "a step is about to be undone", Outcome.unknown, Severity.low
    ),
    Kind.compensation_done: Meaning("a step was undone", severity=Severity.low),
    Kind.compensation_failed: _failed("a step could not be undone", Severity.high),
    Kind.operation_completed: Meaning("an operation was completed"),
    Kind.operation_compensated: _failed("an operation was undone"),
    Kind.operation_stuck: _failed("an operation is stuck: a person must resolve it", Severity.high),
    Kind.task_cancel_requested: Meaning("a client asked for a cancel"),
    Kind.operation_cancel_requested: _admin("an operator asked for a cancel"),
    Kind.operation_resolve_requested: _admin("an operator asked to resolve a stuck operation"),
    Kind.operation_resolved: _admin("a stuck operation was resolved"),
    Kind.operation_still_stuck: _admin(
        "an operation is still stuck after an attempt to resolve it",
        Severity.high,
        Outcome.failure,
    ),
    Kind.autonomy_halted: _admin("autonomy was halted", Severity.high),
    Kind.autonomy_resumed: _admin("autonomy was resumed", Severity.medium),
    Kind.break_glass_requested: _admin(
        "an operator asked for a way into a tenant's data", Severity.medium, Outcome.unknown
    ),
    Kind.break_glass_approved: _admin(
        "a way into a tenant's data was opened to an operator", Severity.high
    ),
    Kind.break_glass_ended: _admin("a way into a tenant's data was closed", Severity.low),
    Kind.break_glass_used: _admin("an operator read a tenant's task", Severity.high),
    Kind.pseudonyms_revealed: _admin("pseudonyms were opened", Severity.medium),
    Kind.canary_overridden: _admin(
        "an operator overrode the canary: what it held may serve", Severity.high
    ),
    Kind.dead_letters_resent: _admin("an operator had dead letters sent again", Severity.medium),
    Kind.signer_state_rebuilt: _admin(
        "the ledger's signer lost its memory, and took it from what is stored", Severity.high
    ),
    Kind.policy_changed: _admin("another policy set came into force", Severity.medium),
    Kind.catalogue_changed: _admin("the catalogue in force is another one", Severity.medium),
    Kind.rules_declared: _admin("a person said that other rules will come into force"),
    Kind.credential_created: _admin("a credential was made", Severity.medium),
    Kind.credential_changed: _admin("a credential was changed", Severity.medium),
    Kind.credential_revoked: _admin("a credential was ended", Severity.medium),
    Kind.policy_refused: _admin(
        "a policy set was refused: the one before stays in force", Severity.high, Outcome.failure
    ),
    Kind.task_repaired: _admin("a task's unreadable content was mended", Severity.medium),
    Kind.aggregate_answered: Meaning("an aggregate over a tenant's data was answered"),
    Kind.aggregate_refused: Meaning(
        "an aggregate over a tenant's data was refused",
        Outcome.failure,
        Severity.medium,
        Group.refusal,
    ),
}
_UNKNOWN = Meaning("", Outcome.unknown, Severity.unknown)


def meaning_of(kind: str) -> Meaning:
    """What a kind means; of one that is not known, that nothing is known."""
    return MEANINGS.get(kind, _UNKNOWN)


def milliseconds(at: datetime) -> int:
    """Since 1970 in UTC; exact, where a float would now and then be one off."""
    return (at - _EPOCH) // _MILLISECOND


def occurred_ms(leaf: dict[str, Any]) -> int:
    """When the event happened, in milliseconds since 1970."""
    return milliseconds(datetime.fromisoformat(leaf["occurred_at"]))


def text_of(detail: dict[str, Any], *names: str) -> str | None:
    """The first of these that is there and not empty, as text."""
    for name in names:
        value = detail.get(name)
        if value is not None and value != "":
            return value if isinstance(value, str) else str(value)
    return None
