"""What the ledger records is read by tenant, kind, time and subject, decoded, the newest first."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

import mc_platform.adapters.postgres.ledger as rows_of
from mc_ops.cli.audit import app as audit_app
from mc_ops.cli.ledger_access import LedgerReading
from mc_ops.cli.policy import app as policy_app
from mc_ops.errors import UnusableInput
from mc_platform.adapters.cedar.decision_point import new_decision_id
from mc_platform.model.event import Kind
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action, Decision
from mc_platform.record import AuditRecorder

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")


@pytest.fixture
def mcctl(ledger, monkeypatch):
    """Runs a verb on this ledger; its result as JSON."""

    @contextmanager
    def of_this(_call, default="AUDITOR", log=None):
        with ledger.client() as client:
            yield client.of_log(log)

    monkeypatch.setattr(LedgerReading, "ledger", of_this)

    def run(app, *words):
        done = CliRunner().invoke(app, [*words, "-o", "json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def _refuse(ledger, tenant):
    decision = Decision(
        new_decision_id(), allowed=False, action=Action.send_message, policy_ids=("no-cards",),
        reason="no", policy_digest="d", asked={
            "principal": "bot", "tenant": tenant, "action": "SendMessage",
            "resource": {"type": "Agent", "id": "records"},
        },
    )  # fmt: skip
    who = Principal(PrincipalId("bot"), tenant, "0" * 12)
    recorder = AuditRecorder(ledger.journal, lambda: datetime.now(UTC))
    ledger.loop.run(recorder.record_refusal(who, decision, {}, Kind.request_refused))
    return decision.id


def _accept(ledger, tenant, task):
    ledger.record_event(
        ledger.events.event(
            Kind.request_accepted, tenant, task, decision=new_decision_id(), allowed=True
        )
    )


def test_entries_are_listed_by_each_filter_and_by_several(ledger, mcctl, monkeypatch):
    """Over pages that look at few rows each, of which some hold nothing that fits."""
    monkeypatch.setattr(rows_of, "_MOST_SEEN", 3)
    for number in range(12):
        _accept(ledger, TWO if number in (2, 9) else ONE, f"task-{number}")
    refused = _refuse(ledger, TWO)

    def listed(*words):
        return [one["index"] for one in mcctl(audit_app, "list", *words)["entries"]]

    assert listed() == [*range(12, -1, -1)]
    assert listed("--tenant", "TENANT_002") == [12, 9, 2]
    assert listed("--kind", "request.refused") == [12]
    assert listed("--kind", "request.refused", "--kind", "request.accepted", "--tenant", TWO) == [
        12,
        9,
        2,
    ]
    assert listed("--subject", "task-1") == [1]
    assert listed("--subject", "task-1", "--tenant", TWO) == []
    assert listed("--limit", "2") == [12, 11]
    assert mcctl(audit_app, "list", "--limit", "2")["more"] is True
    assert mcctl(audit_app, "list", "--limit", "13")["more"] is False
    [entry] = mcctl(audit_app, "list", "--kind", "request.refused")["entries"]
    assert (entry["subject"], entry["detail"]["policies"]) == (refused, ["no-cards"])


def test_a_time_bounds_what_is_listed(ledger, mcctl):
    """`since` and `until` by when each was recorded, the first included and the second not."""
    for number in range(6):
        _accept(ledger, ONE, f"task-{number}")
    at = [one["recorded_at"] for one in mcctl(audit_app, "list")["entries"]][::-1]
    assert at == sorted(set(at))

    def listed(*words):
        return [one["index"] for one in mcctl(audit_app, "list", *words)["entries"]]

    assert listed("--since", at[2], "--until", at[4]) == [3, 2]
    assert listed("--until", at[0]) == []
    assert listed("--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []
    assert listed("--since", "1h") == [5, 4, 3, 2, 1, 0]


def test_denials_are_listed_with_who_what_and_by_which_policies(ledger, mcctl):
    """Of a tenant and a time; what was permitted is none."""
    _accept(ledger, ONE, "task-1")
    first, second = _refuse(ledger, ONE), _refuse(ledger, TWO)
    all_of_them = mcctl(policy_app, "denials")["denials"]
    assert [one["decision"] for one in all_of_them] == [second, first]
    [of_one] = mcctl(policy_app, "denials", "--tenant", ONE, "--since", "1h")["denials"]
    assert of_one["decision"] == first
    told = {name: of_one[name] for name in ("principal", "action", "resource", "policies", "kind")}
    assert told == {
        "principal": "bot", "action": "SendMessage", "resource": "records",
        "policies": ["no-cards"], "kind": "request.refused",
    }  # fmt: skip


def test_an_entry_is_shown_by_index_event_and_decision(ledger, mcctl):
    """Each way leads to the same one; what nothing names is the asker's mistake."""
    ledger.record(3)
    decision = _refuse(ledger, ONE)
    by_index = mcctl(audit_app, "show", "3")
    assert by_index["detail"]["decision"] == decision
    assert mcctl(audit_app, "show", by_index["event_id"]) == by_index
    assert mcctl(audit_app, "show", decision) == by_index
    for unknown in ("99", "9" * 5000, "x" * 100_000, "no-such-event", new_decision_id()):
        with pytest.raises(UnusableInput):
            mcctl(audit_app, "show", unknown)


def test_the_tail_prints_the_newest_last(ledger, mcctl):
    """Each as a JSON line."""
    for number in range(4):
        _accept(ledger, ONE, f"task-{number}")
    done = CliRunner().invoke(audit_app, ["tail", "--lines", "2", "-o", "json"])
    assert [json.loads(line)["index"] for line in done.stdout.split("\n")[:-1]] == [2, 3]
    done = CliRunner().invoke(audit_app, ["tail", "--lines", "1"])
    assert "request.accepted  TENANT_001  task-3  decision=dec_" in done.stdout


@pytest.mark.parametrize(
    "filters", [{"tenant": "NOSUCH"}, {"kind": ["request.acepted"]}, {"denied": "yes"}]
)
def test_a_filter_that_names_nothing_is_refused(ledger, filters):
    """It would find nothing, and pass for nothing done."""
    ledger.record(1)
    with ledger.client() as client, pytest.raises(UnusableInput):
        list(client.matching(**filters))


def test_no_export_is_made_of_a_tenant_that_there_is_not(ledger):
    """A tenant that left the catalogue, and has entries, is one still; one without entries is one too."""
    _accept(ledger, TenantId("LEFT"), "task-1")
    with ledger.client() as client:
        with pytest.raises(UnusableInput, match="no tenant 'NOSUCH'"):
            client.of_tenant("NOSUCH", "", "")
        for known, count in (("LEFT", 1), ("PLATFORM", 0)):
            assert len(list(client.of_tenant(known, "", "")[1])) == count
