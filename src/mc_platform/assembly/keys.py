"""Keys and memory that settings name: read at start-up, and keys again whenever their files change.

The only place that reads keys. What works under them gets them from here, and another set of them by
`renew`, so a key is rotated without a restart. A file that cannot be used, or that lacks a key which
is still needed, changes nothing: the keys before it stay in use, and it is told.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mc_contract.configuration import MOST_BYTES, FileProblems
from mc_contract.keyring import (
    SECRET_BYTES,
    Keyring,
    Purpose,
    first_keyring,
    missing_keys,
    parse_keyring,
    view_digest,
)
from mc_contract.ledger.checkpoint import signing_view
from mc_contract.numbers import counted
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.aggregate import Digests
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import Catalogue
from mc_platform.observe import metrics
from mc_platform.record import (
    CheckpointKeeper,
    ContentFingerprints,
    Digester,
    Identity,
    Memory,
    ProcessMemory,
    Sealer,
)
from mc_platform.record.checkpoints import ledger_origin
from mc_platform.screen.detectors.tenant_terms import check_patterns, know_customer_ids
from mc_platform.screen.pseudonyms import Pseudonymiser
from mc_platform.settings import Settings

_PEM = re.compile(rb"-----BEGIN [^-]+-----.+?-----END [^-]+-----", re.DOTALL)
_MOST_SIGNING = 2  # the one that signs, and the one before it
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HINT = "docs/how-to/keys.md says what the file holds"
_log = structlog.get_logger()


class Keys:
    """A replica's keys, and what works under them.

    Args:
        settings: Name the files.
        log: Whose checkpoints are signed, which gives the signing keys their ids.
        retention_days: How long anything that a key made is kept at most.

    Raises:
        Misconfigured: a file cannot be used.
    """

    def __init__(self, settings: Settings, log: str, retention_days: int) -> None:
        self._settings = settings
        self.log = log
        self.retention_days = retention_days
        self._seen = self._look_of_files()
        self.keyring, self.signing = _read(settings)
        of = self.keyring.of
        self.identity = Identity(of(Purpose.identity))
        self.digester = Digester(of(Purpose.digest))
        self.sealer = Sealer(of(Purpose.sealing))
        self.fingerprints = ContentFingerprints(of(Purpose.fingerprint))
        self.aggregates = Digests(of(Purpose.aggregate))
        pseudonym = self.keyring.keys.get(Purpose.pseudonym)
        self.pseudonyms = None if pseudonym is None else Pseudonymiser(pseudonym)
        self.checkpoints: CheckpointKeeper | None = None  # takes another signing key as well
        self.refused: str | None = None

    def view(self) -> dict[str, dict[str, str]]:
        """What may be told of the keys, by `purpose.id`; see `Keyring.view`."""
        origin = ledger_origin(self.log)
        public = [key.public_key() for key in self.signing]
        return {**self.keyring.view(), **signing_view(origin, public)}

    def digest(self) -> str:
        """Which keys are in use here, as `/health` tells it."""
        return view_digest(self.view())

    def require_continued(self, before: Mapping[str, Mapping[str, str]]) -> None:
        """See that no key is gone that is still needed.

        Args:
            before: The `view` that this region had in use last.

        Raises:
            Misconfigured: one is.
        """
        problems = missing_keys(before, self.view(), datetime.now(UTC), self.retention_days)
        if problems:
            raise Misconfigured(f"MC_KEYRING_FILE: {'; '.join(problems)}", hint=_HINT)

    async def look(self) -> bool:
        """Take the keys that the files have now; whether they are others than before."""
        seen = self._look_of_files()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            keyring, signing = await asyncio.to_thread(_read, self._settings)
            problems = missing_keys(
                self.keyring.view(), keyring.view(), datetime.now(UTC), self.retention_days
            )
            if problems:
                raise Misconfigured(f"MC_KEYRING_FILE: {'; '.join(problems)}", hint=_HINT)
        except Misconfigured as error:
            self.refused = error.message
            metrics.keyring_refused.set(1)
            _log.error("keyring_refused", reason=error.message, hint=error.hint)
            return False
        self.refused = None
        metrics.keyring_refused.set(0)
        self._take(keyring, signing)
        return True

    def _take(self, keyring: Keyring, signing: tuple[Ed25519PrivateKey, ...]) -> None:
        self.keyring, self.signing = keyring, signing
        self.identity.renew(keyring.of(Purpose.identity))
        self.digester.renew(keyring.of(Purpose.digest))
        self.sealer.renew(keyring.of(Purpose.sealing))
        self.fingerprints.renew(keyring.of(Purpose.fingerprint))
        self.aggregates.renew(keyring.of(Purpose.aggregate))
        pseudonym = keyring.keys.get(Purpose.pseudonym)
        if self.pseudonyms is not None and pseudonym is not None:
            self.pseudonyms.renew(pseudonym)
        if self.checkpoints is not None:
            self.checkpoints.renew(signing)
        _log.info("keyring_taken", keys=self.digest())

    def _look_of_files(self) -> list[tuple[Any, ...]]:
        files = (self._settings.keyring_file, self._settings.ledger_key_file)
        return [_look_of(path) for path in files if path is not None]


def _look_of(path: Path) -> tuple[Any, ...]:
    """Something that differs when a file was replaced, or written."""
    try:
        found = path.stat()
    except OSError as error:
        return (str(error.errno),)
    return found.st_ino, found.st_size, found.st_mtime_ns


def _warn_of_open_files(settings: Settings) -> None:
    """Log each secret file of this user's that others may use; a cluster's mounted secret is root's."""
    for setting, path in (
        ("MC_LEDGER_KEY_FILE", settings.ledger_key_file),
        ("MC_KEYRING_FILE", settings.keyring_file),
        ("MC_PSEUDONYM_KEY_FILE", settings.pseudonym_key_file),
        ("MC_WITNESS_KEY_FILE", settings.witness_key_file),
        ("MC_SCRAPE_TOKEN_FILE", settings.scrape_token_file),
    ):
        if path is None:
            continue
        with suppress(OSError):  # whoever reads it says so
            found = path.stat()
            if found.st_uid == os.geteuid() and found.st_mode & _OTHERS:
                mode = f"{stat.S_IMODE(found.st_mode):04o}"
                _log.warning("secret_file_open", setting=setting, mode=mode, hint="chmod 600")


def _read(settings: Settings) -> tuple[Keyring, tuple[Ed25519PrivateKey, ...]]:
    _warn_of_open_files(settings)
    signing = signing_keys(settings.ledger_key_file)
    if settings.keyring_file is None:
        if len(signing) > 1:
            raise Misconfigured(
                "MC_LEDGER_KEY_FILE holds two keys, and MC_KEYRING_FILE is not set",
                hint="make a keyring before the signing key is rotated: mcctl keys prepare",
            )
        _log.warning(
            "keyring_not_set", hint="set MC_KEYRING_FILE: keys that follow from the ledger's "
            "cannot be rotated, and another region has others",
        )  # fmt: skip
        return first_keyring(signing[0], _pseudonym_key(settings.pseudonym_key_file)), signing
    if settings.pseudonym_key_file is not None:
        raise Misconfigured(
            "MC_PSEUDONYM_KEY_FILE and MC_KEYRING_FILE are both set",
            hint="the keyring has the key for pseudonyms: unset MC_PSEUDONYM_KEY_FILE",
        )
    try:
        with settings.keyring_file.open("rb") as file:
            return parse_keyring(file.read(MOST_BYTES + 1)), signing
    except OSError as error:
        raise Misconfigured(
            f"MC_KEYRING_FILE cannot be read: {error.strerror}", hint=_HINT
        ) from error
    except FileProblems as error:
        raise Misconfigured(f"MC_KEYRING_FILE: {error}", hint=_HINT) from error


def ed25519_key(path: Path, setting: str) -> Ed25519PrivateKey:
    """The key in a file.

    Raises:
        Misconfigured: it cannot be read, or is another kind of key.
    """
    found = _ed25519_keys(
        path, setting, "it must be an unencrypted PEM (PKCS8) ed25519 private key"
    )
    if len(found) > 1:
        raise Misconfigured(f"{setting} must hold one key, has {len(found)}")
    return found[0]


def signing_keys(path: Path) -> tuple[Ed25519PrivateKey, ...]:
    """The keys that sign checkpoints: the newest first, and beside it the one before.

    Raises:
        Misconfigured: they cannot be read.
    """
    hint = "it must be an unencrypted PEM (PKCS8) ed25519 private key; after a rotation two of them"
    found = _ed25519_keys(path, "MC_LEDGER_KEY_FILE", hint)
    if len(found) > _MOST_SIGNING:
        raise Misconfigured(
            f"MC_LEDGER_KEY_FILE holds {counted(len(found), 'key')}, at most two", hint=hint
        )
    return found


def _ed25519_keys(path: Path, setting: str, hint: str) -> tuple[Ed25519PrivateKey, ...]:
    try:
        raw = path.read_bytes()
        keys = [load_pem_private_key(one, password=None) for one in _PEM.findall(raw) or [raw]]
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{setting} cannot be read: {type(error).__name__}", hint=hint
        ) from error
    found = tuple(key for key in keys if isinstance(key, Ed25519PrivateKey))
    if len(found) < len(keys):
        raise Misconfigured(f"{setting} must hold an ed25519 key", hint=hint)
    return found


def _pseudonym_key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    hint = f"it must hold at least {SECRET_BYTES} random bytes"
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise Misconfigured(
            f"MC_PSEUDONYM_KEY_FILE cannot be used: {type(error).__name__}", hint=hint
        ) from error
    if len(key) < SECRET_BYTES:
        raise Misconfigured(
            f"MC_PSEUDONYM_KEY_FILE cannot be used: it has {len(key)} bytes", hint=hint
        )
    return key


def open_keys(settings: Settings, catalogue: Catalogue, log: str) -> Keys:
    """A replica's keys; and what the catalogue demands of them, and of screening.

    Raises:
        Misconfigured: a file cannot be used, a tenant wants pseudonyms and there is no key, or
            declares what cannot be looked for.
    """
    tenants = catalogue.tenants.values()
    for tenant in tenants:
        problems = check_patterns(tenant.customer_ids)
        if problems:
            raise Misconfigured(
                f"tenants.{tenant.id}.customer_ids: {'; '.join(problems)}",
                hint="mend the catalogue; docs/reference/catalogue.md says what can stand there",
            )
    know_customer_ids(catalogue.customer_ids.patterns)
    own = [tenant.retention_days or settings.retention_days for tenant in tenants]
    keys = Keys(settings, log, max(settings.retention_days, *own))
    wanting = [tenant.id for tenant in tenants if tenant.redaction == "pseudonym"]
    if wanting and keys.pseudonyms is None:
        raise Misconfigured(
            f"tenant {wanting[0]} wants pseudonyms, and there is no key for them",
            hint="add one to MC_KEYRING_FILE (mcctl keys rotate pseudonym), or let its redaction be "
            "placeholder",
        )
    return keys


def signer_memory(settings: Settings, log: str) -> Memory:
    """Where the signer keeps what it signed last of a log."""
    if settings.signer_state_dir is None:
        _log.warning(
            "signer_state_not_kept",
            hint="set MC_SIGNER_STATE_DIR: without it a restart forgets what was signed",
        )
        return ProcessMemory()
    return SignerFile(settings.signer_state_dir, region=log)
