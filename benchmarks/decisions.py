"""The decision point beside a bare `cedarpy.is_authorized` on the same requests, in one run.

The bare side has everything built before it begins: the parsed policies, the parsed entities of
each request, the request itself. It is measured twice: with the schema, which is the guarantee that
the decision point gives, and without it, which is the least that an evaluation can cost. The
decision point starts from a `Question` each time, fails closed, explains the answer and gives it
an id. Beside the target stands its side with circumstances that are new each time, as a first message
has them: each is shown to the schema and evaluated. Questions about something catalogued that were
asked before are not evaluated again; that side is told, and not held against the target.

Rounds alternate in random order, so that drift of the machine meets all. What is printed are
ratios; absolute figures belong to the machine.

    python benchmarks/decisions.py [--rows FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import _table
import cedarpy

from mc_platform.adapters.cedar.policy_reloader import PolicyReloader
from mc_platform.decide import describe_request, describe_world
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question

POLICIES = Path(__file__).parents[1] / "policies"
MOST_OVERHEAD = 0.20
_BARE, _BARE_NO_SCHEMA, _AGAIN = (
    "bare cedarpy with the schema",
    "bare cedarpy without it",
    "decision point, asked before",
)
_OURS = "decision point, never-seen circumstances"


def questions() -> list[Question]:
    """A working day's mix: questions, replies clean and labelled, operations, reading of tasks."""
    made: list[Question] = []
    accepts = frozenset({"personal", "financial", "tenant", "sign"})
    for number in range(1, 4):
        tenant = Tenant(
            id=TenantId(f"TENANT_{number:03}"),
            residency="eu",
            purposes=frozenset({"support", "fulfilment"}),
            agents=frozenset({AgentName("records"), AgentName("fulfilment")}),
            autonomy_tier=2,
            outbound={"support": frozenset({"personal"})},
            operations_per_hour=1000,
        )
        send = Question(
            principal=Principal(PrincipalId(f"agent-{number}"), tenant.id, "0" * 12),
            tenant=tenant,
            action=Action.send_message,
            resource_type="Agent",
            resource_id="records",
            resource_residency="eu",
            resource_accepts=accepts,
            purpose="support",
            tier_ceiling=2,
        )
        reply = replace(send, action=Action.release_reply)
        personal: dict[str, Any] = {
            "labels": frozenset({"email", "phone"}),
            "classes": frozenset({"personal"}),
        }
        card: dict[str, Any] = {
            "labels": frozenset({"payment-card"}),
            "classes": frozenset({"financial"}),
        }
        enact = replace(
            send,
            action=Action.enact,
            resource_type="Operation",
            resource_id="place-order",
            resource_agent="fulfilment",
            resource_tier=2,
            operations_this_hour=17,
        )
        task: dict[str, Any] = {
            "resource_type": "Task",
            "resource_tenant": tenant.id,
            "purpose": "",
        }
        made += [
            send,
            replace(send, **personal),
            replace(send, tainted=True, origins=frozenset({"agent-reply"})),
            reply,
            replace(reply, **personal),
            replace(reply, **card),
            replace(reply, **card, redacted=True),
            enact,
            replace(enact, tainted=True, origins=frozenset({"document"}), tier_ceiling=0),
            replace(send, action=Action.read_task, resource_id=f"task-{number}", **task),
        ]
    return made


def _sides(asked: list[Question]) -> dict[str, Callable[[], list[bool]]]:
    reloader = PolicyReloader.load(POLICIES)
    texts = sorted(POLICIES.glob("*.cedar"))
    policies = cedarpy.PolicySet.from_str("\n".join(file.read_text() for file in texts))
    schema = cedarpy.Schema.from_str((POLICIES / "schema.cedarschema").read_text())
    built = [
        (
            describe_request(question),
            cedarpy.Entities.from_json_str(json.dumps(describe_world(question)), schema),
        )
        for question in asked
    ]

    def again() -> list[bool]:
        return [reloader.decide(question).allowed for question in asked]

    def bare() -> list[bool]:
        return [cedarpy.is_authorized(one, policies, world, schema).allowed for one, world in built]

    def bare_no_schema() -> list[bool]:
        return [cedarpy.is_authorized(one, policies, world).allowed for one, world in built]

    seen = itertools.count(1)

    def fresh() -> list[bool]:
        # An origin that no policy names changes no answer, and makes all circumstances new
        new = frozenset({f"pass-{next(seen)}"})
        return [reloader.decide(replace(one, origins=one.origins | new)).allowed for one in asked]

    return {_BARE: bare, _BARE_NO_SCHEMA: bare_no_schema, _AGAIN: again, _OURS: fresh}


def repeat(side: Callable[[], object], passes: int) -> None:
    """Run a side so many times."""
    for _ in range(passes):
        side()


def measure(*, rounds: int, passes: int) -> dict[str, list[float]]:
    """CPU microseconds of a decision for each side, one for each of the alternating rounds."""
    asked = questions()
    sides = _sides(asked)
    answers = {name: side() for name, side in sides.items()}  # warm-up, and all must agree
    if len({tuple(answer) for answer in answers.values()}) != 1:
        raise SystemExit("the sides do not give the same answers")
    if set(answers[_OURS]) != {True, False}:
        raise SystemExit("the questions are all answered alike")
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in random.sample(list(sides), k=len(sides)):
            cpu_s = _table.cpu_s_of(partial(repeat, sides[name], passes))
            spent[name].append(cpu_s / passes / len(asked) * 1e6)
    return spent


def main() -> int:
    """Measure; 1 if the overhead over the bare side with the schema is above the target."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--passes", type=int, default=200, help="over the questions in a round")
    _table.add_option(options)
    given = options.parse_args()
    spent = measure(rounds=given.rounds, passes=given.passes)
    figures = [
        _table.Row(
            what=ours,
            beside=peer,
            values=tuple(a / b for a, b in zip(spent[ours], spent[peer], strict=True)),
            at_most=1 + MOST_OVERHEAD if (ours, peer) == (_OURS, _BARE) else None,
            cpu_us=tuple(spent[ours]),
            peer_cpu_us=tuple(spent[peer]),
            per="decision",
        )
        for ours, peer in ((_OURS, _BARE), (_OURS, _BARE_NO_SCHEMA), (_AGAIN, _BARE))
    ]
    return _table.finish(figures, given.rows)


if __name__ == "__main__":
    sys.exit(main())
