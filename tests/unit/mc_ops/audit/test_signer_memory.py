"""A database administrator against the signer: nothing that contradicts what it signed is signed."""

from __future__ import annotations

import asyncio

import pytest

from mc_contract.canonical import canonical_json
from mc_contract.ledger.export import verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_ops.audit import verify_log
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.errors import LedgerDamaged, Unavailable
from mc_platform.record import CheckpointKeeper


def _kinds(ledger):
    with ledger.client() as client:
        return [finding.kind for finding in verify_log(client, ledger.public).findings]


def _set_back(ledger, size):
    """Remove the entries from `size` on, wherever they are told of, and set the head back."""
    for table in ("ledger_event", "ledger_id"):
        ledger.sql(f"DELETE FROM mc.{table} WHERE index >= $1", size)
    ledger.sql("DELETE FROM mc.ledger_checkpoint WHERE size > $1", size)
    ledger.sql("DELETE FROM mc.ledger_tile WHERE (index + 1) * 256 * 256 ^ level > $1", size)
    _make_consistent(ledger)


def _make_consistent(ledger):
    frontier = Frontier()
    for row in ledger.sql("SELECT leaf_hash FROM mc.ledger_event ORDER BY index"):
        frontier = frontier.append(row["leaf_hash"])
    ledger.sql(
        "UPDATE mc.ledger_head SET size = $1, frontier = $2", frontier.size, frontier.to_bytes()
    )


def _rewrite(ledger, index):
    """Change an entry in the middle with all that is derived from it."""
    leaf = canonical_json({"forged": index})
    ledger.sql(
        "UPDATE mc.ledger_event SET leaf = $2, leaf_hash = $3 WHERE index = $1",
        index,
        leaf,
        leaf_hash(leaf),
    )
    ledger.sql("DELETE FROM mc.ledger_tile")
    ledger.sql("DELETE FROM mc.ledger_checkpoint")
    _make_consistent(ledger)
    ledger.keep_tiles()


def _replace_by_a_longer_one(ledger):
    """Another history of the same events' number and more, written by another process."""
    _set_back(ledger, 0)
    ledger.journal._committed = 0, Frontier().to_bytes()
    ledger.record(900)
    ledger.keep_tiles()


ATTACKS = {
    "set back": lambda ledger: _set_back(ledger, 500),
    "emptied": lambda ledger: _set_back(ledger, 0),
    "rewritten in the middle": lambda ledger: _rewrite(ledger, 300),
    "replaced by a longer one": _replace_by_a_longer_one,
}


@pytest.fixture
def kept(ledger, tmp_path):
    """A ledger of 800 entries whose signer remembers in a file."""
    ledger.restart(SignerFile(tmp_path, region=ledger.region))
    ledger.grow(500, 300)
    return ledger


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_signed_of_a_log_that_is_not_the_one_signed_before(
    kept, tmp_path, attack, restarted
):
    """While it runs and after a restart of all: refused, told by verify, and recording stops."""
    before = (tmp_path / "signer-test-1.note").read_text()
    ATTACKS[attack](kept)
    if restarted:
        kept.restart(SignerFile(tmp_path, region=kept.region))
    for _ in range(2):
        with pytest.raises(LedgerDamaged, match="the ledger's signer refuses"):
            kept.loop.run(kept.checkpoints.store())
    assert kept.checkpoints.refusal is not None
    with pytest.raises(LedgerDamaged):
        kept.checkpoints.require_sound()
    assert (tmp_path / "signer-test-1.note").read_text() == before
    assert "signer-refused" in _kinds(kept)
    sizes = [row["size"] for row in kept.sql("SELECT size FROM mc.ledger_checkpoint")]
    assert all(size in (500, 800) for size in sizes)  # nothing new was stored


def test_a_log_that_is_given_back_is_signed_again(kept):
    """The refusal lasts as long as its reason."""
    [head] = kept.sql("SELECT * FROM mc.ledger_head")
    kept.sql("UPDATE mc.ledger_head SET size = 0, frontier = $1", Frontier().to_bytes())
    with pytest.raises(LedgerDamaged):
        kept.sign()
    kept.sql("UPDATE mc.ledger_head SET size = $1, frontier = $2", head["size"], head["frontier"])
    kept.record(1)
    assert verify_log_checkpoint(kept.sign(), kept.public).size == 801
    kept.checkpoints.require_sound()


def test_recording_stops_where_the_log_went_back_behind_what_was_committed(kept):
    """Before the signer has looked, the writer itself knows what it committed."""
    _set_back(kept, 500)
    with pytest.raises(LedgerDamaged, match="committed entry 799, the log has 500 entries"):
        kept.record(1)
    assert kept.sql("SELECT size FROM mc.ledger_head")[0]["size"] == 500


@pytest.mark.parametrize("stored", [True, False])
def test_a_lost_file_is_taken_up_from_what_is_stored_and_told(kept, tmp_path, stored):
    """The stored checkpoints stand for it; they still speak against a shorter log."""
    (tmp_path / "signer-test-1.note").unlink()
    if not stored:
        kept.sql("DELETE FROM mc.ledger_checkpoint")
    told = []
    kept.restart(SignerFile(tmp_path, region=kept.region))

    async def tell(known):
        told.append(known.size)

    kept.checkpoints._on_rebuilt = tell
    kept.record(1)
    kept.sign()
    assert told == [800 if stored else 801]
    kept.record(1)
    kept.sign()
    assert len(told) == 1
    assert (tmp_path / "signer-test-1.note").exists()


def test_a_lost_file_does_not_help_against_stored_checkpoints(kept, tmp_path):
    """Entries and head set back, the file gone: a stored checkpoint is larger than the log."""
    (tmp_path / "signer-test-1.note").unlink()
    kept.sql("DELETE FROM mc.ledger_event WHERE index >= 500")
    _make_consistent(kept)
    kept.restart(SignerFile(tmp_path, region=kept.region))
    with pytest.raises(LedgerDamaged, match="800 entries were signed, the log has 500"):
        kept.sign()


def test_the_first_start_of_an_empty_log_is_no_loss(ledger, tmp_path):
    """Nothing was signed, so nothing is missing."""
    told = []
    ledger.restart(SignerFile(tmp_path, region=ledger.region))

    async def tell(known):
        told.append(known)

    ledger.checkpoints._on_rebuilt = tell
    ledger.loop.run(ledger.checkpoints.begin())
    ledger.grow(3, 3)
    assert told == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"test\n1\n", b"x" * 100_000],
    ids=["empty", "bytes", "no", "long"],
)
def test_a_file_that_holds_no_note_of_ours_is_not_passed_over(kept, tmp_path, content):
    """It was not torn by a crash: it is replaced whole. So somebody or a disk did it."""
    (tmp_path / "signer-test-1.note").write_bytes(content)
    with pytest.raises(LedgerDamaged, match="holds no checkpoint of this log"):
        kept.sign()


def test_another_logs_note_is_not_ours(kept, tmp_path):
    """Not a note of another key, and not one of another region."""
    path = tmp_path / "signer-test-1.note"
    other = CheckpointKeeper(
        region="other-1",
        keys=[kept.key],
        log=kept.journal,
        proof=kept.prover.consistency,
        memory=SignerFile(tmp_path, region="other-1"),
        interval_s=1,
    )
    kept.loop.run(other.current())
    path.write_text((tmp_path / "signer-other-1.note").read_text())
    with pytest.raises(LedgerDamaged, match="holds no checkpoint of this log"):
        kept.sign()


def test_a_folder_that_cannot_be_written_signs_nothing(ledger, tmp_path):
    """What could not be remembered is not signed."""
    (tmp_path / "file").write_text("")
    ledger.restart(SignerFile(tmp_path / "file", region=ledger.region))
    ledger.record(1)
    with pytest.raises(LedgerDamaged, match=r"signer-test-1\.note cannot be"):
        ledger.sign()


def test_replicas_share_one_memory(kept, tmp_path):
    """Signing at the same time while the log grows: one chain, and nobody is refused."""
    memories = [SignerFile(tmp_path, region=kept.region) for _ in range(3)]
    keepers = [
        CheckpointKeeper(
            region=kept.region,
            keys=[kept.key],
            log=kept.journal,
            proof=kept.prover.consistency,
            memory=memory,
            interval_s=1,
        )
        for memory in memories
    ]

    async def work():
        async def one(keeper):
            return [
                verify_log_checkpoint(await keeper.current(), kept.public).size for _ in "12345"
            ]

        return await asyncio.gather(*(one(keeper) for keeper in keepers))

    for _ in range(3):
        kept.record(2)
        sizes = kept.loop.run(work())
        assert all(each == sorted(each) for each in sizes)
    note = (tmp_path / "signer-test-1.note").read_text()
    assert verify_log_checkpoint(note, kept.public).size == 806
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "signer-test-1.lock",
        "signer-test-1.note",
    ]


def test_a_memory_that_another_holds_for_long_postpones_and_alarms_nobody(kept, tmp_path):
    """A stopped replica that has the lock: try again later."""
    memory = SignerFile(tmp_path, region=kept.region)
    memory._wait_s = 0.0
    kept.restart(memory)
    kept.record(1)
    with SignerFile(tmp_path, region=kept.region)._locked(), pytest.raises(Unavailable) as raised:
        kept.sign()
    assert not isinstance(raised.value, LedgerDamaged)
    assert kept.checkpoints.refusal is None
    kept.sign()


def test_many_who_ask_at_once_share_a_signature(kept):
    """Strangers may ask for the head: what that costs is bounded."""
    asked = []
    proof = kept.checkpoints._proof

    async def counted(first, second):
        asked.append((first, second))
        return await proof(first, second)

    kept.checkpoints._proof = counted
    kept.record(1)

    async def work():
        return await asyncio.gather(*(kept.checkpoints.current() for _ in range(50)))

    notes = set(kept.loop.run(work()))
    assert len(notes) == 1
    assert len(asked) <= 2


def test_each_note_begins_the_next(kept):
    """From one signature to the next and to each stored one: RFC 6962, whatever the sizes."""
    for count in (1, 1, 255, 1, 300, 7):
        kept.record(count)
        kept.sign()
    assert _kinds(kept) == []
