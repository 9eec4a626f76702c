"""Bringing a policy set into force on every replica of a running platform, or back.

The set is put where the replicas look; each of them judges it itself, and says in `/health` which
set it has in force. If one refuses it, the set before comes back; likewise if an applied set is not
taken in time, or whoever waits is interrupted. One that is gone back to stays then: it was good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mc_ops.environments.interface import Instance
from mc_ops.errors import CouldNotTell, Finding, OpsError
from mc_ops.service_client import ServiceClient

_POLL_S = 0.25
_HEALTH_TIMEOUT_S = 3.0


class Target(Protocol):
    """Where sets are put. Behind it: the local environment; a table in tests."""

    def install(self, source: Path) -> None:
        """Put a copy of a set where the replicas look; the one there before is kept."""

    def undo(self) -> None:
        """Take away what `install` or `restore` put there, as if it had never been."""

    def restore(self, digest: str) -> None:
        """Put a kept set back; the one there before is kept."""

    def instances(self) -> Sequence[Instance]:
        """The replicas that run."""


@dataclass(frozen=True, slots=True)
class PolicyHealth:
    """What a replica says of its policy: the digest in force, and the set that it refused."""

    digest: str
    refused: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Applied:
    """A set that every running replica has in force; none of them runs if `replicas` is empty."""

    digest: str
    replicas: tuple[str, ...]


def apply_set(
    target: Target,
    source: Path,
    digest: str,
    *,
    timeout_s: float,
    health: Callable[[Instance], PolicyHealth] | None = None,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Applied:
    """Put a set in place and wait until each replica has it in force; else undo it.

    Args:
        target: Where it is put.
        source: Its directory.
        digest: What the replicas must then say.
        timeout_s: How long the slowest may take.

    Raises:
        Finding: a replica refused it; the set before is in place again.
        CouldNotTell: a replica did not answer, or did not take it in time; likewise.
    """
    waiting = _Waiting(target, digest, timeout_s, health or policy_health, pause, clock)
    target.install(source)
    try:
        return waiting.until_in_force()
    except BaseException:
        target.undo()
        raise


def roll_back(
    target: Target,
    digest: str,
    *,
    timeout_s: float,
    health: Callable[[Instance], PolicyHealth] | None = None,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Applied:
    """Put a kept set back and wait until each replica has it in force.

    Raises:
        Finding: a replica refused it; the set before is in place again.
        CouldNotTell: a replica did not answer, or did not take it in time; what was put back stays.
    """
    waiting = _Waiting(target, digest, timeout_s, health or policy_health, pause, clock)
    target.restore(digest)
    try:
        return waiting.until_in_force()
    except Finding:
        target.undo()
        raise


@dataclass(frozen=True, slots=True)
class _Waiting:
    target: Target
    digest: str
    timeout_s: float
    health: Callable[[Instance], PolicyHealth]
    pause: Callable[[float], None]
    clock: Callable[[], float]

    def until_in_force(self) -> Applied:
        deadline = self.clock() + self.timeout_s
        while True:
            instances = self.target.instances()
            behind = [one.name for one in instances if not self._has_it(one)]
            if not behind:
                return Applied(self.digest, tuple(one.name for one in instances))
            if self.clock() > deadline:
                raise CouldNotTell(
                    f"{', '.join(behind)} did not activate the set within {self.timeout_s:g} s",
                    hint=f"mcctl logs {behind[0]}",
                )
            self.pause(_POLL_S)

    def _has_it(self, instance: Instance) -> bool:
        said = self.health(instance)
        if said.refused is not None and said.refused.get("digest") == self.digest:
            raise Finding(
                f"{instance.name} refuses the set: {said.refused.get('reason', 'no reason given')}",
                hint="the set before is in place again; see `mcctl policy test`",
            )
        return said.digest == self.digest


def policy_health(instance: Instance) -> PolicyHealth:
    """What a replica's `/health` says of its policy.

    Raises:
        CouldNotTell: it does not answer, or tells nothing of its policy.
    """
    try:
        with ServiceClient(instance.url, timeout_s=_HEALTH_TIMEOUT_S) as service:
            policy = service.health().dependencies["policy"]
        return PolicyHealth(str(policy["digest"]), policy.get("refused"))
    except (OpsError, KeyError, TypeError) as error:
        raise CouldNotTell(
            f"{instance.name} does not tell its policy ({type(error).__name__})",
            hint=f"mcctl logs {instance.name}",
        ) from error
