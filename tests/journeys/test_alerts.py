"""Real Prometheus and Alertmanager watch a real platform: they page, and they halt autonomy.

The rules are those that are delivered, with every duration 45 times shorter (tests/deploy/shorten.py
says exactly what that changes). Alertmanager has the delivered routes, made shorter by the same
factor; of its receivers the webhook to the platform is the real one, and `page` goes to a server of
this test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.deploy.dashboards import filled_queries
from tests.deploy.shorten import shorten_routes, shorten_rules

from mc_ops.service_client import PrometheusClient

FACTOR = 45.0
AGE = "max(mc_siem_backlog_age_seconds) > 30"
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
TENANT = "TENANT_001"
OPERATIONS, OF_THEM_UNDONE = 104, 6

_missing = [
    " or ".join(names)
    for names in (("prometheus",), ("alertmanager", "prometheus-alertmanager"))
    if not any(shutil.which(name) for name in names)
]
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(_missing), reason=f"not installed: {', '.join(_missing)}"),
]


class OnCall:
    """A server that takes pages, as the on-call tool's relay would."""

    def __init__(self) -> None:
        pages: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.pages = pages
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def told(self, name: str, status: str) -> list[dict[str, Any]]:
        """The alerts of that name and status that were paged."""
        return [
            alert
            for page in list(self.pages)
            for alert in page["alerts"]
            if (alert["labels"]["alertname"], alert["status"]) == (name, status)
        ]

    @contextmanager
    def listening(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


class Watch:
    """Prometheus and Alertmanager over one platform, as `mcctl prometheus write` sets them up."""

    def __init__(self, platform, port: int, folder: Path, page_url: str) -> None:
        self.prometheus_url = f"http://127.0.0.1:{port}"
        self.alertmanager_url = f"http://127.0.0.1:{port + 1}"
        self.folder = folder
        written = json.loads(
            platform.mcctl(
                *("prometheus", "write", "--out", str(folder), "-o", "json"),
                *("--prometheus", f"127.0.0.1:{port}"),
                *("--alertmanager", f"127.0.0.1:{port + 1}"),
            ).stdout
        )
        self.commands = written["commands"]
        self._hasten(page_url)

    def _hasten(self, page_url: str) -> None:
        rules = self.folder / "rules"
        rules.mkdir()
        for path in RULES.glob("*.rules.yml"):
            text = path.read_text()
            if path.name == "guardrails.rules.yml":  # an age is shortened like the durations
                assert AGE in text
                text = text.replace(AGE, AGE.replace("30", f"{30 / FACTOR:.2f}"))
            short = shorten_rules(yaml.safe_load(text), FACTOR)
            (rules / path.name).write_text(yaml.safe_dump(short))
        path = self.folder / "prometheus.yml"
        settings = yaml.safe_load(path.read_text())
        settings["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["rule_files"] = [str(rules / "*.rules.yml")]
        path.write_text(yaml.safe_dump(settings))
        path = self.folder / "alertmanager.yml"
        settings = shorten_routes(yaml.safe_load(path.read_text()), FACTOR)
        [page] = [one for one in settings["receivers"] if one["name"] == "page"]
        page["webhook_configs"] = [{"url": page_url, "send_resolved": True}]
        path.write_text(yaml.safe_dump(settings))

    @contextmanager
    def running(self, wait_until):
        with ExitStack() as stack:
            for command, url in zip(
                self.commands, (self.prometheus_url, self.alertmanager_url), strict=True
            ):
                log = stack.enter_context((self.folder / f"{command[0]}.log").open("wb"))
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
                stack.callback(_stop, process)
                wait_until(lambda url=url: _ready(url), what=f"{command[0]} is ready")
            yield self

    def firing(self) -> set[tuple[str, str]]:
        """The name and tenant of each alert that Alertmanager has."""
        alerts = httpx.get(f"{self.alertmanager_url}/api/v2/alerts").json()
        return {(one["labels"]["alertname"], one["labels"].get("tenant", "")) for one in alerts}


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _scope(platform, tenant: str) -> dict[str, Any]:
    told = platform.mcctl("autonomy", "status", "--tenant", tenant, "-o", "json").stdout
    return json.loads(told)["scopes"][0]


def _enact(platform) -> None:
    """A day's operations of a tenant, of which some are undone."""
    items = ["unbookable" if n < OF_THEM_UNDONE else "widget" for n in range(OPERATIONS)]
    with ThreadPoolExecutor(8) as pool:
        ends = pool.map(lambda item: platform.order(tenant=TENANT, item=item).governance, items)
    assert Counter(end["outcome"] for end in ends) == {
        "completed": OPERATIONS - OF_THEM_UNDONE,
        "compensated": OF_THEM_UNDONE,
    }


def test_a_broken_siem_pages_and_undone_operations_halt_their_tenant(
    start_platform, free_ports, tmp_path, wait_until
):
    """Nothing fires on a healthy platform; then each fault reaches who must act, and ends."""
    # Without its own breaker: what halts here can only have been the alert
    platform = start_platform(MC_BREAKER_ENABLED="false")
    on_call = OnCall()
    watch = Watch(platform, free_ports, tmp_path / "watch", on_call.url)
    with on_call.listening(), watch.running(wait_until):
        prometheus = PrometheusClient(watch.prometheus_url)
        wait_until(
            lambda: [s.value for s in prometheus.query('up{instance="blue-1"}')] == [1.0],
            what="the replica is scraped",
        )
        assert platform.ask("status of order O-2001", tenant="TENANT_002").status == 200
        wait_until(
            lambda: any(s.value == 1 for s in prometheus.query("mc:siem_delivery:ratio_rate15m")),
            what="a delivery is seen",
        )
        for title, query in filled_queries():
            try:
                prometheus.query(query)
            except Exception as error:
                raise AssertionError(f"{title}: {query}") from error
        assert watch.firing() == set()
        firing = [alert for alert in prometheus.alerts() if alert["state"] == "firing"]
        assert firing == []

        os.kill(platform.record("siem")["pid"], signal.SIGTERM)
        _enact(platform)

        wait_until(
            lambda: _scope(platform, TENANT)["halted"], within_s=120, what="the alert has halted"
        )
        switch = _scope(platform, TENANT)["switch"]
        assert switch["source"] == "alertmanager"
        assert switch["reason"].startswith("alert AutonomyCompensationHigh fires since ")
        assert not _scope(platform, "TENANT_002")["halted"]
        refused = platform.order(tenant=TENANT).body["error"]
        assert refused["data"][0]["reason"] == "AUTONOMY_HALTED"

        wait_until(
            lambda: on_call.told("SIEMSinkFailure", "firing"), within_s=120, what="a page was sent"
        )
        both = {("SIEMSinkFailure", ""), ("AutonomyCompensationHigh", TENANT)}
        wait_until(lambda: both <= watch.firing(), within_s=120, what="both fire")
        [paged, *_] = on_call.told("SIEMSinkFailure", "firing")
        assert paged["labels"]["severity"] == "critical"
        assert paged["labels"]["region"] == "local-1"
        assert "mcctl incident siem-failure" in paged["annotations"]["action"]
        assert "#siemsinkfailure" in paged["annotations"]["runbook_url"]

        platform.mcctl("up")
        wait_until(lambda: platform.ledger(switch["id"]), what="the halt is at the SIEM")
        [told] = platform.ledger(switch["id"])
        assert (told["kind"], told["tenant"]) == ("autonomy.halted", TENANT)
        wait_until(
            lambda: on_call.told("SIEMSinkFailure", "resolved"), within_s=120, what="it is over"
        )
        # An alert that ends resumes nothing; and what a person resumed, one that goes on leaves
        assert ("AutonomyCompensationHigh", TENANT) in watch.firing()
        platform.mcctl("autonomy", "resume", "--tenant", TENANT, "--reason", "mended", "--yes")
        assert platform.order(tenant=TENANT).governance["outcome"] == "completed"
