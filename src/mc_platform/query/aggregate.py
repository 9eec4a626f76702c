"""`POST /aggregates`: a tenant's agent asks for a count, a sum or a mean over its own data.

    {"dataset", "measure": "count" | "sum" | "mean", "column"?, "where"?: [{"column", "op", "value"}],
     "epsilon"?, "purpose"}

Policy decides first. Answers and refusals are in the ledger before they are told: a digest of the
query and what it spent, no value and no condition. Why and how: docs/explanation/aggregates.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_platform.aggregate import Aggregates, Answer, Outcome, read_query
from mc_platform.bulkheads import Slots
from mc_platform.errors import BadRequest, BudgetSpent, PolicyDenied
from mc_platform.model.dataset import MICRO, NAME, Dataset, epsilon_text
from mc_platform.model.event import Kind
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Decision
from mc_platform.query.operator_wire import read_body
from mc_platform.record.audit_recorder import Acts
from mc_platform.request_path import UNDECLARED

_TOO_FEW = (
    "too few people are in the group, or in what sets it apart from a query that was answered"
)


class AggregateBody(msgspec.Struct, forbid_unknown_fields=True):
    """A query as it is sent; what its fields may be is the dataset's to say."""

    dataset: str
    measure: str
    purpose: str
    column: str | None = None
    where: list[dict[str, Any]] = []
    epsilon: float | None = None


class Ruling(Protocol):
    """Asks policy whether a principal may have aggregates over its own data for a purpose."""

    def __call__(self, principal: Principal, purpose: str) -> tuple[Decision, Mapping[str, Any]]:
        """The decision, allowed or not, and the question as the ledger keeps it.

        Raises:
            RateLimited: the tenant asks too fast.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateDesk:
    """What the route needs.

    Attributes:
        principal_of: Who sent a request, as the door found.
        purposes: Every purpose that the catalogue declares.
        slots: Places for queries: each reads a dataset and counts in threads that all share.
    """

    principal_of: Callable[[Request], Principal]
    rule: Ruling
    aggregates: Aggregates
    datasets: Mapping[str, Dataset]
    purposes: frozenset[str]
    acts: Acts
    slots: Slots


def aggregate_routes(desk: AggregateDesk) -> list[Route]:
    """The route, for the application to mount."""
    return [Route("/aggregates", _Desk(desk).answer, methods=["POST"])]


class _Desk:
    def __init__(self, desk: AggregateDesk) -> None:
        self._desk = desk

    async def answer(self, request: Request) -> Response:
        principal: Principal = self._desk.principal_of(request)
        body = await read_body(request, AggregateBody)
        # What a caller writes there would stand in the decision, the log and the ledger
        purpose = body.purpose if body.purpose in {"", *self._desk.purposes} else UNDECLARED
        decision, question = self._desk.rule(principal, purpose)
        told: dict[str, Any] = {"purpose": purpose, "asked": question}
        if not decision.allowed:
            await self._record(
                Kind.aggregate_refused, principal, decision, told | {"reason": decision.reason}
            )
            raise PolicyDenied(
                f"ReadAggregate is refused: {decision.reason}",
                decision_id=decision.id,
                reason=decision.reason,
            )
        dataset = self._dataset(principal, body.dataset)
        asked = read_query(msgspec.structs.asdict(body), dataset)
        told |= {
            "dataset": dataset.name,
            "measure": asked.query.measure,
            "query": self._desk.aggregates.fingerprint(principal.tenant, asked.query),
        }
        try:
            async with self._desk.slots.held(principal.tenant):
                outcome = await self._desk.aggregates.answer(principal, dataset, asked)
        except BudgetSpent as spent:
            told |= {"reason": spent.message, "epsilon": epsilon_text(spent.epsilon)}
            await self._record(Kind.aggregate_refused, principal, decision, told)
            raise
        told |= {"epsilon": epsilon_text(outcome.epsilon), "repeated": outcome.repeated}
        if outcome.answer is None:
            await self._record(
                Kind.aggregate_refused, principal, decision, told | {"reason": _TOO_FEW}
            )
            raise PolicyDenied(
                f"the aggregate is refused: {_TOO_FEW}",
                decision_id=decision.id,
                reason=_TOO_FEW,
                hint="ask for a larger group; the same query is refused again, at no cost",
            )
        await self._record(Kind.aggregate_answered, principal, decision, told)
        return JSONResponse(_answer_json(outcome, outcome.answer, dataset))

    def _dataset(self, principal: Principal, name: str) -> Dataset:
        mine = sorted(
            one.name for one in self._desk.datasets.values() if principal.tenant in one.tenants
        )
        if not NAME.fullmatch(name) or name not in mine:
            # Another tenant's is as absent as none
            raise BadRequest("no such dataset", hint=f"yours: {', '.join(mine) or 'none'}")
        return self._desk.datasets[name]

    async def _record(
        self, kind: Kind, principal: Principal, decision: Decision, detail: Mapping[str, Any]
    ) -> None:
        told = {"subject": decision.id, **detail}
        await self._desk.acts.record(kind, principal.tenant, principal, decision, told)


def _answer_json(outcome: Outcome, answer: Answer, dataset: Dataset) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "value": answer.value,
        "half_width_95": answer.half_width,
        "noise": {"distribution": "laplace", "scale": answer.noise_scale},
        "epsilon": {
            "answer": answer.epsilon / MICRO,
            "spent": outcome.epsilon / MICRO,
            "remaining": outcome.remaining.principal / MICRO,
            "tenant_remaining": outcome.remaining.tenant / MICRO,
        },
        "repeated": outcome.repeated,
        "query": outcome.fingerprint,
    }
