"""`mcctl evidence` as a person meets it: pack, verify, extract, and openssl agreeing."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.canary_ledger import held
from tests.fake_replica import Replica, replica
from tests.loopback import serving

from mc_contract.ledger.checkpoint import Checkpoint, sign_checkpoint
from mc_contract.ledger.cosignature import COSIGNATURE, VerifierKey, cosign
from mc_contract.running import Record, facts_of

REPOSITORY = Path(__file__).resolve().parents[2]
openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
shell_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("openssl", "jq", "base64", "bash"))), reason="needs jq and openssl"
)
Run = Callable[..., tuple[int, str, str]]
GREEN = Replica("green-1")  # the candidate of the canaries here; nobody asks it


@pytest.fixture
def mcctl(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`mcctl`'s own main."""
    main = importlib.import_module("mc_ops.cli.main")

    def run(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mcctl", "evidence", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main.main()
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with one finished rehearsal, and no service running."""
    folder = tmp_path / "home"
    for name in ("RUN_DIR", "RUN_ID", "ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MC_HOME", str(folder))
    monkeypatch.setenv("MC_EDGE_PORT", "1025")  # nothing listens there
    monkeypatch.setenv("NO_COLOR", "1")
    _canary(folder / "runs" / "r1")
    return folder


def _canary(folder: Path, slower: float = 1.0, **how: Any) -> None:
    held(folder, slower=slower, healths={GREEN.url: GREEN.health}, **how)


def _pack(mcctl: Run, folder: Path, *more: str) -> Path:
    out = folder / "dist" / "evidence-v9.json"
    code, _, err = mcctl("pack", "--out", out, *more)
    assert code == 0, err
    return out


def _report(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    return report


def test_pack_then_verify(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """A fresh home packs its newest canary and verifies with the key it made."""
    out = tmp_path / "dist" / "evidence-v9.json"
    code, told, err = mcctl("pack", "--out", out)
    assert code == 0, err
    assert f"made a new signing key {home / 'secrets' / 'evidence.key'}" in err
    assert f"no run passed: canary {home / 'runs' / 'r1'}" in err
    assert "release v9" in told
    assert "subject  base.lat" in told
    assert "claim    canary.verdict: PROMOTE (rehearsal, margin 0.25)" in told
    assert "health: health was not measured" in err
    assert not [path for path in out.parent.iterdir() if path != out]
    assert (home / "trust" / "evidence.pub").exists()

    code, told, err = mcctl("verify", out, "--expect-release", "v9")
    report = _report(told)
    # nobody served when it was packed, so that nothing shows that this candidate does
    assert (code, report["ok"], report["reasons"]) == (3, False, [])
    assert report["unbound"] == ["what served when this was packed was not asked"]
    assert report["verdict"]["verdict"] == "PROMOTE"
    assert (report["verdict"]["rehearsal"], report["verdict"]["margin"]) == (True, 0.25)
    statuses = {control["id"]: control["status"] for control in report["controls"]}
    assert statuses["canary"] == "measured"
    assert statuses["health"] == "declared, not measured"
    assert statuses["binding"] == "declared, not measured"
    assert "is not bound to what ran: what served" in err


def test_pack_with_hold_verifies_and_shows_the_hold(mcctl: Run, home: Path) -> None:
    """A HOLD is a verdict like another: the pack verifies, the report says HOLD."""
    _canary(home / "runs" / "r1", slower=2.0)
    out = _pack(mcctl, home)
    code, told, _ = mcctl("verify", out)
    assert code == 0
    assert _report(told)["verdict"]["verdict"] == "HOLD"


def test_pack_as_json_lists_subjects_and_claims(mcctl: Run, home: Path) -> None:
    """--output json is one object on stdout."""
    code, told, _ = mcctl("pack", "--out", home / "x.json", "--output", "json", "--release", "9")
    report = _report(told)
    assert code == 0
    assert report["release"] == "9"
    assert report["subjects"] == ["base.lat", "cand.lat", "verdict.json"]


def test_pack_takes_the_run_it_is_a_step_of(
    mcctl: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a runbook, the run's journal and pre-flight report come along."""
    run = home / "runs" / "r1"
    line = '{"event":"step_finished","step":"canary","outcome":"passed","exit":0}\n'
    (run / "journal.jsonl").write_text(line)
    looked = {"green": [facts_of(GREEN.health)]}
    report = {"checks": [{"name": "db", "status": "pass"}]}
    report["running"] = Record(looked, looked).as_dict()
    (run / "preflight.json").write_text(json.dumps(report))
    monkeypatch.setenv("RUN_DIR", str(run))
    monkeypatch.setenv("RUN_ID", "day-0-x")
    _, told, _ = mcctl("verify", _pack(mcctl, home))
    report = _report(told)
    assert report["reasons"] == []
    assert report["run_id"] == "day-0-x"
    values = {claim["id"]: claim["recomputed"] for claim in report["claims"]}
    assert values["runbook.steps"] == {"passed": ["canary"], "other": {}}
    assert values["preflight.checks"] == {"passed": ["db"], "other": {}}


def test_pack_never_takes_another_runs_canary(mcctl: Run, home: Path) -> None:
    """A run without a canary is packed without one, though another run has one."""
    run = home / "runs" / "r2"
    run.mkdir()
    line = '{"event":"step_finished","step":"up","outcome":"passed","exit":0}\n'
    (run / "journal.jsonl").write_text(line)
    code, told, _ = mcctl("pack", "--out", home / "x.json", "--run-dir", run, "--output", "json")
    assert code == 0
    assert _report(told)["subjects"] == ["journal.jsonl"]
    code, _, err = mcctl("pack", "--out", home / "y.json", "--run-dir", home / "absent")
    assert code == 2
    assert "is not a run" in err
    assert f"the name of a run in {home / 'runs'}" in err
    empty = home / "empty"
    empty.mkdir()
    for wrong in (("--run", empty), ("--canary", empty), ("--canary", home / "absent")):
        code, _, err = mcctl("pack", "--out", home / "y.json", *wrong)
        assert code == 2, wrong
    assert not (home / "y.json").exists()


def test_pack_takes_a_run_by_the_name_that_other_commands_print(
    mcctl: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by its folder, for the run and for the canary; a path is never looked for among the runs."""
    monkeypatch.chdir(tmp_path)
    for option in ("--run", "--canary"):
        out = home / "evidence-v9.json"
        code, told, err = mcctl("pack", "--force", "--out", out, option, "r1", "-o", "json")
        assert code == 0, err
        assert _report(told)["subjects"] == ["base.lat", "cand.lat", "verdict.json"]
        for wrong in ("r9", "..", "../r1"):
            code, _, err = mcctl("pack", "--out", home / "y.json", option, wrong)
            assert code == 2, wrong
            assert wrong in err


def _passed_run(folder: Path, day: int, outcome: str = "passed") -> None:
    _canary(folder)
    lines = [
        {"seq": 0, "at": f"2026-01-{day:02}T00:00:00.000Z", "event": "run_started"}
        | {"runbook": "day-0"},
        {"event": "step_finished", "step": "canary", "outcome": "passed", "exit": 0},
        {"at": f"2026-01-{day:02}T00:10:00.000Z", "event": "run_finished", "outcome": outcome},
    ]
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "preflight.json").write_text(
        '{"checks":[{"name":"db","status":"pass"}]}'
    )  # an old one


def test_pack_without_run_takes_the_newest_that_passed(mcctl: Run, home: Path) -> None:
    """Journal, pre-flight and canary of one run, which is named; a later HOLD is named too."""
    _passed_run(home / "runs" / "day-0-b", 2)
    _passed_run(home / "runs" / "day-0-a", 3)
    _passed_run(home / "runs" / "day-0-c", 4, outcome="failed")
    _canary(home / "runs" / "r1")  # newer, by its file's time
    code, told, err = mcctl("pack", "--out", home / "evidence-v9.json", "--output", "json")
    assert code == 0, err
    assert "run day-0-a, the newest that passed" in err
    assert "did not pass, and not in the pack: day-0-c" in err
    subjects = ["base.lat", "cand.lat", "journal.jsonl", "preflight.json", "verdict.json"]
    assert _report(told)["subjects"] == subjects
    _, told, _ = mcctl("verify", home / "evidence-v9.json")
    assert _report(told)["run_id"] == "day-0-a"


def test_pack_replaces_none_without_force(mcctl: Run, home: Path) -> None:
    """Evidence that is there already stays, unless --force says otherwise."""
    out = _pack(mcctl, home)
    before = out.read_bytes()
    code, _, err = mcctl("pack", "--out", out)
    assert (code, "--force" in err) == (2, True)
    assert out.read_bytes() == before
    code, _, err = mcctl("pack", "--out", out, "--force")
    assert (code, "signing key" in err) == (0, False)
    assert out.read_bytes() != before


def test_pack_makes_the_last_folder_only(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """A mistyped path makes no tree of folders, nor a key."""
    code, _, err = mcctl("pack", "--out", tmp_path / "no" / "dist" / "evidence-v9.json")
    assert (code, "only the last folder is made" in err) == (2, True)
    assert not (tmp_path / "no").exists()
    assert not (home / "secrets").exists()


def test_pack_of_nothing_is_refused(mcctl: Run, home: Path) -> None:
    """With no canary, run or service there is nothing to sign; nothing is written."""
    shutil.rmtree(home / "runs")
    code, _, err = mcctl("pack", "--out", home / "evidence-v9.json")
    assert code == 3
    assert "nothing to pack" in err
    assert not (home / "evidence-v9.json").exists()
    code, _, err = mcctl("pack", "--out", home / "evidence-v9.json", "--canary", home)
    assert code == 2
    assert "no finished canary" in err


@pytest.mark.parametrize("name", ["base.lat", "cand.lat", "verdict.json"])
def test_verify_of_a_changed_sample_fails_with_the_reason(
    name: str, mcctl: Run, home: Path
) -> None:
    """One character of an artefact changed: exit 1, and the artefact is named."""
    out = _pack(mcctl, home)
    document = json.loads(out.read_text())
    text = document["artifacts"][name]
    document["artifacts"][name] = ("M" if text[0] != "M" else "N") + text[1:]
    out.write_text(json.dumps(document))
    code, told, err = mcctl("verify", out)
    report = _report(told)
    assert code == 1
    assert report["ok"] is False
    assert any(f"'{name}' differs from its signed digest" in reason for reason in report["reasons"])
    assert "does not verify" in err


def test_verify_of_another_release_or_key_fails(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """Release and keys come from outside the pack, and are compared."""
    out = _pack(mcctl, home)
    code, told, _ = mcctl("verify", out, "--expect-release", "v8")
    assert code == 1
    assert "expected 'v8'" in _report(told)["reasons"][0]
    other = tmp_path / "other"
    (home / "secrets" / "evidence.key").rename(tmp_path / "kept.key")
    (home / "trust").rename(other)
    _pack(mcctl, home, "--force")  # makes a new key
    code, told, _ = mcctl("verify", out, "--trust", other / "evidence.pub")
    assert code == 1
    assert "not among the 1 trusted" in _report(told)["reasons"][0]


def test_verify_of_unusable_input(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """No file, no key: exit 2 and a clear word."""
    code, _, err = mcctl("verify", tmp_path / "absent.json")
    assert code == 2
    assert "no trusted key" in err
    _pack(mcctl, home)
    code, _, err = mcctl("verify", tmp_path / "absent.json")
    assert code == 2
    assert "can't be read" in err


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "it is empty"),
        (b"{}", "artifacts is missing"),
        (b'{"total_count":1,"artifacts":[{"id":1}]}', "artifacts is a list of 1, must be a table"),
        (b"a letter\n", "not JSON"),
        (b"\x89PNG\r\n", "not UTF-8"),
    ],
)
def test_verify_of_what_was_never_a_pack_is_bad_input(
    mcctl: Run, home: Path, tmp_path: Path, raw: bytes, reason: str
) -> None:
    """Exit 2, the file, the reason and what to name instead; nothing on stdout looks like a report."""
    _pack(mcctl, home)
    other = tmp_path / "other.json"
    other.write_bytes(raw)
    code, told, err = mcctl("verify", other)
    assert (code, told) == (2, "")
    assert f"{other} is not an evidence pack: " in err
    assert reason in err
    assert "mcctl evidence pack --out" in err


def test_verify_of_what_is_left_of_a_pack_is_a_finding(mcctl: Run, home: Path) -> None:
    """Cut at either end, damaged in the middle, without its signature or its artefacts: exit 1."""
    out = _pack(mcctl, home)
    raw = out.read_bytes()
    whole = json.loads(raw)
    for left in (
        raw[:40],
        raw[: len(raw) // 2],
        raw[len(raw) // 2 :],
        raw[:500] + b"\0" + raw[501:],
        json.dumps({"artifacts": whole["artifacts"]}, indent=1).encode(),
        json.dumps({"bundle": whole["bundle"]}).encode(),
    ):
        out.write_bytes(left)
        code, told, _ = mcctl("verify", out)
        assert code == 1, left[:100]
        assert _report(told)["reasons"]


@openssl
def test_extracted_signature_verifies_with_openssl(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """`openssl dgst -verify` agrees on the good pack, and not on a changed payload."""
    out, folder = _pack(mcctl, home), tmp_path / "x"
    code, told, err = mcctl("extract", out, "--dir", folder)
    assert code == 0
    assert "nothing was verified" in err
    assert str(folder / "artifacts" / "base.lat") in told
    samples = (home / "runs" / "r1" / "base.lat").read_bytes()
    assert (folder / "artifacts" / "base.lat").read_bytes() == samples
    command = ["openssl", "dgst", "-sha256", "-verify", str(home / "trust" / "evidence.pub")]
    command += ["-signature", str(folder / "signature.der"), str(folder / "pae.bin")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (folder / "pae.bin").write_bytes((folder / "pae.bin").read_bytes() + b" ")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_extract_of_no_pack_is_unusable_input(mcctl: Run, home: Path, tmp_path: Path) -> None:
    """Nothing is written from a file that is no pack."""
    bad = tmp_path / "bad.json"
    bad.write_text('{"artifacts":{"../up":""},"bundle":{}}')
    code, _, err = mcctl("extract", bad, "--dir", tmp_path / "x")
    assert code == 2
    assert "relative path" in err
    assert home.exists()
    assert not (tmp_path / "x").exists()


@shell_tools
def test_documented_commands_check_the_signature_without_us(
    mcctl: Run, home: Path, tmp_path: Path
) -> None:
    """The commands in docs/how-to/evidence.md, run as they stand there: jq, base64, printf, openssl."""
    text = (REPOSITORY / "docs" / "how-to" / "evidence.md").read_text()
    script = text.split("<!-- tested: by-hand -->\n```sh\n", 1)[1].split("```", 1)[0]
    shutil.copy(_pack(mcctl, home), tmp_path / "evidence.json")
    shutil.copy(home / "trust" / "evidence.pub", tmp_path / "evidence.pub")

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = check()
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stdout
    assert "base.lat: OK" in done.stdout
    document = json.loads((tmp_path / "evidence.json").read_text())
    document["artifacts"]["base.lat"] = "QQ=="
    (tmp_path / "evidence.json").write_text(json.dumps(document))
    assert check().returncode != 0


def test_wrapper_starts_mcctl_with_the_same_arguments(tmp_path: Path) -> None:
    """tools/mc.py becomes the repository's mcctl, whatever the folder it is called from."""
    copy = _wrapper(tmp_path)
    mcctl = tmp_path / ".venv" / "bin" / "mcctl"
    mcctl.parent.mkdir(parents=True)
    mcctl.write_text('#!/bin/sh\nprintf "%s|" "$@"\nexit 8\n')
    mcctl.chmod(0o755)
    command = [sys.executable, str(copy), "evidence", "verify", "a b.json"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (8, "evidence|verify|a b.json|")


@pytest.mark.parametrize("given", [None, "", "elsewhere"])
def test_wrapper_means_its_own_repositorys_platform(given: str | None, tmp_path: Path) -> None:
    """From any folder, MC_HOME is the repository's .mc if it has one, unless it is given."""
    copy = _wrapper(tmp_path)
    mcctl = tmp_path / ".venv" / "bin" / "mcctl"
    mcctl.parent.mkdir(parents=True)
    mcctl.write_text('#!/bin/sh\nprintf %s "$MC_HOME"\n')
    mcctl.chmod(0o755)
    env = {} if given is None else {"MC_HOME": given}

    def told() -> str:
        command = [sys.executable, str(copy), "status"]
        return subprocess.run(
            command, cwd="/", env=env, capture_output=True, text=True, check=True
        ).stdout

    assert told() == (given or "")
    (tmp_path / ".mc").mkdir()
    assert told() == (given or str(tmp_path / ".mc"))


def test_wrapper_without_set_up_tells_the_remedy(tmp_path: Path) -> None:
    """Before `make setup`, tools/mc.py says what to do."""
    command = [sys.executable, str(_wrapper(tmp_path)), "evidence"]
    done = subprocess.run(
        command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "setup" in done.stderr


def _wrapper(folder: Path) -> Path:
    copy = folder / "tools" / "mc.py"
    copy.parent.mkdir()
    shutil.copy(REPOSITORY / "tools" / "mc.py", copy)
    return copy


def test_what_was_compared_and_serves_verifies_as_its_own_release_only(
    mcctl: Run, home: Path, tmp_path: Path
) -> None:
    """PROMOTE, packed while it serves; an old run is not signed under another release's name."""
    with replica("green-1") as green:
        folder = home / "runs" / "r2"
        held(folder, slower=1.0, healths={green.url: green.health}, release="v9-prod")
        packing = ("--canary", folder, "--url", green.url, "--out")
        out = tmp_path / "evidence-v9-prod.json"
        code, told, err = mcctl("pack", *packing, out)
        assert code == 0, err
        assert "control  binding: measured" in told
        expected = ("--expect-release", "v9-prod", "--expect-commit", "c0" * 20)
        code, told, err = mcctl("verify", out, *expected, "--require-promote")
        assert code == 0, told
        assert _report(told)["release"] == {"name": "v9-prod", "commit": "c0" * 20, "version": "9"}
        code, told, _ = mcctl("verify", out, "--expect-commit", "deadbee")
        assert (code, "expected deadbee" in _report(told)["reasons"][0]) == (1, True)
        assert mcctl("verify", out, "--expect-commit", "main")[0] == 2
        code, _, err = mcctl("pack", *packing, tmp_path / "evidence-v10.json")
        assert code == 1
        assert "named for release 'v10', and what ran is 'v9-prod'" in err
        green.begin()
        code, _, err = mcctl("pack", *packing, tmp_path / "evidence-v9-prod.json", "--force")
        assert (code, "what served when this was packed is not what" in err) == (1, True)


def test_an_old_run_verifies_as_nothing(mcctl: Run, home: Path) -> None:
    """A canary of a version that recorded nothing: exit 3, and never a silent ok."""
    held(home / "runs" / "r1", slower=1.0)
    out = _pack(mcctl, home)
    code, told, err = mcctl("verify", out, "--expect-release", "v9")
    assert (code, _report(told)["ok"]) == (3, False)
    assert "does not record what it measured" in err
    code, told, _ = mcctl("verify", out, "--require-promote", "--expect-commit", "c0" * 20)
    assert code == 3


def test_pack_refuses_a_journal_whose_chain_was_taken_off(mcctl: Run, home: Path) -> None:
    """Without `prev` it would be packed as one of before gates, and nothing claimed of its course."""
    run = home / "runs" / "r3"
    run.mkdir()
    (run / "runbook.md").write_text("text")
    lines = [
        {"seq": 0, "event": "run_started", "steps": ["a"], "gates": [], "runbook_sha256": "0" * 64},
        {"seq": 1, "event": "step_finished", "step": "a", "outcome": "passed", "exit": 0},
    ]
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, err = mcctl("pack", "--out", home / "x.json", "--run-dir", run)
    assert code == 2
    assert "it is not as it was written" in err
    assert not (home / "x.json").exists()


def test_a_pack_verifies_with_the_witnesses_that_are_demanded(
    mcctl: Run, home: Path, tmp_path: Path
) -> None:
    """Its checkpoint's cosignatures are read from the pack, whose keys count from the command line."""
    ledger, witness = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    origin, name = "mc-platform.example.com/ledger/local-1", "example.com/w1"
    note = sign_checkpoint(Checkpoint(origin, 3, bytes(32)), origin, ledger)
    cosigned = note + cosign(note.partition("\n\n")[0] + "\n", name, witness, 1_700_000_000)
    (home / "trust").mkdir(parents=True, exist_ok=True)
    (home / "trust" / "ledger.pub").write_bytes(
        ledger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    known = VerifierKey(name, COSIGNATURE, witness.public_key()).text
    other = VerifierKey("w2", COSIGNATURE, Ed25519PrivateKey.generate().public_key()).text
    (tmp_path / "keys.txt").write_text(f"# ours\n{known}\n{other}\n")
    answers = {"/ledger/checkpoint": note, "/ledger/checkpoint/cosigned": cosigned}
    with _answering(answers) as url:
        out = _pack(mcctl, tmp_path, "--url", url)
    code, told, _ = mcctl("verify", out, "--witness", tmp_path / "keys.txt", "--require", "1")
    report = _report(told)
    assert code in (0, 3)  # nothing that serves was bound; the witnesses are no reason against it
    assert report["reasons"] == []
    assert report["cosigned"] == [{"witness": name, "at": "2023-11-14T22:13:20+00:00"}]
    for wanted in (("--witness", other), ("--witness", tmp_path / "keys.txt", "--require", "2")):
        code, told, _ = mcctl("verify", out, *wanted)
        assert code == 1
        assert "witnesses: " in _report(told)["reasons"][0]
    without = _pack(mcctl, tmp_path, "--force")
    code, told, _ = mcctl("verify", without, "--witness", known)
    assert code == 1
    assert "holds no cosigned checkpoint" in _report(told)["reasons"][0]


def _answering(answers: dict[str, str]) -> AbstractContextManager[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return serving(Handler)
