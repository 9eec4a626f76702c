"""What other people's linters say of our manifests is explained in docs/how-to/kubernetes.md, or mended."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.deploy.rendered import needs_kustomize, text

pytestmark = [needs_kustomize, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
KUBE_SCORE = shutil.which("kube-score") or shutil.which("kube-score", path=ROOT / ".tools")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """A folder with all that a region is made of."""
    folder = tmp_path_factory.mktemp("manifests")
    for name in ("overlays/region", "migrate"):
        (folder / f"{Path(name).name}.yaml").write_text(text(name))
    return folder


def _explained(form):
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text()
    rows = re.findall(r"(?m)^\| (`[^|]+) \|", page.partition("## What linters say of it")[2])
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row) if re.match(form, name)}


@pytest.mark.skipif(
    not CHECKOV.exists(), reason="checkov is not installed: make .venv-checkov/.locked"
)
def test_checkov_finds_what_is_explained(manifests):
    """No failed check without a reason, and no reason without a failed check."""
    answer = subprocess.run(
        [CHECKOV, "-d", manifests, "--framework", "kubernetes", "--skip-download", "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    told = json.loads(answer.stdout)
    assert told["summary"]["passed"] > 200
    assert told["summary"]["parsing_errors"] == 0
    failed = {one["check_id"] for one in told["results"]["failed_checks"]}
    assert failed == _explained("CKV_")


@pytest.mark.skipif(KUBE_SCORE is None, reason="kube-score is not installed")
def test_kube_score_finds_what_is_explained(manifests):
    """As checkov."""
    answer = subprocess.run(
        [KUBE_SCORE, "score", "--output-format", "json", *sorted(manifests.glob("*.yaml"))],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    checks = [one for each in json.loads(answer.stdout) for one in each["checks"]]
    assert len(checks) > 40
    failed = {one["check"]["id"] for one in checks if one["grade"] < 10 and not one["skipped"]}
    assert failed == _explained("[a-z]")
