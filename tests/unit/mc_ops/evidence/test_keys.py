"""The evidence key: made once, private, and what is trusted by default."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_contract.evidence import key_id
from mc_ops.errors import NotAllowed, UnusableInput
from mc_ops.evidence import ensure_key, load_key, trusted_keys


def _pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_key_is_made_once_and_private(tmp_path: Path) -> None:
    """The first call makes the pair with mode 0600; the second finds it."""
    first = ensure_key(tmp_path)
    second = ensure_key(tmp_path)
    private = tmp_path / "secrets" / "evidence.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert key_id(first.public_key()) == key_id(second.public_key())
    assert [key.key_id for key in trusted_keys([], tmp_path)] == [key_id(first.public_key())]
    assert sorted(path.name for path in private.parent.iterdir()) == ["evidence.key"]


def test_key_readable_by_others_is_refused(tmp_path: Path) -> None:
    """A key that others may read proves nothing about who signed."""
    ensure_key(tmp_path)
    private = tmp_path / "secrets" / "evidence.key"
    private.chmod(0o640)
    with pytest.raises(NotAllowed, match="mode 0640") as caught:
        load_key(private)
    assert "chmod 600" in caught.value.hint


def test_key_with_anothers_public_half_is_refused(tmp_path: Path) -> None:
    """A trusted key is never silently replaced."""
    ensure_key(tmp_path)
    public = tmp_path / "trust" / "evidence.pub"
    public.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(UnusableInput, match="not the public half"):
        ensure_key(tmp_path)


def test_ledger_key_is_not_trusted_for_evidence(tmp_path: Path) -> None:
    """Only evidence*.pub is believed by default; older ones kept beside it are too."""
    ensure_key(tmp_path)
    ed_key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "trust" / "ledger.pub").write_bytes(_pem(ed_key))
    assert len(trusted_keys([], tmp_path)) == 1
    (tmp_path / "trust" / "evidence-2025.pub").write_bytes(_pem(ed_key))
    assert len(trusted_keys([], tmp_path)) == 2


def test_no_trusted_key_is_unusable_input(tmp_path: Path) -> None:
    """Without any key from outside there is nothing to verify against."""
    with pytest.raises(UnusableInput, match="no trusted key"):
        trusted_keys([], tmp_path)
    with pytest.raises(UnusableInput, match="can't be read"):
        trusted_keys([tmp_path / "absent.pub"], tmp_path)
    (tmp_path / "bad.pub").write_text("nonsense")
    with pytest.raises(UnusableInput, match="not a PEM"):
        trusted_keys([tmp_path / "bad.pub"], tmp_path)
