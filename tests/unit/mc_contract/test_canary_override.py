"""`override.json`: what the ledger proves is taken, and whatever somebody typed is not."""

from __future__ import annotations

import json

import pytest
from tests.canary_ledger import AT, SmallLedger, held

from mc_contract.canary_override import KIND, NotOverridden, override_file, read_override
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import recompute
from mc_contract.ledger.export import verify_export
from mc_platform.model.event import Kind


class Case:
    """A HOLD, a ledger, and the override that the ledger has of it."""

    def __init__(self, folder, **how):
        self.folder = held(folder, **how)
        self.ledger = SmallLedger()
        self.raw = self.ledger.override_bytes(self.folder)

    def files(self):
        names = ("verdict.json", "base.lat", "cand.lat")
        return [(self.folder / name).read_bytes() for name in names]

    def read(self, raw=None, **other):
        verdict, base, cand = self.files()
        files = {"verdict": verdict, "base": base, "cand": cand} | other
        return read_override(raw or self.raw, self.ledger.key.public_key(), **files)

    def claim(self, raw=None, pem=None):
        verdict, base, cand = self.files()
        artifacts = {"o": raw or self.raw, "b": base, "c": cand, "v": verdict}
        artifacts["k"] = pem or self.ledger.pem
        return recompute("canary.override", ("o", "b", "c", "v", "k"), {}, artifacts)


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path / "run-7")


def test_what_the_ledger_has_is_read(case):
    """Who, why, when, and where it stands in the log."""
    found = case.read()
    assert (found.by, found.reason, found.at) == ("operator@platform", "known, and wanted", AT)
    assert (found.run, found.release, found.kind) == ("run-7", "v1", "regressed")
    assert (found.index, found.region, found.decision) == (1, "local-1", "dec_1")
    claimed = case.claim()
    assert (claimed["by"], claimed["reason"]) == (found.by, found.reason)


def test_the_kind_is_the_services():
    """Contract and service spell the ledger's kind the same."""
    assert Kind.canary_overridden.value == KIND


@pytest.mark.parametrize("name", ["verdict", "base", "cand"])
def test_an_override_of_other_files_is_none(case, name):
    """One byte of any file makes it another canary."""
    with pytest.raises(NotOverridden, match="is about another"):
        case.read(**{name: b"0.1\n"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("by", "somebody@else"),
        ("reason", "all is well"),
        ("index", 0),
        ("run", "run-8"),
        ("at", "2020-01-01T00:00:00+00:00"),
        ("schema_version", 2),
        ("extra", "x"),
    ],
)
def test_a_file_that_says_other_than_its_proof_is_none(case, field, value):
    """Every field is held against the ledger's entry."""
    told = json.loads(case.raw) | {field: value}
    with pytest.raises(NotOverridden, match="says other than the ledger"):
        case.read(json.dumps(told).encode())


def test_a_typed_file_is_none(case):
    """Without a proof, with another ledger's, with another entry's, or no JSON at all."""
    told = json.loads(case.raw)
    other = SmallLedger(seed=2).override_bytes(case.folder)
    for raw in (
        json.dumps({**told, "proof": None}).encode(),
        json.dumps({name: told[name] for name in told if name != "proof"}).encode(),
        other,
        b"[]",
        b"{",
        b"[" * 100_000,
        case.raw + b" " * 300_000,
        case.raw.replace(b'"by"', b'"by": "x", "by"', 1),
        b"\xff",
    ):
        with pytest.raises(NotOverridden):
            case.read(raw)
        with pytest.raises(NotRecomputable):
            case.claim(raw)
    entry = case.ledger.export(0)
    with pytest.raises(NotOverridden, match=r"is no canary\.overridden"):
        override_file(entry, verify_export(entry, case.ledger.key.public_key()))


def test_a_forged_entry_under_a_true_checkpoint_is_none(case):
    """The proof's leaf with another name in it is not what the ledger signed."""
    told = json.loads(case.raw)
    told["proof"]["entries"][0]["proof"] = []
    with pytest.raises(NotOverridden, match="not proven by the ledger"):
        case.read(json.dumps(told).encode())


def test_nothing_overrides_a_promote(tmp_path):
    """A claim of an override needs a HOLD: the samples decide whether there is one."""
    case = Case(tmp_path / "r", slower=1.0)
    with pytest.raises(NotRecomputable, match="the samples give no HOLD"):
        case.claim()


def test_a_pack_with_another_ledgers_key_does_not_recompute(case):
    """The embedded key must be the one that signed."""
    with pytest.raises(NotRecomputable, match="not proven by the ledger"):
        case.claim(pem=SmallLedger(seed=2).pem)
