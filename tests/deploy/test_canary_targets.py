"""The canary's metrics, by the settings that `mcctl prometheus write` makes and a real Prometheus."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from tests.fake_replica import replica
from tests.recording_environment import Recorded, RecordingEnvironment

from mc_ops.canary import metrics
from mc_ops.canary.metrics_run import RunMetrics
from mc_ops.environments import monitoring
from mc_ops.environments.local import keyring
from mc_ops.environments.local.layout import Layout
from mc_ops.service_client import PrometheusClient

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus is not installed"
)
# What Prometheus takes for patterns and escapes in the paths of rules and targets
FOLDER = "ops [eu] {a,b}? *star* back\\slash"
RULES = """
[[metric]]
name = "cpu"
query = 'sum(process_cpu_seconds_total{$side})'
direction = "increase"
allowed_change = { relative = 0.2 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of such a name, with a checkout's `deploy/` in it."""
    made = tmp_path / FOLDER
    made.mkdir()
    (made / "deploy").symlink_to(Path(__file__).parents[2] / "deploy")
    monkeypatch.setattr(monitoring, "checkout", lambda: made)
    return made


def test_both_sides_are_found_by_their_urls(folder: Path, free_ports: int, wait_until) -> None:
    """A candidate and a fresh baseline that came later; rules and targets lie in a folder of any name."""
    layout = Layout(home=folder / "home", edge_port=free_ports)
    layout.prepare()
    keyring.prepare_secrets(layout)
    with replica("blue-1") as blue, replica("green-1") as green, replica("baseline-1") as base:
        urls = {"blue-1": blue.url, "green-1": green.url, "baseline-1": base.url}
        recorded = Recorded(home=layout.home, replicas={"blue-1": {}}, urls=urls)
        environment = RecordingEnvironment(recorded)
        address = f"127.0.0.1:{free_ports}"
        written = monitoring.write(environment, prometheus=address)
        path = written.folder / "prometheus.yml"
        settings = yaml.safe_load(path.read_text())
        settings["global"] |= {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
        [job] = settings["scrape_configs"]
        job["file_sd_configs"][0]["refresh_interval"] = "1s"
        path.write_text(yaml.safe_dump(settings))
        recorded.replicas |= {"green-1": {}, "baseline-1": {}}
        monitoring.refresh(environment)
        process = subprocess.Popen(
            written.commands[0], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(
                lambda: min(made.scraped for made in (blue, green, base)) > 2, what="scrapes"
            )
            with PrometheusClient(f"http://{address}") as client:
                rules = httpx.get(f"http://{address}/api/v1/rules").json()["data"]["groups"]
                assert len(rules) > 5
                sides = [metrics.find_selector(client, [one.url]) for one in (base, green)]
                assert sides == [f'address="{one.url[7:]}"' for one in (base, green)]
                (folder / "rules.toml").write_text(RULES)
                run = RunMetrics(
                    metrics.read_config(folder / "rules.toml"),
                    metrics.make_selectors(*sides),
                    client,
                )
                assert run.without_target() == []
                [row] = run.points(10)
                assert min(row["points"].values()) > 0
                [found] = client.query(f"up{{{sides[0]}}}")
                assert (found.labels["instance"], found.labels["colour"]) == (
                    "baseline-1",
                    "baseline",
                )
                other = metrics.make_selectors(
                    metrics.find_selector(client, ["http://127.0.0.1:1"]), 'colour="nobody"'
                )
                assert other.baseline == 'instance="127.0.0.1:1"'
                nobody = RunMetrics(run.config, other, client)
                assert ["--baseline-selector" in text for text in nobody.without_target()] == [
                    True,
                    False,
                ]
        finally:
            process.terminate()
            process.wait(10)
