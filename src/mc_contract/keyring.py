"""The platform's keyring: secret keys by purpose, each with an id that what it makes carries.

A JSON file (`MC_KEYRING_FILE`), the same for all replicas and regions:

    {"version": 1, "identity": [{"id": "5f0c1a77", "secret": "<base64>",
     "created_at": "2026-12-01T10:00:00+00:00", "state": "active"}], "digest": [...], ...}

A key is first `accepted`: what it makes is read by all, and nobody makes anything with it. Then it is
`active`, one for each purpose, and the one before is `former`: it is read on for as long as its purpose
keeps what it made. So two replicas that take a new file at different times understand each other.

An id commits to its secret: eight hex digits of a SHA-256 over both. Only `first` does not: that is the
key that an installation had before keys had ids, derived from its ledger's; what it makes carries no id.

Nothing here opens a file, and no error and no `repr` shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mc_contract.configuration import FileProblems, Several, Strict, Text, check, json_of

FIRST = "first"
"""The id of the key from before keys had ids; what carries no id was made with it."""
SECRET_BYTES = 32
FINGERPRINT_DAYS = 15
_LONGEST_SECRET = 1024
_ID_DIGITS = 8


class Purpose(StrEnum):
    """What a key is for; no key serves two."""

    identity = "identity"
    """Task ids, and with them the keys of effects."""
    digest = "digest"
    """Digests of messages and requests in the ledger."""
    sealing = "sealing"
    """What is kept sealed: ends of messages, and records of operations."""
    fingerprint = "fingerprint"
    """Content fingerprints, by which quotations are known."""
    pseudonym = "pseudonym"
    """Pseudonyms; needed where a tenant's redaction makes them."""
    aggregate = "aggregate"
    """Digests of queries and selections of aggregates."""


OPTIONAL = frozenset({Purpose.pseudonym})


class KeyState(StrEnum):
    """Where a key is in its life."""

    accepted = "accepted"
    active = "active"
    former = "former"


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `retired_at` is when it became `former`."""

    id: str
    secret: bytes = field(repr=False)
    created_at: datetime
    state: KeyState = KeyState.active
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one purpose: the active one makes, the others are only read."""

    active: Key
    others: tuple[Key, ...] = ()

    def __iter__(self) -> Iterator[Key]:
        """All of them, the active one first."""
        yield self.active
        yield from self.others

    def with_id(self, key_id: str) -> Key | None:
        """The key of that id, if it is known."""
        return next((key for key in self if key.id == key_id), None)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys by purpose; a purpose that is not there has none."""

    keys: Mapping[Purpose, KeySet]

    def of(self, purpose: Purpose) -> KeySet:
        """The keys of a purpose that every keyring has."""
        return self.keys[purpose]

    def view(self) -> dict[str, dict[str, str]]:
        """What may be told, by `purpose.id`: state and times, no secret."""
        return {
            f"{purpose}.{key.id}": {
                "state": key.state.value,
                "created_at": key.created_at.isoformat(),
                **({"retired_at": key.retired_at.isoformat()} if key.retired_at else {}),
                # Else another secret could stand under the same id, and nobody would know
                **({"commitment": key_id(purpose, key.secret)} if key.id == FIRST else {}),
            }
            for purpose, keys in sorted(self.keys.items())
            for key in keys
        }


def view_digest(view: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a keyring's `view`: replicas that tell the same have the same keys."""
    return hashlib.sha256(json.dumps(view, sort_keys=True).encode()).hexdigest()


def key_id(purpose: Purpose, secret: bytes) -> str:
    """The id of a key: it commits to the secret, and tells nothing of it."""
    material = f"mc-platform key|{purpose}|".encode() + secret
    return hashlib.sha256(material).hexdigest()[:_ID_DIGITS]


def new_key(purpose: Purpose, now: datetime, state: KeyState = KeyState.active) -> Key:
    """A key of random bytes."""
    secret = secrets.token_bytes(SECRET_BYTES)
    return Key(key_id(purpose, secret), secret, now.replace(microsecond=0), state)


def new_keyring(now: datetime) -> Keyring:
    """One random key for each purpose: for an installation that begins."""
    return Keyring({purpose: KeySet(new_key(purpose, now)) for purpose in Purpose})


def first_keyring(ledger_key: Ed25519PrivateKey, pseudonym: bytes | None = None) -> Keyring:
    """The keys that an installation without a keyring has: derived from its ledger's signing key.

    Identity and digest are one secret there, as they were one key.

    Args:
        ledger_key: The key of `MC_LEDGER_KEY_FILE`.
        pseudonym: The bytes of `MC_PSEUDONYM_KEY_FILE`, without white space around them.
    """
    raw = ledger_key.private_bytes_raw()
    digest = _derived(raw, b"ledger digest v1")
    made = {
        Purpose.identity: digest,
        Purpose.digest: digest,
        Purpose.sealing: _derived(raw, b"conversation tail v1"),
        Purpose.fingerprint: _derived(raw, b"quotation v1"),
        Purpose.aggregate: hashlib.blake2b(raw, digest_size=32, person=b"mc-aggregates").digest(),
    }
    if pseudonym is not None:
        made[Purpose.pseudonym] = pseudonym
    began = datetime(1970, 1, 1, tzinfo=UTC)  # nobody knows when
    return Keyring({purpose: KeySet(Key(FIRST, one, began)) for purpose, one in made.items()})


def _derived(raw: bytes, purpose: bytes) -> bytes:
    info = b"mc-platform " + purpose
    return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=info).derive(raw)


# -- its file ------------------------------------------------------------------------------------


class _KeyEntry(Strict):
    id: Text
    secret: Text
    created_at: Text
    state: Literal["accepted", "active", "former"]
    retired_at: Text | None = None


class _KeyringFile(Strict):
    version: Literal[1]
    identity: Several[_KeyEntry]
    digest: Several[_KeyEntry]
    sealing: Several[_KeyEntry]
    fingerprint: Several[_KeyEntry]
    aggregate: Several[_KeyEntry]
    pseudonym: Several[_KeyEntry] = ()


def parse_keyring(raw: bytes) -> Keyring:
    """The keyring that a file's bytes hold.

    Raises:
        FileProblems: with every problem; never with a secret.
    """
    document = json_of(raw)
    found = check(_KeyringFile, document)
    problems: list[str] = []
    keys = {}
    for purpose in Purpose:
        entries: Sequence[_KeyEntry] = getattr(found, purpose.value)
        made = [
            _key(purpose, f"{purpose}[{place}]", entry, problems)
            for place, entry in enumerate(entries)
        ]
        active = [key for key in made if key.state is KeyState.active]
        if len({key.id for key in made}) < len(made):
            problems.append(f"{purpose}: an id stands twice")
        if len(active) == 1:
            keys[purpose] = KeySet(active[0], tuple(key for key in made if key is not active[0]))
        elif made or purpose not in OPTIONAL:
            problems.append(f"{purpose} has {len(active)} active keys, must have one")
    problems += _shared(keys)
    if problems:
        raise FileProblems(problems)
    return Keyring(keys)


def _shared(keys: Mapping[Purpose, KeySet]) -> list[str]:
    """Keys of one secret: one would serve two purposes. Identity and digest began as one, as `first`."""
    found, problems = dict[bytes, str](), []
    for purpose, each in keys.items():
        for key in each:
            began_as_one = key.id == FIRST and purpose in (Purpose.identity, Purpose.digest)
            name = f"{Purpose.identity}.{FIRST}" if began_as_one else f"{purpose}.{key.id}"
            if key.secret and found.setdefault(key.secret, name) != name:
                problems.append(f"{purpose}.{key.id} has the same secret as {found[key.secret]}")
    return problems


def _key(purpose: Purpose, path: str, entry: _KeyEntry, problems: list[str]) -> Key:
    state = KeyState(entry.state)
    retired_at = None
    if (entry.retired_at is None) == (state is KeyState.former):
        problems.append(f"{path}.retired_at must be there for a former key, and for no other")
    elif entry.retired_at is not None:
        retired_at = _time(f"{path}.retired_at", entry.retired_at, problems)
    created_at = _time(f"{path}.created_at", entry.created_at, problems)
    secret = b""
    try:
        secret = base64.b64decode(entry.secret, validate=True)
    except (ValueError, binascii.Error):
        problems.append(f"{path}.secret is not base64")
    else:
        if not SECRET_BYTES <= len(secret) <= _LONGEST_SECRET:
            problems.append(
                f"{path}.secret has {len(secret)} bytes, must have {SECRET_BYTES} to {_LONGEST_SECRET}"
            )
        elif entry.id not in (FIRST, key_id(purpose, secret)):
            problems.append(f"{path}.id does not belong to its secret: one of them was changed")
    return Key(entry.id, secret, created_at, state, retired_at)


def _time(path: str, text: str, problems: list[str]) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except ValueError:
        pass
    problems.append(f"{path} must be a time with its zone, such as 2026-12-01T10:00:00+00:00")
    return datetime(1970, 1, 1, tzinfo=UTC)


def keyring_text(keyring: Keyring) -> str:
    """A keyring as its file has it, secrets and all."""
    document: dict[str, Any] = {"version": 1}
    for purpose, keys in keyring.keys.items():
        document[purpose.value] = [
            {
                "id": key.id,
                "secret": base64.b64encode(key.secret).decode(),
                "created_at": key.created_at.isoformat(),
                "state": key.state.value,
                **({"retired_at": key.retired_at.isoformat()} if key.retired_at else {}),
            }
            for key in keys
        ]
    return json.dumps(document, indent=2) + "\n"


# -- rotation ------------------------------------------------------------------------------------


def accept_new(keyring: Keyring, purpose: Purpose, now: datetime) -> Keyring:
    """The keyring with a new key that is read, and makes nothing yet; the same if it has one."""
    keys = keyring.keys.get(purpose)
    if keys is None:
        return _with(keyring, purpose, KeySet(new_key(purpose, now)))
    if any(key.state is KeyState.accepted for key in keys.others):
        return keyring
    made = new_key(purpose, now, KeyState.accepted)
    return _with(keyring, purpose, KeySet(keys.active, (made, *keys.others)))


def activate(keyring: Keyring, purpose: Purpose, now: datetime) -> Keyring:
    """The keyring with its accepted key active, and the one that was active read on.

    Every replica must know the accepted key before: that is the caller's to see.
    """
    keys = keyring.of(purpose)
    accepted = next(key for key in keys.others if key.state is KeyState.accepted)
    former = replace(keys.active, state=KeyState.former, retired_at=now.replace(microsecond=0))
    rest = tuple(key for key in keys.others if key is not accepted)
    return _with(
        keyring, purpose, KeySet(replace(accepted, state=KeyState.active), (former, *rest))
    )


def keep_until(purpose: str, retired_at: datetime, retention_days: int) -> datetime | None:
    """Until when a former key is needed; None: for good.

    Fingerprints are forgotten after two weeks. Tasks, and what they hold, are kept for
    `retention_days` at most. Selections of aggregates are compared for ever.
    """
    if purpose == Purpose.aggregate:
        return None
    days = FINGERPRINT_DAYS if purpose == Purpose.fingerprint else retention_days + 1
    return retired_at + timedelta(days=days)


def drop_expired(keyring: Keyring, now: datetime, retention_days: int) -> Keyring:
    """The keyring without former keys that nothing needs any more."""

    def needed(purpose: Purpose, key: Key) -> bool:
        until = key.retired_at and keep_until(purpose, key.retired_at, retention_days)
        return until is None or until > now

    return Keyring(
        {
            purpose: KeySet(keys.active, tuple(key for key in keys.others if needed(purpose, key)))
            for purpose, keys in keyring.keys.items()
        }
    )


def missing_keys(
    before: Mapping[str, Mapping[str, str]],
    after: Mapping[str, Mapping[str, str]],
    now: datetime,
    retention_days: int,
) -> list[str]:
    """What of one keyring's `view` another one lacks too early, or holds in a state that went back."""
    problems = []
    for name, told in before.items():
        purpose, _, _ = name.partition(".")
        if purpose not in Purpose.__members__:
            continue
        if name in after:
            if told.get("commitment") != after[name].get("commitment"):
                problems.append(f"{name} has another secret than before")
            elif told["state"] == KeyState.former and after[name]["state"] != KeyState.former:
                problems.append(f"{name} was retired, and cannot make anything again")
        elif told["state"] == KeyState.active:
            problems.append(f"{name} is missing: what it made cannot be read without it")
        elif told["state"] == KeyState.former:
            until = keep_until(purpose, datetime.fromisoformat(told["retired_at"]), retention_days)
            if until is None or until > now:
                end = "for good" if until is None else f"until {until.date()}"
                problems.append(f"{name} is missing: it is needed {end}")
    return problems


def _with(keyring: Keyring, purpose: Purpose, keys: KeySet) -> Keyring:
    return Keyring({**keyring.keys, purpose: keys})
