"""The service client: what it sends, and what it makes of answers."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mc_ops.errors import CouldNotTell, NotAllowed
from mc_ops.service_client import Denied, Governance, ServiceClient
from mc_ops.service_client.client import NotTheService

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, token: str | None = "mc_key_s3cr3t") -> ServiceClient:
    """A client whose service is `handler`."""
    return ServiceClient("http://gw/", token=token, transport=httpx.MockTransport(handler))


def answering(status: int = 200, /, **body: Any) -> Handler:
    """A service that always answers the same."""
    return lambda _: httpx.Response(status, json=body)


def test_a_message_is_sent_as_a2a_1_0() -> None:
    """Method, version, credential, governance and idempotency key are where A2A has them."""
    seen: list[httpx.Request] = []

    def service(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"result": {"message": {"parts": [{"text": "hi"}]}}})

    governance = Governance(agent="fulfilment", operation="place-order")
    with client(service) as gateway:
        reply = gateway.send_message(
            "do it", governance=governance, data={"n": 1}, message_id="m-1"
        )
    assert reply.text == "hi"
    assert reply.task is None
    call = json.loads(seen[0].content)
    assert (seen[0].url.path, call["method"]) == ("/", "SendMessage")
    assert seen[0].headers["A2A-Version"] == "1.0"
    assert seen[0].headers["Authorization"] == "Bearer mc_key_s3cr3t"
    assert call["params"]["message"] == {
        "messageId": "m-1",
        "role": "ROLE_USER",
        "parts": [{"text": "do it"}, {"data": {"n": 1}}],
        "metadata": {
            "urn:mc-platform:a2a:governance:1": {
                "agent": "fulfilment",
                "purpose": "support",
                "residency": "eu",
                "operation": "place-order",
            }
        },
    }


def test_a_task_is_read_with_its_governance() -> None:
    """State, text and outcome of an operation come from the task."""
    task = {
        "id": "t-1",
        "status": {"state": "TASK_STATE_FAILED", "message": {"parts": [{"text": "undone"}]}},
        "metadata": {"urn:mc-platform:a2a:governance:1": {"outcome": "compensated"}},
    }
    with client(answering(result={"task": task})) as gateway:
        found = gateway.send_message("x").task
    assert found
    assert (found.id, found.state, found.text) == ("t-1", "FAILED", "undone")
    assert found.governance == {"outcome": "compensated"}
    with client(answering(result=task)) as gateway:
        assert gateway.get_task("t-1") == found
        assert gateway.cancel("t-1") == found


def test_a_denial_has_its_reason_and_decision() -> None:
    """A policy's no is a finding that names the decision."""
    details = [{"reason": "POLICY_DENIED", "metadata": {"reason": "pii", "decision_id": "d-1"}}]
    error = {"code": -32050, "message": "policy denied", "data": details}
    with client(answering(error=error)) as gateway, pytest.raises(Denied) as caught:
        gateway.send_message("x")
    assert caught.value.decision_id == "d-1"
    assert caught.value.message == "policy denied: pii (decision d-1)"
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_not_allowed_and_not_repeated(status: int) -> None:
    """401 and 403 are one error with exit code 4; the token is not in it."""
    with client(answering(status)) as gateway, pytest.raises(NotAllowed) as caught:
        gateway.send_message("x")
    assert "s3cr3t" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "handler",
    [
        answering(500),
        answering(error={"code": -32603, "message": "internal"}),
        answering(),
        lambda _: httpx.Response(200, text="<html>"),
        lambda _: httpx.Response(200, json=[]),
        answering(result={"task": "x"}),
        answering(result={"task": {"artifacts": 5}}),
        answering(result={"task": {"status": [1]}, "message": 1}),
        answering(result={"message": "x"}),
        answering(result={"message": {"parts": [5]}}),
        answering(error={"code": -32050, "data": [{"metadata": "x"}]}),
        answering(error="x"),
    ],
)
def test_an_answer_that_is_none_is_no_verdict(handler: Handler) -> None:
    """A failing service or something else at that address: could not tell."""
    with client(handler) as gateway, pytest.raises(CouldNotTell):
        gateway.send_message("x")


def test_nobody_there_is_no_verdict() -> None:
    """A refused connection says which service does not answer."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with client(refuse) as gateway, pytest.raises(CouldNotTell, match="http://gw does not answer"):
        gateway.health()


def test_health_of_an_unavailable_service_is_an_answer() -> None:
    """503 with a status is told, not raised; another thing at that address is."""
    down = {"postgres": {"state": "down"}}
    body = {"status": "unavailable", "version": "1", "dependencies": down}
    body["service"] = "agent-workbench"
    with client(answering(503, **body), token=None) as gateway:
        health = gateway.health()
    assert (health.serving, health.status) == (False, "unavailable")
    assert health.dependencies["postgres"]["state"] == "down"
    with client(answering(404, detail="no")) as gateway, pytest.raises(CouldNotTell):
        gateway.health()


@pytest.mark.parametrize(
    "body",
    [
        {"status": "ok"},
        {"status": "ok", "service": "another"},
        {"status": "ok", "service": "agent-workbench", "dependencies": ["a"]},
        {"status": "ok", "service": "agent-workbench", "faults": "none"},
    ],
)
def test_health_of_another_program_is_none(body: dict[str, Any]) -> None:
    """Whoever says ok at that address is the workbench only if it says so, in its form."""
    with client(answering(**body)) as gateway, pytest.raises(NotTheService) as caught:
        gateway.health()
    assert caught.value.exit_code == 3


def test_metrics_are_parsed() -> None:
    """Samples carry name, labels and value; nonsense is no verdict."""
    text = '# TYPE mc_requests counter\nmc_requests_total{status="200",tenant="CANARY"} 3\n'
    with client(lambda _: httpx.Response(200, text=text)) as gateway:
        sample = gateway.metrics()[0]
    assert (sample.name, sample.value) == ("mc_requests_total", 3.0)
    assert sample.labels == {"status": "200", "tenant": "CANARY"}
    with (
        client(lambda _: httpx.Response(200, text="mc_x{ 1")) as gateway,
        pytest.raises(CouldNotTell),
    ):
        gateway.metrics()


def test_an_answer_without_end_is_given_up() -> None:
    """A replica that fills the memory, or sends a byte now and then for ever, holds nobody up."""

    def flood(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=(b"#" * 1_000_000 for _ in itertools.count()))

    def drip(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=(b"#" for _ in itertools.count()))

    for service, timeout_s in ((flood, 30.0), (drip, 0.1)):
        transport = httpx.MockTransport(service)
        with (
            ServiceClient("http://gw/", timeout_s=timeout_s, transport=transport) as gateway,
            pytest.raises(CouldNotTell, match="AnswerWithoutEnd"),
        ):
            gateway.metrics()


def test_a_packed_answer_is_not_unpacked() -> None:
    """A few bytes cannot become many: what was not asked for is no answer."""
    packed = gzip.compress(b"mc_ledger_size 3\n")
    headers = {"content-encoding": "gzip"}
    with (
        client(lambda _: httpx.Response(200, content=packed, headers=headers)) as gateway,
        pytest.raises(CouldNotTell, match="AnswerPacked"),
    ):
        gateway.metrics()
