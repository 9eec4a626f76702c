"""Claim functions: what each computes, and that it refuses what it can't compute from."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.merkle_proofs import inclusion_proof

from mc_contract.canonical import same_value
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import REGISTRY, recompute
from mc_contract.judgement.verdict import parse_samples, rejudge
from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.merkle import leaf_hash, tree_root

if TYPE_CHECKING:
    from mc_contract.canonical import Json

ORIGIN = "mc-platform.example.com/ledger/local-1"
LEDGER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_PEM = LEDGER_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
METRICS = b"""# HELP mc_siem_requests_total Batches sent.
# TYPE mc_siem_requests_total counter
mc_siem_requests_total{status="success"} 41.0
mc_siem_requests_total{status="failure",note="a \\"}\\" b"} 1.0
mc_siem_requests_total_created{status="success"} 1.7e9
broken nan
broken NaN
"""
JOURNAL = b"""{"seq":0,"event":"run_started","run_id":"r1"}
{"seq":1,"event":"step_started","step":"canary"}
{"seq":2,"event":"step_finished","step":"canary","outcome":"passed","exit":0}
{"seq":3,"event":"check_finished","step":"canary","outcome":"passed","exit":0}
{"seq":4,"event":"step_finished","step":"cutover","outcome":"passed","exit":0}
{"seq":5,"event":"check_finished","step":"cutover","outcome":"failed","exit":1}
{"seq":6,"event":"step_finished","step":"tag","outcome":"passed","exit":0}
{"seq":7,"event":"undo_started","step":"tag"}
{"seq":8,"event":"undo_finished","step":"tag","exit":0}
{"seq":9,"event":"step_started","step":"evidence"}
"""


def _samples(factor: float = 1.0) -> bytes:
    values = np.random.default_rng(7).lognormal(-4, 0.2, 900) * factor
    return "".join(f"{value:.6f}\n" for value in values).encode()


def _one(fn: str, raw: bytes, **params: Json) -> Json:
    return recompute(fn, ("a",), params, {"a": raw})


def _canary(candidate: bytes, **changed: object) -> Json:
    base = _samples()
    told = rejudge(base, candidate, {"margin": 0.25, "planned_pairs": 900}).as_dict() | changed
    artifacts = {"b": base, "c": candidate, "v": json.dumps(told).encode()}
    return recompute("canary.verdict", ("b", "c", "v"), {}, artifacts)


@pytest.mark.parametrize(
    ("fn", "raw", "params", "value"),
    [
        ("sha256", b"abc", {}, hashlib.sha256(b"abc").hexdigest()),
        ("lines.count", b"a\n\nb\n c \xe2\x80\xa8 d", {}, 3),
        ("json.pointer", b'{"a/b":[1,{"~":true}]}', {"pointer": "/a~1b/1/~0"}, True),
        ("json.pointer", b"[1]", {"pointer": ""}, [1]),
        ("health.ok", b'{"status":"ok"}', {}, True),
        ("health.ok", b'{"status":"degraded"}', {}, False),
        ("metrics.sum", METRICS, {"metric": "mc_siem_requests_total"}, 42.0),
        (
            "metrics.sum",
            METRICS,
            {"metric": "mc_siem_requests_total", "labels": {"status": "success"}},
            41.0,
        ),
        ("canary.requests", b"0.1\nerror\n0.2\n", {}, {"sent": 3, "failed": 1}),
        ("canary.p95_ms", b"0.1\nerror\n0.2\n", {}, 200.0),
        (
            "preflight.passed",
            b'{"checks":[{"name":"db","status":"pass"},{"name":"siem","status":"unknown"}]}',
            {},
            {"passed": ["db"], "other": {"siem": "unknown"}},
        ),
        (
            "runbook.steps_passed",
            JOURNAL,
            {},
            {
                "passed": ["canary"],
                "other": {"cutover": "failed", "tag": "undone", "evidence": "started"},
            },
        ),
    ],
)
def test_claim_is_computed(fn: str, raw: bytes, params: dict[str, Json], value: Json) -> None:
    """Each function gives what its artefact says."""
    computed = recompute(fn, ("a",), params, {"a": raw})
    assert computed == value
    assert same_value(value, computed)


@pytest.mark.parametrize(
    ("fn", "raw", "params"),
    [
        ("nothing", b"", {}),
        ("sha256", b"", {"more": 1}),
        ("json.pointer", b"[1]", {"pointer": "/01"}),
        ("json.pointer", b"[1]", {"pointer": "/1"}),
        ("json.pointer", b"[1]", {"pointer": "0"}),
        ("json.pointer", b"[1]", {}),
        ("json.pointer", b'{"a":1,"a":2}', {"pointer": "/a"}),
        ("health.ok", b"[]", {}),
        ("metrics.sum", METRICS, {"metric": "absent"}),
        ("metrics.sum", METRICS, {"metric": "broken"}),
        ("canary.requests", b"0.1\nnan\n", {}),
        ("canary.requests", b"", {}),
        ("preflight.passed", b'{"checks":[]}', {}),
        ("runbook.steps_passed", b"", {}),
        ("runbook.steps_passed", b"{", {}),
        ("lines.count", b"\xff", {}),
    ],
)
def test_claim_over_unusable_artifact_is_refused(
    fn: str, raw: bytes, params: dict[str, Json]
) -> None:
    """A function that can't compute says why; it never guesses."""
    with pytest.raises(NotRecomputable):
        recompute(fn, ("a",), params, {"a": raw})


def test_claim_with_absent_or_extra_artifacts_is_refused() -> None:
    """A claim names exactly the artefacts that its function takes."""
    with pytest.raises(NotRecomputable, match="no artefact 'b'"):
        recompute("sha256", ("b",), {}, {"a": b""})
    with pytest.raises(NotRecomputable, match="takes 1 artefacts, got 2"):
        recompute("sha256", ("a", "a"), {}, {"a": b""})


def test_canary_verdict_is_recomputed_with_its_rehearsal_label() -> None:
    """The claimed value holds verdict, margin and the rehearsal flag, from the samples."""
    promoted = _canary(_samples())
    assert isinstance(promoted, dict)
    assert promoted["verdict"] == "PROMOTE"
    assert (promoted["margin"], promoted["rehearsal"]) == (0.25, True)
    held = _canary(_samples(2.0))
    assert isinstance(held, dict)
    assert held["verdict"] == "HOLD"


@pytest.mark.parametrize("changed", [{"verdict": "PROMOTE"}, {"rehearsal": False}])
def test_canary_verdict_file_that_contradicts_its_samples_is_refused(
    changed: dict[str, object],
) -> None:
    """A HOLD told as PROMOTE, or a rehearsal told as the full verdict, is found out."""
    with pytest.raises(NotRecomputable, match="the samples give"):
        _canary(_samples(2.0), **changed)


def test_canary_with_a_late_driver_is_void() -> None:
    """Samples that were sent too late promote nothing, and a file that says so is consistent."""
    late = {"p99_ms": 70.0, "limit_ms": 50.0}
    void = _canary(_samples(), lateness=late, verdict="HOLD", kind="void")
    assert isinstance(void, dict)
    assert (void["verdict"], void["kind"]) == ("HOLD", "void")
    with pytest.raises(NotRecomputable, match="the samples give 'HOLD'"):
        _canary(_samples(), lateness=late)
    with pytest.raises(NotRecomputable, match="no figures"):
        _canary(_samples(), lateness={"p99_ms": "x"})
    regressed = _canary(_samples(2.0), lateness=late)
    assert isinstance(regressed, dict)
    assert regressed["kind"] == "regressed"


def test_canary_p95_is_that_of_the_judgement() -> None:
    """One definition of p95, wherever it is shown."""
    raw = _samples()
    judged = rejudge(raw, raw, {"margin": 0.25, "planned_pairs": 900}).as_dict()
    assert _one("canary.p95_ms", raw) == judged["baseline"]["p95_ms"]
    assert parse_samples(raw).n == judged["baseline"]["n"]


def _ledger() -> dict[str, bytes]:
    entries = [f'{{"event":{number}}}'.encode() for number in range(5)]
    leaves = [leaf_hash(entry) for entry in entries]
    note = sign_checkpoint(Checkpoint(ORIGIN, 5, tree_root(leaves)), ORIGIN, LEDGER_KEY)
    hashes = [base64.b64encode(value).decode() for value in inclusion_proof(leaves, 3)]
    proof = json.dumps({"index": 3, "hashes": hashes}).encode()
    return {"entry": entries[3], "proof": proof, "note": note.encode(), "key": PUBLIC_PEM}


def test_ledger_claims_are_recomputed() -> None:
    """A signed checkpoint and an entry's proof against it give size, root and index."""
    artifacts, params = _ledger(), {"key_name": ORIGIN}
    head = recompute("ledger.checkpoint", ("note", "key"), params, artifacts)
    assert isinstance(head, dict)
    assert (head["origin"], head["size"]) == (ORIGIN, 5)
    four = ("entry", "proof", "note", "key")
    assert recompute("ledger.inclusion", four, params, artifacts) == {"index": 3, "size": 5}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("entry", b'{"event":4}'),
        ("note", b"x"),
        ("key", b"x"),
        ("proof", b'{"index":true,"hashes":[]}'),
        ("proof", b'{"index":3,"hashes":["!"]}'),
    ],
)
def test_ledger_claim_over_forged_parts_is_refused(name: str, content: bytes) -> None:
    """Another entry, note, key or proof does not recompute."""
    artifacts = _ledger() | {name: content}
    with pytest.raises(NotRecomputable):
        recompute(
            "ledger.inclusion", ("entry", "proof", "note", "key"), {"key_name": ORIGIN}, artifacts
        )


def _other_pem(kind: str) -> bytes:
    if kind == "oid":  # an AlgorithmIdentifier that nobody knows: 1.2.3.4.5
        body = base64.b64encode(bytes.fromhex("300d300606042a0304050303000102"))
    else:  # id-ecPublicKey over sect163k1's neighbour 1.3.132.0.99, which does not exist
        body = base64.b64encode(
            bytes.fromhex("301a301006072a8648ce3d020106052b8104006303060004") + bytes(4)
        )
    return b"-----BEGIN PUBLIC KEY-----\n" + body + b"\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("kind", ["oid", "curve"])
def test_ledger_key_of_an_unknown_kind_is_a_reason(kind: str) -> None:
    """A key that the library knows nothing of is refused in words, not by an exception."""
    with pytest.raises(UnsupportedAlgorithm):
        serialization.load_pem_public_key(_other_pem(kind))
    artifacts = _ledger() | {"key": _other_pem(kind)}
    with pytest.raises(NotRecomputable, match="not a PEM public key"):
        recompute("ledger.checkpoint", ("note", "key"), {"key_name": ORIGIN}, artifacts)


def test_registry_says_what_each_claim_proves() -> None:
    """No function without a sentence on what may be concluded."""
    assert all(function.proves for function in REGISTRY.values())


@pytest.mark.parametrize(
    ("claimed", "computed", "same"),
    [
        (1, 1, True),
        (1, True, False),
        (0, False, False),
        (None, False, False),
        (0.1 + 0.2, 0.3, True),
        (1.0, 1.000001, False),
        ("1", 1, False),
        ([1, {"a": 2.0}], [1, {"a": 2.0 + 1e-15}], True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ([], {}, False),
    ],
)
def test_values_are_compared_by_type_and_value(claimed: Json, computed: Json, same: bool) -> None:
    """Only floats have a tolerance, and it is tiny."""
    assert same_value(claimed, computed) is same
