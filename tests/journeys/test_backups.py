"""Backups of a whole platform under load, and its restore: what is lost is told, nothing is claimed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from tests import forked

from mc_ops.backups import Store, read_key
from mc_ops.backups.store import Backup

pytestmark = pytest.mark.long


class Clients:
    """Clients that ask and order without a pause, and keep what was acknowledged to them, and when."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]
        self.acknowledged: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            send = self._platform.order if number == 0 else self._platform.ask
            answer = send() if number == 0 else send("What is open for customer 7?")
            at = datetime.now(UTC).isoformat()
            self.acknowledged.append({"task": answer.task["id"], "tenant": "TENANT_001", "at": at})

    def wait_for(self, more: int) -> None:
        """Until that many more were acknowledged."""
        wanted, deadline = len(self.acknowledged) + more, time.monotonic() + 120
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < deadline, "the clients get no answers"
            time.sleep(0.02)


def _listed(platform: Any) -> list[str]:
    found = platform.mcctl("backup", "list", "--output", "json", check=False)
    return [one["id"] for one in json.loads(found.stdout)["backups"]]


def _create(platform: Any, *options: str) -> dict[str, Any]:
    done = platform.mcctl("backup", "create", "--output", "json", *options)
    return dict(json.loads(done.stdout))


def _error(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())


@contextmanager
def _started(platform: Any, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [forked.MCCTL, *args],
        env=platform.env,
        cwd=platform.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def own(start_platform: Any) -> Any:
    return start_platform(MC_BACKUP_WAL_S="2")


def test_without_a_platform_and_while_it_is_down_no_backup_is_made(tmp_path: Path) -> None:
    """Each says so; a folder without backups says that, too."""
    env = {**os.environ, "MC_HOME": str(tmp_path / "none"), "NO_COLOR": "1", "COLUMNS": "200"}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return forked.run([forked.MCCTL, "backup", *args], env=env, cwd=tmp_path, timeout=60)

    created = run("create")
    assert (created.returncode, "does not run here" in created.stderr) == (3, True)
    assert "no backup in" in run("list").stdout
    assert run("restore", "--reason", "x").returncode == 2
    assert run("create", "--env", "kubernetes").returncode == 2
    env["MC_DATABASE_URL"] = "postgresql://x:y@127.0.0.1:1/z"
    external = run("create")
    assert (external.returncode, "a database that is not ours" in external.stderr) == (2, True)


def test_a_backup_that_is_cut_short_another_at_once_and_a_full_folder_leave_nothing(
    own: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    """kill -9 in its midst: it is not listed, and the next one removes what is left."""
    folder = own.home / "backups"
    with _started(own, "backup", "create") as process:
        begun = lambda: process.poll() is not None or list(folder.glob("*.unfinished/*"))  # noqa: E731
        wait_until(begun, what="a backup has begun", pause_s=0.002)
        process.send_signal(signal.SIGKILL)
    assert (process.returncode, _listed(own)) == (-signal.SIGKILL, [])
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = own.mcctl("backup", "create", check=False)
    assert (second.returncode, "another mcctl makes a backup" in _error(second)) == (3, True)
    made = _create(own)
    assert _listed(own) == [made["id"]]
    assert list(folder.glob("*.unfinished")) == []
    if os.geteuid() == 0 and shutil.which("mount"):
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=False
        )
        if mounted.returncode == 0:
            try:
                full = own.mcctl("backup", "create", "--folder", str(small), check=False)
            finally:
                subprocess.run(["umount", str(small)], check=True)
            assert (full.returncode, "MiB free, the database has" in _error(full)) == (3, True)
            _create(own)  # in its own folder again


def _points(own: Any, clients: Clients) -> tuple[str, datetime]:
    """Load, a backup amid it, more load, a point in time between two acknowledgements, more load."""
    clients.wait_for(10)
    made = _create(own)
    clients.wait_for(20)
    at = datetime.now(UTC)
    clients.wait_for(25)
    return made["id"], at


def _swap_chunks(raw: bytes) -> bytes:
    body, chunk = 12 + int.from_bytes(raw[8:12], "big"), 1024 * 1024 + 16
    first, second = raw[body : body + chunk], raw[body + chunk : body + 2 * chunk]
    return raw[:body] + second + first + raw[body + 2 * chunk :]


def _tampered(own: Any, backup: str, tmp_path: Path) -> Iterator[tuple[Path, Path, str]]:
    """Copies of the folder of backups, each tampered with in one way; its key; what is said of it."""
    right = own.home / "secrets" / "backup.key"
    changes: dict[str, Callable[[bytes], bytes]] = {
        "was changed, moved or cut off": lambda raw: raw[:-9999] + b"x" + raw[-9998:],
        "moved or cut off": lambda raw: raw[: len(raw) // 2],
        "chunk 0 of it was changed": _swap_chunks,
    }
    for number, (said, change) in enumerate(changes.items()):
        copy = tmp_path / str(number)
        shutil.copytree(own.home / "backups", copy)
        base = copy / backup / "base.sealed"
        base.write_bytes(change(base.read_bytes()))
        yield copy, right, said
    wrong = tmp_path / "wrong.key"
    wrong.write_text("A" * 43 + "\n")
    wrong.chmod(0o600)
    yield own.home / "backups", wrong, "is sealed with the key"
    other = tmp_path / "other"
    shutil.copytree(own.home / "backups", other)
    _as_anothers(Store(other), backup, right)
    yield other, right, "is of another platform"
    gap = tmp_path / "gap"
    shutil.copytree(own.home / "backups", gap)
    segments = sorted((gap / "wal").glob("*/*.sealed"))
    segments[len(segments) - 2].unlink()
    yield gap, right, "segments are missing between"


def _as_anothers(store: Store, backup: str, key_file: Path) -> None:
    """Another platform's description over this one's files, as its owner could write it."""
    key = read_key(key_file)
    found: Backup = store.get(backup, key)
    shutil.move(store.folder / backup, store.unfinished(backup))
    store.finish(replace(found, platform="7000000000000000001"), key)


def test_a_restore_to_a_point_in_time_tells_each_loss_and_begins_an_epoch(
    own: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    """Under load: what the clients' ledger has and the restored platform lacks is the report."""
    kept = tmp_path / "kept.txt"
    with Clients(own) as clients:
        backup, at = _points(own, clients)
        running = own.mcctl("backup", "restore", "--reason", "x", check=False)
        assert (running.returncode, "the platform runs" in _error(running)) == (2, True)
    wait_until(lambda: own.metric("mc_siem_backlog_events") == 0, what="the SIEM has everything")
    own.mcctl("audit", "verify", "--save-checkpoint", str(kept))
    own.mcctl("backup", "verify", backup)
    own.mcctl("down")
    ledger = tmp_path / "clients.json"
    ledger.write_text(json.dumps(clients.acknowledged))
    restore = ("backup", "restore", "--to", at.isoformat(), "--reason", "the disk is gone")

    data = own.home / "pg" / "data"
    before = _stamp(data)
    refused = own.mcctl(*restore, "--yes", check=False)
    assert (refused.returncode, "the platform has data" in _error(refused)) == (4, True)
    for folder, key, said in _tampered(own, backup, tmp_path):
        where = ("--folder", str(folder), "--key", str(key), "--backup", backup)
        done = own.mcctl(
            "backup", "restore", "--reason", "x", "--yes", "--replace", *where, check=False
        )
        assert (done.returncode, said in _error(done)) == (1, True), (said, done.stderr)
        assert _stamp(data) == before, said
    with _started(own, *restore, "--yes", "--replace") as process:
        postmaster = own.home / "pg" / "restoring" / "data" / "postmaster.pid"
        wait_until(postmaster.exists, what="the restore replays")
        process.send_signal(signal.SIGKILL)
    assert _stamp(data) == before
    dry = own.mcctl(*restore[:4], "--dry-run", "--acknowledged", str(ledger))
    assert "nothing was changed" in _error(dry)

    done = own.mcctl(
        *restore, "--yes", "--replace", "--acknowledged", str(ledger), "--output", "json"
    )
    report = json.loads(done.stdout)
    assert not (own.home / "pg" / "restoring").exists()
    assert report["epoch"]["subject"] == "local-1/e2"
    assert report["epoch"]["last_signed"]["source"] == "signer"
    assert json.loads(Path(report["report"]).read_text())["lost"] == report["lost"]

    assert "autonomy is halted; when a person has looked: mcctl autonomy resume" in _error(done)
    assert "all tenants: autonomy halted" in _error(own.mcctl("up"))
    _compare(own, report, clients, at)
    _go_on(own, kept)
    assert _create(own)["line"] != _line(own, backup)


def _compare(own: Any, report: dict[str, Any], clients: Clients, at: datetime) -> None:
    """The report is what the clients find when they ask for each of their tasks."""
    lost = {one["task"] for one in report["lost"] if one["whole"] and "client" in one["sources"]}
    here = {one["task"]: _is_there(own, one["task"]) for one in clients.acknowledged}
    assert lost == {task for task, there in here.items() if not there}
    early = {one["task"] for one in clients.acknowledged if datetime.fromisoformat(one["at"]) < at}
    assert (lost & early, len(lost) > 10) == (set(), True)
    for one in report["lost"]:
        if one["task"] in lost and one["whole"]:  # each other source has it as well
            assert {"client", "database", "siem"} <= set(one["sources"])


def _go_on(own: Any, kept: Path) -> None:
    """The ledger verifies across the epochs; halted until a person resumes; no effect is repeated."""
    verified = json.loads(
        own.mcctl("audit", "verify", "--known-checkpoint", str(kept), "--output", "json").stdout
    )
    assert (verified["verified"], verified["region"]) == (True, "local-1/e2")
    assert [one["region"] for one in verified["former"]] == ["local-1"]
    told = json.loads(own.mcctl("status", "--output", "json").stdout)["halts"]
    assert [(one["scope"], one["reason"]) for one in told] == [
        ("*", "restored from a backup: the disk is gone")
    ]
    halted = own.order()
    assert "error" in halted.body or halted.task["status"]["state"] != "TASK_STATE_COMPLETED"
    own.mcctl("autonomy", "resume", "--all", "--reason", "looked at", "--yes")
    assert own.order().task["status"]["state"] == "TASK_STATE_COMPLETED"
    # What went on after the restore repeated no effect; what was halted in its midst may be undone, once
    effects = [(effect["key"], effect["verb"]) for effect in own.effects()]
    assert len(effects) == len(set(effects))
    assert own.mcctl("backup", "list", check=False).returncode == 0


def _line(own: Any, backup: str) -> str:
    text = (own.home / "backups" / backup / "manifest.json").read_text()
    return str(json.loads(text)["line"])


def _is_there(own: Any, task: str) -> bool:
    return "result" in own.rpc("GetTask", {"id": task}, tenant="TENANT_001").body


def _stamp(data: Path) -> tuple[int, int, bytes]:
    """What shows that a database's files are the ones that there were, untouched."""
    found = data.stat()
    return found.st_ino, found.st_mtime_ns, (data / "global" / "pg_control").read_bytes()


def test_a_platform_is_brought_back_on_a_machine_that_has_nothing_of_it(
    own: Any, start_platform: Any, tmp_path: Path
) -> None:
    """From the folder of backups and the key alone: keys and tokens come with them."""
    made = _create(own)
    key = tmp_path / "backup.key"
    shutil.copy(own.home / "secrets" / "backup.key", key)
    folder = tmp_path / "elsewhere"
    shutil.copytree(own.home / "backups", folder)
    own.mcctl("down")
    shutil.rmtree(own.home)
    own.home.mkdir(mode=0o711)
    where = ("--folder", str(folder), "--key", str(key), "--backup", made["id"])
    done = own.mcctl("backup", "restore", "--reason", "new machine", "--yes", "--no-hold", *where)
    assert "there were none" in done.stdout
    own.mcctl("up")
    assert own.ask("What is open for customer 7?").status == 200
    assert (
        json.loads(own.mcctl("audit", "verify", "--output", "json").stdout)["region"]
        == "local-1/e3"
    )
