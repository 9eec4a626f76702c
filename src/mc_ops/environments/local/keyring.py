"""The local platform's keys and tokens: made once, kept in `secrets/` (0700, files 0600).

Only hashes of tokens leave this folder for the database; public keys go to `trust/`, where
`mcctl evidence verify` looks for keys that it may believe. A file that exists is never
overwritten: a lost ledger key would make the ledger's older checkpoints unverifiable.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_contract.keyring import first_keyring, keyring_text, new_keyring
from mc_ops.environments import credentials
from mc_ops.environments.local.layout import Layout
from mc_ops.environments.workspace import HOST
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object, write_atomically

TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003", "CANARY")
"""Those of the catalogue that we ship."""
SERVICE_ROLE = "mc_service"
SERVICE_DATABASE = "mc"
_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_POSTGRES_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The two ways in: `admin` makes roles and schema, `service` is what replicas use."""

    admin: str
    service: str


def prepare_secrets(layout: Layout, tenants: Iterable[str] = TENANTS) -> None:
    """Make whatever key or token is missing; `layout.prepare()` must have been called.

    Raises:
        UnusableInput: the file of credentials is not what it must be.
        CouldNotTell: a public key in `trust/` belongs to another private key.
    """
    credentials.prepare(layout, tenants)
    made = {
        layout.secret("siem.key"): 32,
        layout.scrape_token: 32,
    }
    for path, random_bytes in made.items():
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(random_bytes) + "\n")
    began_before = layout.secret("ledger.key").exists()
    ledger_key = _key_pair(layout, "ledger", ed25519.Ed25519PrivateKey.generate)
    assert isinstance(ledger_key, ed25519.Ed25519PrivateKey)
    _keyring(layout, ledger_key if began_before else None)
    _key_pair(layout, "evidence", lambda: ec.generate_private_key(ec.SECP256R1()))


def witness_key(layout: Layout) -> ed25519.Ed25519PrivateKey:
    """The key by which a region cosigns the other's checkpoints, made at the first call.

    Raises:
        CouldNotTell: its public key in `trust/` belongs to another private key.
    """
    key = _key_pair(layout, "witness", ed25519.Ed25519PrivateKey.generate)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key


def database_urls(layout: Layout, external: str | None) -> DatabaseUrls:
    """The database's URLs, with passwords that are made at the first call and then kept.

    Args:
        layout: The platform's files.
        external: The admin URL of a server that is not ours (`MC_DATABASE_URL`), or None for
            the embedded one.

    Raises:
        UnusableInput: `external` is not a PostgreSQL URL.
    """
    path = layout.secret("database.json")
    kept = _passwords(layout)
    superuser = kept.setdefault("superuser_password", secrets.token_urlsafe(24))
    service = kept.setdefault("service_password", secrets.token_urlsafe(24))
    admin = external or (
        f"postgresql://postgres:{superuser}@{HOST}:{layout.port_of('postgres')}/postgres"
    )
    urls = DatabaseUrls(admin=admin, service=_service_url(admin, service))
    wanted = {**kept, "admin_url": urls.admin, "service_url": urls.service}
    if wanted != _passwords(layout):
        write_atomically(path, json.dumps(wanted, indent=2) + "\n")
    return urls


def password(layout: Layout, name: str) -> str:
    """A database's password of that name, made at the first call and then kept."""
    kept = _passwords(layout)
    if name not in kept:
        kept[name] = secrets.token_urlsafe(24)
        write_atomically(layout.secret("database.json"), json.dumps(kept, indent=2) + "\n")
    return str(kept[name])


def superuser_password(layout: Layout) -> str:
    """The embedded server's superuser password; `database_urls` must have been called."""
    return str(_passwords(layout)["superuser_password"])


def _passwords(layout: Layout) -> dict[str, Any]:
    path = layout.secret("database.json")
    hint = "restore it from a copy; without it there is no way into the embedded database"
    return read_json_object(path, hint) or {}


def _service_url(admin: str, password: str) -> str:
    parts = urlsplit(admin)
    if parts.scheme not in _POSTGRES_SCHEMES or not parts.hostname:
        # The value is not quoted: it may hold a password.
        raise UnusableInput(
            "MC_DATABASE_URL is not a PostgreSQL URL",
            hint="expected postgresql://user:password@host:port/database",
        )
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{SERVICE_ROLE}:{quote(password, safe='')}@{host}"
    return urlunsplit(("postgresql", netloc, f"/{SERVICE_DATABASE}", parts.query, ""))


def _keyring(layout: Layout, ledger_key: ed25519.Ed25519PrivateKey | None) -> None:
    """Make the keyring if there is none.

    Args:
        ledger_key: Of a platform that was started before it had a keyring: its keys stay.
    """
    path, pseudonym = layout.secret("keyring.json"), layout.secret("pseudonym.key")
    if path.exists():
        return
    if ledger_key is None:
        made = new_keyring(datetime.now(UTC))
    else:
        made = first_keyring(
            ledger_key, pseudonym.read_bytes().strip() if pseudonym.exists() else None
        )
    write_atomically(path, keyring_text(made))


def _key_pair(layout: Layout, name: str, generate: Callable[[], _PrivateKey]) -> _PrivateKey:
    private = layout.secret(f"{name}.key")
    if not private.exists():
        pem = generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(private, pem.decode("ascii"))
    # After a rotation the file holds two: the first one is active
    key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    assert isinstance(key, _PrivateKey)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    trusted = layout.home / "trust" / f"{name}.pub"
    if trusted.exists() and public not in trusted.read_bytes():
        # Replacing it would silently end the trust in all that the other key has signed.
        raise CouldNotTell(
            f"{trusted} is not the public key of {private}",
            hint="restore the key that belongs to it, or move the public key aside",
        )
    if not trusted.exists():
        write_atomically(trusted, public.decode("ascii"), mode=0o644)
    return key
