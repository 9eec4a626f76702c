"""A replica as the operations rooms see it: real HTTP, with `/metrics` and `/health` as told."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import serving

EDGES_S = (0.1, 0.2, 0.25, 0.35, 1.0)


class Replica:
    """What it counted; tests change it as they go.

    Attributes:
        samples: Value by series, such as `mc_ledger_size` or `up{a="b"}`.
        health: The body of /health, which answers 503 if its `status` is `unavailable`.
        scraped: How often /metrics was asked.
    """

    def __init__(self, name: str) -> None:
        self.name, self.url, self.scraped = name, "", 0
        self.samples: dict[str, float] = {
            "mc_ledger_size": 1,
            "process_start_time_seconds": 1_000_000,
            "process_cpu_seconds_total": 0,
        }
        self.health: dict[str, Any] = {"status": "ok", "replica": name, "dependencies": {}}
        self.begin()

    def begin(self, **other: str) -> None:
        """Become another process, of the same release but for what is said otherwise."""
        told = {
            "service": "agent-workbench",
            "version": "9",
            "colour": self.name.rpartition("-")[0],
        }
        digests = ("code", "policy_set", "catalogue", "configuration")
        running = {name: hashlib.sha256(name.encode()).hexdigest() for name in digests}
        running |= {"commit": "c0" * 20, "instance": str(uuid.uuid4()), **other}
        self.health = self.health | told | {"running": running}

    def count(self, metric: str, n: float = 1, **labels: str) -> None:
        """Add to a series, as the workbench would write it."""
        series = metric
        if labels:
            told = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
            series = f"{metric}{{{told}}}"
        self.samples[series] = self.samples.get(series, 0) + n

    def took(self, seconds: float, n: int = 1, **labels: str) -> None:
        """Observe `n` requests of that duration."""
        tenant, route = labels.get("tenant", "TENANT_001"), labels.get("route", "a2a")
        series = {"mc_request_duration_seconds_bucket": {"route": route}}
        if route in ("a2a", "a2a_rest", "graphql") and tenant != "unknown":
            series["mc_tenant_request_duration_seconds_bucket"] = {"tenant": tenant}
        for name, told in series.items():
            for edge in EDGES_S:
                self.count(name, n if seconds <= edge else 0, le=str(edge), **told)
            self.count(name, n, le="+Inf", **told)

    def a2a(self, tenant: str = "TENANT_001", **counts: int) -> None:
        """Count A2A messages by status."""
        for status in ("success", "denied", "client_error", "error"):
            self.count("mc_a2a_requests_total", counts.get(status, 0), status=status, tenant=tenant)

    def operations(self, tenant: str = "TENANT_001", **counts: int) -> None:
        """Count ended operations by status; those compensated or stuck are counted as such, too."""
        for status in ("completed", "compensated", "failed", "stuck", "canceled"):
            self.count(
                "mc_autonomy_operations_total", counts.get(status, 0), status=status, tenant=tenant
            )
        self.count(
            "mc_autonomy_compensation_total",
            counts.get("compensated", 0) + counts.get("stuck", 0),
            tenant=tenant,
        )

    def decided(self, allow: int, deny: int, tenant: str = "TENANT_001") -> None:
        """Count policy decisions."""
        self.count("mc_policy_decisions_total", allow, decision="allow", tenant=tenant)
        self.count("mc_policy_decisions_total", deny, decision="deny", tenant=tenant)

    def answered(
        self, status: str, n: int = 1, route: str = "a2a", tenant: str = "TENANT_001"
    ) -> None:
        """Count HTTP requests."""
        self.count("mc_requests_total", n, status=status, route=route, tenant=tenant)
        audience = tenant if tenant in ("CANARY", "PLATFORM") else "customers"
        result = "failed" if status.startswith("5") else "ok"
        self.count("mc_answers_total", n, result=result, route=route, audience=audience)

    def well(self) -> None:
        """Count what a healthy morning has: every target met."""
        self.a2a(success=900, denied=5, error=1)
        self.operations(completed=400)
        self.decided(allow=900, deny=5)
        self.answered("200", 2000)
        self.took(0.05, 500)
        self.took(0.05, 100, route="graphql")
        self.count("mc_siem_requests_total", 50, status="success")
        self.samples["mc_siem_backlog_age_seconds"] = 0
        self.samples['mc_autonomy_halted{tenant="*"}'] = 0
        self.samples['mc_autonomy_stuck_operations{tenant="TENANT_001"}'] = 0
        self.samples["process_cpu_seconds_total"] = 10
        self.count("mc_cost_cpu_seconds_total", 4, tenant="TENANT_001")


def _text(samples: Mapping[str, float]) -> str:
    return "".join(f"{series} {value}\n" for series, value in samples.items())


@contextmanager
def replica(name: str = "blue-1") -> Iterator[Replica]:
    """One replica, listening on a free port."""
    made = Replica(name)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                made.scraped += 1
                self._answer(200, "text/plain; version=0.0.4", _text(dict(made.samples)))
            elif self.path == "/health":
                code = 503 if made.health.get("status") == "unavailable" else 200
                self._answer(code, "application/json", json.dumps(made.health))
            else:
                self._answer(404, "text/plain", "")

        def _answer(self, code: int, kind: str, text: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with serving(Handler) as made.url:
        yield made
