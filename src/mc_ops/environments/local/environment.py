"""The local environment: brings the platform up and down, and operates it while it runs.

Order of a start: files and secrets, PostgreSQL, the neighbours, the schema, the replicas, the
edge; a stop goes the other way. A start begins only what is missing, and if it fails or is
interrupted it stops what it began and nothing else. One lock file keeps two calls apart.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil

from mc_ops.environments.faults import Faults, told_by
from mc_ops.environments.interface import (
    BASELINE,
    RECENT,
    Colour,
    EmbeddedDatabase,
    EnvironmentStatus,
    Group,
    Instance,
    LogFilter,
    LogLine,
    Part,
    Say,
    Signalled,
    Switch,
    UpRequest,
    silent,
)
from mc_ops.environments.local.health import health_of, status_of, wait_healthy
from mc_ops.environments.local.layout import (
    ARBITER,
    ARCHIVER,
    DATABASES,
    LINK,
    NEIGHBOURS,
    Layout,
    is_replica,
    replica_name,
)
from mc_ops.environments.local.logs import read_logs
from mc_ops.environments.local.postgres import data_home
from mc_ops.environments.local.processes import ProcessTable
from mc_ops.environments.local.records import Records, living_instances
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.workspace import SECOND, Workspace
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.files import lock

_LOCK_TIMEOUT_S = 120.0
_PROCESSES = {Part.database: "postgres", Part.link: LINK}
_REGION = "local-1"  # where no setting names another


class LocalEnvironment:
    """The platform as processes on this machine; its verbs raise as `interface` says."""

    name = "local"

    def __init__(
        self, layout: Layout, *, service: tuple[str, ...] = (sys.executable, "-m", "mc_platform")
    ) -> None:
        """Look at the platform of `layout`; starts nothing.

        Args:
            layout: Its files and ports.
            service: The workbench's command, before `serve` or `migrate`.
        """
        self.layout = layout
        self._service = service
        self._external = os.environ.get("MC_DATABASE_URL") or None  # an administrator's
        self._records = Records(layout, service)
        self._table = self._records.table
        self._traffic = Traffic(self._records)

    @property
    def url(self) -> str:
        """The edge's URL, on the port that the platform runs on, or else will run on."""
        return self._records.as_running().url

    @property
    def workspace(self) -> Workspace:
        return self.layout

    def neighbour_url(self, name: str) -> str:
        if name not in NEIGHBOURS:
            raise UnusableInput(
                f'unknown neighbour "{name}"', hint=f"known: {', '.join(NEIGHBOURS)}"
            )
        return self._records.as_running().url_of(name)

    def settings(self, name: str) -> Mapping[str, str]:
        record = self._table.alive(name)
        process = record.process() if record else None
        try:
            if process:
                return process.environ()
        except psutil.Error as error:
            raise CouldNotTell(f"the settings of {name} may not be read") from error
        raise CouldNotTell(f"{name} does not run")

    def administer(self, *command: str) -> subprocess.CompletedProcess[str]:
        if not self.layout.secret("database.json").exists():
            raise CouldNotTell(
                f"the platform was never started here ({self.layout.home})",
                hint="start it: mcctl up",
            )
        from mc_ops.environments.local.specs import Specs

        specs = Specs.of(self._records.as_running(), self._service, self._external)
        argv, env = specs.administration(*command)
        return subprocess.run(
            argv, env=env, capture_output=True, encoding="utf-8", errors="replace", check=False
        )

    def database(self) -> EmbeddedDatabase:
        if self._external:
            raise UnusableInput(
                "MC_DATABASE_URL names a database that is not ours: its owner makes its backups",
                hint="docs/how-to/backups.md, A database of your own, says what they must do",
            )
        from mc_ops.environments.local import keyring, postgres
        from mc_ops.environments.local.specs import Specs

        self.layout.prepare()
        layout = self._records.as_running()
        server = postgres.locate(layout)
        port = layout.port_of("postgres")
        env = Specs.of(layout, self._service, None).service_env()
        return EmbeddedDatabase(
            binaries=server.binaries,
            data=server.data,
            user=server.user,
            port=port,
            admin_url=keyring.database_urls(layout, None).admin,
            settings=postgres.server_settings(port),
            running=self._table.alive("postgres") is not None,
            platform_running=bool(self._own()),
            region=env["MC_REGION"],
        )

    def archive_wal(self) -> None:
        from mc_ops.environments.local import postgres
        from mc_ops.environments.local.specs import Specs
        from mc_ops.environments.local.start import Start

        with self._changing(silent):
            layout = self._records.as_running()
            self._table.stop([ARCHIVER])
            specs = Specs.of(layout, self._service, self._external)
            with Start(layout, self._table, silent) as start:
                start.processes([specs.archiver(postgres.locate(layout).binaries)])
                start.wait_ready()

    # -- up and down ------------------------------------------------------------------------

    def up(self, request: UpRequest, say: Say = silent) -> EnvironmentStatus:
        # Late: who only looks at the platform waits for nothing that starts one.
        from mc_ops.environments.local.bring_up import bring_up

        self.layout.prepare()
        with self._changing(say):
            if request.regions == 2 or self.second() is not None:
                self._bring_up_both(request, say)
            else:
                bring_up(self._records, self._traffic, self._external, request, say)
        return self.status()

    def _bring_up_both(self, request: UpRequest, say: Say) -> None:
        from mc_ops.environments.local import regions
        from mc_ops.environments.local.bring_up import bring_up

        if request.regions == 1:
            raise UnusableInput(
                "this home has two regions", hint="without --regions both are started"
            )
        if self._table.carry_on(LINK):  # a drill that was killed amid a cut left it so
            say("link stood still (SIGSTOP): it carries again")
        with regions.arbitrated(self._records, request, self._external, say):
            bring_up(self._records, self._traffic, self._external, request, say)
        second = self.second()
        if second is None:
            raise CouldNotTell(f"{self.layout.home / SECOND} is gone", hint="repeat mcctl up")
        second.up(replace(request, regions=None), lambda text: say(f"{SECOND}: {text}"))
        regions.replicate(self.layout, self.administer, second.administer, say)

    def second(self) -> LocalEnvironment | None:
        if self.layout.second() is None:
            return None
        return LocalEnvironment(self._records.as_running().beside(), service=self._service)

    def down(self, say: Say = silent) -> bool:
        """Stop everything, the edge first; false if nothing was running.

        A process whose record is damaged is stopped, too, if it can be recognised; else `say`
        is told of it.
        """
        if not self.layout.home.exists():
            return False
        self.layout.prepare()
        second = self.second()
        other = second is not None and second.down(lambda text: say(f"{SECOND}: {text}"))
        with self._changing(say):
            names = [record.name for record in self._table.all()]
            replicas = [name for name in names if is_replica(name)]
            others = [n for n in names if n not in replicas and n not in ("edge", *DATABASES)]
            first = ["edge"] if "edge" in names else []
            last = [name for name in DATABASES if name in names]
            for tier in (first, replicas, others, last):
                if tier:
                    say(f"stopping {', '.join(tier)}")
                    self._table.stop(tier)
            self._traffic.forget()
        return bool(names) or other

    def purge(self) -> None:
        if (self.layout.home / SECOND).is_dir():
            LocalEnvironment(self.layout.beside(), service=self._service).purge()
        for path in (data_home(self.layout), *self.layout.own_entries):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something in it is not ours: leave it
            self.layout.home.rmdir()

    def region(self) -> str:
        for instance in self.instances():
            return self.settings(instance.name).get("MC_REGION", _REGION)
        raise CouldNotTell("no replica runs", hint="start the platform: mcctl up")

    def signal(
        self,
        part: Part,
        number: int,
        also: Sequence[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> Signalled:
        names = self._own()
        if part is not Part.whole:
            living = [record.name for record in self._records.living()]
            names = [name for name in living if name == _PROCESSES[part]]
        if not names:
            raise CouldNotTell(
                f"nothing of the {part} platform runs here"
                if part is Part.whole
                else f"no {part} of this platform runs here",
                hint="a drill breaks what `mcctl up` started",
            )
        if part is Part.whole and number == signal.SIGKILL:
            first = self.layout.home.parent if self.layout.home.name == SECOND else self.layout.home
            link = ProcessTable(first / "run", first / "log").alive(LINK)
            also = (*also, link.pid) if link else also
        return self._table.signal_all(names, number, also, clock)

    def _own(self) -> list[str]:
        """What lives of this region alone: neighbours, arbiter and link serve another one as well."""
        shared = (*NEIGHBOURS, ARBITER, LINK)
        return [one.name for one in self._records.living() if one.name not in shared]

    # -- replicas ---------------------------------------------------------------------------

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
        """Make `colour` have exactly `replicas` replicas; those that go are drained first.

        A fresh baseline (`baseline-1` and so on) is started in turn with the colour's, and the work
        that one replica of a region does for all (shipping to the SIEM) is with one that serves.
        """
        from mc_ops.environments.local.scaling import Scaling
        from mc_ops.environments.local.specs import Specs

        scaling = Scaling(
            records=self._records,
            traffic=self._traffic,
            colour=colour,
            replicas=replicas,
            restart=restart,
            faults=faults,
            baseline=baseline,
        )
        scaling.require_possible()
        with self._changing(say):
            self._records.require_same_port()
            scaling.carry_out(Specs.of(self.layout, self._service, self._external), say)

    def stop_baseline(self, say: Say = silent) -> bool:
        if not self.layout.home.exists():
            return False
        with self._changing(say):
            names = self._records.names(BASELINE)
            if names:
                say(f"stopping {', '.join(names)}")
                self._table.stop(names)
                self._records.forget_releases()
        return bool(names)

    def wait_ready(self, group: Group, timeout_s: float) -> tuple[Instance, ...]:
        """Wait until each recorded replica of a group answers /health with 200."""
        found = wait_healthy(self._records, group, timeout_s, hint=_how(group))
        return living_instances(found, self.active_colour() if group == BASELINE else None)

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        """The replicas of a group, or of both colours, that live."""
        groups = Colour if group is None else (group,)
        records = [record for each in groups for record in self._records.of(each)]
        return living_instances(records, self.active_colour() if group == BASELINE else None)

    def active_colour(self) -> Colour | None:
        """The colour that the edge serves, or served when it last ran."""
        return self._traffic.active_colour()

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        """Cut over to `colour`, if every replica of it is healthy and runs without faults."""
        if not self._table.alive("edge"):
            raise CouldNotTell("the edge is not running", hint="start it: mcctl up")
        with self._changing(silent):
            before = self.active_colour()
            living = [record for record in self._records.of(colour) if record.process()]
            if not living:
                raise Finding(
                    f"no replica of {colour} runs; nothing was changed", hint=_how(colour)
                )
            for record in living:
                health = health_of(record)
                if not health.healthy:
                    raise Finding(
                        f"{record.name} is not healthy ({health.word}); nothing was changed",
                        hint=f"mcctl logs {record.name}",
                    )
                if health.faults and before != colour and not allow_faults:
                    raise Finding(
                        f"{colour} runs with faults {told_by(health.faults)}; nothing was changed",
                        hint=f"start it without: mcctl scale agent-workbench --colour {colour} "
                        f"--replicas {len(living)} --restart --fault none; "
                        "or, in a rehearsal, --allow-faults",
                    )
            if hold is not None and before != colour:
                hold(living_instances(living, colour))
            self._traffic.send_to(colour)
        return Switch(source=before, target=colour, changed=before != colour)

    def status(self) -> EnvironmentStatus:
        """What runs here, and how it does; a damaged record is told and hides nothing else."""
        active = self.active_colour()
        layout = self._records.as_running()
        recorded = self._table.names()
        foundations = ["postgres", *layout.neighbours]
        foundations = [n for n in foundations if not self._external or n in recorded]
        replicas = {replica_name(active or Colour.blue, 1), *filter(is_replica, recorded)}
        others = [name for name in (ARCHIVER, ARBITER, LINK) if name in recorded]
        names = [*foundations, *others, *sorted(replicas), "edge"]
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            processes = tuple(pool.map(lambda name: status_of(name, self._records, layout), names))
        second = self.second()
        return EnvironmentStatus(
            processes=processes,
            active_colour=active,
            url=layout.url,
            second=tuple(
                replace(process, name=f"{SECOND}/{process.name}", colour=None)
                for process in (second.status().processes if second else ())
            ),
        )

    def logs(self, names: Sequence[str] = (), wanted: LogFilter = RECENT) -> Iterator[LogLine]:
        folders = {"": self.layout.home / "log"}
        if second := self.second():
            folders[f"{SECOND}/"] = second.layout.home / "log"
        return read_logs(folders, names, wanted)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        return self._changing(silent)

    def catalogue_digest(self) -> str:
        from mc_ops.environments.local.applied import catalogue_digest
        from mc_ops.environments.local.specs import Specs

        return catalogue_digest(Specs.of(self.layout, self._service, self._external))

    # -- how ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self, say: Say) -> Iterator[None]:
        """Hold the platform's lock, its damaged records mended."""
        with (self.layout.home / "up.lock").open("w") as file:
            if not lock(file, 0):
                say("another mcctl is changing this platform; waiting for it")
                if not lock(file, _LOCK_TIMEOUT_S):
                    raise CouldNotTell(
                        f"another mcctl has been changing this platform for {_LOCK_TIMEOUT_S:g} s",
                        hint="wait for it, or end it",
                    )
            self._records.mend(say)
            yield


def _how(group: Group) -> str:
    """The command that starts replicas of a group."""
    if group == BASELINE:
        return "mcctl scale agent-workbench --colour CANDIDATE --replicas N --restart --baseline"
    return "mcctl up --green" if group is Colour.green else f"mcctl up --colour {group}"
