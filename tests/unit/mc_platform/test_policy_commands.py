"""`python -m mc_platform policy`: what it reports, and what it exits with."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mc_platform import policy_commands
from mc_platform.errors import Misconfigured

ROOT = Path(__file__).parents[3]
POLICY_DIR = ROOT / "policies"
CATALOGUE = str(ROOT / "deploy" / "local" / "catalogue.toml")
ASKED = {
    "principal": "agent@tenant-001",
    "tenant": "TENANT_001",
    "action": "SendMessage",
    "resource": {"type": "Agent", "id": "records"},
    "purpose": "support",
}
DETAIL = {"asked": ASKED, "decision": "dec_1", "policies": ["send-to-own-agents"]}
CLOSED = '@id("closed") @reason("x") forbid (principal, action == Action::"SendMessage", resource);'


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the set that lets no message pass."""
    folder = Path(shutil.copytree(POLICY_DIR, tmp_path / "changed"))
    (folder / "closed.cedar").write_text(CLOSED)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command; gives its exit code and its report."""
    # what it sets for itself in its own process must not outlast a test
    monkeypatch.setenv("MC_RECORDS_AGENT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("MC_FULFILMENT_AGENT_URL", "http://127.0.0.1:2")

    def run(*arguments: object) -> tuple[int, dict[str, Any]]:
        code = policy_commands.run([str(argument) for argument in arguments])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_check_tells_every_problem_at_once(run: Any, changed: Path) -> None:
    """Of policies, schema and tables alike."""
    assert run("check", "--dir", POLICY_DIR)[0] == 0
    (changed / "a.cedar").write_text("permit (")
    (changed / "b.cedar").write_text("permit (principal, action, resource);")
    (changed / "tests" / "c.toml").write_text("row = 1")
    code, report = run("check", "--dir", changed)
    assert code == 1
    assert [problem.split(":")[0] for problem in report["problems"]] == [
        "a.cedar",
        "b.cedar",
        "tests/c",
    ]


def test_test_tells_failing_rows(run: Any, changed: Path) -> None:
    """A policy that breaks the examples is found by them."""
    code, report = run("test", "--dir", changed)
    assert code == 1
    assert "got deny by closed" in report["failing"][0]


def test_mutation_finds_a_policy_that_no_row_misses(run: Any, tmp_path: Path) -> None:
    """A policy without an example of its own is a policy that could vanish unseen."""
    folder = Path(shutil.copytree(POLICY_DIR, tmp_path / "set"))
    (folder / "idle.cedar").write_text(
        '@id("idle") @reason("x") forbid (principal, action, resource)'
        ' when { context.purpose == "nobody asks for this" };'
    )
    code, report = run("test", "--dir", folder, "--mutation")
    assert (code, report["failing"]) == (1, [])
    assert report["mutation"]["unnoticed"] == ["idle"]
    assert run("test", "--dir", folder)[0] == 0


def test_a_set_without_tables_is_no_passed_test(run: Any, changed: Path) -> None:
    """Nothing was asked, so nothing holds."""
    shutil.rmtree(changed / "tests")
    with pytest.raises(Misconfigured, match="has no tables"):
        run("test", "--dir", changed)


def test_diff_tells_what_was_added_removed_and_changed(run: Any, changed: Path) -> None:
    """By meaning: a comment is no change."""
    text = (changed / "operations.cedar").read_text()
    (changed / "operations.cedar").write_text("// a comment\n" + text)
    replies = (changed / "replies.cedar").read_text()
    (changed / "replies.cedar").write_text(replies.replace('"payment-card", ', ""))
    (changed / "residency.cedar").unlink()
    with (changed / "schema.cedarschema").open("a") as file:
        file.write("entity Printer;\n")
    code, report = run("diff", POLICY_DIR, changed, "--exit-code")
    assert (code, report["same"]) == (1, False)
    assert [policy["id"] for policy in report["added"]] == ["closed"]
    assert len(report["removed"]) == 3
    assert [policy["id"] for policy in report["changed"]] == ["no-raw-secrets-in-replies"]
    assert "+entity Printer;" in report["schema"]
    assert run("diff", POLICY_DIR, changed)[0] == 0
    assert run("diff", POLICY_DIR, POLICY_DIR, "--exit-code")[0] == 0


def _leaf(**changed: Any) -> dict[str, Any]:
    event = {"kind": "request.accepted", "tenant": "TENANT_001", "detail": DETAIL | changed}
    return {"index": 0, "leaf": base64.b64encode(json.dumps(event).encode()).decode()}


@pytest.mark.parametrize(
    "line",
    [DETAIL, {"kind": "request.accepted", "detail": DETAIL}, _leaf()],
    ids=["row", "event", "entry"],
)
def test_simulate_shows_whose_decisions_change(
    run: Any, changed: Path, tmp_path: Path, line: dict[str, Any]
) -> None:
    """Whatever form the record has; what is no decision is passed over."""
    source = tmp_path / "decisions.jsonl"
    idle = {"kind": "step.done", "detail": {"step": 1}}
    source.write_text("\n".join(json.dumps(one) for one in (line, idle, line)) + "\n")
    arguments = ["simulate", "--dir", changed, "--old", POLICY_DIR, "--from", source]
    arguments += ["--catalogue", CATALOGUE]
    code, report = run(*arguments, "--exit-code")
    assert (code, report["replayed"], report["changed"]) == (1, 2, 2)
    assert report["by_tenant"] == {"TENANT_001": 2}
    assert report["changes"][0] == {
        "decision": "dec_1",
        "tenant": "TENANT_001",
        "principal": "agent@tenant-001",
        "action": "SendMessage",
        "resource": "Agent records",
        "old": {"allowed": True, "policies": ["send-to-own-agents"]},
        "new": {"allowed": False, "policies": ["closed"]},
        "answer_changes": True,
    }
    assert run(*arguments)[0] == 0


def test_simulate_reads_a_ledger_export(run: Any, tmp_path: Path) -> None:
    """The same set changes nobody's decision; what cannot be asked again is counted."""
    gone = _leaf(asked={**ASKED, "tenant": "TENANT_GONE"})
    export = {"checkpoint": "", "format": "mc-ledger-export", "entries": [_leaf(), gone]}
    source = tmp_path / "export.json"
    source.write_text(json.dumps(export, separators=(",", ":")) + "\n")
    code, report = run(
        *("simulate", "--dir", POLICY_DIR, "--old", POLICY_DIR, "--from", source),
        *("--catalogue", CATALOGUE, "--exit-code"),
    )
    assert (code, report["replayed"], report["changed"]) == (0, 1, 0)
    assert report["skipped"] == {"the catalogue has no tenant 'TENANT_GONE'": 1}


def test_simulate_tells_that_the_catalogue_has_changed_since(run: Any, tmp_path: Path) -> None:
    """Recorded by this very set, but not the answer that it gives now."""
    digest = run("check", "--dir", POLICY_DIR)[1]["digest"]
    source = tmp_path / "decisions.jsonl"
    source.write_text(json.dumps(DETAIL | {"policies": ["other"], "policy_set": digest}) + "\n")
    arguments = ["--old", POLICY_DIR, "--from", source, "--catalogue", CATALOGUE]
    assert run("simulate", "--dir", POLICY_DIR, *arguments)[1]["drifted"] == 1


@pytest.mark.parametrize("text", ["", "no json\n", '{"format":"mc-ledger-export"}\n', "{}\n"])
def test_simulate_refuses_a_file_without_decisions(run: Any, tmp_path: Path, text: str) -> None:
    """That nothing changes must not be said of nothing."""
    source = tmp_path / "decisions.jsonl"
    source.write_text(text)
    with pytest.raises(Misconfigured, match=r"no recorded question|neither a ledger export"):
        run(
            *("simulate", "--dir", POLICY_DIR, "--old", POLICY_DIR, "--from", source),
            *("--catalogue", CATALOGUE),
        )


def test_explain_set_answers_a_recorded_question(
    run: Any, monkeypatch: pytest.MonkeyPatch, changed: Path
) -> None:
    """With the policies' texts, and what the question would get now."""
    monkeypatch.setattr("sys.stdin", _Text(json.dumps(ASKED)))
    _, report = run("explain-set", "--dir", changed, "--catalogue", CATALOGUE)
    assert report["now"]["policies"] == ["closed"]
    assert report["policies"]["closed"]["text"] == CLOSED
    monkeypatch.setattr("sys.stdin", _Text(json.dumps({**ASKED, "tenant": "T9"})))
    _, report = run("explain-set", "--dir", changed, "--catalogue", CATALOGUE)
    assert "no tenant 'T9'" in report["now"]["not_restorable"]


class _Text:
    """Standard input that holds a text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return False

    def read(self) -> str:
        return self._text
