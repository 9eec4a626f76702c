"""What evidence says of a runbook's run, and that a journal which was tampered with is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import recompute

RUNBOOK = b"""```yaml runbook
id: demo
title: Demo
```
```sh step=a
true
```
```text gate=ok
Go?
```
```sh step=b repeat=safe retry=1
true
```
```sh step=c when="ENV=kubernetes"
true
```
"""
SHA = hashlib.sha256(RUNBOOK).hexdigest()
TEXT_SHA = hashlib.sha256(b"Go?\n").hexdigest()
BEN = {"user": "ben", "host": "desk"}
OUTLINE = {"runbook_sha256": SHA, "steps": ["a", "ok", "b", "c"], "gates": ["ok"]}
ABOUT = {"text_sha256": TEXT_SHA, "runbook_sha256": SHA}
Events = list[dict[str, Any]]


def events() -> Events:
    return [
        {"event": "run_started", "by": {"user": "ada", "host": "desk"}, **OUTLINE},
        {"event": "step_started", "step": "a"},
        {"event": "step_finished", "step": "a", "outcome": "passed", "exit": 0},
        {"event": "gate_opened", "step": "ok", "text": "Go?\n", **ABOUT},
        {"event": "run_finished", "outcome": "waiting", "exit": 8},
        {"event": "gate_approved", "step": "ok", "by": BEN, "reason": "", "opened": 3, **ABOUT},
        {"event": "run_resumed", "by": {"user": "ada", "host": "desk"}, **OUTLINE},
        {"event": "step_started", "step": "b"},
        {"event": "step_finished", "step": "b", "outcome": "failed", "exit": 1},
        {"event": "retry_scheduled", "step": "b", "failed": 1, "of": 1, "wait_s": 1.0},
        {"event": "step_started", "step": "b"},
        {"event": "step_finished", "step": "b", "outcome": "passed", "exit": 0},
        {"event": "step_skipped", "step": "c", "reason": "only when ENV=kubernetes"},
        {"event": "run_finished", "outcome": "passed", "exit": 0},
    ]


def journal(told: Events) -> bytes:
    """Lines as the engine writes them, each with the digest of the one before."""
    lines, last = b"", ""
    for number, event in enumerate(told):
        line = json.dumps({"seq": number, "prev": last, "at": f"t{number}", **event}).encode()
        lines, last = lines + line + b"\n", hashlib.sha256(line).hexdigest()
    return lines


def course(raw: bytes, runbook: bytes = RUNBOOK) -> Any:
    return recompute("runbook.course", ("j", "r"), {}, {"j": raw, "r": runbook})


def test_course_says_who_decided_what_was_skipped_and_tried_again() -> None:
    """All of it recomputed from the journal and the runbook that it is of."""
    assert course(journal(events())) == {
        "runbook_sha256": SHA,
        "started_by": {"user": "ada", "host": "desk"},
        "gates": {
            "ok": {
                "decision": "approved",
                "by": BEN,
                "at": "t5",
                "reason": "",
                "text_sha256": TEXT_SHA,
            }
        },
        "skipped": {"c": "only when ENV=kubernetes"},
        "retried": {"b": 1},
    }
    steps = recompute("runbook.steps_passed", ("j",), {}, {"j": journal(events())})
    assert steps == {"passed": ["a", "ok", "b"], "other": {"c": "skipped"}}


def _drop(number: int) -> Callable[[Events], None]:
    return lambda told: told.__delitem__(number)


def _set(number: int, **fields: Any) -> Callable[[Events], None]:
    return lambda told: told[number].update(fields)


def _swap(one: int, other: int) -> Callable[[Events], None]:
    def swap(told: Events) -> None:
        told[one], told[other] = told[other], told[one]

    return swap


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_drop(5), "b began before gate ok was approved"),
        (_swap(5, 7), "b began before gate ok was approved"),
        (_set(5, event="gate_rejected"), "b began before gate ok was approved"),
        (_set(5, text_sha256="0" * 64), "decided about another text"),
        (_set(5, runbook_sha256="0" * 64), "decided about another text"),
        (_set(5, opened=9), "about another opening"),
        (_set(5, by={}), "nobody is named"),
        (_set(3, text="Stop?\n"), "the text of gate ok is not of its digest"),
        (_set(3, runbook_sha256="0" * 64), "opened for another runbook"),
        (lambda told: told.__delitem__(slice(3, 6)), "b began before gate ok was approved"),
        (_set(6, runbook_sha256="0" * 64), "b began before gate ok was approved"),
        (_set(0, gates=[]), None),
        (_set(7, step="x"), "x is no step of the runbook"),
        (lambda told: told.insert(6, told[5]), "decided where it did not wait"),
    ],
)
def test_a_course_that_cannot_have_been_is_refused(
    change: Callable[[Events], None], reason: str | None
) -> None:
    """Also where every digest of the chain was made anew."""
    told = events()
    change(told)
    if reason is None:
        change2 = _set(6, gates=[])
        change2(told)
        reason = "does not know the gates of the runbook"
    with pytest.raises(NotRecomputable, match=reason):
        course(journal(told))


def test_another_runbook_is_refused() -> None:
    """The text in the pack must be the one that was run."""
    with pytest.raises(NotRecomputable, match="not the one of which the journal is"):
        course(journal(events()), RUNBOOK + b"\n")


@given(data=st.data())
def test_a_line_that_was_changed_alone_is_found(data: st.DataObject) -> None:
    """Any byte of any line but the last, a line taken out, two exchanged: the chain breaks there."""
    lines = journal(events()).splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 2))
    kind = data.draw(st.sampled_from(["byte", "drop", "swap"]))
    if kind == "byte":
        line = bytearray(lines[number])
        place = data.draw(st.integers(0, len(line) - 2))
        line[place] = data.draw(st.integers(32, 126).filter(lambda one: one != line[place]))
        lines[number] = bytes(line)
    elif kind == "drop":
        del lines[number]
    else:
        lines[number], lines[number + 1] = lines[number + 1], lines[number]
    with pytest.raises(NotRecomputable):
        course(b"".join(lines))


def extent(raw: bytes) -> Any:
    return recompute("runbook.extent", ("j",), {}, {"j": raw})


@given(cut=st.integers(1, len(events())))
def test_a_tail_that_was_cut_off_shows(cut: int) -> None:
    """The chain is whole, so that it is no defect; but the lines are fewer, and the end is missing."""
    lines = journal(events()).splitlines(keepends=True)
    kept = lines[:-cut]
    assert extent(b"".join(lines)) == {
        "lines": 14,
        "last": {"event": "run_finished", "at": "t13"},
        "ended": "passed",
    }
    if not kept:
        with pytest.raises(NotRecomputable, match="has no lines"):
            extent(b"")
        return
    told = extent(b"".join(kept))
    assert told["lines"] == 14 - cut
    assert told["ended"] == ("waiting" if cut == 9 else None)  # the line where the gate waited
    with pytest.raises(NotRecomputable, match="in the middle of a line"):
        extent(b"".join(kept)[:-1])


def test_a_step_whose_check_has_not_answered_has_not_passed() -> None:
    """Else the lines of a failing check, cut off the end, would make a pass of it."""
    told: Events = [
        {"event": "run_started", **OUTLINE},
        {"event": "step_started", "step": "a"},
        {
            "event": "step_finished",
            "step": "a",
            "outcome": "passed",
            "exit": 0,
            "check_follows": True,
        },
        {"event": "check_started", "step": "a"},
    ]

    def passed(*more: dict[str, Any]) -> Any:
        return recompute("runbook.steps_passed", ("j",), {}, {"j": journal([*told, *more])})

    checked = {"event": "check_finished", "step": "a"}
    assert passed() == {"passed": [], "other": {"a": "unchecked"}}
    assert passed({**checked, "outcome": "passed", "exit": 0})["passed"] == ["a"]
    assert passed({**checked, "outcome": "failed", "exit": 1})["other"] == {"a": "failed"}
