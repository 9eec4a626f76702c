"""Names, ports and files of the local environment; computes them, starts nothing.

The folder `MC_HOME` holds everything. Its mode is 0700, but 0711 for root: PostgreSQL refuses
to run as root, so an unprivileged user must be able to pass through to `pg/`. What is private
(`secrets/`, logs, what the SIEM got) is 0700 either way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mc_ops.environments.interface import Colour
from mc_ops.errors import CouldNotTell, UnusableInput

DEFAULT_EDGE_PORT = 8080
MAX_REPLICAS = 19  # ports P+21..P+39 (blue), P+41..P+59 (green), P+61..P+79 (the fresh baseline)
HOST = "127.0.0.1"

_OFFSETS = {
    "edge": 0,
    "postgres": 10,
    "records-agent": 11,
    "fulfilment-agent": 12,
    "siem": 13,
}
BASELINE = "baseline"  # replicas of what serves, fresh, only to be compared with a candidate
_REPLICA_OFFSETS = {Colour.blue.value: 20, Colour.green.value: 40, BASELINE: 60}
_LOWEST_PORT, _HIGHEST_PORT = 1024, 65_535 - 80  # the others are up to 79 above it
_SOCKET_PATH_LIMIT = 100  # sun_path has 108 bytes on Linux and 104 on macOS
_SIGNER = "signer"
_PRIVATE_FOLDERS = (
    *("secrets", "run", "log", "siem", "fulfilment", "audit", "runs", "monitoring"),
    _SIGNER,
)
_RELEASES = "releases"
_SHARED_FOLDERS = ("trust",)
_POLICY_FOLDERS = ("policies", "policy-sets", ".policies-aside")
_MEMORY = "platform.json"
_OWN_FILES = ("edge.json", "cutover.json", "up.lock", _MEMORY)

# Ends a platform's start in this order, and its stop in the reverse one.
FOUNDATIONS = ("postgres", "siem", "records-agent", "fulfilment-agent")


def replica_name(colour: Colour, number: int) -> str:
    """`blue-1` and so on; `number` counts from 1."""
    return f"{colour}-{number}"


def replica_names(colour: Colour, count: int) -> list[str]:
    """The first `count` replicas of a colour."""
    return [replica_name(colour, number + 1) for number in range(count)]


def baseline_name(number: int) -> str:
    """`baseline-1` and so on; `number` counts from 1."""
    return f"{BASELINE}-{number}"


def is_replica(name: str) -> bool:
    """Whether a process of that name is a workbench: of a colour, or of the fresh baseline."""
    head, _, number = name.partition("-")
    return head in _REPLICA_OFFSETS and number.isdigit()


def colour_of(name: str) -> Colour | None:
    """The colour of a replica's name; None for any other process, and for the fresh baseline."""
    head, _, number = name.partition("-")
    return Colour(head) if head in Colour.__members__ and number.isdigit() else None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one local platform keeps its files and on which ports it listens."""

    home: Path
    edge_port: int = DEFAULT_EDGE_PORT

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Layout:
        """Read `MC_HOME` and `MC_EDGE_PORT`.

        Without `MC_HOME` it is the `.mc` of the nearest folder, from the working folder upwards,
        that has one of this user's; else `.mc` under the working folder. Without `MC_EDGE_PORT`
        it is the port of the platform's last start; else 8080.

        Raises:
            UnusableInput: the port is not a number, or leaves no room for the ports above it.
            CouldNotTell: what is remembered of the last start is damaged.
        """
        env = os.environ if env is None else env
        here = (cwd or Path.cwd()).absolute()
        home = here / env["MC_HOME"] if env.get("MC_HOME") else _nearest_home(here)
        text = env.get("MC_EDGE_PORT") or str(recall(home).edge_port or DEFAULT_EDGE_PORT)
        port = int(text) if text.isascii() and text.isdigit() else 0
        if not _LOWEST_PORT <= port <= _HIGHEST_PORT:
            raise UnusableInput(
                f'MC_EDGE_PORT is "{text}", expected {_LOWEST_PORT} to {_HIGHEST_PORT}',
                hint="the platform uses this port and about eighty above it",
            )
        return cls(home=home.resolve(), edge_port=port)

    def prepare(self) -> None:
        """Make the folders with their modes; harmless when they are there.

        Raises:
            CouldNotTell: a folder cannot be made.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.home.chmod(0o711 if os.geteuid() == 0 else 0o700)
            for name in _PRIVATE_FOLDERS:
                folder = self.home / name
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
            for name in _SHARED_FOLDERS:
                (self.home / name).mkdir(exist_ok=True)
        except OSError as error:
            raise CouldNotTell(
                f"the state folder {self.home} cannot be made: {error.strerror}",
                hint="set MC_HOME to a folder that you may write to",
            ) from error

    @property
    def own_entries(self) -> tuple[Path, ...]:
        """What of `home` is the platform's; `down --purge` removes these and nothing else."""
        folders = (*_PRIVATE_FOLDERS, *_SHARED_FOLDERS, *_POLICY_FOLDERS, _RELEASES, "pg")
        names = (*folders, *_OWN_FILES)
        return tuple(self.home / name for name in names)

    @property
    def signer(self) -> Path:
        """What the ledger's signer remembers, apart from the database."""
        return self.home / _SIGNER

    @property
    def releases(self) -> Path:
        """The code that replicas run, a folder for each content."""
        return self.home / _RELEASES

    @property
    def policies(self) -> Path:
        """The policy set at which this platform's replicas look."""
        return self.home / _POLICY_FOLDERS[0]

    @property
    def policy_sets(self) -> Path:
        """The sets that were in place before, by digest; none if no set was ever applied."""
        return self.home / _POLICY_FOLDERS[1]

    @property
    def url(self) -> str:
        """The edge's URL."""
        return f"http://{HOST}:{self.edge_port}"

    def port_of(self, name: str) -> int:
        """The port of a process of this platform.

        Raises:
            UnusableInput: no such process can exist.
        """
        if name in _OFFSETS:
            return self.edge_port + _OFFSETS[name]
        head, _, digits = name.partition("-")
        number = int(digits) if is_replica(name) else 0
        if not 1 <= number <= MAX_REPLICAS:
            known = ", ".join([*_OFFSETS, *(f"{group}-1" for group in _REPLICA_OFFSETS)])
            raise UnusableInput(f'unknown process "{name}"', hint=f"known: {known} ...")
        return self.edge_port + _REPLICA_OFFSETS[head] + number

    def url_of(self, name: str) -> str:
        """The URL of a process that speaks HTTP."""
        return f"http://{HOST}:{self.port_of(name)}"

    def log_of(self, name: str) -> Path:
        """The file that takes a process's stdout and stderr."""
        return self.home / "log" / f"{name}.log"

    def run_folder(self, wanted: Path) -> Path:
        """The folder of a run that a person names: by its path, or as other commands print it.

        Where there is neither it is the path as it was given.
        """
        named = self.home / "runs" / wanted.name
        by_name = str(wanted) == wanted.name and not wanted.is_dir() and named.is_dir()
        return named if by_name else wanted

    def secret(self, name: str) -> Path:
        """A file under `secrets/`."""
        return self.home / "secrets" / name

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


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a power cut, finds the old text or the new one."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@dataclass(frozen=True, slots=True)
class Memory:
    """What a platform remembers while it is down.

    Attributes:
        edge_port: The edge's port at the last start; None before the first.
        replicas: How many replicas each colour had.
    """

    edge_port: int | None = None
    replicas: Mapping[Colour, int] = field(default_factory=dict)


def recall(home: Path) -> Memory:
    """What the platform at `home` remembers; an empty memory if it was never started.

    Raises:
        CouldNotTell: the file is damaged.
    """
    path = home / _MEMORY
    hint = "remove it: it holds no more than the edge's port and the number of replicas"
    kept = read_json_object(path, hint)
    if kept is None:
        return Memory()
    try:
        replicas = {Colour(name): int(count) for name, count in kept["replicas"].items()}
        return Memory(edge_port=int(kept["edge_port"]), replicas=replicas)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CouldNotTell(f"{path} is not a platform's memory", hint=hint) from error


def remember(home: Path, memory: Memory) -> None:
    """Keep `memory` for the next start."""
    kept = {
        "edge_port": memory.edge_port,
        "replicas": {colour.value: count for colour, count in memory.replicas.items()},
    }
    write_atomically(home / _MEMORY, json.dumps(kept, indent=2) + "\n")


def _nearest_home(here: Path) -> Path:
    for folder in (here, *here.parents):
        home = folder / ".mc"
        # Anyone may make a `.mc` in a shared folder such as /tmp; only one's own is trusted.
        with contextlib.suppress(OSError):
            if home.is_dir() and home.stat().st_uid == os.geteuid():
                return home
    return here / ".mc"


def read_json_object(
    path: Path, hint: str = "restore it from a copy, or remove it"
) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is no file.

    Args:
        path: The file.
        hint: What to do when it is damaged; only the caller knows what its loss would mean.

    Raises:
        CouldNotTell: the file cannot be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CouldNotTell(f"{path} cannot be read: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise CouldNotTell(f"{path} is not a JSON object", hint=hint)
    return value
