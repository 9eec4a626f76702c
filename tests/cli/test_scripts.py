"""The runbook's scripts, and its Day-0 file, as they lie in the repository."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.deploy.rendered import needs_kustomize
from tests.deploy.rendered import text as manifests

from mc_ops.environments.faults import read_fault
from mc_ops.errors import UnusableInput
from mc_ops.runbooks import begin, load

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "verify-pod-security.sh": ("pod-security", 3),
    "test-egress-policy.sh": ("egress", 3),
    "validate-hpa.sh": ("hpa", 3),
}

# What breaks our own manifests for each script: what stands there, what then does, and the field
KUBERNETES = {
    "verify-pod-security.sh": (
        "readOnlyRootFilesystem: true",
        "runAsUser: 0",
        "securityContext.runAsUser",
    ),
    "validate-hpa.sh": ("maxUnavailable: 1\n", "maxUnavailable: 0\n", "spec.maxUnavailable"),
    "test-egress-policy.sh": ("endPort: 8999", "endPort: 9999", "egress-agents"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_steered_by_nothing_of_the_callers_shell(name: str, tmp_path: Path) -> None:
    """`CDPATH` leads `cd` elsewhere, a function takes its place, and `noexec` would pass for a pass."""
    (tmp_path / "scripts").mkdir()
    strange = {
        "CDPATH": str(tmp_path),
        "BASH_FUNC_cd%%": "() { builtin cd /; }",
        "SHELLOPTS": "noexec",
        "BASH_ENV": "/nowhere",
    }
    answer = subprocess.run(
        [f"scripts/{name}", "--help"],
        env={**os.environ, **strange, "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("Usage: mcctl preflight")


def test_make_installs_where_it_says_whatever_the_callers_pip_does(tmp_path: Path) -> None:
    """`PIP_USER=1` ends an installation into a virtual environment, and others lead it elsewhere."""
    told = {"PIP_USER": "1", "PIP_TARGET": "/nowhere", "PIP_PREFIX": "/nowhere", "CDPATH": "/usr"}
    answer = subprocess.run(
        ["make", "-C", ROOT, "-s", "--eval", "shown: ; @env", "shown", "PIP_USER=yes"],
        env={"PATH": os.environ["PATH"], **told},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    assert shown["PIP_USER"] == "0"
    assert not shown.keys() & {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "CDPATH"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_without_a_platform_could_not_tell(name: str, tmp_path: Path) -> None:
    """A script that has nothing to look at says unknown and exits 3; it never passes."""
    subject, code = SCRIPTS[name]
    env = {**os.environ, "MC_HOME": str(tmp_path / "home"), "MC_EDGE_PORT": "1080"}
    env.pop("ENV", None)
    answer = subprocess.run(
        [ROOT / "scripts" / name, "--output", "json"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = json.loads(answer.stdout)
    assert (answer.returncode, told["subject"], told["ok"]) == (code, subject, False), answer.stderr
    assert "pass" not in {check["status"] for check in told["checks"]}


def run_script(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / name, *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("name", KUBERNETES)
def test_script_without_a_cluster_could_not_tell(name: str, tmp_path: Path) -> None:
    """On an environment that does not answer, nothing passes."""
    answer = run_script(
        name, ENV="kubernetes", KUBECONFIG=str(tmp_path / "none"), HOME=str(tmp_path)
    )
    assert (answer.returncode, answer.stdout) == (3, ""), answer.stderr
    assert "kubectl" in answer.stderr


@needs_kustomize
@pytest.mark.parametrize("name", KUBERNETES)
def test_script_passes_our_manifests_and_no_others(name: str, tmp_path: Path) -> None:
    """`--manifests` needs no cluster; what is wrong is named with its field and the fix."""
    region = ROOT / "deploy" / "kubernetes" / "overlays" / "region"
    answer = run_script(name, "--manifests", str(region), "--output", "json")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {one["status"] for one in json.loads(answer.stdout)["checks"]} == {"pass"}
    old, new, field = KUBERNETES[name]
    (tmp_path / "all.yaml").write_text(manifests("overlays/region").replace(old, new))
    for table in ("egress.toml", "overlays/region/egress.toml"):  # as beside the overlay
        copy = tmp_path / "tables" / table
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((ROOT / "deploy" / "kubernetes" / table).read_text())
    (tmp_path / "egress.toml").write_text('include = ["tables/overlays/region/egress.toml"]')
    answer = run_script(name, "--manifests", str(tmp_path), "--output", "json")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    failed = [one for one in json.loads(answer.stdout)["checks"] if one["status"] == "fail"]
    assert any(field in one["field"] for one in failed)
    assert all(one["object"] and one["detail"] and one["remedy"] for one in failed)


def test_day_0_is_in_order() -> None:
    """The repository's Day-0 lints; its cutover is taken back until it is validated.

    The fresh baseline goes however the comparison ends.
    """
    runbook = load(ROOT / "runbooks" / "day-0.md")
    ids = [step.id for step in runbook.steps]
    assert ids[:2] == ["plan", "sides"]  # what cannot work is said before anything is changed
    expected = ["canary", "decide", "tag", "cutover", "evidence", "validate"]
    assert ids[-6:] == expected
    cutover = runbook.steps[ids.index("cutover")]
    assert cutover.undo is not None
    assert (cutover.undo.until, len(cutover.undo.on)) == ("validate", 2)
    for began, until in (("candidate", "preflight"), ("canary", "decide")):
        undo = runbook.steps[ids.index(began)].undo
        assert undo is not None
        assert "--baseline --replicas 0" in undo.script.text
        assert (undo.until, len(undo.on)) == (until, 2)
    assert all(step.advice for step in runbook.steps)
    # Where traffic came back, it is said that it was moved: most failures move none
    advice = [
        said for step in runbook.steps for said in (step.advice, *step.advice_by_exit.values())
    ]
    assert not any("serves again" in said for said in advice)
    assert "nothing was moved" in cutover.advice_for(1)


def test_day_1_is_in_the_runbooks_order() -> None:
    """Everything is shown at once, then each section says what to do; nothing is changed."""
    runbook = load(ROOT / "runbooks" / "day-1.md")
    expected = ["measure", "morning", "platform", "policy", "performance", "cost"]
    assert [step.id for step in runbook.steps] == expected
    assert all(step.advice for step in runbook.steps)
    assert not any(step.undo for step in runbook.steps)


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        *[(fault, True) for fault in ("", "none", "slow=2", "slow=1.5", "slow=100")],
        *[(fault, True) for fault in ("errors=0.05", "errors=1", "slow=2,errors=0.05")],
        *[(fault, False) for fault in ("slow", "slow=0.5", "slow=101", "errors=2", "green:slow=2")],
        *[(fault, False) for fault in ("slow=2,", "slow=-1", "broken", "none,slow=2")],
    ],
)
def test_day_0_checks_the_fault_before_it_begins(fault: str, taken: bool) -> None:
    """What the candidate could not be broken by is refused as a parameter, exit 2."""
    runbook = load(ROOT / "runbooks" / "day-0.md")
    with nullcontext() if taken else pytest.raises(UnusableInput, match="FAULT"):
        begin(
            runbook,
            run_id="r",
            root=ROOT,
            environment="local",
            given={"FAULT": fault},
            by={"user": "ada", "host": "desk"},
        )
    if taken:
        read_fault(fault)  # who obeys it takes it too
