"""One call of an action, made often enough: attempts, backoff, and what is known of the effect.

A call never raises for a failed attempt; it ends as a `Called` that says how it went. The wording
of `reason` is bounded (a few words and a status code) because it enters the ledger and the client's
reply: no response body can get in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mc_platform.errors import PlatformError

_REASON = re.compile(r"[a-z0-9][a-z0-9 ()_.-]{0,59}")


class Effect(StrEnum):
    """What is known of a call's effect on the world."""

    none = "none"
    landed = "landed"
    unknown = "unknown"


class StepFailed(PlatformError):
    """An attempt of an action failed.

    Args:
        reason: A few words, `[a-z0-9 ()_.-]` and at most 60 characters; anything else is replaced
            by `failed`, so that no content of a reply reaches the ledger.
        retryable: Whether the same attempt may succeed later.
        effect_possible: Whether the effect may have happened all the same (a timeout): it is then
            compensated although its result is unknown.
        status: HTTP status, where there is one.
        retry_after_s: How long the other side asked to wait.
    """

    code = "step-failed"

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool = False,
        effect_possible: bool = False,
        status: int | None = None,
        retry_after_s: float = 0.0,
    ) -> None:
        self.reason = reason if _REASON.fullmatch(reason) else "failed"
        super().__init__(self.reason)
        self.retryable = retryable
        self.effect_possible = effect_possible
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an attempt is made, and how long to wait between two.

    Attributes:
        attempts: At most this many, the first among them.
        first_wait_s: Upper bound of the first wait; it doubles each time.
        longest_wait_s: No wait is longer, whatever a `Retry-After` asks.
        permanent_too: Whether failures that do not look healable are tried again as well: so for
            compensations, because the alternative is a person.
    """

    attempts: int = 4
    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0
    permanent_too: bool = False

    def wait_s(self, attempt: int, asked_s: float, jitter: float) -> float:
        """Seconds to wait after attempt number `attempt` (from 1); `jitter` is within [0, 1)."""
        # Half fixed, half random: spreads a herd, and never retries at once
        backoff = self.first_wait_s * (1 << (attempt - 1)) * (0.5 + jitter / 2)
        return min(self.longest_wait_s, max(backoff, asked_s))


DO_RETRIES = RetryPolicy()
UNDO_RETRIES = RetryPolicy(attempts=6, permanent_too=True)


@dataclass(frozen=True, slots=True)
class Called:
    """How a call ended, after its last attempt."""

    ok: bool
    attempts: int
    effect: Effect
    reason: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


def call(
    attempt: Callable[[], Mapping[str, Any]],
    policy: RetryPolicy,
    wait: Callable[[float], None],
    *,
    gone_is_done: bool = False,
) -> Called:
    """Make attempts until one succeeds, none can, or the policy's number is reached.

    Args:
        attempt: One attempt; returns the result or raises `StepFailed`.
        policy: Number of attempts, and waits.
        wait: Sleeps for so many seconds; may raise to abandon the call (the process is stopping).
        gone_is_done: Take 404 and 410 for success: compensating an effect that may never have
            landed finds nothing to undo.
    """
    possible = False
    for number in range(1, policy.attempts + 1):
        try:
            return Called(ok=True, attempts=number, effect=Effect.landed, result=attempt())
        except StepFailed as failure:
            if gone_is_done and failure.status in (404, 410):
                return Called(
                    ok=True, attempts=number, effect=Effect.none, reason="nothing to undo"
                )
            possible = possible or failure.effect_possible
            healable = failure.retryable or policy.permanent_too
            if not healable or number == policy.attempts:
                effect = Effect.unknown if possible else Effect.none
                return Called(ok=False, attempts=number, effect=effect, reason=failure.reason)
            # Jitter needs no cryptographic randomness
            wait(policy.wait_s(number, failure.retry_after_s, random.random()))  # noqa: S311
    raise AssertionError("a policy allows at least one attempt")
