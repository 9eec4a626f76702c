"""The journal: append-only, whole after any kill, free of secrets."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.runbooks.journal import FILE, Journal, read
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.store import RunStore

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def journal(folder: Path, **environment: str) -> Journal:
    return Journal(folder, clock=lambda: NOW, environment=environment)


@given(st.lists(VALUES, max_size=6))
def test_journal_reads_back_what_was_written(values: list[object]) -> None:
    """What is appended is read back in order, each line numbered by its place."""
    with TemporaryDirectory() as name:
        writer = journal(Path(name))
        for value in values:
            writer.append("something", value=value)
        events = read(Path(name))
    assert [event["value"] for event in events] == values
    assert [event["seq"] for event in events] == list(range(len(values)))


@given(count=st.integers(1, 4), cut=st.integers(1, 60))
def test_journal_torn_line_left_out_and_mended(count: int, cut: int) -> None:
    """A journal cut at any byte reads as a prefix, and can be continued."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        writer = journal(folder)
        for number in range(count):
            writer.append("something", number=number)
        whole = (folder / FILE).read_bytes()
        (folder / FILE).write_bytes(whole[: max(0, len(whole) - cut)])
        before = read(folder)
        assert [event["number"] for event in before] == list(range(len(before)))
        journal(folder).append("something", number=len(before))
        assert [event["number"] for event in read(folder)] == list(range(len(before) + 1))


def test_journal_damaged_in_the_middle_refused(tmp_path: Path) -> None:
    """A damaged line that is not the last is told by its number, not skipped."""
    writer = journal(tmp_path)
    for _ in range(3):
        writer.append("something")
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text(lines[0] + "{}\n" + lines[2])
    with pytest.raises(UnusableInput, match="damaged on line 2"):
        read(tmp_path)


def test_journal_secret_of_environment_masked(tmp_path: Path) -> None:
    """A value of a secret-named variable is never written, wherever it turns up."""
    writer = journal(tmp_path, SLACK_WEBHOOK_URL="https://hooks/very-secret", HOME="/somewhere")
    writer.append("x", parameters={"A": ["see https://hooks/very-secret now", "/somewhere"]})
    text = (tmp_path / FILE).read_text()
    assert "very-secret" not in text
    assert json.loads(text)["parameters"]["A"] == ["see *** now", "/somewhere"]


def test_journal_file_is_private(tmp_path: Path) -> None:
    """Nobody but its owner may read a journal."""
    journal(tmp_path).append("x")
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


EVENTS = st.lists(
    st.sampled_from(
        [
            {"event": "step_started", "step": "a", "at": "t"},
            {"event": "process_started", "step": "a", "pid": 1},
            {
                "event": "step_finished",
                "step": "a",
                "outcome": "passed",
                "exit": 0,
                "duration_s": 1.0,
                "check_follows": True,
                "outputs": {"K": "v"},
            },
            {"event": "check_finished", "step": "a", "outcome": "passed", "exit": 0},
            {"event": "check_finished", "step": "a", "outcome": "failed", "exit": 1},
            {"event": "undo_started", "step": "a", "cause": "failure"},
            {"event": "undo_finished", "step": "a", "outcome": "undone", "exit": 0},
            {"event": "run_finished", "outcome": "failed", "exit": 1},
            {"event": "of-a-later-version"},
        ]
    ),
    max_size=12,
)


@given(EVENTS, EVENTS)
def test_state_is_a_fold(first: list[dict[str, object]], second: list[dict[str, object]]) -> None:
    """The state of a journal is the state of its beginning moved on by the rest."""
    stepwise = RunState.of(first)
    for event in second:
        stepwise.take(event)
    assert stepwise == RunState.of(first + second)


def test_state_unchecked_step_is_not_passed() -> None:
    """A step whose check has not answered does not count as passed."""
    finished = {
        "event": "step_finished",
        "step": "a",
        "outcome": "passed",
        "exit": 0,
        "duration_s": 1.0,
        "check_follows": True,
    }
    assert RunState.of([finished]).step("a").outcome is Outcome.unchecked


def test_a_line_that_the_disk_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is almost full takes some bytes and does not say so."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    writer = journal(tmp_path)
    writer.append("something", number=1)
    writer.append("something", number=2)
    assert [event["number"] for event in read(tmp_path)] == [1, 2]


def test_a_journal_that_is_a_link_is_not_written(tmp_path: Path) -> None:
    """It would be a file elsewhere that grows."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / FILE).symlink_to(elsewhere)
    with pytest.raises(CouldNotTell, match="cannot be written"):
        journal(tmp_path).append("something")
    assert elsewhere.read_bytes() == b""


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"seq": 0, "event": "run_started"}',
        '{"seq": 0, "event": "step_started", "step": []}',
        '{"seq": 0, "event": "run_finished", "outcome": "***", "exit": 0}',
        '{"seq": 0, "event": "run_finished", "outcome": [], "exit": 0}',
        '{"seq": 0}',
        "[]",
    ],
    ids=lambda line: line[:40],
)
def test_one_damaged_journal_is_told_and_hides_no_other_run(tmp_path: Path, line: str) -> None:
    """Its run cannot be used; all others can."""
    store = RunStore(tmp_path)
    for name in ("good", "bad"):
        store.create(name)
    started = {
        **dict.fromkeys(("runbook", "runbook_path", "runbook_sha256", "root"), "x"),
        "run_id": "good",
        "environment": "local",
        "parameters": {},
    }
    journal(store.folder("good")).append("run_started", **started)
    (store.folder("bad") / FILE).write_text(line + "\n")
    assert store.ids() == ["good"]
    with pytest.raises(UnusableInput, match=r"damaged|never began"):
        store.state("bad")


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../x", "a/b", "/etc", "a\0", "-a", "a\n", "a" * 201]
)
def test_what_is_no_id_of_a_run_leads_nowhere(tmp_path: Path, run_id: str) -> None:
    """It would be another folder than one of runs."""
    with pytest.raises(UnusableInput, match="no id of a run"):
        RunStore(tmp_path).state(run_id)
