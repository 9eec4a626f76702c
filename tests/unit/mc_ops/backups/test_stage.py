"""What a restore brings back beside the platform: all of the WAL, and for nobody else to read."""

from __future__ import annotations

import json
import os
import stat

import pytest

from mc_ops.backups import stage
from mc_ops.backups.keys import BackupKey
from mc_ops.backups.sealed import Label, counting, private, seal, uncounted
from mc_ops.backups.store import Backup, Store
from mc_ops.errors import Finding

KEY = BackupKey(b"k" * 32)
NAMES = [f"00000001000000000000000{number}" for number in range(2, 6)]
BACKUP = Backup(
    id="b-1",
    platform="7001",
    region="local-1",
    line="l-1",
    key_id=KEY.id,
    began_at="2026-01-01T00:00:00+00:00",
    ended_at="2026-01-01T00:00:05+00:00",
    bytes=10,
    database_bytes=100,
)


@pytest.fixture
def archive(tmp_path):
    """A line of four segments, one more in the spool, and a place for what is brought back."""
    store = Store(tmp_path / "backups")
    line = store.line("l-1")
    line.mkdir(parents=True)
    for name in NAMES:
        with private(line / f"{name}.sealed") as file:
            seal([b"records"], file, KEY, Label("7001", "l-1", name))
    (line / "archived.json").write_text(json.dumps({"segment": NAMES[-1], "at": "x", "gap": ""}))
    (tmp_path / "place" / "wal").mkdir(parents=True)
    (tmp_path / "place" / "data" / "pg_wal").mkdir(parents=True)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "000000010000000000000006.partial").write_bytes(b"newest")
    return store


def _wal(store, to=None, spool=None, count=uncounted):
    place = store.folder.parent / "place"
    return stage._wal(store, BACKUP, KEY, place, NAMES[0], to, spool, lambda _: None, count)


def test_how_much_is_unsealed_is_told_of_the_database_and_each_segment(archive):
    """From these a terminal has the rate and the time left."""
    told, mib = [], 1024 * 1024
    _wal(archive, count=lambda planned, done: told.append((planned, done)))
    assert told == [(100 + 4 * 16 * mib, 100 + done * 16 * mib) for done in range(4)]
    read = []
    assert list(counting([b"ab", b"", b"c"], read.append)) == [b"ab", b"", b"c"]
    assert read == [2, 2, 3]


def test_nobody_else_may_read_what_is_brought_back(archive):
    """The WAL holds what clients wrote, and the server's user has to get through to its folder."""
    before = os.umask(0)
    try:
        count, _ = _wal(archive, spool=archive.folder.parent / "spool")
    finally:
        os.umask(before)
    files = list((archive.folder.parent / "place" / "wal").iterdir())
    assert count == len(files) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_line_without_its_last_segments_is_not_the_end_of_the_wal(archive):
    """Without them the database would come back older, and the report would say: the end."""
    for name in NAMES[2:]:
        (archive.line("l-1") / f"{name}.sealed").unlink()
    with pytest.raises(Finding, match=f"archived up to {NAMES[-1]}, and its last segments are"):
        _wal(archive)


def test_an_archive_that_grows_meanwhile_is_whole(archive, monkeypatch):
    """A backup is verified while the archiver seals on: what it notes after the list is not missed."""
    line, listed = archive.line("l-1"), archive.segments

    def segments(of):
        found = listed(of)
        (line / "archived.json").write_text(
            json.dumps({"segment": "000000010000000000000009", "at": "x", "gap": ""})
        )
        return found

    monkeypatch.setattr(archive, "segments", segments)
    assert _wal(archive)[0] == 4
