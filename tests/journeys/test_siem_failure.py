"""A SIEM that is down, by the runbook's page: found, backed up by the file, and caught up with."""

from __future__ import annotations

import json
import os
import signal

PAGE = "runbooks/incidents/siem-failure.md"


def findings(path):
    return {one["step"]: one for one in json.loads(path.read_text())["findings"]}


def test_the_page_finds_it_backs_up_and_sees_it_recover(start_platform, wait_until):
    """Stopped at the step that fails, it goes on by --resume when the SIEM is back; nothing is lost."""
    platform = start_platform(AUDIT_FILE_ENABLED="false")
    first = platform.order()
    wait_until(lambda: platform.ledger(first.task["id"]), what="the SIEM has it")
    os.kill(platform.record("siem")["pid"], signal.SIGTERM)
    page = ("runbook", "run", PAGE, "--set", "BACKUP=1", "--set", "TIMEOUT=1", "--yes")
    done = platform.mcctl(*page, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    [run] = (platform.home / "runs").glob("siem-failure-*")
    found = findings(run / "siem-failure.json")
    assert (found["dns"]["status"], found["tcp"]["status"]) == ("ok", "failed")
    assert "http" not in found  # no key is shown to what is not there
    assert found["backup"]["detail"] == "not enabled on blue-1"
    assert findings(run / "backup.json")["backup"]["status"] == "ok"
    meanwhile = [platform.order() for _ in range(5)]
    file = platform.home / "audit" / "audit.jsonl"
    wait_until(
        lambda: file.exists() and meanwhile[-1].task["id"] in file.read_text(),
        within_s=60,
        what="the file has taken over",
    )
    platform.env["AUDIT_FILE_ENABLED"] = "true"
    platform.mcctl("up")
    for order in (first, *meanwhile):  # a run watches for the second that it was begun with
        wait_until(lambda order=order: platform.ledger(order.task["id"]), what="the SIEM has it")
    done = platform.mcctl("runbook", "run", PAGE, "--resume", run.name, "--yes", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
