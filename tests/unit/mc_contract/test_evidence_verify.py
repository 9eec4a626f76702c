"""Packs: a good one verifies, a changed one does not, and every reason is told."""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer._key import SSlibKey
from tests.unit.mc_contract.test_running import replica

from mc_contract.canonical import NotCanonical, canonical_json
from mc_contract.evidence import (
    Claim,
    Control,
    PackError,
    Release,
    Statement,
    Status,
    TrustedKey,
    UnusableKey,
    build_pack,
    key_id,
    load_trusted_keys,
    read_pack,
    verify,
)
from mc_contract.evidence.dsse import PAYLOAD_TYPE, pae, sign
from mc_contract.evidence.statement import parse_statement
from mc_contract.running import Record

KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
TRUSTED = [TrustedKey(key_id(KEY.public_key()), KEY.public_key())]
SERVES = [replica("blue-1", version="1", commit="0" * 40)]
SERVING = {"running": Record({"serving": SERVES}, {"serving": SERVES}).as_dict()}
ARTIFACTS = {
    "notes.txt": b"one\ntwo\n",
    "health.json": b'{"status":"ok"}',
    "serving.json": canonical_json(SERVING),
}
STATEMENT = Statement(
    subjects={},
    release=Release("v1", "0" * 40, "0.3.2"),
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    environment="local",
    run_id="run-1",
    claims=(
        Claim("notes.lines", 2, "lines.count", ("notes.txt",), {}),
        Claim("health.ok", True, "health.ok", ("health.json",), {}),
        Claim(
            "serving.running",
            {"replicas": {"serving": [dict(one) for one in SERVES]}, "exchanged": []},
            "running.serving",
            ("serving.json",),
            {},
        ),
    ),
    controls=(
        Control("health", Status.measured, "it said so", ("health.ok",)),
        Control("origin", Status.declared, "the word of whoever signed", ()),
        Control("replication", Status.not_applicable, "one region", ()),
    ),
)
GOOD = build_pack(STATEMENT, ARTIFACTS, KEY)


def _signed(statement: dict[str, Any], artifacts: dict[str, bytes] = ARTIFACTS) -> bytes:
    """A pack of any statement at all, rightly signed: what a dishonest key holder could make."""
    payload = canonical_json(statement)
    document = json.loads(GOOD)
    envelope = document["bundle"]["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(payload).decode()
    signature = sign(KEY, pae(PAYLOAD_TYPE, payload))
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    document["artifacts"] = {
        name: base64.b64encode(raw).decode() for name, raw in artifacts.items()
    }
    return canonical_json(document)


def _said() -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(read_pack(GOOD).payload)
    return payload


def test_good_pack_verifies() -> None:
    """Every claim recomputes, the key is trusted, the release is the expected one."""
    report = verify(GOOD, TRUSTED, expect_release="v1")
    assert report.reasons == ()
    assert report.ok
    assert report.signed_by == TRUSTED[0].key_id
    told = report.as_dict()
    assert told["ok"] is True
    assert told["notes"] == []
    assert told["release"] == {"name": "v1", "commit": "0" * 40, "version": "0.3.2"}
    assert canonical_json(told)


def test_good_pack_without_an_expected_release_says_so() -> None:
    """Nothing is silently taken from the pack itself."""
    assert "no release was expected" in verify(GOOD, TRUSTED).notes[0]


def test_ed25519_pack_verifies() -> None:
    """Ed25519 is accepted beside ECDSA P-256."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    trusted = TrustedKey(key_id(key.public_key()), key.public_key())
    assert verify(build_pack(STATEMENT, ARTIFACTS, key), [trusted]).ok


def test_pack_of_another_key_or_release_is_refused_with_both_reasons() -> None:
    """All reasons are collected, not only the first."""
    other = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    report = verify(GOOD, [TrustedKey(key_id(other), other)], expect_release="v2")
    assert not report.ok
    assert len(report.reasons) == 2
    assert "not among the 1 trusted" in report.reasons[0]
    assert "'v1', expected 'v2'" in report.reasons[1]
    assert not verify(GOOD, []).ok


def test_pack_whose_key_id_is_borrowed_is_refused() -> None:
    """A key id is only a name: the signature must fit the trusted key of that name."""
    other = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    report = verify(GOOD, [TrustedKey(TRUSTED[0].key_id, other)])
    assert report.reasons == (
        "the signature is refused: it does not fit the payload and the key that it names",
    )


@pytest.mark.parametrize("flip", [0x01, 0x20])
def test_pack_with_any_one_byte_changed_is_refused(flip: int) -> None:
    """Every byte of the file means something: flipped, the pack does not verify."""
    meaning = json.loads(GOOD)
    for at in range(len(GOOD)):
        changed = GOOD[:at] + bytes([GOOD[at] ^ flip]) + GOOD[at + 1 :]
        try:
            same = json.loads(changed) == meaning
        except ValueError:
            same = False
        report = verify(changed, TRUSTED, expect_release="v1")
        assert report.ok is same, f"byte {at}"
        assert bool(report.reasons) is not same


@given(st.data())
def test_pack_with_bytes_inserted_or_cut_is_refused(data: st.DataObject) -> None:
    """Neither insertion nor removal goes unseen, white space between tokens apart."""
    start = data.draw(st.integers(0, len(GOOD) - 1))
    end = data.draw(st.integers(start, min(start + 8, len(GOOD))))
    changed = GOOD[:start] + data.draw(st.binary(max_size=8)) + GOOD[end:]
    try:
        same = json.loads(changed) == json.loads(GOOD)
    except ValueError:
        same = False
    report = verify(changed, TRUSTED, expect_release="v1")
    assert report.ok is same
    assert report.ok is not bool(report.reasons)


def _set(document: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split("/")
    here: Any = document
    for part in parents:
        here = here[int(part) if isinstance(here, list) else part]
    here[int(last) if isinstance(here, list) else last] = value


SIG = "bundle/dsseEnvelope/signatures"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("more", 1, "more is unknown"),
        ("bundle/more", 1, "is unknown; known: "),
        ("bundle/mediaType", "application/vnd.dev.sigstore.bundle.v0.2+json", "mediaType"),
        ("bundle/verificationMaterial/certificate", {"rawBytes": "QQ=="}, "is unknown; known: "),
        ("bundle/verificationMaterial/publicKey/rawBytes", "QQ==", "is unknown; known: "),
        ("bundle/verificationMaterial/publicKey/hint", "x", "different keys"),
        ("bundle/verificationMaterial", [], "must be a table"),
        ("bundle/dsseEnvelope/payloadType", "text/plain", "payloadType"),
        ("bundle/dsseEnvelope/payload", "", "must be non-empty base64 text"),
        ("bundle/dsseEnvelope/payload", 7, "must be non-empty base64 text"),
        ("bundle/dsseEnvelope/more", 7, "is unknown; known: "),
        (SIG, [], "exactly one"),
        (SIG, {}, "exactly one"),
        (SIG, [{"sig": "QQ==", "keyid": "k"}] * 2, "exactly one"),
        (SIG + "/0", "sig", "must be a table"),
        (SIG + "/0/sig", "", "non-empty"),
        (SIG + "/0/sig", None, "non-empty"),
        (SIG + "/0/sig", ["QQ=="], "non-empty"),
        (SIG + "/0/sig", "QR==", "canonical"),
        (SIG + "/0/keyid", "", "keyid"),
        (SIG + "/0/cert", "x", "is unknown; known: "),
        ("artifacts", [], "artifacts is a list of 0, must be a table"),
        ("artifacts/..~up", "", "relative path"),
        ("artifacts/NOTES.txt", "", "collides"),
        ("artifacts/notes.txt", None, "base64"),
    ],
)
def test_envelope_out_of_form_is_refused(path: str, value: object, reason: str) -> None:
    """The envelope has these fields and no others, of these types and no others."""
    document = json.loads(GOOD)
    _set(document, path, value)
    report = verify(json.dumps(document).encode(), TRUSTED)
    assert not report.ok
    assert any(reason in told for told in report.reasons), report.reasons


def test_duplicate_key_in_pack_is_refused() -> None:
    """Two readers can't be shown two packs."""
    raw = GOOD.replace(b'{"artifacts":', b'{"artifacts":{},"artifacts":', 1)
    assert "twice" in verify(raw, TRUSTED).reasons[0]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("_type", "https://in-toto.io/Statement/v0.1", "_type"),
        ("predicateType", "https://slsa.dev/provenance/v1", "predicateType"),
        ("more", 1, "is unknown; known: "),
        ("predicate/more", 1, "is unknown; known: "),
        ("subject/0/digest", {"md5": "0" * 32}, "md5 is unknown"),
        ("subject/0/digest/md5", "0" * 32, "md5 is unknown"),
        ("subject/0/digest/sha256", "0" * 64, "differs from its signed digest"),
        ("subject/0/digest/sha256", "A" * 64, "lower-case hex"),
        ("subject/0/name", "../x", "relative path"),
        ("subject/0/name", "gone.txt", "no artefact"),
        ("subject/0/name", "notes.txt", "twice"),
        ("subject", {}, "must be a list"),
        ("predicate/release", "v1", "must be a table"),
        ("predicate/created_at", "2026-13-01T00:00:00Z", "created_at"),
        ("predicate/created_at", "2026-01-01T00:00:00+01:00", "created_at"),
        ("predicate/claims/0/value", 3, "another value"),
        ("predicate/claims/0/value", 2.5, "another value"),
        ("predicate/claims/1/value", 1, "another value"),
        ("predicate/claims/0/fn", "trust.me", "unknown function"),
        ("predicate/claims/0/from", ["absent"], "no artefact"),
        ("predicate/claims/0/params", {"x": 1}, "no parameter"),
        ("predicate/claims/0/params", [], "must be a table"),
        ("predicate/claims/0/id", "health.ok", "twice"),
        ("predicate/claims", "x", "must be a list"),
        (
            "predicate/claims",
            [STATEMENT.claims[0].as_dict()] * 201,
            "a list (each a table) of 1 to 200",
        ),
        (
            "predicate/controls/0/status",
            "passed",
            "must be measured or declared, not measured or not applicable",
        ),
        ("predicate/controls/0/status", "declared, not measured", "anything else takes none"),
        ("predicate/controls/0/claims", [], "measured takes claims"),
        ("predicate/controls/0/claims", ["nowhere"], "does not exist"),
        (
            "predicate/controls/1/reason",
            "",
            'controls[1].reason is "", must be a text of 1 to 1000 characters',
        ),
    ],
)
def test_statement_that_does_not_hold_is_refused_though_rightly_signed(
    path: str, value: object, reason: str
) -> None:
    """A signature proves who said it; what was said is checked all the same."""
    said = _said()
    _set(said, path, value)
    report = verify(_signed(said), TRUSTED)
    assert report.signed_by
    assert not report.ok
    assert any(reason in told for told in report.reasons), report.reasons


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**99)
    | st.floats(-1e300, 1e300)
    | st.sampled_from(["", "x", "health.ok", "json.pointer", "canary.verdict", "notes.txt"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def _paths(value: object, path: str = "") -> list[str]:
    if not isinstance(value, dict | list) or not value:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    below = [found for key, item in items for found in _paths(item, f"{path}/{key}".lstrip("/"))]
    return [path, *below] if path else below


@given(st.data())
def test_any_value_anywhere_gives_a_report(data: st.DataObject) -> None:
    """Whatever stands anywhere in a rightly signed statement: a report, never an exception."""
    said = _said()
    for path in data.draw(st.lists(st.sampled_from(_paths(said)), max_size=3, unique=True)):
        try:
            _set(said, path, data.draw(JSON))
        except (KeyError, IndexError, TypeError, ValueError):
            continue  # an earlier replacement took this place away
    try:
        raw = _signed(said)
    except NotCanonical:
        return
    report = verify(raw, TRUSTED)
    assert report.ok is not bool(report.reasons)
    assert json.dumps(report.as_dict(), allow_nan=False)


def test_artifact_without_subject_is_refused() -> None:
    """Nothing rides along unsigned."""
    report = verify(_signed(_said(), ARTIFACTS | {"extra.txt": b""}), TRUSTED)
    assert report.reasons == ("artefact 'extra.txt' is not a subject of the statement",)


def test_control_on_a_false_claim_is_refused_too() -> None:
    """A claim that fails takes the controls that lean on it along, each with its reason."""
    said = _said()
    said["predicate"]["claims"][1]["value"] = False
    reasons = verify(_signed(said), TRUSTED).reasons
    assert len(reasons) == 2
    assert "control 'health' leans on claim 'health.ok', which does not recompute" in reasons[1]


@pytest.mark.parametrize("controls", [False, True])
def test_pack_that_claims_nothing_is_refused(controls: bool) -> None:
    """A signature over nothing recomputable is no evidence, with declared controls or without."""
    said = _said()
    said["predicate"]["claims"] = []
    said["predicate"]["controls"] = said["predicate"]["controls"][1:] if controls else []
    report = verify(_signed(said), TRUSTED, expect_release="v1")
    assert not report.ok
    assert report.reasons == (
        "predicate.claims is a list of 0, must be a list (each a table) of 1 to 200",
    )
    with pytest.raises(PackError, match=r"predicate\.claims is a list of 0, must be a list"):
        build_pack(replace(STATEMENT, claims=(), controls=()), ARTIFACTS, KEY)


def test_control_on_claims_that_do_not_exist_is_refused() -> None:
    """Every id that a control leans on is a claim's, whatever the control's status."""
    for at, control in enumerate(STATEMENT.controls):
        said = _said()
        said["predicate"]["controls"][at]["claims"] = ["health.ok", "nowhere"]
        report = verify(_signed(said), TRUSTED)
        expected = f"control {control.id!r} leans on claim 'nowhere', which does not exist"
        assert expected in report.reasons


def test_pack_that_would_not_verify_is_not_built() -> None:
    """Form errors come out when packing, not at the auditor's desk."""
    with pytest.raises(PackError, match="relative path"):
        build_pack(STATEMENT, {"../up": b""}, KEY)
    with pytest.raises(PackError, match="collides"):
        build_pack(STATEMENT, {"a": b"", "A": b""}, KEY)
    with pytest.raises(PackError, match="collides"):
        build_pack(STATEMENT, {"a": b"", "a/b": b""}, KEY)
    with pytest.raises(PackError, match=r"release\.name"):
        build_pack(replace(STATEMENT, release=Release("", None, "1")), ARTIFACTS, KEY)


def test_statement_comes_back_as_it_was() -> None:
    """What is written is read as the same statement."""
    said, problems = parse_statement(copy.deepcopy(STATEMENT.as_dict()))
    assert problems == []
    assert said == STATEMENT


def test_key_of_another_kind_is_refused() -> None:
    """Only P-256 and Ed25519 can be trusted; anything else is refused when loaded."""
    from cryptography.hazmat.primitives import serialization

    other = ec.derive_private_key(5, ec.SECP384R1()).public_key()
    pem = other.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(UnusableKey, match="another kind"):
        load_trusted_keys(pem)
    with pytest.raises(UnusableKey, match="not a PEM"):
        load_trusted_keys(b"nonsense")


def test_envelope_verifies_by_securesystemslib() -> None:
    """Another implementation of DSSE agrees on the good envelope, and on a changed one."""
    envelope = json.loads(GOOD)["bundle"]["dsseEnvelope"]
    key = SSlibKey.from_crypto(KEY.public_key(), keyid=TRUSTED[0].key_id)
    accepted = Envelope.from_dict(copy.deepcopy(envelope)).verify([key], 1)
    assert set(accepted) == {TRUSTED[0].key_id}
    envelope["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(Exception, match=r"valid|sign|threshold"):
        Envelope.from_dict(envelope).verify([key], 1)
