"""The local environment: brings the platform up and down, and operates it while it runs.

Order of a start: files and secrets, PostgreSQL, the neighbours, the schema, the replicas, the
edge; a stop goes the other way. A start begins only what is missing, and if it fails or is
interrupted it stops what it began and nothing else. One lock file keeps two calls apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import psutil

from mc_ops.environments import credentials, policy_set
from mc_ops.environments.faults import Faults, shown
from mc_ops.environments.interface import (
    Colour,
    EnvironmentStatus,
    Instance,
    LogLine,
    ProcessStatus,
    Say,
    State,
    Switch,
    UpRequest,
    silent,
)
from mc_ops.environments.local import applied, changes, edge_control, keyring, postgres, releases
from mc_ops.environments.local.free_ports import require_free_port
from mc_ops.environments.local.layout import (
    FOUNDATIONS,
    MAX_REPLICAS,
    NEIGHBOURS,
    Layout,
    baseline_name,
    colour_of,
    is_replica,
    replica_name,
    replica_names,
)
from mc_ops.environments.local.logs import open_log, read_logs
from mc_ops.environments.local.processes import (
    ProcessRecord,
    ProcessSpec,
    ProcessTable,
    Started,
    find_leader,
)
from mc_ops.environments.local.specs import Specs, belongs_to
from mc_ops.environments.signals import uninterrupted
from mc_ops.environments.workspace import HOST, Memory, Workspace, checkout, recall, remember
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.outgoing.loopback import ask

_START_TIMEOUT_S = 60.0
_MIGRATE_TIMEOUT_S = 120.0
_STOP_GRACE_S = 10.0
_LOCK_TIMEOUT_S = 120.0
_DRAIN_TIMEOUT_S = 30.0
_HEALTH_TIMEOUT_S = 3.0
_CLAIM_WITHIN_S = 5.0  # a free claim to the SIEM is taken within a second or so
_PATIENCE_S = 10.0  # for what runs already, and may have been started a moment ago
_POLL_S = 0.1
_NO_ANSWER = "does not answer"
_HOW_BASELINE = "mcctl scale agent-workbench --colour CANDIDATE --replicas N --restart --baseline"
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL answers it with one byte


@dataclass(frozen=True, slots=True)
class _Health:
    """What a process says of itself: whether it can serve, the word for it, faults in it."""

    healthy: bool
    word: str
    faults: Mapping[str, Any] = field(default_factory=dict)
    replica: str = ""
    code: str = ""


class LocalEnvironment:
    """The platform as processes on this machine; implements `interface.Environment`."""

    name = "local"

    def __init__(
        self,
        layout: Layout,
        *,
        service: tuple[str, ...] = (sys.executable, "-m", "mc_platform"),
        database_url: str | None = None,
    ) -> None:
        """Look at the platform of `layout`; starts nothing.

        Args:
            layout: Its files and ports.
            service: The workbench's command, before `serve` or `migrate`.
            database_url: Admin URL of an external PostgreSQL; default `MC_DATABASE_URL`.
        """
        self.layout = layout
        self._service = service
        self._external = database_url or os.environ.get("MC_DATABASE_URL") or None
        self._table = ProcessTable(layout.home / "run", layout.home / "log")

    @property
    def url(self) -> str:
        """The edge's URL, on the port that the platform runs on, or else will run on."""
        return self._as_running().url

    @property
    def workspace(self) -> Workspace:
        """Where its files are."""
        return self.layout

    def neighbour_url(self, name: str) -> str:
        """Where a sample agent or the SIEM receiver listens."""
        if name not in NEIGHBOURS:
            raise UnusableInput(
                f'unknown neighbour "{name}"', hint=f"known: {', '.join(NEIGHBOURS)}"
            )
        return self._as_running().url_of(name)

    def settings(self, name: str) -> Mapping[str, str]:
        """The environment variables that a process was started with."""
        record = self._table.alive(name)
        process = record.process() if record else None
        try:
            if process:
                return process.environ()
        except psutil.Error as error:
            raise CouldNotTell(f"the settings of {name} may not be read") from error
        raise CouldNotTell(f"{name} does not run")

    def administer(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the service with the rights of the database's administrator."""
        if not self.layout.secret("database.json").exists():
            raise CouldNotTell(
                f"the platform was never started here ({self.layout.home})",
                hint="start it: mcctl up",
            )
        layout = self._as_running()
        urls = keyring.database_urls(layout, self._external)
        argv, env = Specs(layout, urls, self._service).administration(*command)
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    # -- up and down ------------------------------------------------------------------------

    def up(self, request: UpRequest, say: Say = silent) -> EnvironmentStatus:
        """Start whatever is missing, and return when everything that runs is ready.

        Raises:
            UnusableInput: a port is taken, the platform runs on other ports, the request is out
                of range, or a process found its settings unusable; something runs with other
                settings, or with more replicas, than are asked for, and nothing was changed.
            CouldNotTell: a process died, did not become ready, or runs and does not answer.
        """
        self.layout.prepare()
        with self._locked(say):
            self._require_same_port()
            self._require_answers()
            memory = recall(self.layout.home)
            keyring.prepare_secrets(self.layout, applied.tenants())
            policy_set.refresh(self.layout, checkout() / "policies")
            specs = self._specs()
            active = self.active_colour() if request.colour is None else request.colour
            serving = active or Colour.blue
            colours = [serving] + ([Colour.green] if request.green and serving != "green" else [])
            wanted = [
                specs.workbench(name, request.faults.get(colour, Faults()))
                for colour in colours
                for name in self._wanted_replicas(
                    colour, request.replicas, memory.replicas.get(colour, 0)
                )
            ]
            neighbours = [specs.neighbour(name) for name in NEIGHBOURS]
            self._require_not_fewer(colours, request.replicas)
            self._meet_changes(
                [*neighbours, *wanted, specs.edge()], restart=request.restart, say=say
            )
            if request.restart:
                self._stop_behind_catalogue(specs, wanted, say)
            self._stop_outdated(wanted, say)
            self._table.stop(
                [name for name in self._baseline_names() if not self._table.alive(name)],
                _STOP_GRACE_S,
            )
            with self._undone_on_failure(say) as begun:
                self._start_foundations(specs, wanted, begun, say)
                self._start(wanted, begun, say)
                self._table.wait_ready(begun, _START_TIMEOUT_S)
                self._put_behind_edge(specs, serving, begun, say)
            counted = {c: len(found) for c in Colour if (found := self._recorded(c))}
            self._remember(memory, counted)
            self._forget_releases()
            # Only now: one that hangs is no reason to stop again what was missing.
            self._require_healthy(
                [*(one.name for one in self._living()), *(spec.name for spec in wanted), "edge"]
            )
            for line in applied.stray_credentials(self.layout):
                say(line)
            for line in applied.other_catalogues(specs, self._table.all()):
                say(line)
            if not begun:
                say("everything was already running")
        return self.status()

    def down(self, say: Say = silent) -> bool:
        """Stop everything, the edge first; false if nothing was running.

        A process whose record is damaged is stopped, too, if it can be recognised; else `say`
        is told of it.
        """
        if not self.layout.home.exists():
            return False
        self.layout.prepare()
        with self._locked(say):
            names = [record.name for record in self._table.all()]
            replicas = [name for name in names if is_replica(name)]
            others = [n for n in names if n not in replicas and n not in ("edge", "postgres")]
            first = ["edge"] if "edge" in names else []
            last = ["postgres"] if "postgres" in names else []
            for tier in (first, replicas, others, last):
                if tier:
                    say(f"stopping {', '.join(tier)}")
                    self._table.stop(tier, _STOP_GRACE_S)
            edge_control.forget(self.layout.control_socket())
        return bool(names)

    def purge(self) -> None:
        """Remove the platform's data, keys and logs for good; `down` must have been called."""
        for path in (postgres.data_home(self.layout), *self.layout.own_entries):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something in it is not ours: leave it
            self.layout.home.rmdir()

    # -- the small interface ----------------------------------------------------------------

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

        With `baseline` as many replicas of what serves are started beside them, in turn with
        them: `baseline-1` and so on, with the code and the settings of those that serve. They get
        no traffic, and the work that one replica of a region does for all (shipping to the SIEM)
        is with one that serves, so the two sides differ in nothing but what is to be compared.
        `stop_baseline` ends them.

        Args:
            colour: The colour to scale.
            replicas: How many there are to be.
            say: Is told what is done.
            restart: Start those that run anew, with today's code; refused for the active colour.
            faults: Faults of those that are started; None: as those that there were.
            baseline: Also start a fresh baseline; only with `restart`, and for another colour
                than the one that serves.

        Raises:
            UnusableInput: out of range, the platform runs on other ports, or it would leave
                nobody to serve; a baseline beside replicas that are not as fresh; a replica beside
                others that run with other settings.
            CouldNotTell: the platform is not running, or a replica does not start or serve.
        """
        active = self.active_colour()
        _require_scalable(colour, replicas, active, restart=restart, baseline=baseline)
        if not self._table.alive("edge"):
            raise CouldNotTell("the platform is not running", hint="start it: mcctl up")
        with self._locked(say):
            self._require_same_port()
            memory = recall(self.layout.home)
            specs = self._specs()
            fresh = self._fresh_baseline(specs, active, replicas) if baseline else []
            names = replica_names(colour, replicas)
            kept = next((r.settings for r in self._recorded(colour)), {})
            chosen = Faults.from_settings(kept) if faults is None else faults
            if not restart and not all(self._table.alive(name) for name in names):
                # Else one colour would serve with two kinds of settings
                living = [name for name in names if self._table.alive(name)]
                self._meet_changes([specs.workbench(name, chosen) for name in living])
            running = [record.name for record in self._recorded(colour)] if restart else []
            if running and names:
                self._require_usable([specs.workbench(name, chosen) for name in names])
            running += self._baseline_names() if baseline else []
            if running:
                say(f"stopping {', '.join(running)}, to start anew")
                self._table.stop(running, _STOP_GRACE_S)
            if baseline:
                self._await_claim(active, say)
            try:
                with self._undone_on_failure(say) as begun:
                    for number, name in enumerate(names):
                        spec = specs.workbench(name, chosen)
                        self._start([spec, *fresh[number : number + 1]], begun, say)
                    self._await_serving(begun, active)
            except BaseException:
                with contextlib.suppress(CouldNotTell):
                    self._route(active)  # without those that were undone
                raise
            surplus = [r.name for r in self._recorded(colour) if r.name not in names]
            self._route(active, without=surplus)
            if surplus:
                self._drain([self.layout.url_of(name) for name in surplus])
                say(f"stopping {', '.join(surplus)}")
                self._table.stop(surplus, _STOP_GRACE_S)
            self._remember(memory, {colour: replicas})
            self._forget_releases()
            self._require_healthy(names)

    def _await_serving(self, begun: Sequence[Started], active: Colour | None) -> None:
        """Wait until each that was begun serves as itself, and the edge would send requests to it.

        Raises:
            CouldNotTell, UnusableInput: as `ProcessTable.wait_ready`, with the log's file.
        """
        self._table.wait_ready(begun, _START_TIMEOUT_S)
        self._route(active)
        routed = {url for urls in self._wanted_route(active).replicas.values() for url in urls}
        deadline = time.monotonic() + _PATIENCE_S
        waiting = list(begun)
        while waiting:
            seen = edge_control.ready(self.layout.control_socket())
            problems = {
                one.spec.name: why
                for one in waiting
                if (why := _why_not_serving(one, _health(one.record), routed - seen))
            }
            waiting = [one for one in waiting if one.spec.name in problems]
            if waiting and time.monotonic() > deadline:
                first = waiting[0]
                raise CouldNotTell(
                    "; ".join(f"{name} was started and {why}" for name, why in problems.items())
                    + self._table.tail_of(first.record),
                    hint=f"mcctl logs {first.spec.name} ({self.layout.log_of(first.spec.name)})",
                )
            time.sleep(_POLL_S if waiting else 0)

    def catalogue_digest(self) -> str:
        """The digest of the catalogue that a replica would begin with now."""
        return applied.catalogue_digest(self._specs())

    def stop_baseline(self, say: Say = silent) -> bool:
        """Stop the fresh baseline; false if there was none."""
        if not self.layout.home.exists():
            return False
        with self._locked(say):
            names = self._baseline_names()
            if names:
                say(f"stopping {', '.join(names)}")
                self._table.stop(names, _STOP_GRACE_S)
                self._forget_releases()
        return bool(names)

    def wait_ready(self, colour: Colour, timeout_s: float) -> tuple[Instance, ...]:
        """Wait until each recorded replica of `colour` answers /health with 200."""
        return self._wait_ready(
            lambda: self._recorded(colour), str(colour), timeout_s, hint=_how(colour)
        )

    def wait_baseline_ready(self, timeout_s: float) -> tuple[Instance, ...]:
        """Wait until each replica of the fresh baseline answers /health with 200."""
        return self._wait_ready(
            self._baseline_records, "the fresh baseline", timeout_s, hint=_HOW_BASELINE
        )

    def _wait_ready(
        self, find: Callable[[], list[ProcessRecord]], what: str, timeout_s: float, *, hint: str
    ) -> tuple[Instance, ...]:
        deadline = time.monotonic() + timeout_s
        while True:
            records = find()
            if not records:
                raise CouldNotTell(f"no replica of {what} was started", hint=hint)
            gone = [record for record in records if not record.process()]
            if gone:
                dead, tail = [record.name for record in gone], self._table.tail_of(gone[0])
                raise CouldNotTell(f"{', '.join(dead)} died{tail}", hint=hint)
            slow = [record.name for record in records if not _health(record).healthy]
            if not slow:
                return self._living_instances(records)
            if time.monotonic() > deadline:
                raise CouldNotTell(
                    f"{', '.join(slow)} not ready after {timeout_s:g} s",
                    hint=f"mcctl logs {slow[0]}",
                )
            time.sleep(_POLL_S)

    def instances(self, colour: Colour | None = None) -> tuple[Instance, ...]:
        """The replicas of `colour`, or of both, that live."""
        colours = Colour if colour is None else (colour,)
        return self._living_instances([one for each in colours for one in self._recorded(each)])

    def baseline(self) -> tuple[Instance, ...]:
        """The replicas of the fresh baseline that live; their colour is the one that serves."""
        return self._living_instances(self._baseline_records())

    def _living_instances(self, records: Sequence[ProcessRecord]) -> tuple[Instance, ...]:
        return tuple(
            Instance(
                record.name,
                colour_of(record.name) or self.active_colour() or Colour.blue,
                _url(record),
            )
            for record in records
            if record.process()
        )

    def active_colour(self) -> Colour | None:
        """The colour that the edge serves, or served when it last ran.

        Raises:
            CouldNotTell: the edge's state file is damaged.
        """
        try:
            route = edge_control.read_state(self.layout.home / "edge.json")
        except CouldNotTell as error:
            raise CouldNotTell(
                error.message,
                hint="remove it, then `mcctl up` (blue serves then; or `mcctl up --colour green`)",
            ) from error
        return route.active if route else None

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        """Cut over to `colour`, if every replica of it is healthy and runs without faults.

        Args:
            colour: The colour that is to serve.
            allow_faults: Also if faults are deliberately switched on in it.
            hold: Is given the replicas that are to serve, while no other mcctl can change them,
                and raises if they must not.

        Raises:
            Finding: a replica is not healthy, or has faults; nothing was changed.
            CouldNotTell: the edge is not running, or does not answer.
        """
        if not self._table.alive("edge"):
            raise CouldNotTell("the edge is not running", hint="start it: mcctl up")
        with self._locked(silent):
            before = self.active_colour()
            living = [record for record in self._recorded(colour) if record.process()]
            if not living:
                raise Finding(
                    f"no replica of {colour} runs; nothing was changed", hint=_how(colour)
                )
            for record in living:
                health = _health(record)
                if not health.healthy:
                    raise Finding(
                        f"{record.name} is not healthy ({health.word}); nothing was changed",
                        hint=f"mcctl logs {record.name}",
                    )
                if health.faults and before != colour and not allow_faults:
                    raise Finding(
                        f"{colour} runs with faults {_named(health.faults)}; nothing was changed",
                        hint=f"start it without: mcctl scale agent-workbench --colour {colour} "
                        f"--replicas {len(living)} --restart --fault none; "
                        "or, in a rehearsal, --allow-faults",
                    )
            if hold is not None and before != colour:
                hold(self._living_instances(living))
            self._route(colour)
        return Switch(source=before, target=colour, changed=before != colour)

    def status(self) -> EnvironmentStatus:
        """What runs here, and how it does; a damaged record is told and hides nothing else."""
        active = self.active_colour()
        layout = self._as_running()
        recorded = self._table.names()
        foundations = [n for n in FOUNDATIONS if not self._external or n in recorded]
        replicas = {replica_name(active or Colour.blue, 1), *filter(is_replica, recorded)}
        names = [*foundations, *sorted(replicas), "edge"]
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            processes = tuple(pool.map(lambda name: self._process_status(name, layout), names))
        return EnvironmentStatus(processes=processes, active_colour=active, url=layout.url)

    def logs(
        self, names: Sequence[str] = (), *, lines: int = 50, follow: bool = False
    ) -> Iterator[LogLine]:
        """What the processes wrote; all of them when `names` is empty.

        Raises:
            UnusableInput: a name has no log.
        """
        return read_logs(self.layout.home / "log", names, lines=lines, follow=follow)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """While no other mcctl changes this platform; not to be held around a verb that changes it.

        Raises:
            CouldNotTell: another one has been changing it for too long.
        """
        return self._locked(silent)

    # -- how ----------------------------------------------------------------------------------

    def _specs(self) -> Specs:
        urls = keyring.database_urls(self.layout, self._external)
        return Specs(self.layout, urls, self._service)

    def _recorded(self, colour: Colour) -> list[ProcessRecord]:
        names = [name for name in self._table.names() if colour_of(name) == colour]
        return [record for name in names if (record := self._table.read(name))]

    def _baseline_names(self) -> list[str]:
        return [name for name in self._table.names() if is_replica(name) and not colour_of(name)]

    def _baseline_records(self) -> list[ProcessRecord]:
        return [record for name in self._baseline_names() if (record := self._table.read(name))]

    def _fresh_baseline(
        self, specs: Specs, active: Colour | None, replicas: int
    ) -> list[ProcessSpec]:
        """Specifications of a fresh baseline; its k-th replica is like the k-th that serves."""
        serving = [
            (process.environ(), Faults.from_settings(record.settings))
            for record in (self._recorded(active) if active else ())
            if (process := record.process())
        ]
        if not serving:
            raise CouldNotTell("nobody serves: there is nothing to compare with", hint="mcctl up")
        if not all(releases.runs_kept_code(self.layout, env) for env, _ in serving):
            raise CouldNotTell(
                f"the code that {active} runs was not kept, so it cannot be started once more",
                hint="it was started by an earlier mcctl: mcctl down, then mcctl up",
            )
        return [
            specs.baseline(baseline_name(number + 1), *serving[number % len(serving)])
            for number in range(replicas)
        ]

    def _await_claim(self, active: Colour | None, say: Say) -> None:
        """Wait until a replica that serves ships to the SIEM, so that none that is compared does.

        What was stopped just now may have been the one that did.
        """
        deadline = time.monotonic() + _CLAIM_WITHIN_S
        while not any(_ships(record) for record in (self._recorded(active) if active else ())):
            if time.monotonic() > deadline:
                say(f"no replica of {active} ships to the SIEM: one that is compared may have to")
                return
            time.sleep(_POLL_S)

    def _forget_releases(self) -> None:
        """Remove copies of code that nobody runs; not if that cannot be told."""
        with contextlib.suppress(psutil.Error):
            records = [record for record in self._living() if is_replica(record.name)]
            found = [process.environ() for record in records if (process := record.process())]
            releases.forget_unused(self.layout, found)

    def _living(self) -> list[ProcessRecord]:
        """Every recorded process that lives; damaged records are left out."""
        damaged = self._table.damaged()
        names = [name for name in self._table.names() if name not in damaged]
        return [record for name in names if (record := self._table.alive(name))]

    def _as_running(self) -> Layout:
        """The layout with the ports that the platform runs on, whatever `MC_EDGE_PORT` says."""
        for record in self._living():
            with contextlib.suppress(UnusableInput):
                offset = self.layout.port_of(record.name) - self.layout.edge_port
                return replace(self.layout, edge_port=record.port - offset)
        return self.layout

    def _require_same_port(self) -> None:
        found = self._as_running().edge_port
        if found != self.layout.edge_port:
            raise UnusableInput(
                f"this platform runs on {found}, MC_EDGE_PORT is {self.layout.edge_port}",
                hint=f"set MC_EDGE_PORT={found}, or `mcctl down` first",
            )

    def _require_answers(self) -> None:
        """See that what the others are started with answers, if it runs: database and edge."""
        database, edge = self._table.alive("postgres"), self._table.alive("edge")
        if database and not _health(database).healthy:
            raise _hanging({_NO_ANSWER: ["postgres"]})
        if edge:
            try:
                edge_control.under_way(self.layout.control_socket())
            except CouldNotTell as error:
                raise _hanging({_NO_ANSWER: ["edge"]}) from error

    def _require_healthy(self, wanted: Sequence[str]) -> None:
        """See that each of these processes can serve."""
        names = list(dict.fromkeys(wanted))
        if not names:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with ThreadPoolExecutor(max_workers=len(names)) as pool:
                found = dict(zip(names, pool.map(self._health_of, names), strict=True))
            if all(health.healthy for health in found.values()):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        failing: dict[str, list[str]] = {}
        for name, health in found.items():
            if not health.healthy:
                failing.setdefault(health.word, []).append(name)
        raise _hanging(failing)

    def _health_of(self, name: str) -> _Health:
        record = self._table.alive(name)
        return _health(record) if record else _Health(healthy=False, word="died")

    def _remember(self, before: Memory, counted: Mapping[Colour, int]) -> None:
        memory = Memory(self.layout.edge_port, {**before.replicas, **counted})
        if memory != before:
            remember(self.layout.home, memory)

    def _mend(self, say: Say) -> None:
        """Record anew the processes whose records are damaged; forget those not recognised."""
        damaged = self._table.damaged()
        layout = self._as_running() if damaged else self.layout
        for name in damaged:
            process = self._recognised(name, layout)
            if process:
                env = process.environ() if is_replica(name) else {}
                faults = {key: env[key] for key in env if key.startswith("MC_FAULT")}
                self._table.adopt(name, process, layout.port_of(name), faults)
                say(f"the record of {name} was damaged; it is pid {process.pid}, recorded anew")
            else:
                self._table.forget(name)
                say(
                    f"the record of {name} was damaged and is removed; no process was recognised "
                    "as its own, so if one still runs, end it by hand"
                )

    def _recognised(self, name: str, layout: Layout) -> psutil.Process | None:
        try:
            layout.port_of(name)
        except UnusableInput:
            return None
        return find_leader(lambda one: belongs_to(one, name, layout, self._service))

    def _wanted_replicas(self, colour: Colour, replicas: int | None, remembered: int) -> list[str]:
        if replicas is not None and not 1 <= replicas <= MAX_REPLICAS:
            raise UnusableInput(f"{replicas} replicas asked for, expected 1 to {MAX_REPLICAS}")
        recorded = [record.name for record in self._recorded(colour)]
        count = replicas or remembered or max(len(recorded), 1)
        return list(
            dict.fromkeys([*(replica_name(colour, n + 1) for n in range(count)), *recorded])
        )

    def _meet_changes(
        self, specs: Sequence[ProcessSpec], *, restart: bool = False, say: Say = silent
    ) -> None:
        """Refuse, or on request stop, what runs with other settings than it would get now."""
        found = {
            spec.name: what
            for spec in specs
            if (record := self._table.alive(spec.name)) and (what := changes.changes(spec, record))
        }
        if not found:
            return
        told = "; ".join(f"{name}: {', '.join(what)}" for name, what in found.items())
        if not restart:
            raise UnusableInput(
                f"what runs has other settings than are asked for now, and was left alone: {told}",
                hint="restart these with `mcctl up --restart` (requests are refused meanwhile), or "
                "repeat with the settings that they have",
            )
        self._require_usable([spec for spec in specs if spec.name in found])
        say(f"restarting with other settings: {told}")
        self._table.stop(list(found), _STOP_GRACE_S)

    def _stop_behind_catalogue(self, specs: Specs, wanted: Sequence[ProcessSpec], say: Say) -> None:
        living = [record for spec in wanted if (record := self._table.alive(spec.name))]
        behind = applied.behind_catalogue(specs, living)
        if behind:
            self._require_usable([spec for spec in wanted if spec.name in behind])
            say(f"restarting with the catalogue as it is now: {', '.join(behind)}")
            self._table.stop(behind, _STOP_GRACE_S)

    def _require_usable(self, specs: Sequence[ProcessSpec]) -> None:
        """Refuse to stop what serves for settings that nothing could begin with.

        Raises:
            UnusableInput: the service refuses them; with its words. Nothing was stopped.
        """
        replica = next((spec for spec in specs if is_replica(spec.name)), None)
        if replica is None:
            return
        argv = (*self._service, "settings")
        try:
            done = subprocess.run(
                argv,
                env=dict(replica.env),
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_START_TIMEOUT_S,
                cwd=replica.cwd,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CouldNotTell(f"the settings could not be checked: {error}") from error
        if done.returncode:
            said = done.stderr.strip().removeprefix("error: ")[-2000:]
            raise UnusableInput(
                f"{replica.name} runs, and could not begin with what it would get now: {said}",
                hint="nothing was stopped or changed",
            )

    def _require_not_fewer(self, colours: Sequence[Colour], replicas: int | None) -> None:
        for colour in colours if replicas is not None else ():
            living = [record.name for record in self._recorded(colour) if record.process()]
            surplus = [name for name in living if name not in replica_names(colour, replicas or 0)]
            if surplus:
                raise UnusableInput(
                    f"{replicas} of {colour} asked for, and {', '.join(surplus)} runs as well; "
                    "nothing was changed",
                    hint=f"mcctl scale agent-workbench --colour {colour} --replicas {replicas}",
                )

    def _stop_outdated(self, wanted: Sequence[ProcessSpec], say: Say) -> None:
        """Stop replicas that run with other faults than are asked for now."""
        for spec in wanted:
            record = self._table.alive(spec.name)
            if record and record.settings != dict(spec.settings):
                before, after = (
                    shown(record.settings) or "none",
                    shown(spec.settings) or "none",
                )
                say(f"restarting {spec.name}: faults were {before}, asked for {after}")
                self._table.stop([spec.name], _STOP_GRACE_S)

    def _start_foundations(
        self,
        specs: Specs,
        replicas: Sequence[ProcessSpec],
        begun: list[Started],
        say: Say,
    ) -> None:
        """Database, neighbours and schema; ports of all that is to come are looked at first."""
        neighbours = [specs.neighbour(name) for name in NEIGHBOURS]
        planned = [*neighbours, *replicas]
        server = None if self._external else postgres.locate(self.layout)
        if server:
            planned.append(postgres.specification(self.layout, server))
        for name in ("edge", *(spec.name for spec in planned)):
            if not self._table.alive(name):
                self._table.stop([name], _STOP_GRACE_S)  # what a killed one left behind
                require_free_port(name, self.layout.port_of(name))
        if server and not self._table.alive("postgres"):
            if postgres.initialise(server, keyring.superuser_password(self.layout)):
                say("made a new database cluster")
            postgres.clear_stale_pid(server)
            self._start([postgres.specification(self.layout, server)], begun, say)
            self._table.wait_ready(begun, _START_TIMEOUT_S)
        self._start(neighbours, begun, say)
        if any(not self._table.alive(spec.name) for spec in replicas):
            self._migrate(specs, say)
        elif not credentials.is_imported(self.layout):
            self._migrate(specs, say, credentials_only=True)

    def _start(self, specs: Sequence[ProcessSpec], begun: list[Started], say: Say) -> None:
        for spec in specs:
            if self._table.alive(spec.name):
                continue
            self._table.stop([spec.name], _STOP_GRACE_S)
            require_free_port(spec.name, spec.port)
            say(f"starting {spec.name} on {HOST}:{spec.port}")
            begun.append(self._table.start(spec))

    def _migrate(self, specs: Specs, say: Say, *, credentials_only: bool = False) -> None:
        what = "credentials" if credentials_only else "schema"
        say(f"bringing the database's {what} up to date")
        argv, env = specs.administration("credentials" if credentials_only else "migrate")
        log = self.layout.log_of("migrate")
        imported = credentials.hashes(self.layout)
        offset = 0
        try:
            with open_log(log) as output:
                offset = os.fstat(output.fileno()).st_size
                subprocess.run(
                    argv,
                    env=env,
                    check=True,
                    timeout=_MIGRATE_TIMEOUT_S,
                    input=imported.encode(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except subprocess.CalledProcessError as error:
            kind = UnusableInput if error.returncode == UnusableInput.exit_code else CouldNotTell
            told = self._table.tail("migrate", offset)
            hint = "mcctl logs migrate"
            if self._external:
                # What `migrate` calls so is what the user set under the other name.
                told = told.replace("MC_DATABASE_ADMIN_URL", "MC_DATABASE_URL")
                hint += "; MC_DATABASE_URL must be an administrator's URL of a server that runs"
            raise kind(
                f"the database's {what} could not be brought up to date "
                f"(status {error.returncode}){told}",
                hint=hint,
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CouldNotTell(f"migrate could not be run: {error}") from error
        credentials.mark_imported(self.layout, imported)
        refused = credentials.strays(self.layout, applied.tenants())
        for line in applied.credential_changes(log, offset, refused):
            say(line)

    def _put_behind_edge(
        self, specs: Specs, serving: Colour, begun: list[Started], say: Say
    ) -> None:
        if self._table.alive("edge"):
            active = self.active_colour() or serving
            if active != serving:
                say(f"{active} keeps serving; to change that: mcctl cutover --to {serving}")
            self._route(active)
            return
        edge_control.write_state(self.layout.home / "edge.json", self._wanted_route(serving))
        edge: list[Started] = []
        try:
            self._start([specs.edge()], edge, say)
        finally:
            begun.extend(edge)
        self._table.wait_ready(edge, _START_TIMEOUT_S)

    def _wanted_route(
        self, active: Colour | None, without: Sequence[str] = ()
    ) -> edge_control.Route:
        replicas = {
            colour: tuple(i.url for i in self.instances(colour) if i.name not in without)
            for colour in Colour
        }
        return edge_control.Route(active=active or Colour.blue, replicas=replicas)

    def _route(self, active: Colour | None, without: Sequence[str] = ()) -> None:
        edge_control.change(self.layout.control_socket(), self._wanted_route(active, without))

    def _drain(self, urls: Sequence[str]) -> None:
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        while time.monotonic() < deadline:
            under_way = edge_control.under_way(self.layout.control_socket())
            if not any(under_way.get(url, 0) for url in urls):
                return
            time.sleep(_POLL_S)

    def _process_status(self, name: str, layout: Layout) -> ProcessStatus:
        colour = colour_of(name)
        try:
            record = self._table.read(name)
        except CouldNotTell:
            found = self._recognised(name, layout)
            state = State.running if found else State.dead
            pid = found.pid if found else None
            port = layout.port_of(name)
            return ProcessStatus(name, state, pid, port, None, "damaged record", colour=colour)
        if record is None:
            port = layout.port_of(name)
            return ProcessStatus(name, State.stopped, None, port, None, "-", colour=colour)
        process = record.process()
        return ProcessStatus(
            name=name,
            state=State.running if process else State.dead,
            pid=record.pid,
            port=record.port,
            uptime_s=round(time.time() - record.started_at, 1) if process else None,
            health=_health(record).word if process else "-",
            faults=shown(record.settings),
            colour=colour,
        )

    @contextlib.contextmanager
    def _undone_on_failure(self, say: Say) -> Iterator[list[Started]]:
        """Collect what is begun; on any failure or interruption stop it, last begun first."""
        begun: list[Started] = []
        try:
            yield begun
        except BaseException:
            with uninterrupted():  # an impatient second Ctrl-C must not leave half of it behind
                for one in reversed(begun):
                    with contextlib.suppress(OSError):  # the terminal may be what is gone
                        say(f"stopping {one.spec.name}, which this call had started")
                    self._table.stop([one.spec.name], _STOP_GRACE_S)
            raise

    @contextlib.contextmanager
    def _locked(self, say: Say) -> Iterator[None]:
        """Hold the platform's lock, waiting for another mcctl; first mend damaged records."""
        with (self.layout.home / "up.lock").open("w") as file:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise CouldNotTell(
                            f"another mcctl has been changing this platform for "
                            f"{_LOCK_TIMEOUT_S:g} s",
                            hint="wait for it, or end it",
                        ) from None
                    if not told:
                        say("another mcctl is changing this platform; waiting for it")
                        told = True
                    time.sleep(_POLL_S)
            self._mend(say)
            yield


def _health(record: ProcessRecord) -> _Health:
    """What a recorded process says of itself, on the port that it was started with."""
    if record.name == "postgres":
        answers = _postgres_answers(record.port)
        return _Health(healthy=answers, word="ok" if answers else _NO_ANSWER)
    answer = ask(record.port, "/health", _HEALTH_TIMEOUT_S)
    if answer is None:
        return _Health(healthy=False, word=_NO_ANSWER)
    status, content = answer
    try:
        body = json.loads(content)
    except ValueError:
        return _Health(healthy=False, word="answers no JSON")
    told = body if isinstance(body, dict) else {}
    faults = told.get("faults")
    return _Health(
        healthy=status == HTTPStatus.OK,
        word=str(told.get("status", status)),
        faults=faults if isinstance(faults, dict) else {},
        replica=str(told.get("replica", "")),
        code=_code(told.get("running")),
    )


def _code(running: Any) -> str:
    return str(running.get("code") or "") if isinstance(running, dict) else ""


def _why_not_serving(one: Started, health: _Health, unseen: set[str]) -> str:
    """Why a replica does not serve yet, as a clause; empty when it does."""
    if not health.healthy:
        return f"does not serve ({health.word})"
    if health.replica not in ("", one.spec.name):
        return f"{health.replica} answers on its port"
    if health.code and not releases.is_code_of(one.spec.env, health.code):
        return "runs other code than it was started with"
    return "the edge has not seen it healthy" if _url(one.record) in unseen else ""


def _ships(record: ProcessRecord) -> bool:
    """Whether a replica says that it, and not another one, ships to the SIEM (or has none)."""
    answer = ask(record.port, "/health", _HEALTH_TIMEOUT_S)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if answer:
            siem = json.loads(answer[1])["dependencies"].get("siem", {})
            return siem.get("shipper") not in ("standby", "starting")
    return False


def _postgres_answers(port: int) -> bool:
    # To connect is not enough: the kernel accepts for a server that is stopped or hangs.
    try:
        with socket.create_connection((HOST, port), timeout=_HEALTH_TIMEOUT_S) as connection:
            connection.sendall(_SSL_REQUEST)
            return len(connection.recv(1)) == 1
    except OSError:
        return False


def _hanging(failing: Mapping[str, Sequence[str]]) -> CouldNotTell:
    """The error that names processes which run and do not serve, by what is wrong with them."""
    told = "; ".join(f"running but {word}: {', '.join(names)}" for word, names in failing.items())
    first = next(name for names in failing.values() for name in names)
    return CouldNotTell(
        told, hint=f"mcctl logs {first}; `mcctl down`, then `mcctl up`, starts all of it anew"
    )


def _named(faults: Mapping[str, Any]) -> str:
    """Faults of a /health in the words that `--fault` takes."""
    short = {"slow_factor": "slow", "error_ratio": "errors"}
    return ",".join(
        f"{short.get(name, name)}={value:g}"
        if isinstance(value, int | float)
        else f"{name}={value}"
        for name, value in faults.items()
    )


def _url(record: ProcessRecord) -> str:
    return f"http://{HOST}:{record.port}"


def _how(colour: Colour) -> str:
    return "mcctl up --green" if colour is Colour.green else f"mcctl up --colour {colour}"


def _require_scalable(
    colour: Colour, replicas: int, active: Colour | None, *, restart: bool, baseline: bool
) -> None:
    """Refuse what `LocalEnvironment.scale` cannot do, whatever runs."""
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UnusableInput(f"{replicas} replicas asked for, expected 0 to {MAX_REPLICAS}")
    if replicas == 0 and colour == active:
        raise UnusableInput(
            f"{colour} serves; with 0 replicas nobody would",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if restart and colour == active:
        raise UnusableInput(
            f"{colour} serves; restarting all of it would drop requests",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if baseline and not (restart and replicas):
        raise UnusableInput(
            "a fresh baseline is compared with replicas that are as fresh",
            hint="add --restart, and at least 1 replica",
        )
