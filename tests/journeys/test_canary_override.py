"""A HOLD is overridden on a real platform: policy, the ledger, its proof, and the evidence."""

from __future__ import annotations

import json
import shutil

import pytest
from tests.canary_ledger import held


@pytest.mark.timeout(300)
def test_an_override_is_in_the_ledger_once_and_the_evidence_says_hold(platform, tmp_path):
    """An auditor may not; an operator may, once; the pack shows the HOLD, and by whom and why."""
    run = platform.home / "runs" / "held-by-hand"
    held(run / "canary")
    try:
        words = ("canary", "override", run.name, "--yes", "--reason")
        refused = platform.mcctl(*words, "because", "--as", "AUDITOR", check=False)
        assert refused.returncode == 4, refused.stderr
        assert platform.mcctl("canary", "decision", run.name, check=False).returncode == 1

        platform.mcctl(*words, "known; joe@example.com agreed")
        told = json.loads((run / "canary" / "override.json").read_text())
        assert told["by"] == "operator@platform"
        assert "joe@example.com" not in told["reason"]
        proof = tmp_path / "proof.json"
        platform.mcctl("audit", "prove", told["event_id"], "--out", str(proof))
        platform.mcctl("audit", "verify", "--export", str(proof))

        (run / "canary" / "override.json").unlink()
        again = platform.mcctl(*words, "another reason", check=False)
        assert again.returncode == 1
        assert "overridden before, by operator@platform: known" in again.stderr

        pack = tmp_path / "evidence-v9.json"
        platform.mcctl("evidence", "pack", "--canary", str(run), "--out", str(pack))
        report = json.loads(platform.mcctl("evidence", "verify", str(pack)).stdout)
        assert (report["ok"], report["verdict"]["verdict"]) == (True, "HOLD")
        assert report["override"]["index"] == told["index"]
        assert platform.mcctl("canary", "decision", run.name).stdout.startswith("HOLD (regressed")
    finally:
        shutil.rmtree(run)
