"""What a decision costs at growing policy sets, where each tenant has policies of its own.

The repository's set, and beside it three policies for each of so many tenants. The questions are those
of `decisions.py`, their circumstances new each time, so that each is evaluated. The whole set,
evaluated by a bare `cedarpy.is_authorized` in the same rounds, is what a decision point without slices
would cost. A tenant's first question makes its slice; what that costs is a series of its own.

    python benchmarks/policies.py [--rows FILE] [--full]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import _table
import cedarpy
from decisions import POLICIES, questions, repeat

from mc_platform.adapters.cedar.decision_point import (
    CedarDecisionPoint,
    PolicyFiles,
    read_policy_files,
)
from mc_platform.decide import describe_request, describe_world
from mc_platform.model.ids import TenantId

_TENANTS, _MORE_TENANTS = (0, 90, 1000), 3333
_FLAT = 1.1
_FIRST = "first decision of a tenant"


def _set_for(tenants: int) -> PolicyFiles:
    shared = read_policy_files(POLICIES)
    own = "".join(
        f'@id("own-{n}-{kind}") @reason("of one tenant alone")\n'
        'forbid (principal, action in [Action::"SendMessage", Action::"Enact"], resource)\n'
        f'when {{ principal.tenant == Tenant::"TENANT_{n:03}" && context.labels.contains("{kind}") }};\n'
        for n in range(1, tenants + 1)
        for kind in ("house", "harbour", "hill")
    )
    return PolicyFiles("set", shared.schema, {**shared.sources, "own.cedar": own}, {})


def _sides(tenants: int) -> tuple[int, dict[str, Callable[[], object]], int]:
    """How many policies the set has, what is measured, and decisions in one pass."""
    files = _set_for(tenants)
    point, asked = CedarDecisionPoint.from_files(files), questions()
    seen, strangers = itertools.count(), itertools.count(4)
    schema = cedarpy.Schema.from_str(files.schema)
    whole = cedarpy.PolicySet.from_str("\n".join(files.sources.values()))
    built = [
        (
            describe_request(one),
            cedarpy.Entities.from_json_str(json.dumps(describe_world(one)), schema),
        )
        for one in asked
    ]
    first = asked[0]

    def sliced() -> list[bool]:
        new = frozenset({f"pass-{next(seen)}"})
        return [point.decide(replace(one, origins=one.origins | new)).allowed for one in asked]

    def bare() -> list[bool]:
        return [cedarpy.is_authorized(one, whole, world, schema).allowed for one, world in built]

    def of_strangers() -> None:
        for _ in asked:  # each of a tenant that has not asked in this set
            tenant = replace(first.tenant, id=TenantId(f"TENANT_{next(strangers):03}"))
            principal = replace(first.principal, tenant=tenant.id)
            point.decide(replace(first, tenant=tenant, principal=principal))

    if sliced() != bare():
        raise SystemExit("a slice does not answer as the whole set does")
    sides: dict[str, Callable[[], object]] = {"decision": sliced, "whole set, bare": bare}
    if tenants:
        sides[_FIRST] = of_strangers
    return len(point.policies), sides, len(asked)


def main() -> int:
    """Measure; 1 if a decision is not flat in the number of policies."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--full", action="store_true", help="10,000 policies as well")
    _table.add_option(options)
    given = options.parse_args()
    sizes = [_sides(one) for one in (*_TENANTS, *((_MORE_TENANTS,) if given.full else ()))]
    spent: dict[str, dict[int, list[float]]] = {}
    for _ in range(given.rounds):
        for policies, sides, count in sizes:
            for name, side in sides.items():
                passes = 1 if name == _FIRST else max(5, 20_000 // policies)
                cpu_s = _table.cpu_s_of(partial(repeat, side, passes))
                each_us = cpu_s / passes / count * 1e6
                spent.setdefault(name, {}).setdefault(policies, []).append(each_us)
    flat = tuple((size, _FLAT) for size, _, _ in sizes[1:])
    series = [
        _table.Series(
            what=name,
            size="policies",
            unit="CPU us a decision",
            points=tuple((size, tuple(values)) for size, values in found.items()),
            at_most=flat if name == "decision" else (),
        )
        for name, found in spent.items()
    ]
    return _table.finish(series, given.rows)


if __name__ == "__main__":
    sys.exit(main())
