"""`python -m mc_contract.ledger.export`: what it cannot use is no finding about a ledger."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.canonical import canonical_json
from mc_contract.ledger.export import ProvenLeaf, main, write_export


def _pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


EXPORT = write_export(region="eu-1", checkpoint="nobody signed this", leaves=[])
KEY = _pem(Ed25519PrivateKey.generate())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(
    TEXT, TEXT, TEXT, st.lists(st.tuples(st.binary(max_size=9), st.lists(st.binary(max_size=32))))
)
def test_an_export_is_one_canonical_json_with_its_digest(region, note, since, entries):
    """Written entry by entry, it has the bytes that it would have as a whole."""
    leaves = [ProvenLeaf(at, leaf, proof) for at, (leaf, proof) in enumerate(entries)]
    value = {
        "format": "mc-ledger-export",
        "version": 1,
        "region": region,
        "tenant": "T",
        "since": since,
        "until": "",
        "checkpoint": note,
        "entries": [
            {
                "index": one.index,
                "leaf": base64.b64encode(one.leaf).decode(),
                "proof": [base64.b64encode(hashed).decode() for hashed in one.proof],
            }
            for one in leaves
        ],
    }
    digest = hashlib.sha256(canonical_json(value)).hexdigest()
    assert (
        write_export(region=region, checkpoint=note, leaves=leaves, tenant="T", since=since)
        == canonical_json({**value, "sha256": digest}) + b"\n"
    )


def _run(folder, capsys, export, key):
    for name, content in (("export.json", export), ("ledger.pub", key)):
        if content is not None:
            (folder / name).write_bytes(content)
    code = main([str(folder / "export.json"), str(folder / "ledger.pub")])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err


@pytest.mark.parametrize(
    ("export", "key", "told"),
    [
        (EXPORT, None, "ledger.pub cannot be read: No such file"),
        (None, KEY, "export.json cannot be read: No such file"),
        (EXPORT, b"not a key", "the ledger's key is not a PEM public key"),
        (EXPORT, _pem(ec_key(SECP256R1())), "not an ed25519 public key"),
        (b"", KEY, "the export is not JSON"),
        (b"\x89PNG", KEY, "the export is not JSON"),
        (b"[]", KEY, "this is no ledger export"),
        (json.dumps({"format": "mc-ledger-export", "version": 2}).encode(), KEY, "version 2"),
    ],
)
def test_what_cannot_be_used_is_a_line_and_exit_2(tmp_path, capsys, export, key, told):
    """A missing file, another kind of file, another key: nothing is said of any ledger."""
    code, err = _run(tmp_path, capsys, export, key)
    assert code == 2
    assert told in err


@pytest.mark.parametrize("export", [EXPORT, EXPORT[:-40], EXPORT.replace(b"eu-1", b"us-1")])
def test_what_was_an_export_and_does_not_verify_is_a_finding(tmp_path, capsys, export):
    """Unsigned, cut off, or changed."""
    code, err = _run(tmp_path, capsys, export, KEY)
    assert code == 1
    assert err.startswith("does not verify: ")
