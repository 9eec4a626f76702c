"""Cosignatures on checkpoints (C2SP tlog-cosignature, Ed25519 `cosignature/v1`) and verifier keys.

    https://c2sp.org/tlog-cosignature   https://c2sp.org/signed-note#verifier-keys

A witness that cosigned a checkpoint says: at that time, this was the largest consistent tree that I
had seen of the log. So whoever holds the log's key and its database cannot show another history
of the same size to somebody who trusts the witness. Whether the log itself signed is `checkpoint`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mc_contract.canonical import NotCanonical, decode_base64, encode_base64
from mc_contract.ledger.checkpoint import (
    ED25519,
    KEY_ID_BYTES,
    CheckpointError,
    is_key_name,
    key_id,
    parse_signature,
    split_note,
    verifier_key,
)

WITNESS_ORIGIN = "mc-platform.example.com/witness/"
COSIGNATURE = b"\x04"  # an Ed25519 cosignature's type byte
MAX_VERIFIER_KEY_CHARS = 1000
_KINDS = {ED25519: "a log's Ed25519 key (type 1)", COSIGNATURE: "a witness's Ed25519 key (type 4)"}
_TIME_BYTES, _SIGNATURE_BYTES, _KEY_BYTES = 8, 64, 32
_LAST_S = 253_402_300_799  # the end of the year 9999, the last that a datetime has


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and use, as `name+hash+base64` spells it."""

    name: str
    kind: bytes
    public: Ed25519PublicKey

    @property
    def id(self) -> bytes:
        """The four bytes that stand before its signatures."""
        return key_id(self.name, self.public, self.kind)

    @property
    def text(self) -> str:
        """The key as it is written into configurations."""
        return verifier_key(self.name, self.public, self.kind)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness's verified statement about a checkpoint, and when it made it."""

    witness: VerifierKey
    at: datetime


def cosigner_name(region: str) -> str:
    """The name in the cosignatures that a region of MC Platform makes."""
    return f"{WITNESS_ORIGIN}{region}"


def parse_verifier_key(text: str, kind: bytes) -> VerifierKey:
    """A key that must be of this kind: `ED25519` of a log, `COSIGNATURE` of a witness.

    Raises:
        CheckpointError: it is none, its hash does not fit, or it is of another kind.
    """
    name, _, rest = text.partition("+")
    told_id, _, material = rest.partition("+")
    if len(text) > MAX_VERIFIER_KEY_CHARS or not is_key_name(name) or not material:
        raise CheckpointError(
            "no verifier key", hint="form: NAME+HASH+BASE64, as signed notes have"
        )
    try:
        raw = decode_base64(material)
    except NotCanonical as error:
        raise CheckpointError(f"verifier key of {name}: {error.message}") from error
    if raw[:1] != kind or len(raw) != 1 + _KEY_BYTES:
        raise CheckpointError(
            f"verifier key of {name} is of type {raw[0] if raw else 'none'}, "
            f"expected {_KINDS[kind]}"
        )
    key = VerifierKey(name, kind, Ed25519PublicKey.from_public_bytes(raw[1:]))
    if told_id != key.id.hex():
        raise CheckpointError(
            f"verifier key of {name}: its hash is {told_id[:16]}, of name and key it is {key.id.hex()}"
        )
    return key


def refuse_twins(witnesses: Sequence[VerifierKey]) -> None:
    """One key under two names is one witness, and may not count as two.

    Raises:
        CheckpointError: two have the same public key.
    """
    seen: dict[bytes, str] = {}
    for witness in witnesses:
        raw = witness.public.public_bytes_raw()
        if raw in seen:
            raise CheckpointError(f"{seen[raw]} and {witness.name} are one key: name it once")
        seen[raw] = witness.name


def cosign(text: str, name: str, key: Ed25519PrivateKey, at_s: int) -> str:
    """A cosignature's line, newline at its end.

    Args:
        text: The checkpoint's text, newline at its end; that it is consistent with what was cosigned
            before is the caller's promise.
        name: The witness's.
        at_s: POSIX time in seconds.
    """
    time = at_s.to_bytes(_TIME_BYTES, "big")
    signature = key.sign(_message(text, at_s))
    known = key_id(name, key.public_key(), COSIGNATURE)
    return f"— {name} {encode_base64(known + time + signature)}\n"


def cosignatures(note: str, witnesses: Sequence[VerifierKey]) -> list[Cosigned]:
    """The cosignatures of these witnesses on a checkpoint, the newest of each.

    Args:
        note: The whole signed note; the log's own signature is not looked at.
        witnesses: From outside of the note; their keys differ (`refuse_twins`).

    Raises:
        CheckpointError: the note is malformed, or a line by one of their keys does not verify, even
            beside one that does.
    """
    text, lines = split_note(note)
    known = {(witness.name, witness.id): witness for witness in witnesses}
    newest: dict[str, Cosigned] = {}
    for line in lines:
        name, raw = parse_signature(line)
        witness = known.get((name, raw[:KEY_ID_BYTES]))
        if witness is None:
            continue
        found = Cosigned(witness, _verified_time(text, witness, raw[KEY_ID_BYTES:]))
        before = newest.get(witness.text)
        newest[witness.text] = found if before is None else max(before, found, key=_at)
    return list(newest.values())


def lines_of(note: str, keys: Iterable[VerifierKey]) -> list[str]:
    """The note's first signature line by each of these keys; none is verified.

    One of each: who repeats a line cannot fill a note, to which another signature is to be added.

    Raises:
        CheckpointError: the note is malformed.
    """
    wanted = {(key.name, key.id) for key in keys}
    found: dict[tuple[str, bytes], str] = {}
    for line in split_note(note)[1]:
        name, raw = parse_signature(line)
        by = name, raw[:KEY_ID_BYTES]
        if by in wanted:
            found.setdefault(by, f"{line}\n")
    return list(found.values())


def _at(cosigned: Cosigned) -> datetime:
    return cosigned.at


def _verified_time(text: str, witness: VerifierKey, raw: bytes) -> datetime:
    if len(raw) != _TIME_BYTES + _SIGNATURE_BYTES:
        raise CheckpointError(f"the cosignature of {witness.name} has {len(raw)} bytes")
    at_s = int.from_bytes(raw[:_TIME_BYTES], "big")
    if at_s > _LAST_S:
        raise CheckpointError(f"the cosignature of {witness.name} has no possible time")
    try:
        witness.public.verify(raw[_TIME_BYTES:], _message(text, at_s))
    except InvalidSignature as cause:
        raise CheckpointError(
            f"the cosignature of {witness.name} does not fit the checkpoint"
        ) from cause
    return datetime.fromtimestamp(at_s, UTC)


def _message(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()
