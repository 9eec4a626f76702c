"""`when=` and `retry=`: what is left out, what is tried again, and what lint proves of both."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.errors import UnusableInput
from mc_ops.runbooks import Action, Outcome
from mc_ops.runbooks.condition import condition
from mc_ops.runbooks.engine import MOST_WAIT_S, pause_s
from mc_ops.runbooks.journal import read
from mc_ops.runbooks.model import Retry
from mc_ops.runbooks.parse import parse

Bench = Any

NAMES = st.sampled_from(["A", "B", "ENV"])
VALUES = st.sampled_from(["", "1", "2", "none"])
CLAUSES = st.tuples(
    NAMES, st.sampled_from(["=", "!="]), st.lists(VALUES, min_size=1, max_size=3).map("|".join)
)


@given(
    st.lists(CLAUSES, min_size=1, max_size=3), st.fixed_dictionaries(dict.fromkeys("AB", VALUES))
)
def test_condition_is_what_it_says(
    clauses: list[tuple[str, str, str]], values: dict[str, str]
) -> None:
    """Every clause must hold; `=` is one of the values, `!=` none of them; it reads back as is."""
    values = {**values, "ENV": "1"}
    asked = condition(" and ".join(name + sign + allowed for name, sign, allowed in clauses))
    expected = all(
        (values[name] in allowed.split("|")) == (sign == "=") for name, sign, allowed in clauses
    )
    assert (asked.refusal(values) == "") is expected
    assert condition(str(asked)) == asked
    assert asked.implies(asked)


@pytest.mark.parametrize(
    "text", ["", "A", "a=1", "A==1", "A=1 or B=2", "A=1 and", "A=$(id)", "A=1;B=2", "A = 1", "=1"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    """The grammar is closed: nothing of a shell's, no `or`, no spaces in a clause."""
    with pytest.raises(ValueError):
        condition(text)


HEADER = """```yaml runbook
id: demo
title: Demo
parameters:
- {name: PUSH, default: "0", pattern: "[01]"}
- {name: TOKEN, secret: true}
- {name: OUT, set_by: a}
- {name: MAYBE, set_by: a, default: ""}
```
"""
SETS = '```sh step=a when="PUSH=1"\necho "OUT=1" >> "$STEP_OUTPUT"\n```\n'


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        ('```sh step=b when="NOPE=1"\ntrue\n```\n', "when names 'NOPE', which is no parameter"),
        ('```sh step=b when="PUSH=2"\ntrue\n```\n', "when compares PUSH with '2'"),
        ('```sh step=b when="ENV=moon"\ntrue\n```\n', "when compares ENV with 'moon'"),
        ('```sh step=b when="TOKEN=x"\ntrue\n```\n', "when names 'TOKEN', which is secret"),
        ('```sh step=b when="OUT=1"\ntrue\n```\n' + SETS, "which is not set before 'b'"),
        (SETS + '```sh step=b when="OUT=1"\ntrue\n```\n', "which 'a' sets only when PUSH=1"),
        (SETS + "```sh step=b\necho $OUT\n```\n", "'b' needs OUT, which 'a' sets only when PUSH=1"),
        (SETS + '```sh step=b\npython3 -c "os.environ["OUT"]"\n```\n', "'b' needs OUT"),
        (SETS + "```sh step=b\ntrue\n```\n```sh check=b\ntest ${OUT}\n```\n", "'b' needs OUT"),
        (SETS + "```text gate=b\nIt is $OUT.\n```\n", "the gate shows 'OUT', which 'a' sets only"),
        (SETS + "```text gate=b\nIt is $TOKEN.\n```\n", "the gate shows 'TOKEN', which is secret"),
        (SETS + "```text gate=b\nIt is $NOPE.\n```\n", "the gate shows 'NOPE', no parameter"),
        ("```sh step=b retry=3\ntrue\n```\n", "retry is for steps that are repeat=safe"),
        (
            "```sh step=b repeat=safe retry=99\ntrue\n```\n",
            'retry is "99", must be a number of attempts from 1 to 10',
        ),
        ("```sh step=b repeat=safe wait=2s\ntrue\n```\n", "wait is the pause before a retry="),
        ("```sh gate=b\nsudo reboot\n```\n", "a gate is a text block"),
        (
            "```text gate=b\nOk?\n```\n```sh check=b\ntrue\n```\n",
            "'b' is a gate, which has no check",
        ),
        ("```text gate=b timeout=1s\nOk?\n```\n", "timeout is unknown"),
    ],
)
def test_lint_refuses(blocks: str, reason: str) -> None:
    """Unknown names, impossible values, outputs that may be missing, unsafe retries."""
    first = "" if "step=a" in blocks else SETS
    _, problems = parse((HEADER + first + blocks).encode(), "demo.md")
    assert any(reason in problem.reason for problem in problems), problems


@pytest.mark.parametrize(
    "block",
    [
        '```sh step=b when="PUSH=1 and ENV=local"\necho $OUT\n```\n',
        "```sh step=b\necho ${OUT:-none} $MAYBE\n```\n",
        '```sh step=b when="MAYBE!=1"\ntrue\n```\n',
        '```sh step=b repeat=safe retry=3 wait=10s assignee="the platform team"\ntrue\n```\n',
        '```text gate=b when="PUSH=1" not_by=starter assignee=sre\nIt is $OUT in ${ENV}.\n```\n',
    ],
)
def test_lint_accepts(block: str) -> None:
    """What is needed under the same condition, with a default, or with a stand-in."""
    _, problems = parse((HEADER + SETS + block).encode(), "demo.md")
    assert problems == []


PARAMETERS = """parameters:
- {name: PUSH, default: "0", pattern: "[01]"}
- {name: FOUND, set_by: look}
- {name: TAG, set_by: tag, default: none}
"""
BLOCKS = (
    'step=look|echo "FOUND=$(cat found)" >> "$STEP_OUTPUT"',
    'step=tag when="FOUND!=nothing"|echo tag >> trace; echo "TAG=v1" >> "$STEP_OUTPUT"',
    'step=push when="PUSH=1"|echo push >> trace',
    "step=end|echo $TAG >> trace",
)


@pytest.mark.parametrize(
    ("found", "push", "told", "skipped"),
    [
        ("nothing", "0", ["none"], ["tag", "push"]),
        ("thing", "0", ["tag", "v1"], ["push"]),
        ("thing", "1", ["tag", "push", "v1"], []),
        ("nothing", "1", ["push", "none"], ["tag"]),
    ],
)
def test_a_step_whose_condition_does_not_hold_is_skipped(
    bench: Bench, found: str, push: str, told: list[str], skipped: list[str]
) -> None:
    """The plan says what it knows; the run leaves out the rest, journals and tells the reason."""
    (bench.folder / "found").write_text(found)
    bench.write(*BLOCKS, parameters=PARAMETERS)
    prepared = bench.prepare(PUSH=push)
    actions = {planned.step.id: planned for planned in prepared.plan.steps}
    assert (actions["push"].action is Action.omit) is (push == "0")
    assert (actions["tag"].action, actions["tag"].reason) == (
        Action.run,
        "only when FOUND!=nothing",
    )
    state = bench.carry_out(prepared)
    assert (state.exit, bench.told().split()) == (0, told)
    events = read(bench.store.folder(state.run_id))
    left_out = [event for event in events if event["event"] == "step_skipped"]
    assert [event["step"] for event in left_out] == skipped
    for event in left_out:
        assert event["reason"].startswith("only when ")
        assert state.step(event["step"]).outcome is Outcome.skipped
        assert any(f" {event['step']} skipped, only when" in line for line in bench.heard.lines)


def test_a_resumed_run_skips_what_it_skipped(bench: Bench) -> None:
    """Neither run nor journalled a second time; a step that was skipped is never undone."""
    bench.write(
        'step=a when="ENV=kubernetes"|echo a >> trace',
        "undo=a on=failure until=b|echo undo >> trace",
        "step=b|echo b >> trace; test -e ready",
    )
    assert bench.run().exit == 1
    (bench.folder / "ready").touch()
    state = bench.resume()
    assert (state.exit, bench.told()) == (0, "b\nb\n")
    events = [event["event"] for event in read(bench.store.folder(state.run_id))]
    assert events.count("step_skipped") == 1
    assert "undo_started" not in events


def test_what_was_undone_is_decided_anew(bench: Bench) -> None:
    """After an undo the step runs again, and conditions follow what it finds out now."""
    (bench.folder / "found").write_text("thing")
    blocks = [*BLOCKS, "step=last|test -e ready"]
    blocks.insert(1, "undo=look until=last|echo undo >> trace")
    bench.write(*blocks, parameters=PARAMETERS)
    assert bench.run().exit == 1
    (bench.folder / "found").write_text("nothing")
    (bench.folder / "ready").touch()
    state = bench.resume()
    assert state.exit == 0
    assert bench.told().split() == ["tag", "v1", "undo", "none"]
    assert state.parameters["TAG"] == "none"


@pytest.mark.parametrize(
    ("code", "attempts", "ends"), [(1, 3, 1), (7, 3, 3), (2, 1, 2), (4, 1, 4), (5, 1, 5), (8, 1, 8)]
)
def test_retry_only_where_another_attempt_may_help(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int, attempts: int, ends: int
) -> None:
    """Findings and doubts are tried again; wrong input, missing rights and a person's no are not."""
    monkeypatch.setattr("mc_ops.runbooks.engine.pause_s", lambda retry, failed: 0.0)
    bench.write(f"step=a repeat=safe retry=2 wait=1s|echo a >> trace; exit {code}")
    state = bench.run()
    assert (state.exit, bench.told().split()) == (ends, ["a"] * attempts)
    events = read(bench.store.folder(state.run_id))
    logs = [event["log"] for event in events if event["event"] == "step_finished"]
    assert logs == [f"logs/01-a.{number + 1}.log" for number in range(attempts)]
    assert sum(event["event"] == "retry_scheduled" for event in events) == attempts - 1


def test_retry_until_step_and_check_pass(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fails fails its attempt; undo waits for the last one."""
    monkeypatch.setattr("mc_ops.runbooks.engine.pause_s", lambda retry, failed: 0.0)
    bench.write(
        "step=a repeat=safe retry=5|echo a >> trace; test $(wc -l < trace) != 1",
        "check=a|test $(wc -l < trace) -ge 3",
        "undo=a|echo undo >> trace",
    )
    state = bench.run()
    assert (state.exit, state.step("a").attempts, bench.told()) == (0, 3, "a\na\na\n")


def test_retry_ends_with_the_time_of_the_step(bench: Bench) -> None:
    """The step's time is that of all its attempts and pauses."""
    bench.write("step=a repeat=safe retry=9 wait=40s timeout=30s|echo a >> trace; exit 1")
    assert (bench.run().exit, bench.told()) == (1, "a\n")
    assert "note a has no time left for another attempt" in bench.heard.lines


def test_a_signal_ends_the_pause(bench: Bench) -> None:
    """Ctrl-C between attempts is an interruption, with its undo."""
    bench.write(
        "step=a repeat=safe retry=3 wait=500s timeout=1h|echo a >> trace; exit 1",
        "undo=a on=interrupt|echo undo >> trace",
    )

    def note(text: str) -> None:
        bench.heard.lines.append(text)
        if "again in" in text:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    bench.heard.note = note
    state = bench.run()
    assert (state.outcome, state.exit) == (Outcome.interrupted, 5)
    assert bench.told().split() == ["a", "undo"]


@given(st.floats(1, 1e5), st.integers(1, 10))
def test_pauses_double_and_are_bounded(wait_s: float, failed: int) -> None:
    """Each pause is twice the one before, up to five minutes."""
    retry = Retry(times=10, wait_s=wait_s)
    assert pause_s(retry, failed) == min(wait_s * 2 ** (failed - 1), MOST_WAIT_S)


def test_a_condition_on_what_is_not_there_ends_the_run(bench: Bench) -> None:
    """Where a changed runbook left a name without a value, nothing is guessed."""
    bench.write("step=a|test -e ready")
    bench.run()
    (bench.folder / "ready").touch()
    bench.write(
        "step=a|true",
        'step=b when="LATE=1"|echo b >> trace',
        parameters="parameters:\n- {name: LATE, set_by: a}\n",
    )
    with pytest.raises(UnusableInput, match="'LATE' has no value"):
        bench.resume(accept_changes=True)
    assert bench.told() == ""
