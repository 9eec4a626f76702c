"""The keyring's file and its rotation: what is refused, what is told, and what never goes missing."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.configuration import FileProblems
from mc_contract.keyring import (
    FINGERPRINT_DAYS,
    FIRST,
    KeyState,
    Purpose,
    accept_new,
    activate,
    drop_expired,
    first_keyring,
    key_id,
    keyring_text,
    missing_keys,
    new_key,
    new_keyring,
    parse_keyring,
    view_digest,
)

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
DAYS = 365


def _document():
    return json.loads(keyring_text(new_keyring(NOW)))


def _problems(document):
    with pytest.raises(FileProblems) as told:
        parse_keyring(json.dumps(document).encode())
    return str(told.value)


def test_a_keyring_is_read_as_it_is_written():
    keyring = new_keyring(NOW)
    rotated = activate(accept_new(keyring, Purpose.digest, NOW), Purpose.digest, NOW)
    assert parse_keyring(keyring_text(rotated).encode()) == rotated
    assert view_digest(rotated.view()) != view_digest(keyring.view())


def test_every_problem_is_told_at_once_and_no_secret():
    document = _document()
    secret = document["identity"][0]["secret"]
    document["identity"][0]["id"] = "00000000"
    document["digest"].append({**document["digest"][0]})
    document["sealing"][0]["state"] = "former"
    document["fingerprint"][0]["created_at"] = "yesterday"
    document["aggregate"][0]["secret"] = "c2hvcnQ="
    said = _problems(document)
    for part in (
        "identity[0].id does not belong to its secret",
        "digest: an id stands twice",
        "digest has 2 active keys",
        "sealing[0].retired_at",
        "sealing has 0 active keys",
        "fingerprint[0].created_at must be a time",
        "aggregate[0].secret has 5 bytes",
    ):
        assert part in said
    assert secret not in said
    assert "c2hvcnQ=" not in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identitty": []}, "identitty is unknown; did you mean identity?"),
        ({"version": 2}, "version is 2, must be 1"),
        ({"sealing": "x"}, "sealing"),
        ({"digest": [{"id": "x", "secret": "hunter2", "state": "on"}]}, "digest[0].state"),
    ],
)
def test_what_is_not_in_the_form_is_refused(change, said):
    told = _problems({**_document(), **change})
    assert said in told
    assert "hunter2" not in told


def test_no_secret_serves_two_purposes():
    """Else who may open sealed texts could make task ids; an id tells nothing of it, as it names the purpose."""
    document, key = _document(), new_key(Purpose.sealing, NOW)
    secret = base64.b64encode(key.secret).decode()
    document["sealing"][0] |= {"id": key.id, "secret": secret}
    document["identity"][0] |= {"id": key_id(Purpose.identity, key.secret), "secret": secret}
    said = _problems(document)
    assert f"sealing.{key.id} has the same secret as identity." in said
    assert secret not in said
    first = first_keyring(Ed25519PrivateKey.generate())  # there identity and digest began as one
    assert parse_keyring(keyring_text(first).encode()) == first


def test_a_repr_shows_no_secret():
    keyring = new_keyring(NOW)
    assert keyring.of(Purpose.sealing).active.secret.hex() not in repr(keyring)
    assert str(keyring.of(Purpose.sealing).active.secret) not in repr(keyring)


def test_a_new_key_is_read_before_it_makes_anything():
    before = new_keyring(NOW)
    accepted = accept_new(before, Purpose.identity, NOW)
    keys = accepted.of(Purpose.identity)
    assert keys.active == before.of(Purpose.identity).active
    assert [key.state for key in keys.others] == [KeyState.accepted]
    assert accept_new(accepted, Purpose.identity, NOW) == accepted  # asked again it is the same
    active = activate(accepted, Purpose.identity, NOW).of(Purpose.identity)
    assert active.active.id == keys.others[0].id
    assert [(key.id, key.state) for key in active.others] == [(keys.active.id, KeyState.former)]


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Purpose)), st.integers(0, 500), st.booleans()), max_size=12
    )
)
def test_whatever_is_rotated_and_dropped_in_time_is_never_missed(steps):
    """Each step is taken by every replica: none refuses it, and each key stays until it expires."""
    keyring, now = new_keyring(NOW), NOW
    for purpose, days, drop in steps:
        now += timedelta(days=days)
        before = keyring.view()
        keyring = accept_new(keyring, purpose, now)
        assert missing_keys(before, keyring.view(), now, DAYS) == []
        before = keyring.view()
        keyring = activate(keyring, purpose, now)
        if drop:
            keyring = drop_expired(keyring, now, DAYS)
        assert missing_keys(before, keyring.view(), now, DAYS) == []
        parse_keyring(keyring_text(keyring).encode())


@pytest.mark.parametrize(
    ("purpose", "days"),
    [
        (Purpose.fingerprint, FINGERPRINT_DAYS),
        (Purpose.sealing, DAYS + 1),
        (Purpose.identity, DAYS + 1),
    ],
)
def test_a_former_key_is_missed_until_nothing_needs_it(purpose, days):
    keyring = activate(accept_new(new_keyring(NOW), purpose, NOW), purpose, NOW)
    former = keyring.of(purpose).others[0]
    rest = {name: told for name, told in keyring.view().items() if not name.endswith(former.id)}
    early, late = (NOW + timedelta(days=days, seconds=by) for by in (-1, 1))
    [said] = missing_keys(keyring.view(), rest, early, DAYS)
    assert f"{purpose}.{former.id} is missing: it is needed until" in said
    assert missing_keys(keyring.view(), rest, late, DAYS) == []
    assert drop_expired(keyring, early, DAYS) == keyring
    assert drop_expired(keyring, late, DAYS).of(purpose).others == ()


def test_a_key_of_aggregates_is_needed_for_good():
    keyring = activate(accept_new(new_keyring(NOW), Purpose.aggregate, NOW), Purpose.aggregate, NOW)
    assert drop_expired(keyring, NOW + timedelta(days=9000), DAYS) == keyring


def test_a_key_that_went_back_is_told():
    keyring = activate(accept_new(new_keyring(NOW), Purpose.digest, NOW), Purpose.digest, NOW)
    before, after = keyring.view(), new_keyring(NOW).view()
    assert sum("is missing" in said for said in missing_keys(before, after, NOW, DAYS)) == 7
    retired = next(name for name, told in before.items() if told["state"] == "former")
    again = {**before, retired: {**before[retired], "state": "active"}}
    [said] = missing_keys(before, again, NOW, DAYS)
    assert said == f"{retired} was retired, and cannot make anything again"
    assert FIRST not in said
