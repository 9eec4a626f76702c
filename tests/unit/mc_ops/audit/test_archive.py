"""Retention: old partitions leave as files, and files and rows still verify as one log."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from mc_contract.ledger.export import verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, leaf_hash, verify_inclusion
from mc_ops.audit import Saved, prove, verify_log
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_platform.errors import LedgerDamaged
from mc_platform.model.event import Kind

NOW = datetime.now(UTC)
LONG_AGO, LATER = NOW - timedelta(days=130), NOW - timedelta(days=90)


@pytest.fixture
def aged(ledger):
    """1,300 entries: 600 of one old month, 400 of a later one, 300 of today; all signed."""
    ledger.grow(250, 350, 400, 300)
    ledger.backdate(600, LONG_AGO)
    ledger.backdate(1000, LATER)
    return ledger


def _verify(ledger, **more):
    with ledger.client() as client:
        return verify_log(client, ledger.public, **more)


def _partitions(ledger):
    return {
        row["name"]
        for row in ledger.sql(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'mc.ledger_event'::regclass"
        )
    }


def test_archived_and_live_entries_verify_as_one_log(aged, tmp_path):
    """Two months leave as two files; with them the log is whole, without them it is said."""
    before = len(_partitions(aged))
    report = aged.archive(tmp_path / "archive")
    assert [(a["first_index"], a["last_index"]) for a in report["archived"]] == [
        (0, 599),
        (600, 999),
    ]
    assert report["kept"] is None
    assert len(_partitions(aged)) == before - 2
    assert aged.sql("SELECT min(index) AS first FROM mc.ledger_event")[0]["first"] == 1000

    whole = _verify(aged, archive=tmp_path / "archive")
    assert whole.verified
    assert (whole.first, whole.entries, whole.notices) == (0, 1300, ())
    part = _verify(aged)
    assert (part.first, part.entries, part.findings) == (1000, 300, ())
    assert not part.verified
    assert "entries before 1000 were not read" in part.unseen[0]
    allowed = _verify(aged, allow_archived=True)
    assert (allowed.verified, allowed.first, allowed.unseen) == (True, 1000, ())
    assert "entries before 1000 were not read" in allowed.notices[0]


def _call_archived(ledger, size, note):
    """Delete the entries before `size`, and tell that they left as a file, as a superuser can."""
    with ledger.client() as client:
        frontier = client.frontier(size)
    ledger.sql("DELETE FROM mc.ledger_event WHERE index < $1", size)
    ledger.sql(
        "INSERT INTO mc.ledger_archive (region, first_index, last_index, partition, file, sha256, "
        "frontier_before, frontier_after, checkpoint) "
        "VALUES ('test-1', 0, $1, 'x', 'x.jsonl.gz', sha256('x'), $2, $3, $4)",
        size - 1,
        Frontier().to_bytes(),
        frontier.to_bytes(),
        note,
    )


def test_deleted_entries_that_are_called_archived_are_not_verified(ledger, tmp_path):
    """Whatever the index of archives says, entries that were not read leave the verdict open."""
    ledger.grow(600)
    note = ledger.sign()
    ledger.grow(200)
    _call_archived(ledger, 600, note)
    report = _verify(ledger)
    assert (report.verified, report.findings) == (False, ())
    assert "nothing here shows that they are kept" in report.unseen[0]
    kinds = [finding.kind for finding in _verify(ledger, archive=tmp_path).findings]
    assert kinds == ["archive-missing", "missing"]


def test_a_log_rewritten_before_what_is_called_archived_is_given_away(ledger):
    """A checkpoint kept elsewhere speaks for entries that are not read, by a consistency proof."""
    ledger.grow(600)
    kept = Saved("kept.txt", verify_log_checkpoint(ledger.sign(), ledger.public))
    ledger.grow(200)
    hashes = [r["leaf_hash"] for r in ledger.sql("SELECT * FROM mc.ledger_event ORDER BY index")]
    hashes[5] = leaf_hash(b"forged")
    ledger.sql("TRUNCATE mc.ledger_tile, mc.ledger_checkpoint")
    ledger.sql("UPDATE mc.ledger_event SET leaf_hash = $1 WHERE index = 5", hashes[5])
    frontier = Frontier()
    for each in hashes:
        frontier = frontier.append(each)
    ledger.sql("UPDATE mc.ledger_head SET frontier = $1", frontier.to_bytes())
    ledger.journal._head = None
    ledger.restart()
    ledger.keep_tiles()
    _call_archived(ledger, 650, ledger.sign())
    assert _verify(ledger, allow_archived=True).verified  # nothing inside can tell
    for held in ({"known": [kept]}, {"since": kept}):
        [finding] = _verify(ledger, allow_archived=True, **held).findings
        assert (finding.kind, finding.index) == ("root-differs", 0)
        assert "kept.txt" in finding.message


def test_a_checkpoint_of_what_is_not_read_is_held_against_the_head(aged, tmp_path):
    """It agrees; and where the service gives no proof, the verdict is open."""
    notes = aged.sql("SELECT note FROM mc.ledger_checkpoint WHERE size IN (250, 600)")
    aged.archive(tmp_path)
    known = [Saved("k", verify_log_checkpoint(row["note"], aged.public)) for row in notes]
    report = _verify(aged, known=known, allow_archived=True)
    assert report.verified
    assert any("first=250&second=1300" in asked for asked in aged.transport.requests)

    with aged.client() as client:
        consistency = client.consistency

        def refuse(first, second):
            if first == 250:
                raise CouldNotTell("no proof")
            return consistency(first, second)

        client.consistency = refuse
        report = verify_log(client, aged.public, known=known, allow_archived=True)
    assert (report.verified, report.findings) == (False, ())
    assert report.unseen == ("k (size 250) is not tied to the log: no proof",)


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM mc.ledger_archive WHERE first_index = 0",
        "UPDATE mc.ledger_archive SET first_index = 601 WHERE first_index = 600",
        "UPDATE mc.ledger_archive SET last_index = 1004 WHERE first_index = 600",
        "UPDATE mc.ledger_archive SET checkpoint = '' WHERE first_index = 600",
        "UPDATE mc.ledger_archive SET checkpoint = replace(checkpoint, 'test-1', 'test-2')",
        (
            "UPDATE mc.ledger_archive SET checkpoint = (SELECT note FROM mc.ledger_checkpoint "
            "WHERE size = 250) WHERE first_index = 0"
        ),
        (
            "UPDATE mc.ledger_archive SET frontier_after = "
            "overlay(frontier_after placing 'x'::bytea from 9) WHERE first_index = 600"
        ),
    ],
)
@pytest.mark.parametrize("with_files", [False, True])
def test_whatever_is_changed_in_the_index_of_archives_is_named(
    aged, tmp_path, tampering, with_files
):
    """Its rows follow each other from 0, and each is tied to the signed head."""
    aged.archive(tmp_path)
    aged.sql(tampering)
    more = {"archive": tmp_path} if with_files else {"allow_archived": True}
    kinds = {finding.kind for finding in _verify(aged, **more).findings}
    assert "archive-index-changed" in kinds


def test_archiving_again_goes_on_where_it_ended(aged, tmp_path):
    """Nothing is left to move, and what becomes old later follows in its own file."""
    aged.archive(tmp_path)
    assert aged.archive(tmp_path) == {"archived": [], "kept": None}
    aged.grow(300)
    aged.backdate(1536, NOW - timedelta(days=45))
    [moved] = aged.archive(tmp_path, days=1)["archived"]
    assert (moved["first_index"], moved["last_index"]) == (1000, 1535)
    assert _verify(aged, archive=tmp_path).verified


def test_proofs_and_idempotency_survive_the_archive(aged, tmp_path):
    """An archived event is still proven by tiles, and is not recorded a second time."""
    event = aged.events.event(Kind.request_accepted, "TENANT_001", "task-1", reason="once")
    aged.sql(
        "UPDATE mc.ledger_id SET event_id = $1 WHERE index = 42", event.id
    )  # as if it had been recorded then
    aged.archive(tmp_path)
    [recorded] = aged.record_event(event)
    assert (recorded.index, recorded.fresh) == (42, False)

    with aged.client() as client:
        index, note, proof = client.inclusion({"index": 42})
        signed = verify_log_checkpoint(note, aged.public)
    with gzip.open(tmp_path / "ledger-test-1-000000000000-000000000599.jsonl.gz") as lines:
        entry = [json.loads(line) for line in lines][index + 1]
    verify_inclusion(
        leaf=leaf_hash(base64.b64decode(entry["leaf"])),
        index=42,
        size=signed.size,
        proof=proof,
        root=signed.root,
    )
    with aged.client() as client, pytest.raises(UnusableInput, match="has been archived, in "):
        prove(client, aged.public, "42")


def test_verification_from_a_saved_checkpoint_needs_no_archive(aged, tmp_path):
    """A checkpoint younger than what left is a beginning of its own."""
    aged.archive(tmp_path)
    with aged.client() as client:
        note = client.head_note()
    aged.grow(20)
    saved = Saved("kept.txt", verify_log_checkpoint(note, aged.public))
    report = _verify(aged, since=saved)
    assert report.verified
    assert (report.first, report.entries) == (1300, 20)


def test_only_what_every_sink_has_leaves(aged, tmp_path):
    """The cursors tell, whatever this process is configured with; the file only stands in."""
    refused = aged.archive(tmp_path, delivery_configured=True)
    assert refused["archived"] == []
    assert "only if both are unset" in refused["kept"]["reason"]
    _cursor(aged, "siem", 600)
    _cursor(aged, "file", 0)
    report = aged.archive(tmp_path)
    assert [item["last_index"] for item in report["archived"]] == [599]
    assert report["archived"][0]["delivered_to"] == ["siem"]
    assert "sink siem of test-1 has 600 of 1000 entries" in report["kept"]["reason"]


def _cursor(ledger, sink, next_index):
    ledger.sql("INSERT INTO mc.delivery_cursor VALUES ('test-1', $1, $2)", sink, next_index)


def test_where_only_a_file_is_delivered_to_the_file_must_have_it(aged, tmp_path):
    """Without any other cursor the stand-in is the one that counts."""
    _cursor(aged, "file", 600)
    report = aged.archive(tmp_path)
    assert [item["delivered_to"] for item in report["archived"]] == [["file"]]
    assert "sink file of test-1 has 600" in report["kept"]["reason"]


def test_what_nobody_was_ever_to_get_leaves_and_the_report_says_so(aged, tmp_path):
    """No cursor and nothing configured: the files are then the only copy."""
    report = aged.archive(tmp_path)
    assert [item["delivered_to"] for item in report["archived"]] == [[], []]


def test_what_proofs_still_need_stays(ledger, tmp_path):
    """A tile that is not full yet, and a log that nobody signed, hold a partition back."""
    ledger.record(600)
    ledger.backdate(600, LONG_AGO)
    ledger.keep_tiles()
    assert "tile 0/2 is not full yet" in ledger.archive(tmp_path)["kept"]["reason"]
    ledger.record(168)
    ledger.keep_tiles()
    assert "no stored checkpoint covers" in ledger.archive(tmp_path)["kept"]["reason"]
    ledger.sign()
    assert len(ledger.archive(tmp_path)["archived"]) == 1


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE mc.ledger_event SET leaf = leaf || ' '::bytea WHERE index = 99",
        "UPDATE mc.ledger_event SET tenant = 'X' WHERE index = 99",
        "UPDATE mc.ledger_event SET leaf_hash = sha256('x') WHERE index = 99",
        "DELETE FROM mc.ledger_event WHERE index = 99",
        (
            "UPDATE mc.ledger_tile SET hashes = overlay(hashes placing 'x'::bytea from 9) "
            "WHERE level = 0 AND index = 0"
        ),
        (
            "UPDATE mc.ledger_checkpoint SET note = (SELECT note FROM mc.ledger_checkpoint "
            "WHERE size = 600) WHERE size = 250"
        ),
    ],
)
def test_what_was_tampered_with_is_not_moved(aged, tmp_path, tampering):
    """It stays where it can be looked at; nothing is written for it."""
    aged.sql(tampering)
    rows = aged.sql("SELECT count(*) AS rows FROM mc.ledger_event")[0]["rows"]
    with pytest.raises(LedgerDamaged):
        aged.archive(tmp_path)
    assert aged.sql("SELECT count(*) AS rows FROM mc.ledger_event")[0]["rows"] == rows
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_named(aged, tmp_path):
    """An entry rewritten in a file: the file, and the entry in it."""
    aged.archive(tmp_path)
    path = tmp_path / "ledger-test-1-000000000000-000000000599.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    lines[300], lines[301] = lines[301], lines[300]
    path.write_bytes(gzip.compress(b"".join(lines)))
    report = _verify(aged, archive=tmp_path)
    kinds = {finding.kind for finding in report.findings}
    assert kinds == {"archive-changed", "missing", "duplicated"}
    assert any(finding.index == 299 for finding in report.findings)


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_damaged_or_missing_file_is_named(aged, tmp_path, cut):
    """Its entries show as missing; the live ones are still verified, by the tiles' hashes."""
    aged.archive(tmp_path)
    path = tmp_path / "ledger-test-1-000000000600-000000000999.jsonl.gz"
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    else:
        path.unlink()
    report = _verify(aged, archive=tmp_path)
    kinds = {finding.kind for finding in report.findings}
    assert kinds == {"archive-changed" if cut else "archive-missing", "missing"}
    assert report.entries < 1300
    assert not report.unseen


def test_a_changed_index_of_archives_is_named(aged, tmp_path):
    """The frontier that live verification begins with must be what the signed log begins with."""
    aged.archive(tmp_path)
    other = Frontier()
    for number in range(1000):
        other = other.append(leaf_hash(str(number).encode()))
    aged.sql("UPDATE mc.ledger_archive SET frontier_after = $1", other.to_bytes())
    aged.sql("DELETE FROM mc.ledger_archive WHERE first_index = 0")
    kinds = [finding.kind for finding in _verify(aged).findings]
    assert kinds[0] == "archive-index-changed"


def test_entries_that_the_default_partition_took_leave_too(ledger, tmp_path):
    """Where no partition was made in time, the rows move to their own month first."""
    ledger.grow(512)
    ledger.sql("UPDATE mc.ledger_event SET recorded_at = $1", LONG_AGO)
    assert ledger.sql("SELECT count(*) AS rows FROM mc.ledger_event_default")[0]["rows"] == 512
    [moved] = ledger.archive(tmp_path)["archived"]
    assert (moved["first_index"], moved["last_index"]) == (0, 511)
    assert _verify(ledger, archive=tmp_path).verified


def test_files_are_private_and_whole(aged, tmp_path):
    """0600, no leftovers, and the header's frontiers are those of the entries."""
    aged.archive(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.suffix for file in files] == [".gz", ".gz"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_the_service_cannot_archive(aged, tmp_path):
    """Its role may not drop what the ledger holds."""
    aged.owner_url, owner = aged.service_url, aged.owner_url
    try:
        with pytest.raises(Exception, match="InsufficientPrivilege"):
            aged.archive(tmp_path)
    finally:
        aged.owner_url = owner


def test_checkpoints_of_what_was_archived_are_thinned_out_and_the_log_verifies(ledger, tmp_path):
    """One a day is kept of archived entries, and all of live ones; that is no finding."""
    ledger.grow(100, 150, 350, 400)
    ledger.backdate(250, LONG_AGO - timedelta(days=1))
    ledger.backdate(600, LONG_AGO)
    ledger.grow(100, 200)
    ledger.sql("SELECT mc.thin_checkpoints()")
    sizes = "SELECT size FROM mc.ledger_checkpoint ORDER BY size"
    assert [row["size"] for row in ledger.sql(sizes)] == [100, 250, 600, 1000, 1100, 1300]
    assert ledger.archive(tmp_path)["archived"]
    ledger.sql("SELECT mc.thin_checkpoints()")
    assert [row["size"] for row in ledger.sql(sizes)] == [250, 600, 1000, 1100, 1300]
    [noted] = ledger.sql("SELECT tenant, kind, removed FROM mc.retention_removed")
    assert tuple(noted) == ("PLATFORM", "checkpoints", 1)
    for held in ({"archive": tmp_path}, {"allow_archived": True}):
        report = _verify(ledger, **held)
        assert (report.verified, report.findings) == (True, ())
    ledger.sql("DELETE FROM mc.ledger_checkpoint WHERE size = 1100")
    kinds = [finding.kind for finding in _verify(ledger, archive=tmp_path).findings]
    assert kinds == ["checkpoints-missing"]
