"""Keyed digests: they match equal values without telling them to a guesser.

A bare hash of an email or an order number is found by trying; an HMAC under the region's key is
not. Keys are derived from the ledger's signing key, so nothing more is to keep.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


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
        return hmac.new(self._key, value, hashlib.sha256).hexdigest()
