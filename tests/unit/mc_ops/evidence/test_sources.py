"""What sources give to a pack: figures where there are any, and a plain word where not."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.loopback import serving

from mc_contract.evidence import Status
from mc_contract.judgement.verdict import rejudge
from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.cosignature import cosign
from mc_ops.canary_folder import canaries, canary_in
from mc_ops.errors import UnusableInput
from mc_ops.evidence import (
    Part,
    canary_part,
    journal_part,
    preflight_part,
    service_parts,
    serving_part,
)

ORIGIN = "mc-platform.example.com/ledger/local-1"
LEDGER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), ORIGIN, LEDGER_KEY)
ANSWERS = {
    "/health": (200, b'{"status":"ok","version":"0.3.2","colour":"green"}'),
    "/metrics": (200, b'mc_siem_requests_total{status="success"} 7.0\n'),
    "/ledger/checkpoint": (200, NOTE.encode()),
}


def _service(answers: dict[str, tuple[int, bytes]], token: str = "") -> AbstractContextManager[str]:
    """One that answers whoever shows `token`; 401 to others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = token in self.headers.get("Authorization", "")
            status, body = answers.get(self.path, (404, b"")) if known else (401, b"")
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return serving(Handler)


def _ledger_key(folder: Path) -> Path:
    path = folder / "ledger.pub"
    path.write_bytes(
        LEDGER_KEY.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def _canary(folder: Path, slower: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    values = np.random.default_rng(7).lognormal(-4, 0.2, 900)
    base, cand = (
        "".join(f"{value:.6f}\n" for value in side).encode() for side in (values, values * slower)
    )
    told = rejudge(base, cand, {"margin": 0.25, "planned_pairs": 900}).as_dict()
    (folder / "base.lat").write_bytes(base)
    (folder / "cand.lat").write_bytes(cand)
    (folder / "verdict.json").write_text(json.dumps(told))
    return folder


def _claimed(part: Part) -> dict[str, object]:
    return {claim.id: claim.value for claim in part.claims}


def test_service_that_answers_is_measured(tmp_path: Path) -> None:
    """Health, SIEM counters and the ledger's head become claims."""
    with _service(ANSWERS) as url:
        health, siem, ledger = service_parts(url, _ledger_key(tmp_path))
    assert _claimed(health) == {
        "health.ok": True,
        "health.version": "0.3.2",
        "health.colour": "green",
    }
    assert _claimed(siem) == {"siem.requests.service": 7.0, "siem.success.service": 7.0}
    (head,) = ledger.claims
    assert isinstance(head.value, dict)
    assert (head.value["origin"], head.value["size"]) == (ORIGIN, 3)
    controls = [part.controls[0].status for part in (health, siem, ledger)]
    assert controls == [Status.measured] * 3


def test_who_tells_strangers_nothing_is_shown_the_scrape_credential(tmp_path: Path) -> None:
    """A cluster's replicas do so; without it there is no measurement."""
    with _service(ANSWERS, "Bearer scrape") as url:
        key, replicas = _ledger_key(tmp_path), {"blue-1": url}
        for token, status in ((None, Status.declared), ("scrape", Status.measured)):
            parts = service_parts(url, key, replicas, token)
            assert [part.controls[0].status for part in parts] == [status] * 3
        seen = serving_part([url], all_of_them=True, token="scrape")
    assert json.loads(seen.artifacts["serving.json"])["running"]


def test_service_that_cannot_serve_is_measured_as_not_ok(tmp_path: Path) -> None:
    """A 503 with a body is an answer: the claim is that health was not ok."""
    body = b'{"status":"unavailable","version":"0.3.2","colour":"green"}'
    with _service(ANSWERS | {"/health": (503, body)}) as url:
        health, *_ = service_parts(url, _ledger_key(tmp_path))
    assert _claimed(health)["health.ok"] is False
    assert "not ok" in health.controls[0].reason


def test_service_that_is_down_is_declared_not_measured(tmp_path: Path) -> None:
    """No answer is no artefact and no claim, and the control says why."""
    with _service({}) as url:
        pass
    for part in service_parts(url, _ledger_key(tmp_path)):
        assert (part.artifacts, part.claims) == ({}, [])
        (control,) = part.controls
        assert control.status is Status.declared
        assert "ConnectError" in control.reason


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health", b"<html>"),
        ("/metrics", b"other 1\n"),
        ("/ledger/checkpoint", b"nonsense"),
        ("/ledger/checkpoint", NOTE.replace("\n3\n", "\n4\n").encode()),
    ],
)
def test_answer_that_cannot_be_used_is_declared_not_measured(
    path: str, body: bytes, tmp_path: Path
) -> None:
    """A strange answer is not packed, and takes no other source along."""
    with _service(ANSWERS | {path: (200, body)}) as url:
        parts = service_parts(url, _ledger_key(tmp_path))
    statuses = [part.controls[0].status for part in parts]
    assert statuses.count(Status.declared) == 1
    assert statuses[list(ANSWERS).index(path)] is Status.declared


def test_a_cosigned_checkpoint_is_claimed_beside_the_newest(tmp_path: Path) -> None:
    """By the log's own signature; whose cosignatures count, the one who verifies says."""
    cosigned = sign_checkpoint(Checkpoint(ORIGIN, 2, bytes(32)), ORIGIN, LEDGER_KEY)
    cosigned += cosign(cosigned.partition("\n\n")[0] + "\n", "w", LEDGER_KEY, 1_700_000_000)
    answers = {**ANSWERS, "/ledger/checkpoint/cosigned": (200, cosigned.encode())}
    with _service(answers) as url:
        *_, ledger = service_parts(url, _ledger_key(tmp_path))
    assert {claim.id: claim.value["size"] for claim in ledger.claims} == {  # type: ignore[index,call-overload]
        "ledger.checkpoint": 3,
        "ledger.cosigned": 2,
    }
    assert ledger.artifacts["ledger-cosigned.txt"] == cosigned.encode()
    for status, body in ((503, b"{}"), (404, b""), (200, b"nonsense"), (200, NOTE.encode()[:-9])):
        with _service({**answers, "/ledger/checkpoint/cosigned": (status, body)}) as url:
            *_, ledger = service_parts(url, _ledger_key(tmp_path))
        assert [claim.id for claim in ledger.claims] == ["ledger.checkpoint"]
        assert "ledger-cosigned.txt" not in ledger.artifacts


def test_checkpoint_without_the_ledgers_key_is_declared(tmp_path: Path) -> None:
    """A checkpoint that can't be checked is no measurement."""
    with _service(ANSWERS) as url:
        *_, ledger = service_parts(url, tmp_path / "absent.pub")
    assert ledger.controls[0].status is Status.declared
    key = tmp_path / "absent.pub"
    assert f"public key {key} can't be read" in ledger.controls[0].reason


def test_canary_is_claimed_with_its_label(tmp_path: Path) -> None:
    """The verdict claim and control say rehearsal and margin."""
    part = canary_part(_canary(tmp_path / "r1"), tmp_path / "ledger.pub")
    verdict = _claimed(part)["canary.verdict"]
    assert isinstance(verdict, dict)
    assert (verdict["verdict"], verdict["rehearsal"]) == ("PROMOTE", True)
    assert part.controls[0].reason == "PROMOTE (rehearsal, margin 0.25), from r1"
    assert part.controls[1].status is Status.declared


def test_canary_whose_verdict_was_edited_is_refused(tmp_path: Path) -> None:
    """A HOLD can't be packed as PROMOTE."""
    folder = _canary(tmp_path / "r1", slower=2.0)
    told = json.loads((folder / "verdict.json").read_text())
    assert told["verdict"] == "HOLD"
    (folder / "verdict.json").write_text(json.dumps(told | {"verdict": "PROMOTE"}))
    with pytest.raises(UnusableInput, match="the samples give 'HOLD'"):
        canary_part(folder, tmp_path / "ledger.pub")


def test_newest_canary_is_found_directly_or_under_its_name(tmp_path: Path) -> None:
    """The latest verdict wins; runs without a canary are passed over."""
    old, new = _canary(tmp_path / "r1"), _canary(tmp_path / "r2" / "canary")
    (tmp_path / "r3").mkdir()
    os.utime(old / "verdict.json", (1, 1))
    assert next(canaries(tmp_path)) == new
    assert canary_in(tmp_path / "r2") == new
    assert canary_in(tmp_path / "r3") is None
    _canary(tmp_path / "r3" / "canary-earlier")  # set aside by a repeated step
    assert canary_in(tmp_path / "r3") is None
    assert list(canaries(tmp_path / "absent")) == []
    assert canary_part(None, Path("ledger.pub")).controls[0].status is Status.declared


def test_journal_is_packed_without_its_torn_line(tmp_path: Path) -> None:
    """A line still being written is left out; the steps before it count."""
    line = b'{"event":"step_finished","step":"up","outcome":"passed","exit":0}\n'
    (tmp_path / "journal.jsonl").write_bytes(line + b'{"event":"step_st')
    part = journal_part(tmp_path)
    assert part.artifacts["journal.jsonl"] == line
    assert _claimed(part)["runbook.steps"] == {"passed": ["up"], "other": {}}
    assert journal_part(None).controls[0].status is Status.declared


def test_preflight_control_names_what_did_not_pass(tmp_path: Path) -> None:
    """The control's reason counts the passes and names the others."""
    report = tmp_path / "preflight.json"
    checks = [{"name": "db", "status": "pass"}, {"name": "hpa", "status": "not-applicable"}]
    report.write_text(json.dumps({"checks": checks}))
    reason = preflight_part(report).controls[0].reason
    assert reason == "1 check passed; other: hpa not-applicable"


def test_preflight_report_is_claimed_check_by_check(tmp_path: Path) -> None:
    """Each check's outcome is claimed; an unreadable report is declared, not measured."""
    report = tmp_path / "preflight.json"
    report.write_text('{"checks":[{"name":"db","status":"pass"}]}')
    assert _claimed(preflight_part(report)) == {"preflight.checks": {"passed": ["db"], "other": {}}}
    report.write_text("{}")
    assert preflight_part(report).controls[0].status is Status.declared
