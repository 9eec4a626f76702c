"""The metrics of a canary run and of past ranges, against a Prometheus on loopback."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.canary_ledger import SmallLedger

from mc_contract.evidence import Status
from mc_contract.metric_judgement.verdict import parse_config
from mc_ops.canary import make_plan, metrics
from mc_ops.canary.driver import Sampled
from mc_ops.canary.metrics_retrospective import judge_past, parse_time, spans_of
from mc_ops.canary.metrics_run import PENDING, RunMetrics
from mc_ops.canary.override import judge_again
from mc_ops.canary.run import conclude, run_canary
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.evidence import canary_part
from mc_ops.service_client import BadQuery, PrometheusClient

_SPEC = importlib.util.spec_from_file_location(
    "fake_prometheus", Path(__file__).parent / "fake_prometheus.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
fake_prometheus = importlib.util.module_from_spec(_SPEC)
sys.modules["fake_prometheus"] = fake_prometheus
_SPEC.loader.exec_module(fake_prometheus)

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 1, 8, 12, 0, tzinfo=UTC)
SELECTORS = metrics.make_selectors('colour="blue"', 'colour="green"')
RULE: dict[str, Any] = {
    "name": "errors",
    "query": "sum(rate(mc_errors_total{$side}[4s]))",
    "direction": "increase",
    "allowed_change": {"relative": 0.1},
    "critical": True,
}
Prometheus = Callable[..., Any]


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """Start a fake Prometheus: `prometheus(blue=..., green=...)`; it ends with the test."""
    with ExitStack() as stack:

        def start(**series: Any) -> Any:
            found = fake_prometheus.FakePrometheus(series=series)
            found.url = stack.enter_context(sys.modules["fake_edge"].serving_app(found.app()))
            return found

        yield start


def _noisy(level: float, seed: int) -> Callable[[float], float]:
    """Values spread by 2 %, alike at any time of day: turns by an irrational, no random numbers."""
    turn = (0.618034, 0.414214)[seed % 2]
    return lambda at: level * (1 + 0.02 * (math.floor(at) * turn % 1 - 0.5))


def _run_metrics(url: str, *rules: dict[str, Any], **more: Any) -> RunMetrics:
    config = parse_config({"step_s": 1, "metric": [dict(rule) for rule in rules or (RULE,)]})
    return RunMetrics(config, SELECTORS, PrometheusClient(url), **more)


def _sampled(cand_factor: float = 1.0) -> Sampled:
    base = np.round(0.01 + 0.001 * np.random.default_rng(3).random(3000), 6)
    cand = np.round(base * cand_factor, 6)  # as files have them
    return Sampled(base, cand, np.full(6000, 0.001), "horizon")


def _concluded(found: RunMetrics, folder: Path, *, cand_factor: float = 1.0) -> Any:
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    started = datetime.now(UTC) - timedelta(seconds=60)
    return conclude(plan, _sampled(cand_factor), started, folder, found)


def _packed(folder: Path) -> Any:
    """The folder as evidence; there is no override, so that no ledger's key is asked for."""
    return canary_part(folder, folder / "ledger.pub")


def _written(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "verdict.json").read_bytes())
    return told


def test_a_run_promotes_when_samples_and_metrics_pass(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    """Both sides are asked over the run's window; the files hold together as evidence."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    result = _concluded(_run_metrics(server.url), tmp_path)
    assert (result.promote, result.verdict["kind"]) == (True, "promoted")
    assert result.verdict["metrics"]["metrics"] == {"errors": "pass"}
    document = json.loads((tmp_path / "metrics.json").read_bytes())
    window = document["window"]["candidate"]
    assert window == {"start": result.verdict["started_at"], "end": result.verdict["ended_at"]}
    asked = [form for form in server.asked if "start" in form]
    assert [form["query"] for form in asked] == [
        'sum(rate(mc_errors_total{colour="blue"}[4s]))',
        'sum(rate(mc_errors_total{colour="green"}[4s]))',
    ]
    # no point looks back before the run
    first = datetime.fromisoformat(asked[0]["start"]) - timedelta(seconds=4)
    assert first == datetime.fromisoformat(window["start"])
    part = _packed(tmp_path)
    claimed = {claim.id: claim.value for claim in part.claims}
    assert claimed["canary.verdict"]["verdict"] == "PROMOTE"
    assert claimed["canary.metrics"]["outcome"] == "pass"
    assert "metrics.json" in part.artifacts


def test_a_critical_metric_holds_what_samples_would_promote(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    """HOLD, kind metrics, with what the samples alone said; and it can be packed."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(150, 2))
    result = _concluded(_run_metrics(server.url), tmp_path)
    assert result.promote is False
    told = _written(tmp_path)
    assert (told["verdict"], told["kind"]) == ("HOLD", "metrics")
    assert told["reason"].startswith("metrics fail: critical metric errors: +")
    assert told["samples"]["verdict"] == "PROMOTE"
    claims = {claim.id: claim.value for claim in _packed(tmp_path).claims}
    assert claims["canary.verdict"]["kind"] == "metrics"


def test_a_hold_by_metrics_can_be_overridden(prometheus: Prometheus, tmp_path: Path) -> None:
    """The override is of samples, metrics and verdict together, and is packed with them."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(150, 2))
    _concluded(_run_metrics(server.url), tmp_path)
    assert judge_again(tmp_path).kind == "metrics"
    ledger = SmallLedger()
    (tmp_path / "override.json").write_bytes(ledger.override_bytes(tmp_path))
    (tmp_path / "ledger.pub").write_bytes(ledger.pem)
    claims = {claim.id: claim for claim in _packed(tmp_path).claims}
    assert claims["canary.override"].value["kind"] == "metrics"
    about = claims["canary.override"].sources
    assert (*about[1:4], *about[5:]) == claims["canary.verdict"].sources


def test_a_verdict_edited_to_promote_is_not_packed(prometheus: Prometheus, tmp_path: Path) -> None:
    """A critical metric failed; a verdict file that says PROMOTE is refused."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(150, 2))
    _concluded(_run_metrics(server.url), tmp_path)
    told = _written(tmp_path) | {"verdict": "PROMOTE", "kind": "promoted"}
    (tmp_path / "verdict.json").write_text(json.dumps(told))
    with pytest.raises(UnusableInput, match="says verdict 'PROMOTE'"):
        _packed(tmp_path)
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(UnusableInput, match=r"metrics\.json cannot be read"):
        _packed(tmp_path)


def test_a_hold_by_samples_keeps_its_kind(prometheus: Prometheus, tmp_path: Path) -> None:
    """A slower candidate is regressed; its metrics are told beside that."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(150, 2))
    result = _concluded(_run_metrics(server.url), tmp_path, cand_factor=2.0)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "regressed")
    assert result.verdict["metrics"]["outcome"] == "fail"


def test_without_data_nothing_is_promoted(prometheus: Prometheus, tmp_path: Path) -> None:
    """A metric that Prometheus does not know fails, as its rules say by default."""
    result = _concluded(_run_metrics(prometheus().url), tmp_path)
    assert result.verdict["kind"] == "metrics"
    assert "no data of the baseline and the candidate; counts as fail" in result.verdict["reason"]


def test_gaps_and_infinities_are_kept_as_gaps(prometheus: Prometheus, tmp_path: Path) -> None:
    """NaN and infinity become null; the other points are judged."""
    level = _noisy(100, 2)
    odd = {0: math.nan, 1: math.inf}
    server = prometheus(
        blue=_noisy(100, 1), green=lambda at: odd.get(math.floor(at) % 10, level(at))
    )
    result = _concluded(_run_metrics(server.url), tmp_path)
    series = json.loads((tmp_path / "metrics.json").read_bytes())["series"]["errors"]
    values = series["candidate"]["values"]
    assert len(values) >= 57  # a minute, and what judging the samples took
    assert len(values) // 10 * 2 <= values.count(None) <= len(values) // 10 * 2 + 4
    assert result.metrics.results[0].points[1] == len(values) - values.count(None)


def test_prometheus_that_went_down_could_not_tell(prometheus: Prometheus, tmp_path: Path) -> None:
    """Samples are written, the file says HOLD, and the exit is could-not-tell."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    server.down = True
    told: list[str] = []
    with pytest.raises(CouldNotTell, match="the metrics could not be asked"):
        _concluded(_run_metrics(server.url, told=told.append), tmp_path)
    assert (_written(tmp_path)["verdict"], _written(tmp_path)["kind"]) == ("HOLD", "metrics")
    assert (tmp_path / "base.lat").stat().st_size
    assert "HTTP 503" in told[0]
    assert _packed(tmp_path).controls[0].status is Status.measured


def test_an_interrupt_while_waiting_leaves_no_promote(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    """Ctrl-C while Prometheus is waited for: samples are there, and the file says HOLD."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    server.scraped_at = lambda: 0.0
    with pytest.raises(KeyboardInterrupt):
        _concluded(_run_metrics(server.url, told=interrupt, patience_s=0.0), tmp_path)
    told = _written(tmp_path)
    assert (told["verdict"], told["reason"]) == ("HOLD", PENDING)
    assert (tmp_path / "cand.lat").exists()


def test_the_last_scrape_is_waited_for(prometheus: Prometheus, tmp_path: Path) -> None:
    """Series are asked once every instance was scraped after the run's end, not before."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    answers = iter([0.0, 0.0])
    server.scraped_at = lambda: next(answers, time.time() + 60)
    _concluded(_run_metrics(server.url), tmp_path)
    kinds = ["range" if "start" in form else form["query"] for form in server.asked]
    assert kinds[:2] == [
        'min(timestamp(up{colour="blue"}))',
        'min(timestamp(up{colour="green"}))',
    ]
    assert kinds[2:4] == kinds[:2]
    assert kinds[4:] == ["range", "range"]


def test_a_run_that_cannot_decide_its_metrics_is_refused(
    edge: Callable[..., Any], prometheus: Prometheus, tmp_path: Path
) -> None:
    """A range of 5 minutes in a run of one: refused before anything is sent."""
    base, cand = edge(), edge()
    rule = RULE | {"query": "sum(rate(x{$side}[5m]))"}
    plan = make_plan([base.url], [cand.url], minutes=1)
    with pytest.raises(UnusableInput, match=r"metric errors needs 25\.0 min"):
        run_canary(
            plan,
            token="mc_test_canary",
            out_dir=tmp_path / "run",
            progress=lambda *_: None,
            metrics=_run_metrics(prometheus().url, rule),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("refused{$side}", BadQuery, "parse error"),
        ("blue_many{$side}", UnusableInput, "gives 2 series, expected one a side"),
    ],
)
def test_a_bad_query_is_found_before_the_run(
    prometheus: Prometheus, query: str, error: type[Exception], message: str
) -> None:
    """What Prometheus refuses, and what is no single series, is told at once."""
    server = prometheus(blue=_noisy(100, 1))
    with pytest.raises(error, match=message):
        _run_metrics(server.url, RULE | {"query": query}).check(5)


def test_points_are_counted_for_the_plan(prometheus: Prometheus) -> None:
    """Each side's query and how many values it has now."""
    server = prometheus(blue=_noisy(100, 1), green=lambda _: math.nan)
    found = _run_metrics(server.url).points(1)
    assert found[0]["points"] == {"baseline": 57, "candidate": 0}


# --- past ranges


def _past(server: Any, folder: Path, **more: Any) -> Any:
    spans = spans_of(NOW - timedelta(minutes=5), NOW, more.pop("baseline_start", None), now=NOW)
    config = parse_config({"step_s": 5, "metric": [RULE]})
    with PrometheusClient(server.url, token=more.pop("token", None)) as client:
        return judge_past(client, config, more.pop("selectors", SELECTORS), spans, out_dir=folder)


def test_past_ranges_are_judged_and_promote_nothing(prometheus: Prometheus, tmp_path: Path) -> None:
    """What passes is METRICS-PASS, said to be no canary verdict; a worse side is HOLD."""
    good = _past(prometheus(blue=_noisy(100, 1), green=_noisy(100, 2)), tmp_path / "good")
    assert good.verdict["verdict"] == "METRICS-PASS"
    assert good.verdict["rehearsal"] is True
    assert "no canary verdict" in good.verdict["what"]
    assert "PROMOTE" not in (tmp_path / "good" / "verdict.json").read_text()
    bad = _past(prometheus(blue=_noisy(100, 1), green=_noisy(150, 2)), tmp_path / "bad")
    assert (bad.verdict["verdict"], bad.verdict["kind"]) == ("HOLD", "retrospective")
    again = metrics.judge_metrics_file(tmp_path / "bad" / "metrics.json")
    assert again.as_dict() == bad.judgement.as_dict()


def test_now_against_a_week_ago(prometheus: Prometheus, tmp_path: Path) -> None:
    """One label, two times: points are paired by their distance from each range's start."""
    week = timedelta(days=7)
    jump = (NOW - timedelta(days=1)).timestamp()
    steady, risen = _noisy(100, 1), _noisy(130, 2)
    server = prometheus(blue=lambda at: risen(at) if at > jump else steady(at))
    one = metrics.make_selectors('colour="blue"', 'colour="blue"')
    found = _past(server, tmp_path, selectors=one, baseline_start=NOW - timedelta(minutes=5) - week)
    assert found.judgement.outcome == "fail"
    assert found.judgement.results[0].paired is True
    with pytest.raises(UnusableInput, match="are the same series"):
        _past(server, tmp_path / "other", selectors=one)


def test_a_folder_with_a_run_is_not_written_over(prometheus: Prometheus, tmp_path: Path) -> None:
    """A second retrospective into the same folder is refused."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    _past(server, tmp_path)
    with pytest.raises(UnusableInput, match=r"already has verdict\.json, metrics\.json"):
        _past(server, tmp_path)


def test_prometheus_behind_a_door(prometheus: Prometheus, tmp_path: Path) -> None:
    """A token opens it; without, the exit is not-allowed and nothing is written."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    server.token = "s3cret"
    with pytest.raises(NotAllowed, match="HTTP 401"):
        _past(server, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    _past(server, tmp_path / "b", token="s3cret")
    for name in ("metrics.json", "verdict.json"):
        assert "s3cret" not in (tmp_path / "b" / name).read_text()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", NOW),
        ("-90m", NOW - timedelta(minutes=90)),
        ("-2w", NOW - timedelta(weeks=2)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T01:00:00+01:00", datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_as_users_write_them(text: str, at: datetime) -> None:
    """Now, a while ago, or ISO 8601 with its zone."""
    assert parse_time("--start", text, now=NOW) == at


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-01T00:00:00", "-90", "-999999999w", "5m"]
)
def test_times_that_are_none(text: str) -> None:
    """A time without its zone may be another hour than meant, so it is refused."""
    with pytest.raises(UnusableInput, match="--start: not a time"):
        parse_time("--start", text, now=NOW)


def test_ranges_must_be_past() -> None:
    """An end before its start, or one still to come, has no points."""
    with pytest.raises(UnusableInput, match="is not after"):
        spans_of(NOW, NOW, None, now=NOW)
    hour = timedelta(hours=1)
    with pytest.raises(UnusableInput, match="the candidate's range ends"):
        spans_of(NOW, NOW + hour, NOW - hour, now=NOW)
    with pytest.raises(UnusableInput, match="the baseline's range ends"):
        spans_of(NOW - timedelta(hours=1), NOW, NOW - timedelta(minutes=5), now=NOW)


# --- the configuration file and the selectors


def test_the_example_is_about_metrics_that_exist() -> None:
    """deploy/canary/metrics.toml parses, and asks for names that docs/reference/metrics.md has."""
    config = metrics.read_config(ROOT / "deploy" / "canary" / "metrics.toml")
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    for metric in config.metrics:
        words = metric.query.replace("{", " ").replace("(", " ").split()
        names = [word for word in words if word.startswith("mc_")]
        assert names
        assert all(f"`{name}`" in documented for name in names)
    assert any(metric.critical for metric in config.metrics)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pass = ", "is not TOML"),
        (b"\xff", "it is not UTF-8"),
        (b"", "metric is missing"),
        (b'pass = "many"', 'pass is "many", must be a number'),
    ],
)
def test_a_configuration_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    """The message names the file and what is wrong."""
    path = tmp_path / "metrics.toml"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=message) as caught:
        metrics.read_config(path)
    assert str(path) in caught.value.message


def test_a_configuration_that_is_no_file(tmp_path: Path) -> None:
    """A folder, a device and nothing at all are told apart from a bad file."""
    for path, message in (
        (tmp_path, "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(UnusableInput, match=message):
            metrics.read_config(path)


@pytest.mark.parametrize(
    ("urls", "selector"),
    [
        (["http://10.0.0.1:8080/"], 'address="10.0.0.1:8080"'),
        (["https://mc.example/"], 'address="mc.example:443"'),
        (["http://[::1]:80/"], 'address="[::1]:80"'),
        (
            ["http://10.0.0.1:8080", "http://10.0.0.2:8080"],
            'address=~"10\\\\.0\\\\.0\\\\.1:8080|10\\\\.0\\\\.0\\\\.2:8080"',
        ),
    ],
)
def test_instances_are_selected_by_their_urls(urls: list[str], selector: str) -> None:
    """Each is host:port; several are a pattern with its dots escaped."""
    assert metrics.selector_of(urls, metrics.ADDRESS) == selector
    assert metrics.make_selectors(selector, 'a="b"').baseline == selector


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "mc-canary-metrics-1"}'])
def test_a_metrics_file_that_is_none(tmp_path: Path, content: str) -> None:
    """Judging a file again takes a metrics.json, and says so."""
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(UnusableInput, match=r"metrics\.json"):
        metrics.judge_metrics_file(path)


def test_rules_may_be_asked_with_another_step(prometheus: Prometheus, tmp_path: Path) -> None:
    """The step that was asked with stands in the file, so that the judgement is the same again."""
    server = prometheus(blue=_noisy(100, 1), green=_noisy(100, 2))
    found = _run_metrics(server.url)
    slower = replace(found, config=found.config.model_copy(update={"step_s": 2.0}))
    _concluded(slower, tmp_path)
    assert metrics.judge_metrics_file(tmp_path / "metrics.json").config.step_s == 2.0
