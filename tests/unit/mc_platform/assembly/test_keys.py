"""A replica's keys: read from its files, taken anew when they change, and never given up too early."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs
from tests.fakes import KEY, local_catalogue

from mc_contract.keyring import (
    FIRST,
    Purpose,
    accept_new,
    activate,
    drop_expired,
    first_keyring,
    keyring_text,
    new_keyring,
)
from mc_platform.assembly.keys import Keys, open_keys
from mc_platform.errors import Misconfigured
from mc_platform.settings import Settings

NOW = datetime.now(UTC)
DAYS = 365


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Replica:
    """One with its files, which a test rewrites."""

    def __init__(self, folder: Path, **more: Path | None) -> None:
        self.keyring_file, self.ledger_key = folder / "keyring.json", folder / "ledger.key"
        self.ledger_key.write_bytes(_pem(KEY))
        self.ledger_key.chmod(0o600)
        self.put(new_keyring(NOW))
        files = {"keyring_file": self.keyring_file, **more}
        self.settings = Settings.model_validate(
            {"database_url": "postgresql://h/mc", "ledger_key_file": self.ledger_key, **files}
        )

    def put(self, keyring) -> None:
        self.keyring = keyring
        made = self.keyring_file.with_suffix(".new")
        made.write_text(keyring_text(keyring))
        made.chmod(0o600)
        made.replace(self.keyring_file)

    def keys(self) -> Keys:
        return Keys(self.settings, "local-1", DAYS)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    return Replica(tmp_path)


def _open_files(replica):
    with capture_logs() as logs:
        replica.keys()
    return {(one["setting"], one["mode"]) for one in logs if one["event"] == "secret_file_open"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_file_that_others_may_use_is_logged(replica, mode):
    """Each by its setting and mode, and no path, if it is this user's own."""
    assert _open_files(replica) == set()
    replica.keyring_file.chmod(mode)
    assert _open_files(replica) == {("MC_KEYRING_FILE", f"{mode:04o}")}


def test_a_secret_file_of_another_owner_is_not_judged(replica, monkeypatch):
    """As a cluster's mounted secret is: root's, and readable by the pod's group."""
    replica.keyring_file.chmod(0o440)
    owner = replica.keyring_file.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert _open_files(replica) == set()


async def test_keys_are_taken_when_their_file_changes(replica):
    keys = replica.keys()
    assert await keys.look() is False
    before, sealed = keys.digest(), keys.sealer.seal("place", ["text"])
    accepted = accept_new(replica.keyring, Purpose.sealing, NOW)
    replica.put(activate(accepted, Purpose.sealing, NOW))
    assert await keys.look() is True
    assert keys.digest() != before
    assert keys.sealer.open("place", sealed) == ["text"]
    assert keys.sealer.seal("place", ["text"])[:8] != sealed[:8]
    assert await keys.look() is False


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda _: "{", "is not JSON"),
        (lambda keyring: keyring_text(keyring).replace('"sealing"', '"sealign"'), "sealign"),
        (lambda _: keyring_text(new_keyring(NOW)), "is missing: what it made cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(replica, spoil, said):
    """The keys before it stay in use, it is told once, and a good file is taken again."""
    keys = replica.keys()
    before, text = keys.digest(), replica.keyring_file.read_text()
    replica.keyring_file.write_text(spoil(replica.keyring))
    with capture_logs() as logs:
        assert await keys.look() is False
        assert await keys.look() is False
    assert [line["event"] for line in logs] == ["keyring_refused"]
    assert said in keys.refused
    assert keys.digest() == before
    secrets = [key.secret for of in replica.keyring.keys.values() for key in of]
    assert not any(secret.hex() in str(logs) for secret in secrets)
    replica.keyring_file.write_text(text)
    assert await keys.look() is True
    assert keys.refused is None


async def test_a_former_key_cannot_be_dropped_before_its_time(replica):
    """Neither while the service runs, nor by stopping it, changing the file, and starting it."""
    retired = NOW - timedelta(days=DAYS - 1)
    keyring = activate(
        accept_new(replica.keyring, Purpose.identity, NOW), Purpose.identity, retired
    )
    replica.put(keyring)
    keys = replica.keys()
    told = keys.view()
    replica.put(drop_expired(keyring, NOW + timedelta(days=9), DAYS))
    assert await keys.look() is False
    assert "it is needed until" in keys.refused
    with pytest.raises(Misconfigured, match="it is needed until"):
        replica.keys().require_continued(told)
    replica.put(keyring)
    replica.keys().require_continued(told)
    replica.keys().require_continued({})  # the first start of all


async def test_both_signing_keys_are_taken(replica):
    keys = replica.keys()
    replica.ledger_key.write_bytes(_pem(Ed25519PrivateKey.generate()) + _pem(KEY))
    assert await keys.look() is True
    assert len(keys.signing) == 2
    assert sorted(
        told["state"] for name, told in keys.view().items() if name.startswith("signing.")
    ) == ["active", "former"]
    replica.ledger_key.write_bytes(b"".join(_pem(Ed25519PrivateKey.generate()) for _ in range(3)))
    assert await keys.look() is False
    assert "holds 3 keys, at most two" in keys.refused


def test_without_a_keyring_the_keys_are_those_before_there_was_one(tmp_path):
    replica = Replica(tmp_path, keyring_file=None)
    with capture_logs() as logs:
        keys = replica.keys()
    assert [line["event"] for line in logs] == ["keyring_not_set"]
    assert keys.keyring == first_keyring(KEY)
    # And the file with the derived keys is no change of any
    replica.put(first_keyring(KEY))
    given = Replica(tmp_path)
    given.put(first_keyring(KEY))
    assert given.keys().digest() == keys.digest()


def test_another_secret_under_the_first_id_is_known_as_another(replica):
    """`first` does not commit to its secret, so its commitment is told beside it."""
    replica.put(first_keyring(KEY))
    told = replica.keys().view()
    replica.put(first_keyring(Ed25519PrivateKey.generate()))
    with pytest.raises(Misconfigured, match=f"digest.{FIRST} has another secret than before"):
        replica.keys().require_continued(told)


def test_settings_that_name_two_sources_are_refused(tmp_path):
    (tmp_path / "pseudonym.key").write_bytes(b"p" * 32)
    replica = Replica(tmp_path, pseudonym_key_file=tmp_path / "pseudonym.key")
    with pytest.raises(Misconfigured, match="both set"):
        replica.keys()


@pytest.mark.parametrize("content", [b"secre", b""])
def test_a_short_key_for_pseudonyms_is_refused(tmp_path, content):
    """And the key is not in the message."""
    path = tmp_path / "pseudonym.key"
    path.write_bytes(content)
    replica = Replica(tmp_path, keyring_file=None, pseudonym_key_file=path)
    with pytest.raises(Misconfigured, match=f"it has {len(content)} bytes") as told:
        replica.keys()
    assert "secre" not in str(told.value)


def test_a_rotated_signing_key_needs_a_keyring(tmp_path):
    """Else identities would follow the new one."""
    replica = Replica(tmp_path, keyring_file=None)
    replica.ledger_key.write_bytes(_pem(Ed25519PrivateKey.generate()) + _pem(KEY))
    with pytest.raises(Misconfigured, match="MC_KEYRING_FILE is not set"):
        replica.keys()


def test_a_catalogue_that_wants_pseudonyms_needs_a_key_for_them(replica):
    keyring = new_keyring(NOW)
    without = {purpose: keys for purpose, keys in keyring.keys.items() if purpose != "pseudonym"}
    replica.put(type(keyring)(without))
    catalogue = local_catalogue()
    open_keys(replica.settings, catalogue, "local-1")
    name, tenant = next(iter(catalogue.tenants.items()))
    tenants = {**catalogue.tenants, name: replace(tenant, redaction="pseudonym")}
    with pytest.raises(Misconfigured, match="wants pseudonyms, and there is no key"):
        open_keys(replica.settings, replace(catalogue, tenants=tenants), "local-1")
