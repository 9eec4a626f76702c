"""What is done under the platform's keys: ids of tasks, digests of values, texts sealed at rest.

A bare hash of an email or an order number is found by trying; an HMAC under a key is not. Sealed are
the ends of a conversation's messages, for the next one's screening: AES-256-GCM.

What a key makes carries the key's id before a colon, but for the key `first` (`mc_contract.keyring`).
Each of these takes another set of keys while the service runs (`renew`), by one assignment.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mc_contract.keyring import FIRST, Key, KeySet

_NONCE_BYTES = 12


def carried_id(made: str) -> str:
    """The id of the key that made a digest, or sealed a text."""
    return made.partition(":")[0] if ":" in made else FIRST


class Identity:
    """Names of things that must be the same for each repeat, whichever replica or region is asked."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys."""
        self._keys = keys

    def name(self, value: bytes) -> str:
        """HMAC-SHA256 of `value` under the active key, hex. It carries no id: an id is made of it."""
        return _mac(self._keys.active, value)

    def names(self, value: bytes) -> list[str]:
        """What each key that is known makes of it: the active one, former ones, and accepted ones."""
        return [_mac(key, value) for key in self._keys]

    @property
    def overlaps(self) -> bool:
        """Whether there is more than one key."""
        return bool(self._keys.others)


class Digester:
    """Digests under the platform's key."""

    def __init__(self, keys: KeySet) -> None:
        self.renew(keys)

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys."""
        self._keys = keys

    def digest(self, value: bytes, like: str = "") -> str:
        """HMAC-SHA256 of `value`, hex, with its key's id.

        Args:
            like: A digest to compare with: it is made with that one's key, if that is known.
        """
        key = self._keys.active
        if like and carried_id(like) != key.id:
            key = self._keys.with_id(carried_id(like)) or key
        digest = _mac(key, value)
        return digest if key.id == FIRST else f"{key.id}:{digest}"


class Sealer:
    """Seals lists of texts, bound to a place."""

    def __init__(self, keys: KeySet) -> None:
        self.renew(keys)

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys."""
        ciphers = {key.id: AESGCM(key.secret[:32]) for key in keys}
        self._now = keys.active.id, ciphers

    def seal(self, place: str, texts: list[str]) -> str:
        """The texts as printable characters that only this key opens, and only at this place."""
        return self.seal_bytes(place, msgspec.json.encode([_storable(text) for text in texts]))

    def open(self, place: str, sealed: str) -> list[str]:
        """The texts; none if their key is not known, or they belong elsewhere."""
        plain = self.open_bytes(place, sealed)
        return [] if plain is None else msgspec.json.decode(plain, type=list[str])

    def seal_bytes(self, place: str, plain: bytes) -> str:
        """As `seal`, of whatever bytes."""
        active, ciphers = self._now
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + ciphers[active].encrypt(nonce, plain, place.encode())
        text = base64.b64encode(sealed).decode()
        return text if active == FIRST else f"{active}:{text}"

    def knows(self, sealed: str) -> bool:
        """Whether the key is known under which it was sealed."""
        return carried_id(sealed) in self._now[1]

    def open_bytes(self, place: str, sealed: str) -> bytes | None:
        """As `open`; None for what cannot be opened."""
        cipher = self._now[1].get(carried_id(sealed))
        if cipher is None:
            return None
        try:
            raw = base64.b64decode(sealed.rpartition(":")[2], validate=True)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError, binascii.Error):
            return None


def _mac(key: Key, value: bytes) -> str:
    return hmac.digest(key.secret, value, "sha256").hex()


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # a lone surrogate has no encoding
