"""`mcctl tenant erase` shows what there is, asks for the tenant's name, and has every region erase it."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import pytest
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.tenant as verbs
from mc_ops.errors import CouldNotTell, UnusableInput

ASKED = ("erase", "TENANT_001", "--reason", "the customer asked")
COMMAND = ("administer", "erase", "--tenant", "TENANT_001", "--reason", "the customer asked")


def _report(region, **erased):
    counts = {"tasks": 0, "left_open": 0} | erased
    text = json.dumps({"region": region, "erased": counts})
    return Recorded(answer=CompletedProcess((), 0, f"{text}\n", ""))


@pytest.fixture
def regions(monkeypatch):
    made = [_report("local-1", tasks=3, left_open=1), _report("local-2", tasks=3)]
    monkeypatch.setattr(
        verbs, "open_regions", lambda _: tuple(RecordingEnvironment(one) for one in made)
    )
    return made


def _run(*args):
    return CliRunner().invoke(verbs.app, args)


def test_nothing_is_erased_before_the_name_is_typed(regions):
    """Without a terminal it wants --yes; only the count has run."""
    assert isinstance(_run(*ASKED).exception, UnusableInput)
    assert [one.calls for one in regions] == [[(*COMMAND, "--dry-run")]] * 2


def test_every_region_erases_and_what_stays_is_shown(regions):
    """Both are asked, first to count; open tasks are named as what is left."""
    done = _run(*ASKED, "--yes", "--output", "json")
    assert done.exit_code == 0
    assert [one.calls for one in regions] == [[(*COMMAND, "--dry-run"), COMMAND]] * 2
    told = json.loads(done.stdout)["regions"]
    assert [(one["region"], one["erased"]["tasks"]) for one in told] == [
        ("local-1", 3),
        ("local-2", 3),
    ]
    assert "tasks that have not ended, and stay: 1" in done.stderr


def test_the_table_stands_once(regions):
    """Before the question: what was erased is what was counted, unless something came meanwhile."""
    done = _run(*ASKED, "--yes")
    assert f"{done.stdout}{done.stderr}".count("REGION") == 1
    assert "is erased" in f"{done.stdout}{done.stderr}"


def test_a_tenant_of_which_nothing_is_there_is_refused(regions):
    """A name that was typed wrong is no erasure that was done."""
    for one in regions:
        one.answer = _report("local-1").answer
    failed = _run(*ASKED, "--yes").exception
    assert isinstance(failed, UnusableInput)
    assert 'nothing of a tenant "TENANT_001" is here' in str(failed)


def test_a_region_that_does_not_answer_is_said(regions):
    """The database's error is the message; nothing is claimed."""
    regions[1].answer = CompletedProcess((), 3, "", "error: the database is down\n")
    failed = _run(*ASKED, "--yes").exception
    assert isinstance(failed, CouldNotTell)
    assert "the database is down" in str(failed)
    assert COMMAND not in regions[0].calls
