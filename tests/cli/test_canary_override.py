"""`mcctl canary override` and `decision` as an operator types them, each in its own process."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests import forked
from tests.canary_ledger import TOKEN, SmallLedger, held, serving
from tests.children import child
from tests.fake_replica import Replica, replica

# Only these groups, so that the transcripts do not depend on the other groups' modules.
MCCTL = [forked.MCCTL]
REASON = "the slow path is known <!channel>"


class Shell:
    """A terminal of an operator whose platform has `ledger`, and a run `run-7` that was held.

    Its candidate `green-1` still runs.
    """

    def __init__(self, home: Path, ledger: SmallLedger, url: str, green: Replica) -> None:
        self.home, self.ledger, self.url, self.green = home, ledger, url, green
        self.folder = self.held(home / "runs" / "run-7" / "canary")
        (home / "trust").mkdir()
        (home / "trust" / "ledger.pub").write_bytes(ledger.pem)
        (home / "token").write_text(TOKEN)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.env = kept | {
            "MC_HOME": str(home),
            "MC_TOKEN_FILE": str(home / "token"),
            "MC_EDGE_PORT": "1025",  # nothing listens there
            "NO_COLOR": "1",
            "COLUMNS": "300",
        }

    def held(self, folder: Path, **how: Any) -> Path:
        """A finished canary about `green-1`."""
        return held(folder, healths={self.green.url: self.green.health}, **how)

    def run(self, *args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run with nobody at the terminal."""
        return forked.run([*MCCTL, *map(str, args)], env=self.env | env)

    def override(self, *args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Override `run-7` unless told otherwise, without being asked."""
        more = args if "--reason" in args else ("--reason", REASON, *args)
        named = more if "--of" not in more else tuple(word for word in more if word != "--of")
        run = () if "--of" in more else ("run-7",)
        return self.run("canary", "override", *run, *named, "--yes", "--url", self.url, **env)

    def decision(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("canary", "decision", *(args or ("run-7",)))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    ledger = SmallLedger()
    with ExitStack() as stack:
        url = stack.enter_context(serving(ledger))
        yield Shell(tmp_path, ledger, url, stack.enter_context(replica("green-1")))


def test_a_hold_is_overridden_recorded_and_stays_a_hold(shell: Shell) -> None:
    """The ledger is told first; override.json has who and why; the verdict's file is as it was."""
    before = (shell.folder / "verdict.json").read_bytes()
    assert shell.decision().returncode == 1
    done = shell.override("--release", "v1")
    assert done.returncode == 0, done.stderr
    told = "HOLD (regressed, rehearsal, margin 0.25), overridden by operator@platform: "
    assert done.stdout.startswith(told + REASON)
    assert "the samples show that the candidate is slower than is allowed" in done.stderr
    [asked] = shell.ledger.asked
    assert (asked["run"], asked["reason"], asked["release"]) == ("run-7", REASON, "v1")
    assert asked["regression_ppm"] == pytest.approx(1_000_000, rel=1e-4)
    written = json.loads((shell.folder / "override.json").read_text())
    assert (written["by"], written["index"]) == ("operator@platform", 1)
    assert (shell.folder / "verdict.json").read_bytes() == before
    decided = shell.decision()
    assert (decided.returncode, decided.stdout) == (0, told + REASON + "\n")
    page = (shell.folder / "report.html").read_text()
    assert "Overridden by hand; the verdict stays HOLD" in page
    assert "&lt;!channel&gt;" in page
    assert TOKEN not in done.stdout + done.stderr


def test_evidence_shows_the_hold_and_who_overrode_it(shell: Shell, tmp_path: Path) -> None:
    """The pack recomputes HOLD and the ledger's entry; it nowhere says PROMOTE."""
    shell.override()
    pack = tmp_path / "evidence-v9.json"
    packing = ("evidence", "pack", "--canary", shell.folder, "--out", pack)
    packed = shell.run(*packing, "--url", shell.green.url)
    assert packed.returncode == 0, packed.stderr
    done = shell.run("evidence", "verify", pack)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (0, True), report["reasons"]
    assert report["verdict"]["verdict"] == "HOLD"
    assert report["override"]["by"] == "operator@platform"
    assert report["override"]["reason"] == REASON
    [control] = [one for one in report["controls"] if one["id"] == "override"]
    assert control["status"] == "measured"
    assert f"HOLD (rehearsal, margin 0.25), overridden by operator@platform: {REASON}" in (
        done.stderr
    )
    assert "PROMOTE" not in done.stdout + done.stderr
    (shell.home / "trust" / "ledger.pub").write_bytes(SmallLedger(seed=2).pem)
    warned = shell.run("evidence", "verify", pack)
    assert "the override is recorded in another ledger" in warned.stderr


def test_a_forged_override_is_told_apart(shell: Shell, tmp_path: Path) -> None:
    """A file that another ledger signed: no decision, no evidence, no second override over it."""
    forged = SmallLedger(seed=9).override_bytes(shell.folder)
    (shell.folder / "override.json").write_bytes(forged)
    decided = shell.decision()
    assert (decided.returncode, decided.stdout) == (2, "")
    assert "override.json overrides nothing" in decided.stderr
    packed = shell.run("evidence", "pack", "--canary", shell.folder, "--out", tmp_path / "e.json")
    assert packed.returncode == 2
    assert "override.json overrides nothing" in packed.stderr
    assert shell.override().returncode == 2
    assert shell.ledger.asked == []
    reported = shell.run("canary", "report", "run-7")
    assert reported.returncode == 0
    assert "the report does not show it" in reported.stderr
    assert "Overridden" not in (shell.folder / "report.html").read_text()


def test_an_overridden_run_put_into_another_runs_folder_decides_nothing(shell: Shell) -> None:
    """The override is of the run that the operator named, not of whoever has its files."""
    shell.override()
    shutil.copytree(shell.folder, shell.home / "runs" / "run-8" / "canary")
    decided = shell.decision("run-8")
    assert (decided.returncode, decided.stdout) == (2, "")
    assert "the override is of run run-7, and this is run-8" in decided.stderr


@pytest.mark.parametrize("reason", ["", "   ", "\n\t", "...", "x" * 201])
def test_without_a_reason_nothing_is_overridden(shell: Shell, reason: str) -> None:
    """Empty, blank, dots, or longer than the ledger takes: exit 2, the service is not asked."""
    done = shell.override("--reason", reason)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--reason must say why" in done.stderr
    assert shell.ledger.asked == []


def test_a_missing_reason_is_a_usage_error(shell: Shell) -> None:
    """Exit 2, by the option's name."""
    done = shell.run("canary", "override", "run-7", "--yes", "--url", shell.url)
    assert (done.returncode, "--reason" in done.stderr) == (2, True)


def test_only_a_hold_with_true_files_is_overridden(shell: Shell) -> None:
    """PROMOTE, an edited verdict, a changed sample, a failed smoke check, no run: exit 2."""
    runs = shell.home / "runs"
    shell.held(runs / "good", slower=1.0)
    edited = shell.held(runs / "edited")
    told = json.loads((edited / "verdict.json").read_text())
    (edited / "verdict.json").write_text(json.dumps(told | {"verdict": "PROMOTE"}))
    swapped = shell.held(runs / "swapped")
    shutil.copy(swapped / "base.lat", swapped / "cand.lat")
    smoke = runs / "smoke"
    smoke.mkdir()
    (smoke / "verdict.json").write_text(json.dumps({"verdict": "HOLD", "kind": "smoke"}))
    for name, message in (
        ("good", "the verdict of good is PROMOTE: there is nothing to override"),
        ("edited", "does not follow from its samples"),
        ("swapped", "does not follow from its samples"),
        ("smoke", "failed its smoke check"),
        ("absent", "is no run with a canary's verdict"),
        ("../runs/absent", "is no run with a canary's verdict"),
    ):
        done = shell.override("--of", name)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert shell.ledger.asked == []


def test_a_run_is_overridden_once(shell: Shell) -> None:
    """The second try is a finding that names the first; the ledger is not asked again."""
    shell.override()
    done = shell.override("--reason", "another reason")
    assert done.returncode == 1
    assert f"run-7 is overridden already, by operator@platform: {REASON}" in done.stderr
    assert len(shell.ledger.asked) == 1


def test_an_override_that_lost_its_file_is_made_again_from_the_ledger(shell: Shell) -> None:
    """The same words again are fine; others are not recorded, and that is told."""
    shell.override()
    (shell.folder / "override.json").unlink()
    done = shell.override()
    assert done.returncode == 0, done.stderr
    (shell.folder / "override.json").unlink()
    done = shell.override("--reason", "another reason")
    assert done.returncode == 1
    assert "your reason was not recorded" in done.stderr
    assert json.loads((shell.folder / "override.json").read_text())["reason"] == REASON
    assert len(shell.ledger.leaves) == 2


def test_a_platform_that_is_down_overrides_nothing(shell: Shell) -> None:
    """Nobody answers: exit 3, no file, and the run is held as before."""
    done = shell.run(
        *("canary", "override", "run-7", "--reason", "x", "--yes"), "--url", "http://127.0.0.1:9"
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert not (shell.folder / "override.json").exists()
    assert shell.decision().returncode == 1


def test_an_override_without_its_proof_does_not_count_yet(shell: Shell) -> None:
    """The service dies after recording: exit 3, no file; the command again completes it."""
    shell.ledger.mute = True
    done = shell.override()
    assert (done.returncode, done.stdout) == (3, "")
    assert "without its proof it does not count" in done.stderr
    assert not (shell.folder / "override.json").exists()
    assert shell.decision().returncode == 1
    shell.ledger.mute = False
    assert shell.override().returncode == 0
    assert len(shell.ledger.leaves) == 2
    assert shell.decision().returncode == 0


def test_a_refusal_of_policy_is_told(shell: Shell) -> None:
    """403: exit 4 with the service's words; nothing is written."""
    shell.ledger.refusal = (403, {"error": {"message": "policy denies it", "hint": "ask"}})
    done = shell.override()
    assert (done.returncode, done.stdout) == (4, "")
    assert "policy denies it" in done.stderr
    assert not (shell.folder / "override.json").exists()


def test_without_a_terminal_nobody_is_asked(shell: Shell) -> None:
    """Exit 2 without --yes, before the ledger is told."""
    done = shell.run("canary", "override", "run-7", "--reason", "x", "--url", shell.url)
    assert (done.returncode, shell.ledger.asked) == (2, [])


@pytest.mark.parametrize(("typed", "code", "asked"), [("run-7", 0, 1), ("yes", 5, 0)])
def test_the_runs_name_is_typed(shell: Shell, typed: str, code: int, asked: int) -> None:
    """At a terminal the run's name must be typed; any other word declines."""
    leader, follower = pty.openpty()
    try:
        command = [*MCCTL, "canary", "override", "run-7", "--reason", "x", "--url", shell.url]
        with child(
            command, env=shell.env, stdin=follower, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as started:
            os.write(leader, typed.encode() + b"\n")
            started.communicate(timeout=60)
            assert (started.returncode, len(shell.ledger.asked)) == (code, asked)
    finally:
        os.close(leader)
        os.close(follower)


def test_slack_is_told_and_its_failure_changes_nothing(shell: Shell) -> None:
    """A webhook that is down is a warning: the override stands, and the URL is not shown."""
    done = shell.override(SLACK_WEBHOOK_URL="http://127.0.0.1:9/s3cr3t")
    assert done.returncode == 0
    assert "the override stands" in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    told: dict[str, Any] = json.loads((shell.folder / "override.json").read_text())
    assert told["reason"] == REASON


CHANGES = {
    "restarted": ({}, "green-1 is another process: instance was "),
    "other code": ({"code": "f" * 64}, "code was "),
    "other settings": ({"configuration": "f" * 64}, "configuration was "),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_candidate_that_was_exchanged_is_not_what_was_overridden(
    shell: Shell, tmp_path: Path, change: str
) -> None:
    """After the override: decision and evidence find it; before it: nothing is recorded."""
    other, told = CHANGES[change]
    shell.override()
    assert shell.decision().returncode == 0
    shell.green.begin(**other)
    decided = shell.decision()
    assert decided.returncode == 1
    assert decided.stdout.startswith("HOLD (regressed")  # what it came to is told all the same
    assert told in decided.stderr
    packing = ("evidence", "pack", "--canary", shell.folder, "--out", tmp_path / "evidence-v9.json")
    packed = shell.run(*packing, "--url", shell.green.url)
    assert packed.returncode == 1
    assert "nothing is signed: what serves (serving.json)" in packed.stderr
    assert not (tmp_path / "evidence-v9.json").exists()
    shell.held(shell.home / "runs" / "run-9")
    shell.green.begin(**other)
    done = shell.override("--of", "run-9")
    assert (done.returncode, len(shell.ledger.asked)) == (1, 1)
    assert "the candidate is not what run-9 compared" in done.stderr


def test_a_promote_is_held_against_its_candidate_too(shell: Shell) -> None:
    """The window between verdict and cutover is as open there."""
    shell.held(shell.home / "runs" / "good", slower=1.0)
    assert shell.decision("good").returncode == 0
    shell.green.health["running"]["policy_set"] = "f" * 64  # in the same process
    decided = shell.decision("good")
    assert (decided.returncode, "green-1: policy set was " in decided.stderr) == (1, True)


def test_a_run_that_recorded_nothing_decides_nothing(shell: Shell) -> None:
    """A canary of an earlier version: exit 3, with what to do."""
    held(shell.home / "runs" / "old", slower=1.0)
    decided = shell.decision("old")
    assert decided.returncode == 3
    assert "does not record what it measured" in decided.stderr
    assert "run the canary again" in decided.stderr
    assert shell.override("--of", str(held(shell.home / "runs" / "older"))).returncode == 3
    assert shell.ledger.asked == []


def test_two_people_named_at_once_are_refused(shell: Shell) -> None:
    """--as and MC_TOKEN_FILE: who of them would act, nobody could know."""
    done = shell.override("--as", "OPERATOR_2")
    assert (done.returncode, shell.ledger.asked) == (2, [])
    assert "--as OPERATOR_2 and MC_TOKEN_FILE both name who acts" in done.stderr
    done = shell.override()
    assert "acting as the holder of the token in MC_TOKEN_FILE, key id 0123456789ab" in done.stderr


def test_a_candidate_that_tells_strangers_nothing_cannot_be_told(shell: Shell) -> None:
    """No finding is made of an answer without what is needed: exit 3. A stopped one is gone."""
    shell.held(shell.home / "runs" / "good", slower=1.0)
    shell.green.health = {"status": "ok", "service": "agent-workbench", "version": "9"}
    decided = shell.decision("good")
    assert decided.returncode == 3
    assert "did not report what runs there" in decided.stderr
    with replica("green-1") as stopped:
        held(shell.home / "runs" / "gone", slower=1.0, healths={stopped.url: stopped.health})
    decided = shell.decision("gone")
    assert (decided.returncode, "green-1 is gone" in decided.stderr) == (1, True)
