"""One call of an action, made often enough: attempts, backoff, and what is known of the effect.

Attempts, deadline and calls that run at once; what a call does is its caller's.

A call never raises for a failed attempt; it ends as a `Called` that says how it went. The wording
of `reason` is bounded (a few words and a status code) because it enters the ledger and the client's
reply: no response body can get in.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from mc_contract.keepable import MOST_DEPTH, json_text, read_recorded
from mc_platform.errors import PlatformError

_T = TypeVar("_T")
Values = Mapping[str, Any]
"""JSON values by name: an operation's input, a step's result."""
RemainingS = Callable[[], float]
"""Seconds until the deadline; below 0 when it has passed, infinite without one."""

MOST_DEPTH_OF_RESULT = MOST_DEPTH - 3
"""Lists and objects within each other in a step's result: a task's part has three around it."""
_REASON = re.compile(r"[a-z0-9][a-z0-9 ()_.-]{0,59}")


def storable(value: Values | None) -> dict[str, Any] | str | None:
    """An input or a result as the engine stores it: what JSON's doubles do not hold, as text."""
    if value is None:
        return None
    return json_text(value) if _is_exact(value) else dict(value)


def restored(kept: Values | str | None) -> dict[str, Any] | None:
    """What `storable` was given."""
    if isinstance(kept, str):
        value: dict[str, Any] = read_recorded(kept)
        return value
    return None if kept is None else dict(kept)


def _is_exact(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_exact(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_is_exact(inner) for inner in value)
    return isinstance(value, Decimal)


class Abandoned(BaseException):
    """The process stops, or may not go on with the operation, which is left as it is."""


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
    """How a call ended, after its last attempt; `late` if the deadline forbade a further one."""

    ok: bool
    attempts: int
    effect: Effect
    reason: str = ""
    result: Values = field(default_factory=dict)
    late: bool = False


def call(
    attempt: Callable[[], Values],
    policy: RetryPolicy,
    wait: Callable[[float], None],
    *,
    gone_is_done: bool = False,
    remaining_s: RemainingS = lambda: math.inf,
) -> Called:
    """Make attempts until one succeeds, none can, or the policy's number is reached.

    Args:
        attempt: One attempt; returns the result or raises `StepFailed`.
        policy: Number of attempts, and waits.
        wait: Sleeps for so many seconds; may raise to abandon the call (the process is stopping).
        gone_is_done: Take 404 and 410 for success: compensating an effect that may never have
            landed finds nothing to undo.
        remaining_s: Until the deadline: no attempt but the first begins after it, and no wait
            goes on beyond it.
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
            last = not healable or number == policy.attempts
            if not last:
                # Jitter needs no cryptographic randomness
                wait_s = policy.wait_s(number, failure.retry_after_s, random.random())  # noqa: S311
                wait(max(0.0, min(wait_s, remaining_s())))
            late = not last and remaining_s() <= 0
            if last or late:
                effect = Effect.unknown if possible else Effect.none
                return Called(
                    ok=False, attempts=number, effect=effect, reason=failure.reason, late=late
                )
    raise AssertionError("a policy allows at least one attempt")


def at_once(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Run all calls, each in a thread of its own, and return their results in order.

    Returns when all have ended. What one raised, an interruption included, is raised then; of
    several the first in order.
    """
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(max_workers=len(calls), thread_name_prefix="step") as pool:
        pending = [pool.submit(one) for one in calls]
    return [one.result() for one in pending]
