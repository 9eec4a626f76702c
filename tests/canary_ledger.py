"""A ledger small enough to read that takes overrides: a real Merkle log, signed, over real HTTP."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.loopback import serving_json
from tests.merkle_proofs import inclusion_proof

from mc_contract.canary_override import override_file
from mc_contract.canonical import canonical_json
from mc_contract.judgement.verdict import rejudge
from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.export import ProvenLeaf, log_origin, verify_export, write_export
from mc_contract.ledger.merkle import leaf_hash, tree_root
from mc_contract.running import Record, facts_of
from mc_ops.canary.override import judge_again

REGION = "local-1"
AT = "2026-05-06T12:00:00+00:00"
TOKEN = "mc_0123456789ab_" + "s" * 43


def held(
    folder: Path,
    *,
    slower: float = 2.0,
    pairs: int = 900,
    healths: Mapping[str, Mapping[str, Any]] | None = None,
    release: str | None = None,
) -> Path:
    """A finished canary's three files: HOLD (regressed), or PROMOTE with `slower=1`.

    Args:
        healths: What the candidate's replicas said in `/health`, by their URLs; None: a run of a
            time when that was not recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(7).lognormal(-4, 0.2, pairs)
    base, cand = (
        "".join(f"{value:.6f}\n" for value in side).encode() for side in (values, values * slower)
    )
    told = rejudge(base, cand, {"margin": 0.25, "planned_pairs": pairs}).as_dict()
    (folder / "base.lat").write_bytes(base)
    (folder / "cand.lat").write_bytes(cand)
    if healths is not None:
        found = {"candidate": [facts_of(health) for health in healths.values()]}
        told |= {"running": Record(found, found).as_dict(), "release": release}
        told |= {"urls": {"candidate": list(healths), "baseline": []}}
        told |= {"ended_at": datetime.now(UTC).isoformat()}
    (folder / "verdict.json").write_text(json.dumps(told))
    return folder


class SmallLedger:
    """What is recorded, and what was asked.

    Attributes:
        refusal: Status and error with which overrides are refused, if any.
        mute: Whether it records and then proves nothing, as a service that dies in between.
    """

    def __init__(self, seed: int = 1) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.leaves: list[bytes] = [self._leaf("e-0", "operation.started", {})]
        self.asked: list[dict[str, Any]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.mute = False

    @property
    def pem(self) -> bytes:
        """The public key."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def override(self, body: dict[str, Any], by: str = "operator@platform") -> dict[str, Any]:
        """Record an override, once for each verdict, as the service does."""
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, body["digests"]["verdict"]))
        told = {**body, "subject": body["run"], "principal": by, "decision": "dec_1"}
        known = [json.loads(leaf)["id"] for leaf in self.leaves]
        fresh = event_id not in known
        if fresh:
            self.leaves.append(self._leaf(event_id, "canary.overridden", told))
        index = len(known) if fresh else known.index(event_id)
        answer = {"event_id": event_id, "index": index, "fresh": fresh}
        return {**answer, "principal": by, "reason": body["reason"]}

    def export(self, index: int) -> bytes:
        """The proof of one entry, as `mcctl audit prove` writes it."""
        proof = inclusion_proof([leaf_hash(leaf) for leaf in self.leaves], index)
        proven = ProvenLeaf(index, self.leaves[index], proof)
        return write_export(region=REGION, checkpoint=self.note(), leaves=[proven])

    def note(self) -> str:
        """A checkpoint signed now."""
        root = tree_root([leaf_hash(leaf) for leaf in self.leaves])
        origin = log_origin(REGION)
        return sign_checkpoint(Checkpoint(origin, len(self.leaves), root), origin, self.key)

    def override_bytes(self, folder: Path, reason: str = "known, and wanted") -> bytes:
        """`override.json` for a canary, recorded here and not written."""
        asked = judge_again(folder).as_request()
        answer = self.override({**asked, "release": "v1", "reason": reason})
        raw = self.export(answer["index"])
        return override_file(raw, verify_export(raw, self.key.public_key()))

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        """Status and JSON of a request."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if method == "POST" and parts.path == "/operator/canary/override":
            self.asked.append(body)
            return self.refusal or (201, self.override(body))
        if self.mute:
            return 503, {"error": {"message": "the ledger cannot be read"}}
        if parts.path == "/audit/proof/inclusion":
            ids = [json.loads(leaf)["id"] for leaf in self.leaves]
            index = ids.index(query["event_id"])
            proof = inclusion_proof([leaf_hash(leaf) for leaf in self.leaves], index)
            hashes = [base64.b64encode(item).decode() for item in proof]
            return 200, {"index": index, "proof": hashes, "checkpoint": self.note()}
        if parts.path == "/audit/entries":
            index = int(query["start"])
            return 200, {"entries": [self._row(index)] if index < len(self.leaves) else []}
        return 404, {"error": {"message": "no such path"}}

    def _row(self, index: int) -> dict[str, Any]:
        leaf = self.leaves[index]
        said = json.loads(leaf)
        return {
            "index": index,
            "leaf": base64.b64encode(leaf).decode(),
            "leaf_hash": base64.b64encode(leaf_hash(leaf)).decode(),
            "event_id": said["id"],
            "tenant": said["tenant"],
            "kind": said["kind"],
            "subject": "",
            "occurred_at": AT,
            "recorded_at": AT,
        }

    @staticmethod
    def _leaf(event_id: str, kind: str, detail: dict[str, Any]) -> bytes:
        said = {"v": 1, "region": REGION, "id": event_id, "kind": kind, "tenant": "PLATFORM"}
        return canonical_json({**said, "occurred_at": AT, "detail": detail})


@contextmanager
def serving(ledger: SmallLedger) -> Iterator[str]:
    """Serve on a free port, to whoever has `TOKEN`; gives the URL."""

    def answer(method: str, path: str, body: Any, authorization: str) -> tuple[int, Any]:
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": {"message": "the credential is not valid"}}
        return ledger.answer(method, path, body)

    with serving_json(answer) as url:
        yield url
