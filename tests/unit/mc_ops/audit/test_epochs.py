"""A restored database begins the next epoch of its log, and an auditor verifies the chain of them."""

from __future__ import annotations

import json

import asyncpg
import pytest
from tests.unit.mc_ops.audit.conftest import LedgerUnderTest
from tests.unit.mc_ops.audit.test_signer_memory import _set_back

from mc_contract.canonical import canonical_json
from mc_contract.ledger.checkpoint import verify_checkpoint
from mc_contract.ledger.epochs import EpochError, LogName
from mc_contract.ledger.export import log_origin, verify_export
from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_ops.audit import Saved, load_checkpoint, prove, verify_epochs
from mc_ops.errors import UnusableInput
from mc_platform.adapters.postgres.epochs import NewEpoch, begin_epoch, logs_of, signed_notes
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.deliver.outbox import LogDelivered
from mc_platform.errors import LedgerDamaged, Misconfigured


class Restored(LedgerUnderTest):
    """A ledger of 50 entries with a signer that remembers, which a test sets back and goes on with."""

    def __init__(self, admin_url, loop, folder):
        super().__init__(admin_url, loop)
        self.signer = folder
        self.restart(SignerFile(folder, region=self.region))
        self.grow(20, 10)
        self.saved = folder / "saved.txt"
        self.saved.write_text(self.sign())
        self.grow(20)

    def go_back(self, size):
        """What a restore leaves: a database of `size` entries that no replica uses."""
        _set_back(self, size)
        self.close()

    def begin(self, restore="r-1", **more):
        known = signed_notes("test-1", self.public, self.signer, more.pop("files", []))
        new = NewEpoch(
            region="test-1",
            restore=restore,
            restored_to="2026-01-01T00:00:00+00:00",
            backup="b-1",
            report="",
            by="os-user:test",
            reason="disk lost",
            **more,
        )
        return self.loop.run(begin_epoch(self.owner_url, new, self.public, known))

    def go_on(self):
        self.reopen(self.loop.run(logs_of(self.service_url, "test-1")))
        self.restart(SignerFile(self.signer, region=self.region))

    def verify(self, **more):
        with self.client() as client:
            return verify_epochs(client, self.public, **more)

    def kinds(self, **more):
        return [[f.kind for f in report.findings] for report in self.verify(**more)]


@pytest.fixture
def restored(shared_ledger, tmp_path):
    made = Restored(shared_ledger.admin_url, shared_ledger.loop, tmp_path)
    yield made
    made.close()


def test_the_next_epoch_binds_how_the_former_log_ended_and_what_was_signed_last(restored):
    """Entry 0 names the log before it, its size and root, and the last signed checkpoint."""
    (restored.signer / "signer-other-1.note").write_text("another region's, by another key")
    restored.go_back(30)
    report = restored.begin()
    assert (report["epoch"], report["former"]["log"], report["former"]["size"]) == (2, "test-1", 30)
    signed = report["last_signed"]
    assert (signed["log"], signed["size"], signed["source"]) == ("test-1", 50, "signer")
    assert (report["began"], report["halted"], report["in_flight"]) == (True, True, [])
    restored.go_on()
    assert restored.region == "test-1/e2"
    restored.grow(5)
    newest, former = restored.verify()
    assert (newest.verified, newest.region, newest.size) == (True, "test-1/e2", 6)
    assert (former.verified, former.region, former.size) == (True, "test-1", 30)
    [notice] = [text for text in former.notices if "lost by the restore" in text]
    assert notice.startswith("20 entries of test-1 from 30 on were signed")
    note = (restored.signer / "signer-test-1.e2.note").read_text()
    assert verify_checkpoint(note, {log_origin("test-1/e2"): restored.public}).size == 6


def test_the_old_name_is_neither_continued_nor_signed(restored):
    """A replica of the old epoch, and the database itself, refuse to append to it."""
    before = (restored.signer / "signer-test-1.note").read_text()
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    old = PostgresJournal(restored.pools, region="test-1")
    with pytest.raises(LedgerDamaged, match="the log test-1 has ended"):
        restored.loop.run(old.start())
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="has ended"):
        restored.sql("UPDATE mc.ledger_head SET size = 31 WHERE region = 'test-1'")
    assert (restored.signer / "signer-test-1.note").read_text() == before


def test_a_repeat_of_the_same_restore_begins_nothing_and_another_begins_the_third(restored):
    """A restore that was interrupted after this step is resumed; each restore is an epoch."""
    restored.go_back(30)
    first = restored.begin()
    again = restored.begin()
    assert (again["began"], again["subject"]) == (False, first["subject"])
    assert restored.begin("r-2")["subject"] == "test-1/e3"
    restored.go_on()
    assert [report.region for report in restored.verify()] == ["test-1/e3", "test-1/e2", "test-1"]
    assert restored.kinds() == [[], [], []]


def test_an_epoch_that_was_lost_with_the_database_is_not_named_again(restored):
    """A second restore of the same old backup: its database knows of no e2, the signer does."""
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    restored.sign()
    restored.sql("ALTER TABLE mc.ledger_head DISABLE TRIGGER ended_log")
    for table in ("ledger_event", "ledger_id", "ledger_checkpoint", "ledger_head", "ledger_tile"):
        restored.sql(f"DELETE FROM mc.{table} WHERE region = 'test-1/e2'")
    restored.sql("UPDATE mc.ledger_head SET ended_at = NULL")
    restored.sql("ALTER TABLE mc.ledger_head ENABLE TRIGGER ended_log")
    restored.sql("TRUNCATE mc.ledger_epoch")
    restored.close()
    report = restored.begin("r-2")
    assert (report["subject"], report["former"]["log"]) == ("test-1/e3", "test-1")
    assert report["last_signed"]["log"] == "test-1/e2"
    restored.go_on()
    assert restored.kinds() == [[], []]
    [notice] = [text for text in restored.verify()[0].notices if "all of it is lost" in text]
    assert notice.startswith("test-1/e2 was signed up to size 1")


def _begin_by(restored, leaf):
    """Whoever has the database and the key makes e2 anew, with a first entry of his own, and signs it."""
    for table in ("ledger_checkpoint", "ledger_tile"):
        restored.sql(f"DELETE FROM mc.{table} WHERE region = 'test-1/e2'")
    (restored.signer / "signer-test-1.e2.note").unlink(missing_ok=True)
    restored.sql(
        "UPDATE mc.ledger_event SET leaf = $1, leaf_hash = $2, kind = $3 WHERE region = 'test-1/e2'",
        leaf,
        leaf_hash(leaf),
        json.loads(leaf)["kind"],
    )
    restored.sql(
        "UPDATE mc.ledger_head SET size = 1, frontier = $1 WHERE region = 'test-1/e2'",
        Frontier().append(leaf_hash(leaf)).to_bytes(),
    )
    restored.close()
    restored.go_on()


@pytest.mark.parametrize("former", [None, "test-1/e2", "test-1/e3", "test-2"])
def test_a_first_entry_that_hides_the_log_before_it_is_found(restored, former):
    """Entries of e1 cannot be made to vanish by an e2 that names no log, itself, or another region's."""
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    [row] = restored.sql("SELECT leaf FROM mc.ledger_event WHERE region = 'test-1/e2'")
    said = json.loads(row["leaf"])
    if former is None:
        said["kind"] = "policy.loaded"
    else:
        said["detail"]["former"]["log"] = former
    _begin_by(restored, canonical_json(said))
    [newest] = restored.kinds()
    assert newest == ["epoch-changed"]


def test_a_database_that_is_not_what_was_signed_begins_no_epoch(restored):
    """Entries that were changed before the restore are found against the signer's memory."""
    restored.sql(
        "UPDATE mc.ledger_event SET leaf = $1, leaf_hash = $2 WHERE index = 3",
        (leaf := canonical_json({"forged": 1})),
        leaf_hash(leaf),
    )
    restored.close()
    with pytest.raises(LedgerDamaged, match="are not what was signed"):
        restored.begin()
    restored.reopen(["test-1"])
    with pytest.raises(Misconfigured, match="sessions of replicas use the database"):
        restored.begin()


def test_checkpoints_kept_elsewhere_are_held_against_the_log_of_their_epoch(restored, tmp_path):
    """One that the restore kept agrees; one beyond the end is told, unless entry 0 owns up to it."""
    saved = Saved("kept.txt", load_checkpoint(restored.saved, restored.public))
    lost = tmp_path / "lost.txt"
    lost.write_text(restored.sign())
    late = Saved("lost.txt", load_checkpoint(lost, restored.public))
    restored.go_back(40)
    (restored.signer / "signer-test-1.note").unlink()  # the signer's memory went with the disk
    restored.begin()
    restored.go_on()
    assert restored.kinds(known=[saved]) == [[], []]
    assert restored.kinds(known=[late]) == [[], ["truncated"]]


def test_a_checkpoint_from_outside_is_named_as_the_last_one_signed(restored, tmp_path):
    """Where the signer's memory was lost, a file says more than the restored database."""
    lost = tmp_path / "witnessed.txt"
    lost.write_text(restored.sign())
    restored.go_back(40)
    (restored.signer / "signer-test-1.note").unlink()
    report = restored.begin(files=[lost])
    assert (report["last_signed"]["size"], report["last_signed"]["source"]) == (50, "file")
    restored.go_on()
    late = Saved("w", load_checkpoint(lost, restored.public))
    assert restored.kinds(known=[late]) == [[], []]


def _forge(ledger, region, index):
    leaf = canonical_json({"forged": index})
    ledger.sql(
        "UPDATE mc.ledger_event SET leaf = $3, leaf_hash = $4 WHERE region = $1 AND index = $2",
        region,
        index,
        leaf,
        leaf_hash(leaf),
    )


@pytest.mark.parametrize(
    ("tamper", "of"),
    [
        (lambda ledger: _forge(ledger, "test-1", 29), 1),
        (lambda ledger: _forge(ledger, "test-1/e2", 0), 0),
        (
            lambda ledger: ledger.sql(
                "DELETE FROM mc.ledger_event WHERE region = 'test-1' AND index = 29"
            ),
            1,
        ),
        (
            lambda ledger: ledger.sql(
                "UPDATE mc.ledger_event SET region = 'test-1', index = 30 "
                "WHERE region = 'test-1/e2' AND index = 3"
            ),
            1,
        ),
    ],
    ids=["the last entry of e1", "the first of e2", "cut off", "appended to e1"],
)
def test_what_is_changed_in_either_epoch_is_found(restored, tamper, of):
    """The newest log's checkpoint signs entry 0, and entry 0 binds the former log to its end."""
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    restored.grow(5)
    tamper(restored)
    assert restored.kinds()[of]


def test_an_event_of_a_former_epoch_is_proven_by_its_last_checkpoint(restored):
    """`audit prove --log`; a log that the region does not have is refused with those it has."""
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    with restored.client() as client:
        raw, _ = prove(client.of_log("test-1"), restored.public, "7")
        assert verify_export(raw, restored.public).region == "test-1"
        with pytest.raises(UnusableInput, match="none of this region's: test-1, test-1/e2"):
            list(client.of_log("other").entries(0))


def test_a_sink_gets_the_rest_of_the_former_log_before_the_new_one(restored):
    """Nothing that the backup holds and the SIEM lacks is left out; then the new log follows."""
    restored.go_back(30)
    restored.begin()
    restored.go_on()
    outbox = PostgresOutbox(restored.pools, region="test-1/e2", former=["test-1"])

    async def delivered():
        regions = []
        for _ in range(2):
            async with outbox.claim("siem") as claim:
                position = await claim.position()
                batch = await claim.read(position.next_index, 1000)
                regions += [item.leaf["region"] for item in batch]
                await claim.settle(batch[-1].index + 1, ())
                try:
                    await claim.hold()
                except LogDelivered as error:
                    regions.append(f"end of {error}")
        return regions, await outbox.standing("siem")

    regions, standing = restored.loop.run(delivered())
    assert regions == ["test-1"] * 30 + ["end of test-1"] + ["test-1/e2"]
    assert (standing.size, standing.waiting) == (1, 0)


@pytest.mark.parametrize("text", ["", "A", "local-1/e1", "local-1/e02", "local-1/2", "l/e2/e3"])
def test_a_name_that_no_log_has_is_refused(text):
    """Epoch 1 has one spelling: the region's name."""
    with pytest.raises(EpochError, match="not the name of a log"):
        LogName.parse(text)
    assert [str(LogName("local-1", n)) for n in (1, 2)] == ["local-1", "local-1/e2"]
