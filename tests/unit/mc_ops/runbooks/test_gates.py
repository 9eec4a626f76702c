"""Gates: who approves what, and that a kill, a second person or another text changes nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mc_ops.errors import NotAllowed, UnusableInput
from mc_ops.runbooks import (
    Action,
    Decision,
    Journal,
    Opened,
    Outcome,
    Record,
    RunState,
    decide,
    load,
    make_plan,
    person,
    said,
    waiting,
)
from mc_ops.runbooks.journal import read
from mc_ops.runbooks.people import may_be_same

Bench = Any
ADA = {"user": "ada", "host": "desk"}
BEN = {"user": "ben", "host": "desk"}

BLOCKS = (
    'step=build|echo build >> trace; echo "TAG=v1" >> "$STEP_OUTPUT"',
    "undo=build until=publish|echo undo >> trace",
    "gate=release title=Release assignee=sre not_by=starter|Publish $TAG to ${ENV}?",
    "step=publish|echo publish >> trace",
)
PARAMETERS = "parameters:\n- {name: TAG, set_by: build}\n"


def answer(bench: Bench, decision: Decision, gate: str = "release") -> RunState:
    """Decide from another process, as `mcctl runbook approve` does."""
    folder = bench.store.folder(bench.store.newest())
    record = Record(Journal(folder, clock=lambda: datetime.now(UTC), environment={}), RunState())
    decide(record, waiting(bench.store.state(bench.store.newest()))[gate], decision)
    return record.state


@pytest.fixture
def held(bench: Bench) -> Bench:
    """A run that waits at its gate."""
    bench.write(*BLOCKS, parameters=PARAMETERS)
    state = bench.run()
    assert (state.outcome, state.exit, bench.told()) == (Outcome.waiting, 8, "build\n")
    return bench


def test_a_run_waits_until_somebody_approves(held: Bench) -> None:
    """Exit 8, nothing undone; resumed before the approval it waits again, after it goes on."""
    assert held.resume().exit == 8
    opened = waiting(held.store.state(held.store.newest()))["release"]
    assert (opened.text, opened.assignee) == ("Publish v1 to local?\n", "sre")
    answer(held, Decision(True, BEN, "looks good"))
    state = held.resume()
    assert (state.exit, held.told()) == (0, "build\npublish\n")
    approval = next(
        e for e in read(held.store.folder(state.run_id)) if e["event"] == "gate_approved"
    )
    assert (approval["by"], approval["reason"]) == (BEN, "looks good")
    assert approval["text_sha256"] == opened.text_sha256
    assert "approved by ben@desk (the system's user; no token)" in said(state.step("release"))
    opened_once = [e for e in read(held.store.folder(state.run_id)) if e["event"] == "gate_opened"]
    assert len(opened_once) == 1


def test_rejected_is_a_failure_and_is_asked_again(held: Bench) -> None:
    """Exit 1 with what was armed undone; a later resume does it anew and asks anew."""
    answer(held, Decision(False, BEN, "not on a Friday"))
    state = held.resume()
    assert (state.outcome, state.exit, held.told()) == (Outcome.failed, 1, "build\nundo\n")
    assert held.resume().exit == 8
    answer(held, Decision(True, BEN))
    assert held.resume().exit == 0
    assert held.told().split() == ["build", "undo", "build", "publish"]


def test_whoever_started_may_not(held: Bench) -> None:
    """Refused, told who it was, and the gate still waits for another."""
    for by in (ADA, {**ADA, "key_id": "0" * 12}, {**ADA, "principal": "other@platform"}, {}):
        with pytest.raises(NotAllowed, match="not for whoever started the run: ada@desk"):
            answer(held, Decision(True, by))
    answer(held, Decision(True, BEN))


def test_people_are_told_apart_by_principals_else_by_user_and_host() -> None:
    """Two principals are two people; with one alone nobody knows, so user and host decide."""
    one = {**ADA, "principal": "ada@platform"}
    other = {**ADA, "principal": "ben@platform"}
    assert not may_be_same(one, other)
    assert may_be_same(one, {**BEN, "principal": "ada@platform"})
    assert may_be_same(one, ADA)
    assert not may_be_same(one, BEN)
    assert set(person(key_id="abc")) == {"user", "host", "key_id"}


def test_only_once_and_only_where_it_waits(held: Bench) -> None:
    """A second decision, one without a gate and one after the end are refused with the reason."""
    run_id = held.store.newest()
    opened = waiting(held.store.state(run_id))["release"]
    answer(held, Decision(True, BEN))
    folder = held.store.folder(run_id)
    record = Record(Journal(folder, clock=lambda: datetime.now(UTC), environment={}), RunState())
    with pytest.raises(UnusableInput, match="gate release is decided: approved by ben@desk"):
        decide(record, opened, Decision(False, {"user": "cai", "host": "desk"}))
    assert held.resume().exit == 0
    assert waiting(held.store.state(run_id)) == {}
    with pytest.raises(UnusableInput, match="gate release is decided"):
        decide(record, opened, Decision(True, BEN))
    with pytest.raises(UnusableInput, match="does not wait at a gate other"):
        decide(record, Opened(**{**_fields(opened), "id": "other"}), Decision(True, BEN))


def _fields(opened: Opened) -> dict[str, Any]:
    return {name: getattr(opened, name) for name in opened.__slots__}


def test_two_at_one_moment_one_wins(held: Bench) -> None:
    """However many decide at once, the journal has one decision, and the others are told."""
    told: list[str] = []
    start = threading.Barrier(8)

    def one(number: int) -> None:
        start.wait()
        try:
            answer(held, Decision(number % 2 == 0, {"user": f"u{number}", "host": "desk"}))
        except (UnusableInput, KeyError) as error:
            told.append(str(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = read(held.store.folder(held.store.newest()))
    assert len([e for e in events if e["event"] in ("gate_approved", "gate_rejected")]) == 1
    assert len(told) == 7


def test_an_approval_of_another_text_does_not_count(held: Bench) -> None:
    """The runbook changed after the approval: asked again, about the new text."""
    answer(held, Decision(True, BEN))
    changed = (*BLOCKS[:2], BLOCKS[2].replace("Publish", "Delete"), BLOCKS[3])
    held.write(*changed, parameters=PARAMETERS)
    run_id = held.store.newest()
    plan = make_plan(load(held.path), held.store.state(run_id))
    assert [planned.action for planned in plan.steps] == [Action.skip, Action.approve, Action.run]
    assert held.resume(accept_changes=True).exit == 8
    assert waiting(held.store.state(run_id))["release"].text.startswith("Delete v1")
    answer(held, Decision(True, BEN))
    assert held.resume(accept_changes=True).exit == 0
    assert held.told() == "build\npublish\n"


def test_a_gate_asked_again_keeps_what_was_done_after_it(bench: Bench) -> None:
    """A changed file asks for a new approval, and does not do again what passed behind the gate."""
    blocks = ("gate=ok|Go?", "step=a|echo a >> trace", "step=b|test -e ready")
    bench.write(*blocks)
    assert bench.run().exit == 8
    answer(bench, Decision(True, BEN), "ok")
    assert bench.resume().exit == 1
    bench.write(*blocks[:2], "step=b|true")
    assert bench.resume(accept_changes=True).exit == 8
    assert bench.resume(accept_changes=True).exit == 8
    answer(bench, Decision(True, BEN), "ok")
    assert (bench.resume().exit, bench.told()) == (0, "a\n")


def test_the_terminal_decides_and_hears_of_others(bench: Bench) -> None:
    """A decision at the terminal counts; one made elsewhere meanwhile is faster, and told."""
    bench.write(*BLOCKS, parameters=PARAMETERS)
    bench.by = ADA
    bench.at_gate = lambda opened, settled: Decision(True, BEN, "here")
    assert bench.run().exit == 0

    def slow(opened: Opened, settled: Callable[[], bool]) -> Decision:
        assert not settled()
        answer(bench, Decision(False, BEN, "no"))
        assert settled()
        return Decision(True, {"user": "cai", "host": "desk"})

    bench.at_gate = slow
    assert bench.run().exit == 1
    assert any("gate release is decided: rejected by ben@desk" in x for x in bench.heard.lines)


def test_the_starter_at_the_terminal_leaves_it_waiting(bench: Bench) -> None:
    """What they say is refused, and the run waits for another."""
    bench.write(*BLOCKS, parameters=PARAMETERS)
    bench.at_gate = lambda opened, settled: Decision(True, ADA)
    assert bench.run().exit == 8
    assert any("not for whoever started" in line for line in bench.heard.lines)


def test_an_interruption_at_a_gate_undoes_and_takes_no_decision(bench: Bench) -> None:
    """Ctrl-C there is as everywhere; nobody approves a run that is not to be gone on with."""
    bench.write(
        "step=a|echo a >> trace",
        "undo=a on=interrupt until=b|echo undo >> trace",
        "gate=ok|Go?",
        "step=b|echo b >> trace",
    )

    def interrupt(opened: Opened, settled: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 60
        while not settled():
            assert time.monotonic() < deadline

    bench.at_gate = interrupt
    state = bench.run()
    assert (state.outcome, state.exit, bench.told()) == (Outcome.interrupted, 5, "a\nundo\n")
    assert waiting(bench.store.state(state.run_id)) == {}
    bench.at_gate = lambda opened, settled: Decision(True, BEN)
    assert bench.resume().exit == 0
    assert bench.told().split() == ["a", "undo", "a", "b"]


def test_a_gate_that_is_left_out_asks_nobody(bench: Bench) -> None:
    """`when=` holds for gates, too."""
    bench.write('gate=ok when="ENV=kubernetes"|Go?', "step=a|echo a >> trace")
    assert (bench.run().exit, bench.told()) == (0, "a\n")


def test_a_gate_shows_what_is_recorded(bench: Bench) -> None:
    """A word that is also a secret of the environment is masked before its digest is taken."""
    bench.variables = {"SOME_TOKEN": "production"}
    bench.write("gate=ok|Go to production?", "step=a|echo a >> trace")
    assert bench.run().exit == 8
    opened = waiting(bench.store.state(bench.store.newest()))["ok"]
    assert opened.text == "Go to ***?\n"
    assert opened.text_sha256 == hashlib.sha256(opened.text.encode()).hexdigest()
    answer(bench, Decision(True, BEN), "ok")
    assert (bench.resume().exit, bench.told()) == (0, "a\n")


ENGINE = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import Bench, Heard
from mc_ops.runbooks import RunStore
bench = object.__new__(Bench)
bench.folder = Path({folder!r})
bench.path = bench.folder / "runbooks" / "demo.md"
bench.store, bench.heard = RunStore(bench.folder / "home"), Heard()
bench.answer, bench.variables, bench._suffixes = None, {{}}, iter(["00aa"])
bench.by = {{"user": "ada", "host": "desk"}}
def at_gate(opened, settled):
    (bench.folder / "asked").touch()
    while not settled():
        pass
bench.at_gate = at_gate
bench.run()
"""


def test_a_kill_at_a_gate_loses_nothing(bench: Bench) -> None:
    """`kill -9` while it waits at a terminal: approved meanwhile, it goes on where it was."""
    bench.write(*BLOCKS, parameters=PARAMETERS)
    code = ENGINE.format(tests=str(Path(__file__).parent), folder=str(bench.folder))
    engine = subprocess.Popen([sys.executable, "-c", code])
    _until((bench.folder / "asked").exists)
    engine.kill()
    engine.wait()
    answer(bench, Decision(True, BEN))
    assert (bench.resume().exit, bench.told()) == (0, "build\npublish\n")


def test_an_approval_from_elsewhere_lets_a_waiting_engine_go_on(bench: Bench) -> None:
    """The engine at a terminal sees the other process's line in the journal, and ends the run."""
    bench.write(*BLOCKS, parameters=PARAMETERS)
    code = ENGINE.format(tests=str(Path(__file__).parent), folder=str(bench.folder))
    engine = subprocess.Popen([sys.executable, "-c", code])
    _until((bench.folder / "asked").exists)
    answer(bench, Decision(True, BEN))
    assert engine.wait(60) == 0
    state = bench.store.state(bench.store.newest())
    assert (state.outcome, bench.told()) == (Outcome.passed, "build\npublish\n")


def test_a_kill_between_retries_is_gone_on_with(bench: Bench) -> None:
    """`kill -9` in the pause: the resumed run tries again, and nothing was undone for it."""
    bench.write(
        "step=a repeat=safe retry=3 wait=500s timeout=1h|echo a >> trace; test -e ready",
        "undo=a|echo undo >> trace",
    )
    code = ENGINE.format(tests=str(Path(__file__).parent), folder=str(bench.folder))
    engine = subprocess.Popen([sys.executable, "-c", code])
    journal = bench.folder / "home" / "runs"
    _until(lambda: any("retry_scheduled" in p.read_text() for p in journal.glob("*/journal.jsonl")))
    engine.kill()
    engine.wait()
    (bench.folder / "ready").touch()
    state = bench.resume()
    assert (state.exit, state.step("a").attempts, bench.told()) == (0, 2, "a\na\n")


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
