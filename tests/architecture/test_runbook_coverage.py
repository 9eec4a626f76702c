"""The runbook, what is known of its lines, and the page of it agree, without a cluster.

`tests/cluster/test_runbook_lines.py` runs the lines.
"""

from __future__ import annotations

import ast
import subprocess

import pytest
from tests.cluster import runbook
from tests.cluster.runbook import MISLEADS, ROOT, WORKS

TEXT = runbook.RUNBOOK.read_text(encoding="utf-8")
LINES = [one for one in runbook.lines(TEXT) if not one.is_alert]


def test_the_page_is_made_of_the_runbook_and_of_what_is_known():
    """MC_WRITE_COVERAGE=1 tests/cluster/test_runbook_lines.py writes it."""
    assert runbook.PAGE.read_text(encoding="utf-8") == runbook.page()


def test_no_line_of_a_block_is_left_out():
    """Each is part of a command or of an alert, or a comment, or the head of the rules."""
    held = "\n".join(one.text for one in runbook.lines(TEXT))
    for section, language, block in runbook.fences(TEXT):
        rules = runbook.rules(TEXT).partition("    rules:\n")[2]
        for line in (rules if language == "yaml" else block).splitlines():
            assert line.strip() in held or line.startswith("#"), f"{section}: {line}"


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_line_is_a_whole_command(number):
    """As bash reads it: nothing is open, and no heredoc ends with the text."""
    done = subprocess.run(
        ["bash", "-n", "-c", LINES[number].text], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "change", [TEXT.replace("--replicas=3", "--replicas=4"), TEXT + "\n```bash\ntrue\n```\n"]
)
def test_a_line_that_changes_or_is_new_needs_an_entry(change, tmp_path, monkeypatch):
    file = tmp_path / "runbook.md"
    file.write_text(change, encoding="utf-8")
    monkeypatch.setattr(runbook, "RUNBOOK", file)
    with pytest.raises(ValueError, match="lines without an entry"):
        runbook.page()


@pytest.mark.parametrize("name", list(runbook.entries()))
def test_an_entry_names_tests_that_exist_and_what_is_ours(name):
    """A line that misleads says what ours does, and who tests that."""
    entry = runbook.entries()[name]
    assert entry.state in {WORKS, MISLEADS}
    assert entry.why
    assert bool(entry.ours) == bool(entry.ours_test)
    assert entry.ours or entry.state == WORKS
    for named in filter(None, (entry.test, entry.ours_test)):
        path, _, test = named.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, named


def test_verbs_of_ours_exist():
    """Each `mcctl VERB` that an entry names is one that mcctl has."""
    from mc_ops.cli.main import GROUPS, VERBS

    for entry in runbook.entries().values():
        for after in entry.ours.split("`mcctl ")[1:]:
            assert after.split()[0].strip("`") in VERBS.keys() | GROUPS.keys(), entry.id
