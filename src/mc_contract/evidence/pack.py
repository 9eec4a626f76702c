"""The file: a Sigstore bundle v0.3 with a DSSE envelope, and the artefacts beside it.

    {"artifacts": {name: base64}, "bundle": {mediaType, verificationMaterial, dsseEnvelope}}

`read_pack` is the strict parser in front of everything: it knows each field, and refuses a pack
that brings its own key or certificate. It does not look at the signature or the statement; that
is `verify`'s.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mc_contract.canonical import NotCanonical, canonical_json, decode_base64, encode_base64
from mc_contract.configuration import FileProblems, Form, Several, Strict, Text, among, check
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
        "artifacts": {name: encode_base64(raw) for name, raw in artifacts.items()},
        "bundle": {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signer}},
            "dsseEnvelope": {
                "payload": encode_base64(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": encode_base64(signature), "keyid": signer}],
            },
        },
    }
    raw = canonical_json(document) + b"\n"
    read_pack(raw)
    return raw


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("")  # noqa: TRY004 - pydantic tells a ValueError with the accepted form
    try:
        return decode_base64(value)
    except NotCanonical as cause:
        raise ValueError(cause.message) from cause


def _named(artifacts: dict[str, bytes]) -> dict[str, bytes]:
    problems = [
        f"artifact name {name[:80]!r} {problem}"
        for name in artifacts
        if (problem := artifact_name_problem(name))
    ]
    problems += [
        f"artifact name {name[:80]!r} collides with another on disk"
        for name in colliding_names(list(artifacts))
    ]
    if problems:
        raise ValueError("; ".join(problems))
    return artifacts


_Bytes = Annotated[bytes, BeforeValidator(_bytes), Form("base64 text")]
_SomeBytes = Annotated[
    bytes, BeforeValidator(_bytes), Field(min_length=1), Form("non-empty base64 text")
]


class _Signature(Strict):
    sig: _SomeBytes
    keyid: Text


class _Envelope(Strict):
    payload: _SomeBytes
    payload_type: Annotated[str, among([PAYLOAD_TYPE]), Field(alias="payloadType")]
    # The bundle format has exactly one; a second one that nobody checks would be free text
    signatures: Annotated[
        Several[_Signature], Field(min_length=1, max_length=1), Form("a list of exactly one")
    ]


class _Key(Strict):
    hint: Text


class _Material(Strict):
    # Only a hint of the key: an embedded key or certificate would vouch for itself
    public_key: Annotated[_Key, Field(alias="publicKey")]


class _Bundle(Strict):
    media_type: Annotated[str, among([BUNDLE_TYPE]), Field(alias="mediaType")]
    material: Annotated[_Material, Field(alias="verificationMaterial")]
    envelope: Annotated[_Envelope, Field(alias="dsseEnvelope")]

    @model_validator(mode="after")
    def _of_one_key(self) -> Self:
        if self.material.public_key.hint != self.envelope.signatures[0].keyid:
            raise ValueError("publicKey hint and signature keyid name different keys")
        return self


class _File(Strict):
    artifacts: Annotated[dict[str, _Bytes], Field(max_length=MAX_SUBJECTS), AfterValidator(_named)]
    bundle: _Bundle


def resembles_pack(raw: bytes) -> bool:
    """Whether the bytes are a pack, or what damage or tampering has left of one."""
    return bool(_START.match(raw)) or any(mark in raw for mark in _MARKS)


def read_pack(raw: bytes) -> Pack:
    """Decode a pack file.

    Raises:
        PackError: with every departure from the form; nothing is repaired or skipped.
    """
    try:
        read = check(_File, parse_json(raw, PACK_LIMITS))
    except Malformed as cause:
        raise PackError([cause.message]) from cause
    except FileProblems as cause:
        raise PackError(cause.problems) from cause
    envelope = read.bundle.envelope
    [signature] = envelope.signatures
    return Pack(signature.keyid, signature.sig, envelope.payload, read.artifacts)
