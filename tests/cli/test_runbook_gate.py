"""`mcctl runbook approve` and gates at a terminal, as people meet them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from tests import forked

RUNBOOK = """```yaml runbook
id: demo
title: A demo
assignee: night shift
parameters:
- {name: NAME, default: "v1"}
- {name: KEY, secret: true}
```
```sh step=first repeat=safe retry=2 wait=1s
echo "key $KEY"
```
```text gate=ok title="Look at it"
Is $NAME fine?
```
```sh step=second when="NAME!=v1" assignee=sre
exit 1
```
"""
SECRET = "--set=KEY=env:DEMO_KEY"
KEY = "very-s3cret-of-the-demo"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "demo.md").write_text(RUNBOOK)
    return tmp_path


def _env(place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "MC_HOME": str(place / "home"), "NO_COLOR": "1", "DEMO_KEY": KEY}


def mcctl(place: Path, *args: str) -> tuple[int, str, str]:
    done = forked.run([forked.MCCTL, "runbook", *args], cwd=place, env=_env(place))
    assert KEY not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def waiting(place: Path) -> str:
    code, out, err = mcctl(place, "run", "demo", SECRET, "--yes")
    assert code == 8, err
    assert "gate ok: Look at it  (for night shift)\n  Is v1 fine?\n  sha256 " in err
    assert "stopped at step ok: it waits for a person (exit 8)" in err
    return out.split(":", 1)[0]


def test_plan_and_status_show_who_and_when(place: Path) -> None:
    """Assignee, condition, retries and the gate in the plan; the gate's command in the status."""
    code, out, _ = mcctl(place, "run", "demo", SECRET, "--dry-run")
    assert code == 0
    assert "2. approve  ok: Look at it\n     (for night shift)\n     Is v1 fine?" not in out
    assert "3. omit  second: second  (only when NAME!=v1; NAME is 'v1')\n     (for sre)" in out
    assert "(up to 2 retries, the first after 1" in out
    run_id = waiting(place)
    code, out, err = mcctl(place, "status")
    assert "… waiting  ok  for night shift" in out
    assert f"gate ok: mcctl runbook approve {run_id} --gate ok (for night shift)" in err
    told = json.loads(mcctl(place, "status", "--output", "json")[1])
    gate = next(step["gate"] for step in told["steps"] if "gate" in step)
    assert (gate["text"], gate["decision"]) == ("Is v1 fine?\n", None)
    assert set(told["started_by"]) == {"user", "host"}


def test_approved_from_elsewhere_and_resumed(place: Path) -> None:
    """The reference is asked for again; a second approval, and one after the end, are refused."""
    run_id = waiting(place)
    for args in (("approve", "demo-unknown"), ("approve", run_id, "--gate", "other")):
        assert mcctl(place, *args)[0] == 2
    code, out, err = mcctl(place, "approve", run_id, "--reason", "seen", "--output", "json")
    assert code == 0, err
    assert json.loads(out)["decision"]["reason"] == "seen"
    assert "(the system's user; no token)" in mcctl(place, "status")[1]
    code, _, err = mcctl(place, "approve", run_id, "--reject")
    assert (code, "ok was approved by" in err) == (2, True), err
    code, _, err = mcctl(place, "run", "demo", "--resume", run_id)
    assert (code, "the secret KEY is missing" in err) == (2, True), err
    code, out, err = mcctl(place, "run", "demo", "--resume", run_id, SECRET)
    assert (code, "2 of 3 steps, 1 skipped" in out) == (0, True), out + err
    assert mcctl(place, "approve", run_id)[0] == 2


def test_a_value_in_place_of_a_reference_is_not_repeated(place: Path) -> None:
    """It stands on the command line already; no message, no file has it."""
    code, _, err = mcctl(place, "run", "demo", f"--set=KEY={KEY}")
    assert (code, "must be given by reference" in err) == (2, True)
    assert not list((place / "home").rglob("journal.jsonl"))


@pytest.mark.parametrize(
    ("typed", "code", "text"),
    [
        (b"what\napprove seen it\n", 0, "approved by"),
        (b"reject no\n", 1, "a person rejected it"),
        (b"later\n", 8, "it waits for a person"),
    ],
)
def test_at_a_terminal(place: Path, typed: bytes, code: int, text: str) -> None:
    """What is typed decides, with its reason; anything else is asked again."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [forked.MCCTL, "runbook", "run", "demo", SECRET],
        cwd=place,
        env=_env(place),
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    sent = False
    try:
        while data := os.read(master, 4096):
            seen += data
            if b"leave the run waiting?" in seen and not sent:
                os.write(master, typed)
                sent = True
    except OSError:  # the terminal is gone with its last process
        pass
    os.close(master)
    assert process.wait(60) == code, seen.decode()
    assert text in " ".join(seen.decode().split())
    assert KEY.encode() not in seen


KUBECTL = """#!/bin/sh
echo "$*" >> "$ASKED"
echo '{"data": {"SIEM_KEY": "dmVyeS1zM2NyZXQtb2YtdGhlLWRlbW8="}}'
"""


@pytest.mark.parametrize(
    ("reference", "code", "said"),
    [
        ("mc-platform-secrets/SIEM_KEY", 8, "it waits for a person"),
        ("mc-platform-secrets/OTHER", 2, "has no key OTHER with a text"),
    ],
)
def test_a_secret_of_a_cluster(place: Path, reference: str, code: int, said: str) -> None:
    """kubectl is asked in the namespace of MC_NAMESPACE; a key that is not there is no empty secret."""
    (place / "bin").mkdir()
    (place / "bin" / "kubectl").write_text(KUBECTL)
    (place / "bin" / "kubectl").chmod(0o755)
    env = {**_env(place), "ASKED": str(place / "asked"), "MC_NAMESPACE": "mine"}
    env["PATH"] = f"{place / 'bin'}:{env['PATH']}"
    command = [forked.MCCTL, "runbook", "run", "demo", f"--set=KEY=kubernetes:{reference}"]
    done = forked.run(command, cwd=place, env=env)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert (place / "asked").read_text() == "get secret mc-platform-secrets -n mine -o json\n"
    assert KEY not in done.stdout + done.stderr
