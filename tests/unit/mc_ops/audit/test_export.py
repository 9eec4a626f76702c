"""Exports and proofs: verifiable with the ledger's key alone, and by nothing that was changed."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mc_contract.canonical import canonical_json
from mc_contract.ledger.export import ExportError, ProvenLeaf, verify_export, write_export
from mc_ops.audit import export as export_room
from mc_ops.audit import export_tenant, moment, prove
from mc_ops.errors import Finding, UnusableInput


@pytest.fixture
def export(ledger):
    """300 entries of one tenant among those of another, exported."""
    for _ in range(30):
        ledger.record(10)
        ledger.record(3, tenant="TENANT_002")
    with ledger.client() as client:
        raw, found = _exported(client, ledger, since="2020-01-01T00:00:00+00:00")
    assert found.entries == 300
    return raw


def _exported(client, ledger, *, since, until=""):
    parts = []
    found = export_tenant(
        client, ledger.public, parts.append, tenant="TENANT_001", since=since, until=until
    )
    return b"".join(parts), found


def test_an_export_holds_a_tenants_entries_and_nobody_elses(ledger, export):
    """Over several pages with one checkpoint; each proven at its index."""
    found = verify_export(export, ledger.public)
    assert {leaf["tenant"] for leaf in found.leaves} == {"TENANT_001"}
    assert [leaf["index"] for leaf in found.leaves] == [at for at in range(390) if at % 13 < 10]
    assert (found.region, found.checkpoint.size) == ("test-1", 390)


def test_an_export_of_a_time_holds_what_was_recorded_then(ledger):
    """`since` counts, `until` does not."""
    ledger.grow(20)
    ledger.backdate(10, datetime.now(UTC) - timedelta(days=5))
    now = datetime.now(UTC)
    with ledger.client() as client:
        for since, until, count in (
            ("6d", "", 20),
            ("4d", "", 10),
            ("6d", "4d", 10),
            ("1m", "", 10),
        ):
            raw, found = _exported(
                client,
                ledger,
                since=moment(since, now),
                until=moment(until, now) if until else "",
            )
            assert found.entries == len(verify_export(raw, ledger.public).leaves) == count


def test_an_export_with_any_byte_changed_is_refused(ledger, export):
    """Every place of a small file, and many of a large one; each way to change a byte fails."""
    with ledger.client() as client:
        small, _ = prove(client, ledger.public, "7")
    drawn = random.Random(7)
    for raw, places in ((small, range(len(small))), (export, drawn.sample(range(len(export)), 60))):
        for at in places:
            changed = bytearray(raw)
            changed[at] ^= drawn.choice([1, 2, 4, 8, 16, 32, 64, 128])
            with pytest.raises(ExportError):
                verify_export(bytes(changed), ledger.public)


def test_an_export_forged_with_care_is_refused(ledger, export):
    """Written anew in the right form, digest and all: the proofs do not fit."""
    value = json.loads(export)
    proven = [
        ProvenLeaf(item["index"], _bytes(item["leaf"]), [_bytes(h) for h in item["proof"]])
        for item in value["entries"]
    ]

    def forge(leaves, **more):
        fields = {"region": value["region"], "checkpoint": value["checkpoint"], **more}
        return write_export(leaves=leaves, **fields)

    leaf = json.loads(proven[5].leaf)
    leaf["detail"]["reason"] = "forged"
    changed = ProvenLeaf(proven[5].index, canonical_json(leaf), proven[5].proof)
    moved = ProvenLeaf(proven[5].index + 1, proven[5].leaf, proven[5].proof)
    for raw, said in (
        (forge([changed]), "entry 5 is not proven"),
        (forge([moved]), "entry 6 is not proven"),
        (forge([proven[1], proven[0]]), "entry 0 stands after entry 1"),
        (forge([proven[1], proven[1]]), "entry 1 stands after entry 1"),
        (forge([proven[1]], tenant="TENANT_002"), "another region's or another tenant's"),
        (forge([proven[1]], region="test-2"), "not that of region 'test-2'"),
        (b"{}", "no ledger export"),
        (b"[" * 100_000, "not JSON"),
        (export.replace(b'"version":1', b'"version":2'), "version 2 is not known"),
        (export.replace(b'"version":1', b'"version":1.0'), "damaged"),
    ):
        with pytest.raises(ExportError, match=said):
            verify_export(raw, ledger.public)
    with pytest.raises(ExportError, match="no trusted key signed"):
        verify_export(export, Ed25519PrivateKey.generate().public_key())


def test_an_export_verifies_as_a_program_without_the_service(ledger, export, tmp_path):
    """`python -m mc_contract.ledger.export` says what is proven, and what is not."""
    key = ledger.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ledger.pub").write_bytes(key)
    for raw, code, said in (
        (export, 0, "300 entries are in the log"),
        (export[:-40], 1, "does not verify"),
    ):
        (tmp_path / "export.json").write_bytes(raw)
        done = subprocess.run(
            [sys.executable, "-m", "mc_contract.ledger.export", "export.json", "ledger.pub"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert said in done.stdout + done.stderr


def test_one_event_is_proven_by_its_id_and_by_its_index(ledger):
    """The same entry, found either way; an unknown one is said to be."""
    ledger.grow(300)
    [row] = ledger.sql("SELECT event_id FROM mc.ledger_event WHERE index = 123")
    with ledger.client() as client:
        for which in ("123", row["event_id"]):
            raw, found = prove(client, ledger.public, which)
            assert [leaf["id"] for leaf in found.leaves] == [row["event_id"]]
            assert verify_export(raw, ledger.public) == found
        with pytest.raises(UnusableInput, match="no event with this id"):
            prove(client, ledger.public, "unknown")


def test_what_the_service_gives_is_verified_before_it_is_written(ledger):
    """An entry that was tampered with makes no export."""
    ledger.grow(5)
    ledger.sql("UPDATE mc.ledger_event SET leaf = leaf || ' '::bytea WHERE index = 3")
    with ledger.client() as client, pytest.raises(Finding, match="entry 3 is not proven"):
        _exported(client, ledger, since="2020-01-01T00:00:00Z")


def test_an_export_that_nobody_could_read_is_refused_as_soon_as_that_is_known(ledger, monkeypatch):
    """Not after the last page, and with what helps."""
    ledger.grow(500)
    pages = []
    with ledger.client() as client:
        whole, _ = _exported(client, ledger, since="2020-01-01T00:00:00Z")
        monkeypatch.setattr(export_room, "MAX_EXPORT_BYTES", len(whole) // 3)
        send = client._send
        monkeypatch.setattr(
            client, "_send", lambda path, **query: (pages.append(path), send(path, **query))[1]
        )
        with pytest.raises(UnusableInput, match="would be larger") as caught:
            _exported(client, ledger, since="2020-01-01T00:00:00Z")
    assert len(pages) == 1
    assert "--since" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["999999w", "", "yesterday", "0d", "7y", "2026-13-01"])
def test_what_is_no_time_is_refused(text):
    """With what would be one."""
    with pytest.raises(UnusableInput, match="is no time"):
        moment(text, datetime.now(UTC))


def test_times_and_ages_are_understood():
    """A time without a zone is UTC."""
    now = datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert moment("7d", now) == "2026-03-01T12:00:00+00:00"
    assert moment("30s", now) == "2026-03-08T11:59:30+00:00"
    assert moment("2026-03-01", now) == "2026-03-01T00:00:00+00:00"
    assert moment("2026-03-01T01:00:00+01:00", now) == "2026-03-01T01:00:00+01:00"


def _bytes(text):

    return base64.b64decode(text)
