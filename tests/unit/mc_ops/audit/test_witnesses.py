"""A ledger rewritten by who has its database and its key: without a witness it verifies, with one not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_contract.canonical import canonical_json
from mc_contract.ledger.checkpoint import ED25519
from mc_contract.ledger.cosignature import COSIGNATURE, VerifierKey, cosign
from mc_contract.ledger.export import log_origin, verify_export, verify_log_checkpoint
from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_ops.audit import demand, export_tenant, prove, verify_log
from mc_ops.errors import Finding, UnusableInput
from mc_platform.adapters.postgres.witnessing import PostgresWitnessStore
from mc_platform.errors import NotFound, OtherSize, PeerFailed, PlatformError
from mc_platform.model.reply import Reply
from mc_platform.observe import metrics
from mc_platform.record import Cosigner, LogWitness, ProcessMemory, Witness
from mc_platform.record.witness_wire import SIZE_TYPE, read_submission

Answer = Callable[[bytes], Any]


class Peer:
    """Another region's witness, in its own database's place; or what a test lets it answer."""

    def __init__(self, ledger: Any, name: str) -> None:
        self.ledger, self.name = ledger, name
        self.key = Ed25519PrivateKey.generate()
        self.log = VerifierKey(log_origin(ledger.region), ED25519, ledger.public)
        self.asked: list[bytes] = []
        self.answers: Answer | None = None
        memory = ProcessMemory()
        self.witness = LogWitness(
            name=f"example.com/{name}",
            key=self.key,
            logs={self.log.name: [self.log]},
            store=PostgresWitnessStore(ledger.pools),
            memory=lambda _: memory,
            clock=lambda: datetime.now(UTC),
        )
        self.own = VerifierKey(f"example.com/{name}", COSIGNATURE, self.key.public_key())

    async def add_checkpoint(self, body: bytes) -> Reply:
        self.asked.append(body)
        if self.answers is not None:
            answered = self.answers(body)
            if isinstance(answered, Exception):
                raise answered
            if isinstance(answered, Reply):
                return answered
        try:
            line = await self.witness.add_checkpoint(body)
        except OtherSize as error:
            return Reply(409, {"content-type": SIZE_TYPE}, f"{error.size}\n".encode())
        except PlatformError as error:
            return Reply(error.http_status, {}, b"{}")
        return Reply(200, {}, line.encode())


class Witnesses:
    """A ledger's cosigner, and the peers that it asks."""

    def __init__(self, ledger: Any, *names: str, optional: tuple[str, ...] = ()) -> None:
        self.ledger = ledger
        self.peers = {name: Peer(ledger, name) for name in names}
        self.cosigner = Cosigner(
            [
                Witness(name, f"http://{name}", peer.own, name not in optional)
                for name, peer in self.peers.items()
            ],
            checkpoint=self._checkpoint,
            proof=ledger.prover.consistency,
            store=ledger.cosigned,
            post=self._post,
            clock=lambda: datetime.now(UTC),
            interval_s=0.0,
        )

    async def _checkpoint(self) -> str:
        note: str = await self.ledger.checkpoints.plain()
        return note

    async def _post(self, url: str, body: bytes) -> Reply:
        name = url.removeprefix("http://").removesuffix("/add-checkpoint")
        return await self.peers[name].add_checkpoint(body)

    def look(self) -> None:
        self.ledger.loop.run(self.cosigner.look())

    def demand(self, require: int = 1) -> Any:
        return demand([peer.own.text for peer in self.peers.values()], require)

    def verify(self, require: int = 1, **more: Any) -> Any:
        with self.ledger.client() as client:
            return verify_log(client, self.ledger.public, wanted=self.demand(require), **more)

    def count(self, name: str, status: str) -> float:
        return metrics.ledger_cosignatures.labels(name, status)._value.get()


def _rewrite(ledger: Any, index: int) -> None:
    """As who owns the database and has the ledger's key: all that is derived is made anew."""
    said = json.loads(_leaf(ledger, index))
    leaf = canonical_json({**said, "detail": {**said["detail"], "reason": "forged"}})
    ledger.sql(
        "UPDATE mc.ledger_event SET leaf = $2, leaf_hash = $3 WHERE index = $1",
        index,
        leaf,
        leaf_hash(leaf),
    )
    ledger.sql("DELETE FROM mc.ledger_tile")
    ledger.sql("DELETE FROM mc.ledger_checkpoint")
    frontier = Frontier()
    for row in ledger.sql("SELECT leaf_hash FROM mc.ledger_event ORDER BY index"):
        frontier = frontier.append(row["leaf_hash"])
    ledger.sql(
        "UPDATE mc.ledger_head SET size = $1, frontier = $2", frontier.size, frontier.to_bytes()
    )
    ledger.restart()  # and the signer's memory is gone with the disk
    ledger.sign()
    ledger.keep_tiles()


def _leaf(ledger: Any, index: int) -> bytes:
    [row] = ledger.sql("SELECT leaf FROM mc.ledger_event WHERE index = $1", index)
    leaf: bytes = row["leaf"]
    return leaf


def _kinds(report: Any) -> list[str]:
    return [finding.kind for finding in report.findings]


@pytest.fixture
def witnessed(ledger):
    """A ledger of 300 entries that two peers have cosigned."""
    made = Witnesses(ledger, "peer", "other")
    ledger.grow(200, 100)
    made.look()
    return made


def test_a_grown_log_is_cosigned_by_each_and_published_with_both(witnessed):
    """At one size, so that a demand of two can be met; and nobody is asked twice for the same."""
    note = witnessed.ledger.loop.run(witnessed.cosigner.newest())
    assert verify_log_checkpoint(note, witnessed.ledger.public).size == 300
    found = witnessed.demand(2).cosigned(note)
    assert {one.witness.name for one in found} == {"example.com/peer", "example.com/other"}
    asked = len(witnessed.peers["peer"].asked)
    witnessed.look()
    assert len(witnessed.peers["peer"].asked) == asked
    witnessed.ledger.grow(50)
    witnessed.look()
    assert len(witnessed.peers["peer"].asked) == asked + 1  # the size is remembered: no 409
    report = witnessed.verify(2)
    assert (report.verified, report.witnessed.checkpoint.size) == (True, 350)


def test_who_rewrote_the_log_with_the_real_key_is_caught_by_somebody_else(witnessed):
    """The whole story: it verifies alone; not with a witness; and the witness refuses what follows."""
    _rewrite(witnessed.ledger, 20)
    with witnessed.ledger.client() as client:
        assert verify_log(client, witnessed.ledger.public).verified
    report = witnessed.verify(1)
    assert _kinds(report) == ["root-differs"]
    assert not report.verified
    for name in witnessed.peers:
        assert witnessed.count(name, "forked") == 0
    witnessed.ledger.grow(10)
    before = {name: witnessed.count(name, "forked") for name in witnessed.peers}
    witnessed.look()
    for name in witnessed.peers:
        assert witnessed.count(name, "forked") == before[name] + 1
        assert metrics.ledger_witness_conflict.labels(name)._value.get() == 1
    assert len(witnessed.ledger.sql("SELECT FROM mc.ledger_cosigned")) == 2  # nothing new


def test_deleting_what_was_cosigned_does_not_help(witnessed):
    """Without cosignatures there is nothing to be trusted, and that is a finding."""
    _rewrite(witnessed.ledger, 20)
    witnessed.ledger.sql("DELETE FROM mc.ledger_cosigned")
    assert _kinds(witnessed.verify(1)) == ["not-witnessed"]
    witnessed.look()  # the witness names its size, and refuses what does not continue it
    assert _kinds(witnessed.verify(1)) == ["not-witnessed"]


def test_a_log_that_was_set_back_is_told_by_the_witness(witnessed):
    """A backup was restored, and the signer's memory with it: the witness has cosigned more."""
    ledger = witnessed.ledger
    for table in ("ledger_event", "ledger_id"):
        ledger.sql(f"DELETE FROM mc.{table} WHERE index >= 250")
    ledger.sql("DELETE FROM mc.ledger_tile")
    ledger.sql("DELETE FROM mc.ledger_checkpoint WHERE size > 200")
    ledger.sql("DELETE FROM mc.ledger_cosigned")
    frontier = Frontier()
    for row in ledger.sql("SELECT leaf_hash FROM mc.ledger_event ORDER BY index"):
        frontier = frontier.append(row["leaf_hash"])
    ledger.sql("UPDATE mc.ledger_head SET size = $1, frontier = $2", 250, frontier.to_bytes())
    ledger.restart()
    before = witnessed.count("peer", "set_back")
    witnessed.look()
    assert witnessed.count("peer", "set_back") == before + 1
    assert metrics.ledger_witness_conflict.labels("peer")._value.get() == 1


def test_what_is_not_covered_by_a_cosigned_checkpoint_is_told_when_it_is_old(witnessed):
    """Else who rewrites only the newest entries would keep the last cosigned ones, for ever."""
    witnessed.ledger.grow(20)
    now = datetime.now(UTC)
    assert witnessed.verify(1, cosigned_since=now - timedelta(hours=1)).verified
    late = witnessed.verify(1, cosigned_since=now + timedelta(hours=1))
    assert _kinds(late) == ["witnessed-late"]
    witnessed.look()
    assert witnessed.verify(1, cosigned_since=now + timedelta(hours=1)).verified  # all is covered


def test_a_cosignature_of_somebody_else_or_planted_counts_for_nothing(witnessed):
    """The database's owner can write any row; none of them verifies."""
    ledger = witnessed.ledger
    _rewrite(ledger, 20)
    note = ledger.loop.run(ledger.checkpoints.plain())
    text = note.partition("\n\n")[0] + "\n"
    forger = Ed25519PrivateKey.generate()
    for number, name in enumerate(("example.com/peer", "example.com/forger")):
        line = cosign(text, name, forger, 1_700_000_000)
        ledger.sql(
            "INSERT INTO mc.ledger_cosigned (region, size, witness, note, cosigned_at) "
            "VALUES ('test-1', $1, $2, $3, now())",
            300 + number,
            f"x{number}",
            note + line,
        )
    assert _kinds(witnessed.verify(1)) == ["root-differs"]  # by the honest one of before


def test_exports_and_proofs_carry_the_cosigned_checkpoint(witnessed):
    """They verify as before, and whoever demands witnesses finds them in the file."""
    ledger = witnessed.ledger
    ledger.grow(10)  # not cosigned: not in them
    parts: list[bytes] = []
    with ledger.client() as client:
        exported = export_tenant(
            client,
            ledger.public,
            parts.append,
            tenant="TENANT_001",
            since="2020-01-01T00:00:00+00:00",
            until="",
            wanted=witnessed.demand(2),
        )
        raw, proven = prove(client, ledger.public, "7", witnessed.demand(2))
        with pytest.raises(UnusableInput):
            prove(client, ledger.public, "305", witnessed.demand(2))
    assert (exported.entries, exported.checkpoint.size) == (300, 300)
    for found in (verify_export(b"".join(parts), ledger.public), proven):
        assert len(witnessed.demand(2).cosigned(found.note)) == 2
    assert verify_export(raw, ledger.public).leaves[0]["index"] == 7


def test_more_witnesses_than_have_cosigned_are_refused(ledger):
    made = Witnesses(ledger, "peer", "other", optional=("other",))
    made.peers["other"].answers = lambda _: PeerFailed("down", asked=False)
    ledger.grow(30)
    made.look()
    assert made.verify(1).verified
    assert _kinds(made.verify(2)) == ["not-witnessed"]
    assert verify_log_checkpoint(ledger.loop.run(made.cosigner.newest()), ledger.public).size == 30
    with ledger.client() as client, pytest.raises(Finding, match="has 2 cosignatures"):
        prove(client, ledger.public, "7", made.demand(2))


def test_what_a_required_witness_has_not_cosigned_is_not_published(ledger):
    made = Witnesses(ledger, "peer", "other")
    made.peers["other"].answers = lambda _: PeerFailed("down", asked=False)
    ledger.grow(30)
    made.look()
    with pytest.raises(NotFound):
        ledger.loop.run(made.cosigner.newest())
    assert made.count("other", "unreachable") > 0
    gauge = metrics.ledger_uncosigned_since
    assert gauge.labels("peer", "yes")._value.get() == 0
    assert gauge.labels("other", "yes")._value.get() > 1_700_000_000


def _signed_by_another(body: bytes) -> Reply:
    line = cosign(
        read_submission(body).text, "example.com/peer", Ed25519PrivateKey.generate(), 1_700_000_000
    )
    return Reply(200, {}, line.encode())


HOSTILE: dict[str, tuple[Answer, str]] = {
    "no cosignature": (lambda _: Reply(200, {}, b""), "invalid"),
    "another's key": (_signed_by_another, "invalid"),
    "no text": (lambda _: Reply(200, {}, b"\xff\xfe\x00"), "invalid"),
    "another checkpoint": (lambda _: Reply(200, {}, b"example.com/log\n1\nAAAA\n"), "invalid"),
    "a redirect": (lambda _: Reply(302, {}, b""), "refused"),
    "unknown log": (lambda _: Reply(404, {}, b""), "refused"),
    "busy": (lambda _: Reply(429, {}, b""), "unreachable"),
    "broken": (lambda _: Reply(500, {}, b""), "unreachable"),
    "409 without its type": (lambda _: Reply(409, {}, b"3\n"), "unreachable"),
    "409 with no size": (
        lambda _: Reply(409, {"content-type": SIZE_TYPE}, b"9" * 40 + b"\n"),
        "unreachable",
    ),
    "409 again and again": (
        lambda body: Reply(
            409, {"content-type": SIZE_TYPE}, f"{read_submission(body).old + 1}\n".encode()
        ),
        "unreachable",
    ),
    "silent": (lambda _: PeerFailed("no whole answer came in 5 s", asked=True), "unreachable"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_or_broken_witness_gets_nothing_stored_and_holds_nothing(ledger, what):
    """Neither the other witness nor the signer waits for it, or believes it."""
    made = Witnesses(ledger, "peer", "other")
    answers, status = HOSTILE[what]
    made.peers["peer"].answers = answers
    ledger.grow(30)
    before = made.count("peer", status)
    made.look()
    assert made.count("peer", status) == before + 1
    assert [r["witness"] for r in ledger.sql("SELECT witness FROM mc.ledger_cosigned")] == ["other"]
    assert len(made.peers["peer"].asked) <= 2
    assert metrics.ledger_witness_conflict.labels("peer")._value.get() == 0
    made.peers["peer"].answers = None
    ledger.grow(1)
    made.look()
    assert made.verify(2).verified


def test_two_replicas_that_ask_at_once_do_no_harm(ledger):
    """The second is told so by the witness, and no alarm is raised."""
    made = Witnesses(ledger, "peer")
    ledger.grow(30)

    async def both() -> None:
        await asyncio.gather(made.cosigner.look(), made.cosigner.look())

    for _ in range(3):
        ledger.grow(7)
        ledger.loop.run(both())
    assert metrics.ledger_witness_conflict.labels("peer")._value.get() == 0
    assert made.verify(1).witnessed.checkpoint.size == 51


def test_a_witness_whose_database_was_restored_refuses_to_cosign_a_fork(ledger):
    """Its memory outside of the database counts; see test_witness.py for the rest."""
    made = Witnesses(ledger, "peer")
    ledger.grow(100)
    made.look()
    ledger.sql("DELETE FROM mc.witnessed_log")
    _rewrite(ledger, 3)
    ledger.grow(1)
    made.look()
    assert _kinds(made.verify(1)) == ["root-differs"]


def test_demands_that_mean_nothing_are_refused():
    key = VerifierKey("example.com/w", COSIGNATURE, Ed25519PrivateKey.generate().public_key())
    other = VerifierKey("example.com/v", COSIGNATURE, key.public)
    for given, require, why in (
        ([], 1, "--require needs witnesses"),
        ([key.text], 2, "--require 2 is more than the 1 witness named"),
        ([key.text, other.text], 2, "are one key"),
        (["nothing"], 1, "is no verifier key"),
        ([key.text[:-4]], 1, "verifier key"),
    ):
        with pytest.raises(UnusableInput, match=why):
            demand(given, require)


@pytest.mark.parametrize("by", ["nobody", "the other"])
def test_a_row_that_no_witness_signed_ends_neither_the_asking_nor_the_alert(witnessed, by):
    """Who owns the database adds that the peer has cosigned all that there will ever be."""
    ledger = witnessed.ledger
    note = "forged"
    if by == "the other":
        [row] = ledger.sql("SELECT note FROM mc.ledger_cosigned WHERE witness = 'other'")
        note = row["note"]
    ledger.sql(
        "INSERT INTO mc.ledger_cosigned (region, size, witness, note, cosigned_at, created_at) "
        "VALUES ($1, $2, 'peer', $3, now(), now() - interval '1 hour')",
        ledger.region,
        2**62,
        note,
    )
    ledger.grow(50)
    before = witnessed.count("peer", "cosigned")
    witnessed.look()
    assert witnessed.count("peer", "cosigned") == before + 1
    assert metrics.ledger_uncosigned_since.labels("peer", "yes")._value.get() > 0
    assert metrics.ledger_uncosigned_since.labels("other", "yes")._value.get() == 0
