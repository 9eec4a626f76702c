"""Keys and memory that settings name: read once at start-up, or the replica does not start."""

from __future__ import annotations

from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mc_platform.adapters.signer_file import SignerFile
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import Catalogue
from mc_platform.record import Memory, ProcessMemory
from mc_platform.screen.detectors.tenant_terms import check_patterns, know_customer_ids
from mc_platform.screen.pseudonyms import Pseudonymiser
from mc_platform.settings import Settings

_log = structlog.get_logger()


def ledger_key(settings: Settings) -> Ed25519PrivateKey:
    """The key that signs checkpoints.

    Raises:
        Misconfigured: it cannot be read.
    """
    return ed25519_key(settings.ledger_key_file, "MC_LEDGER_KEY_FILE")


def ed25519_key(path: Path, setting: str) -> Ed25519PrivateKey:
    """The key in a file.

    Raises:
        Misconfigured: it cannot be read, or is another kind of key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{setting} cannot be read: {type(error).__name__}",
            hint="it must be an unencrypted PEM (PKCS8) ed25519 private key",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"{setting} must hold an ed25519 key")
    return key


def signer_memory(settings: Settings, log: str) -> Memory:
    """Where the signer keeps what it signed last of a log."""
    if settings.signer_state_dir is None:
        _log.warning(
            "signer_state_not_kept",
            hint="set MC_SIGNER_STATE_DIR: without it a restart forgets what was signed",
        )
        return ProcessMemory()
    return SignerFile(settings.signer_state_dir, region=log)


def pseudonymiser(settings: Settings, catalogue: Catalogue) -> Pseudonymiser | None:
    """What makes pseudonyms, if there is a key; and what the catalogue demands of screening.

    Raises:
        Misconfigured: a tenant wants pseudonyms and there is no key, or declares what cannot be
            looked for.
    """
    for tenant in catalogue.tenants.values():
        problems = check_patterns(tenant.customer_ids)
        if problems:
            raise Misconfigured(
                f"tenants.{tenant.id}.customer_ids: {'; '.join(problems)}",
                hint="mend the catalogue; docs/reference/catalogue.md says what can stand there",
            )
    know_customer_ids(catalogue.customer_ids.patterns)
    if settings.pseudonym_key_file is None:
        wanting = [t.id for t in catalogue.tenants.values() if t.redaction == "pseudonym"]
        if wanting:
            raise Misconfigured(
                f"tenant {wanting[0]} wants pseudonyms, and there is no key for them",
                hint="set MC_PSEUDONYM_KEY_FILE, or let its redaction be placeholder",
            )
        return None
    try:
        return Pseudonymiser(settings.pseudonym_key_file.read_bytes().strip())
    except (OSError, ValueError) as error:
        why = type(error).__name__ if isinstance(error, OSError) else str(error)
        raise Misconfigured(
            f"MC_PSEUDONYM_KEY_FILE cannot be used: {why}",
            hint="it must hold at least 32 random bytes",
        ) from error
