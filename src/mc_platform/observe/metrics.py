"""Every metric's name and labels, in one file.

Tenant labels are bounded: only catalogued tenants appear; all else is `unknown`.
Names in the runbook are contracts (docs/reference/metrics.md has a line for each).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from mc_platform.model.operation import Ending, OperationReport

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads

_LATENCY_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2,
    0.25, 0.35, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
# 0.2, 0.25 and 0.35 s are the runbook's limits: each is an edge, so a quantile there is not a guess
_TENANT_LATENCY_BUCKETS_S = (
    0.025,
    0.05,
    0.1,
    0.2,
    0.25,
    0.35,
    1.0,
    5.0,
)  # few: each tenant has them

requests = Counter(
    "mc_requests", "HTTP requests answered, by status code.", ["status", "route", "tenant"]
)
request_duration = Histogram(
    "mc_request_duration_seconds",
    "Time from a request's first byte to its response's last.",
    ["route"],
    buckets=_LATENCY_BUCKETS_S,
)
tenant_request_duration = Histogram(
    "mc_tenant_request_duration_seconds",
    "The same for each tenant, over the routes on which it waits for an answer.",
    ["tenant"],
    buckets=_TENANT_LATENCY_BUCKETS_S,
)
answers = Counter(
    "mc_answers",
    "HTTP requests answered: ok, failed (5xx); audience: customers, strangers, a tenant of the platform's own.",
    ["result", "route", "audience"],
)
a2a_requests = Counter(
    "mc_a2a_requests",
    "A2A messages by result: success, denied, client_error, error.",
    ["status", "tenant"],
)
autonomy_operations = Counter(
    "mc_autonomy_operations",
    "Operations ended: completed, compensated, failed, stuck, canceled.",
    ["status", "tenant"],
)
autonomy_compensation = Counter(
    "mc_autonomy_compensation",
    "Operations of which an effect was undone, or stands (stuck), without a cancel.",
    ["tenant"],
)
operations_waiting = Gauge(
    "mc_autonomy_waiting_operations",
    "Operations that wait: for their turn, or for a code version that no replica runs.",
    ["reason"],
)
operation_adoptions = Counter(
    "mc_autonomy_adoptions", "Dead replicas whose operations this process took over."
)
operation_leases_lost = Counter(
    "mc_autonomy_leases_lost", "Times that this process found its operation lease lost."
)
home_held = Gauge(
    "mc_home_held",
    "1 while this replica surely holds its region's lease. No series: there is one region.",
    ["region"],
)
home_renewals = Counter(
    "mc_home_renewals", "Renewals of the region's lease by this process: done, failed.", ["outcome"]
)
home_moves = Counter(
    "mc_home_moves", "Tenants' homes that this process saw move: here, away.", ["direction"]
)
home_operations = Counter(
    "mc_home_operations",
    "Operations in flight when their tenant's home moved: adopted here, given-up to the new home.",
    ["direction"],
)
home_passed_on = Counter(
    "mc_home_passed_on",
    "Requests passed on to their tenant's home region: answered, refused (no answer came).",
    ["outcome", "tenant"],
)
autonomy_halted = Gauge(
    "mc_autonomy_halted",
    "1 while nothing is enacted for the tenant; tenant `*`: the switch of all.",
    ["tenant"],
)
autonomy_compensation_ratio = Gauge(
    "mc_autonomy_compensation_ratio",
    "Compensated among ended operations, as the breaker counts them; NaN: none has ended.",
    ["tenant"],
)
autonomy_stuck = Gauge(
    "mc_autonomy_stuck_operations",
    "Operations of which an effect still stands, and that nobody has resolved.",
    ["tenant"],
)
policy_decisions = Counter(
    "mc_policy_decisions", "Policy decisions: allow, deny.", ["decision", "tenant"]
)
policy_reloads = Counter(
    "mc_policy_reloads",
    "Changed policy sets that were looked at while the service ran: applied, refused.",
    ["outcome"],
)
siem_requests = Counter(
    "mc_siem_requests", "Batches sent to the SIEM: success, failure, rejected.", ["status"]
)
siem_backlog = Gauge("mc_siem_backlog_events", "Recorded events not yet taken by the SIEM.")
siem_backlog_age = Gauge(
    "mc_siem_backlog_age_seconds", "Age of the oldest event not yet taken by the SIEM."
)
siem_parked = Counter(
    "mc_siem_parked_events", "Events that became dead letters: the SIEM refused them."
)
siem_parked_now = Gauge(
    "mc_siem_parked", "Dead letters of the region, those taken since not counted."
)
delivery_cursor_ahead = Gauge(
    "mc_delivery_cursor_ahead_events",
    "Events that were delivered and that the region's log no longer has: it was set back.",
)
audit_file_events = Counter("mc_audit_file_events", "Events written to the backup file.")
audit_file_errors = Counter(
    "mc_audit_file_errors", "Writes to the backup file that failed: a full disk, for one."
)
audit_file_rotated = Gauge(
    "mc_audit_file_rotated_files", "Rotated backup files that are kept beside the current one."
)
replication_lag = Gauge(
    "mc_replication_lag_seconds",
    "Age of the newest heartbeat of a peer region seen here. No series: no peer is configured.",
    ["peer"],
)
replication_retained = Gauge(
    "mc_replication_slot_retained_bytes",
    "WAL that this region keeps for a peer region that has not taken it yet.",
    ["peer"],
)
replication_refused = Gauge(
    "mc_replication_refused_rows",
    "Rows of a peer region that could not be merged here and wait for a repair.",
    ["peer"],
)
replication_whole = Gauge(
    "mc_replication_whole",
    "1: this region and a peer region have each said that they have all of the other's rows.",
    ["peer"],
)
sync_answers = Counter(
    "mc_sync_answers",
    "Answers to tenants of `replication = sync`: confirmed by the peer region, degraded, refused.",
    ["outcome", "tenant"],
)
sync_wait = Histogram(
    "mc_sync_wait_seconds",
    "How long an answer to such a tenant waited for the peer region.",
    buckets=_LATENCY_BUCKETS_S,
)
sync_peer_away = Gauge(
    "mc_sync_peer_away",
    "1 while the peer region does not confirm what `sync` tenants wait for. No series: there is none.",
    ["region"],
)
privacy_labels = Counter(
    "mc_privacy_labels", "Findings of screening, by type and direction.", ["type", "direction"]
)
privacy_redactions = Counter(
    "mc_privacy_redactions", "Replies released redacted, raw release being denied.", ["tenant"]
)
privacy_withheld = Counter(
    "mc_privacy_withheld", "Replies withheld, neither raw nor redacted permitted.", ["tenant"]
)
cost_cpu = Counter(
    "mc_cost_cpu_seconds",
    "CPU time spent in the request's own task, in worker processes and agents inside, by tenant.",
    ["tenant"],
)
slots_refused = Counter(
    "mc_slots_refused",
    "Requests refused with 429 because the tenant had no free place, by what takes the place.",
    ["kind", "tenant"],
)
worker_calls = Counter(
    "mc_worker_calls",
    "Large messages handed to worker processes, by result: done, overdue, failed, cancelled.",
    ["outcome", "tenant"],
)
event_loop_stall = Histogram(
    "mc_event_loop_stall_seconds",
    "CPU time for which the event loop kept everybody waiting at a time, sampled every 10 ms.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
ledger_events = Counter("mc_ledger_events", "Events committed by this process.", ["kind"])
ledger_size = Gauge("mc_ledger_size", "Leaves in this region's log, as last seen here.")
keyring_refused = Gauge(
    "mc_keyring_refused",
    "1 while this process refuses the keys in its files, and works with those before.",
)
ledger_signer_refused = Gauge(
    "mc_ledger_signer_refused",
    "1 while the signer refuses: the log is no continuation of what was signed.",
)
ledger_cosignatures = Counter(
    "mc_ledger_cosignatures",
    "Checkpoints submitted to a witness: cosigned, forked, set_back, invalid, refused, unreachable.",
    ["witness", "status"],
)
ledger_witness_conflict = Gauge(
    "mc_ledger_witness_conflict",
    "1 while a witness says that the log is no continuation of what it cosigned.",
    ["witness"],
)
ledger_cosigned_at = Gauge(
    "mc_ledger_cosigned_timestamp_seconds",
    "When the witness cosigned the newest checkpoint that it has, by its own clock; 0: none yet.",
    ["witness"],
)
ledger_uncosigned_since = Gauge(
    "mc_ledger_uncosigned_timestamp_seconds",
    "When the oldest checkpoint was stored that the witness has not cosigned; 0: it has cosigned all.",
    ["witness", "required"],
)
witness_requests = Counter(
    "mc_witness_requests",
    "Requests to cosign another log: cosigned, conflict (409), inconsistent (422), refused.",
    ["status"],
)
ledger_commit = Histogram(
    "mc_ledger_commit_seconds",
    "Time of one group commit.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)

authentication_failures = Counter(
    "mc_authentication_failures",
    "Requests without a valid credential: missing, malformed, unknown (or wrong, or revoked), "
    "no_tenant (its tenant is not in the catalogue).",
    ["reason"],
)
connections = Gauge("mc_connections", "Connections that clients hold to this process.")
connections_closed = Counter(
    "mc_connections_closed",
    "Connections that were closed on their client: over its share, not reading its answer, or idle after it.",
    ["reason"],
)

unreadable_rows = Counter(
    "mc_unreadable_rows",
    "Rows read that hold what cannot be shown: `task`, `ledger`.",
    ["what"],
)
retention_removed = Counter(
    "mc_retention_removed",
    "Rows that were removed because they had been kept long enough.",
    ["kind"],
)
retention_ended = Gauge(
    "mc_retention_ended_timestamp_seconds",
    "When this process last ended a run of retention; 0 if it never did.",
)
background_failures = Counter(
    "mc_background_failures", "Times that background work failed and was begun again.", ["work"]
)

UNKNOWN_TENANT = "unknown"
_CUSTOMERS, _STRANGERS = "customers", "strangers"
_FIRST_FAILURE = 500
_ANSWERING_ROUTES = ("a2a", "a2a_rest", "graphql")
_own: frozenset[str] = frozenset()  # set once, by `begin`
_Add = Callable[[float], None]
_adds: dict[tuple[object, ...], _Add] = {}
_answer_series: dict[tuple[int, str, str], _AnswerSeries] = {}


def begin(tenants: Iterable[str], own: Iterable[str] = ()) -> None:
    """Create the series that an alert or a bill counts, before the first request.

    A series that is born at 1 tells Prometheus' `rate` of no increase: the first failure would be
    in no figure. So whatever is counted there stands at zero first; all else is made on use, for a
    platform of a thousand tenants has each a thousand times.

    Args:
        tenants: Those of the catalogue.
        own: Tenants of the platform's own among them, such as the canary: no customers.
    """
    global _own  # noqa: PLW0603 - one process has one catalogue
    _own = frozenset(own)
    _answer_series.clear()
    for audience in (_CUSTOMERS, *sorted(_own)):
        for route in _ANSWERING_ROUTES:
            for result in ("ok", "failed"):
                answers.labels(result, route, audience)
    for route in _ANSWERING_ROUTES:
        request_duration.labels(route)
    for status in ("success", "failure", "rejected"):
        siem_requests.labels(status)
    for reason in ("missing", "malformed", "unknown", "no_tenant"):
        authentication_failures.labels(reason)
    for reason in ("share", "reading", "idle"):
        connections_closed.labels(reason)
    for outcome in ("applied", "refused"):
        policy_reloads.labels(outcome)
    for status in ("cosigned", "conflict", "inconsistent", "refused"):
        witness_requests.labels(status)
    for tenant in tenants:
        for status in ("success", "denied", "error"):
            a2a_requests.labels(status, tenant)
        for ending in Ending:
            if ending is not Ending.canceled:  # which no figure counts
                autonomy_operations.labels(ending.value, tenant)
        autonomy_compensation.labels(tenant)
        privacy_withheld.labels(tenant)
        for decision in ("allow", "deny"):
            policy_decisions.labels(decision, tenant)
        # What is billed (`mcctl cost`): a tenant's first request costs as its second
        cost_cpu.labels(tenant)
        for route in _ANSWERING_ROUTES:
            requests.labels("200", route, tenant)


def add(counter: Counter, amount: float, *labels: str) -> None:
    """`counter.labels(*labels).inc(amount)`, its series looked up and checked once and then kept.

    Args:
        amount: Not negative.
        labels: One value of a closed set for each of the counter's labels.
    """
    key = (counter, *labels)
    known = _adds.get(key)
    if known is None:
        known = _adds[key] = _add_of(counter.labels(*labels))
    known(amount)


def _add_of(counter: Counter) -> _Add:
    # A field without a public name (as `exposition` reads it): the way there costs three calls more
    known: _Add = counter._value.inc
    return known


class _Durations:
    """`Histogram.observe` of one series."""

    __slots__ = ("_adds", "_bounds", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._bounds = list(histogram._upper_bounds)
        self._adds = [bucket.inc for bucket in histogram._buckets]
        self._sum = histogram._sum.inc

    def observe(self, elapsed_s: float) -> None:
        self._sum(elapsed_s)
        self._adds[bisect_left(self._bounds, elapsed_s)](1)


class _AnswerSeries(NamedTuple):
    """What an answer with one status, on one route, to one tenant is counted in."""

    requests: _Add
    answers: _Add
    duration: _Durations
    tenant_duration: _Durations | None
    cpu: _Add | None


def _series_of(status: int, route: str, tenant: str) -> _AnswerSeries:
    # Without the tenant, so that the first failure of each of many tenants counts
    failed = status >= _FIRST_FAILURE
    audience = tenant if tenant in _own else _CUSTOMERS
    known = tenant != UNKNOWN_TENANT
    if not known and not failed:
        # Who has no credential could hide a failure among refusals; but a failure may be anyone's
        audience = _STRANGERS
    waits = known and route in _ANSWERING_ROUTES
    return _AnswerSeries(
        requests=_add_of(requests.labels(str(status), route, tenant)),
        answers=_add_of(answers.labels("failed" if failed else "ok", route, audience)),
        duration=_Durations(request_duration.labels(route)),
        tenant_duration=_Durations(tenant_request_duration.labels(tenant)) if waits else None,
        cpu=_add_of(cost_cpu.labels(tenant)) if known else None,
    )


def count_answer(
    status: int, route: str, tenant: str, elapsed_s: float, cpu_s: float = 0.0
) -> None:
    """Count an HTTP request that was answered.

    Args:
        status: The HTTP status.
        route: One of a closed set (docs/reference/metrics.md).
        tenant: One of the catalogue, else `UNKNOWN_TENANT`.
        elapsed_s: From its first byte to its answer's last.
        cpu_s: What it cost, which is the tenant's if it is known.
    """
    key = (status, route, tenant)
    series = _answer_series.get(key)
    if series is None:
        series = _answer_series[key] = _series_of(status, route, tenant)
    series.requests(1)
    series.answers(1)
    series.duration.observe(elapsed_s)
    if series.tenant_duration is not None:
        series.tenant_duration.observe(elapsed_s)
    if series.cpu is not None:
        series.cpu(cpu_s)


def count_operation(tenant: str, report: OperationReport) -> None:
    """Count an operation that has ended, by what it counts as (`model.operation.Ending`)."""
    autonomy_operations.labels(report.ending.value, tenant).inc()
    if report.ending in (Ending.compensated, Ending.stuck):
        autonomy_compensation.labels(tenant).inc()


def begin_witness(name: str, statuses: Iterable[str]) -> None:
    """Create the series of a witness, before it is asked for the first time."""
    ledger_witness_conflict.labels(name)
    for status in statuses:
        ledger_cosignatures.labels(name, status)


def begin_work(name: str) -> None:
    """Create the series of a piece of background work, before it fails for the first time."""
    background_failures.labels(name)
