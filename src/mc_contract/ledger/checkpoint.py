"""Ledger checkpoints: C2SP tlog-checkpoint in a C2SP signed note, ed25519.

    origin, size and root, then one line for each signature; text that fits in a mail
    https://c2sp.org/tlog-checkpoint   https://c2sp.org/signed-note

What a verified checkpoint proves: the holder of the key said that its log had this root at this
size. That the log is append-only takes two checkpoints and a consistency proof (`merkle`); that
the key is the log's takes a key from outside. Cosignatures are ignored here (`cosignature`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mc_contract.canonical import NotCanonical, decode_base64, encode_base64
from mc_contract.errors import McError
from mc_contract.ledger.merkle import HASH_BYTES

LogKeys = Ed25519PublicKey | Sequence[Ed25519PublicKey]
"""A log's public key, from outside of its notes: one, or after a rotation several, the newest first."""
Trusted = Mapping[str, LogKeys]
"""Public keys by key name."""
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 100
ED25519 = b"\x01"  # signed-note's signature type byte
KEY_ID_BYTES = 4
_SIGNATURE_LINE = re.compile("— ([^ ]+) ([A-Za-z0-9+/]+={0,2})")
_PEM = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----\n?", re.DOTALL)
_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_HEAD_LINES = 3
_PREVIOUS = "previous "  # our extension line; C2SP has readers ignore lines that they do not know


class CheckpointError(McError):
    """A checkpoint or signed note is malformed, or no trusted key signed it."""

    code = "checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head.

    Attributes:
        origin: The log's identity, such as `mc-platform.example.com/ledger/local-1`.
        size: How many leaves the log has.
        root: The RFC 6962 root hash over them, 32 bytes.
        previous: The size of the newest checkpoint that the log's database had stored when this
            one was signed (0: none), so that its deletion shows; None: not told.
    """

    origin: str
    size: int
    root: bytes
    previous: int | None = field(default=None, compare=False)

    def text(self) -> str:
        """The note text, newline at its end.

        Raises:
            CheckpointError: when a field can't stand in a checkpoint.
        """
        if not self.origin or not _is_clean(self.origin, newlines=False):
            raise CheckpointError(f"origin {self.origin!r} is empty or has control characters")
        if self.size < 0 or len(self.root) != HASH_BYTES:
            raise CheckpointError(
                f"checkpoint of size {self.size} with a root of {len(self.root)} bytes"
            )
        told = "" if self.previous is None else f"{_PREVIOUS}{self.previous}\n"
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n{told}"


def key_id(key_name: str, public_key: Ed25519PublicKey, kind: bytes = ED25519) -> bytes:
    """The four bytes that, with the name, tell which key signed: a hint, not a commitment."""
    material = key_name.encode() + b"\n" + kind + public_key.public_bytes_raw()
    return hashlib.sha256(material).digest()[:KEY_ID_BYTES]


def verifier_key(key_name: str, public_key: Ed25519PublicKey, kind: bytes = ED25519) -> str:
    """The key as other signed-note tools take it: `name+hash+base64`."""
    material = encode_base64(kind + public_key.public_bytes_raw())
    return f"{key_name}+{key_id(key_name, public_key, kind).hex()}+{material}"


def signing_view(key_name: str, keys: Sequence[Ed25519PublicKey]) -> dict[str, dict[str, str]]:
    """What may be told of a log's keys, the active one first, as `keyring.Keyring.view` does."""
    return {
        f"signing.{key_id(key_name, key).hex()}": {"state": "former" if place else "active"}
        for place, key in enumerate(keys)
    }


def read_public_key(pem: bytes) -> Ed25519PublicKey:
    """The ledger's public key in a PEM file.

    Raises:
        CheckpointError: it is no such key.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise CheckpointError("the ledger's key is not a PEM public key") from cause
    if not isinstance(key, Ed25519PublicKey):
        raise CheckpointError("the ledger's key is not an ed25519 public key")
    return key


def read_public_keys(pem: bytes) -> tuple[Ed25519PublicKey, ...]:
    """The ledger's public keys in a PEM file: after a rotation there are several, the newest first.

    Raises:
        CheckpointError: one is no such key.
    """
    return tuple(read_public_key(one) for one in _PEM.findall(pem) or [pem])


def sign_note(text: str, key_name: str, *private_keys: Ed25519PrivateKey) -> str:
    """`text` as a signed note with a signature of each key.

    Args:
        text: Ends with a newline; no other control characters.
        key_name: No spaces and no plus; by custom the log's origin.
        private_keys: ed25519.

    Raises:
        CheckpointError: when the text or name can't stand in a note.
    """
    if not text.endswith("\n") or not _is_clean(text, newlines=True):
        raise CheckpointError("note text must end with a newline and hold no control characters")
    if not is_key_name(key_name):
        raise CheckpointError(f"key name {key_name!r} is empty, or has a space or a plus")
    signatures = [
        key_id(key_name, key.public_key()) + key.sign(text.encode()) for key in private_keys
    ]
    lines = [f"— {key_name} {encode_base64(signature)}\n" for signature in signatures]
    return f"{text}\n{''.join(lines)}"


def verify_note(note: str, trusted: Trusted) -> str:
    """The text of a signed note that at least one trusted key signed.

    Args:
        note: The whole signed note.
        trusted: See `Trusted`.

    Returns:
        The note text, newline at its end; only now may it be read.

    Raises:
        CheckpointError: when the note is malformed, a trusted key's signature is wrong (even
            beside a right one), or no trusted key signed.
    """
    text, lines = split_note(note)
    verified = False
    for line in lines:
        name, signature = parse_signature(line)
        # A key that is not here is another's, whose cosignature the note spec has us ignore
        for public_key in _keys_named(trusted, name):
            if signature[:KEY_ID_BYTES] != key_id(name, public_key):
                continue
            try:
                public_key.verify(signature[KEY_ID_BYTES:], text.encode())
            except InvalidSignature as cause:
                raise CheckpointError(f"the signature of {name} does not fit the note") from cause
            verified = True
    if not verified:
        raise CheckpointError(
            "no trusted key signed the note",
            hint=f"trusted: {', '.join(sorted(trusted)) or 'none'}",
        )
    return text


def _keys_named(trusted: Trusted, name: str) -> Iterator[Ed25519PublicKey]:
    found = trusted.get(name, ())
    yield from (found,) if isinstance(found, Ed25519PublicKey) else found


def sign_checkpoint(checkpoint: Checkpoint, key_name: str, *private_keys: Ed25519PrivateKey) -> str:
    """The signed note of `checkpoint`.

    That it is consistent with every checkpoint signed before is the caller's promise.

    Raises:
        CheckpointError: when a field or the key name can't stand in a note.
    """
    return sign_note(checkpoint.text(), key_name, *private_keys)


def verify_checkpoint(note: str, trusted: Trusted) -> Checkpoint:
    """The checkpoint in a note that a trusted key signed; see `verify_note`.

    Extension lines are covered by the signature and otherwise ignored. Whether `origin` is the
    expected log is left to the caller.

    Raises:
        CheckpointError: as `verify_note`, or when the text is no checkpoint.
    """
    return parse_checkpoint(verify_note(note, trusted))


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that a note text spells; no signature is looked at.

    Raises:
        CheckpointError: when it is not exactly a checkpoint.
    """
    lines = text.split("\n")
    if len(lines) <= _HEAD_LINES or lines.pop() or not all(lines):
        raise CheckpointError(f"a checkpoint has three or more non-empty lines, got {len(lines)}")
    origin, size, root_text = lines[:_HEAD_LINES]
    if not _SIZE.fullmatch(size):
        raise CheckpointError(f"tree size {size!r} is not a plain decimal number")
    root = _decoded(root_text)
    if len(root) != HASH_BYTES:
        raise CheckpointError(f"root hash has {len(root)} bytes, expected {HASH_BYTES}")
    told = (line.removeprefix(_PREVIOUS) for line in lines[_HEAD_LINES:])
    sizes = [int(text) for text in told if _SIZE.fullmatch(text)]
    return Checkpoint(origin, int(size), root, sizes[0] if sizes else None)


def split_note(note: str) -> tuple[str, list[str]]:
    """A signed note's text, newline at its end, and its signature lines; none is verified.

    Raises:
        CheckpointError: it is malformed.
    """
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
        raise CheckpointError(f"signed note is larger than {MAX_NOTE_BYTES} bytes")
    if not _is_clean(note, newlines=True):
        raise CheckpointError("signed note holds control characters or is not valid UTF-8")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise CheckpointError("signed note has no blank line before its signatures")
    lines = note[at + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise CheckpointError(f"signed note has {len(lines)} signatures, limit {MAX_SIGNATURES}")
    return note[: at + 1], lines


def parse_signature(line: str) -> tuple[str, bytes]:
    """The key's name of a signature line, and its key id with what follows it.

    Raises:
        CheckpointError: it is malformed.
    """
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not is_key_name(match[1]):
        raise CheckpointError("signed note has a malformed signature line")
    signature = _decoded(match[2])
    if len(signature) <= KEY_ID_BYTES:
        raise CheckpointError(f"the signature of {match[1]} has {len(signature)} bytes")
    return match[1], signature


def _decoded(text: str) -> bytes:
    try:
        return decode_base64(text)
    except NotCanonical as cause:
        raise CheckpointError(f"in a signed note: {cause.message}") from cause


def is_key_name(name: str) -> bool:
    """Whether it can name a key in a note."""
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _is_clean(text: str, *, newlines: bool) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return not any(char < " " and not (newlines and char == "\n") for char in text)
