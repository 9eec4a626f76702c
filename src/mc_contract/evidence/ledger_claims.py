"""Claims about the ledger: that a checkpoint is signed, and that an entry is in the log.

The ledger's public key is an artefact, so these prove that note and key fit each other and that
the pack's signer bound that key. That it *is* the ledger's key only a copy from outside can tell:
compare the artefact with `trust/ledger.pub`.
"""

from __future__ import annotations

from mc_contract.canonical import Json, decode_base64, encode_base64
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
    text_param,
    utf8,
)
from mc_contract.ledger.checkpoint import Checkpoint, read_public_keys, verify_checkpoint
from mc_contract.ledger.merkle import leaf_hash, verify_inclusion


def _checkpoint(inputs: Inputs, params: Params) -> Json:
    found = _verified(inputs[0], inputs[1], params)
    return {
        "origin": found.origin,
        "size": found.size,
        "root": encode_base64(found.root),
    }


def _inclusion(inputs: Inputs, params: Params) -> Json:
    entry, proof_json, note, pem = inputs
    found = _verified(note, pem, params)
    proof = json_object(proof_json, "inclusion proof")
    index, hashes = proof.get("index"), proof.get("hashes")
    if not isinstance(index, int) or isinstance(index, bool) or not isinstance(hashes, list):
        raise NotRecomputable("inclusion proof needs an integer 'index' and a list 'hashes'")
    verify_inclusion(
        leaf=leaf_hash(entry),
        index=index,
        size=found.size,
        proof=[decode_base64(str(value)) for value in hashes],
        root=found.root,
    )
    return {"index": index, "size": found.size}


def _verified(note: bytes, pem: bytes, params: Params) -> Checkpoint:
    key_name = text_param(params, "key_name")
    return verify_checkpoint(utf8(note, "checkpoint"), {key_name: read_public_keys(pem)})


_KEY_CAVEAT = "that the key is the ledger's, only a copy of it from outside the pack tells"

FUNCTIONS = (
    ClaimFunction(
        "ledger.checkpoint",
        2,
        ("key_name",),
        f"the embedded ledger key signed this size and root; {_KEY_CAVEAT}",
        _checkpoint,
    ),
    ClaimFunction(
        "ledger.inclusion",
        4,
        ("key_name",),
        f"the entry is in the log at the signed checkpoint; {_KEY_CAVEAT}",
        _inclusion,
    ),
)
