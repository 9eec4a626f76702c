"""`mcctl incident canary-hold`: which run it takes, its exit codes, and what it prints."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_canary import _mcctl, fake_edge
from typer.testing import CliRunner

from mc_contract.judgement.verdict import Samples, format_samples, judge
from mc_contract.running import FACTS
from mc_ops.cli import main
from mc_ops.cli.incident import app


def call(*argv):
    return CliRunner().invoke(app, ["canary-hold", *map(str, argv)])


def write(folder, slower, planned=3000, **more):
    """A run of 3,000 pairs, the candidate so many times as slow."""
    rng = np.random.default_rng(1)
    base, cand = (np.round(0.005 * np.exp(rng.normal(0, 0.3, 3000)), 6) for _ in range(2))
    base, cand = Samples(base), Samples(np.round(cand * slower, 6))
    verdict = judge(base, cand, margin=0.25, planned_pairs=planned).as_dict()
    verdict |= {"parameters": {"margin": 0.25, "planned_pairs": planned}, **more}
    folder.mkdir(parents=True)
    (folder / "base.lat").write_bytes(format_samples(base))
    (folder / "cand.lat").write_bytes(format_samples(cand))
    (folder / "verdict.json").write_text(json.dumps(verdict))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MC_HOME", str(tmp_path / ".mc"))
    monkeypatch.setenv("MC_EDGE_PORT", "23080")
    return tmp_path / ".mc" / "runs"


def gh(tmp_path, monkeypatch, script):
    """A `gh` that is found before any other."""
    path = tmp_path / "bin" / "gh"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


def test_the_newest_hold_is_taken_and_exit_1_says_that_it_stands(runs):
    write(runs / "canary-1", 2.0)
    result = call()
    assert result.exit_code == 1, result.output
    assert "canary canary-1" in result.stdout
    assert "✔ ok       verdict" in result.stdout
    assert "conclusion: the candidate is slower" in result.stdout


def test_a_retrospective_is_no_canary_on_hold(runs):
    """The newest is one that failed: the canary's HOLD is explained, and not that it has no samples."""
    write(runs / "canary-1", 2.0)
    past = runs / "retrospective-2"
    past.mkdir()
    (past / "verdict.json").write_text('{"verdict": "HOLD", "kind": "retrospective"}')
    os.utime(runs / "canary-1" / "verdict.json", (1, 1))
    result = call()
    assert (result.exit_code, "canary canary-1" in result.stdout) == (1, True), result.output
    done = _mcctl(runs.parent, "decision", past.name)
    assert done.returncode == 2
    assert "is no run with a canary's verdict" in done.stderr
    assert "a retrospective is no canary" in done.stderr


def test_a_real_run_with_one_bad_instance_is_diagnosed(runs):
    """What `mcctl canary run` writes is what the playbook reads; of two candidates one fails."""
    home = runs.parent
    with (
        fake_edge.serving(fake_edge.FakeEdge()) as base,
        fake_edge.serving(fake_edge.FakeEdge()) as good,
        fake_edge.serving(fake_edge.FakeEdge(error_every=4)) as bad,
    ):
        done = _mcctl(
            home,
            *("run", "--baseline", base.url, "--candidate", good.url, "--candidate", bad.url),
            *("--minutes", "0.05", "--rate", "200", "--margin", "0.9"),
        )
    assert done.returncode == 1, done.stderr
    result = call("-o", "json")
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    status = {finding["step"]: finding["status"] for finding in told["findings"]}
    assert (status["verdict"], status["errors"]) == ("ok", "failed")
    assert told["conclusion"] == "one_instance"
    assert [one["url"] for one in told["instances"] if one["stands_out"]] == [f"{bad.url}/"]


def test_json_has_every_finding_and_what_is_next(runs):
    write(runs / "day-0-1" / "canary", 2.0)
    result = call("day-0-1", "-o", "json")
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert told["schema_version"] == 1
    assert (told["incident"], told["run"]) == ("canary-hold", "day-0-1")
    assert told["conclusion"] == "regression"
    steps = ["verdict", "regression", "length", "errors", "driver", "time", "instances"]
    assert [finding["step"] for finding in told["findings"]] == steps
    assert told["judgement"]["runbook"]["verdict"] == "HOLD"
    assert len(told["time"]["p95_difference"]) == 15
    assert told["next"][0]["do"].startswith("mcctl logs")


def test_promote_is_exit_0_and_inconclusive_exit_3(runs):
    assert call("--dir", write(runs / "a", 1.0)).exit_code == 0
    result = call("--dir", write(runs / "b", 1.0, planned=4000))
    assert result.exit_code == 3, result.output
    assert "mcctl canary override" in result.stdout


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(runs):
    """Escape sequences in a verdict that came from elsewhere."""
    evil = {"urls": {"baseline": ["http://x\x1b]0;y\x07"], "candidate": ["http://y\x1b[2J"]}}
    result = call("--dir", write(runs / "a", 2.0, **evil))
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout


def test_a_run_of_github_is_downloaded(runs, tmp_path, monkeypatch):
    """By its number; into a folder that no evidence pack takes for the newest canary."""
    made = write(tmp_path / "artifact", 2.0)
    gh(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/argv; cp {made}/* "$7"')
    result = call("4711")
    assert result.exit_code == 1, result.output
    argv = (tmp_path / "argv").read_text().split()
    assert argv[:6] == ["run", "download", "4711", "--name", "canary-samples", "--dir"]
    assert not runs.exists()
    assert Path(argv[6]).is_dir()


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("echo 'no artifact matches' >&2; exit 1", 3, "of run 4711: no artifact matches"),
        ("exit 4", 4, "not logged in"),
        ("exit 0", 2, "holds no canary"),
    ],
)
def test_what_gh_cannot_do_is_told(runs, tmp_path, monkeypatch, script, code, said):
    gh(tmp_path, monkeypatch, script)
    result = call("4711")
    assert result.exception.exit_code == code
    assert said in result.exception.message


def test_without_gh_the_command_for_elsewhere_is_told(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = call("4711")
    assert result.exception.exit_code == 3
    assert "gh run download 4711 --name canary-samples --dir DIR" in result.exception.hint


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([], 3, "no canary on HOLD"),
        (["nothing"], 2, "is no run with a canary"),
        (["../x"], 2, "is no run with a canary"),
        (["a", "--dir", "b"], 2, "not both"),
        (["--dir", "/dev"], 2, "holds no canary"),
    ],
)
def test_no_such_run_is_told(runs, argv, code, said):
    result = call(*argv)
    assert result.exception.exit_code == code
    assert said in result.exception.message


def _parsed(command):
    """Let bash and then mcctl read a command, as far as that goes without carrying it out."""
    subprocess.run(["bash", "-n"], input=command, text=True, check=True)
    words = shlex.split(command, comments=True)
    words = words[: words.index("|")] if "|" in words else words
    group, rest = main.load_all(), words[1:]
    context = group.make_context("mcctl", [*rest], resilient_parsing=False)
    while hasattr(group, "commands"):
        name, group, rest = group.resolve_command(context, rest)
        if hasattr(group, "commands"):
            context = group.make_context(name, [*rest], parent=context)
    return group.make_context(name, [*rest], parent=context).params


@pytest.mark.parametrize("of_a_runbook", [True, False])
@pytest.mark.parametrize(
    ("slower", "told"),
    [
        (2.0, {}),
        (1.0, {"planned": 4000}),
        (1.0, {"kind": "void", "verdict": "HOLD", "reason": "late"}),
        (1.0, {"kind": "changed", "verdict": "HOLD", "reason": "green-1 is gone"}),
        (2.0, {"verdict": "PROMOTE"}),
        (0.0, {"kind": "smoke", "verdict": "HOLD", "reason": "no card"}),
        (
            2.0,
            {"urls": {"baseline": ["http://127.0.0.1:9/"], "candidate": ["http://127.0.0.1:9/"]}},
        ),
    ],
)
def test_every_command_that_is_suggested_is_one(runs, slower, told, of_a_runbook):
    """It is read by bash, and mcctl knows its verb, options and values."""
    run = runs / "day-0-1"
    folder = run / "canary" if of_a_runbook else run
    facts = dict.fromkeys(FACTS) | {"replica": "green-1", "colour": "green"}
    look = {"baseline": [], "candidate": [facts]}
    told = {"running": {"at_start": look, "at_end": look}} | told
    if slower:
        write(folder, slower, **told)
    else:
        folder.mkdir(parents=True)
        (folder / "verdict.json").write_text(json.dumps(told))
    if of_a_runbook:
        (run / "journal.jsonl").write_text('{"runbook": "day-0", "run_id": "day-0-1"}')
    result = call("day-0-1", "-o", "json")
    following = json.loads(result.stdout)["next"]
    assert following
    for one in following:
        _parsed(one["do"])
