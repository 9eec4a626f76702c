"""`mcctl canary` with metrics, as a user runs it: exit codes, stdout and stderr."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests import forked

FAKES = Path(__file__).parents[1] / "unit" / "mc_ops" / "canary"


def _fake(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FAKES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


fake_edge, fake_prometheus = _fake("fake_edge"), _fake("fake_prometheus")
MCCTL = str(Path(__file__).with_name("mcctl_on_a_busy_machine.py"))
RULES = """step_s = 0.1
[[metric]]
name = "errors"
query = 'sum(rate(mc_errors_total{$side}[200ms]))'
direction = "increase"
allowed_change = { relative = 0.1 }
critical = true
"""
SELECTORS = ("--baseline-selector", 'colour="blue"', "--candidate-selector", 'colour="green"')


def _values(level: float, turn: float) -> Callable[[float], float]:
    """Values spread by 2 %, new ten times a second, up and down in turns at any time of day."""
    return lambda at: level * (1 + 0.02 * (math.floor(at * 10) * turn % 1 - 0.5))


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Any]]:
    """Serve a fake, an edge or a Prometheus; it ends with the test."""
    with ExitStack() as stack:

        def start(fake: Any) -> Any:
            if hasattr(fake, "series"):
                fake.url = stack.enter_context(fake_edge.serving_app(fake.app()))
                return fake
            return stack.enter_context(fake_edge.serving(fake))

        yield start


@pytest.fixture
def prometheus(serve: Callable[[Any], Any]) -> Any:
    """A Prometheus in which green has half as many errors again as blue, and teal as many."""
    series = {
        "blue": _values(100, 0.2247),
        "teal": _values(100, 0.2391),
        "green": _values(150, 0.2391),
    }
    return serve(fake_prometheus.FakePrometheus(series=series))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """One critical metric."""
    path = tmp_path / "metrics.toml"
    path.write_text(RULES)
    return str(path)


def _mcctl(home: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = {"MC_HOME": str(home), "MC_CANARY_TOKEN": fake_edge.TOKEN, "NO_COLOR": "1"}
    return forked.run([MCCTL, "canary", *args], env=kept | told | env)


@pytest.mark.parametrize(("colour", "code"), [("teal", 0), ("green", 1)])
def test_run_with_metrics(
    serve: Callable[[Any], Any],
    prometheus: Any,
    rules: str,
    tmp_path: Path,
    colour: str,
    code: int,
) -> None:
    """Equal latencies: the metrics make it PROMOTE, or HOLD with what the samples alone said."""
    # Slow enough that a busy test machine adds little to it.
    base, cand = (serve(fake_edge.FakeEdge(latency_s=0.2)) for _ in range(2))
    done = _mcctl(
        tmp_path,
        *("run", "--baseline", base.url, "--candidate", cand.url, "--minutes", "0.05"),
        *("--rate", "120", "--margin", "1.0", "--metrics", rules, "--prometheus", prometheus.url),
        *(*SELECTORS[:3], f'colour="{colour}"'),
    )
    assert done.returncode == code, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    if code == 0:
        assert lines[0].startswith("✔ PROMOTE (promoted)")
        assert "✔ pass  errors critical" in done.stdout
    else:
        assert lines[0].startswith("✘ HOLD (metrics): metrics fail: critical metric errors: +")
        assert "✘ metrics fail" in done.stdout
    again = next(line for line in lines if "again by" in line).split("; ")[-1].split()
    redone = _mcctl(tmp_path, *again[2:], "--output", "json")
    assert redone.returncode == code
    assert json.loads(redone.stdout)["outcome"] == ("pass" if code == 0 else "fail")


def test_dry_run_prints_the_plan_and_sends_nothing(
    serve: Callable[[Any], Any], prometheus: Any, rules: str, tmp_path: Path
) -> None:
    """Pairs, margin, sides, both final queries, and how many points each has now; no token asked."""
    base, cand = (serve(fake_edge.FakeEdge()) for _ in range(2))
    args = ("run", "--dry-run", "--baseline", base.url, "--candidate", cand.url, "--minutes", "1")
    with_metrics = (*args, "--metrics", rules, "--prometheus", prometheus.url)
    done = _mcctl(tmp_path, *with_metrics, *SELECTORS, MC_CANARY_TOKEN="")
    assert done.returncode == 0, done.stderr
    for part in (
        "pairs      3000 at 50/s at most, 1 min",
        "margin     0.25 (rehearsal, not the full verdict)",
        f"metrics    {prometheus.url} answers",
        "errors (critical, group metrics, allowed increase 10.00%, missing: fail)",
        'points in the last 1 min: sum(rate(mc_errors_total{colour="blue"}[200ms]))',
        'points in the last 1 min: sum(rate(mc_errors_total{colour="green"}[200ms]))',
    ):
        assert part in done.stdout
    assert "nothing was sent to either side" in done.stderr
    assert (base.questions, cand.questions) == ([], [])
    assert base.probes == cand.probes == 0
    assert not (tmp_path / "runs").exists()
    done = _mcctl(tmp_path, *with_metrics, "--output", "json")
    # without selectors the sides are told apart by address, which the fake has no series of
    assert done.returncode == 3
    assert "no points in the last 1 min: errors of the baseline, errors of the" in done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["queries"][0]["points"] == {"baseline": 0, "candidate": 0}
    place = base.url.removeprefix("http://").rstrip("/")
    assert found["metrics"]["selectors"]["baseline"] == f'address="{place}"'


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--metrics", "{rules}"), 2, "--metrics needs --prometheus"),
        (("--metrics", "{rules}", "--prometheus", "http://127.0.0.1:9"), 3, "did not answer"),
        (
            ("--metrics", "{rules}", "--prometheus", "{url}", "--baseline-selector", 'a="b"} or x'),
            2,
            "must be label matchers",
        ),
    ],
)
def test_metrics_that_cannot_be_asked(
    prometheus: Any, rules: str, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    """Told before anything is sent, with the exit code of its kind."""
    filled = [
        option.replace("{rules}", rules).replace("{url}", prometheus.url) for option in options
    ]
    sides = ("--baseline", "http://127.0.0.1:1", "--candidate", "http://127.0.0.1:2")
    done = _mcctl(tmp_path, "run", *sides, "--minutes", "1", *filled)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


@pytest.mark.parametrize(("colour", "code"), [("teal", 0), ("green", 1)])
def test_retrospective(prometheus: Any, rules: str, tmp_path: Path, colour: str, code: int) -> None:
    """A past range is judged without load; it says what it is, and never PROMOTE."""
    args = (
        *("retrospective", "--prometheus", prometheus.url, "--config", rules),
        *("--baseline-selector", 'colour="blue"', "--candidate-selector", f'colour="{colour}"'),
        *("--start", "-1m", "--step", "0.2s"),
    )
    done = _mcctl(tmp_path, *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert "no canary verdict" in done.stdout
    assert "PROMOTE" not in done.stdout
    found = json.loads(_mcctl(tmp_path, *args, "--output", "json").stdout)
    assert found["verdict"] == ("METRICS-PASS" if code == 0 else "HOLD")
    assert found["rehearsal"] is True
    assert {path.name for path in Path(found["out_dir"]).iterdir()} == {
        "metrics.json",
        "verdict.json",
    }


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        ({"--start": "yesterday"}, 2, '--start: not a time: "yesterday"'),
        ({"--candidate-selector": 'colour="blue"'}, 2, "are the same series"),
    ],
)
def test_retrospective_that_cannot_be(
    prometheus: Any, rules: str, tmp_path: Path, changed: dict[str, str], code: int, message: str
) -> None:
    """Unusable input is exit 2, and nothing is written."""
    options = {
        "--prometheus": prometheus.url,
        "--config": rules,
        "--baseline-selector": 'colour="blue"',
        "--candidate-selector": 'colour="green"',
        "--start": "-1m",
    } | changed
    words = [word for both in options.items() for word in both]
    done = _mcctl(tmp_path, "retrospective", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_prometheus_token_is_sent_and_not_shown(
    prometheus: Any, rules: str, tmp_path: Path
) -> None:
    """The token in a file opens a Prometheus behind a door; a wrong one is exit 4."""
    prometheus.token = "s3cret-word"
    args = ("retrospective", "--prometheus", prometheus.url, "--config", rules, "--start", "-1m")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("other-word")
    refused = _mcctl(tmp_path, *args, *SELECTORS, MC_PROMETHEUS_TOKEN_FILE=str(token))
    assert refused.returncode == 4
    token.write_text("s3cret-word")
    taken = _mcctl(tmp_path, *args, *SELECTORS, MC_PROMETHEUS_TOKEN_FILE=str(token))
    assert taken.returncode == 1
    for done in (refused, taken):
        assert "-word" not in done.stdout + done.stderr
