"""`mcctl up --regions 2`: two whole regions on one machine, and the first one killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import uuid

import httpx
import psutil
import pytest
from tests import ports
from tests.journeys.conftest import Platform, platforms

pytestmark = [pytest.mark.long, pytest.mark.slow]
TENANT = "TENANT_001"


class _BothRegions:
    """A home with two regions; `first` and `second` are asked alike, with the same tokens."""

    def __init__(self, first: Platform) -> None:
        self.first = first
        self.second = Platform(first.home / "region-2", first.port + 80)
        self.second.env.pop("MC_EDGE_PORT")

    def status(self):
        done = self.first.mcctl("status", "--output", "json", check=False)
        return {one["name"]: one for one in json.loads(done.stdout)["processes"]}

    def replication(self):
        done = self.first.mcctl("replication", "status", "--output", "json", check=False)
        return done.returncode, json.loads(done.stdout or "{}")

    def homes(self, region):
        shown = region.mcctl("home", "list", "--output", "json").stdout
        return {one["tenant"]: one for one in json.loads(shown)["homes"]}

    def kill_first(self):
        """All of the first region at once; the arbiter and what is others' go on."""
        kept = {"arbiter", "siem", "records-agent", "fulfilment-agent"}
        found = [p for name, p in self.status().items() if "/" not in name and name not in kept]
        pids = [child.pid for p in found for child in psutil.Process(p["pid"]).children(True)]
        for pid in [*(p["pid"] for p in found), *pids]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture(scope="module")
def regions():
    with platforms(lambda: ports.free_block(2)) as start:
        yield _BothRegions(start("--regions", "2"))


def test_both_regions_run_and_replicate(regions, wait_until):
    found = regions.status()
    wanted = {"arbiter", "postgres", "edge", "blue-1", "siem"}
    assert wanted <= set(found)
    theirs = {f"region-2/{name}" for name in ("postgres", "edge", "blue-1")}
    assert {name for name in found if name.startswith("region-2/")} == theirs
    assert {one["health"] for one in found.values()} == {"ok"}
    assert regions.homes(regions.first) == regions.homes(regions.second)
    assert {one["region"] for one in regions.homes(regions.first).values()} == {"local-1"}
    wait_until(lambda: regions.replication()[0] == 0, what="both stream", within_s=60)
    _, told = regions.replication()
    assert [one["region"] for one in told["regions"]] == ["local-1", "local-2"]
    for one in told["regions"]:
        assert (one["subscription"]["works"], one["slot"]["active"]) == (True, True)
    assert told["regions"][0]["digests"] == told["regions"][1]["digests"]


def test_a_second_up_changes_nothing_and_one_region_is_refused(regions):
    before = {name: one["pid"] for name, one in regions.status().items()}
    regions.first.mcctl("up")
    assert {name: one["pid"] for name, one in regions.status().items()} == before
    refused = regions.first.mcctl("up", "--regions", "1", check=False)
    assert refused.returncode == 2
    assert "has two regions" in refused.stderr


def test_a_repeat_in_the_other_region_gets_the_first_ones_task(regions, wait_until):
    for asked, other in ((regions.first, regions.second), (regions.second, regions.first)):
        message = str(uuid.uuid4())
        question = {"message_id": message, "purpose": "support"}
        first = asked.ask("the orders of C-1001", **question)
        assert first.status == 200, first.body
        wait_until(lambda: regions.replication()[0] == 0, what="it is replicated", within_s=60)
        again = other.ask("the orders of C-1001", **question)
        assert again.task["id"] == first.task["id"]
        told = first.task["id"]
        # Both regions' logs go to the one SIEM
        wait_until(lambda told=told: len(_accepted(regions, told)) > 0, what="it is at the SIEM")
        assert len(_accepted(regions, told)) == 1


def _accepted(regions, task_id):
    return [e for e in regions.first.ledger(task_id) if e["kind"] == "request.accepted"]


def test_the_home_enacts_once_what_the_other_region_is_asked(regions):
    done = regions.second.order()
    assert done.task["status"]["state"] == "TASK_STATE_COMPLETED"
    effects = regions.first.effects(done.task["id"])
    assert [effect["key"] for effect in effects] == list({e["key"]: 1 for e in effects})
    assert len(effects) == 3


def test_a_halt_in_one_region_holds_in_both(regions, wait_until):
    reason = ("--tenant", "TENANT_002", "--reason", "a test", "--yes")
    regions.second.mcctl("autonomy", "halt", *reason)

    def halted(region):
        done = region.order(tenant="TENANT_002")
        return "result" not in done.body or done.task["status"]["state"] == "TASK_STATE_REJECTED"

    wait_until(lambda: halted(regions.first), what="the first region halts", within_s=30)
    [told] = json.loads(regions.first.mcctl("status", "--output", "json").stdout)["halts"]
    assert (told["scope"], told["region"]) == ("TENANT_002", None)
    assert told["resume"].startswith(f"MC_HOME={regions.second.home} mcctl autonomy resume")
    regions.second.mcctl("autonomy", "resume", *reason)
    wait_until(lambda: not halted(regions.first), what="it goes on", within_s=30)


def test_the_second_region_takes_over_what_the_killed_first_one_enacted(regions, wait_until):
    regions.kill_first()
    found = regions.status()
    assert found["blue-1"]["state"] == found["postgres"]["state"] == "dead"
    assert found["arbiter"]["state"] == "running"

    def enacts():
        done = regions.second.order()
        return "result" in done.body and done.task["status"]["state"] == "TASK_STATE_COMPLETED"

    wait_until(enacts, what="the second enacts", within_s=60)
    assert {one["region"] for one in regions.homes(regions.second).values()} == {"local-2"}
    code, _ = regions.replication()
    assert code != 0
    # What is missing is started; nothing comes back by itself, and what was done meanwhile arrives
    regions.first.mcctl("up")
    wait_until(lambda: regions.replication()[0] == 0, what="both stream again", within_s=90)
    assert {one["region"] for one in regions.homes(regions.first).values()} == {"local-2"}


def test_down_and_purge_leave_nothing(regions):
    pids = [one["pid"] for one in regions.status().values() if one["pid"]]
    regions.first.mcctl("down")
    assert not [pid for pid in pids if _lives(pid)]
    for port in (regions.first.port, regions.second.port, regions.first.port + 15):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
    assert not list((regions.first.home / "run").glob("*.json"))
    assert not list((regions.second.home / "run").glob("*.json"))
    regions.first.mcctl("down", "--purge", "--yes")
    assert not regions.first.home.exists()


def test_a_platform_of_one_region_gets_a_second_if_it_may_restart():
    """A start that fails leaves one region; replicas that know no arbiter are not left beside a second."""
    with platforms(lambda: ports.free_block(2)) as start:
        one = start()
        refused = one.mcctl("up", "--regions", "2", check=False)
        assert refused.returncode == 2
        assert "--regions 2 --restart" in refused.stderr
        one.mcctl("down")
        with socket.create_server(("127.0.0.1", one.port + 13)):
            taken = one.mcctl("up", "--regions", "2", check=False)
        assert taken.returncode == 2
        assert "wanted for siem" in taken.stderr
        both = _BothRegions(one)
        assert {p["state"] for p in both.status().values()} <= {"stopped", "dead"}
        one.mcctl("up")
        assert not [name for name in both.status() if "/" in name]
        one.mcctl("up", "--regions", "2", "--restart")
        assert {p["health"] for p in both.status().values()} == {"ok"}
        assert "region-2/blue-1" in both.status()
        assert {home["region"] for home in both.homes(one).values()} == {"local-1"}


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
