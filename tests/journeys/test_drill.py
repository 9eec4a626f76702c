"""Drills break a platform of their own for real; what their clients saw is the evidence."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from tests import forked
from tests.drills import packed, packing

from mc_contract.drill import course_of, request_of, require_held

pytestmark = pytest.mark.alone
QUICK = ("--tenant", "TENANT_001", "--rate", "20", "--before", "4")


@pytest.fixture(scope="module")
def platform(start_platform):
    return start_platform()


@pytest.fixture(scope="module")
def done():
    """The folders of the drills that were carried out, by scenario."""
    return {}


def drill(platform, tmp_path, scenario, *more, check=True):
    out = tmp_path / scenario / "drill"
    done = platform.mcctl(
        "drill", "run", "--scenario", scenario, *QUICK, *more, "--yes",
        "--out", str(out), "--results", str(tmp_path / "dr-drill-results.txt"),
        check=check,
    )  # fmt: skip
    return done, out


@pytest.mark.parametrize("scenario", ["region-kill", "db-kill", "freeze"])
def test_a_drill_loses_nothing_that_was_acknowledged(platform, tmp_path, scenario, done):
    """The clients see the absence and the return; the control shows that a loss would be seen."""
    ended, out = drill(platform, tmp_path, scenario)
    done[scenario] = out
    told = json.loads((out / "drill.json").read_text())
    one = told["figures"]["tenants"]["TENANT_001"]
    assert (one["lost"], one["unchecked"], told["figures"]["blind"]) == (0, 0, False)
    assert one["failed"] + one["maybe"] + one["refused"] > 0
    assert 0 < one["rto_from_failure_s"] <= one["rto_s"] <= 60
    control = told["figures"]["control"]
    assert (control["lost"] > 0) == (scenario != "freeze")
    rows = (out / "drill-clients.jsonl").read_text().splitlines()
    require_held([request_of(json.loads(row)) for row in rows], course_of(told))
    lines = (tmp_path / "dr-drill-results.txt").read_text().split("\n")
    assert lines[0].startswith("RTO for TENANT_001: ")
    assert lines[0].endswith("s")
    assert lines[1].startswith("RPO for TENANT_001: 0s, 0 of ")
    assert "expected loss" in ended.stderr
    assert platform.mcctl("status").returncode == 0
    assert (out / "drill.svg").read_text().startswith("<svg")


def test_a_pack_of_a_drill_is_computed_again_and_a_changed_row_is_seen(platform, tmp_path, done):
    """RTO and RPO follow from the rows: a report that is better than its rows is not packed."""
    out = done["db-kill"]
    pack = tmp_path / "evidence-v0.json"
    claims = packed(platform, out, pack)
    assert claims["drill.figures"]["tenants"]["TENANT_001"]["lost"] == 0
    assert claims["drill.scenario"] == "db-kill"

    rows = (out / "drill-clients.jsonl").read_text().splitlines(keepends=True)
    at = next(n for n, row in enumerate(rows) if '"found": true' in row and "TENANT_001" in row)
    rows[at] = rows[at].replace('"found": true', '"found": false')
    (out / "drill-clients.jsonl").write_text("".join(rows))
    refused = platform.mcctl(*packing(platform, out, pack), check=False)
    assert refused.returncode == 2
    assert "tells other figures than its rows give" in refused.stderr


def test_an_interrupted_drill_leaves_the_platform_up_and_others_see_it_run(platform, tmp_path):
    """While it runs it is shown and no other begins; Ctrl-C ends it with the platform healed."""
    command = [
        forked.MCCTL, "drill", "run", "--scenario", "freeze", "--freeze", "60", *QUICK, "--yes",
        "--out", str(tmp_path / "drill"), "--results", str(tmp_path / "results.txt"),
    ]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=platform.cwd, env=platform.env, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    said = []
    for line in running.stderr:
        said.append(line)
        if "SIGSTOP sent to" in line:
            break
    second, _ = drill(platform, tmp_path, "db-kill", check=False)
    assert second.returncode == 3
    assert "a drill is under way on this platform: freeze" in second.stderr
    for verb in ("up", "down", "cutover --to green"):  # these would end the freeze, or wait for it
        refused = platform.mcctl(*verb.split(), check=False)
        assert (refused.returncode, "under way" in refused.stderr) == (3, True)
    stopped = platform.mcctl("status", check=False)
    assert "stands still (SIGSTOP)" in stopped.stdout
    assert "the drill stopped it, and lets it go on" in " ".join(stopped.stderr.split())
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=120)
    assert running.returncode == 5, [*said, rest]
    assert rest.startswith("interrupted: mending what was broken")
    assert "the platform is up again" in rest
    assert (
        platform.ask(
            "What is the status of order O-2001?", agent="records", purpose="support"
        ).status
        == 200
    )
    assert (tmp_path / "drill" / "drill-clients.jsonl").stat().st_size > 0
    assert not (tmp_path / "results.txt").exists()


def test_a_lost_disk_is_restored_and_what_that_loses_is_counted(platform, tmp_path):
    """To a moment before the fault: all before it is there, each write after it is lost and told.

    At that rate some question is on its way at that moment, and is restored without its answer.
    """
    ended, out = drill(platform, tmp_path, "restore", "--max-rto", "300", "--rate", "100")
    told = json.loads((out / "drill.json").read_text())
    restore, one = told["regions"]["restore"], told["figures"]["tenants"]["TENANT_001"]
    rows = [request_of(json.loads(row)) for row in (out / "drill-clients.jsonl").open()]
    require_held(rows, course_of(told))
    fault_s = told["course"]["fault_s"]
    own = [row for row in rows if row.tenant == "TENANT_001" and row.outcome == "acknowledged"]
    lost = [row for row in own if row.found is False]
    assert one["lost"] == len(lost) > 0
    assert {row.found for row in own if row.ended_s < restore["to_s"]} == {True}
    assert {row.found for row in own if restore["to_s"] + 0.5 < row.sent_s < fault_s} == {False}
    assert one["rpo_s"] == round(fault_s - min(row.ended_s for row in lost), 3)
    assert restore["reported_lost"] >= len(lost)  # the SIEM knows what no client was answered
    assert (restore["epoch"], restore["halted"], told["problem"]) == ("local-1/e2", True, "")
    assert told["figures"]["control"]["lost"] > 0
    said = ended.stderr
    assert said.index("expected loss: up to") < said.index("fault: restore")
    assert said.index("the restore loses") < said.index("local-1/e2 began")
    assert Path(restore["former_files"]).is_dir()
    claims = packed(platform, out, tmp_path / "evidence-v0.json")
    assert claims["drill.figures"]["tenants"]["TENANT_001"]["lost"] == len(lost)
    assert claims["drill.scenario"] == "restore"
    assert platform.order().task["status"]["state"] == "TASK_STATE_COMPLETED"  # it was resumed
    platform.mcctl("audit", "verify")
    platform.mcctl("status")  # the archiver, whose line ended, is not missed


def test_a_restore_that_is_interrupted_has_lost_nothing(platform, tmp_path):
    """Ctrl-C before the next epoch begins: the former files never left their place."""
    data = platform.home / "pg" / "data"
    before = data.stat().st_ino
    command = [
        forked.MCCTL, "drill", "run", "--scenario", "restore", *QUICK, "--yes",
        "--out", str(tmp_path / "drill"), "--results", str(tmp_path / "results.txt"),
    ]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=platform.cwd, env=platform.env, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "unsealing backup" in line:
            break
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=120)
    assert running.returncode == 5, rest
    assert data.stat().st_ino == before
    assert platform.ask("What is open for customer 7?").status == 200
    listed = platform.mcctl("backup", "list")  # its WAL is archived on
    assert "no backup" not in listed.stdout
