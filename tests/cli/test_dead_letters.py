"""`mcctl audit dead-letters` as an operator meets it: what it prints, asks, and exits with."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

import mc_ops.cli.dead_letters as verbs
from mc_ops.cli.operator_access import Access
from mc_ops.errors import UnusableInput

AT = "2026-05-06T12:00:00+00:00"


def letter(index, state="refused"):
    return {
        "sink": "siem",
        "index": index,
        "event_id": f"e-{index}",
        "reason": "mapping",
        "refused_at": AT,
        "state": state,
        "request": None,
        "asked_at": None,
        "settled_at": None,
    }


class FakeService:
    """Two pages of dead letters; a resend comes to what `becomes` says, one look later."""

    def __init__(self):
        self.letters = [letter(3), letter(9)]
        self.becomes = ["taken", "taken"]
        self.asked = []
        self.looks = 0

    def dead_letters(self, *, after=None, request=None):
        if request is None:
            at = 0 if after is None else 1
            more = "3~siem" if at == 0 and len(self.letters) > 1 else None
            return {"dead_letters": self.letters[at : at + 1], "next": more}
        self.looks += 1
        states = ["waiting", "waiting"] if self.looks == 1 else self.becomes
        found = [letter(i, state) for i, state in zip((3, 9), states, strict=True)]
        return {"dead_letters": found, "next": None}

    def resend_dead_letters(self, *, reason, **selection):
        self.asked.append((reason, {k: v for k, v in selection.items() if v is not None}))
        count = len(self.letters)
        return {"request": "d-1" if count else None, "asked": count, "waiting": 0}


@pytest.fixture
def service(monkeypatch):
    fake = FakeService()

    @contextmanager
    def client(_call):
        yield fake

    monkeypatch.setattr(Access, "client", client)
    monkeypatch.setattr(Access, "acting", client)
    monkeypatch.setattr(verbs, "_LOOK_S", 0.0)
    return fake


def run(*args):
    return CliRunner().invoke(verbs.app, args)


def test_all_pages_are_listed(service):
    """A line for each; as JSON with everything that the service says."""
    done = run("list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["3", "9"]
    assert "mapping" in done.stdout
    told = json.loads(run("list", "--output", "json").stdout)
    assert [each["event_id"] for each in told["dead_letters"]] == ["e-3", "e-9"]
    service.letters = []
    assert run("list").exit_code == 0


@pytest.mark.parametrize(
    ("becomes", "code"),
    [
        (["taken", "taken"], 0),
        (["taken", "refused-again"], 1),
        (["refused-again", "waiting"], 1),
        (["taken", "waiting"], 3),
    ],
)
def test_the_exit_code_is_what_became_of_them(service, becomes, code):
    """0 all taken, 1 one was refused again, 3 one waits still."""
    service.becomes = becomes
    wait = "5" if "waiting" not in becomes else "0.05"
    done = run("resend", "--all", "--reason", "mended", "--yes", "--wait", wait, "--output", "json")
    assert done.exit_code == code
    told = json.loads(done.stdout)
    assert told["taken"] == becomes.count("taken")
    assert told["refused"] == becomes.count("refused-again")
    assert told["unsettled"] == becomes.count("waiting")
    assert service.asked == [("mended", {"all": True})]


def test_what_is_no_longer_listed_is_not_called_taken(service, monkeypatch):
    """Another operator may have asked for the same again meanwhile: then this one cannot tell."""
    listed = {"dead_letters": [letter(3, "taken")], "next": None}
    monkeypatch.setattr(service, "dead_letters", lambda **_: listed)
    done = run("resend", "--all", "--reason", "mended", "--yes", "--output", "json")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert (told["taken"], told["refused"], told["unsettled"]) == (1, 0, 1)


def test_a_selection_is_passed_on_as_it_was_named(service):
    """By events, or by a time or an age."""
    run("resend", "--event", "e-3", "--event", "e-9", "--reason", "r", "--yes")
    run("resend", "--since", "2026-01-01", "--until", "1h", "--reason", "r", "--yes")
    assert service.asked[0] == ("r", {"event_ids": ["e-3", "e-9"]})
    assert service.asked[1][1]["since"] == "2026-01-01T00:00:00+00:00"
    assert set(service.asked[1][1]) == {"since", "until"}


@pytest.mark.parametrize("named", [[], ["--all", "--event", "e"], ["--all", "--since", "1d"]])
def test_one_selection_must_be_named(service, named):
    """None, or two, are refused before anything is asked."""
    done = run("resend", *named, "--reason", "r", "--yes")
    assert isinstance(done.exception, UnusableInput)
    assert service.asked == []


def test_nobody_at_the_terminal_needs_yes(service):
    """It changes something, so it asks; where it cannot, it does nothing."""
    done = run("resend", "--all", "--reason", "r")
    assert isinstance(done.exception, UnusableInput)
    assert "--yes" in done.exception.hint
    assert service.asked == []


def test_that_none_matches_is_said(service):
    """Nothing was asked for, and nothing is waited for."""
    service.letters = []
    done = run("resend", "--all", "--reason", "r", "--yes")
    assert done.exit_code == 0
    assert service.looks == 0
