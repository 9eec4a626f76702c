"""The two sides of the delivery benchmark: our delivery in a process of its own, and syslog-ng.

Each side starts idle, begins at `go`, and is a process that can be killed. What it begins with is
durable before `go`: for ours the ledger in PostgreSQL, for syslog-ng a file of the same events,
which it follows, with its position kept, into a reliable disk buffer.

    python benchmarks/_delivery_sides.py DATABASE_URL REGION SINK_URL      our process
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

_LOADED = re.compile(rb"ready")
_SYSLOG_NG = """
@version: 3.35
options { keep-hostname(yes); stats-freq(0); flush-lines(1000); log-msg-size(65536); };
source s_ledger {
  file("%(input)s" flags(no-parse) follow-freq(0.1) log-fetch-limit(1000) log-iw-size(10000));
};
destination d_siem {
  http(
    url("%(url)s") method("POST") headers("Authorization: Bearer key")
    body("${MESSAGE}") body-suffix("\\n") delimiter("\\n")
    batch-lines(1000) batch-bytes(0) batch-timeout(200) workers(1)
    retries(1000000) time-reopen(1) timeout(10) persist-name("siem")
    disk-buffer(reliable(yes) disk-buf-size(1073741824) mem-buf-size(16777216) dir("%(home)s"))
  );
};
log { source(s_ledger); destination(d_siem); flags(flow-control); };
"""


def memory_kib(pid: int, field: str) -> int:
    """`VmRSS` now, or `VmHWM`, the most since the process began or `forget_peak` was called."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split(f"{field}:")[1].split()[0])


def forget_peak(pid: int) -> None:
    """Begin to measure the peak of a process's memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has spent, in all its threads."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Side:
    """What both sides have: a process, its memory, and an end by SIGKILL."""

    name = ""
    process: subprocess.Popen[bytes]

    def prepare(self) -> None:
        """Forget what was delivered: all events are before it again."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the process, idle at first; after a kill it goes on by itself."""
        raise NotImplementedError

    def go(self) -> None:
        """Let it begin."""
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


class Ours(Side):
    """Pools, PostgresOutbox, Shipper and the OCSF sink in one process, as in the service."""

    name = "ours"

    def __init__(
        self, *, service_url: str, owner_url: str, region: str, url: str, log: Path
    ) -> None:
        self._arguments = [service_url, region, url]
        self._owner_url = owner_url
        self._log = log

    def prepare(self) -> None:
        with psycopg.connect(self._owner_url) as connection:
            connection.execute("DELETE FROM mc.delivery_cursor")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.PIPE,
            )
        assert self.process.stderr is not None
        if not _LOADED.match(self.process.stderr.readline()):
            raise RuntimeError(f"our process did not start: {self.process.stderr.read()!r}")

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()


class SyslogNg(Side):
    """syslog-ng with its file source and a reliable disk buffer before its HTTP destination."""

    name = "syslog-ng"

    def __init__(self, *, events: Path, home: Path, url: str) -> None:
        self._events, self._home, self._url = events, home, url
        self._input = home / "input.jsonl"

    @staticmethod
    def missing() -> str | None:
        """Why this side cannot run here."""
        if shutil.which("syslog-ng") is None:
            return "syslog-ng is not installed (packages syslog-ng-core, syslog-ng-mod-http)"
        modules = subprocess.run(
            ["syslog-ng", "--module-registry"], capture_output=True, text=True, check=False
        )
        return None if "http" in modules.stdout else "syslog-ng has no http module"

    def prepare(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir()
        self._input.touch()
        values = {"input": self._input, "url": self._url, "home": self._home}
        (self._home / "conf").write_text(_SYSLOG_NG % values, encoding="utf-8")

    def start(self) -> None:
        home = self._home
        with (home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("syslog-ng", "-F", "--no-caps", "-f", home / "conf"),
                    *("-R", home / "persist", "-c", home / "ctl", "-p", home / "pid"),
                ],
                stdout=log,
                stderr=log,
            )
        _until(lambda: (home / "ctl").exists() and self._answers(), "syslog-ng answers")

    def go(self) -> None:
        # The file that is followed is appended to at once, as a copy within the page cache.
        if self._input.stat().st_size == 0:
            with self._events.open("rb") as source, self._input.open("ab") as target:
                shutil.copyfileobj(source, target, 16_777_216)

    def kill(self) -> None:
        super().kill()
        (self._home / "ctl").unlink(missing_ok=True)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError((self._home / "log").read_text(encoding="utf-8")[-2000:])
        stats = ["syslog-ng-ctl", "stats", "-c", str(self._home / "ctl")]
        return subprocess.run(stats, capture_output=True, check=False).returncode == 0


def _until(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"never happened within {within_s:g} s: {what}")
        time.sleep(0.01)


async def _ship(database_url: str, region: str, url: str) -> None:
    from mc_platform.adapters.postgres.outbox import PostgresOutbox
    from mc_platform.adapters.postgres.pools import Pools
    from mc_platform.adapters.siem.ocsf import OcsfSiem
    from mc_platform.deliver import Shipper

    pools = Pools(database_url=database_url, application_name="bench")
    await pools.open()
    sink = OcsfSiem(url=url, key="key", version="bench")
    shipper = Shipper(
        outbox=PostgresOutbox(pools, region=region),
        siem=sink,
        backup=None,
        file_after_s=30.0,
        drain_events_per_s=1e9,  # the bound protects the SIEM; here it would only cap the figure
    )
    gc.collect()
    gc.freeze()  # as the service does before it serves
    print("ready", file=sys.stderr, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await shipper.run()
    finally:
        await sink.close()
        await pools.close()


def main() -> None:
    """Our process: ready, wait for a line, ship until killed."""
    from mc_platform.observe import logs

    with suppress(ImportError):  # the loop on which the service runs
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    logs.configure("INFO")
    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    asyncio.run(_ship(*sys.argv[1:4]))


if __name__ == "__main__":
    main()
