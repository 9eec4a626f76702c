"""What runs otherwise than it would be started now: refused, or on request stopped to start anew.

`mcctl up` starts what is missing and leaves what runs alone, so settings of a shell that is not the one
of the last start would seem to be in force, and are not. Compared are the variables that the process
reads, as it was given them; the catalogue's content is `applied`'s. Values are shown only where they can
be no secret.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

import psutil

from mc_ops.environments.faults import shown
from mc_ops.environments.interface import BASELINE, Colour, Say, silent
from mc_ops.environments.local import applied
from mc_ops.environments.local.layout import is_replica, replica_names
from mc_ops.environments.local.processes import ProcessRecord, ProcessSpec
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.specs import Specs
from mc_ops.errors import CouldNotTell, UnusableInput

_SETTINGS_TIMEOUT_S = 60.0
_READ_BY = {
    "edge": re.compile(r"MC_(HEAD|BODY|WRITE)_TIMEOUT_S|MC_CONNECTIONS(_PER_PEER)?"),
    "siem": re.compile(r"MC_SIEM_.*"),
}
_READ_BY_REPLICAS = re.compile(r"(MC|AUDIT|OTEL)_.*")
# Of mcctl itself, or of one process (faults are looked at by name, and a replica of its own)
_NOT_READ = re.compile(
    r"MC_(FAULTS?|BLUE_FAULT|GREEN_FAULT|BASELINE_FAULT)(_.*)?|MC_EDGE_.*|MC_CANARY_.*|MC_PROMETHEUS_.*"
    r"|MC_(HOME|PORT|LOG_FILE|REPLICA|COLOUR|DATABASE_ADMIN_URL|TOKEN_FILE|CREDENTIALS_FILE|PRICES_FILE)"
    r"|MC_SIEM_(FAIL|KEY_FILE)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|URL|WEBHOOK")
_PLAIN = re.compile(r"[\w./,:+-]{1,60}", re.ASCII)


class Outdated:
    """Holds what runs against what it would be started with now."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._table = records.table

    def stop(self, specs: Specs, wanted: Sequence[ProcessSpec], say: Say, *, restart: bool) -> None:
        """Before a start: stop what has other faults, and with `restart` other settings, too.

        Raises:
            UnusableInput: something runs with other settings, and is not to be restarted.
        """
        neighbours = [specs.neighbour(name) for name in specs.layout.neighbours]
        self._meet_settings([*neighbours, *wanted, specs.edge()], restart=restart, say=say)
        if restart:
            self._stop_behind_catalogue(specs, wanted, say)
        self._stop_other_faults(wanted, say)
        names = self._records.names(BASELINE)
        self._table.stop([name for name in names if not self._table.alive(name)])

    def make_room(
        self,
        colour: Colour,
        specs: Sequence[ProcessSpec],
        say: Say,
        *,
        restart: bool,
        baseline: bool,
    ) -> None:
        """Before a colour is scaled: stop what is to start anew.

        Raises:
            UnusableInput: the colour would serve with two kinds of settings.
        """
        living = [spec for spec in specs if self._table.alive(spec.name)]
        if not restart and len(living) < len(specs):
            self._meet_settings(living)
        running = [record.name for record in self._records.of(colour)] if restart else []
        if running:
            self._require_usable(specs)
        running += self._records.names(BASELINE) if baseline else []
        if running:
            say(f"stopping {', '.join(running)}, to start anew")
            self._table.stop(running)

    def _meet_settings(
        self, specs: Sequence[ProcessSpec], *, restart: bool = False, say: Say = silent
    ) -> None:
        """Refuse, or on request stop, what runs with other settings than it would get now.

        Raises:
            UnusableInput: something does; or nothing could begin with the settings as they are.
        """
        found = {
            spec.name: what
            for spec in specs
            if (record := self._table.alive(spec.name)) and (what := _changes(spec, record))
        }
        if not found:
            return
        differences = "; ".join(f"{name}: {', '.join(what)}" for name, what in found.items())
        if not restart:
            raise UnusableInput(
                "what runs has other settings than are asked for now, and was left alone: "
                f"{differences}",
                hint="restart these with `mcctl up --restart` (requests are refused meanwhile), or "
                "repeat with the settings that they have",
            )
        self._require_usable([spec for spec in specs if spec.name in found])
        say(f"restarting with other settings: {differences}")
        self._table.stop(list(found))

    def _stop_behind_catalogue(self, specs: Specs, wanted: Sequence[ProcessSpec], say: Say) -> None:
        """Stop replicas that began with another catalogue than the file has now."""
        living = [record for spec in wanted if (record := self._table.alive(spec.name))]
        behind = applied.behind_catalogue(specs, living)
        if behind:
            self._require_usable([spec for spec in wanted if spec.name in behind])
            say(f"restarting with the catalogue as it is now: {', '.join(behind)}")
            self._table.stop(behind)

    def _stop_other_faults(self, wanted: Sequence[ProcessSpec], say: Say) -> None:
        """Stop replicas that run with other faults than are asked for now."""
        for spec in wanted:
            record = self._table.alive(spec.name)
            if record and record.settings != dict(spec.settings):
                before, after = shown(record.settings) or "none", shown(spec.settings) or "none"
                say(f"restarting {spec.name}: faults were {before}, asked for {after}")
                self._table.stop([spec.name])

    def _require_usable(self, specs: Sequence[ProcessSpec]) -> None:
        """Refuse to stop what serves for settings that nothing could begin with.

        Raises:
            UnusableInput: the service refuses them; with its words. Nothing was stopped.
        """
        replica = next((spec for spec in specs if is_replica(spec.name)), None)
        if replica is None:
            return
        try:
            done = subprocess.run(
                (*self._records.service, "settings"),
                env=dict(replica.env),
                check=False,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_SETTINGS_TIMEOUT_S,
                cwd=replica.cwd,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CouldNotTell(f"the settings could not be checked: {error}") from error
        if done.returncode:
            reason = done.stderr.strip().removeprefix("error: ")[-2000:]
            raise UnusableInput(
                f"{replica.name} runs, and could not begin with what it would get now: {reason}",
                hint="nothing was stopped or changed",
            )

    def require_not_fewer(self, colours: Sequence[Colour], replicas: int | None) -> None:
        """Refuse to start as many replicas where more run.

        Raises:
            UnusableInput: more run.
        """
        for colour in colours if replicas is not None else ():
            living = [record.name for record in self._records.of(colour) if record.process()]
            surplus = [name for name in living if name not in replica_names(colour, replicas or 0)]
            if surplus:
                raise UnusableInput(
                    f"{replicas} of {colour} asked for, and {', '.join(surplus)} runs as well; "
                    "nothing was changed",
                    hint=f"mcctl scale agent-workbench --colour {colour} --replicas {replicas}",
                )


def _changes(spec: ProcessSpec, record: ProcessRecord) -> list[str]:
    """Which settings a living process would have now that it has not, in words; sorted.

    Nothing where its environment may not be read.
    """
    process = record.process()
    try:
        runs_with = process.environ() if process else {}
    except psutil.Error:
        return []
    if not runs_with:
        return []
    names = {name for name in {*spec.env, *runs_with} if _is_read(spec.name, name)}
    return [
        _told(name, runs_with.get(name), spec.env.get(name))
        for name in sorted(names)
        if (runs_with.get(name) or "") != (spec.env.get(name) or "")
    ]


def _is_read(process: str, name: str) -> bool:
    if is_replica(process):
        return bool(_READ_BY_REPLICAS.fullmatch(name)) and not _NOT_READ.fullmatch(name)
    pattern = _READ_BY.get(process)
    return bool(pattern and pattern.fullmatch(name))


def _told(name: str, before: str | None, after: str | None) -> str:
    def shown(value: str | None) -> str | None:
        if not value:
            return "unset"
        return value if _PLAIN.fullmatch(value) and not _SECRET.search(name) else None

    old, new = shown(before), shown(after)
    return name if old is None or new is None else f"{name} ({old}, now {new})"
