"""The logs of a platform: nothing alarming while it is well, and why, where an answer is a 5xx."""

from __future__ import annotations

import json

ALARMS = ("logs", "--lines", "5000", "--grep", '"level":"(warning|error|critical)"')
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_what_we_ask_of_a_healthy_platform_alarms_nobody(start_platform):
    """Its start, the pre-flight, the daily check and a red-team's start; and all lines are of one form, by time."""
    platform = start_platform()
    platform.mcctl("preflight", "all", check=False)
    platform.mcctl("health", "day-1", check=False)
    platform.mcctl("redteam", "privacy", "--attacks", "0", "--benign", "0", check=False)
    assert platform.mcctl(*ALARMS).stdout == ""
    lines = platform.mcctl("logs", "--lines", "5000").stdout.splitlines()
    fields = [json.loads(line.split(" | ", 1)[1]) for line in lines]
    assert all(item["event"] for item in fields)
    assert {line.split(" | ")[0] for line in lines} >= {"blue-1", "edge", "siem", "postgres"}
    times = [item["at"].replace("+00:00", "Z") for item in fields if "at" in item]
    assert len(times) > len(fields) / 2
    assert times == sorted(times)
    refused = platform.mcctl("logs", "blue", check=False)
    assert refused.returncode == 2
    assert "blue-1, edge, " in refused.stderr
    assert platform.mcctl("logs", "--grep", "(", check=False).returncode == 2


def test_each_answered_5xx_is_a_line_with_its_cause(start_platform):
    """At the replica that answered, and at the edge; the caller's trace binds the two."""
    platform = start_platform("--fault", "blue:errors=1.0")
    header = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = platform.post(b'{"sesame": 1}', headers=header)
    assert answer.status == 503
    wanted = ("--grep", "request_failed")
    [replica] = [
        json.loads(line) for line in platform.mcctl("logs", "blue-1", *wanted).stdout.splitlines()
    ]
    [edge] = [
        json.loads(line) for line in platform.mcctl("logs", "edge", *wanted).stdout.splitlines()
    ]
    assert (replica["status"], replica["code"], replica["tenant"]) == (
        503,
        "unavailable",
        "TENANT_001",
    )
    assert "MC_FAULT_ERROR_RATIO" in replica["reason"]
    assert (edge["status"], edge["cause"]) == (503, "replica")
    assert replica["trace"] == edge["trace"] == TRACE
    assert "sesame" not in platform.mcctl("logs", "--since", "10m").stdout
