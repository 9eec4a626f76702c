"""The files that hold the platform's keys, read strictly and written whole, mode 0600."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.configuration import FileProblems
from mc_contract.keyring import Keyring, keyring_text, parse_keyring
from mc_contract.ledger.checkpoint import signing_view
from mc_contract.ledger.export import log_origin
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited, write_atomically

SIGNING = "signing"
"""What the region's signing key is called among the purposes of the keyring."""
_PEM = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where they are.

    Attributes:
        keyring: `MC_KEYRING_FILE`.
        signing: `MC_LEDGER_KEY_FILE`: the active private key, and beside it the one before.
        trusted: Its public keys, all that ever signed.
    """

    keyring: Path
    signing: Path
    trusted: Path

    def read(self) -> Keyring:
        """The keyring.

        Raises:
            UnusableInput: with every problem; never with a secret.
        """
        try:
            return parse_keyring(read_limited(self.keyring))
        except FileProblems as error:
            raise UnusableInput(
                f"{self.keyring}: {error}", hint="docs/how-to/keys.md says what the file holds"
            ) from error

    def write(self, keyring: Keyring) -> None:
        """Replace it."""
        write_atomically(self.keyring, keyring_text(keyring))

    def signing_keys(self) -> list[Ed25519PrivateKey]:
        """The keys that sign checkpoints, the active one first.

        Raises:
            UnusableInput: the file holds something else.
        """
        raw = read_limited(self.signing)
        try:
            found = [
                serialization.load_pem_private_key(one, password=None) for one in _PEM.findall(raw)
            ]
        except ValueError as error:
            raise UnusableInput(f"{self.signing} holds no PEM private key") from error
        keys = [key for key in found if isinstance(key, Ed25519PrivateKey)]
        if not keys or len(keys) < len(found):
            raise UnusableInput(f"{self.signing} must hold ed25519 private keys, PEM (PKCS8)")
        return keys

    def write_signing(self, keys: list[Ed25519PrivateKey]) -> None:
        """Replace them; the public keys that were trusted before stay so, after the new one."""
        known = _PEM.findall(read_limited(self.trusted)) if self.trusted.exists() else []
        public = [_public(key) for key in keys]
        more = [one for one in known if one not in public]
        # Trusted first: nothing is to be signed that nobody can verify
        write_atomically(self.trusted, b"".join([*public, *more]).decode(), mode=0o644)
        write_atomically(self.signing, b"".join(map(_private, keys)).decode())

    def view(self, keyring: Keyring, keys: list[Ed25519PrivateKey], log: str) -> dict[str, Any]:
        """What a replica that signs this log tells of these keys."""
        public = [key.public_key() for key in keys]
        return {**keyring.view(), **signing_view(log_origin(log), public)}


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
