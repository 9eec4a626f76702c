"""What an environment is: the place where the platform's processes run.

Everything that operates the platform (runbook steps, pre-flight, `mcctl`) goes through this
one small interface, so that the same step works on a laptop and on a cluster. How a platform
is *brought up* is not here: a laptop starts processes, a cluster is given manifests.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Final, Literal, Protocol
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from mc_ops.environments.faults import Faults
    from mc_ops.environments.workspace import Workspace

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Tell nobody."""


class Colour(StrEnum):
    """The two sides of a cutover; exactly one is active."""

    blue = "blue"
    green = "green"

    @property
    def other(self) -> Colour:
        return Colour.green if self is Colour.blue else Colour.blue


class Holder(StrEnum):
    """Who has rights on a cluster: each has a Role of their own, called `mc-` and this."""

    operator = "operator"
    reader = "reader"
    administrator = "administrator"
    neighbour = "neighbour"


BASELINE: Final = "baseline"  # replicas of what serves, fresh, only to be compared with a candidate
Group = Colour | Literal["baseline"]
STANDS_STILL: Final = "stands still (SIGSTOP)"  # the health of what a signal has stopped
UNREACHED: Final = "ready"  # the health of what cannot be asked from here, and whose probe passes
_SERVING = ("ok", "degraded", UNREACHED)


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
            did not answer; `ready` (UNREACHED) of a pod that only the cluster itself can ask.
        faults: Faults deliberately switched on in it, e.g. `slow=2`; empty when none.
        colour: Of a replica; None of any other process, and of the fresh baseline.
        restarts: How often it was started again by itself; on this machine nothing is.
    """

    name: str
    state: State
    pid: int | None
    port: int | None
    uptime_s: float | None
    health: str
    faults: str = ""
    colour: Colour | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """The whole environment: its processes, the colour that serves, and the public URL.

    Attributes:
        second: The processes of a second region on the same machine.
    """

    processes: tuple[ProcessStatus, ...]
    active_colour: Colour | None
    url: str
    second: tuple[ProcessStatus, ...] = ()

    @property
    def everything(self) -> tuple[ProcessStatus, ...]:
        """The processes of both regions."""
        return self.processes + self.second

    @property
    def dead(self) -> tuple[ProcessStatus, ...]:
        """Those that were started and are gone."""
        return tuple(p for p in self.everything if p.state is State.dead)

    @property
    def failing(self) -> tuple[ProcessStatus, ...]:
        """Those that run and do not say that they serve."""
        running = (p for p in self.everything if p.state is State.running)
        return tuple(p for p in running if p.health not in _SERVING)


@dataclass(frozen=True, slots=True)
class Switch:
    """A cutover that took place, or was not needed (`changed` false)."""

    source: Colour | None
    target: Colour
    changed: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a process wrote.

    Attributes:
        text: A JSON object; what is not in our format is framed (`mc_contract.log_lines`).
        at: When, in Unix seconds; of a line that does not say it, as of the one before.
    """

    name: str
    text: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines are wanted of each log.

    Attributes:
        lines: How many of the last ones at most; None for all.
        follow: New ones, too.
        since_s: Only lines of that time on, in Unix seconds.
        pattern: Only lines in which this is found.
    """

    lines: int | None = 50
    follow: bool = False
    since_s: float = 0.0
    pattern: re.Pattern[str] | None = None

    def takes(self, text: str) -> bool:
        """Whether a line's text is wanted."""
        return self.pattern is None or self.pattern.search(text) is not None


RECENT: Final = LogFilter()


@dataclass(frozen=True, slots=True)
class UpRequest:
    """What `up` is asked for.

    Attributes:
        colour: The colour to serve; None for the one that served last, at first blue.
        replicas: How many of each colour asked for; None for as many as there were, at first 1.
        green: Also start green, the candidate, without sending it traffic.
        faults: Faults to switch on, by colour.
        restart: Start those anew that run with other settings than they would get now.
        regions: How many regions, 1 or 2; None for as many as there were, at first 1.
    """

    colour: Colour | None = None
    replicas: int | None = None
    green: bool = False
    faults: Mapping[Colour, Faults] = field(default_factory=dict)
    restart: bool = False
    regions: int | None = None


class Environment(Protocol):
    """Where the platform runs; every implementation raises `mc_ops.errors` only."""

    name: str

    @property
    def url(self) -> str:
        """The public URL: whatever colour is active answers there."""

    @property
    def workspace(self) -> Workspace:
        """The files that belong to this platform: its runs, trusted keys and tokens."""

    # -- what runs ----------------------------------------------------------------------------

    def active_colour(self) -> Colour | None:
        """The colour that serves; None when nothing was ever put in service."""

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        """The replicas of a group, or of both colours, that are running, ready or not.

        Those of the fresh baseline have the colour that serves.
        """

    def status(self) -> EnvironmentStatus:
        """What runs, and how it does."""

    def settings(self, name: str) -> Mapping[str, str]:
        """The environment variables that a replica was started with, secrets included.

        Raises:
            CouldNotTell: it does not run, or they may not be read.
        """

    def logs(self, names: Sequence[str] = (), wanted: LogFilter = RECENT) -> Iterator[LogLine]:
        """Lines of each of these logs (of all without `names`), in the order of their times.

        With `follow`, new ones as they come.

        Raises:
            UnusableInput: a name has no log.
        """

    def neighbour_url(self, name: str) -> str:
        """Where a sample agent or the SIEM receiver listens that came up with the platform.

        Raises:
            UnusableInput: no neighbour has this name.
        """

    def catalogue_digest(self) -> str:
        """The digest of the catalogue that a replica would begin with now."""

    # -- what changes it ------------------------------------------------------------------------

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
        """Make `colour` have exactly `replicas` replicas, and have those that were started serve.

        Those that go finish their requests first. With `baseline` as many replicas of what serves
        are started beside them, with the same code and settings and no traffic, so that the two
        sides differ in nothing but what is to be compared; `stop_baseline` ends them.

        Args:
            colour: The colour to scale.
            replicas: How many there are to be.
            say: Is told what is done.
            restart: Restart running replicas with the current checkout; refused for the active colour.
            faults: Faults of those that are started; None: as those that there were.
            baseline: Also start a fresh baseline; only with `restart`, and for another colour
                than the one that serves.

        Raises:
            UnusableInput: `replicas` is out of range, or would leave nobody serving; a baseline
                beside replicas that are not as fresh; a replica beside others that run with
                other settings.
            CouldNotTell: the platform is not running, or a replica does not start or serve.
        """

    def stop_baseline(self, say: Say = silent) -> bool:
        """Stop the fresh baseline; false if there was none."""

    def wait_ready(self, group: Group, timeout_s: float) -> tuple[Instance, ...]:
        """Wait until every wanted replica of a group can serve.

        Raises:
            CouldNotTell: not ready in `timeout_s` seconds, or one died.
        """

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        """Send new requests to `colour`; requests under way finish where they are.

        Args:
            colour: The colour that is to serve.
            allow_faults: Also if faults are deliberately switched on in it.
            hold: Is given the replicas that are to serve, while no other mcctl can change them,
                and raises if they must not.

        Raises:
            Finding: a replica of `colour` is not healthy, or has faults; nothing was changed.
        """

    def locked(self) -> AbstractContextManager[None]:
        """While no other mcctl changes this platform; not to be held around a verb that changes it.

        Raises:
            CouldNotTell: another one has been changing it for too long.
        """

    def administer(self, *command: str) -> CompletedProcess[str]:
        """Run a command of the service (`archive`, ...) with the database administrator's rights.

        Raises:
            CouldNotTell: the platform was never started here.
        """


class Part(StrEnum):
    """What of a platform a drill breaks."""

    whole = "whole"  # replicas, edge and database; not the agents and the SIEM, which are others'
    database = "database"
    link = "link"  # between this region and the second one on this machine


@dataclass(frozen=True, slots=True)
class Signalled:
    """What a signal was sent to, and when.

    Attributes:
        names: The processes that got it.
        at_s: Just before the first of them did, by the clock that was asked for, in seconds.
    """

    names: tuple[str, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class EmbeddedDatabase:
    """The PostgreSQL that the platform brings with it.

    Attributes:
        binaries: The folder of its programs.
        data: Its files, whether they are there or not.
        user: The unprivileged uid and gid that own them; None: whoever runs mcctl.
        admin_url: The administrator's way in, with a password.
        settings: What the server is started with.
        running: Whether it runs now; `platform_running` also if a replica, the edge or the archiver does.
        region: The region's name, as replicas get it.
    """

    binaries: Path
    data: Path
    user: tuple[int, int] | None
    port: int
    admin_url: str = field(repr=False)
    settings: Mapping[str, str]
    running: bool
    platform_running: bool
    region: str

    def on_port(self, port: int) -> EmbeddedDatabase:
        """The same on another port, to look at its files while another serves."""
        parts = urlsplit(self.admin_url)
        place = f"{parts.netloc.rpartition(':')[0]}:{port}"
        return replace(
            self,
            port=port,
            admin_url=urlunsplit((parts.scheme, place, parts.path, parts.query, "")),
            settings={**self.settings, "port": str(port)},
        )


class Startable(Environment, Protocol):
    """An environment that mcctl itself brings up and takes away."""

    def database(self) -> EmbeddedDatabase:
        """The platform's own PostgreSQL.

        Raises:
            UnusableInput: `MC_DATABASE_URL` names another.
        """

    def archive_wal(self) -> None:
        """Have the archiver of `MC_HOME/backup.json` run, started again if it follows another line.

        Raises:
            CouldNotTell: it does not start.
        """

    def up(self, request: UpRequest, say: Say = silent) -> EnvironmentStatus:
        """Start whatever is missing, and return when everything that runs is ready.

        Raises:
            UnusableInput: a port is taken, the platform runs on other ports, the request is out
                of range, or a process found its settings unusable; something runs with other
                settings, or with more replicas, than are asked for, and nothing was changed.
            CouldNotTell: a process died, did not become ready, or runs and does not answer.
        """

    def down(self, say: Say = silent) -> bool:
        """Stop everything; false if nothing was running."""

    def purge(self) -> None:
        """Remove the platform's data, keys and logs for good; `down` must have been called."""

    def second(self) -> Startable | None:
        """The other region on this machine; None where there is one."""

    def region(self) -> str:
        """The name of the region that this platform is.

        Raises:
            CouldNotTell: no replica runs, or its settings may not be read.
        """

    def signal(
        self,
        part: Part,
        number: int,
        also: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> Signalled:
        """Send a signal to every process of a part, and to the pids `also`, as one instant.

        A region that is killed loses its link to the other one at that instant. For drills. `up` starts again what was killed; SIGCONT lets go on what was stopped.

        Returns:
            The processes that got it, and when; to look them up takes time before that.

        Raises:
            CouldNotTell: nothing of that part runs.
        """
