"""Day-1 as it stands: what is wrong stops the run where its section stands; mended, the same run passes."""

from __future__ import annotations

import json
import re


def test_day_1_finds_who_is_halted_and_passes_once_that_is_settled(start_platform, wait_until):
    """A halted tenant is told with what to do; after it was resumed, so is the run, and all is well.

    One request a tenant: a machine that is slow at one misses no p95 yet.
    """
    platform = start_platform()
    assert platform.ask("What is the status of order O-2001?", purpose="support").status == 200
    denied = platform.ask("Where is my order?", tenant="TENANT_003", purpose="marketing")
    assert denied.body["error"]
    switch = ("TENANT_002", "--reason", "orders go wrong", "--yes")
    platform.mcctl("autonomy", "halt", "--tenant", *switch)
    halted = 'mc_autonomy_halted{tenant="TENANT_002"}'
    wait_until(lambda: platform.metric(halted) == 1)

    done = platform.mcctl("runbook", "run", "day-1", "--set=ALLOW_FEW=1", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    run_id = done.stdout.split(":", 1)[0]
    assert re.search(r"missed +autonomy halted +1 +0 ", done.stderr), done.stderr
    assert "stopped at step platform: a check failed (exit 1)" in done.stderr
    assert "`mcctl autonomy status` for who halted and why" in done.stderr
    assert f"mcctl runbook run day-1 --resume {run_id}" in done.stderr
    report = json.loads((platform.home / "runs" / run_id / "health-day-1.json").read_text())
    judged = {one["title"]: one["verdict"] for part in report["sections"] for one in part["checks"]}
    assert [title for title, verdict in judged.items() if verdict == "missed"] == [
        "autonomy halted"
    ]
    assert judged["policy denials"] == "met"

    platform.mcctl("autonomy", "resume", "--tenant", *switch)
    wait_until(lambda: platform.metric(halted) == 0)
    done = platform.mcctl("runbook", "run", "day-1", "--resume", run_id)
    assert "passed, 6 of 6 steps" in done.stdout
