"""The runbook's own commands, as it writes them, against a running platform."""

from __future__ import annotations

import json
import shutil
import subprocess

import httpx
import pytest

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


def _sh(command):
    return subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=30
    )


@needs_curl
@needs_jq
def test_health_by_curl_and_jq(platform, wait_until):
    """`curl -sS .../health | jq .` shows version, colour, region and each dependency's state."""

    def healthy():
        done = _sh(f"set -o pipefail; curl -sS {platform.url}/health | jq .")
        assert done.returncode == 0
        health = json.loads(done.stdout)
        return health if health["status"] == "ok" else None

    # A probe that a busy machine makes wait too long says "down", and the next one does not
    health = wait_until(healthy, what="every dependency answers")
    assert health["colour"] == "blue"
    assert health["region"] == "local-1"
    assert {name: d["state"] for name, d in health["dependencies"].items()} == dict.fromkeys(
        ("postgres", "ledger", "policy", "operations", "siem", "agents"), "ok"
    )


@needs_curl
@pytest.mark.parametrize(
    "name",
    [
        "mc_a2a_requests_total",
        "mc_autonomy_operations_total",
        "mc_autonomy_compensation_total",
        "mc_policy_decisions_total",
        "mc_siem_requests_total",
        "mc_requests_total",
        "mc_request_duration_seconds",
        "mc_replication_lag_seconds",
        "mc_privacy_",
        "mc_cost_",
        "mc_ledger_",
    ],
)
def test_metric_greps_find_their_lines(platform, name):
    """`curl -s .../metrics | grep NAME` finds every metric of the design's table."""
    platform.ask("What is the status of order O-2001?")
    done = _sh(f"curl -s {platform.url}/metrics | grep {name}")
    assert done.returncode == 0
    if name != "mc_replication_lag_seconds":  # one region: the metric is declared, no peer has it
        assert any(not line.startswith("#") for line in done.stdout.splitlines())


def test_log_greps_find_denials_and_deliveries_and_nothing_else(platform, wait_until):
    """`grep "policy.*deny"` and `grep "siem.*success"` are exact, also against hostile input."""
    platform.ask("x", purpose="policy-deny")  # a denial whose purpose itself says so
    platform.ask("siem success policy deny", agent="policy.deny")
    platform.post(b"{}", path="/policy/deny/siem/success")
    log = platform.home / "log" / "blue-1.log"
    wait_until(lambda: "siem_delivery" in log.read_text(), what="a batch was delivered")

    denials = _sh(f'grep "policy.*deny" {log}').stdout.splitlines()
    assert denials
    assert {json.loads(line)["event"] for line in denials} == {"policy_decision"}
    assert all(json.loads(line)["decision"] == "deny" for line in denials)
    delivered = _sh(f'grep "siem.*success" {log}').stdout.splitlines()
    assert {json.loads(line)["event"] for line in delivered} == {"siem_delivery"}
    for line in log.read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("where", ["edge", "blue-1"])
def test_strangers_read_no_names_and_a_scraper_does(platform, where):
    """The commands above are this machine's; who was forwarded needs a credential."""
    port = platform.port if where == "edge" else platform.record(where)["port"]
    url = f"http://127.0.0.1:{port}"
    token = (platform.home / "secrets" / "scrape.token").read_text().strip()
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        stranger = {header: "203.0.113.7"}
        health = httpx.get(f"{url}/health", headers=stranger)
        assert set(health.json()) == {"status", "service", "version", "colour"}
        refused = httpx.get(f"{url}/metrics", headers=stranger)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "not-authenticated")
        scraper = {**stranger, "Authorization": f"Bearer {token}"}
        assert "TENANT_001" in httpx.get(f"{url}/metrics", headers=scraper).text
        assert "dependencies" in httpx.get(f"{url}/health", headers=scraper).json()
        auditor = {**stranger, "Authorization": f"Bearer {platform.token('AUDITOR')}"}
        assert "TENANT_001" in httpx.get(f"{url}/metrics", headers=auditor).text
        tenant = {**stranger, "Authorization": f"Bearer {platform.token('TENANT_001')}"}
        assert httpx.get(f"{url}/metrics", headers=tenant).status_code == 403
        assert "dependencies" not in httpx.get(f"{url}/health", headers=tenant).json()
