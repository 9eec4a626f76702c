"""The playbook: what it concludes from what the replicas say, and what it does about the file."""

from __future__ import annotations

import contextlib
import json

import pytest
from tests.loopback import serving_text

from mc_ops.errors import CouldNotTell
from mc_ops.incidents import BackupState, Recovery, SiemFailure, Status, Verdict, Watch, look
from mc_ops.incidents.siem_failure.probe import SiemTarget
from mc_ops.incidents.siem_failure.recovery import watch_until_recovered


class Replica:
    """Answers /health and /metrics as the workbench does."""

    def __init__(self, *, shipper="ok", backlog=0, oldest_s=0.0, state=None, parked=0):
        self.shipper, self.backlog, self.oldest_s = shipper, backlog, oldest_s
        self.parked = parked
        self.state = state or ("down" if shipper.startswith("failing") else "ok")

    def answer(self, path):
        if path == "/health":
            siem = {"state": self.state, "shipper": self.shipper}
            return json.dumps({"service": "agent-workbench", "dependencies": {"siem": siem}})
        return (
            "# TYPE mc_siem_backlog_events gauge\n"
            f"mc_siem_backlog_events {self.backlog}\n"
            "# TYPE mc_siem_backlog_age_seconds gauge\n"
            f"mc_siem_backlog_age_seconds {self.oldest_s}\n"
            "# TYPE mc_siem_parked gauge\n"
            f"mc_siem_parked {self.parked}\n"
        )


def looked(*replicas):
    with contextlib.ExitStack() as stack:
        return look([stack.enter_context(serving_text(replica.answer)) for replica in replicas])


def test_one_ships_and_nothing_old_waits():
    """Recovered: the standbys do not matter, nor a backlog that is on its way."""
    watch = looked(Replica(shipper="standby"), Replica(shipper="ok", backlog=40, oldest_s=0.4))
    assert watch == Watch(Recovery.recovered, 40, 0.4, "ok", 0)


def test_each_replica_tells_the_regions_parked_events():
    """They are one figure, not to be added; one that has just started knows of none yet."""
    assert (
        looked(Replica(parked=2), Replica(shipper="standby", parked=2), Replica()).dead_letters == 2
    )
    assert looked().dead_letters is None


@pytest.mark.parametrize(
    ("replicas", "recovery"),
    [
        ([Replica(shipper="failing: HTTP 503", backlog=9, oldest_s=60)], Recovery.failing),
        ([Replica(), Replica(shipper="failing: HTTP 401")], Recovery.failing),
        ([Replica(shipper="draining 900", backlog=900, oldest_s=60)], Recovery.draining),
        ([Replica(shipper="standby")], Recovery.draining),
        ([Replica(shipper="ok", backlog=5, oldest_s=300)], Recovery.draining),
        ([Replica(shipper="ok", state="down")], Recovery.failing),
        ([], Recovery.unknown),
    ],
)
def test_what_is_no_recovery(replicas, recovery):
    """A failure anywhere, old events, nobody who ships, nobody who answers."""
    assert looked(*replicas).recovery is recovery


def test_a_replica_that_is_gone_is_left_out():
    """Those that answer tell for the region; if none does, nothing is known."""
    with serving_text(Replica().answer) as url:
        assert look(["http://127.0.0.1:1", url]).recovery is Recovery.recovered
    assert look(["http://127.0.0.1:1"]).recovery is Recovery.unknown


def watches(*recoveries, parked=0):
    script = [
        Watch(recovery, 10 - place, 20.0, "said", parked)
        for place, recovery in enumerate(recoveries)
    ]
    return lambda: script.pop(0) if len(script) > 1 else script[0]


class Clock:
    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds

    def __call__(self):
        return self.now


def test_it_watches_until_recovery():
    """Each change is told, and the watch ends with the recovery."""
    clock, told = Clock(), []
    script = watches(Recovery.failing, Recovery.draining, Recovery.recovered)
    last = watch_until_recovered(
        script, timeout_s=60, tell=told.append, sleep=clock.sleep, clock=clock
    )
    assert last.recovery is Recovery.recovered
    assert [watch.recovery for watch in told] == ["failing", "draining", "recovered"]
    assert clock.now == 2


def test_it_stops_watching_in_time():
    """What does not recover is told once, and looked at last when the time is over."""
    clock, told = Clock(), []
    last = watch_until_recovered(
        watches(Recovery.failing), timeout_s=5, tell=told.append, sleep=clock.sleep, clock=clock
    )
    assert last.recovery is Recovery.failing
    assert clock.now == 5
    assert len(told) == 1


def run(recovery, backup, enable=None, parked=0, target=None):
    looks = watches(recovery, parked=parked)
    playbook = SiemFailure(target=target, backup=backup, enable=enable, looked=looks)
    verdict = playbook.run(timeout_s=0, tell=lambda _: None, tell_watch=lambda _: None)
    return verdict, {finding.step: finding for finding in playbook.findings}, playbook


def test_replicas_that_have_nothing_to_send_do_not_make_a_siem_well(free_ports):
    """None was tried since they were restarted, and the SIEM is down: nothing has recovered."""
    target = SiemTarget(url=f"http://127.0.0.1:{free_ports}/ingest", key="k", insecure=True)
    verdict, found, _ = run(Recovery.recovered, lambda: None, target=target)
    assert (verdict, found["delivery"].status) == (Verdict.still_failing, Status.failed)
    assert "the SIEM fails at tcp: " in found["delivery"].detail


@pytest.mark.parametrize(
    ("recovery", "verdict"),
    [
        (Recovery.recovered, Verdict.recovered),
        (Recovery.draining, Verdict.still_failing),
        (Recovery.failing, Verdict.still_failing),
        (Recovery.unknown, Verdict.could_not_tell),
    ],
)
def test_the_verdict_is_what_delivery_does(recovery, verdict):
    """The last look decides."""
    got, findings, playbook = run(recovery, lambda: BackupState({"blue-1": True}))
    assert got is verdict
    assert findings["settings"].status is Status.failed  # no target was given
    assert playbook.as_dict()["delivery"]["recovery"] == recovery.value


@pytest.mark.parametrize(
    ("recovery", "parked", "verdict", "status"),
    [
        (Recovery.recovered, 0, Verdict.recovered, Status.ok),
        (Recovery.recovered, 1, Verdict.dead_letters, Status.failed),
        (Recovery.failing, 1, Verdict.still_failing, Status.failed),
        (Recovery.recovered, None, Verdict.could_not_tell, Status.unknown),
    ],
)
def test_what_is_parked_is_no_recovery(recovery, parked, verdict, status):
    """It is told whatever delivery does; that nobody tells is not that there is nothing."""
    got, findings, _ = run(recovery, lambda: BackupState({"blue-1": True}), parked=parked)
    assert got is verdict
    assert findings["dead letters"].status is status
    if parked:
        assert findings["dead letters"].detail.startswith("1 dead letter")


def test_a_file_that_is_there_is_left_alone():
    """Enabled on every replica: said, and nothing is changed."""

    def never():
        raise AssertionError("nothing was to be changed")

    state = BackupState({"blue-1": True, "blue-2": True}, frozenset({"/var/audit.jsonl"}))
    _, findings, _ = run(Recovery.recovered, lambda: state, never)
    assert findings["backup"].status is Status.ok
    assert "/var/audit.jsonl" in findings["backup"].detail


def test_without_leave_the_file_is_only_reported():
    """Not agreed to: the finding names the replicas and the word that agrees."""
    _, findings, _ = run(Recovery.failing, lambda: BackupState({"blue-1": True, "blue-2": False}))
    assert findings["backup"].status is Status.warning
    assert "blue-2" in findings["backup"].detail
    assert "--yes" in findings["backup"].remedy


def test_the_file_is_enabled_and_looked_at_again():
    """Ok is what is seen after the change, not that the change was made."""
    state = {"blue-1": False}
    _, findings, _ = run(
        Recovery.failing, lambda: BackupState(dict(state)), lambda: state.update({"blue-1": True})
    )
    assert findings["backup"].status is Status.ok
    _, findings, _ = run(Recovery.failing, lambda: BackupState({"blue-1": False}), lambda: None)
    assert findings["backup"].status is Status.failed


def test_a_change_that_fails_does_not_end_the_playbook():
    """The reason is a finding, and delivery is watched all the same."""

    def fails():
        raise CouldNotTell("green-1 died", hint="mcctl logs green-1")

    verdict, findings, _ = run(Recovery.recovered, lambda: BackupState({"blue-1": False}), fails)
    assert verdict is Verdict.recovered
    assert findings["backup"].status is Status.failed
    assert findings["backup"].remedy == "mcctl logs green-1"


@pytest.mark.parametrize("state", [None, BackupState({})])
def test_settings_that_cannot_be_read_are_unknown(state):
    """Nothing readable is not "disabled", and nothing is changed for it."""
    _, findings, _ = run(Recovery.failing, lambda: state)
    assert findings["backup"].status is Status.unknown
