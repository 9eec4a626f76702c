"""Local equivalents of Pod Security: who may read the state, who may connect, who is root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from mc_contract.numbers import counted
from mc_ops.errors import CouldNotTell
from mc_ops.preflight.processes import Running, is_loopback, shown, sockets_of, uids_of
from mc_ops.preflight.result import CheckResult, found, not_applicable, unknown

_OTHERS = 0o077
_OTHERS_MAY_READ_OR_WRITE = 0o066  # the home of root may be passed through, by PostgreSQL's user
_NOT_UP = "start the platform: mcctl up"


def check_pod_security(home: Path, processes: Sequence[Running]) -> list[CheckResult]:
    """Every check of this subject.

    Args:
        home: The state directory.
        processes: The recorded processes that live.
    """
    return [
        state_private(home),
        secrets_private(home / "secrets"),
        listeners_loopback(processes),
        postgres_not_root(processes),
        not_applicable("pod-security-admission", "local runs processes: there are no pods"),
        not_applicable("seccomp-and-capabilities", "local runs processes: there are no containers"),
    ]


def state_private(home: Path) -> CheckResult:
    """The state directory is this user's, and nobody else may list or change it."""
    name = "state-dir-private"
    if not home.is_dir():
        return unknown(name, f"there is no state directory {home}", _NOT_UP)
    remedy = f"chmod 700 {home}"
    return found(name, _exposed([home], _OTHERS_MAY_READ_OR_WRITE), f"{home} is private", remedy)


def secrets_private(folder: Path) -> CheckResult:
    """The secrets' folder is 0700, each file in it 0600 or less, all of them this user's."""
    name = "secrets-private"
    if not folder.is_dir():
        return unknown(name, f"there is no {folder}", _NOT_UP)
    files = sorted(folder.rglob("*"))
    if not files:
        return unknown(name, f"{folder} is empty", _NOT_UP)
    problems = _exposed([folder, *files], _OTHERS)
    good = f"folder and {counted(len(files), 'file')} readable by their owner only"
    return found(name, problems, good, f"chmod 700 {folder}; chmod 600 {folder}/*")


def listeners_loopback(processes: Sequence[Running]) -> CheckResult:
    """Whatever the platform listens on is bound to the loopback interface."""
    name = "listeners-loopback"
    if not processes:
        return unknown(name, "no process of the platform runs", _NOT_UP)
    problems, count = [], 0
    try:
        for process in processes:
            listening = sockets_of(process).listening
            count += len(listening)
            open_to_all = [address for address in listening if not is_loopback(address[0])]
            if open_to_all:
                problems.append(f"{process.name} listens on {shown(open_to_all)}")
    except CouldNotTell as error:
        return unknown(name, error.message)
    if not count:
        return unknown(name, "the running processes listen nowhere", "mcctl status")
    good = f"{counted(count, 'listener')} of {counted(len(processes), 'process')}, all on loopback"
    return found(name, problems, good, "bind it to 127.0.0.1, or put it behind the edge")


def postgres_not_root(processes: Sequence[Running]) -> CheckResult:
    """The database server has no process that runs as root."""
    name = "postgres-not-root"
    postgres = [process for process in processes if process.name == "postgres"]
    if not postgres:
        if processes:
            return not_applicable(name, "the database is external (MC_DATABASE_URL)")
        return unknown(name, "no process of the platform runs", _NOT_UP)
    try:
        uids = uids_of(postgres[0])
    except CouldNotTell as error:
        return unknown(name, error.message)
    problems = ["a process of postgres runs as root"] if 0 in uids else []
    listed = ", ".join(map(str, sorted(uids)))
    return found(name, problems, f"runs as uid {listed}", "run PostgreSQL as an unprivileged user")


def _exposed(paths: Iterable[Path], forbidden: int) -> list[str]:
    problems = []
    for path in paths:
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue  # replaced while we looked
        mode = stat.S_IMODE(state.st_mode)
        if not stat.S_ISLNK(state.st_mode) and mode & forbidden:
            problems.append(f"{path} has mode {mode:04o}")
        if state.st_uid != os.geteuid():
            problems.append(f"{path} belongs to uid {state.st_uid}")
    return problems
