"""`mcctl policy` as a person meets it: what it prints, changes, asks, and exits with."""

from __future__ import annotations

import fcntl
import json
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.policy as verbs
from mc_ops.cli.ledger_access import LedgerReading
from mc_ops.cli.operator_access import Access
from mc_ops.environments import policy_set
from mc_ops.environments.local.environment import LocalEnvironment
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, Finding, NotAllowed, UnusableInput
from mc_ops.policies import PolicyHealth, ask_service

POLICIES = Path(__file__).parents[2] / "policies"
ASKED = {
    "principal": "agent@tenant-001",
    "tenant": "TENANT_001",
    "action": "SendMessage",
    "resource": {"type": "Agent", "id": "records"},
    "purpose": "support",
}


@pytest.fixture
def layout(monkeypatch, tmp_path):
    """A home with the checkout's set in place, and a blue replica that has in force what is there."""
    home = tmp_path / "home"
    home.mkdir()
    made = Layout(home=home)
    policy_set.refresh(made, POLICIES)
    environment = RecordingEnvironment(Recorded(home=home, replicas={"blue-1": {}}))
    monkeypatch.setattr(environment, "locked", LocalEnvironment(made).locked)

    def health(_instance):
        return PolicyHealth(digest_of(made.policies), None)

    monkeypatch.setenv("MC_HOME", str(home))
    monkeypatch.setattr(verbs, "open_environment", lambda _env: environment)
    monkeypatch.setattr("mc_ops.policies.local_set.policy_health", health)
    monkeypatch.setattr("mc_ops.policies.apply.policy_health", health)
    monkeypatch.setattr(Access, "acting", declaring)
    DECLARED.clear()
    return made


DECLARED = []


@contextmanager
def declaring(call):
    """An operator's client that notes what is declared."""

    def declare(kind, digest, *, reason):
        DECLARED.append((kind, digest, reason))
        return {"principal": f"{(call.whose or 'OPERATOR').lower()}@platform"}

    assert call.url is None
    yield SimpleNamespace(declare_rules=declare)


def digest_of(folder):
    """As the service says it; asked once for each content, as whatever waits asks again and again."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return _digest_of(folder, tuple((path, path.read_bytes()) for path in files))


@cache
def _digest_of(folder, _content):
    report, _ = ask_service(["check", "--dir", str(folder)])
    return report["digest"]


@pytest.fixture
def changed(tmp_path):
    """A set that differs by a policy with its own row."""
    folder = Path(shutil.copytree(POLICIES, tmp_path / "changed"))
    (folder / "extra.cedar").write_text(
        '@id("no-lamps") @reason("no lamps") forbid (principal, action == Action::"Enact", resource'
        ' == Operation::"order-lamps");'
    )
    table = folder / "tests" / "operations.toml"
    row = '\n[[row]]\nname = "lamps"\nquestion = { resource_id = "order-lamps" }\n'
    table.write_text(table.read_text() + row + 'allow = false\npolicies = ["no-lamps"]\n')
    return folder


def _run(*args):
    return CliRunner().invoke(verbs.app, [str(arg) for arg in args])


def test_check_and_test_pass_for_the_set_that_we_ship():
    """And say how many policies and rows there are."""
    done = _run("check", POLICIES)
    assert done.exit_code == 0
    assert "policies" in done.stdout
    done = _run("test", POLICIES, "--mutation", "--output", "json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["schema_version"], report["failing"]) == (0, 1, [])
    assert report["mutation"] == {"taken_away": report["policies"], "unnoticed": []}


def test_check_lists_the_problems_of_a_broken_set(changed):
    """Each on its own line, and the exit code is 1."""
    (changed / "extra.cedar").write_text("permit (")
    done = _run("check", changed)
    assert done.exit_code == 1
    assert done.stdout.startswith("extra.cedar: does not parse")


def test_test_lists_failing_rows(changed):
    """What was expected, and what came."""
    (changed / "extra.cedar").unlink()
    done = _run("test", changed)
    assert done.exit_code == 1
    assert "operations: lamps: expected deny by no-lamps, got allow" in done.stdout


def test_a_folder_that_is_no_set_is_a_usage_error(tmp_path):
    """It is named, with what to do."""
    done = _run("check", tmp_path / "none")
    assert isinstance(done.exception, UnusableInput)
    assert "is no directory" in str(done.exception)


def test_diff_shows_what_was_added(changed):
    """0 for a reader, 1 for a pipeline that asked for it."""
    done = _run("diff", POLICIES, changed)
    assert done.exit_code == 0
    assert done.stdout == "+ no-lamps  forbid: no lamps\n"
    assert _run("diff", POLICIES, changed, "--exit-code").exit_code == 1


def test_simulate_shows_whose_decisions_change(layout, changed, tmp_path):
    """Tenant, principal, action and resource, and both answers."""
    (changed / "messages.cedar").unlink()
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps({"asked": ASKED, "decision": "dec_1"}) + "\n")
    done = _run("simulate", "--dir", changed, "--from", source, "--exit-code")
    assert done.exit_code == 1
    counted, tenant, change = done.stdout.splitlines()
    assert (counted, tenant) == ("1 replayed, 1 change", "  TENANT_001  1")
    assert change.split("  ") == [
        "dec_1",
        "TENANT_001",
        "agent@tenant-001",
        "SendMessage Agent records",
        "allow (send-to-own-agents) -> deny (no policy)",
    ]


@pytest.fixture
def ledger(monkeypatch):
    """An auditor's client over one decision, made by the set in force."""
    detail = {
        "decision": "dec_1",
        "policies": ["send-to-own-agents"],
        "policy_set": digest_of(POLICIES),
        "reason": "permitted",
        "asked": dict(ASKED),
    }
    event = {
        "id": "e-1",
        "kind": "request.accepted",
        "tenant": "TENANT_001",
        "occurred_at": "2026-01-02T03:04:05+00:00",
        "detail": detail,
    }

    class Client:
        def telling(self, _decision):
            yield SimpleNamespace(leaf=json.dumps(event).encode())

    @contextmanager
    def opened(_call):
        yield Client()

    monkeypatch.setattr(LedgerReading, "ledger", opened)
    return detail


def test_explain_shows_question_policy_and_whether_it_still_holds(layout, ledger):
    """With the policy's own text, since the set is the one that answered."""
    done = _run("explain", "dec_1")
    assert done.exit_code == 0, done.exception
    assert "asked     action: SendMessage" in done.stdout
    assert '@id("send-to-own-agents")' in done.stdout
    assert "(the one in force)" in done.stdout
    report = json.loads(_run("explain", "dec_1", "--output", "json").stdout)
    assert (report["holds_today"], report["same_set_today"]) == (True, True)


def test_explain_asks_by_the_catalogue_that_the_shell_names(layout, ledger, monkeypatch, tmp_path):
    """As `mcctl up` starts replicas by `MC_CATALOGUE`: a tenant of one's own is known."""
    catalogue = tmp_path / "catalogue.toml"
    shipped = (POLICIES.parent / "deploy" / "local" / "catalogue.toml").read_text(encoding="utf-8")
    catalogue.write_text(shipped.replace("TENANT_001", "ACME"), encoding="utf-8")
    monkeypatch.setenv("MC_CATALOGUE", str(catalogue))
    ledger["asked"]["tenant"] = "ACME"
    report = json.loads(_run("explain", "dec_1", "--output", "json").stdout)
    assert report["holds_today"] is True


def test_explain_shows_no_text_of_another_set(layout, ledger):
    """The same id may mean another thing there; and today's answer may be another one."""
    ledger["policy_set"] = "0" * 64
    ledger["asked"]["purpose"] = "undeclared"
    report = json.loads(_run("explain", "dec_1", "--output", "json").stdout)
    assert report["policies"] == [{"id": "send-to-own-agents"}]
    assert (report["holds_today"], report["now"]["allowed"]) == (False, False)


def test_explain_knows_a_decision_that_is_not_there(layout, ledger):
    """It says where its id stands."""
    done = _run("explain", "dec_9")
    assert isinstance(done.exception, UnusableInput)
    assert "no ledger entry records the decision dec_9" in str(done.exception)


def test_apply_brings_a_set_into_force_and_rollback_brings_the_old_one_back(layout, changed):
    """Each time the replicas' digest is waited for."""
    before = digest_of(layout.policies)
    done = _run("apply", changed, "--yes", "--reason", "lamps", "--output", "json")
    assert done.exit_code == 0, done.exception
    report = json.loads(done.stdout)
    assert (report["before"], report["digest"]) == (before, digest_of(changed))
    assert report["replicas"] == ["blue-1"]
    assert (layout.policies / "extra.cedar").exists()
    assert report["principal"] == "operator@platform"
    again = _run("apply", changed, "--yes", "--reason", "lamps")
    assert again.exit_code == 0, "again: nothing to do"
    assert _run("rollback", "--yes", "--reason", "no lamps").exit_code == 0
    assert digest_of(layout.policies) == before
    assert [
        ("policy_set", digest_of(changed), "lamps"),
        ("policy_set", before, "no lamps"),
    ] == DECLARED


def test_a_rollback_never_brings_back_what_was_rolled_back(layout, changed, tmp_path):
    """Twice goes two sets back; any set that was in force can be named."""
    before = digest_of(layout.policies)
    _run("apply", changed, "--yes", "--reason", "lamps")
    bad = Path(shutil.copytree(changed, tmp_path / "bad"))
    (bad / "extra.cedar").write_text((bad / "extra.cedar").read_text().replace('"no lamps"', '"x"'))
    done = _run("apply", bad, "--yes", "--reason", "worse")
    assert done.exit_code == 0, done.exception
    for expected in (digest_of(changed), before):
        assert _run("rollback", "--yes", "--reason", "back").exit_code == 0
        assert digest_of(layout.policies) == expected
    assert isinstance(_run("rollback", "--yes", "--reason", "back").exception, UnusableInput)
    wanted = digest_of(changed)
    to = ("rollback", "--to", wanted[:12], "--yes", "--reason", "it was good")
    assert _run(*to).exit_code == 0
    assert digest_of(layout.policies) == wanted
    for unusable in ("0" * 64, wanted[:4]):
        done = _run("rollback", "--to", unusable, "--yes", "--reason", "x")
        assert isinstance(done.exception, UnusableInput)


def test_of_two_who_change_the_set_at_once_the_later_is_told(
    layout, changed, tmp_path, monkeypatch
):
    """Else it would undo, or go back to, another set than the one that it showed."""
    other = Path(shutil.copytree(POLICIES, tmp_path / "other"))
    text = (changed / "extra.cedar").read_text()
    shutil.copytree(changed, other, dirs_exist_ok=True)
    (other / "extra.cedar").write_text(text.replace('"no lamps"', '"none"'))
    before, asked = digest_of(layout.policies), []

    def confirm(_question, *, yes):
        asked.append(yes)
        if not yes:  # the other one is quicker, while this one thinks
            assert _run("apply", other, "--yes", "--reason", "first").exit_code == 0

    monkeypatch.setattr(verbs, "confirm", confirm)
    done = _run("apply", changed, "--reason", "second")
    assert isinstance(done.exception, CouldNotTell)
    assert asked == [False, True]
    assert digest_of(layout.policies) == digest_of(other)
    assert [reason for *_, reason in DECLARED] == ["first"]
    assert policy_set.find(layout, None)[0] == before


def test_nobody_else_changes_the_platform_while_a_set_is_brought(layout, changed, monkeypatch):
    """An `up` that copied a set meanwhile would exchange the same folder."""
    free = []

    @contextmanager
    def looking(call):
        with (layout.home / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free.append(True)
            except BlockingIOError:
                free.append(False)
        with declaring(call) as client:
            yield client

    monkeypatch.setattr(Access, "acting", looking)
    assert _run("apply", changed, "--yes", "--reason", "x").exit_code == 0
    assert _run("rollback", "--yes", "--reason", "x").exit_code == 0
    assert free == [False, False]


def test_a_change_has_a_reason(layout, changed):
    """Without one it is a usage error, and nothing is changed."""
    before = digest_of(layout.policies)
    for arguments in (("apply", changed, "--yes"), ("rollback", "--yes")):
        done = _run(*arguments)
        assert done.exit_code == 2
        assert "--reason" in done.output
    assert digest_of(layout.policies) == before


def test_a_set_that_permits_no_declaration_can_be_replaced(layout, changed, monkeypatch):
    """By who says that it is to go on; else nothing is changed, exit 4."""

    @contextmanager
    def refusing(_call):
        def declare(*_args, **_more):
            raise NotAllowed("ChangeRules is refused")

        yield SimpleNamespace(declare_rules=declare)

    monkeypatch.setattr(Access, "acting", refusing)
    before = digest_of(layout.policies)
    arguments = ("apply", changed, "--yes", "--reason", "x")
    assert isinstance(_run(*arguments).exception, NotAllowed)
    assert digest_of(layout.policies) == before
    assert _run(*arguments, "--undeclared").exit_code == 0
    assert digest_of(layout.policies) == digest_of(changed)


def test_the_history_is_the_ledgers(layout, monkeypatch):
    """Who, when, why, and what changed; other events are none of it."""
    detail = {
        "old": "a" * 64, "new": "b" * 64, "principal": "ann@platform", "reason": "tiers",
        "changes": ["changed policy enact-within-tier (meaning)"],
    }  # fmt: skip
    leaves = [
        {"kind": "policy.changed", "occurred_at": "2026-01-02T03:04:05+00:00", "detail": detail},
        json.dumps({"kind": "policy.refused", "detail": {"x": "policy.changed"}}).encode(),
        b"no json policy.changed",
    ]
    monkeypatch.setattr(verbs, "_of_the_platform", lambda *_: iter(leaves))
    done = _run("history")
    assert done.exit_code == 0, done.exception
    for word in ("aaaaaaaaaaaa -> bbbbbbbbbbbb", "ann@platform", "tiers", "enact-within-tier"):
        assert word in done.stdout
    assert "policy.refused" not in done.stdout
    [told] = json.loads(_run("history", "--output", "json").stdout)["changes"]
    assert told["changes"] == detail["changes"]


def test_apply_refuses_a_broken_set_before_it_touches_anything(layout, changed):
    """A set that would be refused is not even put in place."""
    (changed / "extra.cedar").unlink()
    done = _run("apply", changed, "--yes", "--reason", "x")
    assert isinstance(done.exception, Finding)
    assert not layout.policy_sets.exists()


def test_apply_does_not_change_a_copy_that_nobody_reads(layout, changed, monkeypatch):
    """A platform that was started with a set elsewhere would not notice."""
    monkeypatch.setattr(
        "mc_ops.policies.local_set.policy_health", lambda _one: PolicyHealth("0" * 64, None)
    )
    done = _run("apply", changed, "--yes", "--reason", "x")
    assert isinstance(done.exception, UnusableInput)
    assert "another policy set in force" in str(done.exception)


def test_apply_asks_a_person(layout, changed):
    """And without one, it wants --yes."""
    done = _run("apply", changed, "--reason", "x")
    assert isinstance(done.exception, UnusableInput)
    assert not layout.policy_sets.exists()


def test_there_may_be_nothing_to_go_back_to(layout):
    """It says so."""
    done = _run("rollback", "--yes", "--reason", "x")
    assert isinstance(done.exception, UnusableInput)
