"""Drills of two regions: the home is broken for real, the other region takes over, all is put back."""

from __future__ import annotations

import json
import signal
import subprocess

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests import forked, ports
from tests.drills import TENANTS, WAITS, catalogue, packed
from tests.journeys.conftest import platforms

from mc_contract.drill import course_of, request_of, require_held
from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(900)]
TENANT = "TENANT_001"
LOAD = ("--tenant", TENANT, "--rate", "20", "--operations", "4", "--before", "4")


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with platforms(lambda: ports.free_block(2)) as start:
        folder = tmp_path_factory.mktemp("catalogue")
        yield start("--regions", "2", MC_CATALOGUE=str(catalogue(folder)))


def homes(platform):
    shown = platform.mcctl("home", "list", "--output", "json").stdout
    return {one["tenant"]: one["region"] for one in json.loads(shown)["homes"]}


def drilled(platform, out, scenario, *more):
    done = platform.mcctl(
        "drill", "run", "--scenario", scenario, *LOAD, *more, "--yes", "--max-lost", "40",
        "--out", str(out), "--results", str(out.parent / "dr-drill-results.txt"),
    )  # fmt: skip
    return done, *reported(out)


def reported(out):
    """The report of a drill, and the rows of one tenant, which are held."""
    rows = [request_of(json.loads(row)) for row in (out / "drill-clients.jsonl").open()]
    told = json.loads((out / "drill.json").read_text())
    require_held(rows, course_of(told))
    return told, [row for row in rows if row.tenant == TENANT]


def test_a_cut_link_stops_no_questions_and_the_home_alone_enacts(platform, tmp_path):
    """Both answer meanwhile, the lag grows and goes, and both have the same afterwards."""
    _, told, rows = drilled(platform, tmp_path / "run" / "drill", "link-cut", "--cut", "10")
    one = told["figures"]["tenants"][TENANT]
    home, survivor = told["regions"]["home"], told["regions"]["survivor"]
    assert one["answered_by"][survivor]["questions"] > 0
    assert one["answered_by"][home]["operations"] > 0
    assert (one["lost"], one["lost_for_good"], told["problem"]) == (0, 0, "")
    assert told["figures"]["control"]["maybe"] > 0
    assert told["regions"]["lag"]["greatest_s"] > 4
    course = told["course"]
    cut = [row for row in rows if course["fault_s"] + 1 < row.sent_s < course["mended_s"] - 1]
    assert {row.region for row in cut if row.operation and row.region} == {home}


def test_a_frozen_home_that_wakes_enacts_nothing(platform, tmp_path):
    """The home moves meanwhile; its receiver sees no effect of a former term."""
    _, told, _ = drilled(platform, tmp_path / "run" / "drill", "freeze")
    effects = told["regions"]["effects"]
    assert (effects["twice"], effects["former"], effects["unknown"]) == (0, 0, 0)
    assert effects["done"] > 0
    assert told["figures"]["tenants"][TENANT]["lost_for_good"] == 0
    assert "wakes" not in told["problem"]


def test_homes_killed_four_times_on_alternating_sides_are_taken_over(platform, tmp_path):
    """As `make drills`, at a smaller cost: clients go on at the survivor, nothing is enacted twice or by half.

    What one lacks is counted, and is back with its region; a tenant that waits for both loses nothing.
    """
    before = homes(platform)
    out = tmp_path / "drills"
    done = platform.mcctl(
        "drill", "run", "--scenario", "region-kill", "--times", "4", "--before", "4", "--rate", "20",
        *(word for name in TENANTS for word in ("--tenant", name)), "--operations", "2", "--max-lost", "40",
        "--yes", "--output", "json", "--out", str(out), "--results", str(out / "results.txt"), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    expected = done.stderr.index("expected loss: up to")
    assert expected < done.stderr.index("fault: region-kill")
    assert expected < done.stderr.index("SIGKILL sent to blue-1, edge, postgres")
    told = json.loads(done.stdout)
    assert (told["drills"], told["problems"], told["met"]) == (4, [], True)
    reports = [_taken_over(path.parent) for path in sorted(out.glob("*/drill.json"))]
    assert [one["region"] for one in reports] == ["local-1", "local-2"] * 2
    assert [one["course"]["sync"] for one in reports] == [[WAITS]] * 4
    waiting = told["tenants"][WAITS]
    assert (waiting["lost"], waiting["never"], waiting["lost_for_good"]) == (0, 0, 0)
    for tenant in TENANTS:
        assert told["tenants"][tenant]["rto_s"]["max"] >= told["tenants"][tenant]["rto_s"]["median"]
        assert told["tenants"][tenant]["lost"] == sum(
            one["figures"]["tenants"][tenant]["lost"] for one in reports
        )
    assert homes(platform) == before
    status = json.loads(platform.mcctl("replication", "status", "--output", "json").stdout)
    assert status["differing"] == []
    lines = (out / "results.txt").read_text().split("\n")
    assert sum(line.startswith(f"RTO for {TENANT}: ") for line in lines) == 4
    claims = packed(platform, out / "02", tmp_path / "evidence-v0.json")
    assert claims["drill.region"] == "local-2"
    assert claims["drill.figures"]["tenants"][TENANT]["parts"]["lease_s"] > 0


def _taken_over(out):
    """The report of a killed home, held against its rows."""
    told, rows = reported(out)
    assert told["regions"]["effects"]["twice"] == told["regions"]["effects"]["half"] == 0
    one = told["figures"]["tenants"][TENANT]
    assert (one["lost_for_good"], one["unchecked"], told["figures"]["blind"]) == (0, 0, False)
    assert one["lost"] == sum(row.found is False for row in rows)
    assert told["figures"]["control"]["lost"] > 0
    assert one["rto_s"] == max(one["questions_rto_s"], one["operations_rto_s"])
    assert sum(one["parts"].values()) == pytest.approx(one["rto_s"], abs=0.01)
    home, survivor = told["regions"]["home"], told["regions"]["survivor"]
    late = [row for row in rows if row.sent_s > told["course"]["decided_s"]]
    assert {row.region for row in late if row.outcome == "acknowledged"} == {survivor}
    assert {row.region for row in rows if row.ended_s < told["course"]["fault_s"]} >= {home}
    return told


def test_a_lost_disk_is_restored_and_the_survivor_gives_back_what_it_has(
    platform, tmp_path, wait_until
):
    """Clients go on at the survivor; the restored region begins its next epoch, halted until all is counted."""
    before = homes(platform)
    done, told, rows = drilled(platform, tmp_path / "run" / "drill", "restore")
    restore, one = told["regions"]["restore"], told["figures"]["tenants"][TENANT]
    home = told["regions"]["home"]
    assert (told["problem"], restore["halted"]) == ("", True)
    assert restore["epoch"].startswith(f"{home}/e")
    own = [row for row in rows if row.region == home and row.outcome == "acknowledged"]
    lacks = [row for row in own if row.found_restored is False]
    assert one["restore"]["lost"] == len(lacks) > 0
    assert {row.found_restored for row in own if row.ended_s < restore["to_s"]} == {True}
    assert one["lost_for_good"] == sum(row.found_later is False for row in rows)
    assert one["lost_for_good"] <= one["lost"] < len(lacks)
    assert restore["lost_entries_kept"] > 0
    said = done.stderr
    assert said.index("gives back") < said.index("fault: restore") < said.index("is the home")
    assert said.index("is the home") < said.index("the restore loses")
    assert homes(platform) == before
    shown = json.loads(platform.mcctl("autonomy", "status", "--output", "json").stdout)
    assert [scope for scope in shown["scopes"] if scope["halted"]] == []
    claims = packed(platform, tmp_path / "run" / "drill", tmp_path / "evidence-v0.json")
    assert claims["drill.figures"]["tenants"][TENANT]["restore"]["lost"] == len(lacks)
    assert home == "local-1"
    _witnessed(platform, restore["epoch"], wait_until)


def _witnessed(platform, epoch, wait_until):
    """The survivor cosigns the next epoch, and refuses what the ledger's key signs by the former name."""
    new, old = (f"mc-platform.example.com/ledger/{log}" for log in (epoch, epoch.partition("/")[0]))
    cosigned = f"{platform.url}/ledger/checkpoint/cosigned"
    wait_until(
        lambda: httpx.get(cosigned).text.startswith(f"{new}\n"), what="the epoch is cosigned"
    )
    witness = str(platform.home / "trust" / "witnesses.txt")
    platform.mcctl("audit", "verify", "--witness", witness, "--require", "1")

    key = load_pem_private_key((platform.home / "secrets" / "ledger.key").read_bytes(), None)
    survivor = f"http://127.0.0.1:{platform.port + 80}/witness/add-checkpoint"

    def submit(size, last):
        note = sign_checkpoint(Checkpoint(old, size, b"x" * 32), old, key)
        return httpx.post(survivor, content=f"old {last}\n\n{note}".encode())

    behind = submit(1, 0)
    assert behind.status_code == 409
    last = int(behind.text)
    assert (last > 1, submit(last, last).status_code) == (True, 409)
    assert submit(last + 1, last).status_code == 422


def test_an_interrupted_drill_puts_region_and_homes_back(platform, tmp_path):
    """Ctrl-C while the home is dead: it is brought up, and is the home again."""
    before = homes(platform)
    command = [
        forked.MCCTL, "drill", "run", "--scenario", "region-kill", *LOAD, "--yes",
        "--out", str(tmp_path / "drill"), "--results", str(tmp_path / "results.txt"),
    ]  # fmt: skip
    running = subprocess.Popen(
        command, cwd=platform.cwd, env=platform.env, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    for line in running.stderr:
        if " is the home " in line:
            break
    running.send_signal(signal.SIGINT)
    _, rest = running.communicate(timeout=300)
    assert running.returncode == 5, rest
    assert "the platform is up again" in rest
    assert homes(platform) == before
    assert (tmp_path / "drill" / "drill-clients.jsonl").stat().st_size > 0
