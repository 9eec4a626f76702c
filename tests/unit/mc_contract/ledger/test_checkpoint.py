"""Checkpoints and signed notes: the Go reference vector, and what must be refused."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    key_id,
    parse_checkpoint,
    sign_checkpoint,
    sign_note,
    verifier_key,
    verify_checkpoint,
    verify_note,
)

# golang.org/x/mod/sumdb/note, note_test.go: the published key pair and note
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_NOTE = (
    GO_TEXT + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# C2SP tlog-checkpoint.md, its example
C2SP_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
NAME = "mc-platform.example.com/ledger/local-1"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CHECKPOINT = Checkpoint(NAME, 7, hashlib.sha256(b"root").digest())


def _go_keys() -> tuple[Ed25519PrivateKey, Ed25519PublicKey]:
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(GO_SEED)[1:])
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(GO_VERIFIER.split("+", 2)[2])[1:])
    return private, public


def test_note_of_go_reference_is_reproduced() -> None:
    """Ed25519 is deterministic: we sign the Go reference's note byte for byte, and verify it."""
    private, public = _go_keys()
    assert sign_note(GO_TEXT, "PeterNeumann", private) == GO_NOTE
    assert verify_note(GO_NOTE, {"PeterNeumann": public}) == GO_TEXT
    assert verifier_key("PeterNeumann", public) == GO_VERIFIER
    assert key_id("PeterNeumann", public).hex() == "c74f20a3"


def test_checkpoint_text_of_c2sp_example() -> None:
    """The specification's example text parses, and prints as it was."""
    checkpoint = parse_checkpoint(C2SP_TEXT)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == C2SP_TEXT


def test_checkpoint_signed_comes_back() -> None:
    """What one signs, another with the public key reads."""
    note = sign_checkpoint(CHECKPOINT, NAME, KEY)
    assert verify_checkpoint(note, {NAME: KEY.public_key()}) == CHECKPOINT


def test_checkpoint_changed_anywhere_is_refused() -> None:
    """Each single character changed makes the note unverifiable."""
    note = sign_checkpoint(CHECKPOINT, NAME, KEY)
    trusted = {NAME: KEY.public_key()}
    for at in range(len(note)):
        changed = note[:at] + ("A" if note[at] != "A" else "B") + note[at + 1 :]
        with pytest.raises(CheckpointError):
            verify_checkpoint(changed, trusted)


def test_checkpoint_of_an_untrusted_key_is_refused() -> None:
    """A right signature by a key that the reader does not trust says nothing."""
    note = sign_checkpoint(CHECKPOINT, NAME, KEY)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    for trusted in ({}, {NAME: stranger}, {"another": KEY.public_key()}):
        with pytest.raises(CheckpointError, match="no trusted key"):
            verify_checkpoint(note, trusted)


def test_note_with_strangers_cosignature_verifies() -> None:
    """Unknown cosignatures are ignored; a wrong one under a trusted key sinks the note."""
    trusted = {NAME: KEY.public_key()}
    note = sign_checkpoint(CHECKPOINT, NAME, KEY)
    witness = Ed25519PrivateKey.from_private_bytes(bytes(32))
    cosigned = note + sign_checkpoint(CHECKPOINT, "witness", witness).rpartition("\n\n")[2]
    assert verify_checkpoint(cosigned, trusted) == CHECKPOINT
    wrong = base64.b64encode(key_id(NAME, KEY.public_key()) + bytes(64)).decode()
    with pytest.raises(CheckpointError, match="does not fit"):
        verify_checkpoint(f"{note}— {NAME} {wrong}\n", trusted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n01\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "origin\n1\n" + base64.b64encode(bytes(32)).decode(),
        "origin\n1\n" + base64.b64encode(bytes(32)).decode() + "\n\nmore\n",
    ],
)
def test_checkpoint_malformed_is_refused(text: str) -> None:
    """Only the exact form is a checkpoint."""
    with pytest.raises(CheckpointError):
        parse_checkpoint(text)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\u2003b"])
def test_note_with_bad_key_name_is_not_signed(name: str) -> None:
    """A key name that would break the signature line is refused before signing."""
    with pytest.raises(CheckpointError, match="key name"):
        sign_checkpoint(CHECKPOINT, name, KEY)


@pytest.mark.parametrize("origin", ["", "two\nlines", "bell\x07"])
def test_checkpoint_with_bad_origin_is_not_signed(origin: str) -> None:
    """An origin can't smuggle further lines into the checkpoint."""
    with pytest.raises(CheckpointError, match="origin"):
        sign_checkpoint(Checkpoint(origin, 0, bytes(32)), NAME, KEY)
