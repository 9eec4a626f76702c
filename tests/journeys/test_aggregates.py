"""An agent asks for figures over its tenant's data: with noise, within a budget, or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

TENANT = "TENANT_003"


def ask(platform, *where, tenant=TENANT, **more):
    body = {
        "dataset": "customers",
        "measure": "count",
        "purpose": "support",
        "where": where,
        **more,
    }
    return httpx.post(
        f"{platform.url}/aggregates",
        headers={"Authorization": f"Bearer {platform.token(tenant)}"},
        json=body,
        timeout=30,
    )


def code_of(refused: httpx.Response) -> str:
    return str(refused.json()["error"]["code"])


def test_figures_are_noisy_repeats_free_and_a_crowd_cannot_overspend(platform, wait_until):
    """What one principal is told is bounded, however it asks, and however many at once."""
    first = ask(platform, epsilon=1.0)
    assert first.status_code == 200, first.text
    again = [ask(platform, epsilon=0.5 + number / 10) for number in range(8)]
    assert {one.json()["value"] for one in again} == {first.json()["value"]}
    assert {one.json()["epsilon"]["spent"] for one in again} == {0}

    small = ask(
        platform,
        {"column": "age", "op": "eq", "value": 33},
        {"column": "city", "op": "eq", "value": "Lyon"},
        {"column": "plan", "op": "eq", "value": "premium"},
    )
    nobody = ask(
        platform,
        {"column": "spend", "op": "between", "value": [999.98, 999.99]},
        {"column": "age", "op": "eq", "value": 95},
    )
    assert [one.status_code for one in (small, nobody)] == [403, 403]
    told = [one.json()["error"] for one in (small, nobody)]
    assert told[0].pop("decisionId") != told[1].pop("decisionId")
    assert told[0] == told[1]  # an empty group is told no differently
    assert ask(platform, purpose="marketing").status_code == 403
    assert ask(platform, tenant="AUDITOR").status_code == 403

    def crowd(number: int) -> httpx.Response:
        ages = {"column": "age", "op": "between", "value": [18, 50 + number]}
        return ask(platform, ages, epsilon=2.0)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(crowd, range(16)))
    # A machine that is slow lets some wait for a place too long: those are refused unrecorded
    asked = [one for one in answers if one.status_code == 200 or code_of(one) != "rate-limited"]
    assert {one.status_code for one in asked} <= {200, 403, 429}
    assert any(one.status_code == 429 for one in asked)
    left = ask(platform, epsilon=1.0).json()["epsilon"]["remaining"]
    assert left >= 0

    def recorded():
        events = [event["unmapped"] for event in platform.siem_events()]
        return [event for event in events if event["kind"].startswith("aggregate.")]

    # 9 answers at first, 2 groups too small, 2 refused by policy, the crowd, and the last repeat
    wait_until(
        lambda: len(recorded()) == 9 + 2 + 2 + len(asked) + 1, what="the queries at the SIEM"
    )
    assert all("value" not in event["detail"] for event in recorded())
    assert all(event["detail"]["policy_set"] for event in recorded())
    # The ledger accounts for the whole budget: answers, refusals, and the tests of the overtaken
    spent = [float(event["detail"].get("epsilon", 0)) for event in recorded()]
    assert set(spent) <= {0, 0.5, 1.5, 2.5}
    assert left == 10 - sum(spent)
