"""After a cutover: the public URL is served by the colour it should be, end to end.

A real question goes through the edge; which colour answered it is read from the replicas' own
counters, and that its record reached the SIEM from the delivery counter. Counters are compared
with what they were before, so old traffic proves nothing.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx

from mc_contract.governance import GOVERNANCE_URI
from mc_ops.preflight.platform_http import Target
from mc_ops.preflight.result import CheckResult, found, unknown

QUESTION = "What is the status of order O-2001?"
PATIENCE_S = 20.0
_POLL_S = 0.2
_SERVED, _ANSWERED, _DELIVERED = "edge-serves-colour", "request-answered", "siem-delivered"
_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")


def check_edge(
    client: httpx.Client,
    *,
    edge_url: str,
    colour: str,
    replicas: Sequence[Target],
    token: str,
    patience_s: float = PATIENCE_S,
) -> list[CheckResult]:
    """Every check of this subject.

    Args:
        client: Sends the requests.
        edge_url: The public URL.
        colour: The colour that should serve.
        replicas: Every replica that runs, of either colour; names begin with the colour.
        token: The canary tenant's.
        patience_s: How long counters and delivery are waited for.
    """
    own = [replica for replica in replicas if replica.name.startswith(f"{colour}-")]
    if not own:
        return [unknown(_SERVED, f"no replica of {colour} runs", "mcctl status")]
    try:
        answered_before = _total(client, own, "mc_a2a_requests_total", 'status="success"')
        delivered_before = _total(client, replicas, "mc_siem_requests_total", 'status="success"')
        results = [_serves(client, edge_url, colour), _ask(client, edge_url, token)]
    except httpx.HTTPError as error:
        why = f"a replica or the edge does not answer: {type(error).__name__}"
        return [unknown(_SERVED, why, "mcctl status")]

    def grown(name: str, where: Sequence[Target], before: float) -> Callable[[], bool]:
        return lambda: _total(client, where, name, 'status="success"') > before

    counted = _wait(grown("mc_a2a_requests_total", own, answered_before), patience_s)
    results.append(
        found(
            f"answered-by-{colour}",
            [] if counted else [f"no replica of {colour} counted the request"],
            f"a replica of {colour} counted the request",
            "mcctl status: which colour is active?",
        )
    )
    delivered = _wait(grown("mc_siem_requests_total", replicas, delivered_before), patience_s)
    results.append(
        found(
            _DELIVERED,
            [] if delivered else [f"no batch was delivered within {patience_s:g} s"],
            "a batch was delivered after the request",
            "curl -I $AUDIT_SIEM_URL; mcctl logs",
        )
    )
    return results


def _serves(client: httpx.Client, edge_url: str, colour: str) -> CheckResult:
    answer = client.get(f"{edge_url}/health")
    try:
        body = answer.json()
    except ValueError:
        return found(_SERVED, ["/health answers no JSON"], "", "mcctl logs edge")
    said = body if isinstance(body, dict) else {}
    problems = []
    if answer.status_code != httpx.codes.OK or said.get("status") == "unavailable":
        problems.append(f"/health answers {answer.status_code}, {said.get('status')}")
    if said.get("colour") != colour:
        problems.append(f"{said.get('colour')} serves, expected {colour}")
    good = f"{said.get('replica')} (version {said.get('version')}) answers, {said.get('status')}"
    return found(_SERVED, problems, good, f"mcctl cutover --to {colour}")


def _ask(client: httpx.Client, edge_url: str, token: str) -> CheckResult:
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": QUESTION}],
        "metadata": {GOVERNANCE_URI: {"agent": "records", "purpose": "support", "residency": "eu"}},
        "extensions": [GOVERNANCE_URI],
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"Authorization": f"Bearer {token}", "A2A-Version": "1.0"}
    answer = client.post(edge_url + "/", json=call, headers=headers)
    state = _task_state(answer)
    problems = [] if state == "TASK_STATE_COMPLETED" else [f"{answer.status_code}, {state}"]
    return found(_ANSWERED, problems, "a real question was answered", "mcctl logs")


def _task_state(answer: httpx.Response) -> str:
    try:
        body: Any = answer.json()
        task = body["result"].get("task", body["result"])
        return str(task["status"]["state"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no task in the answer"


def _total(client: httpx.Client, replicas: Iterable[Target], name: str, label: str) -> float:
    """The sum of a counter's series that carry `label`, over these replicas.

    Raises:
        httpx.HTTPError: A replica does not answer.
    """
    total = 0.0
    for replica in replicas:
        for line in client.get(f"{replica.url}/metrics").text.splitlines():
            match = _SAMPLE.fullmatch(line)
            if match and match["name"] == name and label in (match["labels"] or "").split(","):
                total += float(match["value"])
    return total


def _wait(condition: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if condition():
                return True
        except httpx.HTTPError:
            pass  # a replica that is busy now may answer the next time
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
