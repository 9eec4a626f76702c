"""Keyed digests: they match equal values without telling them to a guesser.

A bare hash of an email or an order number is found by trying; an HMAC under the region's key is
not. The key is derived from the ledger's signing key (HKDF-SHA256), so nothing more is to keep.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Digester:
    """Digests under one region's key."""

    def __init__(self, ledger_key: Ed25519PrivateKey) -> None:
        self._key = HKDF(
            algorithm=SHA256(), length=32, salt=None, info=b"mc-platform ledger digest v1"
        ).derive(ledger_key.private_bytes_raw())

    def digest(self, value: bytes) -> str:
        """HMAC-SHA256 of `value`, hex."""
        return hmac.new(self._key, value, hashlib.sha256).hexdigest()
