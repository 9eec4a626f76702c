"""This region as a witness: whatever comes, it never cosigns two histories of one log."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.merkle_proofs import consistency_proof

from mc_contract.ledger.checkpoint import ED25519, Checkpoint, sign_checkpoint
from mc_contract.ledger.cosignature import VerifierKey, cosign, cosignatures
from mc_contract.ledger.merkle import leaf_hash, tree_root
from mc_platform.adapters.signer_file import SignerFile
from mc_platform.errors import (
    BadRequest,
    Inconsistent,
    LedgerDamaged,
    NotFound,
    NotTrusted,
    OtherSize,
    PlatformError,
    Unavailable,
)
from mc_platform.record import LogWitness, ProcessMemory
from mc_platform.record.witness_wire import submission_body

ORIGIN = "example.com/log"
LOG_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = VerifierKey(ORIGIN, ED25519, LOG_KEY.public_key())
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
HONEST = [leaf_hash(b"%d" % number) for number in range(40)]
FORKED = [*HONEST[:5], *(leaf_hash(b"forged %d" % number) for number in range(35))]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class MemoryStore:
    """A `WitnessStore` in memory: what is kept in a turn stands when it ends without an error."""

    def __init__(self) -> None:
        self.notes: dict[tuple[str, str], str] = {}
        self.fails = False
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, key_id: str, origin: str) -> AsyncIterator[MemoryStore.Turn]:
        async with self._lock:
            turn = MemoryStore.Turn(self.notes.get((key_id, origin)))
            await asyncio.sleep(0)
            yield turn
            if self.fails:
                raise Unavailable("the commit failed")
            if turn.kept is not None:
                self.notes[key_id, origin] = turn.kept

    class Turn:
        def __init__(self, note: str | None) -> None:
            self.note = note
            self.kept: str | None = None

        async def keep(self, size: int, note: str) -> None:
            self.kept = note


def _witness(store: MemoryStore, memory=None, now: datetime = NOW) -> LogWitness:
    kept = memory or ProcessMemory()
    return LogWitness(
        name="example.com/w1",
        key=KEY,
        logs={ORIGIN: [LOG]},
        store=store,
        memory=lambda _: kept,
        clock=lambda: now,
    )


def _note(size: int, leaves=HONEST, key=LOG_KEY, origin: str = ORIGIN) -> str:
    return sign_checkpoint(Checkpoint(origin, size, tree_root(leaves[:size])), ORIGIN, key)


def _body(old: int, size: int, leaves=HONEST, **more) -> bytes:
    proof = consistency_proof(leaves, old, size) if 0 < old < size else ()
    return submission_body(old, proof, _note(size, leaves, **more))


def _add(witness: LogWitness, old: int, size: int, leaves=HONEST) -> str:
    return asyncio.run(witness.add_checkpoint(_body(old, size, leaves)))


def test_a_log_that_grows_is_cosigned_and_its_cosignature_verifies() -> None:
    witness = _witness(MemoryStore())
    for old, size in ((0, 3), (3, 3), (3, 20), (20, 40)):
        line = _add(witness, old, size)
        [found] = cosignatures(_note(size) + line, [witness.own])
        assert found.at == NOW


def test_a_rollback_and_a_fork_are_refused_with_the_protocols_answers() -> None:
    """409 tells the size; a proof from there that does not verify is 422, and nothing changes."""
    store = MemoryStore()
    witness = _witness(store)
    _add(witness, 0, 20)
    before = dict(store.notes)
    with pytest.raises(OtherSize) as other:
        _add(witness, 0, 10)
    assert other.value.size == 20
    with pytest.raises(OtherSize):
        _add(witness, 10, 20)
    with pytest.raises(Inconsistent):
        _add(witness, 20, 30, FORKED)
    with pytest.raises(OtherSize, match="forked") as same:
        _add(witness, 20, 20, FORKED)
    assert same.value.size == 20
    assert store.notes == before
    _add(witness, 20, 30)


def test_who_is_not_known_is_refused() -> None:
    witness = _witness(MemoryStore())
    for body, error in (
        (_body(0, 3, origin="example.com/other"), NotFound),
        (_body(0, 3, key=KEY), NotTrusted),
    ):
        with pytest.raises(error):
            asyncio.run(witness.add_checkpoint(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0",
        b"old 0\n\n",
        b"old 00\n\n" + _note(3).encode(),
        b"old -1\n\n" + _note(3).encode(),
        b"old 4\n\n" + _note(3).encode(),
        b"old 99999999999999999999\n\n" + _note(3).encode(),
        b"old 1\nAAAA\n\n" + _note(3).encode(),
        b"old 1\n!!!!\n\n" + _note(3).encode(),
        b"old 1\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n" + _note(3).encode(),
        b"old 0\n\n" + _note(3).encode().replace(b"\n3\n", b"\n9300000000000000000\n"),
        b"old 0\n\n\xff\xfe",
        b"old 0\r\n\r\n" + _note(3).encode(),
    ],
)
def test_what_is_no_request_is_refused_before_anything_is_looked_up(body: bytes) -> None:
    with pytest.raises(BadRequest):
        asyncio.run(_witness(MemoryStore()).add_checkpoint(body))


def test_a_proof_from_nothing_must_be_empty() -> None:
    body = submission_body(0, [bytes(32)], _note(3))
    with pytest.raises(Inconsistent):
        asyncio.run(_witness(MemoryStore()).add_checkpoint(body))


async def test_of_two_at_once_that_fork_one_is_cosigned() -> None:
    """The race of the specification: neither a fork nor a rollback gets through."""
    store = MemoryStore()
    witnesses = [_witness(store), _witness(store)]  # two replicas
    await witnesses[0].add_checkpoint(_body(0, 10))
    asked = [
        (witnesses[n % 2], _body(10, size, leaves))
        for n, (size, leaves) in enumerate([(20, HONEST), (30, HONEST), (20, HONEST), (25, HONEST)])
    ]
    ends = await asyncio.gather(
        *(witness.add_checkpoint(body) for witness, body in asked), return_exceptions=True
    )
    cosigned = [end for end in ends if isinstance(end, str)]
    assert len(cosigned) == 1
    assert all(isinstance(end, OtherSize) for end in ends if not isinstance(end, str))


def test_a_crash_between_file_and_database_leaves_the_larger_one(tmp_path: Path) -> None:
    """The file is written first: what it holds was never given away, and counts all the same."""
    store = MemoryStore()
    witness = _witness(store, SignerFile(tmp_path, region="b", name="witness"))
    _add(witness, 0, 10)
    store.fails = True
    with pytest.raises(Unavailable):
        _add(witness, 10, 20)
    store.fails = False
    again = _witness(store, SignerFile(tmp_path, region="b", name="witness"))
    with pytest.raises(OtherSize) as other:
        _add(again, 10, 15, FORKED)
    assert other.value.size == 20
    _add(again, 20, 30)


@pytest.mark.parametrize("restored", ["emptied", "older"])
def test_a_database_restored_from_an_older_disk_does_not_roll_back(
    tmp_path: Path, restored: str
) -> None:
    store = MemoryStore()
    witness = _witness(store, SignerFile(tmp_path, region="b", name="witness"))
    _add(witness, 0, 10)
    older = dict(store.notes)
    _add(witness, 10, 30)
    store.notes = {} if restored == "emptied" else older
    for old, size in ((0, 5), (10, 20)):
        with pytest.raises(OtherSize) as other:
            _add(witness, old, size, FORKED)
        assert other.value.size == 30
    _add(witness, 30, 40)


def test_a_lost_file_leaves_the_database_to_count() -> None:
    store = MemoryStore()
    _add(_witness(store), 0, 30)
    with pytest.raises(OtherSize):
        _add(_witness(store), 0, 20)


def test_who_owns_the_database_cannot_write_what_was_cosigned() -> None:
    """A row without this witness's own cosignature stops it, rather than to be believed."""
    store = MemoryStore()
    witness = _witness(store)
    _add(witness, 0, 10)
    [place] = store.notes
    for forged in (
        _note(30, FORKED),
        _note(30, FORKED)
        + cosign("x\n", witness.own.name, Ed25519PrivateKey.generate(), 1_700_000_000),
        "nothing",
    ):
        store.notes[place] = forged
        with pytest.raises(LedgerDamaged, match="cannot be used"):
            _add(witness, 30, 40, FORKED)


def test_a_clock_that_went_back_dates_no_larger_tree_before_a_smaller_one() -> None:
    store = MemoryStore()
    _add(_witness(store), 0, 10)
    line = _add(_witness(store, now=NOW - timedelta(hours=1)), 10, 20)
    [found] = cosignatures(_note(20) + line, [_witness(store).own])
    assert found.at == NOW


SUBMISSIONS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(1, 40),
        st.sampled_from(["honest", "forked"]),
        st.sampled_from(["", "database lost", "memory lost", "commit fails"]),
    ),
    max_size=12,
)


@given(SUBMISSIONS)
def test_whatever_comes_all_that_was_cosigned_is_one_history(submissions) -> None:
    """The law of a witness, as long as not both of its memories are lost at once."""
    store, memory = MemoryStore(), ProcessMemory()
    cosigned: list[tuple[int, bytes]] = []
    for old, size, which, mishap in submissions:
        leaves = HONEST if which == "honest" else FORKED
        if mishap == "memory lost" and store.notes:
            memory = ProcessMemory()
        if mishap == "database lost" and asyncio.run(memory.last()) is not None:
            store.notes = {}
        store.fails = mishap == "commit fails"
        with suppress(PlatformError):
            _add(_witness(store, memory), min(old, size), size, leaves)
            cosigned.append((size, tree_root(leaves[:size])))
    sizes = [size for size, _ in cosigned]
    assert sizes == sorted(sizes)
    histories = [
        all(tree_root(leaves[:size]) == root for size, root in cosigned)
        for leaves in (HONEST, FORKED)
    ]
    assert any(histories)


def test_who_repeats_a_signature_line_does_not_spoil_what_is_kept() -> None:
    """Whoever has one signed checkpoint can send its line a hundred times; the log is witnessed on."""
    witness = _witness(MemoryStore())
    text, _, line = _note(3).rpartition("\n\n")
    repeated = f"{text}\n\n{line * 100}"
    asyncio.run(witness.add_checkpoint(submission_body(0, (), repeated)))
    later = _add(witness, 3, 20)
    assert cosignatures(_note(20) + later, [witness.own])


def test_an_empty_log_has_one_root() -> None:
    """Two trees of size 0 would be two histories, and both continue from nothing."""
    witness = _witness(MemoryStore())
    forged = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), ORIGIN, LOG_KEY)
    with pytest.raises(BadRequest, match="empty log has one root"):
        asyncio.run(witness.add_checkpoint(submission_body(0, (), forged)))
    assert _add(witness, 0, 0)


def test_a_log_that_is_named_later_is_witnessed_without_a_restart() -> None:
    """As the next epoch of a restored region: asked for it, the witness looks who is named by now."""
    named: dict[str, list[VerifierKey]] = {}
    witness = LogWitness(
        name="example.com/w1",
        key=KEY,
        logs={},
        store=MemoryStore(),
        memory=lambda _: ProcessMemory(),
        clock=lambda: NOW,
        look_again=lambda: dict(named),
    )
    with pytest.raises(NotFound):
        _add(witness, 0, 3)
    named[ORIGIN] = [LOG]
    assert _add(witness, 0, 3).startswith("\u2014 example.com/w1 ")
    named.clear()  # who is known is not looked for again
    assert _add(witness, 3, 5)
