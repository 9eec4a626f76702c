"""What requests cost, by tenant: their own CPU, their share of the rest, and metered items.

    direct   CPU-seconds of the tenant's own requests (`mc_cost_cpu_seconds_total`)
    shared   what the replicas' processes used beyond that: start-up, background, database threads
    idle     what is reserved (and paid for) and was not used; nothing where nothing is reserved
    metered  items with a price of their own

Shared and idle are given to tenants in proportion to their direct CPU, and told apart. The
tenants' sum is then held against the bill: the one that is given, else the capacity's own price.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mc_ops.slo import targets
from mc_ops.slo.figure import Figure, Heading, Judged, Verdict
from mc_ops.slo.measure import Measure
from mc_ops.slo.prices import METERED, Prices
from mc_ops.slo.source import Capacity, Window

COST_WINDOW = Window.parse("24h")
LEAST_REQUESTS = 100
MOST_DIFFERENCE = 0.01
_CPU, _REQUESTS = "mc_cost_cpu_seconds_total", "mc_requests_total"
_NO_PRICE = "no prices are set (MC_PRICES_FILE or --prices)"


@dataclass(frozen=True, slots=True)
class TenantCost:
    """What one tenant's requests used; money is None where there are no prices.

    Attributes:
        requests: HTTP requests in the window; not whole, where Prometheus extrapolates.
        direct_cpu_s: CPU-seconds of its own requests; shared and idle are its shares.
        metered: Items with a price, by name: how many.
        cost: All of it, in the currency of the prices.
        idle_cost: The part of `cost` for capacity that nobody used.
    """

    tenant: str
    requests: float
    direct_cpu_s: float
    shared_cpu_s: float
    idle_cpu_s: float
    metered: Mapping[str, float]
    cost: float | None
    idle_cost: float | None

    @property
    def per_request(self) -> float | None:
        """Money for a request, all parts together."""
        return self.cost / self.requests if self.cost is not None and self.requests > 0 else None


@dataclass(frozen=True, slots=True)
class Bill:
    """What it all costs, and what the tenants' sum comes to.

    Attributes:
        amount: What was billed; or what the capacity and the metered items cost by their prices.
        given: Whether the amount was given from outside.
        allotted: The sum over tenants.
        difference: Of both, as a share of `amount`; None where nothing is billed.
    """

    amount: float
    given: bool
    allotted: float
    difference: float | None


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs over one window."""

    span: str
    currency: str | None
    capacity: Capacity
    tenants: tuple[TenantCost, ...]
    bill: Bill | None
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        """As `mcctl cost` prints it."""
        return {
            "window": self.span,
            "currency": self.currency,
            "capacity": asdict(self.capacity),
            "tenants": [
                {
                    **asdict(one),
                    "cost_per_request": one.per_request,
                    "direct_cpu_ms_per_request": 1000 * one.direct_cpu_s / one.requests
                    if one.requests > 0
                    else None,
                }
                for one in self.tenants
            ],
            "bill": asdict(self.bill) if self.bill else None,
            "figures": [one.as_json() for one in self.figures],
        }


def costs(measure: Measure, prices: Prices | None, *, billed: float | None = None) -> Costs:
    """Measure what each tenant used, price it, and hold the sum against the bill.

    Args:
        measure: Over its own window, else 24 h.
        prices: None: CPU is told, and money is not.
        billed: What the provider billed for this window, in the currency of the prices.
    """
    window = measure.window(COST_WINDOW)
    source = measure.source
    cpu = source.increases(_CPU, ("tenant",), window)
    asked = source.increases(_REQUESTS, ("tenant",), window)
    capacity = source.capacity(window)
    direct = {tenant: value for (tenant,), value in cpu.items()}
    requests = {
        tenant: value for (tenant,), value in asked.items() if tenant != targets.OTHER_TENANT
    }
    metered = {
        name: {
            key: value
            for key, value in source.increases(METERED[name][0], ("tenant",), window).items()
            if key[0] != targets.OTHER_TENANT  # a probe is nobody's item
        }
        for name in (prices.items if prices else ())
    }
    tenants = _tenants(direct, requests, metered, capacity, prices)
    bill = _bill(tenants, capacity, metered, prices, billed) if prices else None
    told = Costs(
        source.span(window), prices.currency if prices else None, capacity, tenants, bill, ()
    )
    if not cpu or not asked:
        missing = _REQUESTS if cpu else _CPU
        heading = Heading("cost-per-request", "cost of a request", _target(prices), "cost")
        return replace(told, figures=(measure.absent(heading, missing, window),))
    return replace(told, figures=tuple(_figures(measure, told, prices, window)))


def _tenants(
    direct: Mapping[str, float],
    requests: Mapping[str, float],
    metered: Mapping[str, Mapping[tuple[str, ...], float]],
    capacity: Capacity,
    prices: Prices | None,
) -> tuple[TenantCost, ...]:
    whole = sum(direct.values())
    shared = max(0.0, (capacity.process_cpu_s or 0.0) - whole)
    idle = _idle_s(capacity, prices)
    found = []
    for tenant in sorted({*direct, *requests}):
        own = direct.get(tenant, 0.0)
        part = own / whole if whole > 0 else 0.0
        items = {name: rows.get((tenant,), 0.0) for name, rows in metered.items()}
        cost = idle_cost = None
        if prices:
            idle_cost = part * idle * prices.cpu_second
            used = (own + part * shared) * prices.cpu_second
            cost = used + idle_cost + sum(prices.items[key] * n for key, n in items.items())
        asked = requests.get(tenant, 0.0)
        if own or asked or any(items.values()):
            found.append(
                TenantCost(tenant, asked, own, part * shared, part * idle, items, cost, idle_cost)
            )
    return tuple(found)


def _idle_s(capacity: Capacity, prices: Prices | None) -> float:
    """CPU-seconds that were reserved and not used."""
    if not prices or prices.reserved_cores_per_replica is None or capacity.replica_s is None:
        return 0.0
    return max(
        0.0,
        prices.reserved_cores_per_replica * capacity.replica_s - (capacity.process_cpu_s or 0.0),
    )


def _bill(
    tenants: tuple[TenantCost, ...],
    capacity: Capacity,
    metered: Mapping[str, Mapping[tuple[str, ...], float]],
    prices: Prices,
    billed: float | None,
) -> Bill:
    items = sum(prices.items[name] * sum(rows.values()) for name, rows in metered.items())
    cpu = (capacity.process_cpu_s or 0.0) + _idle_s(capacity, prices)
    amount = cpu * prices.cpu_second + items if billed is None else billed
    allotted = sum(one.cost or 0.0 for one in tenants)
    difference = (allotted - amount) / amount if amount else math.inf
    known = difference if math.isfinite(difference) else None  # of next to nothing it is beyond all
    return Bill(amount, billed is not None, allotted, known)


def _figures(measure: Measure, told: Costs, prices: Prices | None, window: Window) -> list[Figure]:
    requests = sum(one.requests for one in told.tenants)
    direct = sum(one.direct_cpu_s for one in told.tenants)
    found = [_unit(measure, told, prices, window, None)]
    found[0] = replace(
        found[0],
        detail={"direct_cpu_ms_per_request": 1000 * direct / requests if requests else None},
    )
    if prices:
        found += [
            _unit(measure, told, prices, window, one) for one in sorted(prices.targets.tenants)
        ]
    if told.bill:
        found.append(_reconciled(measure, told, told.bill, window))
    return found


def _unit(
    measure: Measure, told: Costs, prices: Prices | None, window: Window, tenant: str | None
) -> Figure:
    """What a request costs, over all tenants or for one."""
    tenants = [one for one in told.tenants if tenant in (None, one.tenant)]
    heading = Heading(
        "cost-per-request" + (f":{tenant}" if tenant else ""),
        f"cost of a request of {tenant}" if tenant else "cost of a request",
        _target(prices, tenant),
        told.currency or "cost",
    )
    requests = sum(one.requests for one in tenants)
    limit = prices.most_per_request(tenant) if prices else None
    value = sum(one.cost or 0.0 for one in tenants) / requests if prices and requests else None
    if not prices:
        judged = Judged(Verdict.not_applicable, _NO_PRICE)
    elif told.capacity.process_cpu_s is None:
        value, judged = None, Judged(Verdict.unknown, "no replica tells process_cpu_seconds_total")
    elif prices.reserved_cores_per_replica is not None and told.capacity.replica_s is None:
        value, judged = None, Judged(Verdict.unknown, "no replica tells how long it has run")
    elif requests < LEAST_REQUESTS:
        # Start-up and background would be most of what such a request costs
        reason = f"too few to tell: {requests:.0f} of {LEAST_REQUESTS} requests"
        judged = Judged(Verdict.unknown, reason, few=True)
    elif limit is None or value is None:
        judged = Judged(Verdict.not_applicable, "no target is set (targets.per_request)")
    else:
        judged = Judged(Verdict.met if value <= limit else Verdict.missed)
    return replace(measure.figure(heading, value, judged, window), events=requests)


def _target(prices: Prices | None, tenant: str | None = None) -> str:
    limit = prices.most_per_request(tenant) if prices else None
    return f"<= {limit:g} {prices.currency}" if prices and limit is not None else "not set"


def _reconciled(measure: Measure, told: Costs, bill: Bill, window: Window) -> Figure:
    direct = sum(one.direct_cpu_s for one in told.tenants)
    used = told.capacity.process_cpu_s
    if used is not None and direct > used * (1 + MOST_DIFFERENCE):
        judged = Judged(
            Verdict.missed,
            f"tenants' own CPU is {direct:.4g} s, their processes used only {used:.4g} s",
        )
    elif bill.difference is None or used is None:
        judged = Judged(Verdict.unknown, "nothing is billed", few=True)
    elif not direct:
        judged = Judged(Verdict.unknown, "no tenant used anything: nobody to bill", few=True)
    else:
        met = abs(bill.difference) <= MOST_DIFFERENCE
        reason = "" if met else f"{bill.allotted:.6g} of {bill.amount:.6g} is allotted to tenants"
        judged = Judged(Verdict.met if met else Verdict.missed, reason)
    heading = Heading("cost-reconciliation", "tenants' sum against the bill", "within 1 %")
    return measure.figure(heading, bill.difference, judged, window)
