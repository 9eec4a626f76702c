"""Six hundred synthetic customers a tenant, for aggregates; nobody in it exists.

The rows depend on the tenant's name alone, so every start of the environment serves the same.
"""

from __future__ import annotations

import random
from typing import Any

TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003")
CITIES = ("Bilbao", "Gdansk", "Lyon", "Malmo", "Porto")
PLANS = ("basic", "family", "premium")
_ROWS = 600
_FIRST = 50_001


def customers(tenant: str) -> list[dict[str, Any]]:
    """The table of one tenant: id, city, plan, age, orders and spend a month; [] if unknown."""
    if tenant not in TENANTS:
        return []
    draw = random.Random(f"customers of {tenant}")  # noqa: S311 - a sample, no secret
    return [_customer(_FIRST + number, draw) for number in range(_ROWS)]


def _customer(number: int, draw: random.Random) -> dict[str, Any]:
    plan = draw.choices(PLANS, weights=(5, 3, 2))[0]
    orders = min(40, int(draw.expovariate(1 / 6)))
    return {
        "id": f"C-{number}",
        "city": draw.choice(CITIES),
        "plan": plan,
        "age": min(95, max(18, round(draw.gauss(46, 15)))),
        "orders": orders,
        "spend": round(min(2000.0, orders * draw.uniform(8, 60)), 2),
    }
