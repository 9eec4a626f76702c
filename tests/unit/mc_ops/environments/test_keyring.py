"""Keys and tokens."""

from __future__ import annotations

import hashlib
import json
import re
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_contract.credential import new_token
from mc_contract.keyring import FIRST, Purpose, first_keyring, parse_keyring
from mc_ops.environments import credentials
from mc_ops.environments.local import keyring
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, UnusableInput


def test_secrets_are_made_once(layout: Layout) -> None:
    """A second call changes no file; each is readable by its owner only."""
    keyring.prepare_secrets(layout)
    keyring.database_urls(layout, None)
    files = {p: p.read_bytes() for p in (layout.home / "secrets").iterdir()}
    keyring.prepare_secrets(layout)
    keyring.database_urls(layout, None)
    assert {p: p.read_bytes() for p in (layout.home / "secrets").iterdir()} == files
    assert {p.name for p in files} == {
        "credentials.json", "siem.key", "keyring.json", "scrape.token",
        "ledger.key", "evidence.key", "database.json",
    }  # fmt: skip
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}


def test_tokens_have_the_contract_form(layout: Layout) -> None:
    """Every tenant and the canary have a token of the agreed form, each another one."""
    keyring.prepare_secrets(layout)
    tokens = [credentials.tenant_token(layout, tenant) for tenant in keyring.TENANTS]
    assert len(set(tokens)) == 4
    assert all(re.fullmatch(r"mc_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token) for token in tokens)


def test_only_hashes_leave_for_the_database(layout: Layout) -> None:
    """What migrate is given identifies each secret without holding it."""
    keyring.prepare_secrets(layout)
    text = credentials.hashes(layout)
    for tenant in keyring.TENANTS:
        _, key_id, secret = credentials.tenant_token(layout, tenant).split("_", 2)
        entry = json.loads(text)[tenant]
        assert entry["key_id"] == key_id
        assert entry["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
        assert secret not in text


def test_a_token_that_was_taken_out_during_an_import_is_imported_next(layout: Layout) -> None:
    """Marked is what the database was given, or the token would stay valid and `up` say nothing."""
    keyring.prepare_secrets(layout)
    given = credentials.hashes(layout)
    file = layout.secret(credentials.FILE)
    entries = json.loads(file.read_text())
    del entries["TENANT_002"]
    file.write_text(json.dumps(entries))
    credentials.mark_imported(layout, given)
    assert not credentials.is_imported(layout)
    credentials.mark_imported(layout, credentials.hashes(layout))
    assert credentials.is_imported(layout)


def test_trusted_keys_are_those_of_the_private_ones(layout: Layout) -> None:
    """trust/ holds the public halves: P-256 for evidence, ed25519 for the ledger."""
    keyring.prepare_secrets(layout)
    for name, kind in (
        ("evidence", ec.EllipticCurvePublicKey),
        ("ledger", ed25519.Ed25519PublicKey),
    ):
        pem = (layout.home / "trust" / f"{name}.pub").read_bytes()
        public = serialization.load_pem_public_key(pem)
        assert isinstance(public, kind)
        private = serialization.load_pem_private_key(
            layout.secret(f"{name}.key").read_bytes(), None
        )
        assert private.public_key() == public


def test_an_external_database_keeps_its_address_and_options(layout: Layout) -> None:
    """The service's URL goes to the same server, as its own role to its own database."""
    admin = "postgresql://boss:pw@db.example:6432/postgres?sslmode=require"
    urls = keyring.database_urls(layout, admin)
    assert urls.admin == admin
    assert re.fullmatch(
        r"postgresql://mc_service:[\w-]{32}@db\.example:6432/mc\?sslmode=require", urls.service
    )


def test_an_unusable_database_url_is_not_repeated(layout: Layout) -> None:
    """The refusal names the variable, not its value: it may hold a password."""
    with pytest.raises(UnusableInput, match="MC_DATABASE_URL") as caught:
        keyring.database_urls(layout, "mysql://u:hunter2@h/d")
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_a_tenant_without_credentials_is_told(layout: Layout) -> None:
    """Before the first start there are none; later an unknown one lists the known."""
    with pytest.raises(CouldNotTell, match="no credentials"):
        credentials.tenant_token(layout, "TENANT_001")
    keyring.prepare_secrets(layout)
    with pytest.raises(UnusableInput, match="TENANT_999"):
        credentials.tenant_token(layout, "TENANT_999")


def test_roles_have_tokens_of_their_own_also_in_a_platform_of_old(layout: Layout) -> None:
    """Operator, auditor and alerts belong to PLATFORM; what was there is kept as it was."""
    path = layout.secret("credentials.json")
    old = {"TENANT_001": {"principal": "agent@tenant-001", "token": new_token()}}
    path.write_text(json.dumps(old))
    keyring.prepare_secrets(layout)
    assert credentials.tenant_token(layout, "TENANT_001") == old["TENANT_001"]["token"]
    hashes = json.loads(credentials.hashes(layout))
    assert {name: (one["tenant"], one["role"]) for name, one in hashes.items()} == {
        **{tenant: (tenant, "agent") for tenant in keyring.TENANTS},
        "OPERATOR": ("PLATFORM", "operator"),
        "OPERATOR_2": ("PLATFORM", "operator"),
        "AUDITOR": ("PLATFORM", "auditor"),
        "ALERTMANAGER": ("PLATFORM", "alertmanager"),
        "ADMINISTRATOR": ("PLATFORM", "administrator"),
    }
    assert len({credentials.tenant_token(layout, name) for name in hashes}) == len(hashes)
    before = path.read_text()
    keyring.prepare_secrets(layout)
    assert path.read_text() == before


def test_a_new_platform_has_keys_that_follow_from_no_other(layout: Layout) -> None:
    """None of them is derived: the ledger's key can go without taking any along."""
    keyring.prepare_secrets(layout)
    made = parse_keyring(layout.secret("keyring.json").read_bytes())
    assert set(made.keys) == set(Purpose)
    assert FIRST not in {key.id for keys in made.keys.values() for key in keys}
    assert len({key.secret for keys in made.keys.values() for key in keys}) == len(Purpose)


def test_a_platform_from_before_the_keyring_keeps_its_keys(layout: Layout) -> None:
    """Those that its ledger's key gave, and the one for pseudonyms, so that no id changes."""
    keyring.prepare_secrets(layout)
    layout.secret("keyring.json").unlink()
    layout.secret("pseudonym.key").write_text("p" * 64 + "\n")
    keyring.prepare_secrets(layout)
    private = serialization.load_pem_private_key(layout.secret("ledger.key").read_bytes(), None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    made = parse_keyring(layout.secret("keyring.json").read_bytes())
    assert made == first_keyring(private, b"p" * 64)
