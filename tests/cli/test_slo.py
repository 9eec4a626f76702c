"""`mcctl slo`, `health`, `cost`, `delta` and `policy trend` as a user runs them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from tests import forked
from tests.fake_cluster import Cluster, hpa, rescaled
from tests.fake_replica import replica
from tests.loopback import serving

from mc_ops.cli.main import load_all
from mc_ops.errors import OpsError

HOOK = "/services/T000/B000/s3cr3t"


@pytest.fixture
def blue():
    with replica("blue-1") as made:
        yield made


@dataclass
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def mcctl(tmp_path, monkeypatch):
    """`mcctl` in this process: a process of its own takes seconds on a busy machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("MC_EDGE_PORT", "MC_PRICES_FILE", "SLACK_WEBHOOK_URL", "MC_PROMETHEUS_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    whole = load_all()

    def run(*args, **env):
        done = CliRunner().invoke(whole, list(args), env=env)
        if done.exception is None or isinstance(done.exception, SystemExit):
            return Done(done.exit_code, done.stdout, done.stderr)
        assert isinstance(done.exception, OpsError), done.exception
        said = f"{done.stderr}{done.exception.message} {done.exception.hint}"
        return Done(done.exception.exit_code, done.stdout, said)

    return run


@pytest.fixture
def slack():
    """Slack's webhook: it keeps what was posted, and answers with the code that it is told."""
    kept = SimpleNamespace(code=200, posted=[], hook="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            kept.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(kept.code)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            """Keep quiet."""

    with serving(Handler) as url:
        kept.hook = url + HOOK
        yield kept


def test_a_quiet_platform_cannot_be_told(blue, tmp_path):
    """Nothing happened: no target is called met for that, and the exit code is 3."""
    blue.a2a()
    done = forked.run(
        [forked.MCCTL, "slo", "status", "--scrape", blue.url, "--only", "a2a-success"],
        env={"PATH": os.environ["PATH"], "MC_HOME": str(tmp_path / "home"), "NO_COLOR": "1"},
    )
    assert done.returncode == 3
    assert "? unknown  A2A success" in done.stdout
    assert "nothing happened in this time" in done.stdout
    assert done.stdout.endswith("? could not tell\n")


def test_a_tenant_that_asked_nothing_cannot_be_told(mcctl, blue):
    """Its p95 is no unknown target: it is a target of which nothing is known."""
    blue.well()
    done = mcctl("slo", "status", "--scrape", blue.url, "--only", "p95:TENANT_777")
    assert done.returncode == 3
    assert "nothing was counted for this target" in done.stderr
    assert mcctl("slo", "status", "--scrape", blue.url, "--only", "p96:TENANT_777").returncode == 2


def test_a_miss_is_a_finding_with_its_budget(mcctl, blue):
    """2 % failed where 1 % may: exit 1, and the budget is overspent."""
    blue.well()
    blue.a2a("TENANT_002", error=20)
    done = mcctl("slo", "status", "--scrape", blue.url, "-o", "json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["verdict"] == "missed"
    found = {one["name"]: one for one in told["targets"]}
    assert found["a2a-success"]["verdict"] == "missed"
    assert found["a2a-success"]["budget"]["burn_rate"] > 2
    assert found["a2a-success"]["budget"]["left"] < 0
    assert found["compensation"]["verdict"] == "met"
    assert found["p95:TENANT_001"]["verdict"] == "met"
    assert found["replication-lag"]["verdict"] == "not-applicable"
    assert found["privacy-block-rate"]["value"] is None
    assert "mcctl redteam privacy" in found["privacy-block-rate"]["reason"]


def test_the_morning_check_of_a_healthy_platform_passes(mcctl, blue):
    """Every section, exit 0."""
    blue.well()
    done = mcctl("health", "day-1", "--scrape", blue.url)
    assert done.returncode == 0, done.stdout
    for heading in (
        "Morning health check",
        "Policy enforcement health",
        "Performance validation",
        "Cost validation",
        "The platform itself",
    ):
        assert f"\n{heading}\n" in done.stdout
    assert done.stdout.endswith("✔ met\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: one.took(2, 100, tenant="TENANT_003"), "p95 of TENANT_003"),
        (lambda one: one.count("mc_siem_requests_total", 50, status="failure"), "SIEM delivery"),
        (
            lambda one: one.samples.update({'mc_autonomy_halted{tenant="TENANT_002"}': 1}),
            "autonomy halted",
        ),
        (
            lambda one: one.samples.update({'mc_autonomy_stuck_operations{tenant="T"}': 1}),
            "stuck operations",
        ),
        (lambda one: one.samples.update({"mc_siem_backlog_age_seconds": 301}), "oldest event"),
        (lambda one: one.answered("500", 50), "error budget burn"),
        (
            lambda one: one.health.update(
                status="degraded", dependencies={"siem": {"state": "down"}}
            ),
            "degraded: siem down",
        ),
        (lambda one: one.health.update(faults={"slow": 2}), "fault slow=2"),
    ],
)
def test_whatever_is_wrong_in_the_morning_is_named(mcctl, blue, spoil, said):
    """One thing is wrong: exit 1, and its line says so."""
    blue.well()
    spoil(blue)
    done = mcctl("health", "day-1", "--scrape", blue.url)
    assert done.returncode == 1, done.stdout
    assert said in done.stdout
    assert "✘ missed" in done.stdout


def test_a_section_may_be_asked_alone_and_few_events_waved_through(mcctl, blue):
    """Ten operations are too few to tell: exit 3, or 0 with --allow-few, and the table says why."""
    blue.a2a(success=500)
    blue.operations(completed=10)
    asked = ("health", "day-1", "--section", "morning", "--scrape", blue.url)
    done = mcctl(*asked)
    assert done.returncode == 3
    assert "too few to tell: 10 of the 200 events" in done.stdout
    assert "Cost validation" not in done.stdout
    assert mcctl(*asked, "--allow-few").returncode == 0


def test_a_night_on_which_nothing_happened_may_be_waved_through(mcctl, blue):
    """No figure of the section could be told: exit 3, with --allow-few 0; the verdict stays what it is."""
    blue.a2a(success=0)
    blue.operations(completed=0)
    asked = ("health", "day-1", "--section", "morning", "--scrape", blue.url)
    assert mcctl(*asked).returncode == 3
    done = mcctl(*asked, "--allow-few")
    assert done.returncode == 0, done.stdout
    assert "nothing happened in this time" in done.stdout
    assert done.stdout.endswith("? could not tell\n")
    unread = mcctl(*asked[:-1], "http://127.0.0.1:9", "--allow-few")
    assert unread.returncode == 3


def test_a_dead_replica_leaves_the_region_unknown(mcctl, blue):
    """What it counted is in no figure, and stderr names it."""
    blue.well()
    urls = ("--scrape", blue.url, "--scrape", "http://127.0.0.1:9")
    done = mcctl("health", "day-1", "--section", "morning", *urls)
    assert done.returncode == 3
    assert "127.0.0.1:9 does not answer" in done.stderr
    assert mcctl("health", "day-1", *urls).returncode == 1  # its /health is asked as well


def test_the_trend_needs_windows(mcctl, blue):
    """Replicas tell counts, and no trend is made of them."""
    blue.decided(allow=900, deny=5)
    done = mcctl("policy", "trend", "--scrape", blue.url)
    assert done.returncode == 3
    assert "5 of 905 decisions denied" in done.stdout
    assert "--prometheus gives one" in done.stdout


def test_costs_are_told_without_prices_and_judged_with_them(mcctl, blue, tmp_path):
    """CPU alone is exit 0; a target that is not met is exit 1."""
    blue.well()
    done = mcctl("cost", "--scrape", blue.url)
    assert done.returncode == 0
    assert "no prices are set" in done.stdout
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\ncpu_second = 1\n[targets]\nper_request = 0.001\n')
    done = mcctl("cost", "--scrape", blue.url, "-o", "json", MC_PRICES_FILE=str(prices))
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["bill"]["amount"] == 10
    assert told["tenants"][0]["cost_per_request"] == 10 / 2000


def test_the_delta_is_what_the_runbook_reads(mcctl, blue, tmp_path):
    """`jq .metrics.x` finds numbers and nulls; the digest is that of the file."""
    blue.well()
    out = "out/operations-delta-day7.json"
    done = mcctl("delta", "--period", "day-7", "--out", out, "--scrape", blue.url, "-o", "json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    raw = (tmp_path / out).read_bytes()
    assert said["sha256"] == hashlib.sha256(raw).hexdigest()
    assert json.loads(raw)["metrics"] == said["metrics"]
    assert said["period"] == "day-7"
    for name in (
        "p95_latency_ms",
        "error_budget_burn",
        "cost_per_request",
        "privacy_block_rate",
        "autonomy_success_rate",
        "compensation_rate",
    ):
        value = said["metrics"][name]
        assert value is None or isinstance(value, int | float)
        assert value is not None or said["figures"][name]["reason"]
    assert said["metrics"]["autonomy_success_rate"] == 1
    assert said["metrics"]["cost_per_request"] is None


def test_the_delta_tells_its_trend_and_keeps_the_one_before(mcctl, blue, tmp_path):
    """The second run of a week is compared with the first, which is kept."""
    blue.well()
    out = tmp_path / "out" / "delta.json"
    assert mcctl("delta", "--out", str(out), "--scrape", blue.url).returncode == 0
    first = out.read_bytes()
    blue.operations(compensated=100)
    done = mcctl("delta", "--out", str(out), "--scrape", blue.url)
    assert done.returncode == 0
    told = json.loads(out.read_text())
    assert told["trend"]["metrics"]["autonomy_success_rate"]["direction"] == "worse"
    kept = out.with_name(told["trend"]["previous"]["file"])
    assert kept.read_bytes() == first
    assert told["trend"]["previous"]["sha256"] == hashlib.sha256(first).hexdigest()
    assert "| autonomy success | 80.00 % |" in out.with_suffix(".md").read_text()


def test_the_delta_goes_to_slack_with_its_digest(mcctl, blue, tmp_path, slack):
    """Slack gets text and blocks, and the sha256 of the file that was written."""
    blue.well()
    out = tmp_path / "delta.json"
    asked = ("delta", "--out", str(out), "--scrape", blue.url, "--slack")
    done = mcctl(*asked, SLACK_WEBHOOK_URL=slack.hook)
    assert done.returncode == 0
    (message,) = slack.posted
    assert hashlib.sha256(out.read_bytes()).hexdigest() in json.dumps(message["blocks"])
    assert message["text"].startswith("Operations delta: day-7")
    assert "privacy_block_rate: not known (no red-team was run" in json.dumps(message["blocks"])


@pytest.mark.parametrize("code", [404, 500, None])
def test_slack_that_fails_changes_nothing(mcctl, blue, tmp_path, slack, code):
    """The delta is written, the exit code is 0, and the webhook's URL is in no message."""
    blue.well()
    out = tmp_path / "delta.json"
    hook = {"SLACK_WEBHOOK_URL": slack.hook} if code else {}
    slack.code = code or 200
    done = mcctl("delta", "--out", str(out), "--scrape", blue.url, "--slack", **hook)
    assert done.returncode == 0
    assert "the delta is written" in done.stderr
    assert "s3cr3t" not in done.stdout + done.stderr
    assert out.is_file()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("slo", "status"), 3, "no replica is known here"),
        (("health", "day-1"), 3, "no replica is known here"),
        (("slo", "status", "--scrape", "http://127.0.0.1:9"), 3, "does not answer (ConnectError)"),
        (("slo", "status", "--scrape", "http://xn--/"), 2, "not a URL"),
        (("slo", "status", "--scrape", "http://h:1/?x=1"), 2, "no query or fragment"),
        (("slo", "status", "--scrape", "127.0.0.1"), 2, "not a URL"),
        (("slo", "status", "--scrape", "http://me:pw@h:1"), 2, "must have no user or password"),
        (("slo", "status", "--prometheus", "http://127.0.0.1:9"), 3, "did not answer"),
        (("slo", "status", "--prometheus", "nonsense"), 2, "not an http"),
        (("cost", "--prometheus", "http://h:1", "--scrape", "http://h:2"), 2, "exclude each other"),
        (("cost", "--window", "24h"), 2, "--window needs --prometheus"),
        (("cost", "--prices", "none.toml"), 2, "cannot be read"),
        (("cost", "--bill", "5"), 2, "--bill needs prices"),
        (("cost", "--over", "soon"), 2, "not a window"),
        (("delta", "--out", "d.txt"), 2, "does not end in .json"),
        (("delta", "--out", "d.json", "--period", "a week"), 2, "not a period"),
        (("delta", "--out", "d.json", "--period", "week"), 2, "does not say how long"),
        (("delta", "--out", "d.json", "--previous", "none.json"), 2, "cannot be read"),
        (("policy", "trend", "--env", "moon"), 2, "unknown environment"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_named(mcctl, args, code, said):
    """Each has its exit code, and nothing on stdout."""
    done = mcctl(*args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "pw" not in done.stderr


def test_an_unknown_target_lists_the_known_ones(mcctl, blue):
    """A typo is told with what there is."""
    done = mcctl("slo", "status", "--only", "a2a", "--scrape", blue.url)
    assert done.returncode == 2
    assert "a2a-success" in done.stderr


@pytest.mark.parametrize(("sizes", "verdict"), [((3, 6, 3, 6, 3, 6), "missed"), ((3, 6), "met")])
def test_oscillation_of_a_cluster_stands_beside_the_cost(
    mcctl, blue, tmp_path, monkeypatch, sizes, verdict
):
    """The cluster's own events tell whether the HPA turned round too often within the hour."""
    blue.well()
    cluster = Cluster(tmp_path)
    try:
        cluster.hpas["agent-workbench"] = hpa()
        now = datetime.now(UTC)
        cluster.events = [
            rescaled(f"{now - timedelta(minutes=50 - 5 * n):%Y-%m-%dT%H:%M:%SZ}", size)
            for n, size in enumerate(sizes)
        ]
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        done = mcctl("cost", "--env", "kubernetes", "--scrape", blue.url, "-o", "json")
    finally:
        cluster.stop()
    found = {one["name"]: one for one in json.loads(done.stdout)["figures"]}
    assert found["hpa-oscillation"]["verdict"] == verdict, found["hpa-oscillation"]
    assert done.returncode == (verdict == "missed")


def test_a_cluster_that_cannot_be_asked_leaves_oscillation_unknown(
    mcctl, blue, tmp_path, monkeypatch
):
    """The rest of the report stands."""
    blue.well()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = mcctl("cost", "--env", "kubernetes", "--scrape", blue.url)
    assert done.returncode == 3
    assert "TENANT_001" in done.stdout
    assert "? unknown  replica oscillation" in done.stdout
