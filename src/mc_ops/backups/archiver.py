"""`python -m mc_ops.backups.archiver`: streams the WAL of the embedded PostgreSQL and seals it.

A process of the local platform, from the first backup on. `pg_receivewal` streams by the slot
`mc_backup` into a spool; each whole segment is sealed into the archive, synced, and only then
removed from the spool. What is not archived yet the slot keeps on the server, so an archiver that is
stopped, killed or full loses nothing: it goes on where it was, and how far it is behind is told by
`mcctl backup list`. Where WAL was lost all the same (the server gave the slot up, files were
removed) it archives no more and says so: the line ends there, and the next backup begins another.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import structlog

from mc_contract import log_lines
from mc_ops.backups.keys import BackupKey, read_key
from mc_ops.backups.sealed import Label, private, read_pieces, seal, sync_folder
from mc_ops.backups.store import Archived, Store, is_segment, number_of
from mc_ops.backups.wanted import SLOT, Wanted, read_wanted
from mc_ops.errors import OpsError
from mc_ops.files import write_atomically

_LOOK_S = 0.25
_RETRY_S = 2.0
_log = structlog.get_logger()


class Archiver:
    """Seals what `pg_receivewal` leaves in the spool."""

    def __init__(self, wanted: Wanted, key: BackupKey, spool: Path) -> None:
        self._wanted = wanted
        self._key = key
        self._spool = spool
        self._store = Store(wanted.folder)
        self._line = self._store.line(wanted.line)
        self._line.mkdir(parents=True, exist_ok=True, mode=0o700)
        archived = self._store.archived(wanted.line)
        self.gap = archived.gap if archived else ""
        segments = self._store.segments(wanted.line)
        self._last = segments[-1] if segments else ""

    def seal_whole(self) -> int:
        """Seal every whole segment of the spool, in order; how many there were.

        Raises:
            OSError: the archive cannot be written; what was not sealed stays in the spool.
        """
        names = sorted(path.name for path in self._spool.iterdir() if is_segment(path.name))
        for name in names:
            if self.gap:
                return 0
            if self._last and number_of(name) <= number_of(self._last):
                (self._spool / name).unlink()  # sealed before, and the archiver died
                continue
            if self._follows(name):
                self._seal(name)
        return len(names)

    def _follows(self, name: str) -> bool:
        """Whether a segment is the next one; else the line ends here, for good."""
        if not self._last or number_of(name) == number_of(self._last) + 1:
            return True
        self.gap = f"between {self._last} and {name}"
        self._note(self._last, self.gap)
        _log.error("archive_has_gap", where=self.gap, hint="a backup begins a new line")
        return False

    def _seal(self, name: str) -> None:
        target = self._line / f"{name}.sealed"
        unfinished = target.with_suffix(".unfinished")
        try:
            with (self._spool / name).open("rb") as source, private(unfinished) as file:
                label = Label(self._wanted.platform, self._wanted.line, name)
                seal(read_pieces(source), file, self._key, label)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        unfinished.rename(target)
        sync_folder(self._line)
        self._note(name, "")
        (self._spool / name).unlink()
        self._last = name

    def _note(self, segment: str, gap: str) -> None:
        state = Archived(segment, datetime.now(UTC).isoformat(), gap)
        write_atomically(self._line / "archived.json", json.dumps(asdict(state)) + "\n")


async def _switch(wanted: Wanted, port: int, since: str) -> str:
    """Have the server end its segment if anything was written since; where it writes now."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=port,
            user=wanted.role,
            password=wanted.password(),
            database="postgres",
            timeout=10,
        )
        try:
            now = str(await connection.fetchval("SELECT pg_current_wal_insert_lsn()"))
            if now != since:
                await connection.execute("SELECT pg_switch_wal()")
                return str(await connection.fetchval("SELECT pg_current_wal_insert_lsn()"))
            return now
        finally:
            await connection.close()
    return since


def main() -> int:
    """Archive until SIGTERM; 1: nothing is to be archived."""
    home = Path(os.environ["MC_HOME"])
    binaries, port = Path(os.environ["MC_PG_BIN"]), int(os.environ["MC_PG_PORT"])
    wanted = read_wanted(home)
    if wanted is None:
        _log.error("nothing_to_archive", reason="no backup was made here")
        return 1
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    spool = wanted.spool(home)
    archiver = Archiver(wanted, read_key(wanted.key_file), spool)
    health = _serve_health(int(os.environ["MC_PORT"]))
    child: subprocess.Popen[bytes] | None = None
    switched_s, at, troubled = time.monotonic(), "", ""
    try:
        while not stopping:
            if child is None or child.poll() is not None:
                if child is not None:
                    _log.warning(
                        "pg_receivewal_ended", status=child.returncode, again_in_s=_RETRY_S
                    )
                    time.sleep(_RETRY_S)
                child = _receive(wanted, binaries, port, spool)
            try:
                archiver.seal_whole()
                troubled = ""
            except OSError as error:
                reason = error.strerror or type(error).__name__
                if reason != troubled:
                    _log.error("archive_not_written", reason=reason)
                troubled = reason
            health.status = "failing" if troubled else "ok"
            if archiver.gap:
                health.status = "gap"
            if time.monotonic() - switched_s >= wanted.wal_s:
                at, switched_s = asyncio.run(_switch(wanted, port, at)), time.monotonic()
            time.sleep(_LOOK_S)
    finally:
        if child is not None:
            child.terminate()
            child.wait()
        with suppress(OSError):
            archiver.seal_whole()
    return 0


class _Health(ThreadingHTTPServer):
    """`/health` of the archiver: `ok`, `failing` (its log says why), or `gap`."""

    status = "ok"


class _Answer(BaseHTTPRequestHandler):
    server: _Health

    def do_GET(self) -> None:
        body = json.dumps({"status": self.server.status}).encode()
        self.send_response(
            200
        )  # the platform comes up without it: `mcctl backup list` is what fails
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: each probe would be a line."""


def _serve_health(port: int) -> _Health:
    server = _Health(("127.0.0.1", port), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _receive(wanted: Wanted, binaries: Path, port: int, spool: Path) -> subprocess.Popen[bytes]:
    argv = [
        str(binaries / "pg_receivewal"),
        f"--directory={spool}",
        f"--slot={SLOT}",
        "--no-loop",
        "--status-interval=1",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--username={wanted.role}",
        "--no-password",
    ]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGPASSFILE": str(wanted.password_file)}
    return subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    log_lines.configure()
    try:
        sys.exit(main())
    except OpsError as error:
        _log.error("archiver_ended", reason=error.message)
        sys.exit(1)
