"""Verification of a real ledger: whole logs verify, and whatever a superuser does is named."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.canonical import canonical_json
from mc_contract.ledger.export import verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_ops.audit import Saved, load_public_key, verify_log
from mc_ops.errors import NotAllowed, UnusableInput


def _verify(ledger, **more):
    with ledger.client() as client:
        return verify_log(client, ledger.public, **more)


def _kinds(report):
    return [finding.kind for finding in report.findings]


def _saved(ledger, note, name="kept.txt"):
    return Saved(name, verify_log_checkpoint(note, ledger.public))


def _forged(row):
    """The row's leaf with another reason, in the very form that the journal writes."""
    leaf = json.loads(row["leaf"])
    leaf["detail"]["reason"] = "forged"
    return canonical_json(leaf)


def _row(ledger, index):
    [row] = ledger.sql("SELECT * FROM mc.ledger_event WHERE index = $1", index)
    return row


def _forge(ledger, index):
    """Change a leaf together with its hash; return the event's id."""
    row = _row(ledger, index)
    leaf = _forged(row)
    ledger.sql(
        "UPDATE mc.ledger_event SET leaf = $2, leaf_hash = $3 WHERE index = $1",
        index,
        leaf,
        leaf_hash(leaf),
    )
    return row["event_id"]


def _rewrite_head(ledger):
    """Make the head what the rows now say, as one who forges the whole log would."""
    frontier = Frontier()
    for row in ledger.sql("SELECT leaf_hash FROM mc.ledger_event ORDER BY index"):
        frontier = frontier.append(row["leaf_hash"])
    ledger.sql(
        "UPDATE mc.ledger_head SET size = $1, frontier = $2", frontier.size, frontier.to_bytes()
    )


def test_a_whole_log_verifies(ledger):
    """Entries over several pages, tiles and checkpoints: all were read, all fit."""
    ledger.grow(700, 1, 1000)
    ledger.record(40)
    report = _verify(ledger)
    assert (report.findings, report.unseen, report.notices) == ((), (), ())
    assert (report.size, report.entries, report.first) == (1741, 1741, 0)
    assert report.checkpoints == 4  # three stored ones, and the head
    assert report.verified


def test_an_empty_log_verifies(ledger):
    """There is nothing to find fault with."""
    assert _verify(ledger).verified


def test_a_log_that_only_grew_agrees_with_the_checkpoint_kept_elsewhere(ledger):
    """A saved checkpoint is one more root that must fit."""
    ledger.grow(300)
    known = _saved(ledger, ledger.sign())
    ledger.grow(300)
    report = _verify(ledger, known=[known])
    assert report.verified
    assert report.checkpoints == 4


def test_verification_from_a_saved_checkpoint_reads_what_came_since(ledger):
    """The saved root stands for what was read then, and the report says so."""
    ledger.grow(700)
    since = _saved(ledger, ledger.sign())
    ledger.grow(50)
    report = _verify(ledger, since=since)
    assert report.verified
    assert (report.first, report.entries, report.size) == (700, 50, 750)
    assert report.notices == ("entries before 700 were not read: kept.txt stands for them",)


@pytest.mark.parametrize("index", [5, 600])
def test_a_changed_leaf_is_named(ledger, index):
    """Changed bytes under the old hash: index and event id are told, with and without a tile."""
    ledger.grow(400, 210)
    row = _row(ledger, index)
    ledger.sql("UPDATE mc.ledger_event SET leaf = $2 WHERE index = $1", index, _forged(row))
    report = _verify(ledger)
    assert _kinds(report) == ["leaf-changed"]
    assert report.findings[0].index == index
    assert report.findings[0].event_id == row["event_id"]


def test_a_changed_leaf_hash_is_told_from_a_changed_leaf(ledger):
    """The tile tells which of the two was changed."""
    ledger.grow(300)
    ledger.sql("UPDATE mc.ledger_event SET leaf_hash = $1 WHERE index = 9", b"x" * 32)
    [finding] = _verify(ledger).findings
    assert (finding.kind, finding.index) == ("leaf-changed", 9)
    assert "leaf_hash was changed" in finding.message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tenant", "TENANT_002"),
        ("kind", "request.refused"),
        ("event_id", "another"),
        ("subject", "another"),
        ("occurred_at", datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_changed_column_is_named(ledger, column, value):
    """A row that is looked up by what its leaf does not say is found."""
    ledger.grow(20)
    ledger.sql(f"UPDATE mc.ledger_event SET {column} = $1 WHERE index = 7", value)
    [finding] = _verify(ledger).findings
    assert (finding.kind, finding.index) == ("columns-changed", 7)
    assert column in finding.message


def test_a_changed_time_of_recording_is_named_where_it_breaks_the_order(ledger):
    """No leaf holds it; that it falls gives it away."""
    ledger.grow(20, 20)
    at = datetime.now(UTC) - timedelta(hours=1)
    ledger.sql("UPDATE mc.ledger_event SET recorded_at = $1 WHERE index = 30", at)
    assert "columns-changed" in _kinds(_verify(ledger))


def test_a_changed_register_of_ids_is_named(ledger):
    """The register keeps an id to one use; a change would let an event be recorded twice."""
    ledger.grow(20)
    ledger.sql("DELETE FROM mc.ledger_id WHERE index = 3")
    [finding] = _verify(ledger).findings
    assert (finding.kind, finding.index) == ("columns-changed", 3)
    assert "ledger_id" in finding.message


def test_a_forged_entry_is_named_by_its_tile_and_checkpoint(ledger):
    """Leaf and hash changed together: the signed checkpoint fits the tile, not the row."""
    ledger.grow(400, 300)
    event_id = _forge(ledger, 77)
    report = _verify(ledger)
    assert _kinds(report) == ["replaced"]
    [finding] = report.findings
    assert (finding.index, finding.event_id) == (77, event_id)
    assert "size 400 (stored) fits the hash in tile 0/0" in finding.message


def test_several_forgeries_are_named_one_by_one(ledger):
    """After a finding the pass goes on with what was signed."""
    ledger.grow(300, 300, 300)
    wanted = {index: _forge(ledger, index) for index in (10, 310, 311)}
    report = _verify(ledger)
    assert {finding.index: finding.event_id for finding in report.findings} == wanted


def test_a_forged_entry_without_a_tile_is_named_by_its_interval(ledger):
    """Young entries have no tile; the signed checkpoints around them bound where it was done."""
    ledger.grow(10, 10, 10)
    _forge(ledger, 14)
    report = _verify(ledger)
    assert _kinds(report) == ["root-differs"]
    assert "entries 10 to 19 are not what the checkpoint of size 20" in report.findings[0].message


def test_a_log_forged_with_its_head_and_tiles_is_given_away_by_stored_checkpoints(ledger):
    """Rows, tiles and head agree with each other, and not with what was signed."""
    ledger.grow(300, 300)
    _forge(ledger, 44)
    ledger.sql("DELETE FROM mc.ledger_tile")
    _rewrite_head(ledger)
    ledger.keep_tiles()
    report = _verify(ledger)
    assert _kinds(report) == ["signer-refused", "root-differs"]
    assert "entries 0 to 299 are not what the checkpoint of size 300" in report.findings[1].message


def test_a_log_forged_with_all_that_is_stored_is_given_away_by_one_kept_elsewhere(ledger):
    """Whoever deletes the stored checkpoints too cannot reach the auditor's."""
    ledger.grow(300)
    known = _saved(ledger, ledger.sign())
    ledger.grow(100)
    _forge(ledger, 44)
    for table in ("ledger_tile", "ledger_checkpoint"):
        ledger.sql(f"DELETE FROM mc.{table}")
    _rewrite_head(ledger)
    ledger.keep_tiles()
    assert _kinds(_verify(ledger)) == ["signer-refused"]
    ledger.restart()
    assert _verify(ledger).verified  # nothing left here can tell: keep checkpoints elsewhere
    for more in ({"known": [known]}, {"since": known}):
        report = _verify(ledger, **more)
        assert "root-differs" in _kinds(report)
        assert "kept.txt" in report.findings[-1].message


def test_a_rewritten_head_is_named(ledger):
    """The service does not sign a root that is not that of its entries, unless it forgets."""
    ledger.grow(30)
    other = Frontier()
    for number in range(30):
        other = other.append(leaf_hash(str(number).encode()))
    ledger.sql("UPDATE mc.ledger_head SET frontier = $1", other.to_bytes())
    report = _verify(ledger)
    assert _kinds(report) == ["signer-refused"]
    assert "two different trees of the same size 30" in report.findings[0].message
    ledger.restart()
    ledger.sql("DELETE FROM mc.ledger_checkpoint")
    report = _verify(ledger)
    assert _kinds(report) == ["head-changed"]


@pytest.mark.parametrize("index", [3, 300])
def test_a_missing_entry_is_named(ledger, index):
    """Deleted in the middle: its index is told, and what follows is still verified by tiles."""
    ledger.grow(600)
    ledger.sql("DELETE FROM mc.ledger_event WHERE index = $1", index)
    report = _verify(ledger)
    assert _kinds(report) == ["missing"]
    assert report.findings[0].message == f"entry {index} is missing"


def test_a_missing_young_entry_is_named_and_what_follows_is_not_vouched_for(ledger):
    """Without a tile nobody can say what stood there."""
    ledger.grow(40, 40)
    ledger.sql("DELETE FROM mc.ledger_event WHERE index BETWEEN 50 AND 52")
    report = _verify(ledger)
    assert _kinds(report) == ["missing"]
    assert report.findings[0].message == "entries 50 to 52 are missing"
    assert "what follows entry 49" in report.unseen[0]


def test_a_duplicated_index_is_named(ledger):
    """Two rows of one index, even on both sides of a page."""
    ledger.grow(1500)
    for index in (999, 1200):
        ledger.sql(
            "INSERT INTO mc.ledger_event SELECT region, index, 'twin', tenant, kind, subject, "
            "occurred_at, recorded_at + interval '1 s', leaf, leaf_hash FROM mc.ledger_event "
            "WHERE index = $1",
            index,
        )
    report = _verify(ledger)
    assert [f.index for f in report.findings if f.kind == "duplicated"] == [999, 1200]


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_truncated_tail_is_named(ledger, rewritten):
    """Cut off with or without the head: what was signed before knows better."""
    ledger.grow(300)
    ledger.grow(50)
    ledger.sql("DELETE FROM mc.ledger_event WHERE index >= 330")
    if rewritten:
        _rewrite_head(ledger)
    report = _verify(ledger)
    if rewritten:
        assert _kinds(report) == ["signer-refused", "truncated"]
        assert "350 entries were signed, the log has 330" in report.findings[0].message
        assert "entries 330 to 349 were cut off" in report.findings[1].message
    else:
        assert _kinds(report) == ["missing"]
        assert report.findings[0].message == "entries 330 to 349 are missing"


def test_a_tail_truncated_with_its_checkpoints_is_named_by_one_kept_elsewhere(ledger):
    """The stored ones can be deleted; the auditor's can't."""
    ledger.grow(300, 50)
    known = _saved(ledger, ledger.sign())
    ledger.sql("DELETE FROM mc.ledger_event WHERE index >= 330")
    ledger.sql("DELETE FROM mc.ledger_checkpoint WHERE size > 330")
    _rewrite_head(ledger)
    for more in ({"known": [known]}, {"since": known}):
        refused, finding = _verify(ledger, **more).findings
        assert (refused.kind, finding.kind) == ("signer-refused", "truncated")
        assert "size 350 was signed (kept.txt)" in finding.message


def test_swapped_rows_are_named_as_such(ledger):
    """Each is whole in itself; the tile knows where each belongs."""
    ledger.grow(600)
    for index, other in ((40, -1), (90, 40), (-1, 90)):
        ledger.sql("UPDATE mc.ledger_event SET index = $2 WHERE index = $1", index, other)
    report = _verify(ledger)
    swapped = [finding for finding in report.findings if finding.kind == "swapped"]
    assert [finding.index for finding in swapped] == [40, 90]
    assert "holds what belongs at index 90" in swapped[0].message


def test_a_changed_tile_is_told_from_a_changed_entry(ledger):
    """The signed checkpoint fits the row, so it was the tile."""
    ledger.grow(600)
    [row] = ledger.sql("SELECT hashes FROM mc.ledger_tile WHERE level = 0 AND index = 1")
    hashes = row["hashes"][:64] + b"x" * 32 + row["hashes"][96:]
    ledger.sql("UPDATE mc.ledger_tile SET hashes = $1 WHERE level = 0 AND index = 1", hashes)
    [finding] = _verify(ledger).findings
    assert (finding.kind, finding.index) == ("tile-changed", 258)


def test_a_stored_checkpoint_that_was_changed_is_named(ledger):
    """A note that the key did not sign, or that stands under another size."""
    ledger.grow(10, 10, 10)
    [row] = ledger.sql("SELECT note FROM mc.ledger_checkpoint WHERE size = 20")
    ledger.sql("UPDATE mc.ledger_checkpoint SET note = $1 WHERE size = 10", row["note"])
    forged = row["note"].replace("\n20\n", "\n21\n")
    ledger.sql("UPDATE mc.ledger_checkpoint SET note = $1 WHERE size = 20", forged)
    report = _verify(ledger)
    assert _kinds(report) == ["checkpoint-changed"] * 2
    assert "says that it is of size 20" in report.findings[0].message
    assert "does not verify" in report.findings[1].message


def test_a_stored_checkpoint_that_was_moved_beyond_the_log_is_named(ledger):
    """It would otherwise be one that is not there yet."""
    ledger.grow(10, 10)
    ledger.sql("UPDATE mc.ledger_checkpoint SET size = 9999 WHERE size = 10")
    report = _verify(ledger)
    assert _kinds(report) == ["checkpoints-missing", "checkpoint-changed"]
    assert "size 9999 says that it is of size 10" in report.findings[1].message


def test_a_log_without_any_stored_checkpoint_is_not_believed(ledger):
    """One is stored each second: that there is none is somebody's doing."""
    ledger.grow(10, 10)
    for table in ("ledger_event", "ledger_id"):
        ledger.sql(f"UPDATE mc.{table} SET recorded_at = recorded_at - interval '10 min'")
    ledger.sql("DELETE FROM mc.ledger_checkpoint")
    assert set(_kinds(_verify(ledger))) == {"checkpoints-missing"}


@pytest.mark.parametrize("deleted", ["= 10", "= 20", "= 30", "= 40", "> 20", "< 30"])
def test_a_deleted_checkpoint_is_named_by_the_one_that_was_signed_after_it(ledger, deleted):
    """Each names the newest that was stored before it: the last one by what is signed now."""
    ledger.grow(10, 10, 10, 10)
    ledger.sql(f"DELETE FROM mc.ledger_checkpoint WHERE size {deleted}")
    ledger.record(1)
    report = _verify(ledger)
    assert set(_kinds(report)) == {"checkpoints-missing"}
    assert "it was deleted" in report.findings[0].message


@pytest.mark.parametrize(
    "damage",
    ["UPDATE mc.ledger_head SET size = 10", "UPDATE mc.ledger_head SET frontier = '\\x00'"],
)
def test_a_damaged_head_is_named(ledger, damage):
    """The service signs nothing then, and verify says why."""
    ledger.grow(30)
    ledger.sql(damage)
    report = _verify(ledger)
    assert _kinds(report) == ["head-changed"]
    assert "head is damaged" in report.findings[0].message


def test_deleted_checkpoints_leave_a_gap_that_is_told(ledger):
    """Between storing and recording lies more time than the keeper ever lets pass."""
    ledger.grow(10, 10)
    ledger.sql(
        "UPDATE mc.ledger_checkpoint SET created_at = now() + interval '1 h' WHERE size = 20"
    )
    report = _verify(ledger)
    assert report.verified
    assert "or its checkpoints were deleted" in report.notices[0]


def test_a_checkpoint_kept_elsewhere_hides_no_gap_of_the_stored_ones(ledger):
    """It was signed, and stored by nobody: what it stands over was without one as long as before."""
    ledger.grow(10)
    ledger.record(9)
    known = _saved(ledger, ledger.loop.run(ledger.checkpoints.current()))
    ledger.backdate(19, datetime.now(UTC) - timedelta(days=1))
    ledger.record(1)
    ledger.sign()
    ledger.keep_tiles()
    for more in ({}, {"known": [known]}):
        assert "or its checkpoints were deleted" in " ".join(_verify(ledger, **more).notices)


def test_another_key_or_credential_does_not_verify(ledger):
    """A log signed by a stranger is a finding; a refused token is none."""
    ledger.grow(3)
    ledger.restart()
    ledger.checkpoints.renew([Ed25519PrivateKey.generate()])
    assert _kinds(_verify(ledger)) == ["head-unsigned"]
    with ledger.client("wrong") as client, pytest.raises(NotAllowed, match="401"):
        list(client.entries(0))


def test_bad_questions_are_refused_with_what_is_wrong(ledger):
    """Each parameter's range is told."""
    ledger.grow(3)
    with ledger.client() as client:
        for path, query, said in (
            ("/audit/entries", {"limit": 1001}, "limit must be a number from 1 to 1000"),
            ("/audit/entries", {"start": "x"}, "start must be a number from 0"),
            ("/audit/proof/inclusion", {}, "either index or event_id"),
            ("/audit/proof/inclusion", {"index": 3}, "no entry 3 in a log of size 3"),
            ("/audit/proof/inclusion", {"event_id": "none"}, "no event with this id"),
            ("/audit/proof/consistency", {"first": 2, "second": 9}, "3 entries, got size 9"),
            ("/audit/proof/consistency", {"first": 3, "second": 2}, "1 <= first <= second"),
            ("/audit/tenant/T", {"since": "2026-01-01"}, "since must be a time with its zone"),
        ):
            with pytest.raises(UnusableInput, match=said):
                client._send(path, **query)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("tenant/T%00", "a character that no text here can have"),
        ("tenant/T?since=2026-01-01T00:00:00Z%00", "a character that no text here can have"),
        ("proof/inclusion?event_id=%00", "a character that no text here can have"),
        ("entries?limit=1&x%00=1", "a character that no text here can have"),
        ("tenant/T?since=0001-01-01T00:00:00%2B23:59", "since must be a time with its zone"),
        ("tenant/T?until=9999-12-31T23:59:59-23:59", "until must be a time with its zone"),
        ("tenant/TENANT_001?until=0001-01-01T00:00:00Z&since=9999-12-31T23:59:59Z", ""),
    ],
)
def test_what_no_database_takes_is_the_askers_mistake(ledger, asked, said):
    """NUL, and times outside of the years 1 to 9999 in UTC, are 400 and told; not 503."""
    ledger.grow(3)
    path, _, query = asked.partition("?")
    with ledger.client() as client:
        if not said:
            assert client._json(f"/audit/{path}", **dict(parse_qsl(query)))["entries"] == []
            return
        with pytest.raises(UnusableInput, match=said):
            client._send(f"/audit/{path}", **dict(parse_qsl(query)))


def test_what_is_sent_is_what_the_log_holds(ledger):
    """An entry's bytes come through unchanged."""
    ledger.grow(1)
    body = ledger.client()._json("/audit/entries")
    assert base64.b64decode(body["entries"][0]["leaf"]) == _row(ledger, 0)["leaf"]


def test_public_key_file_without_end_is_refused_at_once() -> None:
    """A device is no key, and reading all of it would take all memory."""
    with pytest.raises(UnusableInput, match="no public key"):
        load_public_key(Path("/dev/zero"))
