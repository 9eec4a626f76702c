"""A decision's entry is found by its id, or from the newest entry on: not from the first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.policies import find_decision
from mc_platform.adapters.cedar.decision_point import new_decision_id
from mc_platform.model.event import Kind
from mc_platform.model.ids import DecisionId, PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action, Decision
from mc_platform.record import AuditRecorder

NOBODY = Principal(PrincipalId("bot"), TenantId("TENANT_001"), "0" * 12)


@pytest.fixture
def asked(ledger, monkeypatch):
    """The paths that a client asks for; `ledger.client()` is watched."""
    paths = []
    make = ledger.client

    def watched():
        client = make()
        send = client._send
        client._send = lambda path, **query: (paths.append((path, query)), send(path, **query))[1]
        return client

    monkeypatch.setattr(ledger, "client", watched)
    return paths


def _refuse(ledger, name):
    decision = Decision(
        DecisionId(name), allowed=False, action=Action.send_message, policy_ids=("no",),
        reason="no", policy_digest="d",
    )  # fmt: skip
    recorder = AuditRecorder(ledger.journal, lambda: datetime.now(UTC))
    ledger.loop.run(recorder.record_refusal(NOBODY, decision, {}, Kind.request_refused))


def _found(ledger, decision):
    with ledger.client() as client:
        return find_decision(decision, (entry.leaf for entry in client.telling(decision)))


def test_a_refusal_is_found_by_its_id_however_old_it_is(ledger, asked):
    """Two questions, of which one is for its row."""
    ledger.record(5)
    _refuse(ledger, "dec_old")
    ledger.record(2500)
    found = _found(ledger, "dec_old")
    assert (found.kind, found.allowed, found.policies) == ("request.refused", False, ("no",))
    assert [path for path, _ in asked] == ["/audit/decision/dec_old", "/audit/entries"]


def test_a_messages_decision_is_looked_for_from_the_newest_entry(ledger, asked):
    """Its event's id is its task's; nothing from the log's first page is read."""
    ledger.record(2500)
    event = ledger.events.event(
        Kind.request_accepted, TenantId("TENANT_001"), "task-1", decision="dec_new", allowed=True
    )
    ledger.record_event(event)
    assert _found(ledger, "dec_new").event == event.id
    starts = [query["start"] for path, query in asked if path == "/audit/entries"]
    assert starts == [1501]


def test_a_messages_decision_is_looked_up_by_the_second_in_its_id(ledger, asked):
    """However old it is: one question, and one row."""
    ledger.record(1500)
    decision = new_decision_id()
    event = ledger.events.event(
        Kind.request_accepted, TenantId("TENANT_001"), "task-1", decision=decision, allowed=True
    )
    ledger.record_event(event)
    ledger.record(2500)
    assert _found(ledger, decision).event == event.id
    assert [path for path, _ in asked] == [f"/audit/decision/{decision}", "/audit/entries"]
    assert asked[1][1]["start"] == 1500


def test_all_is_read_once_for_a_decision_that_nothing_tells(ledger):
    """The newest page first, each page in order."""
    ledger.record(2300)
    with ledger.client() as client:
        read = [entry.index for entry in client.telling("dec_none")]
    assert read == [*range(1300, 2300), *range(300, 1300), *range(300)]
    assert _found(ledger, "no-decision") is None


def test_what_is_no_decision_is_refused_by_the_service(ledger):
    """As the asker's mistake."""
    with ledger.client() as client, pytest.raises(UnusableInput, match="the id of a decision"):
        client._json("/audit/decision/e-1")
