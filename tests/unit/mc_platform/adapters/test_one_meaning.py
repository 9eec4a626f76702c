"""One history of operations, told to everybody who counts: all find the same shares.

The rows are what the engine's own chronicle writes; the counters are the service's own.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from tests.fake_replica import replica

from mc_ops.slo import Measure, ScrapeSource, targets
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.operations import PostgresOperations
from mc_platform.enact.breaker import Count, Limits, trips
from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.event_log import End, EventLog, Step
from mc_platform.model.event import Event, Kind
from mc_platform.model.operation import Ending, OperationRequest
from mc_platform.model.task import Task, TaskState
from mc_platform.observe import metrics

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RULES = Path(__file__).parents[4] / "deploy" / "prometheus" / "rules"
METRICS = ("mc_autonomy_operations_total", "mc_autonomy_compensation_total")
LIMITS = Limits(ratio=0.005, window_s=86_400, min_operations=100)

LANDED = Called(ok=True, attempts=1, effect=Effect.landed)
REFUSED = Called(ok=False, attempts=1, reason="HTTP 409", effect=Effect.none)
UNKNOWN = Called(ok=False, attempts=3, reason="timed out", effect=Effect.unknown)


def _end(*steps, failure="", canceled=False):
    made = [
        Step(index, f"step-{index}", done, undone) for index, (done, undone) in enumerate(steps)
    ]
    return End(tuple(made), failure, canceled)


ENDS = {
    "completed": (_end((LANDED, None)), Ending.completed),
    "the client canceled it": (_end((LANDED, LANDED), canceled=True), Ending.canceled),
    "canceled before its first effect": (_end(canceled=True), Ending.canceled),
    "its second step was refused": (
        _end((LANDED, LANDED), (REFUSED, None), failure="step-1: HTTP 409"),
        Ending.compensated,
    ),
    "what may have happened was undone": (
        _end((UNKNOWN, LANDED), failure="step-0: timed out"),
        Ending.compensated,
    ),
    "its first step was refused": (_end((REFUSED, None), failure="HTTP 409"), Ending.failed),
    "an effect stands": (
        _end((LANDED, UNKNOWN), (REFUSED, None), failure="HTTP 409"),
        Ending.stuck,
    ),
    "canceled, and an effect stands": (_end((LANDED, UNKNOWN), canceled=True), Ending.stuck),
}
HISTORIES = {
    # 201 that completed and 6 that the client canceled: the delivered rules halted it once
    "a customer who cancels": (
        {"completed": 201, "the client canceled it": 5, "canceled before its first effect": 1},
        Count(201, 0),
        201,
    ),
    "one of every kind": (dict.fromkeys(ENDS, 1), Count(6, 4), 1),
    "compensated too often": (
        {"completed": 196, "its second step was refused": 3, "an effect stands": 1,
         "the client canceled it": 900, "its first step was refused": 1},
        Count(201, 4),
        196,
    ),
}  # fmt: skip


def _request(tenant):
    task = str(uuid.uuid4())
    return OperationRequest(task, tenant, "agent@x", task, "place-order", {}, "decision")


@pytest.mark.parametrize("kind", ENDS)
def test_each_ending_has_one_meaning(kind):
    """What an end counts as is told by its report alone."""
    end, meaning = ENDS[kind]
    assert EventLog(_request("T"), 2).report(end).ending is meaning


@pytest.fixture(params=HISTORIES)
async def told(request, pools):
    """A tenant whose history stands in the rows and in the counters; and what it comes to."""
    counts, expected, completed = HISTORIES[request.param]
    tenant = f"T_{uuid.uuid4().hex[:8]}"
    metrics.begin([tenant])
    journal = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await journal.start()
    for kind, number in counts.items():
        for _ in range(number):
            asked = _request(tenant)
            task = Task(
                asked.task_id, "c", tenant, "agent@x", str(uuid.uuid4()), "d",
                TaskState.working, NOW, governance={"operation": asked.operation},
            )  # fmt: skip
            chronicle = EventLog(asked, 2)
            ended = chronicle.ended_task(task, ENDS[kind][0], (), NOW)
            await journal.record([_event(tenant, "accepted")], task)
            await journal.record([_event(tenant, "ended")], ended)
            metrics.count_operation(tenant, chronicle.report(ENDS[kind][0]))
    yield tenant, expected, completed
    await journal.stop()


def _event(tenant, what):
    return Event(str(uuid.uuid4()), Kind.operation_completed, tenant, NOW, {"what": what})


async def test_the_breaker_counts_it(told, pools):
    """The rows of the operations' tasks, as the breaker reads them."""
    tenant, expected, _ = told
    operations = PostgresOperations(pools, region="any")
    assert await operations.ended({tenant: NOW - timedelta(hours=1)}) == {tenant: expected}


async def test_the_targets_count_it(told):
    """`mcctl slo`, `health`, `delta`: from the counters, as a replica shows them."""
    tenant, expected, completed = told
    with replica() as shown:
        for name, labels, value in _counters(tenant):
            shown.count(name, value, **labels)
        measure = Measure(ScrapeSource({shown.name: shown.url}))
        success, compensation = measure.ratio(targets.AUTONOMY), measure.compensation()
    assert (success.events, success.value) == (expected.ended, completed / expected.ended)
    assert compensation.events == expected.ended
    assert compensation.value == pytest.approx(expected.ratio)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_the_rules_count_it(told, tmp_path):
    """Prometheus' own evaluation of the delivered rules; they halt whom the breaker halts."""
    tenant, expected, completed = told
    day = "24h"
    success = completed / expected.ended
    checks = {
        "mc:autonomy_success:ratio_increase24h": ("", success),
        "mc:autonomy_compensation:ratio_increase24h": ("", expected.ratio),
        "mc:tenant_autonomy_compensation:ratio_increase24h": (f'{{tenant="{tenant}"}}', expected.ratio),
        'mc:slo_errors:ratio_rate1d{slo="autonomy"}': ('{slo="autonomy"}', 1 - success),
    }  # fmt: skip
    document = {
        "rule_files": [str(path) for path in sorted(RULES.glob("*.yml"))],
        "evaluation_interval": "5m",
        "tests": [
            {
                "interval": "5m",
                "input_series": [
                    {"series": _series(name, labels), "values": f"0x5 0+{value:g}x1 {value:g}x270"}
                    for name, labels, value in _counters(tenant)
                ]
                + [{"series": "process_start_time_seconds", "values": "0x276"}],
                "promql_expr_test": [
                    {
                        "expr": f"round({expression}, 0.0001)",
                        "eval_time": day,
                        "exp_samples": [{"labels": labels or "{}", "value": round(value, 4)}],
                    }
                    for expression, (labels, value) in checks.items()
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "12h",
                        "alertname": "AutonomyCompensationHigh",
                        "exp_alerts": [],
                    }
                ],
            }
        ],
    }
    halts = trips(expected, LIMITS)
    if halts:  # its words are test_rules' matter
        del document["tests"][0]["alert_rule_test"]
        document["tests"][0]["promql_expr_test"].append(
            {
                "expr": 'count(ALERTS{alertname="AutonomyCompensationHigh",alertstate="firing"})',
                "eval_time": "12h",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        )
    test = tmp_path / "history.test.yml"
    test.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", test], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _counters(tenant):
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name in METRICS and sample.labels["tenant"] == tenant:
                yield sample.name, sample.labels, sample.value


def _series(name, labels):
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"
