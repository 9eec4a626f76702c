"""The settings that a local Prometheus and Alertmanager get: what fits this platform, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.recording_environment import Recorded, RecordingEnvironment

from mc_ops.environments import credentials, monitoring
from mc_ops.environments.local import keyring
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, UnusableInput


@pytest.fixture
def recorded(layout: Layout) -> Recorded:
    """Three replicas, where a local platform would have them; nothing is started."""
    keyring.prepare_secrets(layout)
    urls = {name: layout.url_of(name) for name in ("blue-1", "blue-2", "green-1")}
    return Recorded(home=layout.home, replicas={name: {} for name in urls}, urls=urls)


@pytest.fixture
def environment(recorded: Recorded) -> RecordingEnvironment:
    return RecordingEnvironment(recorded)


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def test_targets_are_the_replicas_that_run(
    environment: RecordingEnvironment, recorded: Recorded, layout: Layout
) -> None:
    """Of both colours, each by its name; written anew after a scale-down, those that stay."""
    written = monitoring.write(environment)
    port = layout.edge_port
    assert written.targets == {
        "blue-1": f"127.0.0.1:{port + 21}",
        "blue-2": f"127.0.0.1:{port + 22}",
        "green-1": f"127.0.0.1:{port + 41}",
    }
    targets = json.loads((written.folder / "targets.json").read_text())
    assert targets[2] == {
        "targets": [f"127.0.0.1:{port + 41}"],
        "labels": {"instance": "green-1", "colour": "green"},
    }
    del recorded.replicas["blue-2"], recorded.replicas["green-1"]
    recorded.replicas["baseline-1"] = {}
    monitoring.refresh(environment)
    targets = json.loads((written.folder / "targets.json").read_text())
    assert [one["labels"] for one in targets] == [
        {"instance": "blue-1", "colour": "blue"},
        {"instance": "baseline-1", "colour": "baseline"},
    ]


def test_nothing_is_refreshed_that_nobody_has_written(environment: RecordingEnvironment) -> None:
    """Who watches from elsewhere, or not at all, gets no files by `mcctl scale`."""
    monitoring.refresh(environment)
    assert not any((environment.workspace.home / "monitoring").glob("*"))


def test_paths_and_addresses_fit_this_machine(
    environment: RecordingEnvironment, tmp_path: Path
) -> None:
    """The rules are the checkout's, Prometheus knows Alertmanager, and that knows the edge."""
    out = tmp_path / "deep" / "watch"
    written = monitoring.write(environment, folder=out, alertmanager="127.0.0.1:9999")
    settings = read(out / "prometheus.yml")
    [pattern] = settings["rule_files"]
    assert len(list(Path(pattern).parent.glob(Path(pattern).name))) == 5
    assert settings["alerting"]["alertmanagers"][0]["static_configs"] == [
        {"targets": ["127.0.0.1:9999"]}
    ]
    assert settings["scrape_configs"][0]["file_sd_configs"][0]["files"] == [
        str(out / "targets.json")
    ]
    receivers = {one["name"]: one for one in read(out / "alertmanager.yml")["receivers"]}
    assert receivers["page"] == {"name": "page"}
    assert receivers["ticket"] == {"name": "ticket"}
    [webhook] = receivers["halt-autonomy"]["webhook_configs"]
    assert webhook["url"] == f"{environment.url}/operator/alertmanager"
    assert str(out / "prometheus.yml") in " ".join(written.commands[0])
    assert "--web.listen-address=127.0.0.1:9999" in written.commands[1]


def test_the_token_is_in_its_own_file_and_nowhere_else(environment: RecordingEnvironment) -> None:
    """Of the role that can halt and nothing more; for this user alone, and in no command line."""
    written = monitoring.write(environment)
    token = credentials.tenant_token(environment.workspace, "ALERTMANAGER")
    path = written.folder / "alertmanager.token"
    assert path.read_text().strip() == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert written.folder.stat().st_mode & 0o077 == 0
    assert token not in " ".join(word for command in written.commands for word in command)
    for name in ("targets.json", "prometheus.yml", "alertmanager.yml"):
        assert token not in (written.folder / name).read_text()


def test_purge_takes_it_away(environment: RecordingEnvironment) -> None:
    """The folder is the platform's own, so `mcctl down --purge` removes the token with it."""
    assert monitoring.write(environment).folder in environment.workspace.own_entries


@pytest.mark.parametrize("address", ["9090", "127.0.0.1:", "a b:1", "http://x:1", "x:1;rm", ""])
def test_what_is_no_address_is_refused(environment: RecordingEnvironment, address: str) -> None:
    """It would stand in a command that a person copies."""
    with pytest.raises(UnusableInput, match="is no address"):
        monitoring.write(environment, prometheus=address)
    with pytest.raises(UnusableInput, match="is no address"):
        monitoring.write(environment, alertmanager=address)


def test_nothing_is_written_for_a_platform_that_does_not_run(
    environment: RecordingEnvironment, recorded: Recorded
) -> None:
    """An empty list of targets would be a platform that is down, as far as Prometheus can see."""
    recorded.replicas.clear()
    with pytest.raises(CouldNotTell, match="no replica"):
        monitoring.write(environment)
    assert not any((environment.workspace.home / "monitoring").glob("*"))


def test_a_folder_that_cannot_be_made_is_told(
    environment: RecordingEnvironment, tmp_path: Path
) -> None:
    """A file in its place, for one."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CouldNotTell, match="cannot be written"):
        monitoring.write(environment, folder=tmp_path / "file")
