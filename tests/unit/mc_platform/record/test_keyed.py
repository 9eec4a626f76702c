"""What is made under keys: the same as before keys had ids, and known on under rotated ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import KEY, KEYRING

from mc_contract.governance import Governance
from mc_contract.keyring import (
    FIRST,
    KeySet,
    Purpose,
    accept_new,
    activate,
    first_keyring,
    new_keyring,
)
from mc_platform.aggregate import Digests
from mc_platform.model.tenant import Principal
from mc_platform.pipeline.idempotency import Envelope, task_id_of, task_ids_of
from mc_platform.record import ContentFingerprints, Digester, Identity, Sealer
from mc_platform.screen.pseudonyms import Pseudonymiser

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PLACE = "TENANT_001|c-1"
ENVELOPE = Envelope(
    principal=Principal("agent@t", "TENANT_001", "key"),
    message_id="message-1",
    context_id="",
    parts=(),
    governance=Governance(),
)
QUOTED = ["the order 4711-0815-99 of the eleventh of may was sent back to you at once"]


def rotated(purpose, keyring=KEYRING, times=1):
    """The keys of a purpose after a number of rotations."""
    for _ in range(times):
        keyring = activate(accept_new(keyring, purpose, NOW), purpose, NOW)
    return keyring.of(purpose)


def test_the_first_keys_make_what_was_made_before_keys_had_ids():
    """Made by the release before, with the same ledger key: ids, digests, seals, fingerprints, pseudonyms."""
    of = KEYRING.of
    assert task_id_of(ENVELOPE, Identity(of(Purpose.identity))) == (
        "346b032a-647f-5b3a-96f6-a8ab9a55dfa4"
    )
    assert Digester(of(Purpose.digest)).digest(b"value") == (
        "28565142020a840906284952f74a6c958226b8f9df647242eb419eb9d8bd06cf"
    )
    sealed = "yXJDBzpptF/J5o8aCzhTa9VAp6f27eVx4BDqopiw9licOdO+0QAhCE0s"
    assert Sealer(of(Purpose.sealing)).open(PLACE, sealed) == ["last words"]
    looked_for = ContentFingerprints(of(Purpose.fingerprint)).looked_for("TENANT_001", QUOTED)
    assert sorted(looked_for)[:2] == [-8382503059050743170, -8202915441903667525]
    aggregates = Digests(of(Purpose.aggregate))
    assert aggregates.of_text("T", "count")[0].hex() == (
        "26d9df50d7fd41bb95cab56deff8839208aaebd8baf9b6ad18c7fe57b1855b2d"
    )
    assert aggregates.of_units("T", "people", ["ada"])[0].hex() == "725d75ee685812b5"
    pseudonyms = first_keyring(KEY, b"p" * 32).of(Purpose.pseudonym)
    assert Pseudonymiser(pseudonyms).pseudonym("TENANT_001", "email", "ada@example.com") == (
        "[email:elnpllaljplfgbdpilkhdcaffiblanjhknjjojmgdnddoojjmikkcpaoejliih]"
    )


def test_a_task_made_under_a_former_key_is_among_those_that_are_named():
    before = task_id_of(ENVELOPE, Identity(KEYRING.of(Purpose.identity)))
    now = Identity(rotated(Purpose.identity, times=2))
    assert task_id_of(ENVELOPE, now) != before
    assert before in task_ids_of(ENVELOPE, now)
    assert now.overlaps
    assert not Identity(KEYRING.of(Purpose.identity)).overlaps


def test_replicas_on_both_sides_of_a_rotation_name_each_others_tasks():
    """One that has the new key accepted, one that has it active: each knows the other's id."""
    accepted = accept_new(KEYRING, Purpose.identity, NOW)
    behind = Identity(accepted.of(Purpose.identity))
    ahead = Identity(activate(accepted, Purpose.identity, NOW).of(Purpose.identity))
    assert task_id_of(ENVELOPE, behind) in task_ids_of(ENVELOPE, ahead)
    assert task_id_of(ENVELOPE, ahead) in task_ids_of(ENVELOPE, behind)


@given(st.binary(max_size=200), st.integers(1, 3))
def test_a_digest_carries_its_keys_id_and_is_made_again_with_it(value, times):
    first, keys = Digester(KEYRING.of(Purpose.digest)), rotated(Purpose.digest, times=times)
    now = Digester(keys)
    made = now.digest(value)
    assert made.startswith(f"{keys.active.id}:")
    old = first.digest(value)
    assert ":" not in old
    assert now.digest(value, like=old) == old
    assert now.digest(value + b"x", like=old) != old


def test_a_digest_of_a_key_that_is_gone_fits_nothing():
    now = Digester(new_keyring(NOW).of(Purpose.digest))
    old = Digester(KEYRING.of(Purpose.digest)).digest(b"value")
    assert now.digest(b"value", like=old) != old


@given(st.lists(st.text(max_size=80), max_size=3), st.integers(0, 3))
def test_what_was_sealed_opens_after_rotations_and_nowhere_else(texts, times):
    sealed = Sealer(KEYRING.of(Purpose.sealing)).seal(PLACE, texts)
    keys = rotated(Purpose.sealing, times=times)
    now = Sealer(keys)
    assert now.open(PLACE, sealed) == [text.encode("utf-8", "replace").decode() for text in texts]
    again = now.seal(PLACE, texts)
    assert (":" in again) == (keys.active.id != FIRST)
    assert now.open(PLACE, again) == now.open(PLACE, sealed)
    assert now.open("TENANT_002|c-1", again) == []
    # A key that was dropped opens nothing, and neither does a stranger's under the same id
    assert Sealer(new_keyring(NOW).of(Purpose.sealing)).open(PLACE, again) == []
    strange = KeySet(replace(keys.active, secret=b"x" * 32))
    assert Sealer(strange).open(PLACE, again) == []


def test_a_quotation_is_known_from_before_a_rotation():
    before = ContentFingerprints(KEYRING.of(Purpose.fingerprint))
    now = ContentFingerprints(rotated(Purpose.fingerprint))
    kept = set(before.kept("TENANT_001", QUOTED))
    assert kept
    assert kept <= set(now.looked_for("TENANT_001", QUOTED))
    assert set(now.kept("TENANT_001", QUOTED)).isdisjoint(kept)
    # What a reply only repeats of its request is no word from outside, under whichever key
    looked_for = frozenset(now.looked_for("TENANT_001", QUOTED))
    assert now.kept("TENANT_001", QUOTED, looked_for=looked_for) == ()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_a_pseudonym_opens_after_a_rotation(value):
    keyring = first_keyring(KEY, b"p" * 32)
    before = Pseudonymiser(keyring.of(Purpose.pseudonym))
    now = Pseudonymiser(rotated(Purpose.pseudonym, keyring))
    old, new = (one.pseudonym("T1", "email", value) for one in (before, now))
    assert now.reveal("T1", f"{old} {new}")[0].split(" ") == before.reveal("T1", old)[0].split(
        " "
    ) + before.reveal("T1", old)[0].split(" ")
    if old != "[email]":
        assert before.reveal("T1", new) == (new, {})


def test_a_selection_is_compared_with_those_kept_under_a_former_key():
    before, now = Digests(KEYRING.of(Purpose.aggregate)), Digests(rotated(Purpose.aggregate))
    [kept] = before.of_units("T", "people", ["ada", "bob"])
    assert kept in now.of_units("T", "people", ["bob", "ada"])
    assert before.of_text("T", "count")[0] in now.of_text("T", "count")
