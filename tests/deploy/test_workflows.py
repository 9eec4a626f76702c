"""The workflows: linted by actionlint and zizmor, and the canary's script run as a runner does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.forked import MCCTL

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CANARY = ROOT / ".github" / "workflows" / "canary-analysis.yml"
_PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
_SPEC = importlib.util.spec_from_file_location(
    "fake_edge", ROOT / "tests" / "unit" / "mc_ops" / "canary" / "fake_edge.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
fake_edge = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault("fake_edge", fake_edge)
_SPEC.loader.exec_module(fake_edge)


def _tool(name: str, *places: Path) -> str:
    found = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed here; .ci/run installs it where it can")
    return found


def _workflow() -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true
    read: dict[Any, Any] = yaml.safe_load(CANARY.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in read.items()}


def _steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = _workflow()["jobs"]["canary"]["steps"]
    return steps


def _compare() -> dict[str, Any]:
    [step] = [step for step in _steps() if step.get("id") == "compare"]
    return step


def test_actionlint_finds_nothing() -> None:
    """Every workflow is well-formed: contexts, expressions, inputs, shell."""
    tool = _tool("actionlint", ROOT / ".tools")
    done = subprocess.run(
        [tool, "-no-color", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing() -> None:
    """No injection, no over-broad permission, no unpinned action: zizmor without its network."""
    tool = _tool("zizmor", Path(sys.executable).parent)
    done = subprocess.run(
        [tool, "--offline", "--no-progress", "--color=never", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_by_its_commit() -> None:
    """`uses` names a full commit, with the version beside it for people."""
    for path in WORKFLOWS:
        used = [line.strip("- ") for line in path.read_text().splitlines() if "uses:" in line]
        assert used
        assert [line for line in used if not _PINNED.fullmatch(line.strip())] == []


def test_canary_workflow_has_the_runbooks_names_and_least_rights() -> None:
    """Inputs and artefact as the runbook types them; it may read the code and nothing else."""
    said = _workflow()
    assert set(said["on"]) == {"workflow_dispatch"}
    assert set(said["on"]["workflow_dispatch"]["inputs"]) == {"baseline", "candidate", "minutes"}
    assert said["permissions"] == {}
    job = said["jobs"]["canary"]
    assert job["permissions"] == {"contents": "read"}
    [upload] = [step for step in _steps() if "upload-artifact" in step.get("uses", "")]
    assert upload["with"]["name"] == "canary-samples"
    assert upload["if"].startswith("always()")


def test_canary_workflow_keeps_inputs_out_of_scripts_and_secrets_in_one_step() -> None:
    """No expression stands in a script, and only the comparing step sees a secret."""
    for step in _steps():
        assert "${{" not in step.get("run", "")
        if step.get("id") != "compare":
            assert "secrets." not in json.dumps(step)
    assert "secrets." not in json.dumps({**_workflow(), "jobs": None})
    assert set(_compare()["env"]) == {
        *("BASELINE", "CANDIDATE", "MINUTES"),
        *("MC_CANARY_TOKEN", "SLACK_WEBHOOK_URL"),
    }


Edge = Callable[..., Any]


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Start fake edges, which end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(fake_edge.serving(fake_edge.FakeEdge(**how)))


def _step(
    folder: Path, baseline: str, candidate: str, minutes: str = "1", token: str = ""
) -> dict[str, Any]:
    """How the step's own script is started, in the shell that a runner gives it."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "mcctl").symlink_to(MCCTL)
    return {
        "args": ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", _compare()["run"]],
        "cwd": folder,
        "env": {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "MC_HOME": str(folder / "home"),
            "NO_COLOR": "1",
            "BASELINE": baseline,
            "CANDIDATE": candidate,
            "MINUTES": minutes,
            "MC_CANARY_TOKEN": token,
            "SLACK_WEBHOOK_URL": "",
            "GITHUB_STEP_SUMMARY": str(folder / "step-summary.md"),
        },
        "text": True,
    }


def _run_step(folder: Path, *sides: str, **more: str) -> subprocess.CompletedProcess[str]:
    started = _step(folder, *sides, **more)
    return subprocess.run(**started, capture_output=True, check=False, timeout=120)


def test_a_cancelled_canary_keeps_its_samples_and_reports_them(
    edge: Edge, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """The runner's signals reach the step's shell alone; twice, for the second finds mcctl at work."""
    base, cand = edge(), edge()
    started = _step(tmp_path, base.url, cand.url, minutes="5", token=fake_edge.TOKEN)
    with (tmp_path / "output").open("w") as output:
        step = subprocess.Popen(**started, stdout=output, stderr=output, start_new_session=True)
        wait_until(lambda: len(cand.questions) > 300, what="some pairs are measured")
        step.send_signal(signal.SIGINT)
        step.send_signal(signal.SIGTERM)
        assert step.wait(60) == 5, (tmp_path / "output").read_text()
    kept = tmp_path / "canary-samples"
    assert {path.name for path in kept.iterdir()} == {
        *("base.lat", "cand.lat", "verdict.json"),
        *("report.png", "report.html", "summary.md"),
    }
    told = json.loads((kept / "verdict.json").read_text())
    assert (told["stopped"], told["verdict"]) == ("interrupted", "HOLD")
    assert len((kept / "base.lat").read_text().splitlines()) == told["baseline"]["n"] > 0
    summary = (tmp_path / "step-summary.md").read_text()
    assert "HOLD" in summary
    assert "No verdict" not in summary


def test_canary_step_ends_as_the_verdict_does_with_samples_and_summary(
    edge: Edge, tmp_path: Path
) -> None:
    """A failing candidate: exit 1, the files that are uploaded, and a summary that says HOLD.

    Instances of the baseline are given as a person would type them, or have in a list.
    """
    one, two, three, cand = edge(), edge(), edge(), edge(error_every=3)
    given = f"{one.url} {two.url}\n{three.url}"
    done = _run_step(tmp_path, given, cand.url, token=fake_edge.TOKEN)
    assert done.returncode == 1, done.stderr
    assert "✘ HOLD (errors)" in done.stdout
    names = {path.name for path in (tmp_path / "canary-samples").iterdir()}
    assert names == {
        *("base.lat", "cand.lat", "verdict.json"),
        *("report.png", "report.html", "summary.md"),
    }
    told = json.loads((tmp_path / "canary-samples" / "verdict.json").read_text())
    assert len(told["urls"]["baseline"]) == 3
    summary = (tmp_path / "step-summary.md").read_text()
    assert summary.startswith("## ⛔ Canary: HOLD (errors, rehearsal, margin 25 %)")
    assert "No verdict" not in summary
    assert fake_edge.TOKEN not in done.stdout + done.stderr + summary


@pytest.mark.parametrize(
    ("sides", "minutes", "token", "code", "text"),
    [
        (("nonsense", "http://127.0.0.1:9"), "1", "mc_x", 2, "not an http(s) URL"),
        (("http://127.0.0.1:9", "http://127.0.0.1:10"), "0.1", "mc_x", 2, "cannot decide"),
        (("", "http://127.0.0.1:10"), "1", "mc_x", 2, "--baseline"),
        (("http://127.0.0.1:9", "http://127.0.0.1:10"), "1;id", "mc_x", 2, "--minutes"),
        (("$(touch pwned)", "`touch pwned`"), "1", "mc_x", 2, "not an http(s) URL"),
        (("http://127.0.0.1:9", "http://127.0.0.1:10"), "1", "mc_x", 3, "cannot connect"),
        (("http://127.0.0.1:9", "http://127.0.0.1:10"), "1", "", 4, "no token"),
    ],
)
def test_canary_step_that_gives_no_verdict_says_so(
    tmp_path: Path, sides: tuple[str, str], minutes: str, token: str, code: int, text: str
) -> None:
    """Bad input, a side that is down, no token: mcctl's code, a summary, and nothing was run."""
    done = _run_step(tmp_path, *sides, minutes=minutes, token=token)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    summary = (tmp_path / "step-summary.md").read_text()
    assert summary == f"## No verdict: mcctl ended with exit code {code}\n"
    assert not (tmp_path / "pwned").exists()
