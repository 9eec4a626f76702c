"""The service as anybody meets it over HTTP: its routes, its health, its metrics, its SIEM.

Only public routes are used, and no check has an effect: the one request that is let in asks for
a task that does not exist.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

import httpx

from mc_contract.siem import DEFAULT_INDEX, SiemFormat, bulk_url, collector_url
from mc_ops.environments import Instance
from mc_ops.errors import OpsError
from mc_ops.preflight.result import CheckResult, found, not_applicable, unknown
from mc_ops.service_client import ServiceClient

# docs/reference/metrics.md; the runbook's own commands and alerts read these names.
METRICS = (
    "mc_requests_total",
    "mc_request_duration_seconds",
    "mc_a2a_requests_total",
    "mc_autonomy_operations_total",
    "mc_autonomy_compensation_total",
    "mc_policy_decisions_total",
    "mc_siem_requests_total",
    "mc_replication_lag_seconds",
)
UNKNOWN_TOKEN = "mc_000000000000_" + "0" * 43  # well-formed, and nobody's
_GET_TASK = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "preflight-none"}}
# Every way in that acts for a tenant, and what it is asked: for something that does not exist,
# or, over REST, an empty message that no agent gets.
GUARDED_ROUTES: Mapping[str, Mapping[str, object]] = {
    "/a2a": _GET_TASK,
    "/v1/message:send": {"message": {}},
    "/": _GET_TASK,
    "/graphql": {"query": "{ __typename }"},
}
# A route may be too busy (or, in a rehearsal, too faulty) to answer just now: 503 says neither that
# it admits nor that it refuses, so it is knocked on again before anything is concluded.
KNOCKS = 5
_OPTIONAL = {"/graphql"}  # a service without it has no such route to guard
HEALTH_PATIENCE_S = 10.0
_TIMEOUT_S = 5.0
_POLL_S = 0.2
_REFUSED = (401, 403)


def health_ok(target: Instance, patience_s: float) -> CheckResult:
    """The replica says "ok"; it is given `patience_s` seconds to get there."""
    name = f"health-{target.name}"
    deadline = time.monotonic() + patience_s
    while True:
        said = _health(target)
        if said == "ok" or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    if said is None:
        why = f"{target.url}/health does not answer as the workbench does"
        return unknown(name, why, f"mcctl logs {target.name}")
    problems = [] if said == "ok" else [f"status is {said}"]
    return found(name, problems, "status is ok", f"mcctl logs {target.name}")


def metrics_present(
    client: httpx.Client, target: Instance, headers: Mapping[str, str] | None = None
) -> CheckResult:
    """Every metric that the runbook reads is exported under its name, to who shows these headers."""
    name = f"metrics-{target.name}"
    try:
        answer = client.get(f"{target.url}/metrics", headers=headers)
    except httpx.HTTPError as error:
        return unknown(name, f"/metrics does not answer: {type(error).__name__}")
    lines = (line.split() for line in answer.text.split("\n") if line.startswith("# TYPE "))
    exported = {word for words in lines for word in words[2:3]}
    missing = [metric for metric in METRICS if metric not in exported]
    problems = [f"missing: {', '.join(missing)}"] if missing else []
    return found(name, problems, f"all {len(METRICS)} names are exported", "another version runs?")


def refuses(
    client: httpx.Client, target: Instance, label: str, headers: Mapping[str, str]
) -> CheckResult:
    """Every route answers 401 to these credentials; `/graphql` may also be absent (404)."""
    name = f"{label}-refused-{target.name}"
    problems, answers = [], []
    for route in GUARDED_ROUTES:
        try:
            status = _knock(client, target, route, headers)
        except httpx.HTTPError as error:
            return unknown(name, f"{route} does not answer: {type(error).__name__}")
        answers.append(f"{route} {status}")
        absent = route in _OPTIONAL and status == httpx.codes.NOT_FOUND
        if status != httpx.codes.UNAUTHORIZED and not absent:
            problems.append(f"{route} answered {status}, expected 401")
    return found(name, problems, ", ".join(answers), "stop traffic to it: it serves strangers")


def admits(client: httpx.Client, target: Instance, token: str) -> CheckResult:
    """A good token is let in; without this, refusing everybody would look like safety."""
    name = f"good-token-admitted-{target.name}"
    try:
        status = _knock(client, target, "/a2a", {"Authorization": f"Bearer {token}"})
    except httpx.HTTPError as error:
        return unknown(name, f"does not answer: {type(error).__name__}")
    problems = [] if status == httpx.codes.OK else [f"answered {status}, expected 200"]
    return found(name, problems, "answered 200", "mcctl logs; were the credentials imported?")


def siem_refuses(
    client: httpx.Client,
    url: str | None,
    siem_format: SiemFormat = SiemFormat.ocsf,
    *,
    elsewhere: bool = False,
) -> CheckResult:
    """The SIEM takes nothing without its key.

    Args:
        client: Sends the requests.
        url: Where the replicas send events.
        siem_format: How they do.
        elsewhere: Whether the replicas run on other machines, so that they alone may reach it.
    """
    name = "siem-refuses-wrong-key"
    if not url:
        return unknown(name, "no replica has AUDIT_SIEM_URL", "set AUDIT_SIEM_URL")
    if siem_format is SiemFormat.cef:
        return not_applicable(name, "syslog knows no key; the network must keep others out")
    if siem_format is SiemFormat.splunk_hec:
        url = collector_url(url, "/services/collector/event")
    elif siem_format is SiemFormat.elastic:
        url = bulk_url(url, DEFAULT_INDEX)
    problems = []
    tries: Sequence[tuple[str, dict[str, str]]] = (
        ("no key", {}),
        ("a wrong bearer key", {"Authorization": "Bearer wrong"}),
        ("a wrong Splunk key", {"Authorization": "Splunk wrong"}),
    )
    for label, headers in tries:
        try:
            answer = client.post(url, content=b"[]", headers=headers)
        except httpx.ConnectError:
            if elsewhere:
                return not_applicable(
                    name, "from here the SIEM is not reached: pods alone send to it"
                )
            return unknown(name, "the SIEM does not answer: ConnectError")
        except httpx.HTTPError as error:
            return unknown(name, f"the SIEM does not answer: {type(error).__name__}")
        if answer.status_code not in _REFUSED:
            problems.append(f"{label} was answered {answer.status_code}, expected 401 or 403")
    return found(name, problems, "no key and wrong keys are refused", "anybody can forge events")


def wrong_secret(token: str) -> str:
    """A token with a real key id and a wrong secret."""
    head, _, secret = token.rpartition("_")
    return f"{head}_{'A' * max(len(secret), 1)}"


def _health(target: Instance) -> str | None:
    try:
        with ServiceClient(target.url, timeout_s=_TIMEOUT_S) as service:
            return service.health().status
    except OpsError:
        return None


def _knock(client: httpx.Client, target: Instance, route: str, headers: Mapping[str, str]) -> int:
    """Ask a route for what it is asked in `GUARDED_ROUTES`; returns the HTTP status, 503 if it stays that."""
    status = httpx.codes.SERVICE_UNAVAILABLE.value
    for _ in range(KNOCKS):
        status = client.post(
            target.url + route,
            content=json.dumps(GUARDED_ROUTES[route]),
            headers={"Content-Type": "application/json", "A2A-Version": "1.0", **headers},
        ).status_code
        if status != httpx.codes.SERVICE_UNAVAILABLE:
            break
    return status
