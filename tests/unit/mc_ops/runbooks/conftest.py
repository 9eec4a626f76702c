"""A temporary platform home and runbooks whose steps are real bash."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.runbooks import (
    Decision,
    Finished,
    Opened,
    Outcome,
    Prepared,
    RunState,
    RunStore,
    Sources,
    Step,
    begin,
    load,
    new_run_id,
    no_cluster,
    take_up,
)

ADA = {"user": "ada", "host": "desk"}
BEN = {"user": "ben", "host": "desk"}
HEADER = "```yaml runbook\nid: demo\ntitle: Demo\n{parameters}```\n"


@dataclass
class Heard:
    """A reporter that remembers what it was told."""

    lines: list[str] = field(default_factory=list)
    text: bytes = b""

    def step_started(self, position: int, step: Step, reason: str) -> None:
        self.lines.append(f"start {position} {step.id} {reason}".strip())

    def step_skipped(self, position: int, step: Step, reason: str) -> None:
        self.lines.append(f"skip {position} {step.id} {reason}")

    def output(self, data: bytes) -> None:
        self.text += data

    def block_finished(self, kind: str, step: Step, finished: Finished, outcome: Outcome) -> None:
        self.lines.append(f"{kind} {step.id} {outcome} {finished.exit}")

    def note(self, text: str) -> None:
        self.lines.append(f"note {text}")


@dataclass
class Bench:
    """Writes, runs and resumes one runbook in a folder of its own."""

    folder: Path
    heard: Heard = field(default_factory=Heard)
    answer: bool | None = None
    variables: dict[str, str] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=lambda: dict(ADA))
    at_gate: Callable[[Opened, Callable[[], bool]], Decision | None] = lambda opened, settled: None

    def __post_init__(self) -> None:
        self.store = RunStore(self.folder / "home")
        self.path = self.folder / "runbooks" / "demo.md"
        self.path.parent.mkdir()
        self._suffixes = (f"{number:04x}" for number in count())

    def write(self, *blocks: str, parameters: str = "") -> None:
        """Blocks are `info|script`; the file gets them as fences."""
        fences = []
        for block in blocks:
            info, _, script = block.partition("|")
            language = "text" if info.startswith("gate=") else "sh"
            fences.append(f"```{language} {info}\n{script}\n```\n")
        self.path.write_text(HEADER.format(parameters=parameters) + "".join(fences))

    def prepare(self, **given: str) -> Prepared:
        runbook = load(self.path)
        run_id = new_run_id(runbook.id, datetime.now(UTC), next(self._suffixes))
        return begin(
            runbook,
            run_id=run_id,
            root=self.folder,
            environment="local",
            given=given,
            by=self.by,
        )

    def run(self, **given: str) -> RunState:
        return self.carry_out(self.prepare(**given))

    def resume(self, *, accept_changes: bool = False, **given: str) -> RunState:
        prepared = take_up(
            load(self.path),
            self.store,
            self.store.newest(),
            environment="local",
            accept_changes=accept_changes,
            given=given,
            by=self.by,
        )
        return self.carry_out(prepared)

    def carry_out(self, prepared: Prepared) -> RunState:
        self.store.home.mkdir(exist_ok=True)
        return prepared.carry_out(
            self.store,
            reporter=self.heard,
            confirm=self._confirm,
            ask=self.at_gate,
            clock=lambda: datetime.now(UTC),
            sources=Sources({**os.environ, **self.variables}, no_cluster),
        )

    def told(self) -> str:
        """What the steps wrote to the file `trace`."""
        trace = self.folder / "trace"
        return trace.read_text() if trace.exists() else ""

    def _confirm(self, question: str) -> bool:
        self.heard.lines.append(f"ask {question}")
        if self.answer is None:
            raise UnusableInput("there is nobody to ask")
        return self.answer


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[[str], Bench]:
    def make(name: str) -> Bench:
        folder = tmp_path / name
        folder.mkdir()
        return Bench(folder)

    return make


@pytest.fixture(scope="session")
def bench_type() -> type[Bench]:
    """For tests that make many benches, each in a folder of its own."""
    return Bench
