"""Names, ports and files of the local environment; computes them, starts nothing. The folder is the workspace's."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mc_ops.environments.interface import BASELINE, Colour, Group
from mc_ops.environments.local.membership import Membership, read_membership
from mc_ops.environments.workspace import HOST, SECOND, Workspace
from mc_ops.errors import CouldNotTell, UnusableInput

MAX_REPLICAS = 19  # ports P+21..P+39 (blue), P+41..P+59 (green), P+61..P+79 (the fresh baseline)

ARCHIVER = "wal-archiver"
ARBITER = "arbiter"  # of two regions: where tenants' homes stand
LINK = "link"  # of two regions: what goes from one to the other goes through it
_OFFSETS = {
    "edge": 0,
    "postgres": 10,
    "records-agent": 11,
    "fulfilment-agent": 12,
    "siem": 13,
    ARCHIVER: 14,
    ARBITER: 15,
    LINK: 16,  # to 19: a port for each way
}
PORTS = 80  # that one platform may use
_REPLICA_OFFSETS = {Colour.blue.value: 20, Colour.green.value: 40, BASELINE: 60}
_SOCKET_PATH_LIMIT = 100  # sun_path has 108 bytes on Linux and 104 on macOS
_SAMPLES = "mc_samples"
_MODULES = {
    "records-agent": f"{_SAMPLES}.records_agent",
    "fulfilment-agent": f"{_SAMPLES}.fulfilment_agent",
    "siem": f"{_SAMPLES}.siem_receiver",
    "edge": "mc_ops.environments.local.edge",
    ARCHIVER: "mc_ops.backups.archiver",
    LINK: "mc_ops.environments.local.link",
}
# Ends a platform's start in this order, and its stop in the reverse one.
NEIGHBOURS = ("siem", "records-agent", "fulfilment-agent")
DATABASES = ("postgres", ARBITER)


def replica_name(group: Group, number: int) -> str:
    """`blue-1` and so on; `number` counts from 1."""
    return f"{group}-{number}"


def replica_names(group: Group, count: int) -> list[str]:
    return [replica_name(group, number + 1) for number in range(count)]


def group_of(name: str) -> Group | None:
    """The group of a replica's name; None for any other process."""
    head, _, number = name.partition("-")
    if not number.isdigit():
        return None
    return BASELINE if head == BASELINE else Colour.__members__.get(head)


def is_replica(name: str) -> bool:
    """Whether a process of that name is a workbench: of a colour, or of the fresh baseline."""
    return group_of(name) is not None


def colour_of(name: str) -> Colour | None:
    """The colour of a replica's name; None for any other process, and for the fresh baseline."""
    return Colour.__members__.get(str(group_of(name)))


def argv_of(name: str, service: tuple[str, ...]) -> tuple[str, ...]:
    """Program and arguments of any process but PostgreSQL; what they are recognised by, too."""
    if name in _MODULES:
        return (sys.executable, "-m", _MODULES[name])
    return (*service, "serve")


@dataclass(frozen=True, slots=True)
class Layout(Workspace):
    """A workspace whose platform runs on this machine: its processes' ports, logs and sockets."""

    @property
    def url(self) -> str:
        """Its edge, whatever `MC_URL` says."""
        return f"http://{HOST}:{self.edge_port}"

    @property
    def signer(self) -> Path:
        """What the ledger's signer remembers, apart from the database."""
        return self.home / "signer"

    @property
    def releases(self) -> Path:
        """The code that replicas run, a folder for each content."""
        return self.home / "releases"

    @property
    def archives_wal(self) -> bool:
        """Whether a backup was made whose WAL is to be archived."""
        return (self.home / "backup.json").exists()

    @property
    def peers_file(self) -> Path:
        """Where its replicas find the other region, if there is one."""
        return self.home / "peers.json"

    @property
    def witnesses_file(self) -> Path:
        """Where its replicas find who cosigns their checkpoints, and whose they cosign."""
        return self.home / "witnesses.toml"

    def membership(self) -> Membership | None:
        """What this region knows of the other; None where there is one region.

        Raises:
            CouldNotTell: the file is damaged.
        """
        return read_membership(self.home / "secrets" / "region.json")

    def beside(self) -> Layout:
        """Where the second region of this home is, or would be: on the ports above."""
        return replace(self, home=self.home / SECOND, edge_port=self.edge_port + PORTS)

    def ways(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Of the first region's link: from a region's folder and to what, its port and the target's."""
        to = [(each, name) for name in ("postgres", "edge") for each in (self, self.beside())]
        first = self.port_of(LINK)
        return {
            (each.home.name, name): (first + number, each.port_of(name))
            for number, (each, name) in enumerate(to)
        }

    def second(self) -> Layout | None:
        """Where the second region of this home is; None where there is one region."""
        beside = self.beside()
        return beside if (beside.home / "secrets" / "region.json").exists() else None

    @property
    def neighbours(self) -> tuple[str, ...]:
        """The sample agents and the SIEM receiver that are started here: a second region starts none."""
        known = self.membership() if self.home.name == SECOND else None
        return NEIGHBOURS if known is None else ()

    def port_of(self, name: str) -> int:
        """The port of a process of this platform.

        Raises:
            UnusableInput: no such process can exist.
        """
        first = self.membership() if name in NEIGHBOURS and self.home.name == SECOND else None
        if first:
            return first.neighbours_port + _OFFSETS[name]
        if name in _OFFSETS:
            return self.edge_port + _OFFSETS[name]
        head, _, digits = name.partition("-")
        number = int(digits) if is_replica(name) else 0
        if not 1 <= number <= MAX_REPLICAS:
            known = ", ".join([*_OFFSETS, *(f"{group}-1" for group in _REPLICA_OFFSETS)])
            raise UnusableInput(f'unknown process "{name}"', hint=f"known: {known} ...")
        return self.edge_port + _REPLICA_OFFSETS[head] + number

    def url_of(self, name: str) -> str:
        return f"http://{HOST}:{self.port_of(name)}"

    def log_of(self, name: str) -> Path:
        """The file that takes a process's stdout and stderr."""
        return self.home / "log" / f"{name}.log"

    @property
    def fingerprint(self) -> str:
        """Ten hex digits that stand for this home, for names outside of it."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:10]

    def control_socket(self) -> Path:
        """The edge's control socket: under `run/`, or in a private temp folder if too long.

        Raises:
            CouldNotTell: the temp folder exists and is not ours alone.
        """
        path = self.home / "run" / "edge.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        folder = Path(tempfile.gettempdir()) / f"mc-{os.geteuid()}-{self.fingerprint}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # Anyone may make a folder in a shared temp folder first and wait for us to use it.
        private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
        if not private or found.st_uid != os.geteuid():
            raise CouldNotTell(
                f"{folder} exists and is not a private folder of this user",
                hint="remove it, or set MC_HOME to a shorter path",
            )
        return folder / "edge.sock"
