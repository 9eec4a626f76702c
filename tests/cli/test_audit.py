"""`mcctl audit` as a person meets it: what it prints, writes, asks, and exits with."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.merkle_proofs import consistency_proof, inclusion_proof
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.audit as verbs
from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.entry import Entry
from mc_contract.ledger.export import ProvenLeaf, log_origin, write_export
from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_ops.audit import AuditClient
from mc_ops.audit.client import ArchiveRow
from mc_ops.cli.ledger_access import LedgerReading
from mc_ops.errors import UnusableInput

LEAF = (
    b'{"detail":{"subject":"t-1"},"id":"e-%d","kind":"request.accepted","occurred_at":'
    b'"2026-01-02T03:04:05+00:00","region":"local-1","tenant":"TENANT_001","v":1}'
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class FakeLedger(AuditClient):
    """An `AuditClient` over three entries in memory; `tamper` to change one."""

    def __init__(self) -> None:
        super().__init__("http://nowhere", "token")
        self.leaves = [LEAF % number for number in range(3)]
        self.hashes = [leaf_hash(leaf) for leaf in self.leaves]
        self.left: list[ArchiveRow] = []

    def log_name(self) -> str:
        return "local-1"

    def head_note(self) -> str:
        frontier = Frontier()
        for hashed in self.hashes:
            frontier = frontier.append(hashed)
        origin = log_origin("local-1")
        return sign_checkpoint(Checkpoint(origin, 3, frontier.root()), origin, KEY)

    def entries(self, start: int):
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        for index in range(start, 3):
            yield Entry(
                index=index,
                leaf=self.leaves[index],
                recorded_hash=self.hashes[index],
                event_id=f"e-{index}",
                tenant="TENANT_001",
                kind="request.accepted",
                subject="t-1",
                occurred_at=at,
                recorded_at=at,
            )

    def checkpoints(self, from_size: int):
        at = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
        stored = SimpleNamespace(size=3, note=self.head_note(), created_at=at)
        return iter([stored] if from_size <= 3 else [])

    def tiles(self, first: int):
        return iter(())

    def archives(self):
        return self.left

    def consistency(self, first, second):
        return consistency_proof(self.hashes, first, second)

    def archive_first(self) -> None:
        """Say that entry 0 has left as a file."""
        after = Frontier().append(self.hashes[0])
        self.left = [ArchiveRow(0, 0, "x.gz", "00", Frontier(), after, self.head_note())]

    def inclusion(self, which):
        index = int(which["index"])
        return index, self.head_note(), inclusion_proof(self.hashes, index)

    def of_tenant(self, tenant, since, until, *_size):
        pairs = ((entry, inclusion_proof(self.hashes, entry.index)) for entry in self.entries(0))
        return self.head_note(), pairs


@pytest.fixture
def ledger(monkeypatch, tmp_path):
    made = FakeLedger()

    @contextmanager
    def opened(_call, log=None):
        assert log is None
        yield made

    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(LedgerReading, "ledger", opened)
    (tmp_path / "home" / "trust").mkdir(parents=True)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "home" / "trust" / "ledger.pub").write_bytes(pem)
    return made


def _run(*args):
    return CliRunner().invoke(verbs.app, args)


def test_verify_saves_the_checkpoint_that_it_verified(ledger, tmp_path):
    """The note is written for the next time, which begins there or agrees with it."""
    saved = tmp_path / "kept.txt"
    done = _run("verify", "--save-checkpoint", str(saved), "--output", "json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert (report["schema_version"], report["verified"], report["size"]) == (1, True, 3)
    assert saved.read_text() == ledger.head_note()
    assert _run("verify", "--known-checkpoint", str(saved)).exit_code == 0


def test_verify_of_a_tampered_log_exits_1_names_it_and_saves_nothing(ledger, tmp_path):
    """A finding is told on standard output, with its index and event."""
    ledger.leaves[1] = ledger.leaves[1].replace(b"t-1", b"t-9")
    saved = tmp_path / "kept.txt"
    done = _run("verify", "--save-checkpoint", str(saved))
    assert done.exit_code == 1
    assert "leaf-changed" in done.stdout
    assert "entry 1 (event e-1)" in done.stdout
    assert not saved.exists()


def test_verify_without_the_archives_exits_3_unless_that_is_allowed(ledger, tmp_path):
    """What was not read is told as such, and no checkpoint is saved that would stand for it."""
    ledger.archive_first()
    saved = tmp_path / "kept.txt"
    done = _run("verify", "--save-checkpoint", str(saved))
    assert done.exit_code == 3
    assert "not seen     entries before 1 were not read" in done.stdout
    assert "not all of the log was seen" in " ".join(done.stderr.split())
    assert not saved.exists()
    done = _run("verify", "--output", "json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["verified"] is False
    done = _run("verify", "--allow-archived")
    assert done.exit_code == 0
    assert "verifies at size 3, from entry 1 on" in done.stderr
    done = _run("verify", "--allow-archived", "--archive", str(tmp_path))
    assert isinstance(done.exception, UnusableInput)


def test_verify_with_options_that_do_not_fit_is_refused(ledger, tmp_path):
    """A file alone is verified by itself; a checkpoint must be one of this key."""
    export = tmp_path / "export.json"
    done = _run("verify", "--export", str(export), "--archive", str(tmp_path))
    assert isinstance(done.exception, UnusableInput)
    strange = tmp_path / "strange.txt"
    strange.write_text("hello")
    done = _run("verify", "--known-checkpoint", str(strange))
    assert "is no checkpoint that the ledger's key signed" in str(done.exception)
    done = _run("verify", "--key", str(strange))
    assert "holds no public key" in str(done.exception)


def test_export_writes_a_file_that_verify_accepts_offline(ledger, tmp_path):
    """It says what the file proves, and what it does not; it replaces nothing unasked."""
    out = tmp_path / "export.json"
    done = _run("export", "--tenant", "TENANT_001", "--since", "7d", "--out", str(out))
    assert done.exit_code == 0
    assert "that none was left out is not proven" in done.stderr
    again = _run("export", "--tenant", "TENANT_001", "--since", "7d", "--out", str(out))
    assert "add --force to overwrite it" in again.exception.hint
    done = _run("verify", "--export", str(out), "--output", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["entries"] == 3
    out.write_bytes(out.read_bytes().replace(b'"index":1', b'"index":2'))
    done = _run("verify", "--export", str(out), "--output", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verified"] is False
    out.write_bytes(out.read_bytes()[200:])  # cut at its beginning, it still calls itself one
    assert _run("verify", "--export", str(out)).exit_code == 1


@pytest.mark.parametrize("raw", [b"", b"{}", b"a letter", b"\x89PNG"])
def test_what_never_was_an_export_is_bad_input_and_no_finding(ledger, tmp_path, raw):
    """Exit 2, with the file and what to name instead."""
    other = tmp_path / "other"
    other.write_bytes(raw)
    done = _run("verify", "--export", str(other))
    assert isinstance(done.exception, UnusableInput)
    assert str(other) in done.exception.message
    assert "mcctl audit export" in done.exception.hint


def test_prove_prints_a_proof_or_writes_it(ledger, tmp_path):
    """The proof is the result: on standard output unless a file is named."""
    done = _run("prove", "2")
    assert done.exit_code == 0
    proof = write_export(
        region="local-1",
        checkpoint=ledger.head_note(),
        leaves=[ProvenLeaf(2, ledger.leaves[2], inclusion_proof(ledger.hashes, 2))],
    )
    assert done.stdout == proof.decode()
    out = tmp_path / "proof.json"
    assert _run("prove", "2", "--out", str(out)).exit_code == 0
    assert out.read_bytes() == proof


def test_archive_asks_first_and_runs_the_services_command(monkeypatch, tmp_path):
    """Without a terminal it wants --yes; with it the service's report is the result."""
    report = {
        "archived": [
            {"file": "a.gz", "first_index": 0, "last_index": 9, "delivered_to": ["siem"]},
        ],
        "kept": {"partition": "ledger_event_y2026m02", "reason": "sink siem has 3 of 9"},
    }
    recorded = Recorded(answer=CompletedProcess((), 0, f"said\n{json.dumps(report)}\n", ""))
    monkeypatch.setattr(verbs, "open_environment", lambda _: RecordingEnvironment(recorded))
    args = ("archive", "--older-than", "30", "--to", str(tmp_path))
    assert isinstance(_run(*args).exception, UnusableInput)
    assert not recorded.calls
    done = _run(*args, "--yes")
    assert done.exit_code == 0
    assert "a.gz  entries 0 to 9" in done.stdout
    assert "ledger_event_y2026m02 stays: sink siem has 3 of 9" in done.stderr
    assert recorded.calls == [("administer", *args)]


@pytest.mark.parametrize(("code", "exit_code"), [(1, 1), (2, 2), (3, 3)])
def test_archive_passes_on_how_the_service_ended(monkeypatch, code, exit_code):
    """Damage is a finding, unusable settings are usage, a database that is down could not tell."""
    recorded = Recorded(answer=CompletedProcess((), code, "", "error: told\n  -> hint\n"))
    monkeypatch.setattr(verbs, "open_environment", lambda _: RecordingEnvironment(recorded))
    done = _run("archive", "--older-than", "30", "--to", "x", "--yes")
    assert getattr(done.exception, "exit_code", done.exit_code) == exit_code
