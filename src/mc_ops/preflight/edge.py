"""After a cutover: the public URL is served by the colour it should be, end to end.

Real questions go through the edge; which colour answered them is read from the replicas' own
counters of the canary tenant's requests, and that the records reached the SIEM from the delivery
counter. Counters are compared with what they were before, so old traffic proves nothing. A colour
that is broken on purpose (faults in its /health) is not fit to serve, however it answers.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import httpx

from mc_contract.governance import GOVERNANCE_URI
from mc_contract.numbers import counted
from mc_ops.environments import Instance
from mc_ops.errors import OpsError
from mc_ops.preflight.result import CheckResult, found, unknown
from mc_ops.service_client import Health, ServiceClient
from mc_ops.service_client.client import NotTheService
from mc_ops.service_client.http import bearer

QUESTION = "What is the status of order O-2001?"
QUESTIONS = 20  # enough that an edge which sends only some of them elsewhere is found out
PATIENCE_S = 20.0
_POLL_S = 0.2
_TIMEOUT_S = 5.0
_SERVED, _ANSWERED, _DELIVERED = "edge-serves-colour", "requests-answered", "siem-delivered"
_SUCCESS = ('status="success"',)
_SAMPLE = re.compile(
    r"(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d\d?)?)"
)


def check_edge(
    client: httpx.Client,
    *,
    edge_url: str,
    colour: str,
    replicas: Sequence[Instance],
    token: str,
    tenant: str,
    scrape: str | None = None,
    patience_s: float = PATIENCE_S,
    allow_faults: bool = False,
) -> list[CheckResult]:
    """Every check of this subject.

    Args:
        client: Sends the requests.
        edge_url: The public URL.
        colour: The colour that should serve.
        replicas: Every replica that runs, of either colour.
        token: The canary tenant's.
        tenant: That tenant, whose requests nobody else makes: only they are counted.
        scrape: The scrape credential, which replicas of another machine ask for.
        patience_s: How long counters and delivery are waited for.
        allow_faults: Whether replicas may be broken on purpose.
    """
    own = [replica for replica in replicas if replica.colour == colour]
    if not own:
        return [unknown(_SERVED, f"no replica of {colour} runs", "mcctl status")]
    of_tenant = (*_SUCCESS, f'tenant="{tenant}"')
    answered = partial(_total, client, scrape, own, "mc_a2a_requests_total", of_tenant)
    delivered = partial(_total, client, scrape, replicas, "mc_siem_requests_total", _SUCCESS)
    try:
        answered_before, delivered_before = answered(), delivered()
        results = [
            _serves(edge_url, colour),
            without_faults(colour, own, scrape, allowed=allow_faults),
            _ask(client, edge_url, token),
        ]
    except (httpx.HTTPError, OpsError) as error:
        why = f"a replica or the edge does not answer: {type(error).__name__}"
        return [unknown(_SERVED, why, "mcctl status")]

    reached = _growth(answered, answered_before, QUESTIONS, patience_s)
    too_few = f"{colour} answered {reached:.0f} of {QUESTIONS} requests"
    batches = _growth(delivered, delivered_before, 1, patience_s)
    return [
        *results,
        found(
            f"answered-by-{colour}",
            [] if reached >= QUESTIONS else [too_few],
            f"replicas of {colour} answered all {QUESTIONS} requests",
            "mcctl status: which colour is active?",
        ),
        found(
            _DELIVERED,
            [] if batches >= 1 else [f"no batch was delivered within {patience_s:g} s"],
            "a batch was delivered after the requests",
            "curl -I $AUDIT_SIEM_URL; mcctl logs",
        ),
    ]


def _serves(edge_url: str, colour: str) -> CheckResult:
    try:
        said = _health(edge_url)
    except NotTheService as error:
        return found(_SERVED, [error.message], "", "mcctl logs edge")
    problems = []
    if not said.serving or said.status == "unavailable":
        problems.append(f"/health answers {said.http_status}, {said.status}")
    if said.colour != colour:
        problems.append(f"{said.colour} serves, expected {colour}")
    good = f"{said.replica} (version {said.version}) answers, {said.status}"
    return found(_SERVED, problems, good, f"mcctl cutover --to {colour}")


def without_faults(
    colour: str, own: Sequence[Instance], scrape: str | None = None, *, allowed: bool = False
) -> CheckResult:
    """No replica of the colour is broken on purpose, by its own /health, unless that is allowed.

    Raises:
        OpsError: A replica does not answer.
    """
    name = f"no-faults-{colour}"
    problems = []
    for replica in own:
        try:
            faults = _health(replica.url, scrape).faults
        except NotTheService as error:
            return unknown(name, error.message, "mcctl logs")
        if faults:
            listed = ", ".join(f"{kind} {value}" for kind, value in faults.items())
            problems.append(f"{replica.name} has {listed}")
    if problems and allowed:
        return found(name, [], f"{'; '.join(problems)}: on purpose, and allowed", "")
    remedy = "cut back, then start it anew: mcctl scale ... --restart --fault none"
    return found(name, problems, f"{counted(len(own), 'replica')}, none broken on purpose", remedy)


def _health(url: str, token: str | None = None) -> Health:
    with ServiceClient(url, token, timeout_s=_TIMEOUT_S) as service:
        return service.health()


def _ask(client: httpx.Client, edge_url: str, token: str) -> CheckResult:
    states = Counter(_answer(client, edge_url, token) for _ in range(QUESTIONS))
    good = states.pop("200, TASK_STATE_COMPLETED", 0)
    problems = [f"{number} x {state}" for state, number in states.items()]
    return found(_ANSWERED, problems, f"{counted(good, 'real question')} answered", "mcctl logs")


def _answer(client: httpx.Client, edge_url: str, token: str) -> str:
    """What became of one real question: HTTP status and the task's state."""
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": QUESTION}],
        "metadata": {GOVERNANCE_URI: {"agent": "records", "purpose": "support", "residency": "eu"}},
        "extensions": [GOVERNANCE_URI],
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"Authorization": f"Bearer {token}", "A2A-Version": "1.0"}
    answer = client.post(edge_url + "/a2a", json=call, headers=headers)
    return f"{answer.status_code}, {_task_state(answer)}"


def _task_state(answer: httpx.Response) -> str:
    try:
        body: Any = answer.json()
        task = body["result"].get("task", body["result"])
        return str(task["status"]["state"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "no task in the answer"


def _total(
    client: httpx.Client,
    scrape: str | None,
    replicas: Iterable[Instance],
    name: str,
    labels: Iterable[str],
) -> float:
    """The sum of a counter's series that carry all `labels`, over these replicas.

    Raises:
        httpx.HTTPError: A replica does not answer.
    """
    total = 0.0
    for replica in replicas:
        metrics = client.get(f"{replica.url}/metrics", headers=bearer(scrape))
        for line in metrics.text.split("\n"):
            match = _SAMPLE.fullmatch(line)
            if match and match["name"] == name:
                carried = (match["labels"] or "").split(",")
                if all(label in carried for label in labels):
                    total += float(match["value"])
    return total


def _growth(measure: Callable[[], float], before: float, wanted: float, patience_s: float) -> float:
    """By how much a counter has grown, waiting until it is as much as is wanted."""
    deadline = time.monotonic() + patience_s
    grown = 0.0
    while True:
        # A replica that is busy now may answer the next time.
        with contextlib.suppress(httpx.HTTPError):
            grown = measure() - before
        if grown >= wanted or time.monotonic() >= deadline:
            return grown
        time.sleep(_POLL_S)
