"""Cosigned checkpoints: whom the auditor trusts as witnesses, and what they have cosigned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mc_contract.ledger.checkpoint import (
    ED25519,
    Checkpoint,
    CheckpointError,
    LogKeys,
    is_key_name,
    read_public_key,
    verifier_key,
)
from mc_contract.ledger.cosignature import (
    COSIGNATURE,
    Cosigned,
    VerifierKey,
    cosignatures,
    cosigner_name,
    parse_verifier_key,
    refuse_twins,
)
from mc_contract.ledger.export import log_origin, verify_log_checkpoint
from mc_contract.numbers import counted
from mc_ops.audit.client import AuditClient
from mc_ops.errors import Finding, UnusableInput
from mc_ops.files import read_limited


@dataclass(frozen=True, slots=True)
class Demand:
    """How many of which witnesses must have cosigned."""

    witnesses: Sequence[VerifierKey]
    require: int

    def cosigned(self, note: str) -> list[Cosigned]:
        """Who of them cosigned a note.

        Raises:
            CheckpointError: fewer than are required did, or a cosignature does not verify.
        """
        found = cosignatures(note, self.witnesses)
        if len(found) < self.require:
            names = ", ".join(one.witness.name for one in found)
            raise CheckpointError(
                f"{len(found)} of {len(self.witnesses)} trusted witnesses cosigned it"
                f"{f' ({names})' if names else ''}, {self.require} are required"
            )
        return found


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that enough of the trusted witnesses cosigned."""

    note: str
    checkpoint: Checkpoint
    cosigned: Sequence[Cosigned]

    @property
    def at(self) -> datetime:
        """When the last of the required witnesses cosigned it."""
        return max(one.at for one in self.cosigned)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"size": self.checkpoint.size, "witnesses": cosigned_json(self.cosigned)}


def cosigned_json(cosigned: Sequence[Cosigned]) -> list[dict[str, str]]:
    """Who cosigned and when, for JSON."""
    return [{"witness": one.witness.name, "at": one.at.isoformat()} for one in cosigned]


def told(cosigned: Sequence[Cosigned]) -> str:
    """Who cosigned and when, in words."""
    return ", ".join(f"{one.witness.name} at {one.at:%Y-%m-%dT%H:%M:%SZ}" for one in cosigned)


def demand(given: Sequence[str], require: int | None) -> Demand | None:
    """What `--witness` and `--require` ask for; None: nothing.

    Args:
        given: Verifier keys, or files with one on each line.
        require: None: one.

    Raises:
        UnusableInput: a key cannot be read, is named twice, or more are required than are named.
    """
    if not given:
        if require is not None:
            raise UnusableInput("--require needs witnesses", hint="name them: --witness KEY")
        return None
    keys: list[VerifierKey] = []
    for one in given:
        keys += _keys(one)
    try:
        refuse_twins(keys)
    except CheckpointError as error:
        raise UnusableInput(f"--witness: {error.message}") from error
    if require is not None and require > len(keys):
        raise UnusableInput(
            f"--require {require} is more than the {counted(len(keys), 'witness')} named",
            hint="name more: --witness KEY",
        )
    return Demand(keys, 1 if require is None else require)


def verifier_key_of(path: Path, name: str, region: str, *, witness: bool) -> str:
    """A PEM key, public or private, as a verifier key.

    Args:
        name: Its name; empty: that of a region's ledger or witness.

    Raises:
        UnusableInput: it is no ed25519 key, or the name can name none.
    """
    raw = read_limited(path)
    name = name or (cosigner_name(region) if witness else log_origin(region))
    if not is_key_name(name):
        raise UnusableInput(f"{name!r} can name no key", hint="no spaces, no plus")
    try:
        if b"PRIVATE KEY" in raw:
            private = load_pem_private_key(raw, password=None)
            if not isinstance(private, Ed25519PrivateKey):
                raise UnusableInput(f"{path} holds no ed25519 key")
            public = private.public_key()
        else:
            public = read_public_key(raw)
    except (ValueError, TypeError, CheckpointError) as error:
        raise UnusableInput(
            f"{path} holds no ed25519 key that can be read", hint="a PEM file, not encrypted"
        ) from error
    return verifier_key(name, public, COSIGNATURE if witness else ED25519)


def newest_witnessed(client: AuditClient, key: LogKeys, wanted: Demand) -> Witnessed | None:
    """The newest checkpoint that the ledger's key signed and enough witnesses cosigned.

    What does not verify is passed by: who owns the database can write any row, and none that verifies.

    Raises:
        CouldNotTell, NotAllowed: as the client.
    """
    for note in client.cosigned():
        try:
            return Witnessed(note, verify_log_checkpoint(note, key), wanted.cosigned(note))
        except CheckpointError:
            continue
    return None


def require_witnessed(client: AuditClient, key: LogKeys, wanted: Demand) -> Witnessed:
    """The same, where nothing can be done without one.

    Raises:
        Finding: there is none.
    """
    found = newest_witnessed(client, key, wanted)
    if found is None:
        raise Finding(
            f"no checkpoint of the ledger has {counted(wanted.require, 'cosignature')} of the "
            f"{counted(len(wanted.witnesses), 'trusted witness')}",
            hint="docs/how-to/witnesses.md: who is asked, and why one may refuse",
        )
    return found


def _keys(given: str) -> list[VerifierKey]:
    lines = [given] if "+" in given and not Path(given).is_file() else _lines(Path(given))
    try:
        return [parse_verifier_key(line, COSIGNATURE) for line in lines]
    except CheckpointError as error:
        raise UnusableInput(
            f"--witness: {error.message}",
            hint=error.hint or "`mcctl audit verifier-key --witness` shows a region's",
        ) from error


def _lines(path: Path) -> list[str]:
    try:
        text = read_limited(path).decode("utf-8-sig")
    except (UnusableInput, UnicodeDecodeError) as error:
        raise UnusableInput(
            f"--witness {path} is no verifier key, and no file that can be read",
            hint="give NAME+HASH+BASE64, or a file with one on each line",
        ) from error
    lines = [line.strip() for line in text.split("\n")]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise UnusableInput(f"--witness {path} holds no key")
    return found
