"""The key that packs are signed with, and the keys that a verifier believes by default.

The private key lives in `secrets/evidence.key` (0600) and never leaves the process that signs; its
public half goes to `trust/evidence.pub`. Only `evidence*.pub` there is believed for packs: the
ledger's key beside it signs other things.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mc_contract.evidence import (
    PrivateKey,
    TrustedKey,
    UnusableKey,
    load_private_key,
    load_trusted_keys,
)
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.files import write_atomically

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def key_path(home: Path) -> Path:
    """Where the platform's signing key is kept; it need not exist."""
    return home / "secrets" / "evidence.key"


def ensure_key(home: Path) -> PrivateKey:
    """The platform's signing key, made at the first call; never overwritten.

    Args:
        home: The state folder (`MC_HOME`).

    Raises:
        UnusableInput: the key is damaged, or `trust/evidence.pub` belongs to another key.
        NotAllowed: others may read the key.
        CouldNotTell: the files can't be written.
    """
    private = key_path(home)
    public = home / "trust" / "evidence.pub"
    try:
        private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        public.parent.mkdir(parents=True, exist_ok=True)
        if not private.exists():
            _create(private, _new_key(), mode=0o600)
        key = load_key(private)
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if not public.exists():
            _create(public, pem, mode=0o644)
        if public.read_bytes() != pem:
            raise UnusableInput(
                f"{public} is not the public half of {private}",
                hint="keep it under another name, such as evidence-2025.pub, to go on trusting "
                "older packs; then remove it and sign again",
            )
    except OSError as cause:
        raise CouldNotTell(f"the evidence key can't be kept: {cause.strerror}") from cause
    return key


def load_key(path: Path) -> PrivateKey:
    """The signing key in `path`.

    Raises:
        UnusableInput: no such file, or no ECDSA P-256 or Ed25519 key in it.
        NotAllowed: others may read it.
    """
    try:
        pem = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as cause:
        raise UnusableInput(f"key {path} can't be read: {cause.strerror}") from cause
    if os.name == "posix" and mode & _OTHERS:
        raise NotAllowed(
            f"key {path} has mode {stat.S_IMODE(mode):04o}: others may use it",
            hint=f"chmod 600 {path}",
        )
    try:
        return load_private_key(pem)
    except UnusableKey as cause:
        raise UnusableInput(f"key {path}: {cause.message}") from cause


def trusted_keys(given: list[Path], home: Path) -> list[TrustedKey]:
    """The public keys to believe: those given, or else `trust/evidence*.pub`.

    Raises:
        UnusableInput: a file is no usable public key, or there is none at all.
    """
    paths = given or sorted((home / "trust").glob("evidence*.pub"))
    if not paths:
        raise UnusableInput(
            f"no trusted key: none given, and no {home / 'trust'}/evidence*.pub",
            hint="give the signer's public key, obtained apart from the pack: --trust KEY.pub",
        )
    keys: list[TrustedKey] = []
    for path in paths:
        try:
            keys += load_trusted_keys(path.read_bytes())
        except OSError as cause:
            raise UnusableInput(f"key {path} can't be read: {cause.strerror}") from cause
        except UnusableKey as cause:
            raise UnusableInput(f"key {path}: {cause.message}") from cause
    return keys


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _create(path: Path, content: bytes, *, mode: int) -> None:
    """Make the file whole or not at all; whoever came first wins."""
    with contextlib.suppress(FileExistsError):  # made meanwhile by another: theirs is used
        write_atomically(path, content, mode, replace=False)
