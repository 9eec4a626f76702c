"""`mcctl incident siem-failure`: exit codes, what it reads of a running replica, what it changes."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import pytest
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

from mc_ops.cli import incident
from mc_ops.environments import Colour
from mc_ops.incidents import Finding, Recovery, Status, Watch

KEY = "the-secret-key-itself"
SIEM = {"AUDIT_SIEM_URL": "http://127.0.0.1:1/ingest", "AUDIT_SIEM_KEY": KEY}


class Platform(RecordingEnvironment):
    """A platform of which the test says what its replicas were started with."""

    def __init__(self):
        self.recorded = Recorded()
        super().__init__(self.recorded)

    def start(self, name, **settings):
        self.recorded.replicas[name] = {**SIEM, **settings}

    @property
    def calls(self):
        return [call[:3] for call in self.recorded.calls]


@pytest.fixture
def environment(monkeypatch):
    made = Platform()
    monkeypatch.setattr(incident, "open_environment", lambda _: made)
    for name in (*SIEM, "AUDIT_SIEM_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUDIT_FILE_ENABLED", "false")
    monkeypatch.setenv("AUDIT_FILE_PATH", "/x/audit.jsonl")
    return made


@pytest.fixture
def delivery(monkeypatch):
    """Sets what the replicas say of delivery."""

    def say(recovery, parked=0):
        watch = Watch(recovery, 3, 1.0, "said", parked)
        monkeypatch.setattr("mc_ops.incidents.look", lambda _: watch)

    return say


def run(*arguments):
    result = CliRunner().invoke(incident.app, ["siem-failure", "--timeout", "0", *arguments])
    assert KEY not in result.output
    return result


@pytest.mark.parametrize(
    ("recovery", "code"),
    [
        (Recovery.recovered, 1),
        (Recovery.failing, 1),
        (Recovery.draining, 1),
        (Recovery.unknown, 3),
    ],
)
def test_the_exit_code_is_the_verdict(environment, delivery, recovery, code):
    """1 still failing, 3 could not tell; in JSON and as a table. Who sends nothing makes no SIEM well."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="true", AUDIT_FILE_PATH="/x/audit.jsonl")
    delivery(recovery)
    assert run().exit_code == code
    result = run("--output", "json")
    assert result.exit_code == code
    told = json.loads(result.stdout)
    assert told["schema_version"] == 1
    assert told["delivery"]["recovery"] == recovery.value
    steps = {finding["step"]: finding for finding in told["findings"]}
    assert steps["settings"]["detail"] == "format ocsf to 127.0.0.1:1, key set"
    assert steps["tcp"]["status"] == "failed"
    assert steps["backup"]["detail"] == "enabled on every replica: /x/audit.jsonl"
    assert environment.calls == []


@pytest.fixture
def siem_answers(monkeypatch):
    """What is asked of the SIEM succeeds."""
    found = [Finding("http", Status.ok, "it answers")]
    monkeypatch.setattr("mc_ops.incidents.siem_failure.verdict.probe_siem", lambda *_: found)


@pytest.mark.usefixtures("siem_answers")
def test_a_siem_that_answers_and_gets_its_events_has_recovered(environment, delivery):
    environment.start("blue-1", AUDIT_FILE_ENABLED="true")
    delivery(Recovery.recovered)
    result = run()
    assert (result.exit_code, "verdict: recovered" in result.stdout) == (0, True), result.output


@pytest.mark.usefixtures("siem_answers")
def test_parked_events_are_a_finding_of_a_delivery_that_works(environment, delivery):
    """Exit 1, how many there are, and where to look; in JSON and as a table."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="true")
    delivery(Recovery.recovered, parked=2)
    result = run()
    assert result.exit_code == 1
    assert "2 dead letters" in result.stdout
    assert "mcctl audit dead-letters list" in result.stdout
    assert "verdict: dead letters" in result.stdout
    told = json.loads(run("--output", "json").stdout)
    assert told["verdict"] == "dead_letters"
    assert told["delivery"]["parked_events"] == 2


def test_nothing_is_changed_without_leave(environment, delivery):
    """Without a terminal and without --yes the file is only reported as missing."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="false")
    delivery(Recovery.failing)
    result = run()
    assert "repeat with --yes" in result.stdout
    assert environment.calls == []


def test_the_other_colour_takes_over_with_the_file(environment, delivery):
    """As many replicas of the other colour start with it, serve, and only then the old ones stop."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="false")
    environment.start("blue-2", AUDIT_FILE_ENABLED="false")
    delivery(Recovery.recovered)
    result = run("--yes", "--output", "json")
    assert environment.calls == [
        ("scale", Colour.green, 2),
        ("wait_ready", Colour.green, 60.0),
        ("switch", Colour.green, False),
        ("scale", Colour.blue, 0),
    ]
    assert sorted(environment.recorded.replicas) == ["green-1", "green-2"]
    [backup] = [f for f in json.loads(result.stdout)["findings"] if f["step"] == "backup"]
    assert backup["status"] == "ok"


def test_a_colour_that_is_in_use_is_not_taken(environment, delivery):
    """Somebody's canary runs there: nothing is changed, and the finding says how to free it."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="false")
    environment.start("green-1", AUDIT_FILE_ENABLED="false")
    delivery(Recovery.failing)
    result = run("--yes")
    assert "green runs already" in result.stdout
    assert environment.calls == []


def test_an_unknown_format_is_unusable_input(environment, delivery):
    """The replica would not have started with it either."""
    environment.start("blue-1", AUDIT_SIEM_FORMAT="xml")
    delivery(Recovery.failing)
    result = run()
    assert result.exception.message == "AUDIT_SIEM_FORMAT is not known"


def test_the_shell_says_where_the_siem_is_when_nothing_runs(environment, delivery, monkeypatch):
    """Without a replica the settings of this shell are probed; delivery cannot be told."""
    for name, value in SIEM.items():
        monkeypatch.setenv(name, value)
    delivery(Recovery.unknown)
    result = run("--output", "json")
    assert result.exit_code == 3
    steps = [finding["step"] for finding in json.loads(result.stdout)["findings"]]
    assert steps == ["settings", "dns", "tcp", "backup", "dead letters"]


@pytest.fixture
def cluster(environment, monkeypatch):
    """The platform is on a cluster: what kubectl is asked, and pods that are as it makes them."""
    asked = []
    environment.name = "kubernetes"

    def kubectl(*command, text="", timeout_s=0):
        asked.append(command)
        if command[0] == "exec":
            told = {"exitcode": 7, "http_code": 0, "errormsg": "Connection refused"}
            return CompletedProcess(command, 7, json.dumps(told), "")
        if command[:2] == ("set", "env"):
            settings = dict(word.split("=") for word in command[3:])
            for name, has in environment.recorded.replicas.items():
                if command[2] == DEPLOYMENTS[name.partition("-")[0]]:
                    has.update(settings)
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(incident, "_kubectl", kubectl)
    return asked


DEPLOYMENTS = {
    "blue": "deployment/agent-workbench",
    "green": "deployment/agent-workbench-green",
}


def test_on_a_cluster_a_pod_asks_and_its_deployment_gets_the_file(environment, delivery, cluster):
    """By the runbook's own line, under the lock; a side that has the file is left alone."""
    environment.start("blue-1", AUDIT_FILE_ENABLED="false")
    environment.start("green-1", AUDIT_FILE_ENABLED="true")
    delivery(Recovery.recovered)
    result = run("--yes", "--output", "json", "--env", "kubernetes")
    assert result.exit_code == 1, result.output  # the pod cannot reach it
    steps = {one["step"]: one for one in json.loads(result.stdout)["findings"]}
    assert steps["tcp"]["detail"] == "127.0.0.1:1 from blue-1: Connection refused"
    assert steps["backup"]["status"] == "ok"
    asked, *changes, asked_again = cluster
    assert asked[:3] == asked_again[:3] == ("exec", "--stdin", "blue-1")
    blue = DEPLOYMENTS["blue"]
    path = "AUDIT_FILE_PATH=/var/log/mc-audit/events.log"
    assert changes == [
        ("set", "env", blue, "AUDIT_FILE_ENABLED=true", path),
        ("rollout", "status", blue, "--timeout=300s"),
    ]
    assert environment.calls == [("locked",)]
    assert "kubectl set env deployment/agent-workbench AUDIT_FILE_ENABLED- " in result.stderr


def test_on_a_cluster_that_refuses_nothing_is_called_enabled(
    environment, delivery, cluster, monkeypatch
):
    environment.start("blue-1", AUDIT_FILE_ENABLED="false")
    delivery(Recovery.failing)
    refused = CompletedProcess((), 1, "", "Error from server (Forbidden)")
    monkeypatch.setattr(incident, "_kubectl", lambda *_, **__: refused)
    result = run("--yes", "--output", "json", "--env", "kubernetes")
    steps = {one["step"]: one for one in json.loads(result.stdout)["findings"]}
    assert steps["tcp"]["status"] == "unknown"
    assert steps["backup"]["status"] == "failed"
    assert "Forbidden" in steps["backup"]["detail"]
