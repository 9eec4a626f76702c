"""The A2A extension by which governance travels: declared in the card, carried in metadata.

A request's `message.metadata[GOVERNANCE_URI]` may hold:

    agent        which downstream agent is asked; `records` unless told
    purpose      why, in the tenant's declared vocabulary; `support` unless told
    residency    where the data must stay; empty: the tenant's own
    operation    the operation to enact; empty: a question that is forwarded
    destinations further agents that the conversation may reach once content from outside is in it
    tenant       optional; if present it must be the credential's tenant

The tenant and the principal never come from here: they come from the credential.
A reply's task carries decision, operation, outcome and steps under the same URI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mc_contract.errors import McError

GOVERNANCE_URI = "urn:mc-platform:a2a:governance:1"

POLICY_DENIED_CODE = -32050
RATE_LIMITED_CODE = -32051
UNAVAILABLE_CODE = -32052
CONFLICT_CODE = -32053
AUTONOMY_HALTED_CODE = -32054

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEYS = ("agent", "purpose", "residency", "operation", "tenant", "destinations")
_MOST_DESTINATIONS = 16


class GovernanceError(McError):
    """The extension's metadata cannot be understood."""

    code = "bad-governance"


@dataclass(frozen=True, slots=True)
class Governance:
    """What a request says of itself; claims, which policy judges."""

    agent: str = "records"
    purpose: str = "support"
    residency: str = ""
    operation: str = ""
    tenant: str = ""
    destinations: tuple[str, ...] = ()


def parse_governance(metadata: Mapping[str, Any]) -> Governance:
    """Read the extension out of a message's metadata.

    Raises:
        GovernanceError: unknown key, or a value that is no plain word of at most 64 characters
            (`destinations`: a list of at most 16 such words).
    """
    raw = metadata.get(GOVERNANCE_URI, {})
    if not isinstance(raw, Mapping):
        raise GovernanceError(f"metadata {GOVERNANCE_URI!r} must be an object")
    try:
        return _parsed(tuple(raw.items()))
    except TypeError:  # not hashable, as a list of destinations
        return _parse(raw)


@lru_cache(maxsize=1024)
def _parsed(items: tuple[tuple[str, Any], ...]) -> Governance:
    """A client says the same in each request. What is kept are plain words; errors are not."""
    return _parse(dict(items))


def _parse(raw: Mapping[str, Any]) -> Governance:
    if set(raw) - set(_KEYS):
        # Not told back: a key can hold what an error must not
        raise GovernanceError(
            "the metadata holds an unknown governance key",
            hint=f"known keys: {', '.join(_KEYS)}",
        )
    words = {key: value for key, value in raw.items() if key != "destinations"}
    for key, value in words.items():
        if not isinstance(value, str) or (value and not _WORD.fullmatch(value)):
            raise GovernanceError(
                f"governance key {key!r} must be a word of letters, digits, '_', '.' and '-'"
            )
    return Governance(
        **{key: str(value) for key, value in words.items() if value},
        destinations=_destinations(raw.get("destinations", ())),
    )


def _destinations(raw: object) -> tuple[str, ...]:
    plain = isinstance(raw, list | tuple) and all(
        isinstance(word, str) and _WORD.fullmatch(word) for word in raw
    )
    if not plain or not isinstance(raw, list | tuple) or len(raw) > _MOST_DESTINATIONS:
        raise GovernanceError(
            f"governance key 'destinations' must be a list of at most {_MOST_DESTINATIONS} agents"
        )
    return tuple(str(word) for word in raw)
