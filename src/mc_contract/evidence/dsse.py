"""DSSE: what is signed (the pre-authentication encoding), by which key, and whether it fits.

https://github.com/secure-systems-lab/dsse. ECDSA P-256 with SHA-256 is what packs are signed with
(plain `openssl dgst -verify` checks it); Ed25519 is accepted too. Nothing else is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mc_contract.errors import McError

PAYLOAD_TYPE = "application/vnd.in-toto+json"

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
_SHA256 = ec.ECDSA(hashes.SHA256())


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


def load_trusted_key(pem: bytes) -> TrustedKey:
    """The public key in a PEM file.

    Raises:
        UnusableKey: no PEM public key, or neither ECDSA P-256 nor Ed25519.
    """
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
    """A signature over `message` (DER for ECDSA, 64 bytes for Ed25519)."""
    if isinstance(private_key, Ed25519PrivateKey):
        return private_key.sign(message)
    return private_key.sign(message, _SHA256)


def fits(public_key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is this key's over `message`."""
    try:
        if isinstance(public_key, Ed25519PublicKey):
            public_key.verify(signature, message)
        else:
            public_key.verify(signature, message, _SHA256)
    except InvalidSignature:
        return False
    return True
