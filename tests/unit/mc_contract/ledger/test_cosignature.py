"""Cosignatures and verifier keys: what is taken, and what must be refused."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.canonical import encode_base64
from mc_contract.ledger.checkpoint import (
    ED25519,
    Checkpoint,
    CheckpointError,
    sign_checkpoint,
    verifier_key,
    verify_checkpoint,
)
from mc_contract.ledger.cosignature import (
    COSIGNATURE,
    VerifierKey,
    cosign,
    cosignatures,
    lines_of,
    parse_verifier_key,
    refuse_twins,
)

LOG = "example.com/log"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WITNESS = VerifierKey("example.com/w1", COSIGNATURE, WITNESS_KEY.public_key())
CHECKPOINT = Checkpoint(LOG, 7, hashlib.sha256(b"root").digest(), previous=3)
NOTE = sign_checkpoint(CHECKPOINT, LOG, LOG_KEY)
AT_S = 1_700_000_000
LINE = cosign(CHECKPOINT.text(), WITNESS.name, WITNESS_KEY, AT_S)


def test_a_cosignature_is_the_signature_that_the_specification_spells() -> None:
    """Ed25519 over `cosignature/v1`, the time and the whole text; the time stands before it."""
    message = f"cosignature/v1\ntime {AT_S}\n{CHECKPOINT.text()}".encode()
    known = hashlib.sha256(
        b"example.com/w1\n\x04" + WITNESS_KEY.public_key().public_bytes_raw()
    ).digest()[:4]
    raw = known + AT_S.to_bytes(8, "big") + WITNESS_KEY.sign(message)
    assert f"— example.com/w1 {encode_base64(raw)}\n" == LINE


def test_a_cosigned_checkpoint_tells_its_witness_and_time() -> None:
    """The log's own verifier takes it as before: a cosignature is no signature of the log."""
    [found] = cosignatures(NOTE + LINE, [WITNESS])
    assert (found.witness, found.at) == (WITNESS, datetime.fromtimestamp(AT_S, UTC))
    assert verify_checkpoint(NOTE + LINE, {LOG: LOG_KEY.public_key()}) == CHECKPOINT
    assert cosignatures(NOTE, [WITNESS]) == []


def test_the_newest_of_two_by_one_witness_counts_once() -> None:
    later = cosign(CHECKPOINT.text(), WITNESS.name, WITNESS_KEY, AT_S + 60)
    [found] = cosignatures(NOTE + later + LINE, [WITNESS])
    assert found.at.timestamp() == AT_S + 60
    assert lines_of(NOTE + LINE + later, [WITNESS]) == [
        LINE
    ]  # one of each key: no line fills a note


def _changed_time(line: str) -> str:
    head, _, text = line.rstrip("\n").rpartition(" ")
    raw = bytearray(base64.b64decode(text))
    raw[11] ^= 1
    return f"{head} {encode_base64(bytes(raw))}\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (_changed_time(LINE), "does not fit the checkpoint"),
        (cosign("another\n", WITNESS.name, WITNESS_KEY, AT_S), "does not fit the checkpoint"),
        (cosign(CHECKPOINT.text(), WITNESS.name, WITNESS_KEY, 2**60), "no possible time"),
        (
            f"— {WITNESS.name} {encode_base64(WITNESS.id + bytes(64))}\n",
            "has 64 bytes",
        ),
    ],
)
def test_a_wrong_line_by_a_trusted_witness_is_refused(line: str, why: str) -> None:
    """Even beside a right one: nobody makes such a line by accident."""
    with pytest.raises(CheckpointError, match=why):
        cosignatures(NOTE + LINE + line, [WITNESS])


def test_a_signature_of_another_kind_by_the_same_key_is_no_cosignature() -> None:
    """Else a log could sign its own checkpoint and call that a witness."""
    as_log = sign_checkpoint(CHECKPOINT, WITNESS.name, WITNESS_KEY)
    assert cosignatures(as_log, [WITNESS]) == []


def test_verifier_keys_are_read_as_they_are_written() -> None:
    assert parse_verifier_key(WITNESS.text, COSIGNATURE) == WITNESS
    log = verifier_key(LOG, LOG_KEY.public_key())
    assert parse_verifier_key(log, ED25519).name == LOG


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no verifier key"),
        ("example.com/w1", "no verifier key"),
        (WITNESS.text.replace("w1", "w2"), "its hash is"),
        (WITNESS.text + "AAAA", "base64|expected"),
        (verifier_key(LOG, LOG_KEY.public_key()), "of type 1, expected a witness's"),
        ("a b+" + WITNESS.text.partition("+")[2], "no verifier key"),
        (WITNESS.name + "+00000000+" + encode_base64(b"\x06" + bytes(1312)), "of type 6|no verif"),
    ],
)
def test_what_is_no_witness_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        parse_verifier_key(text, COSIGNATURE)


def test_one_key_under_two_names_is_one_witness() -> None:
    """Two names would let one witness count as two."""
    other = VerifierKey("example.com/w2", COSIGNATURE, WITNESS_KEY.public_key())
    with pytest.raises(CheckpointError, match=r"w1 and example\.com/w2 are one key"):
        refuse_twins([WITNESS, other])
    refuse_twins([WITNESS])
