"""Day-0's release tag: of a release that was measured, and of no rehearsal."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mc_ops.runbooks.lint import load

DAY_0 = Path(__file__).parents[4] / "runbooks" / "day-0.md"
AUTHOR = {
    f"GIT_{who}_{what}": "x@example.com"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


@pytest.mark.parametrize(
    ("verdict", "tagged"),
    [
        ("PROMOTE (margin 0.05)", True),
        ("HOLD (errors, margin 0.05), overridden by sre: like the rehearsal, margin and all", True),
        ("PROMOTE (rehearsal, margin 0.25)", False),
        ("HOLD (errors, rehearsal, margin 0.25), overridden by sre: seen", False),
    ],
)
def test_only_a_release_is_tagged(verdict: str, tagged: bool, tmp_path: Path) -> None:
    """The step says so, and the summary has `none`."""
    [step] = [step for step in load(DAY_0).steps if step.id == "tag"]
    environment = {
        **AUTHOR, "PATH": os.environ["PATH"], "VERDICT": verdict, "RELEASE": "v1-mc-prod", "PUSH": "0",
        "STEP_OUTPUT": str(tmp_path / "output"),
    }  # fmt: skip
    for command in (["git", "init", "-q"], ["git", "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    done = subprocess.run(
        ["bash", "-euc", step.script.text],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    tags = subprocess.run(
        ["git", "tag"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert bool(tags) is tagged
    assert (tmp_path / "output").read_text() == f"TAG={tags.strip() or 'none'}\n"
    assert ("a rehearsal: no tag" in done.stdout) is not tagged
