"""Two operators open a way into one tenant's data for minutes; each step is in the ledger."""

from __future__ import annotations

import json

import httpx


def test_two_people_open_a_way_and_one_closes_it(platform, wait_until):
    """Who asks cannot approve; who approves cannot read; what was read is told; closed is closed."""
    task = platform.ask("What is the email of C-1003?").task["id"]

    def read(whose: str, tenant: str = "TENANT_001") -> int:
        return httpx.get(
            f"{platform.url}/operator/tenants/{tenant}/tasks/{task}",
            headers={"Authorization": f"Bearer {platform.token(whose)}"},
        ).status_code

    asked = json.loads(
        platform.mcctl(
            "break-glass", "request", "--tenant", "TENANT_001", "--minutes", "5",
            "--reason", "the order of bob@example.com is stuck", "--yes", "-o", "json",
        ).stdout
    )  # fmt: skip
    grant = asked["id"]
    assert "bob@example.com" not in json.dumps(asked)
    assert read("OPERATOR") == 403

    approve = ("break-glass", "approve", grant, "--reason", "seen", "--yes")
    assert platform.mcctl(*approve, "--as", "OPERATOR", check=False).returncode == 1
    unsaid = platform.mcctl(*approve, check=False)
    assert (unsaid.returncode, read("OPERATOR")) == (2, 403)
    assert "none is named" in unsaid.stderr
    token = {"Authorization": f"Bearer {platform.token('TENANT_001')}"}
    by_agent = httpx.post(
        f"{platform.url}/operator/break-glass/{grant}/approve",
        headers=token,
        json={"reason": "let me in"},
    )
    assert by_agent.status_code == 403
    assert read("OPERATOR") == 403
    approved = platform.mcctl(*approve, "--as", "OPERATOR_2")
    assert "acting as operator-2@platform" in approved.stderr

    shown = json.loads(platform.mcctl("break-glass", "task", task, "--tenant", "TENANT_001").stdout)
    assert (shown["id"], shown["tenant"]) == (task, "TENANT_001")
    assert read("OPERATOR_2") == 403
    assert read("OPERATOR", tenant="TENANT_002") == 403

    platform.mcctl("break-glass", "end", grant, "--reason", "done", "--yes", "--as", "OPERATOR_2")
    assert read("OPERATOR") == 403

    def story():
        events = [event["unmapped"] for event in platform.siem_events()]
        return [
            (event["kind"], event["detail"]["principal"])
            for event in events
            if grant in (event["detail"].get("subject"), event["detail"].get("grant"))
        ]

    wait_until(lambda: len(story()) == 4, what="the grant's whole story at the SIEM")
    assert story() == [
        ("break-glass.requested", "operator@platform"),
        ("break-glass.approved", "operator-2@platform"),
        ("break-glass.used", "operator@platform"),
        ("break-glass.ended", "operator-2@platform"),
    ]
    refusals = [
        event["unmapped"]["detail"]
        for event in platform.siem_events()
        if event["unmapped"]["detail"].get("action") == "ReadTask"
    ]
    assert refusals
    assert all(one["policies"] == ["tenant-isolation"] and one["asked"] for one in refusals)
