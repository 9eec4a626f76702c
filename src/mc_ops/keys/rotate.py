"""A rotation: first every replica knows the new key, then every replica makes things with it.

Each step replaces a file, and goes on when each replica says in `/health` that it uses what the file
holds. Whatever ends a rotation in between, the same command goes on with it: a key that is accepted
is the one that becomes active.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.keyring import (
    Keyring,
    KeyState,
    Purpose,
    accept_new,
    activate,
    drop_expired,
    view_digest,
)
from mc_ops.errors import CouldNotTell
from mc_ops.keys.files import SIGNING, KeyFiles

_POLL_S = 0.25


class Fleet(Protocol):
    """The platform whose replicas take the keys. Behind it: a running one; a table in tests."""

    log: str
    retention_days: int

    def declare(self, digest: str) -> None:
        """Tell the ledger who is about to have these keys used, and why."""

    def in_use(self) -> dict[str, str]:
        """By replica: the digest of the keys that it uses; raises CouldNotTell."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What is to be done, or was done; `steps` in words."""

    purpose: str
    steps: tuple[str, ...]
    digest: str = ""
    replicas: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As `--output json` has it."""
        return {
            "purpose": self.purpose,
            "steps": list(self.steps),
            "digest": self.digest,
            "replicas": list(self.replicas),
        }


@dataclass(slots=True)
class _Step:
    """One state of the files, and how it is said."""

    words: str
    keyring: Keyring
    signing: list[Ed25519PrivateKey]


def rotate(
    files: KeyFiles,
    purpose: str,
    fleet: Fleet,
    *,
    dry_run: bool,
    timeout_s: float,
    now: datetime | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Rotation:
    """Rotate the key of a purpose, or tell how it would be done.

    Args:
        files: The platform's.
        purpose: One of `Purpose`, or `SIGNING`.
        fleet: Whose replicas take the keys.
        dry_run: Plan only; nothing is written.
        timeout_s: How long a replica may take for each step.

    Raises:
        UnusableInput: a file is not what it must be.
        CouldNotTell: a replica does not use the keys in time; the same command goes on later.
    """
    now = now or datetime.now(UTC)
    steps = _planned(files, purpose, fleet.retention_days, now)
    words = tuple(step.words for step in steps)
    if dry_run:
        return Rotation(purpose, words)
    digest, replicas = "", tuple[str, ...]()
    for step in steps:
        digest = view_digest(files.view(step.keyring, step.signing, fleet.log))
        fleet.declare(digest)
        if purpose == SIGNING:
            files.write_signing(step.signing)
        else:
            files.write(step.keyring)
        replicas = _until_used(fleet, digest, step.words, timeout_s, pause)
    return Rotation(purpose, words, digest, replicas)


def _planned(files: KeyFiles, purpose: str, retention_days: int, now: datetime) -> list[_Step]:
    keyring, signing = files.read(), files.signing_keys()
    if purpose == SIGNING:
        # Both sign from the first moment on, so one step is enough: whoever knows only the former
        # key verifies what the new one signs, too
        words = "have a new key sign each checkpoint, beside the one that has signed so far"
        return [_Step(words, keyring, [Ed25519PrivateKey.generate(), signing[0]])]
    which = Purpose(purpose)
    if which not in keyring.keys:
        words = f"add the first {which} key (replicas that run take it when they are restarted)"
        return [_Step(words, accept_new(keyring, which, now), signing)]
    accepted = accept_new(keyring, which, now)
    # One that is made here is made anew when the plan is carried out: it has no name yet
    name = "a new" if accepted != keyring else "the accepted"
    new = next(key for key in accepted.of(which).others if key.state is KeyState.accepted)
    old = keyring.of(which).active
    active = drop_expired(activate(accepted, which, now), now, retention_days)
    dropped = [name.replace(".", " ") for name in accepted.view() if name not in active.view()]
    told = f"{name} {which} key{'' if accepted != keyring else f' {new.id}'}"
    kept = f"make new things with it, and read on what {old.id} made"
    gone = f"; drop what nothing needs any more: {', '.join(dropped)}" if dropped else ""
    return [
        _Step(f"have every replica accept {told}", accepted, signing),
        _Step(kept + gone, active, signing),
    ]


def _until_used(
    fleet: Fleet, digest: str, words: str, timeout_s: float, pause: Callable[[float], None]
) -> tuple[str, ...]:
    deadline = time.monotonic() + timeout_s
    while True:
        in_use = fleet.in_use()
        behind: Sequence[str] = [name for name, told in in_use.items() if told != digest]
        if not behind:
            return tuple(in_use)
        if time.monotonic() > deadline:
            raise CouldNotTell(
                f"{', '.join(behind)} did not take the keys within {timeout_s:g} s: {words}",
                hint="see that the file reaches each replica (on a cluster: the secret), then repeat "
                "the command; it goes on from here",
            )
        pause(_POLL_S)
