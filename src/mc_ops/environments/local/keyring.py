"""The local platform's keys and tokens: made once, kept in `secrets/` (0700, files 0600).

Only hashes of tokens leave this folder for the database; public keys go to `trust/`, where
`mcctl evidence verify` looks for keys that it may believe. A file that exists is never
overwritten: a lost ledger key would make the ledger's older checkpoints unverifiable.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_ops.environments.local.layout import (
    HOST,
    Layout,
    read_json_object,
    write_atomically,
)
from mc_ops.errors import CouldNotTell, UnusableInput

TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003", "CANARY")
PLATFORM = "PLATFORM"
ROLES = {
    "OPERATOR": "operator",
    "OPERATOR_2": "operator",  # break-glass needs two people
    "AUDITOR": "auditor",
    "ALERTMANAGER": "alertmanager",
}
SCRAPE_TOKEN = "scrape.token"  # noqa: S105 - its file, not a secret
SERVICE_ROLE = "mc_service"
SERVICE_DATABASE = "mc"
_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_POSTGRES_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The two ways in: `admin` makes roles and schema, `service` is what replicas use."""

    admin: str
    service: str


def new_token() -> str:
    """A tenant token, `mc_<12 hex key id>_<43 characters of secret>` (256 bits)."""
    return f"mc_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def prepare_secrets(layout: Layout) -> None:
    """Make whatever key or token is missing; `layout.prepare()` must have been called.

    Raises:
        CouldNotTell: a public key in `trust/` belongs to another private key.
    """
    credentials = layout.secret("credentials.json")
    known = _credentials(layout) or {}
    missing = [tenant for tenant in TENANTS if tenant not in known]
    roles = [name for name in ROLES if name not in known]
    if missing or roles:
        for tenant in missing:
            principal = f"agent@{tenant.lower().replace('_', '-')}"
            known[tenant] = {"principal": principal, "token": new_token()}
        for name in roles:
            known[name] = {
                "tenant": PLATFORM,
                "role": ROLES[name],
                "principal": f"{name.lower().replace('_', '-')}@platform",
                "token": new_token(),
            }
        write_atomically(credentials, json.dumps(known, indent=2) + "\n")
    if not layout.secret("siem.key").exists():
        write_atomically(layout.secret("siem.key"), secrets.token_urlsafe(32) + "\n")
    if not layout.secret(SCRAPE_TOKEN).exists():
        write_atomically(layout.secret(SCRAPE_TOKEN), secrets.token_urlsafe(32) + "\n")
    if not layout.secret("pseudonym.key").exists():
        write_atomically(layout.secret("pseudonym.key"), secrets.token_urlsafe(48) + "\n")
    _key_pair(layout, "ledger", ed25519.Ed25519PrivateKey.generate)
    _key_pair(layout, "evidence", lambda: ec.generate_private_key(ec.SECP256R1()))


def siem_key(layout: Layout) -> str:
    """The key that the SIEM receiver demands."""
    return layout.secret("siem.key").read_text(encoding="utf-8").strip()


def tenant_token(layout: Layout, tenant: str) -> str:
    """The bearer token of a tenant of this platform, or of a role (`OPERATOR`, ...).

    Raises:
        CouldNotTell: the platform has not been started here.
        UnusableInput: no such tenant.
    """
    known = _credentials(layout)
    if known is None:
        raise CouldNotTell(f"no credentials under {layout.home}", hint="start it: mcctl up")
    if tenant not in known:
        raise UnusableInput(f'unknown tenant "{tenant}"', hint=f"known: {', '.join(known)}")
    return str(known[tenant]["token"])


def principal_of(layout: Layout, name: str) -> str:
    """Who acts with the token of that name; the name itself where that is not written down."""
    known = _credentials(layout) or {}
    return str(known.get(name, {}).get("principal", name))


def credential_hashes(layout: Layout) -> str:
    """What `migrate` imports, as JSON: of each its tenant, role, principal, key id and hash."""
    known = _credentials(layout) or {}
    hashed = {}
    for name, entry in known.items():
        _, key_id, secret = entry["token"].split("_", 2)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        hashed[name] = {
            "tenant": entry.get("tenant", name),
            "role": entry.get("role", "agent"),
            "principal": entry["principal"],
            "key_id": key_id,
            "secret_sha256": digest,
        }
    return json.dumps(hashed)


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


def superuser_password(layout: Layout) -> str:
    """The embedded server's superuser password; `database_urls` must have been called."""
    return str(_passwords(layout)["superuser_password"])


def _credentials(layout: Layout) -> dict[str, Any] | None:
    return read_json_object(
        layout.secret("credentials.json"),
        "restore it from a copy; if it is removed, `mcctl up` makes every tenant a new token",
    )


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


def _key_pair(layout: Layout, name: str, generate: Callable[[], _PrivateKey]) -> None:
    private = layout.secret(f"{name}.key")
    if not private.exists():
        pem = generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_atomically(private, pem.decode("ascii"))
    key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    trusted = layout.home / "trust" / f"{name}.pub"
    if trusted.exists() and trusted.read_bytes() != public:
        # Replacing it would silently end the trust in all that the other key has signed.
        raise CouldNotTell(
            f"{trusted} is not the public key of {private}",
            hint="restore the key that belongs to it, or move the public key aside",
        )
    if not trusted.exists():
        write_atomically(trusted, public.decode("ascii"), mode=0o644)
