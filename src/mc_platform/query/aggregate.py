"""`POST /aggregates`: a tenant's agent asks for a count, a sum or a mean over its own data.

    {"dataset", "measure": "count" | "sum" | "mean", "column"?, "where"?: [{"column", "op", "value"}],
     "epsilon"?, "purpose"}

Policy decides first. Answers and refusals are in the ledger before they are told: a digest of the
query and what it spent, no value and no condition. Why and how: docs/explanation/aggregates.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

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
from mc_platform.model.verdict import Action
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import read_body

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateHandlers(Handlers):
    """Answers it.

    Attributes:
        slots: Places for queries: each reads a dataset and counts in threads that all share.
    """

    aggregates: Aggregates
    datasets: Mapping[str, Dataset]
    slots: Slots

    def routes(self) -> list[Route]:
        return [Route("/aggregates", self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        body = await read_body(request, AggregateBody)
        principal = self.principal_of(request)
        decision = await self.enforcement.permit(
            principal,
            Action.read_aggregate,
            "Dataset",
            owner=principal.tenant,
            purpose=body.purpose,
            refused_as=Kind.aggregate_refused,
        )
        refuse = partial(self.enforcement.refuse, principal, decision, kind=Kind.aggregate_refused)
        dataset = self._dataset(principal, body.dataset)
        asked = read_query(msgspec.structs.asdict(body), dataset)
        detail: dict[str, Any] = {
            "purpose": self.enforcement.declared(body.purpose),
            "dataset": dataset.name,
            "measure": asked.query.measure,
            "query": self.aggregates.fingerprint(principal.tenant, asked.query),
        }
        try:
            async with self.slots.held(principal.tenant):
                outcome = await self.aggregates.answer(principal, dataset, asked)
        except BudgetSpent as spent:
            detail["epsilon"] = epsilon_text(spent.epsilon)
            await refuse(detail, error=spent)
        detail |= {"epsilon": epsilon_text(outcome.epsilon), "repeated": outcome.repeated}
        if outcome.answer is None:
            error = PolicyDenied(
                f"the aggregate is refused: {_TOO_FEW}",
                decision_id=decision.id,
                reason=_TOO_FEW,
                hint="ask for a larger group; the same query is refused again, at no cost",
            )
            await refuse(detail | {"reason": _TOO_FEW}, error=error)
        detail["subject"] = decision.id
        await self.recorder.record(
            Kind.aggregate_answered, principal.tenant, principal, decision, detail
        )
        return JSONResponse(_answer_json(outcome, outcome.answer, dataset))

    def _dataset(self, principal: Principal, name: str) -> Dataset:
        mine = sorted(one.name for one in self.datasets.values() if principal.tenant in one.tenants)
        if not NAME.fullmatch(name) or name not in mine:
            # Another tenant's is as absent as none
            raise BadRequest("no such dataset", hint=f"yours: {', '.join(mine) or 'none'}")
        return self.datasets[name]


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
