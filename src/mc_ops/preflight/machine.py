"""What a platform needs of this machine and its state folder, before and while it runs there.

`mcctl doctor` asks this. The other subjects ask whether a platform may take traffic.
"""

from __future__ import annotations

import resource
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from mc_ops.environments import Environment, State
from mc_ops.environments.drill_lock import running_drill
from mc_ops.environments.workspace import HOST
from mc_ops.errors import OpsError
from mc_ops.preflight.pod_security import secrets_private, state_private
from mc_ops.preflight.result import CheckResult, Severity, Status, found, not_applicable, unknown

_MIB = 1024 * 1024
_LEAST_DISK = 1024 * _MIB  # PostgreSQL stops at a full disk, and its WAL alone may have 1 GiB
_LEAST_MEMORY = 512 * _MIB  # a platform of one replica takes about as much
_LEAST_FILES = 1024
_TOOLS = {
    "git": "runbooks that tag a release, and evidence that names its commit",
    "kubectl": "runbooks' own lines on a cluster",
    "gh": "the runbook's lines that start workflows on GitHub",
    "promtool": "tests of the alert rules that `mcctl prometheus write` writes",
}


def check_machine(environment: Environment) -> list[CheckResult]:
    """Every check, of what is there: a platform that was never started fails none."""
    home = environment.workspace.home
    results = [_disk(home), _memory(), _open_files()]
    if home.is_dir():
        results.append(state_private(home))
        if (home / "secrets").is_dir():
            results.append(secrets_private(home / "secrets"))
        results.append(_leftovers(home))
    return [*results, *_running(environment), *_tools()]


def _disk(home: Path) -> CheckResult:
    name = "disk-space"
    there = next(path for path in (home, *home.parents) if path.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return unknown(name, f"{there}: {error.strerror}")
    return _least(name, free, _LEAST_DISK, f"free for {home}", "free disk space, or set MC_HOME")


def _memory() -> CheckResult:
    free = psutil.virtual_memory().available
    return _least(
        "memory", free, _LEAST_MEMORY, "available", "end something that needs much memory"
    )


def _least(name: str, has: int, least: int, what: str, remedy: str) -> CheckResult:
    told = f"{has // _MIB} MiB {what}"
    short = has < least
    if not short:
        return CheckResult(name, Status.passed, told)
    return CheckResult(
        name, Status.failed, f"{told}; {least // _MIB} MiB is the least", remedy, Severity.warning
    )


def _open_files() -> CheckResult:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _LEAST_FILES
    told = f"{'any number of' if soft == resource.RLIM_INFINITY else soft} open files a process"
    problems = [f"{told}; a replica needs {_LEAST_FILES}"] if few else []
    return found("open-files", problems, told, f"ulimit -n {_LEAST_FILES}")


def _leftovers(home: Path) -> CheckResult:
    """What a command that was killed leaves behind, and the next one of its kind clears."""
    kept = [*home.glob("backups/*.unfinished"), *home.glob("pg/restoring")]
    problems = [f"{path.relative_to(home)} is left of a command that did not end" for path in kept]
    if drill := running_drill(home):
        problems.append(f"a drill is under way: {drill.scenario}, since {drill.began_at}")
    return found(
        "leftovers",
        problems,
        "nothing is under way or half done",
        "wait for what runs; the next backup or restore clears what was left",
    )


def _running(environment: Environment) -> Iterator[CheckResult]:
    """What runs; where nothing does on this machine, whether its edge could listen."""
    here = environment.name == "local"
    try:
        status = environment.status()
    except OpsError as error:
        yield unknown("processes", error.message, error.hint)
        return
    run = [one for one in status.everything if one.state is State.running]
    bad = [f"{one.name} is dead" for one in status.dead]
    bad += [f"{one.name}: {one.health}" for one in status.failing]
    if not run and not bad:
        yield not_applicable("processes", "the platform does not run (mcctl up starts it)")
    else:
        remedy = "mcctl status; mcctl logs NAME; mcctl up"
        yield found("processes", bad, f"{len(run)} run, and all serve", remedy)
    if here and not run:
        yield _port(environment.workspace.edge_port)


def _port(port: int) -> CheckResult:
    problems = []
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            problems = [f"port {port} of the edge cannot be had: {error.strerror}"]
    return found("port", problems, f"port {port} is free", "set MC_EDGE_PORT to another")


def _tools() -> Iterator[CheckResult]:
    for tool, purpose in _TOOLS.items():
        where = shutil.which(tool)
        if where is None:
            yield not_applicable(tool, f"not on PATH; wanted for {purpose}")
        else:
            yield CheckResult(tool, Status.passed, where)
