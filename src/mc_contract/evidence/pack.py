"""The file: a Sigstore bundle v0.3 with a DSSE envelope, and the artefacts beside it.

    {"artifacts": {name: base64}, "bundle": {mediaType, verificationMaterial, dsseEnvelope}}

`read_pack` is the strict parser in front of everything: it knows each field, and refuses a pack
that brings its own key or certificate. It does not look at the signature or the statement; that
is `verify`'s.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mc_contract.canonical import Json, NotCanonical, canonical_json, decode_base64
from mc_contract.errors import McError
from mc_contract.evidence.dsse import PAYLOAD_TYPE, PrivateKey, key_id, pae, sign
from mc_contract.evidence.statement import MAX_SUBJECTS, Statement, colliding_names, parse_statement
from mc_contract.evidence.strict import (
    PACK_LIMITS,
    Malformed,
    artifact_name_problem,
    parse_json,
)

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_START = re.compile(rb'\s*\{\s*"artifacts"\s*:\s*\{')
_MARKS = (BUNDLE_TYPE.encode(), PAYLOAD_TYPE.encode(), b'"dsseEnvelope"')


class PackError(McError):
    """The pack is malformed, or can't be built; `problems` lists everything that is wrong."""

    code = "evidence-pack"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Pack:
    """What a pack file holds, decoded; nothing of it is verified yet.

    Attributes:
        key_id: Which key is said to have signed.
        signature: DER for ECDSA, 64 bytes for Ed25519.
        payload: The in-toto statement's bytes, exactly as signed.
        artifacts: Bytes by name.
    """

    key_id: str
    signature: bytes
    payload: bytes
    artifacts: dict[str, bytes]

    def signed_bytes(self) -> bytes:
        """What the signature is over: the envelope's pre-authentication encoding."""
        return pae(PAYLOAD_TYPE, self.payload)


def build_pack(
    statement: Statement, artifacts: Mapping[str, bytes], private_key: PrivateKey
) -> bytes:
    """The signed pack file: canonical JSON, newline at its end.

    Args:
        statement: Its `subjects` are replaced by the artefacts' digests.
        artifacts: Bytes by name.
        private_key: ECDSA P-256 or Ed25519.

    Raises:
        PackError: when `verify` would refuse the form of the statement, a name, or the size.
    """
    subjects = {name: hashlib.sha256(raw).hexdigest() for name, raw in artifacts.items()}
    said = replace(statement, subjects=subjects).as_dict()
    _, problems = parse_statement(said)
    if problems:
        raise PackError(problems)
    payload = canonical_json(said)
    signer = key_id(private_key.public_key())
    signature = sign(private_key, pae(PAYLOAD_TYPE, payload))
    document = {
        "artifacts": {name: _base64(raw) for name, raw in artifacts.items()},
        "bundle": {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signer}},
            "dsseEnvelope": {
                "payload": _base64(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": _base64(signature), "keyid": signer}],
            },
        },
    }
    raw = canonical_json(document) + b"\n"
    read_pack(raw)
    return raw


def resembles_pack(raw: bytes) -> bool:
    """Whether the bytes are a pack, or what damage or tampering has left of one."""
    return bool(_START.match(raw)) or any(mark in raw for mark in _MARKS)


def read_pack(raw: bytes) -> Pack:
    """Decode a pack file.

    Raises:
        PackError: with every departure from the form; nothing is repaired or skipped.
    """
    try:
        document = parse_json(raw, PACK_LIMITS)
    except Malformed as cause:
        raise PackError([cause.message]) from cause
    problems: list[str] = []
    top = _object(document, "pack", ("artifacts", "bundle"), problems)
    artifacts = _artifacts(top.get("artifacts"), problems)
    names = ("mediaType", "verificationMaterial", "dsseEnvelope")
    bundle = _object(top.get("bundle"), "bundle", names, problems)
    if bundle.get("mediaType") != BUNDLE_TYPE:
        problems.append(f"bundle mediaType is not {BUNDLE_TYPE!r}")
    # Only a hint of the key: an embedded key or certificate would vouch for itself
    material = _object(
        bundle.get("verificationMaterial"), "verificationMaterial", ("publicKey",), problems
    )
    public_key = _object(material.get("publicKey"), "publicKey", ("hint",), problems)
    envelope = _object(
        bundle.get("dsseEnvelope"),
        "dsseEnvelope",
        ("payload", "payloadType", "signatures"),
        problems,
    )
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        problems.append(f"payloadType is not {PAYLOAD_TYPE!r}")
    payload = _decoded(envelope.get("payload"), "payload", problems)
    signer, signature = _signature(envelope.get("signatures"), problems)
    if public_key.get("hint") != signer:
        problems.append("publicKey hint and signature keyid name different keys")
    if problems:
        raise PackError(problems)
    return Pack(signer, signature, payload, artifacts)


def _signature(value: Json, problems: list[str]) -> tuple[str, bytes]:
    # The bundle format has exactly one; a second one that nobody checks would be free text
    if not isinstance(value, list) or len(value) != 1:
        problems.append("signatures must be a list of exactly one")
        return "", b""
    found = _object(value[0], "signature", ("sig", "keyid"), problems)
    signer = found.get("keyid")
    if not isinstance(signer, str) or not signer:
        problems.append("signature keyid is no text")
        signer = ""
    return signer, _decoded(found.get("sig"), "signature sig", problems)


def _artifacts(value: Json, problems: list[str]) -> dict[str, bytes]:
    if not isinstance(value, dict):
        problems.append("artifacts is not an object")
        return {}
    if len(value) > MAX_SUBJECTS:
        problems.append(f"pack has {len(value)} artifacts, limit {MAX_SUBJECTS}")
        return {}
    for name in value:
        problem = artifact_name_problem(name)
        if problem:
            problems.append(f"artifact name {name[:80]!r} {problem}")
    problems.extend(
        f"artifact name {name[:80]!r} collides with another on disk"
        for name in colliding_names(list(value))
    )
    return {
        name: _decoded(text, f"artifact {name[:80]!r}", problems, empty=True)
        for name, text in value.items()
    }


def _decoded(value: Json, what: str, problems: list[str], *, empty: bool = False) -> bytes:
    if not isinstance(value, str) or not (value or empty):
        problems.append(f"{what} is not {'a' if empty else 'a non-empty'} base64 text")
        return b""
    try:
        return decode_base64(value)
    except NotCanonical as cause:
        problems.append(f"{what}: {cause.message}")
        return b""


def _object(value: Json, what: str, names: tuple[str, ...], problems: list[str]) -> dict[str, Json]:
    if not isinstance(value, dict):
        problems.append(f"{what} is not an object")
        return {}
    problems.extend(f"{what} has no {name!r}" for name in names if name not in value)
    problems.extend(
        f"{what} has the unknown field {name[:80]!r}" for name in value if name not in names
    )
    return value


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
