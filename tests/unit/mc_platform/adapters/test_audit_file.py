"""The backup file: durable, private, rotated, and honest when the disk is full."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mc_platform.adapters.audit_file import AuditFile
from mc_platform.deliver import Shipment, SinkRefused
from mc_platform.observe import metrics

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _shipments(first, count, padding=0):
    made = []
    for index in range(first, first + count):
        leaf = {
            "detail": {"pad": "x" * padding},
            "id": f"event-{index}",
            "kind": "request.accepted",
        }
        made.append(Shipment(index, NOW, leaf, msgspec.json.encode(leaf)))
    return made


def _indices(path):
    return [json.loads(line)["index"] for line in path.read_text().splitlines()]


def _all_indices(path):
    """What is in the file and in the rotated ones, oldest first."""
    rotated = sorted(
        (item for item in path.parent.iterdir() if item.name != path.name),
        key=lambda item: -int(item.name.rsplit(".", 1)[1]),
    )
    return [index for item in (*rotated, path) if item.exists() for index in _indices(item)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit" / "events.log"


@pytest.fixture
async def file(path):
    made = AuditFile(path)
    yield made
    await made.close()


async def test_a_line_is_the_leaf_with_its_index_and_only_its_owner_may_read_it(file, path):
    """Each event is one JSON object; the file is 0600 and its folder 0700."""
    assert await file.take(_shipments(0, 3)) == ()
    assert await file.take(_shipments(3, 2)) == ()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 4]
    assert lines[4]["id"] == "event-4"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_what_was_taken_is_synced_and_so_is_the_folder(file, path, monkeypatch):
    """A batch counts when fsync has returned; a new file's name is synced too."""
    synced, real = [], os.fsync

    def spy(descriptor):
        synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    await file.take(_shipments(0, 1))
    assert synced == [True, False]
    await file.take(_shipments(1, 1))
    assert synced == [True, False, False]


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(
    batches=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 400)), max_size=12),
    max_bytes=st.integers(500, 5000),
)
def test_rotation_loses_nothing_and_keeps_the_size(tmp_path_factory, batches, max_bytes):
    """Whatever comes: each event once, in order, and no file beyond the limit."""
    path = tmp_path_factory.mktemp("audit") / "events.log"

    async def write():
        file, first = AuditFile(path, max_bytes=max_bytes, keep=2), 0
        for count, padding in batches:
            await file.take(_shipments(first, count, padding))
            first += count
        await file.close()
        return first

    written = asyncio.run(write())
    assert _all_indices(path) == list(range(written))  # the SIEM has none: nothing is removed
    for item in path.parent.iterdir():
        assert item.stat().st_size <= max_bytes or len(item.read_text().splitlines()) == 1


async def test_rotation_removes_only_what_the_siem_has(path):
    """Beyond the limit a file goes when the SIEM has all of it; until then it stays, and is told."""
    file = AuditFile(path, max_bytes=1000, keep=2)
    for first in range(0, 100, 5):
        await file.take(_shipments(first, 5))
    files = len(list(path.parent.iterdir()))
    assert files > 3
    assert metrics.audit_file_rotated._value.get() == files - 1
    kept = path.with_name(f"{path.name}.{files - 1}")
    await file.delivered(max(_indices(kept)))  # the last event of the oldest is still missing
    assert kept.exists()
    await file.delivered(max(_indices(kept)) + 1)
    assert not kept.exists()
    await file.delivered(100)
    assert sorted(item.name for item in path.parent.iterdir()) == [
        "events.log", "events.log.1", "events.log.2",
    ]  # fmt: skip
    assert metrics.audit_file_rotated._value.get() == 2
    await file.close()


async def test_a_rotation_that_a_crash_interrupted_is_finished_without_loss(path):
    """A free number in between is used; no file is written over."""
    file = AuditFile(path, max_bytes=1000, keep=10)
    for first in range(0, 60, 5):
        await file.take(_shipments(first, 5))
    await file.close()
    path.with_name("events.log.2").rename(path.with_name("events.log.99"))  # and `.2` is free
    before = _all_indices(path)
    again = AuditFile(path, max_bytes=1000, keep=10)
    for first in range(60, 90, 5):
        await again.take(_shipments(first, 5))
    assert sorted(_all_indices(path)) == sorted({*before, *range(90)})
    await again.close()


async def test_a_line_that_a_crash_tore_is_cut_at_the_next_open(path):
    """Its event was never acknowledged and comes again; whole lines stay."""
    file = AuditFile(path)
    await file.take(_shipments(0, 3))
    await file.close()
    with path.open("ab") as torn:
        torn.write(b'{"index":3,"detail":{"pad":"' + b"x" * 200_000)
    again = AuditFile(path)
    await again.take(_shipments(3, 1))
    assert _indices(path) == [0, 1, 2, 3]
    await again.close()


async def test_a_file_of_one_torn_line_is_emptied(path):
    """A crash in the very first write leaves nothing to keep."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b'{"index":0')
    path.chmod(0o600)
    file = AuditFile(path)
    await file.take(_shipments(0, 1))
    assert _indices(path) == [0]
    await file.close()


async def test_a_file_that_was_moved_away_is_made_anew(file, path):
    """A collector may move or remove the file: the next batch goes to a new one of that name."""
    await file.take(_shipments(0, 1))
    path.rename(path.with_name("collected"))
    await file.take(_shipments(1, 1))
    assert _indices(path) == [1]
    path.unlink()
    await file.take(_shipments(2, 1))
    assert _indices(path) == [2]


async def test_a_symbolic_link_is_not_followed(file, path, tmp_path):
    """Whoever may write the folder must not choose what we write to."""
    target = tmp_path / "target"
    target.write_text("")
    path.parent.mkdir()
    path.symlink_to(target)
    with pytest.raises(SinkRefused, match="symbolic links"):
        await file.take(_shipments(0, 1))
    assert target.read_text() == ""


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_can_write_is_refused(file, path, mode):
    """Its lines could be anybody's."""
    path.parent.mkdir()
    path.touch()
    path.chmod(mode)
    with pytest.raises(SinkRefused, match="can be written by others"):
        await file.take(_shipments(0, 1))


async def test_what_is_no_file_is_refused(file, path):
    """A pipe at the path would block, or lose, what is written."""
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(SinkRefused, match="not a regular file"):
        await file.take(_shipments(0, 1))


async def test_a_file_of_another_user_is_refused(file, path):
    """Its owner could change its mode and its lines."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    path.parent.mkdir()
    path.touch(mode=0o600)
    os.chown(path, 65534, 65534)
    with pytest.raises(SinkRefused, match="another user"):
        await file.take(_shipments(0, 1))


async def test_a_write_whose_caller_was_cancelled_ends_before_the_next_begins(
    file, path, monkeypatch
):
    """Its thread goes on: the lines of two batches are never mixed, and none is torn."""
    real, began, may_end = os.fsync, threading.Event(), threading.Event()

    def waits(descriptor):
        began.set()
        may_end.wait(10)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", waits)
    first = asyncio.create_task(file.take(_shipments(0, 2)))
    await asyncio.to_thread(began.wait, 10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(file.take(_shipments(0, 2)))
    done, _ = await asyncio.wait([second], timeout=0.2)
    assert not done
    may_end.set()
    await second
    assert _indices(path) == [0, 1, 0, 1]


async def test_a_failed_sync_takes_nothing(file, path, monkeypatch):
    """After an fsync that failed the lines are cut off again, and the next try writes them."""
    await file.take(_shipments(0, 2))
    real, calls = os.fsync, []

    def fails_once(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, "boom")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(SinkRefused, match="Input/output error"):
        await file.take(_shipments(2, 2))
    assert _indices(path) == [0, 1]
    await file.take(_shipments(2, 2))
    assert _indices(path) == [0, 1, 2, 3]


# -- a disk that is really full ---------------------------------------------------------------


@contextmanager
def _tiny_disk(folder, size):
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here (needs root and the right to mount)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_loses_nothing_and_heals(tmp_path):
    """Whole lines stay, the torn one is cut off, and when there is room the batch is taken."""
    with _tiny_disk(tmp_path / "disk", "64k") as disk:
        path, other = disk / "events.log", disk / "other"
        other.write_bytes(b"x" * 32_768)
        file, taken = AuditFile(path), 0
        reason = ""
        while not reason:
            try:
                await file.take(_shipments(taken, 10, padding=500))
                taken += 10
            except SinkRefused as refusal:
                reason = refusal.reason
        assert reason == "OSError: No space left on device"
        assert taken > 0
        assert _indices(path) == list(range(taken))
        with pytest.raises(SinkRefused, match="No space left on device"):
            await file.take(_shipments(taken, 10, padding=500))
        assert _indices(path) == list(range(taken))
        other.unlink()
        await file.take(_shipments(taken, 10, padding=500))
        assert _indices(path) == list(range(taken + 10))
        await file.close()


def test_a_write_that_stops_in_the_middle_is_cut_back(tmp_path):
    """A limit on the file's size, in a process of its own: the same promise without a mount."""
    script = f"""
        import asyncio, json, resource, signal
        from datetime import UTC, datetime
        from pathlib import Path
        from mc_platform.adapters.audit_file import AuditFile
        from mc_platform.deliver import Shipment, SinkRefused

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        path = Path({str(tmp_path / "events.log")!r})

        def batch(first):
            raw = json.dumps({{"pad": "x" * 300}}).encode()
            return [Shipment(n, datetime.now(UTC), {{}}, raw) for n in range(first, first + 10)]

        async def main():
            file, taken = AuditFile(path), 0
            try:
                while True:
                    await file.take(batch(taken))
                    taken += 10
            except SinkRefused as refusal:
                print(json.dumps([taken, refusal.reason]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            await file.take(batch(taken))

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    taken, reason = json.loads(done.stdout)
    assert reason == "OSError: File too large"
    assert taken > 0
    assert _indices(tmp_path / "events.log") == list(range(taken + 10))
