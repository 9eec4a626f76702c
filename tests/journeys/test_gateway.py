"""A governed request, from the socket to the SIEM, and everything that is refused on the way."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

BENIGN = "What is the status of order O-2001?"


def test_a_question_is_answered_recorded_and_delivered(platform, wait_until):
    """An accepted request is in the ledger and at the SIEM: intent first, outcome after it."""
    answer = platform.ask(BENIGN)

    assert answer.status == 200
    assert answer.task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert "O-2001" in answer.text
    task_id = answer.task["id"]
    wait_until(lambda: len(platform.ledger(task_id)) == 2, what="both events are at the SIEM")
    assert [event["kind"] for event in platform.ledger(task_id)] == [
        "request.accepted",
        "reply.released",
    ]
    assert BENIGN not in json.dumps(platform.ledger(task_id))


def test_personal_data_leaves_redacted_unless_the_purpose_permits_it(platform):
    """A reply with an email is redacted for support, and whole for identity verification."""
    redacted = platform.ask("email of customer C-1002")
    whole = platform.ask(
        "email of customer C-1002", tenant="TENANT_002", purpose="identity-verification"
    )

    assert "[email]" in redacted.text
    assert "@" not in redacted.text
    assert redacted.governance["redacted"] is True
    assert "@example.com" in whole.text


def test_a_card_never_leaves_raw_whatever_the_purpose(platform):
    """No purpose lets a payment card out unredacted."""
    answer = platform.ask(
        "card of customer C-1003", tenant="TENANT_002", purpose="identity-verification"
    )
    assert "[payment-card]" in answer.text


def test_a_denial_tells_reason_and_decision_and_is_recorded(platform, wait_until):
    """A purpose that the tenant has not declared is refused, with an id that the ledger knows."""
    answer = platform.ask(BENIGN, purpose="marketing")

    error = answer.body["error"]
    assert error["code"] == -32050
    assert "is not one that TENANT_001 has declared (fulfilment, support)" in error["message"]
    [info] = error["data"]
    assert info["reason"] == "POLICY_DENIED"
    decision = info["metadata"]["decisionId"]
    wait_until(lambda: platform.ledger(decision), what="the refusal is at the SIEM")
    assert platform.ledger(decision)[0]["kind"] == "request.refused"


def test_a_denial_by_http_json_is_403(platform):
    """The same denial over HTTP+JSON has the HTTP status that says so."""
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": BENIGN}],
        "metadata": {"urn:mc-platform:a2a:governance:1": {"purpose": "marketing"}},
    }
    answer = platform.post(json.dumps({"message": message}).encode(), path="/v1/message:send")
    assert answer.status == 403
    assert answer.body["error"]["details"][0]["reason"] == "POLICY_DENIED"


@pytest.mark.parametrize(
    "token",
    ["x", "nonsense", "mc_000000000000_" + "A" * 43, "mc_0000_short", None],
    ids=["short", "nonsense", "unknown key", "malformed", "missing"],
)
def test_a_missing_or_wrong_credential_is_401_and_not_told_which(platform, token):
    """All failures of authentication look alike."""
    answer = platform.post(b"{}", tenant=None, token=token)
    assert answer.status == 401
    assert answer.body["error"]["code"] == "not-authenticated"
    assert answer.body["error"]["message"] == "the credential is missing or not valid"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_right_key_with_a_wrong_secret_is_401(platform):
    """Knowing a key id is not enough."""
    key_id = "_".join(platform.token("TENANT_001").split("_")[:2])
    answer = platform.post(b"{}", tenant=None, token=f"{key_id}_{'x' * 43}")
    assert answer.status == 401


def test_a_tenant_cannot_act_as_another(platform):
    """A tenant named in metadata, request or path that is not the credential's is refused."""
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": BENIGN}],
        "metadata": {"urn:mc-platform:a2a:governance:1": {"tenant": "TENANT_002"}},
    }
    claimed = platform.rpc("SendMessage", {"message": message})
    named = platform.rpc(
        "SendMessage", {"message": {**message, "metadata": {}}, "tenant": "TENANT_002"}
    )
    in_path = platform.post(
        json.dumps({"message": {**message, "metadata": {}}}).encode(),
        path="/v1/TENANT_002/message:send",
    )
    for answer in (claimed, named):
        assert answer.body["error"]["code"] == -32602
        assert "not the credential's" in answer.body["error"]["message"]
    assert in_path.status == 400


def test_another_tenants_task_is_as_absent_as_none(platform):
    """Reading, cancelling and listing show a tenant its own tasks only."""
    task_id = platform.ask(BENIGN).task["id"]
    absent = platform.rpc("GetTask", {"id": str(uuid.uuid4())}, tenant="TENANT_002")
    others = platform.rpc("GetTask", {"id": task_id}, tenant="TENANT_002")
    cancel = platform.rpc("CancelTask", {"id": task_id}, tenant="TENANT_002")
    listed = platform.rpc("ListTasks", {"pageSize": 100}, tenant="TENANT_002")

    assert others.body["error"] == absent.body["error"]
    assert others.body["error"]["code"] == -32001
    assert cancel.body["error"]["code"] == -32001
    assert task_id not in json.dumps(listed.body)
    assert platform.task(task_id)["id"] == task_id


def test_bad_input_is_told_with_the_right_code(platform):
    """Malformed JSON, unknown methods, operations, agents and keys each say what is wrong."""
    assert platform.post(b"{not json").body["error"]["code"] == -32700
    assert platform.rpc("Nonsense", {}).body["error"]["code"] == -32601
    unknown = platform.ask("x", operation="no-such-operation")
    assert unknown.body["error"]["code"] == -32602
    assert "place-order" in unknown.body["error"]["message"]
    agent = platform.ask("x", agent="no-such-agent")
    assert "unknown agent" in agent.body["error"]["message"]
    key = platform.ask("x", colour="blue")
    assert "unknown governance key" in key.body["error"]["message"]
    missing = platform.ask({"item": "widget"}, operation="place-order")
    assert "needs input quantity" in missing.body["error"]["message"]
    empty = platform.rpc("SendMessage", {"message": {"messageId": "m", "role": "ROLE_USER"}})
    assert "parts" in empty.body["error"]["message"]


def test_an_oversized_body_is_413_before_it_is_parsed(platform):
    """The limit holds whether the size is declared or not."""
    big = b'{"jsonrpc": "2.0", "x": "' + b"a" * 1_100_000 + b'"}'
    assert platform.post(big).status == 413

    def chunks():
        for _ in range(20):
            yield b"a" * 65_536

    headers = {"Authorization": f"Bearer {platform.token('TENANT_001')}"}
    answer = httpx.post(platform.url + "/a2a", content=chunks(), headers=headers)
    assert answer.status_code == 413


def test_a_message_without_the_version_header_is_told_so(platform):
    """A 1.0 method without `A2A-Version` is -32009, as the protocol has it."""
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    answer = platform.post(json.dumps(call).encode(), headers={"A2A-Version": ""})
    assert answer.body["error"]["code"] == -32009


def test_a_repeated_message_id_returns_the_first_result(platform):
    """The same request twice is one task; another request under the same id is a conflict."""
    message_id = str(uuid.uuid4())
    first = platform.ask(BENIGN, message_id=message_id)
    again = platform.ask(BENIGN, message_id=message_id)
    other = platform.ask("What is the status of order O-2002?", message_id=message_id)

    assert again.task == first.task
    assert other.body["error"]["code"] == -32053
    assert (
        platform.ask(BENIGN, message_id=message_id, tenant="TENANT_002").task["id"]
        != (first.task["id"])
    )


def test_secrets_are_not_handed_to_an_agent(platform):
    """A request that carries a key is refused, and the key is nowhere in log, ledger or answer."""
    key = "AKIAIOSFODNN7EXAMPLE"
    answer = platform.ask(f"My key is {key} and my token {platform.token('TENANT_001')}")
    assert answer.body["error"]["code"] == -32050
    for where in (
        json.dumps(answer.body),
        "\n".join(platform.log()),
        json.dumps(platform.siem_events()),
    ):
        assert key not in where
        assert platform.token("TENANT_001") not in where


def test_a_tenant_reads_its_own_records_by_graphql(platform, wait_until):
    """GraphQL shows a tenant its own events and tasks, and nothing of others."""
    task_id = platform.ask(BENIGN, tenant="TENANT_003").task["id"]
    query = {
        "query": "{ tenant events(first: 200) { kind detail } tasks(first: 200) { id state } }"
    }

    def read(tenant):
        return platform.post(json.dumps(query).encode(), tenant=tenant, path="/graphql")

    own = read("TENANT_003")
    assert own.status == 200
    assert own.body["data"]["tenant"] == "TENANT_003"
    assert task_id in json.dumps(own.body)
    assert task_id not in json.dumps(read("TENANT_001").body)
    assert platform.post(json.dumps(query).encode(), tenant=None, path="/graphql").status == 401
    told = platform.metrics()
    assert 'mc_request_duration_seconds_count{route="graphql"}' in told
    assert 'mc_tenant_request_duration_seconds_count{tenant="TENANT_003"}' in told


def test_the_checkpoint_verifies_with_the_published_key(platform):
    """Anyone can check the log's size and root with the ledger's public key alone."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from mc_contract.ledger.checkpoint import verify_checkpoint

    note = httpx.get(platform.url + "/ledger/checkpoint").text
    key = load_pem_public_key((platform.home / "trust" / "ledger.pub").read_bytes())
    name = "mc-platform.example.com/ledger/local-1"
    checkpoint = verify_checkpoint(note, {name: key})
    assert checkpoint.size > 0


def test_a_graphql_query_that_fails_is_not_logged(platform):
    """It can hold what no log must; that it failed is told, and how."""
    query = {"query": '{ task(id: "greta.holm91@nordpost.se") { id nosuch } }'}
    answer = platform.post(json.dumps(query).encode(), path="/graphql")
    assert "Cannot query field" in answer.body["errors"][0]["message"]
    log = "\n".join(platform.log())
    assert "graphql_failed" in log
    assert "greta.holm91" not in log
