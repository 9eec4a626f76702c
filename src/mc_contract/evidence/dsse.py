"""DSSE: what is signed (the pre-authentication encoding), by which key, and whether it fits.

https://github.com/secure-systems-lab/dsse. ECDSA P-256 with SHA-256 is what packs are signed with
(plain `openssl dgst -verify` checks it); Ed25519 is accepted too. Nothing else is.

A signature has one spelling. Of the two ECDSA signatures (r, s) and (r, n - s) that fit alike, the
one with the lower s is made and accepted, in canonical DER; of Ed25519, S is below the group's
order (RFC 8032, 5.1.7). Otherwise anyone could make a second file of a pack that verifies, too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from mc_contract.errors import McError

PAYLOAD_TYPE = "application/vnd.in-toto+json"

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
_SHA256 = ec.ECDSA(hashes.SHA256())
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
_ED25519_BYTES = 64
_PEM_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_PEM_MARK = b"-----"


class UnusableKey(McError):
    """The key is not a PEM key of a kind that packs are signed with."""

    code = "unusable-key"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that the verifier brought along.

    Attributes:
        key_id: SHA-256 of the key's DER (SubjectPublicKeyInfo), in hex.
        public_key: ECDSA P-256 or Ed25519.
    """

    key_id: str
    public_key: PublicKey


def key_id(public_key: PublicKey) -> str:
    """SHA-256 of the key's DER in hex, as `openssl pkey -pubin -outform DER | sha256sum` gives."""
    der = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def load_trusted_keys(pem: bytes) -> list[TrustedKey]:
    """Every public key in a PEM file; text between the keys is allowed, as RFC 7468 allows it.

    Raises:
        UnusableKey: no PEM public key, one that is damaged or of another kind (a certificate, a
            private key), or a key that is neither ECDSA P-256 nor Ed25519.
    """
    blocks = _PEM_BLOCK.findall(pem)
    if not blocks or _PEM_MARK in _PEM_BLOCK.sub(b"", pem):
        # One that is passed over in silence would look like a key that never signed
        raise UnusableKey("not a PEM public key, or something else beside one")
    return [_trusted(block) for block in blocks]


def _trusted(pem: bytes) -> TrustedKey:
    try:
        loaded = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise UnusableKey("not a PEM public key") from cause
    if isinstance(loaded, Ed25519PublicKey) or (
        isinstance(loaded, ec.EllipticCurvePublicKey) and isinstance(loaded.curve, ec.SECP256R1)
    ):
        return TrustedKey(key_id(loaded), loaded)
    raise UnusableKey("expected an ECDSA P-256 or Ed25519 public key, got another kind")


def load_private_key(pem: bytes) -> PrivateKey:
    """The signing key in an unencrypted PEM file.

    Raises:
        UnusableKey: no such PEM key, or neither ECDSA P-256 nor Ed25519.
    """
    try:
        loaded = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise UnusableKey("not an unencrypted PEM private key") from cause
    if isinstance(loaded, Ed25519PrivateKey) or (
        isinstance(loaded, ec.EllipticCurvePrivateKey) and isinstance(loaded.curve, ec.SECP256R1)
    ):
        return loaded
    raise UnusableKey("expected an ECDSA P-256 or Ed25519 private key, got another kind")


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: DSSE's pre-authentication encoding, version 1."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(private_key: PrivateKey, message: bytes) -> bytes:
    """A signature over `message` (DER with the lower s for ECDSA, 64 bytes for Ed25519)."""
    if isinstance(private_key, Ed25519PrivateKey):
        return private_key.sign(message)
    r, s = decode_dss_signature(private_key.sign(message, _SHA256))
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def signature_problem(public_key: PublicKey, signature: bytes, message: bytes) -> str | None:
    """Why `signature` is not this key's one signature over `message`, or None."""
    try:
        if isinstance(public_key, Ed25519PublicKey):
            problem = _ed25519_spelling(signature)
            public_key.verify(signature, message)
        else:
            problem = _ecdsa_spelling(signature)
            public_key.verify(signature, message, _SHA256)
    except InvalidSignature:
        return problem or "it does not fit the payload and the key that it names"
    return problem


def _ecdsa_spelling(signature: bytes) -> str | None:
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        return "it is not the DER of two integers"
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        return "it has an integer out of range"
    if encode_dss_signature(r, s) != signature:
        return "it is not in canonical DER"
    if s > _P256_ORDER // 2:
        return "it has the higher of two possible s values, which anyone can make of the lower"
    return None


def _ed25519_spelling(signature: bytes) -> str | None:
    if len(signature) != _ED25519_BYTES:
        return f"it has {len(signature)} bytes, expected {_ED25519_BYTES}"
    if int.from_bytes(signature[32:], "little") >= _ED25519_ORDER:
        return "its S is not below the group's order"
    return None
