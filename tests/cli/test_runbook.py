"""`mcctl runbook` as a user runs it: a process, its exit code, its stdout and stderr."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests import forked

MCCTL = [forked.MCCTL]
RUNBOOK = """# Demo

```yaml runbook
id: demo
title: A demo
parameters:
- {name: CODE, default: "0", pattern: "[0-9]+", help: how it ends}
- {name: SEEN, set_by: first}
```

```sh step=first title="Look around" repeat=safe
echo looking at $ENV
echo "SEEN=yes" >> "$STEP_OUTPUT"
```
```sh step=second title="End" repeat=safe
echo it ends here
test -e ready || exit $CODE
```
> If it fails: touch ready.

> If it fails with exit 1: it was held; touch ready.
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "demo.md").write_text(RUNBOOK)
    return tmp_path


def start(place: Path, *args: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MCCTL, "runbook", *args],
        cwd=place,
        env=_env(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def _env(place: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "MC_HOME": str(place / "home"), "NO_COLOR": "1"}


def mcctl(place: Path, *args: str, cwd: Path | None = None) -> tuple[int, str, str]:
    done = forked.run([*MCCTL, "runbook", *args], cwd=cwd or place, env=_env(place))
    return done.returncode, done.stdout, done.stderr


def test_run_passes_and_tells_its_result(place: Path) -> None:
    """Exit 0; progress on stderr, the outcome and what steps determined on stdout."""
    code, out, err = mcctl(place, "run", "demo")
    assert code == 0, err
    assert re.search(r": passed, 2 of 2 steps in \S+ s\n  SEEN=yes\n  logs: \S+/logs\n$", out)
    assert "step 1/2  Look around\nlooking at local\n✔ ok  first" in err


@pytest.mark.parametrize(("code", "shown"), [(0, False), (1, True)])
def test_on_a_terminal_a_steps_output_is_folded(place: Path, code: int, shown: bool) -> None:
    """What a step wrote is shown only where it fails; all of it is in the folder that is named."""
    master, slave = pty.openpty()
    process = start(place, "run", "demo", "--set", f"CODE={code}", stderr=slave)
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError), os.fdopen(master, "rb", buffering=0) as terminal:
        while data := terminal.read(4096):
            seen += data
    out, _ = process.communicate(timeout=60)
    assert b"ok" in seen
    assert b"looking at" not in seen
    assert (b"ends here" in seen) is shown
    logs = Path(out.rpartition("logs: ")[2].strip())
    assert "looking at local" in (logs / "01-first.1.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("env", ["local", "kubernetes"])
def test_run_failure_tells_what_next_and_resume_goes_on(place: Path, env: str) -> None:
    """A failing step's code is the run's; advice and the resume command are told and work, where it ran."""
    code, _, err = mcctl(place, "run", "demo", "--set", "CODE=1", "--env", env)
    assert code == 1
    assert "✘ failed  second" in err
    assert "stopped at step second: a check failed (exit 1)" in err
    assert "→ it was held; touch ready." in err
    command = err.strip().splitlines()[-1].partition("mcctl runbook ")[2].split()
    (place / "ready").touch()
    code, out, err = mcctl(place, *command)
    assert (code, "step 1/2  Look around: passed already" in err) == (0, True)
    code, out, err = mcctl(place, "run", command[-1], "--resume")
    assert (code, "has passed already; nothing to do" in err) == (0, True)
    code, out, _ = mcctl(place, "status", "--output", "json")
    told = json.loads(out)
    assert (code, told["outcome"], told["steps"][1]["attempts"]) == (0, "passed", 2)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["run", "demo", "--set", "CODE=8"], 8, "waiting"),
        (["run", "demo", "--set", "CODE=x"], 2, "does not match"),
        (["run", "demo", "--minutes", "1"], 2, "no parameter 'MINUTES'"),
        (["run", "demo", "--env", "moon"], 2, "not supported"),
        (["run", "nope"], 2, "known runbooks: demo"),
        (["run", "demo", "--resume"], 2, "no run of demo"),
        (["status"], 2, "no run in"),
    ],
)
def test_exit_codes(place: Path, args: list[str], code: int, text: str) -> None:
    """Each kind of end has its code and says why on stderr."""
    got, _, err = mcctl(place, *args)
    assert (got, text in err) == (code, True), err


def test_unusable_input_tells_a_new_run(place: Path) -> None:
    """Exit 2: a resumed run would keep its parameters, so a new one is told, advice is not."""
    code, _, err = mcctl(place, "run", "demo", "--set", "CODE=2")
    assert code == 2
    assert "stopped at step second: invalid input, see above (exit 2)" in err
    assert "mcctl runbook run demo --env local --set CODE=2" in err
    assert "--resume" not in err
    assert "touch ready" not in err


def test_an_undo_that_ran_is_told_as_that(place: Path) -> None:
    """It may have had nothing to take back: only the undo itself knows, and says it."""
    undo = "```sh undo=second\necho there was nothing to undo\n```\n> If it fails: touch"
    text = RUNBOOK.replace("> If it fails: touch", undo)
    (place / "runbooks" / "demo.md").write_text(text)
    code, _, err = mcctl(place, "run", "demo", "--set", "CODE=1")
    assert code == 1
    assert "there was nothing to undo" in err
    assert "→ undo run: second" in err


def test_could_not_tell_has_the_general_advice(place: Path) -> None:
    """What is about exit 1 alone is not told for exit 3."""
    code, _, err = mcctl(place, "run", "demo", "--set", "CODE=3")
    assert (code, "→ touch ready." in err, "held" in err) == (3, True, False), err


def test_dry_run_runs_nothing(place: Path) -> None:
    """A dry run prints every step's script and leaves nothing behind, not even a state folder."""
    code, out, _ = mcctl(place, "run", "demo", "--dry-run")
    assert (code, "2. run  second: End\n     echo it ends here" in out) == (0, True)
    assert sorted(path.name for path in place.iterdir()) == ["runbooks"]


def test_lint_tells_line_and_reason(place: Path) -> None:
    """A runbook with a defect: exit 1, and a line that editors can jump to."""
    (place / "bad.md").write_text(RUNBOOK + "```sh check=third\ntrue\n```\n")
    code, out, _ = mcctl(place, "lint", "bad.md")
    line = RUNBOOK.count("\n") + 1
    assert (code, out.startswith(f"bad.md:{line}: check for unknown step 'third'")) == (1, True)
    assert mcctl(place, "lint", "demo")[0] == 0


def test_list_and_show(place: Path) -> None:
    """The list names each runbook; show gives its steps, also as JSON."""
    assert mcctl(place, "list")[1].split(maxsplit=1) == ["demo", "A demo\n"]
    told = json.loads(mcctl(place, "show", "demo", "--output", "json")[1])
    assert [step["id"] for step in told["steps"]] == ["first", "second"]


def test_interrupt_exits_5(place: Path) -> None:
    """Ctrl-C ends the running step and the run exits 5, to be resumed."""
    text = RUNBOOK.replace("test -e ready", "touch begun; test -e ready || sleep 77")
    (place / "runbooks" / "demo.md").write_text(text)
    process = start(place, "run", "demo")
    deadline = time.monotonic() + 60
    while not (place / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "stopped at step second: interrupted by Ctrl-C or a signal" in err
    assert "touch ready" not in err
    assert "--resume demo-" in err


@pytest.mark.parametrize(
    ("file", "folder"),
    [("runbooks/demo.md", "."), ("runbooks/demo.md", "other"), ("my [1] demo.md", "other")],
)
def test_status_names_the_command_that_goes_on(place: Path, file: str, folder: str) -> None:
    """It named the runbook's id, which is no runbook where the run was one of a file, or elsewhere."""
    (place / "other").mkdir()
    (place / "runbooks" / "demo.md").rename(place / file)
    assert mcctl(place, "run", file, "--set", "CODE=1")[0] == 1
    away = place / folder
    _, _, err = mcctl(place, "status", cwd=away)
    command = err.rpartition("go on with it: mcctl runbook ")[2]
    (place / "ready").touch()
    code, _, err = mcctl(place, *shlex.split(command), cwd=away)
    assert code == 0, err
    assert "step 1/2  Look around: passed already" in err
