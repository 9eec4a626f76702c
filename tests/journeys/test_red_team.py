"""The runbook's privacy red-team against the default platform, and its evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SEED = "20261125"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_the_red_team_finds_the_platform_closed(start_platform, tmp_path):
    """The runbook's own command: attacks are blocked by named controls, honest work passes.

    A platform of its own: others' aggregates would spend the budget that some attacks need.
    """
    platform = start_platform()
    folder = tmp_path / "redteam"
    done = subprocess.run(
        [
            sys.executable,
            "scripts/privacy-red-team.py",
            *("--target", platform.url, "--scenarios", "all"),
            *("--attacks", "720", "--benign", "210", "--wordings", "20", "--seed", SEED),
            *("--out", str(folder), "--output", "json"),
        ],
        cwd=ROOT,
        env=platform.env,
        capture_output=True,
        check=False,
        text=True,
        timeout=800,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["missed"] == []
    assert told["invalid"] == []
    tried = told["figures"]["attacks"]
    assert tried["blocked"] == tried["n"] > 640
    assert (told["met"], done.returncode) == (True, 0)
    assert {"SIEM", "logs", "metrics", "effects", "graphql TENANT_002"} <= set(told["channels"])
    acted = set(told["figures"]["controls"])
    assert {"redacted", "policy", "tenant isolation", "credential"} <= acted

    pack = tmp_path / f"evidence-{version('mc-platform')}.json"
    platform.mcctl("evidence", "pack", "--out", str(pack), "--redteam", str(folder))
    report = json.loads(platform.mcctl("evidence", "verify", str(pack)).stdout)
    claim = next(one for one in report["claims"] if one["id"] == "redteam.figures")
    assert claim["recomputed"]["attacks"] == tried
    assert report["ok"]
