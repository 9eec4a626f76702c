"""The lag's alert and its twin, as a real Prometheus evaluates them over a region whose link is cut for real."""

from __future__ import annotations

import math
import re
import signal
from pathlib import Path

import httpx
import pytest
from tests.real_prometheus import NEEDED, prometheus, scraping
from tests.regions.conftest import ROOT

from mc_ops.service_client import PrometheusClient

pytestmark = [pytest.mark.slow, NEEDED]
LAG = 'mc_replication_lag_seconds{peer="b-1"}'
# The rules as they are delivered, in seconds for minutes: each of these must be in them
SHORTER = {
    "[2m])) > 120": "[2s])) > 4",
    "for: 10m": "for: 2s",
    "mc_replication_lag_seconds[5m]": "mc_replication_lag_seconds[4s]",
}


def _rules(folder: Path) -> Path:
    text = (ROOT / "deploy/prometheus/rules/guardrails.rules.yml").read_text()
    [text] = re.findall(
        r"^  - name: mc-replication$.*?(?=^  - name: |\Z)", text, re.DOTALL | re.MULTILINE
    )
    for told, shorter in SHORTER.items():
        assert told in text
        text = text.replace(told, shorter)
    made = folder / "replication.rules.yml"
    made.write_text("groups:\n" + text)
    return made


@pytest.fixture
def watcher(replicated_regions, tmp_path, free_ports, wait_until):
    """Scrapes region a-1 twice a second."""
    a = replicated_regions.a
    settings = scraping({"agent-workbench": [a.url]}, every="500ms")
    settings["scrape_configs"][0]["authorization"] = {"credentials": a.tokens["OPERATOR"]}
    settings["rule_files"] = [str(_rules(tmp_path))]
    with prometheus(tmp_path, f"127.0.0.1:{free_ports}", settings) as url:
        wait_until(lambda: _answers(f"{url}/-/ready"), what="Prometheus is ready")
        yield PrometheusClient(url)


def _answers(url):
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _lag(watcher):
    """NaN, which is neither more nor less than anything, while it is not scraped."""
    return max((sample.value for sample in watcher.query(LAG)), default=math.nan)


def _firing(watcher):
    return {
        (alert["labels"]["alertname"], alert["labels"]["peer"])
        for alert in watcher.alerts()
        if alert["state"] == "firing"
    }


def test_a_cut_link_fires_the_lags_alert_and_a_silent_replica_its_twin(
    replicated_regions, watcher, wait_until
):
    """Both resolve: the one when the link carries again, the other when the replica is scraped again."""
    a, link = replicated_regions.a, replicated_regions.links["b-1"]
    wait_until(lambda: _lag(watcher) < 2, what="no lag is scraped")
    link.cut()
    wait_until(lambda: _lag(watcher) > 2, what="the lag grows")
    seen = _lag(watcher)
    wait_until(lambda: _lag(watcher) > seen + 2, what="and grows")
    wait_until(lambda: _firing(watcher) == {("ReplicationLagHigh", "b-1")}, what="it fires")
    link.mend()
    wait_until(lambda: _firing(watcher) == set(), what="it resolves")
    wait_until(lambda: _lag(watcher) < 2, what="no lag is scraped again")
    a.signal(signal.SIGSTOP)
    try:
        twin = {("ReplicationLagMissing", "b-1")}
        wait_until(lambda: _firing(watcher) == twin, what="the twin fires")
    finally:
        a.signal(signal.SIGCONT)
    wait_until(lambda: _firing(watcher) == set(), what="the twin resolves")
