"""`mcctl canary` as a user runs it: a process, its exit code, its stdout and stderr."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from tests import forked
from tests.children import child

_FAKE = Path(__file__).parents[1] / "unit" / "mc_ops" / "canary" / "fake_edge.py"
_SPEC = importlib.util.spec_from_file_location("fake_edge", _FAKE)
assert _SPEC is not None
assert _SPEC.loader is not None
fake_edge = importlib.util.module_from_spec(_SPEC)
sys.modules.setdefault("fake_edge", fake_edge)
_SPEC.loader.exec_module(fake_edge)

TOKEN = fake_edge.TOKEN
MCCTL = str(Path(__file__).with_name("mcctl_on_a_busy_machine.py"))
Edge = Callable[..., Any]


@pytest.fixture
def edge() -> Iterator[Edge]:
    """Start fake edges: `edge(latency_s=0.02)`; they end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(fake_edge.serving(fake_edge.FakeEdge(**how)))


def _env(home: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {"MC_HOME": str(home), "MC_CANARY_TOKEN": TOKEN, "NO_COLOR": "1"} | more


def _mcctl(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return forked.run([MCCTL, "canary", *args], env=_env(home, **env))


def _write(path: Path, latencies: Any) -> str:
    path.write_text("".join(f"{value:.6f}\n" for value in latencies))
    return str(path)


def _latencies(n: int, seed: int) -> Any:
    return 0.01 * np.random.default_rng(seed).lognormal(0, 0.2, n)


def test_judge_equal_files_promotes_with_exit_0(tmp_path: Path) -> None:
    """Equal sides: PROMOTE on stdout, exit 0, nothing on stderr."""
    base = _write(tmp_path / "base.lat", _latencies(20_000, 1))
    cand = _write(tmp_path / "cand.lat", _latencies(20_000, 2))
    done = _mcctl(tmp_path, "judge", base, cand)
    assert done.returncode == 0
    assert done.stdout.startswith("✔ PROMOTE (promoted): the candidate's p95 is ")
    assert "rehearsal" not in done.stdout
    assert "runbook     " in done.stdout
    assert done.stderr == ""


def test_judge_slower_file_holds_with_exit_1_in_json(tmp_path: Path) -> None:
    """A slower candidate: HOLD as JSON with the promised keys, exit 1."""
    base = _write(tmp_path / "base.lat", _latencies(20_000, 1))
    cand = _write(tmp_path / "cand.lat", 1.2 * _latencies(20_000, 2))
    done = _mcctl(tmp_path, "judge", base, cand, "--output", "json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["schema_version"], found["verdict"], found["kind"]) == (1, "HOLD", "regressed")
    assert found["baseline"]["n"] == 20_000


def test_judge_rehearsal_is_said(tmp_path: Path) -> None:
    """A margin above 5 % is called a rehearsal."""
    base = _write(tmp_path / "base.lat", _latencies(3000, 1))
    done = _mcctl(tmp_path, "judge", base, base, "--margin", "0.25")
    assert done.returncode == 0
    assert "rehearsal, margin 0.25; not the full verdict" in done.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [("0.1\nbad\n", "line 2: expected a latency"), ("", "no samples"), (None, "cannot be read")],
)
def test_judge_unusable_file_exit_2(tmp_path: Path, content: str | None, message: str) -> None:
    """A file that cannot be used: exit 2, file and line on stderr, nothing on stdout."""
    good = _write(tmp_path / "base.lat", [0.1] * 10)
    bad = tmp_path / "cand.lat"
    if content is not None:
        bad.write_text(content)
    done = _mcctl(tmp_path, "judge", good, str(bad))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "cand.lat" in done.stderr


def test_judge_of_a_device_exit_2(tmp_path: Path) -> None:
    """What has no end is refused at once, by name."""
    good = _write(tmp_path / "base.lat", [0.1] * 10)
    done = _mcctl(tmp_path, "judge", good, "/dev/zero")
    assert (done.returncode, done.stdout) == (2, "")
    assert "/dev/zero is not a regular file" in done.stderr


def _slack(posted: list[Any]) -> web.Application:
    async def webhook(request: web.Request) -> web.Response:
        body = await request.json()
        if not body.get("text") and not body.get("blocks"):
            return web.Response(status=400, text="no_text")
        posted.append(body)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/hook", webhook)
    return app


def test_a_run_without_a_verdict_is_posted(edge: Edge, tmp_path: Path) -> None:
    """Whoever waits for a message learns that none of PROMOTE and HOLD will come; exit 3 stays."""
    posted: list[Any] = []
    with fake_edge.serving_app(_slack(posted)) as slack:
        done = _mcctl(
            tmp_path,
            *("run", "--baseline", "http://127.0.0.1:9", "--candidate", edge().url),
            *("--minutes", "1"),
            SLACK_WEBHOOK_URL=f"{slack}/hook",
        )
    assert done.returncode == 3, done.stderr
    assert posted[0]["text"].startswith("Canary: no verdict: baseline http://127.0.0.1:9")


def test_run_promotes_posts_and_writes_files(edge: Edge, tmp_path: Path) -> None:
    """Equal sides: exit 0, JSON alone on stdout, files under MC_HOME, a message in Slack."""
    posted: list[Any] = []
    # Slow enough that a busy test machine adds little to it.
    base, cand = edge(latency_s=0.2), edge(latency_s=0.2)
    with fake_edge.serving_app(_slack(posted)) as slack:
        done = _mcctl(
            tmp_path,
            *("run", "--baseline", base.url, "--candidate", cand.url, "--minutes", "0.05"),
            *("--rate", "120", "--margin", "1.0", "--output", "json"),
            SLACK_WEBHOOK_URL=f"{slack}/hook",
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["rehearsal"]) == ("PROMOTE", True)
    assert {path.name for path in Path(found["out_dir"]).iterdir()} == {
        *("base.lat", "cand.lat", "verdict.json"),
        *("report.png", "report.html", "summary.md"),
    }
    assert Path(found["out_dir"]).parent == tmp_path / "runs"
    assert "(rehearsal, margin 1.0; not the full verdict)" in done.stderr
    assert posted[0]["text"].startswith("Canary: PROMOTE (rehearsal, margin 1.0)")
    assert TOKEN not in done.stdout + done.stderr


def test_run_failing_candidate_exit_1_even_when_slack_is_down(edge: Edge, tmp_path: Path) -> None:
    """HOLD stays HOLD when Slack cannot be reached; the webhook's URL is not shown."""
    base, cand = edge(), edge(error_every=8)
    done = _mcctl(
        tmp_path,
        *("run", "--baseline", base.url, "--candidate", cand.url, "--minutes", "0.05"),
        *("--rate", "200", "--margin", "0.5"),
        SLACK_WEBHOOK_URL="http://127.0.0.1:9/s3cr3t",
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("✘ HOLD (errors): the candidate alone failed in ")
    [again] = [line for line in done.stdout.splitlines() if "again by" in line]
    command = shlex.split(again.partition("again by")[2])
    assert command[-4:] == ["--margin", "0.5", "--planned-pairs", "600"]
    judged = _mcctl(tmp_path, *command[2:])
    assert (judged.returncode, judged.stdout.splitlines()[0]) == (1, done.stdout.splitlines()[0])
    assert "the verdict stands\n  → check the network and SLACK_WEBHOOK_URL" in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr


def test_run_whose_report_cannot_be_written_keeps_its_verdict(edge: Edge, tmp_path: Path) -> None:
    """A folder stands where the picture goes: a warning, and HOLD by its own exit code.

    The step's summary cannot be written either, and a workflow's Slack link is its run's page.
    """
    out = tmp_path / "out"
    (out / "report.png").mkdir(parents=True)
    base, cand = edge(), edge(error_every=8)
    done = _mcctl(
        tmp_path,
        *("run", "--baseline", base.url, "--candidate", cand.url, "--minutes", "0.05"),
        *("--rate", "200", "--margin", "0.5", "--out-dir", str(out)),
        GITHUB_STEP_SUMMARY=str(tmp_path),
    )
    assert done.returncode == 1, done.stderr
    assert "✘ HOLD (errors)" in done.stdout
    assert "cannot be written" in done.stderr
    assert "the verdict stands" in done.stderr


def test_run_into_another_runs_folder_leaves_it_alone(tmp_path: Path) -> None:
    """Samples of two runs must not mix, and no report of the other one is told as this one's."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "verdict.json").write_text("{}")
    summary = tmp_path / "step.md"
    done = _mcctl(
        tmp_path,
        *("run", "--baseline", "http://127.0.0.1:9", "--candidate", "http://127.0.0.1:10"),
        *("--minutes", "1", "--out-dir", str(out)),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert (done.returncode, "already has verdict.json" in done.stderr) == (2, True)
    assert [path.name for path in out.iterdir()] == ["verdict.json"]
    assert not summary.exists()


def test_report_of_a_run_and_of_files(tmp_path: Path) -> None:
    """From a run by its name, from two files; a changed verdict is refused, as is neither."""
    run = tmp_path / "runs" / "r1"
    run.mkdir(parents=True)
    base = _write(run / "base.lat", _latencies(3000, 1))
    cand = _write(run / "cand.lat", _latencies(3000, 2))
    judged = _mcctl(tmp_path, "judge", base, cand, "--margin", "0.25", "--output", "json")
    (run / "verdict.json").write_text(judged.stdout)
    done = _mcctl(tmp_path, "report", "r1", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == [
        str(run / name) for name in ("report.png", "report.html", "summary.md")
    ]
    out = tmp_path / "elsewhere"
    done = _mcctl(
        tmp_path, "report", "--base", base, "--cand", cand, "--margin", "0.25", "--out", str(out)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        str(out / name) for name in ("report.png", "report.html", "summary.md")
    ]
    told = json.loads(judged.stdout)
    (run / "verdict.json").write_text(json.dumps(told | {"verdict": "HOLD"}))
    done = _mcctl(tmp_path, "report", "r1")
    assert (done.returncode, "does not follow from its samples" in done.stderr) == (2, True)
    for args in ((), ("r1", "--base", base), ("--base", base), ("absent",)):
        assert _mcctl(tmp_path, "report", *args).returncode == 2


@pytest.mark.parametrize(
    ("args", "env", "code", "message"),
    [
        (["--baseline", "nonsense"], {}, 2, 'baseline is not an http(s) URL: "nonsense"'),
        (["--rate", "5"], {}, 2, "300 pairs cannot decide even a margin of 0.25"),
        (["--minutes", "-1"], {}, 2, "minutes must be above 0"),
        (["--candidate", "http://127.0.0.1:9/"], {}, 2, "baseline and candidate at once"),
        ([], {}, 3, "cannot connect"),
        ([], {"MC_CANARY_TOKEN": ""}, 4, "no token for the canary's tenant CANARY"),
    ],
)
def test_run_that_cannot_start_exit_code(
    tmp_path: Path, args: list[str], env: dict[str, str], code: int, message: str
) -> None:
    """What cannot start says why on stderr, with the exit code of its kind."""
    usual = {"--baseline": "http://127.0.0.1:9", "--candidate": "http://127.0.0.1:10"}
    usual |= {"--minutes": "1"} | dict(zip(args[::2], args[1::2], strict=True))
    flat = [part for pair in usual.items() for part in pair]
    done = _mcctl(tmp_path, "run", *flat, **env)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_run_refused_token_names_where_it_is_from(edge: Edge, tmp_path: Path) -> None:
    """A token of the environment that is refused: the hint names its variable, not the token."""
    done = _mcctl(
        tmp_path,
        *("run", "--baseline", edge(token="other").url, "--candidate", edge().url),
        *("--minutes", "1"),
        MC_CANARY_TOKEN="mc_bad",
    )
    assert done.returncode == 4
    assert "MC_CANARY_TOKEN" in done.stderr
    assert "mc_bad" not in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["--minutes", "10"], 0, "30000 pairs at 50/s: full verdict, margin 0.05\n"),
        (["--minutes", "1"], 0, "3000 pairs at 50/s: rehearsal, margin 0.25; not the full"),
        (["--minutes", "0.3"], 2, ""),
        (["--minutes", "0.3", "--rate", "200"], 0, "3600 pairs at 200/s: rehearsal"),
    ],
)
def test_plan_says_what_a_run_decides(
    tmp_path: Path, args: list[str], code: int, told: str
) -> None:
    """Pairs, margin and kind before anything is sent; exit 2 for what decides nothing."""
    done = _mcctl(tmp_path, "plan", *args)
    assert (done.returncode, done.stdout.startswith(told)) == (code, True), done.stdout
    assert ("cannot decide" in done.stderr) == (code == 2)


@pytest.mark.parametrize(("baselines", "warned"), [(1, False), (2, True)])
def test_run_sides_of_unequal_size_are_warned_of(
    edge: Edge, tmp_path: Path, baselines: int, warned: bool
) -> None:
    """The smaller side's instances have more to do each, which is no fault of its code."""
    urls = [argument for _ in range(baselines) for argument in ("--baseline", edge().url)]
    done = _mcctl(
        tmp_path,
        *("run", *urls, "--candidate", edge().url, "--minutes", "1"),
        MC_CANARY_TOKEN="mc_unknown",
    )
    assert done.returncode == 4, done.stderr
    told = f"{baselines} baseline and 1 candidate instance(s) share the same load"
    assert (told in " ".join(done.stderr.split())) is warned


def test_judge_impossible_latency_exit_2(tmp_path: Path) -> None:
    """Zeros are no measurement: refused by file and line; a microsecond is taken."""
    good = _write(tmp_path / "base.lat", _latencies(3000, 1))
    zeros = _write(tmp_path / "cand.lat", [0.01] * 2999 + [0.0])
    for pair in ((good, zeros), (zeros, good), (zeros, zeros)):
        done = _mcctl(tmp_path, "judge", *pair, "--margin", "0.25")
        assert (done.returncode, done.stdout) == (2, "")
        assert "cand.lat: line 3000: a latency must be between 0.000001" in done.stderr
    least = _write(tmp_path / "least.lat", [0.000001] * 3000)
    assert _mcctl(tmp_path, "judge", least, least, "--margin", "0.25").returncode == 0


def test_judge_fewer_planned_than_present_exit_2(tmp_path: Path) -> None:
    """Pairs that were planned cannot be fewer than those that were sent."""
    base = _write(tmp_path / "base.lat", _latencies(3000, 1))
    done = _mcctl(tmp_path, "judge", base, base, "--margin", "0.25", "--planned-pairs", "2999")
    assert (done.returncode, done.stdout) == (2, "")
    assert "planned pairs are 2999, but the files have 3000" in done.stderr


def test_run_ctrl_c_exit_5_with_samples(edge: Edge, tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit 5, samples written, no traceback."""
    base, cand = edge(), edge()
    out = tmp_path / "out"
    command = [
        *(sys.executable, MCCTL, "canary", "run", "--baseline", base.url, "--candidate", cand.url),
        *("--minutes", "0.1", "--rate", "200", "--margin", "0.5", "--out-dir", str(out)),
    ]
    with child(
        command, env=_env(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        # A warm-up has 120 pairs, and a busy machine has five of them at most: of those after
        # that, some are measured.
        while len(cand.questions) < 5 * 120 + 20:
            cand.answered.clear()
            assert cand.answered.wait(60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (5, "")
    assert "interrupted after" in stderr
    assert "Traceback" not in stderr
    assert (out / "base.lat").read_bytes()
    assert json.loads((out / "verdict.json").read_text())["stopped"] == "interrupted"


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (1.5, 1)])
@pytest.mark.parametrize("output", ["table", "json"])
def test_judge_reader_that_leaves_does_not_change_the_exit_code(
    tmp_path: Path, slower: float, code: int, output: str
) -> None:
    """`| head -1` is no HOLD: the exit code is the verdict's, whoever reads it."""
    rng = np.random.default_rng(5)
    base = _write(tmp_path / "base.lat", rng.lognormal(-4, 0.2, 3000))
    cand = _write(tmp_path / "cand.lat", slower * rng.lognormal(-4, 0.2, 3000))
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [
                sys.executable,
                MCCTL,
                "canary",
                "judge",
                base,
                cand,
                "--margin",
                "0.25",
                "--output",
                output,
            ],
            env=_env(tmp_path),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (code, "")


def test_judge_full_disk_is_no_finding(tmp_path: Path) -> None:
    """What cannot be written is told as that, and exits as nothing told."""
    base = _write(tmp_path / "base.lat", np.full(3000, 0.02))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, MCCTL, "canary", "judge", base, base, "--margin", "0.25"],
            env=_env(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("decision", "a" * 300),
        ("report", "a" * 300),
        tuple(
            f"run --baseline=http://a --candidate=http://b --minutes=10 --out-dir={'a' * 300}".split()
        ),
        ("plan", "--minutes=1e308", "--rate=5000"),
    ],
    ids=lambda args: args[0],
)
def test_input_that_no_file_or_run_can_have_is_unusable(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    """It exits 2 and says so; a traceback would exit 1, which is a HOLD."""
    done = _mcctl(tmp_path, *args)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_report_figures_beyond_a_float_are_malformed(tmp_path: Path) -> None:
    """A verdict file from somebody else may hold any number."""
    nothing = {"n": 0, "errors": 0, "p95_ms": None}
    told = {"verdict": "HOLD", "kind": "smoke", "reason": "x", "margin": 10**400}
    told |= {"baseline": nothing, "candidate": nothing}
    (tmp_path / "verdict.json").write_text(json.dumps(told))
    done = _mcctl(tmp_path, "report", str(tmp_path))
    assert done.returncode == 2
    assert "malformed" in done.stderr
