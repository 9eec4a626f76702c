"""A rotation as the tool-chain does it: two steps, each waited for, and gone on with after whatever ended it."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.keyring import KeyState, Purpose, new_keyring, parse_keyring, view_digest
from mc_contract.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    sign_checkpoint,
    verify_checkpoint,
)
from mc_contract.ledger.export import log_origin
from mc_contract.ledger.merkle import EMPTY_ROOT
from mc_ops.audit import load_public_key
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.keys import SIGNING, KeyFiles, rotate

NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Replicas:
    """A fleet whose replicas look at the files, some of them late; keeps what each step showed."""

    log = "test-1"
    retention_days = 30

    def __init__(self, files: KeyFiles, late: int = 0) -> None:
        self.files = files
        self.late = late
        self.declared: list[str] = []
        self.used: list[tuple[str, str]] = []

    def declare(self, digest: str) -> None:
        self.declared.append(digest)

    def in_use(self) -> dict[str, str]:
        if self.late:
            self.late -= 1
            return {"blue-1": "", "blue-2": self._digest()}
        return {"blue-1": self._digest(), "blue-2": self._digest()}

    def _digest(self) -> str:
        keyring = self.files.read()
        for purpose, keys in keyring.keys.items():
            self.used.append((purpose, keys.active.id))
        return view_digest(self.files.view(keyring, self.files.signing_keys(), self.log))


@pytest.fixture
def files(tmp_path: Path) -> KeyFiles:
    """Of a platform that begins."""
    made = KeyFiles(tmp_path / "keyring.json", tmp_path / "ledger.key", tmp_path / "ledger.pub")
    made.write(new_keyring(NOW))
    made.write_signing([Ed25519PrivateKey.generate()])
    return made


def _rotate(files, purpose, fleet, **more):
    settings = {"dry_run": False, "timeout_s": 5.0, "now": NOW, "pause": lambda _s: None}
    return rotate(files, purpose, fleet, **{**settings, **more})


@pytest.mark.parametrize("purpose", [purpose.value for purpose in Purpose])
def test_a_new_key_makes_nothing_before_all_replicas_know_it(files, purpose):
    before = files.read().of(Purpose(purpose)).active.id
    fleet = Replicas(files, late=3)
    done = _rotate(files, purpose, fleet)
    keys = files.read().of(Purpose(purpose))
    assert [(key.id, key.state) for key in keys.others] == [(before, KeyState.former)]
    assert done.replicas == ("blue-1", "blue-2")
    assert fleet.declared[-1] == done.digest
    assert len(fleet.declared) == 2
    # All the while that one replica was late the former key was the active one
    waited = [key_id for of, key_id in fleet.used if of == purpose]
    assert waited[:4] == [before] * 4
    assert waited[-1] == keys.active.id
    assert stat.S_IMODE(files.keyring.stat().st_mode) == 0o600


def test_a_rotation_that_was_cut_goes_on_with_the_key_that_is_accepted(files):
    with pytest.raises(CouldNotTell, match="blue-1 did not take the keys"):
        _rotate(files, "digest", Replicas(files, late=10**9), timeout_s=0.0)
    [accepted] = files.read().of(Purpose.digest).others
    assert accepted.state is KeyState.accepted
    _rotate(files, "digest", Replicas(files))
    assert files.read().of(Purpose.digest).active.id == accepted.id


def test_a_dry_run_tells_the_steps_and_writes_nothing(files):
    before = {path: path.read_bytes() for path in files.keyring.parent.iterdir()}
    for purpose, steps in (("sealing", 2), (SIGNING, 1)):
        told = _rotate(files, purpose, Replicas(files), dry_run=True)
        assert len(told.steps) == steps
    assert {path: path.read_bytes() for path in files.keyring.parent.iterdir()} == before


def test_a_former_key_is_dropped_by_a_rotation_after_its_time(files):
    _rotate(files, "digest", Replicas(files))
    [former] = files.read().of(Purpose.digest).others
    _rotate(files, "sealing", Replicas(files), now=NOW + timedelta(days=30))
    assert files.read().of(Purpose.digest).with_id(former.id) is not None
    told = _rotate(files, "sealing", Replicas(files), now=NOW + timedelta(days=32))
    assert f"digest {former.id}" in told.steps[-1]
    assert files.read().of(Purpose.digest).with_id(former.id) is None


def test_an_overlap_of_signing_keys_is_verified_by_who_has_either(files):
    """What was signed before is verified after; what is signed now, by who never heard of the new key."""
    origin = log_origin("test-1")
    head = Checkpoint(origin, 0, EMPTY_ROOT)
    old_public = load_public_key(files.trusted)
    before = sign_checkpoint(head, origin, *files.signing_keys())
    _rotate(files, SIGNING, Replicas(files))
    during = sign_checkpoint(head, origin, *files.signing_keys())
    assert during.count("\n— ") == 2
    both = load_public_key(files.trusted)
    for note, trusted in ((before, both), (during, both), (during, old_public)):
        assert verify_checkpoint(note, {origin: trusted}) == head
    _rotate(files, SIGNING, Replicas(files))
    assert len(files.signing_keys()) == 2
    after = sign_checkpoint(head, origin, *files.signing_keys())
    for note in (before, during, after):  # all that ever signed stay trusted
        assert verify_checkpoint(note, {origin: load_public_key(files.trusted)}) == head
    with pytest.raises(CheckpointError, match="no trusted key"):
        verify_checkpoint(after, {origin: old_public})


@pytest.mark.parametrize(
    ("content", "said"),
    [("{}", "version is missing"), ("not json", "is not JSON"), ('{"version": NaN}', "NaN")],
)
def test_a_file_that_is_no_keyring_is_refused_before_anything_is_written(files, content, said):
    files.keyring.write_text(content)
    with pytest.raises(UnusableInput, match=said):
        _rotate(files, "digest", Replicas(files))
    assert files.keyring.read_text() == content


def test_what_is_written_is_what_is_read(files):
    keyring = files.read()
    files.write(keyring)
    assert parse_keyring(files.keyring.read_bytes()) == keyring
