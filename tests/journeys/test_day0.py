"""Day-0 from one end to the other: HOLD changes nothing, and each way out of it; PROMOTE cuts over with evidence.

The canary is a short rehearsal (about 45 s of real traffic); ten-fold repetition and the full
window belong to `make run`, not to a test.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from tests.forked import MCCTL

ROOT = Path(__file__).parents[2]
MINUTES = "0.75"

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A repository of its own, so that a release tag is made there and not in this one."""
    folder = tmp_path_factory.mktemp("day0")
    for name in ("runbooks", "scripts", "tools"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".gitignore").write_text("dist/\n")
    for command in (
        "init -q",
        "add .",
        "-c user.name=t -c user.email=t@example.com commit -q -m released",
    ):
        subprocess.run(["git", *command.split()], cwd=folder, check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def day0_platform(start_platform, workspace):
    platform = start_platform()
    platform.cwd = workspace
    return platform


def _day0(platform, **parameters):
    """A run; resumed as its own last line says where a busy machine left it unable to tell."""
    settings = [f"--set={name}={value}" for name, value in parameters.items()]
    arguments = ["--env", "local", "--minutes", MINUTES, "--yes", *settings]
    for _ in range(3):
        done = platform.mcctl("runbook", "run", "day-0", *arguments, check=False)
        spoiled = re.search(r"day-0 --resume (\S+)", done.stderr)
        if done.returncode != 3 or spoiled is None:
            break
        arguments = ["--resume", spoiled[1], "--yes"]
    return done


def _active(platform):
    return json.loads(platform.mcctl("status", "--output", "json").stdout)["active_colour"]


def _serving(platform):
    return platform.mcctl("instances").stdout.splitlines()


def _baseline_ports(platform):
    """Ports above the edge's of those that the last canary compared with."""
    runs = sorted((platform.home / "runs").glob("day-0-*"), key=lambda run: run.stat().st_mtime)
    verdict = json.loads((runs[-1] / "canary" / "verdict.json").read_text())
    return [httpx.URL(url).port - platform.port for url in verdict["urls"]["baseline"]]


def _is_as_before(platform):
    """Nothing of a run is left beside both colours."""
    processes = json.loads(platform.mcctl("status", "--output", "json").stdout)["processes"]
    return not any(process["name"].startswith("baseline") for process in processes)


def _evidence(workspace):
    [pack] = (workspace / "dist").glob("evidence-*.json")
    return pack


@pytest.mark.timeout(1200)
def test_hold_stops_before_the_cutover_and_the_healed_candidate_is_promoted(
    day0_platform, workspace
):
    """A candidate that fails 5 % is held; healed and compared again it serves, with evidence that verifies.

    Nothing is pushed.
    """
    _hold(day0_platform, "errors=0.05")
    done = _take_every_way_out(day0_platform)
    assert "PROMOTE" in done.stdout + done.stderr
    assert "rehearsal, margin 0.25" in done.stdout + done.stderr
    assert _active(day0_platform) == "green"
    assert _baseline_ports(day0_platform) == [61]
    assert _is_as_before(day0_platform)
    assert httpx.get(f"{day0_platform.url}/health").json()["colour"] == "green"
    tags = subprocess.run(
        ["git", "tag"], cwd=workspace, check=True, capture_output=True, text=True, timeout=30
    )
    assert tags.stdout == "", "a rehearsal is no release"
    verify = ("evidence", "verify", str(_evidence(workspace)), "--require-promote")
    report = json.loads(day0_platform.mcctl(*verify).stdout)
    assert report["ok"] is True
    controls = {control["id"]: control["status"] for control in report["controls"]}
    assert controls["binding"] == "measured"
    backed = json.loads((day0_platform.home / "cutover.json").read_text())
    assert backed["backed_by"].startswith("backed by the canary day-0-")
    verdict = report["verdict"]
    assert verdict["verdict"] == "PROMOTE"
    assert verdict["rehearsal"] is True
    assert verdict["margin"] == 0.25


@pytest.mark.timeout(120)
def test_the_run_is_no_evidence_for_another_release(day0_platform, tmp_path):
    """Packed under another release's file name it is not signed; another commit does not verify."""
    pack = tmp_path / "evidence-v99.json"
    done = day0_platform.mcctl("evidence", "pack", "--out", str(pack), check=False)
    assert (done.returncode, pack.exists()) == (1, False), done.stderr
    assert "named for release 'v99', and what ran is" in done.stderr


@pytest.mark.timeout(120)
def test_the_pack_of_a_changed_sample_does_not_verify(day0_platform, workspace, tmp_path):
    """One sample made better by hand: verify says no, exits 1, and names the artefact."""
    import base64

    pack = json.loads(_evidence(workspace).read_text())
    samples = base64.b64decode(pack["artifacts"]["cand.lat"]).splitlines()
    samples[0] = b"0.000001"
    pack["artifacts"]["cand.lat"] = base64.b64encode(b"\n".join(samples) + b"\n").decode()
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(pack))
    done = day0_platform.mcctl("evidence", "verify", str(changed), check=False)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert any("cand.lat" in reason for reason in report["reasons"])


@pytest.mark.timeout(60)
def test_too_few_minutes_end_before_anything_is_begun(day0_platform):
    """900 pairs decide nothing: exit 2 at the first step, and a new run is told."""
    done = day0_platform.mcctl(
        "runbook", "run", "day-0", "--env", "local", "--minutes", "0.3", "--yes", check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "step 2/" not in done.stderr
    assert "900 pairs cannot decide" in done.stderr
    assert "--resume" not in done.stderr


@pytest.mark.timeout(1200)
def test_a_held_candidate_serves_by_a_persons_word(day0_platform):
    """Twice as slow it is held; overridden, the run goes on without another comparison."""
    _hold(day0_platform, "slow=2")
    _override(day0_platform)
    assert (_active(day0_platform), _is_as_before(day0_platform)) == ("blue", True)


def _hold(platform, fault):
    """A broken candidate is held: exit 1, the old colour serves on, with as many replicas as before."""
    before, serving = _active(platform), _serving(platform)
    done = _day0(platform, FAULT=fault)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "HOLD" in done.stdout + done.stderr
    assert (_active(platform), _serving(platform)) == (before, serving)
    assert _is_as_before(platform)
    assert platform.ask("What is the status of order O-2001?").status == 200


def _take_every_way_out(platform):
    """The playbook's commands as a person would copy them: the last one resumes, and promotes."""
    told = json.loads(platform.mcctl("incident", "canary-hold", "-o", "json", check=False).stdout)
    assert [one["status"] for one in told["findings"] if one["step"] == "faults"] == ["failed"]
    heal, *looks, again = [one["do"] for one in told["next"]]
    assert heal.endswith("--fault none")
    assert looks
    for command in (heal, *looks, f"{again} --yes"):
        for _ in range(3):  # a busy machine may be unable to tell
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=platform.cwd,
                env={**platform.env, "PATH": f"{Path(MCCTL).parent}:{platform.env['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
            if done.returncode != 3:
                break
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


def _override(platform):
    """The run goes on with a person's word, although the candidate is broken on purpose."""
    told = json.loads(platform.mcctl("incident", "canary-hold", "-o", "json", check=False).stdout)
    run = told["run"]
    platform.mcctl("canary", "override", run, "--reason", "the fault is wanted", "--yes")
    platform.mcctl("runbook", "run", "day-0", "--resume", run, "--yes")
