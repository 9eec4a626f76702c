"""An operator's day with the local environment: real processes, a fake workbench behind them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.children import child

from mc_ops.environments import BASELINE, Colour, LogFilter, State, UpRequest, credentials
from mc_ops.environments.faults import Faults
from mc_ops.environments.local import edge_control, health, keyring, start
from mc_ops.environments.local.environment import LocalEnvironment
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.service_client import ServiceClient

TESTS = Path(__file__).parents[1]
FAKE = TESTS / "unit" / "mc_ops" / "environments" / "fake_workbench.py"
SILENT = r"does not answer|stands still \(SIGSTOP\)"  # what is stopped, as it is told
WEBHOOK = "http://127.0.0.1:9/hook"
MCCTL = TESTS / "cli" / "mcctl_with_fake_workbench.py"


def _clear(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MC_", "AUDIT_")):
            monkeypatch.delenv(name)


def _new(home: Path, edge_port: int) -> LocalEnvironment:
    layout = Layout(home=home, edge_port=edge_port)
    return LocalEnvironment(layout, service=(sys.executable, str(FAKE)))


@pytest.fixture
def platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_ports: int
) -> Iterator[LocalEnvironment]:
    """A platform of the test's own, not started; whatever runs at the end is stopped."""
    _clear(monkeypatch)
    environment = _new(tmp_path / "mc", free_ports)
    yield environment
    environment.down()
    environment.purge()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    free_port_block: Callable[[], AbstractContextManager[int]],
) -> Iterator[LocalEnvironment]:
    """A running platform for the tests that only look at it."""
    with pytest.MonkeyPatch.context() as monkeypatch, free_port_block() as port:
        _clear(monkeypatch)
        monkeypatch.setenv("SLACK_WEBHOOK_URL", WEBHOOK)
        environment = _new(tmp_path_factory.mktemp("running") / "mc", port)
        environment.up(UpRequest())
        yield environment
        environment.down()
        environment.purge()


def states(environment: LocalEnvironment) -> dict[str, State]:
    """State of each process by name."""
    return {p.name: p.state for p in environment.status().processes}


def test_up_cut_over_and_down(platform: LocalEnvironment) -> None:
    """Start, start again, scale, cut over and back, stop: each does what it says."""
    said: list[str] = []
    found = platform.up(UpRequest(green=True, faults={Colour.green: Faults(slow_factor=2)}))
    assert {p.state for p in found.processes} == {State.running}
    assert {p.health for p in found.processes} == {"ok"}
    assert {p.name: p.faults for p in found.processes if p.faults} == {"green-1": "slow=2"}
    assert found.active_colour is Colour.blue
    with ServiceClient(platform.url) as service:
        assert service.health().colour == "blue"

    pids = {p.name: p.pid for p in found.processes}
    platform.up(UpRequest(), said.append)
    assert said == ["everything was already running"]
    assert {p.name: p.pid for p in platform.status().processes} == pids

    platform.scale(Colour.green, 2)
    ready = platform.wait_ready(Colour.green, 30)
    assert [instance.name for instance in ready] == ["green-1", "green-2"]
    with pytest.raises(Finding, match="green runs with faults slow=2; nothing was changed"):
        platform.switch(Colour.green)
    assert platform.active_colour() is Colour.blue
    switch = platform.switch(Colour.green, allow_faults=True)
    assert (switch.source, switch.target, switch.changed) == (Colour.blue, Colour.green, True)
    assert not platform.switch(Colour.green).changed
    with ServiceClient(platform.url) as service:
        assert service.health().faults == {"slow_factor": 2}
    platform.scale(Colour.green, 1)
    platform.scale(Colour.blue, 2)
    assert [i.name for i in platform.instances(Colour.green)] == ["green-1"]
    with pytest.raises(UnusableInput, match="nobody would"):
        platform.scale(Colour.green, 0)
    platform.wait_ready(Colour.blue, 30)
    assert platform.switch(Colour.blue).source is Colour.green

    platform.up(UpRequest(green=True), said.append)
    assert "restarting green-1: faults were slow=2, asked for none" in said
    assert platform.down()
    assert set(states(platform).values()) == {State.stopped}
    assert not platform.down()
    platform.up(UpRequest())
    assert [i.name for i in platform.instances(Colour.blue)] == ["blue-1", "blue-2"]


def test_a_fresh_baseline_is_what_serves_and_serves_nobody(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a candidate: as many, as fresh, with the code and settings of those that serve."""
    monkeypatch.setenv("MC_REGION", "then")
    platform.up(UpRequest(faults={Colour.blue: Faults(slow_factor=2)}))
    monkeypatch.setenv("MC_REGION", "now")
    said: list[str] = []
    platform.scale(Colour.green, 2, said.append, restart=True, baseline=True)
    assert [line.split()[1] for line in said if line.startswith("starting")] == [
        "green-1", "baseline-1", "green-2", "baseline-2",
    ]  # fmt: skip
    fresh = platform.wait_ready(BASELINE, 30)
    platform.wait_ready(Colour.green, 30)
    assert [instance.name for instance in fresh] == ["baseline-1", "baseline-2"]
    for instance in fresh:
        with ServiceClient(instance.url) as service:
            health = service.health()
        assert (health.colour, health.region, health.faults) == ("blue", "then", {"slow_factor": 2})
    route = json.loads((platform.layout.home / "edge.json").read_text())
    assert not any(instance.url in json.dumps(route) for instance in fresh)
    started = [
        psutil.Process(process.pid or 0).environ()["PYTHONPATH"]
        for process in platform.status().processes
        if process.name in ("blue-1", "green-1", "baseline-1", "baseline-2")
    ]
    assert len(started) == 4
    assert len(set(started)) == 1

    before = {p.name: p.pid for p in platform.status().processes}
    platform.scale(Colour.green, 1, restart=True, baseline=True)
    after = {p.name: p.pid for p in platform.status().processes}
    assert "baseline-2" not in after
    assert after["baseline-1"] != before["baseline-1"]
    assert after["blue-1"] == before["blue-1"]

    psutil.Process(after["baseline-1"] or 0).kill()
    with pytest.raises(CouldNotTell, match="baseline-1 died"):
        platform.wait_ready(BASELINE, 30)
    monkeypatch.setenv("MC_REGION", "then")
    platform.up(UpRequest(faults={Colour.blue: Faults(slow_factor=2)}))
    assert not any(name.startswith("baseline") for name in states(platform))
    assert not platform.stop_baseline()
    platform.scale(Colour.green, 1, restart=True, baseline=True)
    assert platform.stop_baseline()
    assert platform.instances(BASELINE) == ()
    for refused in ({"restart": False}, {"restart": True, "replicas": 0}):
        with pytest.raises(UnusableInput, match="as fresh"):
            platform.scale(Colour.green, **{"replicas": 1, "baseline": True, **refused})


def test_changed_settings_are_told_and_met_on_request(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs keeps its settings until it is restarted; `up` says so, and by what names."""
    pids = {p.name: p.pid for p in platform.up(UpRequest(green=True)).processes}

    def refused(request: UpRequest) -> str:
        with pytest.raises(UnusableInput, match="other settings") as error:
            platform.up(request)
        assert {p.name: p.pid for p in platform.status().processes} == pids
        return error.value.message

    monkeypatch.setenv("MC_RATE_LIMIT_PER_S", "5")
    monkeypatch.setenv("MC_CONNECTIONS", "99")
    monkeypatch.setenv("AUDIT_SIEM_KEY", "sesame")
    monkeypatch.setenv("AUDIT_SIEM_URL", "http://127.0.0.1:9/sesame")
    monkeypatch.setenv("MC_CANARY_TOKEN", "sesame")  # is mcctl's own
    told = refused(UpRequest(green=True))
    assert "MC_RATE_LIMIT_PER_S (unset, now 5)" in told
    assert "AUDIT_SIEM_KEY, AUDIT_SIEM_URL" in told
    assert "edge: MC_CONNECTIONS (unset, now 99)" in told
    assert "green-1: " in told
    assert "green-1: " not in refused(UpRequest())
    assert "sesame" not in told
    assert "MC_CANARY_TOKEN" not in told
    for name in ("MC_RATE_LIMIT_PER_S", "MC_CONNECTIONS", "AUDIT_SIEM_KEY", "AUDIT_SIEM_URL"):
        monkeypatch.delenv(name)
    platform.scale(Colour.blue, 3)
    monkeypatch.setenv("MC_RATE_LIMIT_PER_S", "6")  # no colour gets a mixture
    with pytest.raises(UnusableInput, match=r"blue-1: MC_RATE_LIMIT_PER_S \(unset, now 6\)"):
        platform.scale(Colour.blue, 4)
    platform.scale(Colour.blue, 3)
    monkeypatch.delenv("MC_RATE_LIMIT_PER_S")
    with pytest.raises(UnusableInput, match="2 of blue asked for, and blue-3 runs as well"):
        platform.up(UpRequest(replicas=2))
    monkeypatch.setenv("MC_RATE_LIMIT_PER_S", "5")
    said: list[str] = []
    found = platform.up(UpRequest(restart=True), said.append)
    changed = {p.name for p in found.processes if p.pid != pids.get(p.name)}
    assert changed == {"blue-1", "blue-2", "blue-3"}
    assert any("MC_RATE_LIMIT_PER_S (unset, now 5)" in line for line in said)
    platform.up(UpRequest(), said.append)
    assert said[-1] == "everything was already running"


def test_what_serves_is_not_stopped_for_settings_that_nothing_could_begin_with(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up --restart` and `scale --restart` ask the service first; what ran goes on."""
    before = {p.name: p.pid for p in platform.up(UpRequest(green=True)).processes}
    monkeypatch.setenv("MC_FAKE_UNUSABLE", "1")
    for act in (
        lambda: platform.up(UpRequest(green=True, restart=True)),
        lambda: platform.scale(Colour.green, 1, restart=True),
    ):
        with pytest.raises(UnusableInput, match="MC_FAKE_UNUSABLE is unknown") as refused:
            act()
        assert "nothing was stopped" in refused.value.hint
        assert {p.name: p.pid for p in platform.status().processes} == before


def test_scale_says_ok_when_what_it_started_serves(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers and cannot serve, or dies, is told with its log, and is not left behind."""
    platform.up(UpRequest())
    platform.scale(Colour.blue, 2)
    control = platform.layout.control_socket()
    assert platform.layout.url_of("blue-2") in edge_control.ready(control)
    monkeypatch.setattr(start, "_START_TIMEOUT_S", 3.0)
    for how, told in (("SICK", "green-1 not ready after 3 s"), ("DIES", "green-1 ended with")):
        monkeypatch.setenv(f"MC_FAKE_{how}", "green")
        with pytest.raises(CouldNotTell, match=told) as error:
            platform.scale(Colour.green, 1)
        assert str(platform.layout.log_of("green-1")) in error.value.hint
        assert platform.instances(Colour.green) == ()
        route = edge_control.read_state(platform.layout.home / "edge.json")
        assert route is not None
        assert route.replicas[Colour.green] == ()
        monkeypatch.delenv(f"MC_FAKE_{how}")
    for wrong in (-1, 20, 10**9):
        with pytest.raises(UnusableInput, match="expected 0 to 19"):
            platform.scale(Colour.green, wrong)
    os.kill(next(p.pid or 0 for p in platform.status().processes if p.name == "blue-1"), 19)
    monkeypatch.setattr(health, "PATIENCE_S", 1.0)
    with pytest.raises(CouldNotTell, match=rf"running but ({SILENT}): blue-1"):
        platform.scale(Colour.blue, 2)


def test_what_runs_and_does_not_answer_is_not_ready(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped replica, database or edge is named by `up`, and shown by `status`."""
    pids = {p.name: p.pid for p in platform.up(UpRequest(green=True)).processes}
    for name in ("green-1", "postgres", "edge"):
        os.kill(pids[name] or 0, signal.SIGSTOP)
        try:
            # Impatient with the stopped one alone; what runs has the time that a slow machine needs
            with monkeypatch.context() as impatient:
                impatient.setattr(health, "PATIENCE_S", 0.1)
                impatient.setattr(health, "_TIMEOUT_S", 2.0)
                impatient.setattr("mc_ops.environments.local.edge_control._TIMEOUT_S", 2.0)
                with pytest.raises(CouldNotTell, match=rf"running but ({SILENT}): {name}"):
                    platform.up(UpRequest())
                shown = {p.name: p.health for p in platform.status().processes}
            assert re.fullmatch(SILENT, shown[name])
        finally:
            os.kill(pids[name] or 0, signal.SIGCONT)
    assert platform.up(UpRequest()).dead == ()


def test_a_hanging_replica_makes_status_fail(platform: LocalEnvironment) -> None:
    """`mcctl status` warns of it by name and exits 1, though its process lives."""
    pids = {p.name: p.pid for p in platform.up(UpRequest()).processes}
    env = {**os.environ, "MC_HOME": str(platform.layout.home), "NO_COLOR": "1"}
    argv = [sys.executable, str(MCCTL), "status"]
    assert subprocess.run(argv, env=env, check=False, capture_output=True).returncode == 0
    os.kill(pids["siem"] or 0, signal.SIGSTOP)
    try:
        result = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    finally:
        os.kill(pids["siem"] or 0, signal.SIGCONT)
    assert result.returncode == 1
    assert re.search(rf"running but ({SILENT}): siem", result.stderr)


def test_another_port_than_the_platforms_is_refused(platform: LocalEnvironment) -> None:
    """While it runs, its ports are its own; what only looks or stops uses those."""
    platform.up(UpRequest())
    port = platform.layout.edge_port
    other = replace(platform.layout, edge_port=port + 100)
    stranger = LocalEnvironment(other, service=(sys.executable, str(FAKE)))
    for attempt in (
        lambda: stranger.up(UpRequest()),
        lambda: stranger.scale(Colour.blue, 2),
    ):
        with pytest.raises(UnusableInput, match=f"this platform runs on {port}") as caught:
            attempt()
        assert f"MC_EDGE_PORT={port}" in caught.value.hint
    assert stranger.url == platform.url
    assert stranger.wait_ready(Colour.blue, 5) == platform.instances(Colour.blue)
    assert {p.health for p in stranger.status().processes} == {"ok"}
    assert Layout.from_env({"MC_HOME": str(other.home)}) == platform.layout
    assert stranger.down()
    assert _strays(platform.layout) == []


def test_damaged_records_are_told_and_mended(platform: LocalEnvironment) -> None:
    """Their processes are recognised: `status` shows them, `up` keeps them, `down` stops them."""
    before = {p.name: p.pid for p in platform.up(UpRequest()).processes}
    run = platform.layout.home / "run"
    for path in run.glob("*.json"):
        path.write_text("{")
    found = platform.status().processes
    assert {p.name: p.pid for p in found} == before
    assert {p.health for p in found} == {"damaged record"}
    assert {p.name: p.pid for p in platform.up(UpRequest()).processes} == before
    for path in run.glob("*.json"):
        path.write_text("{")
    (run / "green-1.json").write_text("{")
    said: list[str] = []
    assert platform.down(said.append)
    assert _strays(platform.layout) == []
    assert list(run.glob("*.json")) == []
    assert any("green-1 was damaged and is removed; no process" in text for text in said)


def test_a_damaged_route_does_not_ask_for_a_purge(platform: LocalEnvironment) -> None:
    """The edge's state can be removed; the ledger and the keys need not go with it."""
    platform.layout.prepare()
    (platform.layout.home / "edge.json").write_text("{")
    with pytest.raises(CouldNotTell, match=r"edge\.json") as caught:
        platform.status()
    assert caught.value.hint.startswith("remove it, then `mcctl up`")


def test_a_wrong_database_is_told_by_the_name_that_was_set(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user set MC_DATABASE_URL; what `migrate` calls it is not shown."""
    url = f"postgresql://admin:secret@127.0.0.1:{platform.layout.edge_port + 5}/postgres"
    monkeypatch.setenv("MC_DATABASE_URL", url)
    external = LocalEnvironment(platform.layout, service=(sys.executable, str(FAKE)))
    with pytest.raises(UnusableInput, match="refuses MC_DATABASE_URL") as caught:
        external.up(UpRequest())
    assert "ADMIN" not in caught.value.message + caught.value.hint
    assert "secret" not in caught.value.message


def test_dead_processes_are_seen_and_restarted(platform: LocalEnvironment) -> None:
    """kill -9 of the database, a replica and the edge: all seen dead, all back after `up`."""
    first = platform.up(UpRequest(green=True))
    platform.switch(Colour.green)
    pids = {p.name: p.pid for p in first.processes}
    victims = ("postgres", "green-1", "edge", "fulfilment-agent")
    for name in victims:
        os.kill(pids[name] or 0, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while {p.name for p in platform.status().dead} != set(victims):
        assert time.monotonic() < deadline
    with pytest.raises(CouldNotTell, match="the edge is not running"):
        platform.switch(Colour.blue)
    with pytest.raises(CouldNotTell, match="green-1 died"):
        platform.wait_ready(Colour.green, 5)
    again = platform.up(UpRequest())
    assert again.active_colour is Colour.green
    assert {p.state for p in again.processes} == {State.running}
    assert {p.name for p in again.processes if p.pid != pids[p.name]} == set(victims)


def test_a_candidate_that_does_not_run_gets_no_traffic(running: LocalEnvironment) -> None:
    """Cutting over to nobody is refused and changes nothing."""
    with pytest.raises(Finding, match="no replica of green runs; nothing was changed"):
        running.switch(Colour.green)
    assert running.active_colour() is Colour.blue


def test_a_child_that_dies_undoes_the_start(
    platform: LocalEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit and last words are told, and nothing that this call started is left."""
    monkeypatch.setenv("MC_FAKE_DIES", "blue")
    with pytest.raises(CouldNotTell, match=r"blue-1 ended with status 7") as caught:
        platform.up(UpRequest())
    assert "blue-1 | I was told to die" in caught.value.message
    assert set(states(platform).values()) == {State.stopped}
    assert _strays(platform.layout) == []


def test_neighbours_get_no_secret_of_the_service(running: LocalEnvironment) -> None:
    """No process's arguments hold a secret, and only the service's environment does."""
    found = running.status()
    secrets = [running.layout.siem_key(), keyring.superuser_password(running.layout)]
    secrets += [credentials.tenant_token(running.layout, tenant) for tenant in keyring.TENANTS]
    secrets.append(WEBHOOK)
    for process in found.processes:
        child = psutil.Process(process.pid)
        assert not any(secret in " ".join(child.cmdline()) for secret in secrets)
        if process.name != "blue-1":
            assert not any(secret in str(child.environ()) for secret in secrets)
    for log in (running.layout.home / "log").iterdir():
        assert not any(secret in log.read_text() for secret in secrets)


def test_records_agent_is_an_a2a_server(running: LocalEnvironment) -> None:
    """The running agent answers our own client, too."""
    with ServiceClient(running.layout.url_of("records-agent")) as agent:
        reply = agent.send_message("What is the status of order O-2001?")
    assert reply.text == "Order O-2001 is shipped, expected 2026-12-01."


def test_interrupted_start_leaves_nothing(platform: LocalEnvironment) -> None:
    """Ctrl-C while it starts, and in --foreground once it runs: exit 5, no process left."""
    layout = platform.layout
    env = {
        **os.environ,
        "MC_HOME": str(layout.home),
        "MC_EDGE_PORT": str(layout.edge_port),
        "PYTHONUNBUFFERED": "1",
    }
    for number, sign in ((signal.SIGINT, "starting siem"), (signal.SIGTERM, "starting blue-1"),
                         (signal.SIGHUP, "starting blue-1"), (signal.SIGHUP, "following the logs"),
                         (signal.SIGINT, "following the logs")):  # fmt: skip
        argv = [sys.executable, str(MCCTL), "up", "--foreground"]
        with child(argv, env=env, stderr=subprocess.PIPE, text=True) as started:
            assert started.stderr
            seen = next((line for line in started.stderr if sign in line), None)
            assert seen, f"{sign!r} was never said"
            started.send_signal(number)
            rest = started.stderr.read()
        assert started.returncode == 5, rest
        assert _strays(layout) == []
        assert list((layout.home / "run").glob("*.json")) == []


def test_two_starts_at_once_make_one_platform(platform: LocalEnvironment) -> None:
    """The second waits for the first and finds everything there."""
    layout = platform.layout
    env = {**os.environ, "MC_HOME": str(layout.home), "MC_EDGE_PORT": str(layout.edge_port)}
    argv = [sys.executable, str(MCCTL), "up"]
    children = [
        subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]  # fmt: skip
    said = [child.communicate(timeout=200)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert sum("starting postgres" in text for text in said) == 1
    assert set(states(platform).values()) == {State.running}


def test_purge_removes_what_is_ours_and_nothing_else(platform: LocalEnvironment) -> None:
    """A stranger's file in the home survives; without one the home goes, too."""
    platform.layout.prepare()
    keyring.prepare_secrets(platform.layout)
    foreign = platform.layout.home / "thesis.txt"
    foreign.write_text("not ours")
    platform.purge()
    assert [p.name for p in platform.layout.home.iterdir()] == ["thesis.txt"]
    foreign.unlink()
    platform.purge()
    assert not platform.layout.home.exists()


def test_logs_are_read_and_followed(running: LocalEnvironment) -> None:
    """The last lines of a log by its name, then each new one as it comes."""
    assert any("edge_listens" in line.text for line in running.logs(["edge"]))
    log = running.layout.log_of("siem")
    follow = running.logs(["siem"], LogFilter(lines=1, follow=True))
    last = next(follow)
    with log.open("a") as file:
        file.write("a new line\n")
    assert json.loads(next(follow).text) == {"event": "output", "text": "a new line"}
    assert last.name == "siem"
    follow.close()  # type: ignore[attr-defined]  # a generator, behind the interface's Iterator


def test_records_hold_no_more_than_they_say(running: LocalEnvironment) -> None:
    """A process record has exactly the agreed fields."""
    record = json.loads((running.layout.home / "run" / "blue-1.json").read_text())
    assert set(record) == {
        "name", "pid", "create_time", "port", "argv", "started_at", "stop_signal", "settings",
        "log_offset",
    }  # fmt: skip


def _strays(layout: Layout) -> list[str]:
    """Processes that still belong to the platform's home or ports."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            mine = process.environ().get("MC_HOME") == str(layout.home)
            if mine or str(layout.home) in " ".join(process.cmdline()):
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.Error:
            continue
    return found
