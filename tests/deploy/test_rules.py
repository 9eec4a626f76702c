"""The alerts: each is complete, documented, tested at its edge, and asks for what is exposed."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from tests.deploy.exposed import asked, faults

from mc_platform.observe import metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
PROMTOOL_TESTS = Path(__file__).parent / "promtool"
RUNBOOK_ALERTS = {
    "GraphQLLatencyHigh",
    "GraphQLLatencyWarning",
    "ReplicationLagHigh",
    "AutonomyCompensationHigh",
    "SIEMSinkFailure",
    "PolicyDenySpike",
}
TENANTS = ("TENANT_001", "CANARY", "PLATFORM")
CLOSED = ("status", "decision", "outcome", "route")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (package prometheus)"
)


@cache
def _files():
    """Each file of rules; whoever changes one takes a copy, here as below."""
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))}


def _rules(kind):
    return [
        rule
        for document in (*_files().values(), _peers())
        for group in document["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


@cache
def _peers():
    return yaml.safe_load((RULES.parent / "peers.example.rules.yml").read_text())


@cache
def _recorded():
    """Names of recording rules, with the labels that they can have."""
    found = {}
    for rule in _rules("record"):
        labels = set(rule.get("labels", {})) | asked(rule["expr"]).labels
        for name in asked(rule["expr"]).names:
            labels |= found.get(name, frozenset())
        found[rule["record"]] = found.get(rule["record"], frozenset()) | labels
    return found


ALERTS = sorted({rule["alert"] for rule in _rules("alert")})


@cache
def _tests():
    return {path: yaml.safe_load(path.read_text()) for path in PROMTOOL_TESTS.glob("*.test.yml")}


def _promtool(*args, cwd=None):
    return subprocess.run(
        ["promtool", *args], cwd=cwd, capture_output=True, text=True, check=False, timeout=240
    )


def test_the_runbooks_alerts_are_all_there():
    """Six of the names are contracts."""
    assert set(ALERTS) >= RUNBOOK_ALERTS


@pytest.mark.parametrize("rule", _rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_tells_who_acts_and_how(rule):
    """Severity, summary, action and a link to its section; words of the runbook's two levels."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "action", "runbook_url"}
    assert all(text.strip() for text in rule["annotations"].values())
    assert rule["annotations"]["runbook_url"] == (
        f"https://mc-platform.example.com/docs/how-to/alerts/#{rule['alert'].lower()}"
    )
    assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_section(name):
    """docs/how-to/alerts.md says what it means, what to do first, and how to silence it."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    section = re.search(rf"(?ms)^### {name}$(.*?)(?=^##|\Z)", page)
    assert section is not None
    assert "First:" in section[1]
    assert "Silence:" in section[1]


def test_every_recorded_name_is_in_the_contract():
    """docs/how-to/alerts.md lists each, for others ask for them; and no other."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    assert set(re.findall(r"`(mc:[a-z0-9_]+:\w+)`", page)) == set(_recorded())


def test_rules_ask_for_what_is_exposed():
    """Names, labels and closed values of every expression, against the service's own registry."""
    metrics.begin(TENANTS)
    found = [
        fault
        for rule in (*_rules("alert"), *_rules("record"))
        for fault in faults(rule.get("alert") or rule["record"], rule["expr"], _recorded(), CLOSED)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(rate(mc_siem_request_total[5m]))", "nobody exposes or records mc_siem_request_total"),
        ('mc_requests_total{handler="graphql"}', "mc_requests_total has no label handler"),
        ('rate(mc_siem_requests_total{status="error"}[5m])', 'never has status="error"'),
        ("max by (replica) (mc_replication_lag_seconds)", "groups by replica"),
    ],
)
def test_a_wrong_name_would_be_found(expression, fault):
    """The check above can fail: the reference's own names do."""
    metrics.begin(TENANTS)
    assert any(fault in told for told in faults("x", expression, _recorded(), CLOSED))


def test_commands_in_the_alerts_exist():
    """Every `mcctl` verb of an action is one that mcctl has."""
    from mc_ops.cli.main import GROUPS, VERBS

    for rule in _rules("alert"):
        for verb in re.findall(r"mcctl ([a-z-]+)", rule["annotations"]["action"]):
            assert verb in VERBS.keys() | GROUPS.keys(), rule["alert"]


@pytest.mark.long
@needs_promtool
@pytest.mark.parametrize("path", sorted(PROMTOOL_TESTS.glob("*.yml")), ids=lambda path: path.name)
def test_promtool_agrees(path):
    """Each file of promtool's own unit tests passes."""
    done = _promtool("test", "rules", path.name, cwd=path.parent)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_test_that_fires_one_that_must_not_and_one_at_its_edge(name):
    """By the tests' names; and for each of the runbook's, one that shows its defect."""
    kinds = {
        told["name"].split(": ")[1]
        for document in _tests().values()
        for told in document["tests"]
        if told["name"].startswith(f"{name}: ")
    }
    assert kinds >= {"fires", "silent", "edge"}
    assert ("defect" in kinds) == (name in RUNBOOK_ALERTS)


@needs_promtool
@pytest.mark.long
@pytest.mark.parametrize("broken", ["never", "always"])
def test_the_promtool_tests_can_fail(tmp_path, broken):
    """With alerts that never fire, or always do, every file but the runbook's fails."""
    rules = tmp_path / "deploy" / "prometheus" / "rules"
    rules.mkdir(parents=True)
    shutil.copy(RULES.parent / "peers.example.rules.yml", rules.parent)
    for name, document in _files().items():
        spoilt = copy.deepcopy(document)
        for group in spoilt["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    rule["expr"] = "vector(1) > 2" if broken == "never" else "vector(1)"
                    rule.pop("for", None)
        (rules / name).write_text(yaml.safe_dump(spoilt))
    tests = tmp_path / "tests" / "deploy" / "promtool"
    shutil.copytree(PROMTOOL_TESTS, tests)
    # Those of a few hours suffice: a day takes promtool seconds
    quick = (
        "graphql",
        "replication",
        "service",
        "load",
        "audit",
        "work",
        "tenant-latency",
        "regions",
    )
    for name in quick:
        assert _promtool("test", "rules", f"{name}.test.yml", cwd=tests).returncode == 1, name


@needs_promtool
def test_promtool_finds_the_rules_sound():
    """Syntax, templates, and no two rules alike."""
    files = [*RULES.glob("*.yml"), RULES.parent / "peers.example.rules.yml"]
    done = _promtool("check", "rules", "--lint-fatal", *map(str, files))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_local_settings():
    """As they lie in the checkout, before `mcctl prometheus write` makes them fit."""
    done = _promtool("check", "config", str(RULES.parent / "prometheus.local.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_settings_of_a_cluster(tmp_path):
    """Whole where promtool knows Kubernetes; some distributions build it without.

    There, its discovery is put aside and the rest is checked: what discovers is then looked at by
    nothing but this test's own few lines.
    """
    path = RULES.parent / "prometheus.kubernetes.yml"
    done = _promtool("check", "config", "--syntax-only", str(path))
    settings = yaml.safe_load(path.read_text())
    [job] = settings["scrape_configs"]
    [pods] = job["kubernetes_sd_configs"]
    assert pods["role"] == "pod"
    assert pods["selectors"] == [{"role": "pod", "label": "app.kubernetes.io/name=agent-workbench"}]
    if "kubernetes_sd_configs not found" in done.stdout + done.stderr:
        for where in (job, settings["alerting"]["alertmanagers"][0]):
            del where["kubernetes_sd_configs"]
            where["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
        shorn = tmp_path / "prometheus.yml"
        shorn.write_text(yaml.safe_dump(settings))
        done = _promtool("check", "config", "--syntax-only", str(shorn))
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_settings_name_the_job_that_the_alerts_look_for():
    """`up{job="agent-workbench"}` is what WorkbenchDown sums."""
    for name in ("local", "kubernetes"):
        settings = yaml.safe_load((RULES.parent / f"prometheus.{name}.yml").read_text())
        assert [job["job_name"] for job in settings["scrape_configs"]] == ["agent-workbench"]
