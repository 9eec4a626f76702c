"""A HOLD is overridden on a real platform: policy, the ledger, its proof, and the evidence."""

from __future__ import annotations

import json
import shutil

import httpx
import pytest
from tests.canary_ledger import held


def _healths(platform, colour):
    """What the replicas of a colour say of themselves, by their URLs."""
    urls = platform.mcctl("instances", "--colour", colour).stdout.split()
    return {url: httpx.get(f"{url}/health", timeout=30).json() for url in urls}


@pytest.mark.timeout(300)
def test_an_override_is_in_the_ledger_once_and_the_evidence_says_hold(platform, tmp_path):
    """An auditor may not; an operator may, once; the pack shows the HOLD, and by whom and why."""
    run = platform.home / "runs" / "held-by-hand"
    serving = json.loads(platform.mcctl("status", "--output", "json").stdout)["active_colour"]
    healths = _healths(platform, serving)
    held(run / "canary", healths=healths)
    try:
        words = ("canary", "override", run.name, "--yes", "--reason")
        refused = platform.mcctl(*words, "because", "--as", "AUDITOR", check=False)
        assert refused.returncode == 4, refused.stderr
        assert "acting as auditor@platform" in refused.stderr
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

        [version] = {health["version"] for health in healths.values()}
        pack = tmp_path / f"evidence-v{version}.json"
        looked = run / "preflight.json"
        platform.mcctl("preflight", "hpa", "--out", str(looked), check=False)
        platform.mcctl("evidence", "pack", "--run", str(run), "--out", str(pack))
        report = json.loads(platform.mcctl("evidence", "verify", str(pack)).stdout)
        assert (report["ok"], report["verdict"]["verdict"]) == (True, "HOLD")
        claims = {claim["id"]: claim["recomputed"] for claim in report["claims"]}
        [measured, *_] = claims["preflight.running"]["replicas"][serving]
        assert measured in claims["serving.running"]["replicas"]["serving"]
        assert measured in claims["canary.running"]["replicas"]["candidate"]
        assert report["override"]["index"] == told["index"]
        assert platform.mcctl("canary", "decision", run.name).stdout.startswith("HOLD (regressed")
        renamed = tmp_path / "evidence-v99.json"
        other = platform.mcctl(
            "evidence", "pack", "--canary", str(run), "--out", str(renamed), check=False
        )
        assert (other.returncode, renamed.exists()) == (1, False)
    finally:
        shutil.rmtree(run)


@pytest.mark.timeout(300)
def test_a_promoted_candidate_that_was_restarted_does_not_get_the_traffic(platform):
    """PROMOTE, `scale --restart` with the same code, cutover: a finding, and nothing is moved."""

    def active():
        return json.loads(platform.mcctl("status", "--output", "json").stdout)["active_colour"]

    before = active()
    other = "green" if before == "blue" else "blue"
    scale = ("scale", "agent-workbench", "--colour", other, "--replicas")
    run = platform.home / "runs" / "promoted-by-hand"
    try:
        platform.mcctl(*scale, "1")
        platform.mcctl("wait", "ready", "--colour", other)
        held(run / "canary", slower=1.0, healths=_healths(platform, other))
        assert platform.mcctl("canary", "decision", run.name).stdout.startswith("PROMOTE")

        platform.mcctl(*scale, "1", "--restart")
        platform.mcctl("wait", "ready", "--colour", other)
        for more in ((), ("--run", run.name)):
            refused = platform.mcctl("cutover", "--to", other, *more, check=False)
            assert refused.returncode == 1, refused.stderr
            assert f"{other}-1 is another process: instance was" in refused.stderr
        assert active() == before
        platform.mcctl(*scale, "2")
        platform.mcctl("wait", "ready", "--colour", other)
        decided = platform.mcctl("canary", "decision", run.name, check=False)
        assert (decided.returncode, f"{other}-2 was added" in decided.stderr) == (1, True)
    finally:
        platform.mcctl(*scale, "0", check=False)
        shutil.rmtree(run, ignore_errors=True)
