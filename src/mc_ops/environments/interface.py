"""What an environment is: the place where the platform's processes run.

Everything that operates the platform (runbook steps, pre-flight, `mcctl`) goes through this
one small interface, so that the same step works on a laptop and on a cluster. How a platform
is *brought up* is not here: a laptop starts processes, a cluster is given manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Colour(StrEnum):
    """The two sides of a cutover; exactly one is active."""

    blue = "blue"
    green = "green"

    @property
    def other(self) -> Colour:
        """The other side."""
        return Colour.green if self is Colour.blue else Colour.blue


class State(StrEnum):
    """What is known of one process or pod."""

    running = "running"
    dead = "dead"  # it was started, and it is gone although nobody stopped it
    stopped = "stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica of the workbench and where it listens."""

    name: str
    colour: Colour
    url: str


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One line of `mcctl status`.

    Attributes:
        health: What its /health said (`ok`, `degraded`, ...), `-` if it has none, or why it
            did not answer.
        faults: Faults deliberately switched on in it, e.g. `slow=2`; empty when none.
    """

    name: str
    state: State
    pid: int | None
    port: int | None
    uptime_s: float | None
    health: str
    faults: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """The whole environment: its processes, the colour that serves, and the public URL."""

    processes: tuple[ProcessStatus, ...]
    active_colour: Colour | None
    url: str

    @property
    def dead(self) -> tuple[ProcessStatus, ...]:
        """Those that were started and are gone."""
        return tuple(p for p in self.processes if p.state is State.dead)


@dataclass(frozen=True, slots=True)
class Switch:
    """A cutover that took place, or was not needed (`changed` false)."""

    source: Colour | None
    target: Colour
    changed: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a process wrote."""

    name: str
    text: str


class Environment(Protocol):
    """Where the platform runs; both implementations raise `mc_ops.errors` only."""

    name: str

    @property
    def url(self) -> str:
        """The public URL: whatever colour is active answers there."""

    def scale(self, colour: Colour, replicas: int) -> None:
        """Make `colour` have exactly `replicas` replicas, and have those that were started serve.

        Raises:
            UnusableInput: `replicas` is out of range, or would leave nobody serving.
        """

    def wait_ready(self, colour: Colour, timeout_s: float) -> tuple[Instance, ...]:
        """Wait until every wanted replica of `colour` can serve.

        Raises:
            CouldNotTell: not ready in `timeout_s` seconds, or one died.
        """

    def instances(self, colour: Colour) -> tuple[Instance, ...]:
        """The replicas of `colour` that are running, ready or not."""

    def active_colour(self) -> Colour | None:
        """The colour that serves; None when nothing was ever put in service."""

    def switch(
        self, colour: Colour, *, hold: Callable[[Sequence[Instance]], None] | None = None
    ) -> Switch:
        """Send new requests to `colour`; requests under way finish where they are.

        Args:
            colour: The colour that is to serve.
            hold: Is given its replicas before anything is changed, and raises if they must not.

        Raises:
            Finding: a replica of `colour` is not healthy; nothing was changed.
        """

    def status(self) -> EnvironmentStatus:
        """What runs, and how it does."""

    def logs(self, names: Sequence[str], *, lines: int, follow: bool) -> Iterator[LogLine]:
        """The last `lines` lines of each, then, with `follow`, each new one as it is written."""
