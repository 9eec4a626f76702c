"""Laws of a run: whatever kills it and whenever, resumed it ends as one that nobody disturbed.

Blocks are played by a small world instead of bash, which knows what each has done; the engine is
killed, or gets a signal, at any line of the journal, before or after it is on disk, and in the middle
of any block.
"""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.evidence.claims import recompute
from mc_ops.runbooks import Action, Decision, Finished, Outcome, RunState, engine
from mc_ops.runbooks import journal as journals
from mc_ops.runbooks.journal import read

BEN = {"user": "ben", "host": "desk"}


class Killed(BaseException):
    """The engine's end by `kill -9`: nothing of it runs any more."""


@dataclass
class World:
    """What blocks did, and when the next kill comes.

    Attributes:
        done: How often each block had its effect.
        moments: What is left of the moments until the next kill or signal, and which of them it is
            (True: a kill); empty when none comes.
    """

    done: Counter[str] = field(default_factory=Counter)
    moments: list[tuple[int, bool]] = field(default_factory=list)

    def moment(self) -> None:
        """A moment at which a kill or a signal may come."""
        if self.moments:
            left, kill = self.moments.pop(0)
            if left > 0:
                self.moments.insert(0, (left - 1, kill))
            elif kill or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                raise Killed
            else:
                signal.raise_signal(signal.SIGTERM)

    def execute(
        self, script: Any, *, environment: Any, started: Any, interrupted: Any, **_: Any
    ) -> Finished:
        """Play a block: `NAME [OUTPUT=VALUE]`, or `check NAME`, or `flaky NAME`."""
        word, _, rest = script.text.strip().partition(" ")
        started(1)
        if word == "check":
            return _ended(0 if self.done[rest] else 1)
        if "=" in rest:
            with Path(environment["STEP_OUTPUT"]).open("a") as output:
                output.write(rest + "\n")
        self.moment()
        if interrupted():
            return _ended(130, interrupted=True)
        self.done[rest.split()[0] if word == "flaky" else word] += 1
        self.moment()
        if interrupted():
            return _ended(130, interrupted=True)
        return _ended(1 if word == "flaky" and self.done[rest] < 3 else 0)


def _ended(code: int, *, interrupted: bool = False) -> Finished:
    return Finished(exit=code, duration_s=0.1, output_sha256="0" * 64, interrupted=interrupted)


MOMENTS = st.tuples(st.integers(0, 45), st.booleans())
PARAMETERS = """parameters:
- {name: PUSH, default: "0"}
- {name: FOUND, set_by: look}
- {name: TAG, set_by: tag, default: none}
"""
BLOCKS = (
    "step=look repeat=safe|look FOUND=thing",
    'step=tag when="FOUND=thing"|tag TAG=v1',
    "check=tag|check tag",
    "gate=release|Publish $TAG?",
    'step=push when="PUSH=1"|push',
    "check=push|check push",
    "step=settle repeat=safe retry=4|flaky settle",
    "step=end|end",
    "check=end|check end",
)


@pytest.fixture(scope="module")
def play(bench_type: Any) -> Any:
    """Runs the demo in a folder of its own under a world with kills; gives state, world, bench."""

    def run(moments: list[tuple[int, bool]], push: str) -> tuple[RunState, World, Any]:
        with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            world = World(moments=[*moments])
            bench = bench_type(Path(name))
            bench.at_gate = lambda opened, settled: Decision(True, BEN)
            bench.write(*BLOCKS, parameters=PARAMETERS)
            patch.setattr("mc_ops.runbooks.blocks.execute", world.execute)
            patch.setattr(engine, "pause_s", lambda retry, failed: 0.0)
            patch.setattr("mc_ops.runbooks.blocks.left_over", lambda pid, run_id: [])
            _killable(patch, world)
            bench.answer = True  # asked only where the check says that nothing was done
            for _ in range(len(moments) + 1):
                try:
                    state = bench.resume() if bench.store.ids() else bench.run(PUSH=push)
                except Killed:
                    continue
                if state.outcome is not Outcome.interrupted:
                    break
            folder = bench.store.folder(state.run_id)
            events = read(folder)
            files = {name: (folder / name).read_bytes() for name in ("journal.jsonl", "runbook.md")}
            course = recompute("runbook.course", tuple(files), {}, files)
            assert course["gates"]["release"]["by"] == BEN, "evidence follows from the journal"
            extent = recompute("runbook.extent", ("journal.jsonl",), {}, files)
            assert (extent["lines"], extent["ended"]) == (len(events), state.outcome)
            assert RunState.of(events) == state, "the journal replays to the state"
            return state, world, events

    return run


def _killable(patch: pytest.MonkeyPatch, world: World) -> None:
    append = journals.Journal.append

    def killable(self: Any, event: str, **fields: object) -> Any:
        world.moment()
        events = append(self, event, **fields)
        world.moment()
        return events

    patch.setattr(journals.Journal, "append", killable)


@given(moments=st.lists(MOMENTS, max_size=4), push=st.sampled_from(["0", "1"]))
def test_killed_anywhere_and_resumed_it_ends_the_same(
    play: Any, moments: list[tuple[int, bool]], push: str
) -> None:
    """Same outcome and outputs; what is not safe to repeat was done at most once."""
    undisturbed, _, _ = play([], push)
    state, world, events = play(moments, push)
    assert (state.outcome, state.exit) == (Outcome.passed, 0)
    assert state.parameters == undisturbed.parameters == {
        "PUSH": push, "FOUND": "thing", "TAG": "v1",
    }  # fmt: skip
    assert {name: step.outcome for name, step in state.steps.items()} == {
        name: step.outcome for name, step in undisturbed.steps.items()
    }
    assert (world.done["tag"], world.done["end"], world.done["push"]) == (1, 1, int(push))
    seen = [event["step"] for event in events if event["event"] == "gate_approved"]
    assert seen == ["release"], "asked once, and approved once"


@given(moments=st.lists(MOMENTS, max_size=3), push=st.sampled_from(["0", "1"]))
def test_the_plan_is_what_is_run(play: Any, moments: list[tuple[int, bool]], push: str) -> None:
    """What was planned as done or left out is not begun again; what was planned to run is."""
    _, _, events = play(moments, push)
    begun = [event["step"] for event in events if event["event"] == "step_started"]
    left_out = {event["step"] for event in events if event["event"] == "step_skipped"}
    assert not left_out & set(begun)
    assert set(begun) | left_out == {"look", "tag", "push", "settle", "end"}
    assert Action.omit not in begun
