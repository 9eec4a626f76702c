"""What is done under keys derived from the ledger's: digests of values, short texts sealed at rest.

A bare hash of an email or an order number is found by trying; an HMAC under the region's key is
not. Sealed are the ends of a conversation's messages, for the next one's screening: AES-256-GCM.
Keys are derived from the ledger's signing key, so nothing more is to keep; what another region
sealed cannot be opened here and reads as empty.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12


def derived_key(ledger_key: Ed25519PrivateKey, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose (HKDF-SHA256 of the ledger's signing key)."""
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"mc-platform " + purpose)
    return derivation.derive(ledger_key.private_bytes_raw())


class Digester:
    """Digests under one region's key."""

    def __init__(self, ledger_key: Ed25519PrivateKey) -> None:
        self._key = derived_key(ledger_key, b"ledger digest v1")

    def digest(self, value: bytes) -> str:
        """HMAC-SHA256 of `value`, hex."""
        return hmac.digest(self._key, value, "sha256").hex()


class Sealer:
    """Seals lists of texts, bound to a place."""

    def __init__(self, ledger_key: Ed25519PrivateKey) -> None:
        self._cipher = AESGCM(derived_key(ledger_key, b"conversation tail v1"))

    def seal(self, place: str, texts: list[str]) -> str:
        """The texts as printable characters that only this key opens, and only at this place."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = msgspec.json.encode([_storable(text) for text in texts])
        sealed = nonce + self._cipher.encrypt(nonce, plain, place.encode())
        return base64.b64encode(sealed).decode()

    def open(self, place: str, sealed: str) -> list[str]:
        """The texts; none if they are not ours, or belong elsewhere."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError, binascii.Error):
            return []
        return msgspec.json.decode(plain, type=list[str])


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a lone surrogate has no encoding
