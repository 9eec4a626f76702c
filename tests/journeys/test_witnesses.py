"""Two platforms on one machine that witness each other, and what a witness answers to strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint, verifier_key
from mc_contract.ledger.cosignature import COSIGNATURE, VerifierKey, cosignatures
from mc_contract.ledger.merkle import tree_root

pytestmark = pytest.mark.long
STRANGER = Ed25519PrivateKey.generate()
STRANGERS_LOG = "example.com/strangers-log"


def _write(path: Path, key: Ed25519PrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


class Region:
    """A platform, and what its peer and an auditor must know of it."""

    def __init__(self, platform: Any, folder: Path, region: str) -> None:
        self.platform, self.region = platform, region
        self.witness_key = _write(folder / f"{region}.key", Ed25519PrivateKey.generate())
        self.file = folder / f"{region}.toml"
        ledger = platform.home / "trust" / "ledger.pub"
        self.log_key = self._verifier_key(ledger)
        self.witness = self._verifier_key(self.witness_key, "--witness")

    def _verifier_key(self, file: Path, *more: str) -> str:
        done = self.platform.mcctl(
            "audit", "verifier-key", str(file), "--region", self.region, *more
        )
        return str(done.stdout.strip())

    def join(self, peer: Region) -> None:
        """Start again, with the peer as witness and its log to be witnessed."""
        stranger = verifier_key(STRANGERS_LOG, STRANGER.public_key())
        self.file.write_text(
            f'[[witness]]\nname = "peer"\nurl = "{peer.platform.url}/witness"\n'
            f'key = "{peer.witness}"\n'
            f'[[log]]\nkey = "{peer.log_key}"\n[[log]]\nkey = "{stranger}"\n'
        )
        self.platform.env.update(
            MC_WITNESSES_FILE=str(self.file), MC_WITNESS_KEY_FILE=str(self.witness_key)
        )
        self.platform.mcctl("down")
        self.platform.mcctl("up")

    def verify(self, *more: str) -> Any:
        return self.platform.mcctl(
            "audit", "verify", "--output", "json", *more, check=False, MC_REGION=self.region
        )


@pytest.fixture(scope="module")
def regions(start_platform: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Region]:
    folder = tmp_path_factory.mktemp("witnesses")
    names = ("local-1", "local-2")
    found = [
        Region(start_platform(MC_REGION=name, MC_WITNESS_INTERVAL_S="1"), folder, name)
        for name in names
    ]
    found[0].join(found[1])
    found[1].join(found[0])
    return found


def test_two_regions_cosign_each_others_checkpoints(regions, wait_until, tmp_path):
    """What one acknowledged is cosigned by the other in seconds; an auditor can demand that."""
    here, there = regions
    for region in regions:
        assert region.platform.ask("What is open for customer 7?").status == 200
    for region, peer in ((here, there), (there, here)):
        url = f"{region.platform.url}/ledger/checkpoint/cosigned"

        def cosigned(url: str = url) -> bool:
            return httpx.get(url).status_code == 200

        wait_until(cosigned, what="the peer has cosigned")
        done = region.verify("--witness", peer.witness, "--require", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        [seen] = json.loads(done.stdout)["witnessed"]["witnesses"]
        assert seen["witness"] == f"mc-platform.example.com/witness/{peer.region}"
        refused = region.verify("--witness", region.witness)
        assert refused.returncode == 1
        kinds = [one["kind"] for one in json.loads(refused.stdout)["findings"]]
        assert kinds == ["not-witnessed"]
    assert here.platform.metric("mc_ledger_witness_conflict") == 0
    line = 'mc_ledger_cosignatures_total{witness="peer",status="cosigned"}'
    lines = {line, 'mc_ledger_cosignatures_total{status="cosigned",witness="peer"}'}
    assert max(map(here.platform.metric, lines)) > 0

    out = tmp_path / "proof.json"
    here.platform.mcctl("audit", "prove", "0", "--out", str(out), "--witness", there.witness)
    offline = here.platform.mcctl(
        "audit", "verify", "--export", str(out), "--witness", there.witness, "--output", "json"
    )
    assert len(json.loads(offline.stdout)["cosigned"]) == 1
    other = verifier_key("example.com/w", STRANGER.public_key(), COSIGNATURE)
    refused = here.platform.mcctl(
        "audit", "verify", "--export", str(out), "--witness", other, check=False
    )
    assert refused.returncode == 1


def _submit(region: Region, body: bytes, **more: Any) -> httpx.Response:
    return httpx.post(f"{region.platform.url}/witness/add-checkpoint", content=body, **more)


def _body(old: int, leaves: list[bytes]) -> bytes:
    note = sign_checkpoint(
        Checkpoint(STRANGERS_LOG, len(leaves), tree_root(leaves)), STRANGERS_LOG, STRANGER
    )
    return f"old {old}\n\n{note}".encode()


def test_a_stranger_is_answered_as_the_protocol_says(regions):
    """Without a credential, through the edge: each status, its type and its form."""
    here = regions[0]
    one, other = [bytes(32)], [b"\1" * 32]
    first = _submit(here, _body(0, one))
    assert first.status_code == 200
    own = VerifierKey(
        f"mc-platform.example.com/witness/{here.region}",
        COSIGNATURE,
        _public(here.witness_key),
    )
    note = _body(0, one).decode().partition("\n\n")[2]
    assert len(cosignatures(note + first.text, [own])) == 1
    for body in (_body(0, one), _body(1, other)):  # behind, and a fork of the same size
        conflict = _submit(here, body)
        assert (conflict.status_code, conflict.text) == (409, "1\n")
        assert conflict.headers["content-type"].partition(";")[0] == "text/x.tlog.size"
    assert _submit(here, _body(1, one)).status_code == 200
    inconsistent = _submit(here, _body(1, [*other, *one]))
    assert inconsistent.status_code == 422
    assert inconsistent.json()["error"]["code"] == "inconsistent-log"
    unknown = _body(0, one).replace(b"strangers-log", b"unknown-logs1")
    assert _submit(here, unknown).status_code == 404
    unsigned = _body(0, one).replace(b"\n1\n", b"\n2\n")
    assert _submit(here, unsigned).json()["error"]["code"] == "not-trusted"
    assert _submit(here, b"old").status_code == 400
    assert _submit(here, b"x" * 40_000).status_code == 413
    assert httpx.get(f"{here.platform.url}/witness/add-checkpoint").status_code == 405


def _public(path: Path) -> Any:
    return load_pem_private_key(path.read_bytes(), None).public_key()
