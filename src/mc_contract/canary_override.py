"""An override of a canary's HOLD, as it stands beside its verdict: `override.json`.

    {"schema_version": 1, "run", "release", "kind", "by", "reason", "at", "decision", "event_id",
     "index", "region", "verdict_sha256", "base_sha256", "cand_sha256",
     "proof": a ledger export with the one entry that says so}

The file is only a copy of what the ledger has: the proof shows, with the ledger's key and nothing
else, that the entry is in the log and about these very files. A file that somebody typed has no
such proof. What is not shown: that the reason is a good one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mc_contract.canonical import canonical_json
from mc_contract.configuration import FileProblems, json_of
from mc_contract.errors import McError
from mc_contract.ledger.checkpoint import LogKeys
from mc_contract.ledger.export import VerifiedExport, verify_export
from mc_contract.numbers import counted

KIND = "canary.overridden"
OVERRIDE = "override.json"
SCHEMA_VERSION = 1
MAX_OVERRIDE_BYTES = 256 * 1024


class NotOverridden(McError):
    """The file does not show that the ledger has an override of this verdict."""

    code = "canary-not-overridden"


@dataclass(frozen=True, slots=True)
class Override:
    """Who promoted a HOLD by hand, and why, as the ledger has it.

    Attributes:
        run: The canary's run, as the operator called it.
        release: Of which release; empty when it was not told.
        kind: What the HOLD was: regressed, errors, metrics, inconclusive, void.
        by: The principal.
        at: ISO 8601, by the service's clock.
        decision: Id of the policy decision that permitted it.
        event_id: Id of the ledger's event.
        index: Its place in the log of `region`.
    """

    run: str
    release: str
    kind: str
    by: str
    reason: str
    at: str
    decision: str
    event_id: str
    index: int
    region: str
    verdict_sha256: str
    base_sha256: str
    cand_sha256: str


def override_file(export: bytes, found: VerifiedExport) -> bytes:
    """The bytes of `override.json`, made of the ledger's entry.

    Args:
        export: A ledger export with the one entry, as `write_export` spells it.
        found: What `verify_export` gave for it.

    Raises:
        NotOverridden: the entry is none of an override.
    """
    told = asdict(_override(found)) | {"proof": json.loads(export)}
    return json.dumps({"schema_version": SCHEMA_VERSION, **told}, indent=2).encode() + b"\n"


def read_override(
    raw: bytes, key: LogKeys, *, verdict: bytes, base: bytes, cand: bytes
) -> Override:
    """What `override.json` says, once the ledger's key shows that the ledger says it too.

    Args:
        raw: The file's bytes.
        key: The ledger's public key, from outside of the file.
        verdict: The bytes of `verdict.json` beside it.
        base: Those of `base.lat`.
        cand: Those of `cand.lat`.

    Raises:
        NotOverridden: it is malformed, not in the ledger, says other than the ledger, or is
            about other files.
    """
    told = _object(raw)
    try:
        export = canonical_json(told.get("proof")) + b"\n"
        override = _override(verify_export(export, key))
    except McError as error:
        raise NotOverridden(f"{OVERRIDE} is not proven by the ledger: {error.message}") from error
    said = {name: value for name, value in told.items() if name not in ("schema_version", "proof")}
    if said != asdict(override) or told.get("schema_version") != SCHEMA_VERSION:
        raise NotOverridden(f"{OVERRIDE} says other than the ledger's entry in it")
    files = (
        ("verdict.json", verdict, override.verdict_sha256),
        ("base.lat", base, override.base_sha256),
        ("cand.lat", cand, override.cand_sha256),
    )
    for name, content, digest in files:
        if hashlib.sha256(content).hexdigest() != digest:
            raise NotOverridden(f"{OVERRIDE} is about another {name}")
    return override


def _object(raw: bytes) -> dict[str, Any]:
    """What the file says; names stand once: of two, another reader might believe the other one."""
    try:
        told = json_of(raw, most_bytes=MAX_OVERRIDE_BYTES)
    except FileProblems as error:
        raise NotOverridden(f"{OVERRIDE}: {error}") from error
    if not isinstance(told, dict):
        raise NotOverridden(f"{OVERRIDE} is not a JSON object")
    return told


def _override(found: VerifiedExport) -> Override:
    if len(found.leaves) != 1:
        raise NotOverridden(f"the proof has {counted(len(found.leaves), 'entry')}, expected 1")
    leaf = found.leaves[0]
    detail = leaf.get("detail")
    if leaf.get("kind") != KIND or not isinstance(detail, Mapping):
        raise NotOverridden(f"the ledger's entry {leaf.get('index')} is no {KIND}")
    try:
        digests = detail["digests"]
        return Override(
            run=str(detail["run"]),
            release=str(detail["release"]),
            kind=str(detail["kind"]),
            by=str(detail["principal"]),
            reason=str(detail["reason"]),
            at=str(leaf["occurred_at"]),
            decision=str(detail["decision"]),
            event_id=str(leaf["id"]),
            index=int(leaf["index"]),
            region=found.region,
            verdict_sha256=str(digests["verdict"]),
            base_sha256=str(digests["base"]),
            cand_sha256=str(digests["cand"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotOverridden(f"the ledger's entry {leaf.get('index')} is malformed") from error
