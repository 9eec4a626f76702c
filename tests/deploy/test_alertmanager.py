"""Where alerts go: by Alertmanager's own checker and router."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.deploy.test_rules import _rules

PATH = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"
needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None,
    reason="amtool is not installed (package prometheus-alertmanager)",
)


def _amtool(*args):
    return subprocess.run(
        ["amtool", *args], capture_output=True, text=True, check=False, timeout=60
    )


@needs_amtool
def test_amtool_accepts_it():
    """`amtool check-config`."""
    done = _amtool("check-config", str(PATH))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_amtool
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("alertname=SIEMSinkFailure", "severity=critical"), "page"),
        (("alertname=SIEMBacklogOld", "severity=warning"), "ticket"),
        (
            ("alertname=AutonomyCompensationHigh", "severity=critical", "tenant=TENANT_001"),
            "halt-autonomy,page",
        ),
        (("alertname=AutonomyCompensationHigh", "severity=critical"), "halt-autonomy,page"),
        (("alertname=AutonomyCompensationRising", "severity=warning"), "ticket"),
        (("alertname=FromAnotherTeam",), "ticket"),
    ],
)
def test_each_goes_where_it_must(labels, receivers):
    """Critical pages, warnings are tickets, and only the compensation alert reaches the breaker."""
    done = _amtool("config", "routes", "test", f"--config.file={PATH}", *labels)
    assert done.stdout.strip() == receivers


@needs_amtool
@pytest.mark.parametrize("rule", _rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_receiver_by_its_severity(rule):
    """With the labels that its rule gives it."""
    labels = {**rule["labels"], "alertname": rule["alert"]}
    told = _amtool(
        *("config", "routes", "test", f"--config.file={PATH}"),
        *(f"{name}={value}" for name, value in labels.items()),
    ).stdout.strip()
    wanted = {"critical": "page", "warning": "ticket"}[rule["labels"]["severity"]]
    assert told.split(",")[-1] == wanted
    assert ("halt-autonomy" in told) == (rule["alert"] == "AutonomyCompensationHigh")


def test_inhibitions_name_alerts_that_exist():
    """A renamed alert would leave a rule behind that holds back nothing."""
    names = {rule["alert"] for rule in _rules("alert")}
    settings = yaml.safe_load(PATH.read_text())
    for rule in settings["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, pattern = re.fullmatch(r'(\w+)=~?"(.*)"', matcher).groups()
            if label == "alertname":
                wanted = pattern.split("|")
                for one in wanted:
                    assert any(re.fullmatch(one, name) for name in names), one


def test_no_secret_is_in_it():
    """What opens something comes from files; the three hosts are examples."""
    text = PATH.read_text()
    for word in ("credentials:", "password", "api_url:", "bearer_token:"):
        assert word not in text
    hosts = set(re.findall(r"https?://([^/\s]+)", text))
    assert hosts <= {"on-call.example.com", "mc-platform.example.com"}
    settings = yaml.safe_load(text)
    [halting] = [one for one in settings["receivers"] if one["name"] == "halt-autonomy"]
    [webhook] = halting["webhook_configs"]
    assert webhook["url"].endswith("/operator/alertmanager")
    assert webhook["send_resolved"] is False
    assert set(webhook["http_config"]["authorization"]) == {"credentials_file"}
