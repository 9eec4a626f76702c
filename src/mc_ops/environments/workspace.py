"""A person's workspace: the folder `MC_HOME` with runs, keys, tokens and policy sets. No processes.

Verbs that only read or write such files, or need a token, work on a workspace; what runs is an
`Environment`'s. The folder's mode is 0700, but 0711 for root: PostgreSQL refuses to run as root,
so an unprivileged user must be able to pass through to `pg/`. What is private (`secrets/`, logs,
what the SIEM got) is 0700 either way.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mc_ops.environments.interface import Colour
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object, write_atomically

DEFAULT_EDGE_PORT = 8080
SECOND = "region-2"  # the folder of a second region, in the first one's
HOST = "127.0.0.1"
_LOWEST_PORT, HIGHEST_PORT = 1024, 65_535 - 80  # the others are up to 79 above it
_PRIVATE_FOLDERS = (
    "secrets", "run", "log", "siem", "fulfilment", "audit", "runs", "monitoring", "signer", "wal-spool",
)  # fmt: skip
_SHARED_FOLDERS = ("trust",)
_POLICY_FOLDERS = ("policies", "policy-sets", ".policies-aside")
_MEMORY = "platform.json"
_OWN_FILES = (
    "edge.json",
    "cutover.json",
    "up.lock",
    "drill.lock",
    "backup.json",
    "peers.json",
    "witnesses.toml",
    _MEMORY,
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """The files that a person keeps of one platform, and where it answers.

    Attributes:
        edge_port: Of its edge, where it runs on this machine.
        service_url: Where it answers, if it runs elsewhere (`MC_URL`).
    """

    home: Path
    edge_port: int = DEFAULT_EDGE_PORT
    service_url: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Self:
        """Read `MC_HOME`, `MC_EDGE_PORT` and `MC_URL`.

        Without `MC_HOME` it is the `.mc` of the nearest folder, from the working folder upwards,
        that has one of this user's; else `.mc` under the working folder. Without `MC_EDGE_PORT`,
        which is the first region's, it is the port of the platform's last start; else 8080.

        Raises:
            UnusableInput: the home is no folder; the port is not a number, or leaves no room for the ports above it; the
                URL is none, or no `MC_HOME` says which platform's credentials belong to it.
            CouldNotTell: what is remembered of the last start is damaged.
        """
        env = os.environ if env is None else env
        here = (cwd or Path.cwd()).absolute()
        home = (here / env["MC_HOME"] if env.get("MC_HOME") else _nearest_home(here)).resolve()
        if home.exists() and not home.is_dir():
            raise UnusableInput(
                f"MC_HOME is {home}, which is no folder", hint="name a folder, or one to be made"
            )
        kept = recall(home).edge_port
        text = env.get("MC_EDGE_PORT") or str(kept or DEFAULT_EDGE_PORT)
        if kept and is_second(home):
            text = str(kept)
        port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
        if not _LOWEST_PORT <= port <= HIGHEST_PORT:
            raise UnusableInput(
                f'MC_EDGE_PORT is "{text[:40]}", expected {_LOWEST_PORT} to {HIGHEST_PORT}',
                hint="the platform uses this port and about eighty above it",
            )
        return cls(home=home, edge_port=port, service_url=_service_url(env))

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
        folders = (*_PRIVATE_FOLDERS, *_SHARED_FOLDERS, *_POLICY_FOLDERS, "releases", "pg")
        names = (*folders, *_OWN_FILES)
        return tuple(self.home / name for name in names)

    @property
    def runs(self) -> Path:
        """The folder of every run: of runbooks, canaries, red-teams."""
        return self.home / "runs"

    @property
    def ledger_key(self) -> Path:
        """The ledger's public key, of those under `trust/`."""
        return self.home / "trust" / "ledger.pub"

    @property
    def scrape_token(self) -> Path:
        """What a replica asks of whoever reads its metrics."""
        return self.secret("scrape.token")

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
        """Where the platform answers: its edge, what forwards this port to it, or `MC_URL`."""
        return self.service_url or f"http://{HOST}:{self.edge_port}"

    def secret(self, name: str) -> Path:
        """A private file; of a second region some are the first's, and changed there."""
        path = self.home / "secrets" / name
        return path.resolve() if path.is_symlink() else path

    def siem_key(self) -> str | None:
        """The key that the sample SIEM receiver demands; None where no platform was started."""
        path = self.secret("siem.key")
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def run_folder(self, wanted: Path) -> Path:
        """The folder of a run that a person names: by its path, or as other commands print it.

        Where there is neither it is the path as it was given.
        """
        named = self.home / "runs" / wanted.name
        by_name = str(wanted) == wanted.name and not wanted.is_dir() and named.is_dir()
        return named if by_name else wanted


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
    kept = {
        "edge_port": memory.edge_port,
        "replicas": {colour.value: count for colour, count in memory.replicas.items()},
    }
    write_atomically(home / _MEMORY, json.dumps(kept, indent=2) + "\n")


def _service_url(env: Mapping[str, str]) -> str | None:
    url = env.get("MC_URL")
    if not url:
        return None
    if not env.get(
        "MC_HOME"
    ):  # the tokens of a platform on this machine are no business of another
        raise UnusableInput(
            "MC_URL is set and MC_HOME is not", hint="set MC_HOME to the folder of that platform"
        )
    from mc_ops.urls import plain_url  # late: it brings an HTTP library

    return plain_url(
        "MC_URL", url, example="https://mc.example.com", instead="tokens stand in MC_HOME"
    ).rstrip("/")


def _nearest_home(here: Path) -> Path:
    for folder in (here, *here.parents):
        home = folder / ".mc"
        # Anyone may make a `.mc` in a shared folder such as /tmp; only one's own is trusted.
        with contextlib.suppress(OSError):
            if home.is_dir() and home.stat().st_uid == os.geteuid():
                return home
    return here / ".mc"


def is_second(home: Path) -> bool:
    """Whether this is the second region of the platform in the folder above."""
    return home.name == SECOND and (home / "secrets" / "region.json").exists()


def checkout() -> Path:
    """The checkout that this package runs from; the working folder when it is installed."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def catalogue_path(env: Mapping[str, str]) -> Path:
    """The catalogue of this platform: that of `MC_CATALOGUE`, or the one that we ship."""
    return Path(env.get("MC_CATALOGUE") or checkout() / "deploy" / "local" / "catalogue.toml")
