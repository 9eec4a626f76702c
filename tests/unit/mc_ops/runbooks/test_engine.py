"""Running runbooks whose steps are real bash."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mc_ops.errors import UnusableInput, Waiting
from mc_ops.runbooks import Outcome
from mc_ops.runbooks.journal import read

Bench = Any  # tests/unit/mc_ops/runbooks/conftest.py; test folders are not packages


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition was never met"
        time.sleep(0.02)


def interrupt_when(
    condition: Callable[[], bool],
    number: int = signal.SIGINT,
    then: Callable[[], object] = lambda: None,
) -> threading.Thread:
    def watch() -> None:
        until(condition)
        os.kill(os.getpid(), number)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_run_every_step_passes(bench: Bench) -> None:
    """Steps run in order in the repository's root; the run passes with exit 0."""
    bench.write("step=a|pwd; echo a >> trace", "check=a|grep a trace", "step=b|echo b >> trace")
    state = bench.run()
    assert (state.outcome, state.exit, bench.told()) == (Outcome.passed, 0, "a\nb\n")
    assert str(bench.folder).encode() in bench.heard.text


def test_run_journal_before_and_after_each_block(bench: Bench) -> None:
    """The journal has each block's beginning and end, with exit, duration and output digest."""
    bench.write("step=a|echo hello", "check=a|true")
    state = bench.run()
    folder = bench.store.folder(state.run_id)
    events = read(folder)
    assert [event["event"] for event in events] == [
        "run_started",
        "step_started",
        "process_started",
        "step_finished",
        "check_started",
        "process_started",
        "check_finished",
        "run_finished",
    ]
    finished = events[3]
    assert finished["output_sha256"] == hashlib.sha256(b"hello\n").hexdigest()
    assert (folder / finished["log"]).read_bytes() == b"hello\n"
    assert finished["duration_s"] >= 0
    assert events[0]["runbook_sha256"] == hashlib.sha256(bench.path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("code", "exit_code", "outcome"),
    [
        (1, 1, Outcome.failed),
        (2, 2, Outcome.failed),
        (4, 4, Outcome.failed),
        (5, 5, Outcome.declined),
        (8, 8, Outcome.waiting),
        (7, 3, Outcome.failed),
        (127, 3, Outcome.failed),
    ],
)
def test_run_failing_step_stops_with_its_code(
    bench: Bench, code: int, exit_code: int, outcome: Outcome
) -> None:
    """A run stops at the first step that does not pass; foreign exit codes become 3."""
    bench.write(f"step=a|exit {code}", "step=b|echo b >> trace")
    state = bench.run()
    assert (state.outcome, state.exit, bench.told()) == (outcome, exit_code, "")


def test_run_pipe_and_unset_variable_fail(bench: Bench) -> None:
    """A failing end of a pipe and an unset variable fail the step, as `-euo pipefail` says."""
    bench.write("step=a|false | true")
    assert bench.run().exit == 1
    bench.write("step=a|echo $NOT_SET_ANYWHERE")
    assert bench.run().outcome is Outcome.failed


def test_run_failing_check_fails_the_step(bench: Bench) -> None:
    """A step whose check fails has not passed, and the next one does not run."""
    bench.write("step=a|true", "check=a|exit 1", "step=b|echo b >> trace")
    state = bench.run()
    assert (state.exit, state.step("a").outcome, bench.told()) == (1, Outcome.failed, "")


def test_run_timeout_could_not_tell(bench: Bench) -> None:
    """A step that outlives its timeout is ended, with nothing of it left, and the run exits 3."""
    bench.write("step=a timeout=1s|sleep 77 & echo $! > new; mv new pid; wait")
    state = bench.run()
    assert (state.outcome, state.exit) == (Outcome.failed, 3)
    orphan = int((bench.folder / "pid").read_text())
    until(lambda: not _alive(orphan))


def test_run_parameters_reach_steps(bench: Bench) -> None:
    """Defaults and given values are environment variables; a step's output reaches later ones."""
    parameters = "parameters:\n- {name: N, default: '3'}\n- {name: OUT, set_by: a}\n"
    bench.variables = {"OUT": "of the caller"}
    bench.write(
        'step=a|echo "${OUT-unset}" >> trace; echo "OUT=x=$N" >> "$STEP_OUTPUT"',
        'step=b|echo "$OUT $ENV" >> trace',
        parameters=parameters,
    )
    assert bench.run(N="5").parameters == {"N": "5", "OUT": "x=5"}
    assert bench.told() == "unset\nx=5 local\n"


def test_run_output_may_have_blank_lines(bench: Bench) -> None:
    """A blank line sets nothing, and a line separator within a value ends no line."""
    bench.write(
        'step=a|printf "\\nOUT=a\\342\\200\\250b\\n\\n" >> "$STEP_OUTPUT"',
        parameters="parameters:\n- {name: OUT, set_by: a}\n",
    )
    assert bench.run().parameters == {"OUT": "a\u2028b"}


def test_run_output_of_another_system_is_read(bench: Bench) -> None:
    """A byte-order mark and CRLF are no part of a value."""
    bench.write(
        'step=a|printf "\\357\\273\\277OUT=a\\r\\n" >> "$STEP_OUTPUT"',
        parameters="parameters:\n- {name: OUT, set_by: a}\n",
    )
    assert bench.run().parameters == {"OUT": "a"}


def test_run_output_of_several_lines_is_refused_with_the_reason(bench: Bench) -> None:
    """What follows the first line is no name that the step may not set."""
    bench.write(
        "step=a|printf 'OUT=a\\nb\\n' >> \"$STEP_OUTPUT\"",
        parameters="parameters:\n- {name: OUT, set_by: a}\n",
    )
    assert bench.run().exit == 2
    assert any("no KEY=VALUE (line 2: 'b')" in line for line in bench.heard.lines)


def test_a_block_may_be_longer_than_an_argument(bench: Bench) -> None:
    """128 KiB is where the system ends an argument; the last line runs, and once."""
    filling = "\n".join(f": {'x' * 90} {number}" for number in range(2000))
    bench.write(f'step=a|{filling}\necho "$0 $# ${{_block-none}}" >> trace')
    assert bench.run().exit == 0
    assert bench.told() == "bash 0 none\n"


def test_a_callers_shell_steers_no_block_and_no_check_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions, options and a start-up file that others have exported, for all of their shells."""
    (bench.folder / "rc").write_text("exit 9\n")
    strange = {
        "BASH_ENV": str(bench.folder / "rc"),
        "BASH_FUNC_echo%%": "() { builtin echo lost; }",
        "BASH_FUNC_cd%%": "() { return 1; }",
        "CDPATH": "/usr",
        "SHELLOPTS": "noexec",
    }
    for name, value in strange.items():
        monkeypatch.setenv(name, value)
    bench.variables = dict(os.environ)
    bench.write("step=a|cd . && echo kept >> trace")
    assert bench.run().exit == 0
    assert bench.told() == "kept\n"
    bench.write("step=a|if then")
    with pytest.raises(UnusableInput, match="shell: "):
        bench.run()


def test_run_output_that_is_not_declared_fails(bench: Bench) -> None:
    """A step may set only parameters that the header says it sets."""
    bench.write('step=a|echo "OTHER=1" >> "$STEP_OUTPUT"')
    assert bench.run().exit == 2


def test_prepare_wrong_parameters_refused(bench: Bench) -> None:
    """Unknown, missing and misshapen parameters are refused before anything runs."""
    parameters = "parameters:\n- {name: N, pattern: '[0-9]+'}\n- {name: S, set_by: a}\n"
    bench.write("step=a|true", parameters=parameters)
    for given, reason in (
        ({}, "missing parameters: N"),
        ({"N": "many"}, "does not match"),
        ({"M": "1"}, "no parameter 'M'"),
        ({"N": "1", "S": "x"}, "determined by step a"),
    ):
        with pytest.raises(UnusableInput, match=reason):
            bench.prepare(**given)
    assert not bench.store.home.exists()


def test_undo_on_failure_runs_newest_first(bench: Bench) -> None:
    """When a later step fails, armed undos run in reverse order; disarmed ones do not."""
    bench.write(
        "step=a|echo a >> trace",
        "undo=a on=failure until=c|echo undo-a >> trace",
        "step=b|echo b >> trace",
        "undo=b on=failure until=c|echo undo-b >> trace",
        "step=d|echo d >> trace",
        "undo=d on=failure|echo undo-d >> trace",
        "step=c|exit 1",
    )
    assert bench.run().exit == 1
    assert bench.told().split() == ["a", "b", "d", "undo-b", "undo-a"]


def test_resume_after_undo_goes_back_to_the_undone_step(bench: Bench) -> None:
    """A step that was undone, and all after it, run again when the run is resumed."""
    bench.write(
        "step=a|echo a >> trace",
        "step=b|echo b >> trace",
        "undo=b on=failure until=d|echo undo-b >> trace",
        "step=c|echo c >> trace",
        "step=d|test -e ready",
    )
    assert bench.run().exit == 1
    (bench.folder / "ready").touch()
    assert bench.resume().outcome is Outcome.passed
    assert bench.told().split() == ["a", "b", "c", "undo-b", "b", "c"]


def test_waiting_step_undoes_nothing(bench: Bench) -> None:
    """Waiting is no failure: nothing is taken back, and resuming asks the step again."""
    bench.write("step=a|test -e ready || exit 8", "undo=a on=failure,interrupt|echo u >> trace")
    assert (bench.run().exit, bench.told()) == (8, "")
    (bench.folder / "ready").touch()
    assert bench.resume().exit == 0


def test_undo_that_fails_comes_first_at_resume(bench: Bench) -> None:
    """An undo that failed is told, and is made good before a resumed run goes on."""
    bench.write(
        "step=a repeat=safe|echo a >> trace; test -e ready",
        "undo=a|test -e mended; echo undo >> trace",
    )
    state = bench.run()
    assert (state.exit, state.step("a").undo) == (1, Outcome.failed)
    assert bench.resume().exit == 3
    (bench.folder / "mended").touch()
    (bench.folder / "ready").touch()
    assert bench.resume().exit == 0
    assert bench.told().split() == ["a", "undo", "a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_runs_undo(bench: Bench, number: int) -> None:
    """A signal ends the running step's whole group, runs its undo, and the run exits 5."""
    bench.write(
        "step=a|sleep 77 & echo $! > new; mv new pid; wait",
        "undo=a on=interrupt|echo undone >> trace",
        "step=b|echo b >> trace",
    )
    thread = interrupt_when((bench.folder / "pid").exists, number)
    state = bench.run()
    thread.join()
    assert (state.outcome, state.exit, bench.told()) == (Outcome.interrupted, 5, "undone\n")
    assert not _alive(int((bench.folder / "pid").read_text()))
    names = [event["event"] for event in read(bench.store.folder(state.run_id))]
    assert names[-4:] == ["undo_started", "process_started", "undo_finished", "run_finished"]


def test_interrupt_without_matching_undo_undoes_nothing(bench: Bench) -> None:
    """An undo that is only for failures does not run on an interrupt."""
    bench.write("step=a|touch begun; sleep 77", "undo=a on=failure|echo undone >> trace")
    thread = interrupt_when((bench.folder / "begun").exists)
    assert bench.run().exit == 5
    thread.join()
    assert bench.told() == ""


def test_interrupt_during_undo_lets_it_finish(bench: Bench) -> None:
    """A signal while an undo runs does not break it off."""
    bench.write(
        "step=a|exit 1",
        "undo=a|touch begun; until test -e sent; do sleep 0.02; done; echo undone >> trace",
    )
    thread = interrupt_when((bench.folder / "begun").exists, then=(bench.folder / "sent").touch)
    state = bench.run()
    thread.join()
    assert (state.step("a").undo, bench.told()) == (Outcome.undone, "undone\n")


def test_resume_goes_on_after_the_last_passed_step(bench: Bench) -> None:
    """Passed steps are not run again, and keep what they determined."""
    bench.write(
        'step=a|echo a >> trace; echo "OUT=1" >> "$STEP_OUTPUT"',
        'step=b|echo "b$OUT" >> trace; test -e ready',
        parameters="parameters:\n- {name: OUT, set_by: a}\n",
    )
    assert bench.run().exit == 1
    (bench.folder / "ready").touch()
    assert bench.resume().exit == 0
    assert bench.told().split() == ["a", "b1", "b1"]
    assert "skip 0 a passed already" in bench.heard.lines


def test_resume_changed_runbook_refused_unless_accepted(bench: Bench) -> None:
    """A runbook that changed since the run began is not gone on with by accident."""
    bench.write("step=a|exit 1")
    bench.run()
    bench.write("step=a|true")
    with pytest.raises(UnusableInput, match="changed since run"):
        bench.resume()
    assert bench.resume(accept_changes=True).exit == 0


def test_secret_of_environment_not_in_journal(bench: Bench) -> None:
    """Neither the environment nor a secret that a step puts into an output is journalled."""
    bench.variables = {"DEMO_TOKEN": "s3cr3t-value"}
    bench.write(
        'step=a|echo "OUT=$DEMO_TOKEN" >> "$STEP_OUTPUT"',
        parameters="parameters:\n- {name: OUT, set_by: a}\n",
    )
    state = bench.run()
    assert "s3cr3t" not in (bench.store.folder(state.run_id) / "journal.jsonl").read_text()


def test_two_runs_do_not_interleave(bench: Bench) -> None:
    """While one run holds the lock another is told to wait."""
    bench.write("step=a|true")
    with bench.store.locked("the-other"), pytest.raises(Waiting, match="the-other"):
        bench.run()
    assert bench.run().exit == 0


ENGINE = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import Bench
bench = object.__new__(Bench)
bench.folder = Path({folder!r})
bench.path = bench.folder / "runbooks" / "demo.md"
from mc_ops.runbooks import RunStore
from conftest import Heard
bench.store, bench.heard = RunStore(bench.folder / "home"), Heard()
bench.answer, bench.variables, bench._suffixes = None, {{}}, iter(["00aa"])
bench.by = {{"user": "ada", "host": "desk"}}
bench.run()
"""


def start_engine(bench: Bench) -> subprocess.Popen[bytes]:
    """The engine in a process of its own, to be killed."""
    code = ENGINE.format(tests=str(Path(__file__).parent), folder=str(bench.folder))
    return subprocess.Popen([sys.executable, "-c", code])


def kill_in(bench: Bench, mark: str) -> None:
    engine = start_engine(bench)
    until((bench.folder / mark).exists)
    engine.kill()
    engine.wait()


def test_resume_after_kill_reruns_a_safe_step(bench: Bench) -> None:
    """After kill -9 a safe step runs again, when what was left of it has been ended."""
    bench.write(
        "step=a|echo a >> trace",
        "step=b repeat=safe|echo b >> trace; echo $$ > new; mv new pid; test -e again || sleep 77",
        "step=c|echo c >> trace",
    )
    kill_in(bench, "pid")
    orphan = int((bench.folder / "pid").read_text())
    assert _alive(orphan)
    (bench.folder / "again").touch()
    assert bench.resume().exit == 0
    assert bench.told().split() == ["a", "b", "b", "c"]
    assert not _alive(orphan)


def test_new_run_waits_for_what_a_killed_one_left(bench: Bench) -> None:
    """A new run does not start beside a step whose engine was killed."""
    bench.write("step=a repeat=safe|echo $$ > new; mv new pid; test -e again || sleep 77")
    kill_in(bench, "pid")
    [left] = bench.store.leftovers()
    with pytest.raises(Waiting, match="still runs though its engine is gone") as waiting:
        bench.run()
    assert waiting.value.hint == f"mcctl runbook status {left}"
    (bench.folder / "again").touch()
    assert bench.resume().exit == 0


def test_resume_after_kill_check_decides(bench: Bench) -> None:
    """A step that is not safe to repeat is not repeated when its check says that it is done."""
    bench.write(
        "step=a|echo a >> trace; touch done; sleep 77", "check=a|test -e done", "step=b|true"
    )
    kill_in(bench, "done")
    assert bench.resume().exit == 0
    assert bench.told().split() == ["a"]


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 5)])
def test_resume_after_kill_asks(bench: Bench, answer: bool, code: int) -> None:
    """A half-done step without a check is repeated only after a yes; a no exits 5."""
    bench.write("step=a|echo a >> trace; touch begun; test -e again || sleep 77")
    kill_in(bench, "begun")
    (bench.folder / "again").touch()
    bench.answer = answer
    assert bench.resume().exit == code
    assert bench.told().split() == ["a"] * (2 if answer else 1)


def test_resume_after_kill_nobody_to_ask(bench: Bench) -> None:
    """Without a person to ask, a half-done step is not repeated, and the journal says so."""
    bench.write("step=a|touch begun; sleep 77")
    kill_in(bench, "begun")
    with pytest.raises(UnusableInput, match="nobody to ask"):
        bench.resume()
    last = read(bench.store.folder(bench.store.newest()))[-1]
    assert (last["event"], last["exit"]) == ("run_finished", 2)


def test_journal_of_killed_run_is_whole_json(bench: Bench) -> None:
    """Every line of a killed run's journal is an event that can be read."""
    bench.write("step=a|touch begun; sleep 77")
    kill_in(bench, "begun")
    folder = bench.store.folder(bench.store.newest())
    lines = (folder / "journal.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] in {"step_started", "process_started"}
    bench.answer = False
    bench.resume()


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
