"""The processes of one platform: what was recorded of them, and which of them live."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import psutil

from mc_ops.environments.interface import Colour, Group, Instance, Say
from mc_ops.environments.local import releases
from mc_ops.environments.local.layout import (
    DATABASES,
    Layout,
    argv_of,
    colour_of,
    group_of,
    is_replica,
)
from mc_ops.environments.local.postgres import data_home
from mc_ops.environments.local.processes import ProcessRecord, ProcessTable, find_leader
from mc_ops.environments.workspace import HOST, Memory, remember
from mc_ops.errors import UnusableInput


class Records:
    """A platform's process table, with what the names in it mean."""

    def __init__(self, layout: Layout, service: tuple[str, ...]) -> None:
        """Look at the records of `layout`; `service` is what replicas are recognised by."""
        self.table = ProcessTable(layout.home / "run", layout.home / "log")
        self.layout = layout
        self.service = service

    def of(self, group: Group) -> list[ProcessRecord]:
        """The replicas of a group that were started, alive or not."""
        return [record for name in self.names(group) if (record := self.table.read(name))]

    def names(self, group: Group) -> list[str]:
        """Their names, whatever is in their records."""
        return [name for name in self.table.names() if group_of(name) == group]

    def living(self) -> list[ProcessRecord]:
        """Every recorded process that lives; damaged records are left out."""
        damaged = self.table.damaged()
        names = [name for name in self.table.names() if name not in damaged]
        return [record for name in names if (record := self.table.alive(name))]

    def as_running(self) -> Layout:
        """The layout with the ports that the platform runs on, whatever `MC_EDGE_PORT` says."""
        for record in self.living():
            with contextlib.suppress(UnusableInput):
                offset = self.layout.port_of(record.name) - self.layout.edge_port
                return replace(self.layout, edge_port=record.port - offset)
        return self.layout

    def require_same_port(self) -> None:
        """Refuse to change a platform that runs on other ports than this shell says.

        Raises:
            UnusableInput: it does.
        """
        found = self.as_running().edge_port
        if found != self.layout.edge_port:
            raise UnusableInput(
                f"this platform runs on {found}, MC_EDGE_PORT is {self.layout.edge_port}",
                hint=f"set MC_EDGE_PORT={found}, or `mcctl down` first",
            )

    def mend(self, say: Say) -> None:
        """Record anew the processes whose records are damaged; forget those not recognised."""
        damaged = self.table.damaged()
        layout = self.as_running() if damaged else self.layout
        for name in damaged:
            process = self.recognised(name, layout)
            if process:
                env = process.environ() if is_replica(name) else {}
                faults = {key: env[key] for key in env if key.startswith("MC_FAULT")}
                self.table.adopt(name, process, layout.port_of(name), faults)
                say(f"the record of {name} was damaged; it is pid {process.pid}, recorded anew")
            else:
                self.table.forget(name)
                say(
                    f"the record of {name} was damaged and is removed; no process was recognised "
                    "as its own, so if one still runs, end it by hand"
                )

    def recognised(self, name: str, layout: Layout) -> psutil.Process | None:
        """The process that is `name` by all that it shows, though its record does not say so."""
        try:
            layout.port_of(name)
        except UnusableInput:
            return None
        return find_leader(lambda process: belongs_to(process, name, layout, self.service))

    def remember(self, before: Memory, counted: Mapping[Colour, int]) -> None:
        """Keep for the next start how many replicas there are of some colours."""
        memory = Memory(self.layout.edge_port, {**before.replicas, **counted})
        if memory != before:
            remember(self.layout.home, memory)

    def forget_releases(self) -> None:
        """Remove copies of code that nobody runs; not if that cannot be told."""
        with contextlib.suppress(psutil.Error):
            records = [record for record in self.living() if is_replica(record.name)]
            found = [process.environ() for record in records if (process := record.process())]
            releases.forget_unused(self.layout, found)


def belongs_to(
    process: psutil.Process, name: str, layout: Layout, service: tuple[str, ...]
) -> bool:
    """Whether a process, of which there is no record, is the one called `name` of `layout`.

    A command line alone could be another platform's, so the environment must say the same. For
    PostgreSQL, which gets none of ours, the folder of its data does.

    Raises:
        psutil.Error: it is gone, or its details may not be read.
    """
    argv = process.cmdline()
    if name in DATABASES:
        data = str(data_home(layout) / ("data" if name == "postgres" else name))
        return any(pair == ("-D", data) for pair in pairwise(argv))
    env = process.environ()
    return (
        tuple(argv[1:]) == argv_of(name, service)[1:]
        and env.get("MC_HOME") == str(layout.home)
        and env.get("MC_PORT") == str(layout.port_of(name))
    )


def living_instances(
    records: Sequence[ProcessRecord], serving: Colour | None
) -> tuple[Instance, ...]:
    """Where those live that live; one of the fresh baseline has the colour that serves."""
    return tuple(
        Instance(record.name, colour_of(record.name) or serving or Colour.blue, url_of(record))
        for record in records
        if record.process()
    )


def url_of(record: ProcessRecord) -> str:
    return f"http://{HOST}:{record.port}"
