"""An environment that is nothing but the Protocol: what a caller uses beyond it fails.

Replicas are names with settings; verbs that change them are recorded, and take effect at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from mc_ops.environments import (
    BASELINE,
    Colour,
    EnvironmentStatus,
    Group,
    Instance,
    LogFilter,
    LogLine,
    ProcessStatus,
    State,
    Switch,
    Workspace,
)
from mc_ops.environments.faults import Faults, shown
from mc_ops.environments.interface import RECENT, Say, silent
from mc_ops.errors import CouldNotTell, Finding, UnusableInput


@dataclass
class Recorded:
    """What a test sets beforehand, and looks at afterwards.

    Attributes:
        replicas: The settings of each replica that runs, by its name (`blue-1`, `baseline-1`).
        urls: Where replicas listen; others: on a port where nobody does.
        calls: Each verb that changes something, with what it was given.
        answer: How a command of the service ends.
    """

    home: Path = Path("/nowhere")
    replicas: dict[str, dict[str, str]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    active: Colour | None = Colour.blue
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    answer: CompletedProcess[str] = field(default_factory=lambda: CompletedProcess((), 0, "", ""))


class RecordingEnvironment:
    """Implements `Environment`; its public names are those of the Protocol and no more."""

    name = "recording"
    url = "http://127.0.0.1:1"

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    @property
    def workspace(self) -> Workspace:
        return Workspace(self._recorded.home)

    def active_colour(self) -> Colour | None:
        return self._recorded.active

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        return tuple(
            Instance(
                name,
                Colour.__members__.get(each) or self._recorded.active or Colour.blue,
                self._recorded.urls.get(name, self.url),
            )
            for each in (Colour if group is None else (group,))
            for name in self._recorded.replicas
            if name.startswith(f"{each}-")
        )

    def status(self) -> EnvironmentStatus:
        processes = tuple(
            ProcessStatus(
                one.name, State.running, None, None, 1.0, "ok", self._faults(one), one.colour
            )
            for one in self.instances()
        )
        return EnvironmentStatus(processes, self._recorded.active, self.url)

    def _faults(self, instance: Instance) -> str:
        return shown(self._recorded.replicas[instance.name])

    def settings(self, name: str) -> Mapping[str, str]:
        if name not in self._recorded.replicas:
            raise CouldNotTell(f"{name} does not run")
        return self._recorded.replicas[name]

    def logs(self, names: Sequence[str] = (), wanted: LogFilter = RECENT) -> Iterator[LogLine]:
        for name in names or self._recorded.replicas:
            if name not in self._recorded.replicas:
                raise UnusableInput(f'there is no log of "{name}"')
            yield LogLine(name, f"{wanted}")

    def neighbour_url(self, name: str) -> str:
        if name not in ("siem", "records-agent", "fulfilment-agent"):
            raise UnusableInput(f'unknown neighbour "{name}"')
        return f"{self.url}/{name}"

    def catalogue_digest(self) -> str:
        return "ca7a" * 16

    def scale(
        self,
        colour: Colour,
        replicas: int,
        say: Say = silent,
        *,
        restart: bool = False,
        faults: Faults | None = None,
        baseline: bool = False,
    ) -> None:
        unserved = colour is self._recorded.active and (restart or not replicas)
        if replicas < 0 or unserved or (baseline and not (restart and replicas)):
            raise UnusableInput(f"{colour} cannot be scaled so")
        self._record("scale", colour, replicas, restart, faults, baseline)
        groups = [colour.value, *([BASELINE] if baseline else [])]
        for group in groups:
            wanted = [f"{group}-{number + 1}" for number in range(replicas)]
            running = [name for name in self._recorded.replicas if name.startswith(f"{group}-")]
            for name in running:
                if name not in wanted or restart:
                    del self._recorded.replicas[name]
            for name in wanted:
                settings = {**os.environ, **(faults or Faults()).settings()}
                self._recorded.replicas.setdefault(name, settings)
                say(f"starting {name}")

    def stop_baseline(self, say: Say = silent) -> bool:
        self._record("stop_baseline")
        names = [one.name for one in self.instances(BASELINE)]
        for name in names:
            del self._recorded.replicas[name]
        return bool(names)

    def wait_ready(self, group: Group, timeout_s: float) -> tuple[Instance, ...]:
        self._record("wait_ready", group, timeout_s)
        if not self.instances(group):
            raise CouldNotTell(f"no replica of {group} was started")
        return self.instances(group)

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        before = self._recorded.active
        if not self.instances(colour):
            raise Finding(f"no replica of {colour} runs")
        if before != colour and not allow_faults and any(map(self._faults, self.instances(colour))):
            raise Finding(f"{colour} runs with faults")
        if hold is not None and before != colour:
            hold(self.instances(colour))
        self._record("switch", colour, allow_faults)
        self._recorded.active = colour
        return Switch(before, colour, changed=before != colour)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        self._record("locked")
        return contextlib.nullcontext()

    def administer(self, *command: str) -> CompletedProcess[str]:
        self._record("administer", *command)
        return self._recorded.answer

    def _record(self, *call: Any) -> None:
        self._recorded.calls.append(call)
