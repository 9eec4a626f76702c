"""What a folder of backups says, and what clients' and SIEMs' files say of what was acknowledged."""

from __future__ import annotations

import errno
import json

import pytest

from mc_ops.backups import losses
from mc_ops.backups.keys import BackupKey
from mc_ops.backups.losses import Losses, Source, Told, of_clients, of_lines
from mc_ops.backups.store import Backup, Store, first_gap, number_of
from mc_ops.errors import CouldNotTell, Finding, UnusableInput

KEY = BackupKey(b"k" * 32)
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
def store(tmp_path):
    made = Store(tmp_path)
    made.unfinished("b-1").mkdir()
    made.finish(BACKUP, KEY)
    return made


def test_a_finished_backup_is_listed_and_authenticated(store):
    """The folder has its name only when it is whole."""
    assert (store.backups(), store.get("b-1", KEY)) == ([BACKUP], BACKUP)
    assert [path.name for path in store.folder.iterdir()] == ["b-1"]


@pytest.mark.parametrize("name", ["platform", "line", "ended_at", "database_bytes", "id"])
def test_a_description_that_was_changed_is_refused(store, name):
    """Every field that a restore goes by is under the key."""
    path = store.folder / "b-1" / "manifest.json"
    value = json.loads(path.read_text())
    value[name] = "2026-01-02T00:00:00+00:00" if name == "ended_at" else f"9{value[name]}"
    path.write_text(json.dumps(value))
    with pytest.raises(Finding, match="was changed"):
        store.get("b-1", KEY)


def test_another_key_and_an_unknown_backup_are_told_apart(store):
    with pytest.raises(Finding, match="sealed with the key"):
        store.get("b-1", BackupKey(b"o" * 32))
    with pytest.raises(UnusableInput, match='no backup "b-2"'):
        store.get("b-2", KEY)
    with pytest.raises(UnusableInput, match="no backup"):
        store.get("../b-1", KEY)


def test_two_backups_at_once_are_refused_and_what_a_killed_one_left_is_removed(store):
    """The lock ends with its process; the unfinished folder stays until the next backup."""
    left = store.unfinished("b-2")
    left.mkdir()
    with store.alone():
        assert not left.exists()
        with pytest.raises(CouldNotTell, match="another mcctl"), store.alone():
            pass


def test_a_full_disk_is_told_with_the_folder(store):
    """As what it is, not as a traceback."""

    def fill():
        with store.alone():
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CouldNotTell, match="cannot be written: No space left on device"):
        fill()


def test_a_run_of_segments_knows_its_gap():
    """The last eight digits count to FF, then the middle ones go on."""
    run = ["0000000100000000000000FE", "0000000100000000000000FF", "000000010000000100000000"]
    assert first_gap(run) == ""
    assert [number_of(name) for name in run] == [254, 255, 256]
    assert first_gap([run[0], run[2]]) == f"between {run[0]} and {run[2]}"


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("t-1\nt-2\n", ["t-1", "t-2"]),
        ("\ufefft-1\r\n\r\nt-2", ["t-1", "t-2"]),
        ('["t-1", "t-2"]', ["t-1", "t-2"]),
        ('[{"task": "t-1", "at": "2026-01-01T00:00:00Z"}]', ["t-1"]),
        ('{"acknowledged": [{"task": "t-1", "tenant": "TENANT_001"}]}', ["t-1"]),
        ("", []),
    ],
)
def test_a_clients_ledger_is_read_in_each_of_its_forms(tmp_path, text, tasks):
    path = tmp_path / "ledger"
    path.write_text(text)
    assert [told.task for told in of_clients(path)] == tasks


@pytest.mark.parametrize(
    "text",
    ['{"tasks": []}', '[{"id": "t-1"}]', "[1]", '[""]', "[", "t-1 t-2\n", '[{"task": null}]'],
)
def test_a_clients_ledger_that_is_none_is_refused(tmp_path, text):
    """An item that is read wrong would be a loss that is not told."""
    path = tmp_path / "ledger"
    path.write_text(text)
    with pytest.raises(UnusableInput, match="ledger"):
        of_clients(path)


@pytest.mark.parametrize("siem", [[], ["request.accepted"], ["reply.released"]])
@pytest.mark.parametrize(
    ("restored", "lost", "requests"),
    [({}, 1, 1), ({"t-1": True}, 1, 1), ({"t-1": False}, 0, 0)],  # by id: whether it is unanswered
)
def test_what_a_client_was_told_is_a_lost_request_whatever_a_siem_has_of_it(
    monkeypatch, siem, restored, lost, requests
):
    """What a SIEM keeps may begin in the midst of a task, and what is restored may end in it."""
    events = {f"e-{kind}": f"e-{kind}" for kind in siem if kind == "request.accepted" and restored}
    events |= {"e-reply.released": ""} if restored.get("t-1") is False else {}
    monkeypatch.setattr(
        losses,
        "query",
        lambda _, statement, ids: [
            one for one in (restored if "mc.task" in statement else events).items() if one[0] in ids
        ],
    )
    found = Losses("")
    found.add(Source("siem", "a"), [Told(f"e-{kind}", "t-1", "T", kind, "") for kind in siem])
    found.add(Source("clients", "b"), [Told("", "t-1", "T", "", "")])
    found.add(Source("siem", "a"), [Told("e-9", "t-2", "T", "reply.withheld", "")])
    assert (found.requests, len(found.lost) - 1) == (requests, lost)


def test_events_of_a_siem_and_of_the_backup_file_are_the_same_events(tmp_path):
    """A torn last line was never acknowledged, another region's are not this one's; a line that is none is refused."""
    leaf = {
        "id": "e-1",
        "kind": "request.accepted",
        "tenant": "TENANT_001",
        "region": "local-1/e2",
        "occurred_at": "2026-01-01T00:00:00+00:00",
        "detail": {"subject": "t-1"},
    }
    told = Told("e-1", "t-1", "TENANT_001", "request.accepted", leaf["occurred_at"])
    path = tmp_path / "events.jsonl"
    others = {**leaf, "region": "local-2"}
    lines = [
        *(json.dumps(one) for one in ({"unmapped": leaf}, {"index": 3, **leaf}, others)),
        '{"unmapped": {"i',
    ]
    path.write_text("\n".join(lines))
    assert list(of_lines(path, "local-1")) == [told, told]
    path.write_text("{}\n")
    with pytest.raises(UnusableInput, match="no event of the ledger"):
        list(of_lines(path, "local-1"))
