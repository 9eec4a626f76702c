"""The records agent: answers questions about customers and orders, personal data and all.

    MC_PORT=8091 python -m mc_samples.records_agent

It screens nothing: that is the gateway's work, and this agent is what the gateway is tried on.
A question gets one message; `list orders` and `export orders` get a task whose artifact grows
line by line, so that streaming and cancelling have something to work on. For the red-team it can be
made to say anything (`planting`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from a2a.helpers import new_message, new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import AgentSkill
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mc_samples.customers import CUSTOMERS, ORDERS, Customer, Order
from mc_samples.datasets import customers
from mc_samples.planting import Planted
from mc_samples.serving import Agent, agent_app, serve

_CUSTOMER = re.compile(r"\bC-\d{4}\b", re.IGNORECASE)
_ORDER = re.compile(r"\bO-\d{4}\b", re.IGNORECASE)
_LISTING = re.compile(r"\b(list|export|stream)\b.*\borders\b", re.IGNORECASE | re.DOTALL)
_EXPORT_PACE_S = 0.1  # an export of all forty orders takes about four seconds

_FIELDS: tuple[tuple[re.Pattern[str], str, Callable[[Customer], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), label, read)
    for pattern, label, read in (
        (r"\be-?mail", "email", lambda c: c.email),
        (r"\b(phone|telephone|mobile)\b", "phone", lambda c: c.phone),
        (r"\bcard\b", "card", lambda c: c.card),
        (r"\b(national id|dni|pesel|identity)\b", "national id", lambda c: c.national_id),
        (r"\bname\b", "name", lambda c: c.name),
    )
)
_PROFILE = re.compile(r"\b(profile|everything|all|record|details)\b", re.IGNORECASE)
_ORDERS_OF = re.compile(r"\borders?\b|\bstatus\b", re.IGNORECASE)
_CANNOT = (
    "I can't answer that. I know the orders O-2001 to O-2040 and the customers C-1001 to C-1020: "
    "ask for an order's status, or a customer's name, email, phone, card or national id."
)


def answer(question: str) -> str:
    """Answer a question, or say honestly that it can't be answered."""
    if found := _ORDER.search(question):
        order = ORDERS.get(found.group().upper())
        return _tell(order) if order else f"There is no order {found.group().upper()}."
    found = _CUSTOMER.search(question)
    if not found:
        return _CANNOT
    customer = CUSTOMERS.get(found.group().upper())
    if customer is None:
        return f"There is no customer {found.group().upper()}."
    asked = [(label, read(customer)) for word, label, read in _FIELDS if word.search(question)]
    if asked:
        return " ".join(f"The {label} of customer {customer.id} is {v}." for label, v in asked)
    if _ORDERS_OF.search(question):
        return " ".join(_tell(order) for order in _orders_of(customer))
    if _PROFILE.search(question):
        told = "; ".join(f"{label} {read(customer)}" for _, label, read in _FIELDS)
        return f"Customer {customer.id}: {told}."
    return _CANNOT


async def answer_parts(
    parts: Sequence[Mapping[str, Any]], _about: Mapping[str, str]
) -> list[dict[str, str]]:
    """The same as an agent inside the gateway (`agent = "python:mc_samples.records_agent:answer_parts"`)."""
    return [{"text": answer(" ".join(part["text"] for part in parts if "text" in part))}]


def _tell(order: Order) -> str:
    return f"Order {order.id} is {order.state}, {order.outlook}."


def _orders_of(customer: Customer) -> list[Order]:
    return [order for order in ORDERS.values() if order.customer_id == customer.id]


def _listed(question: str) -> list[Order]:
    found = _CUSTOMER.search(question)
    customer = CUSTOMERS.get(found.group().upper()) if found else None
    if found:
        return _orders_of(customer) if customer else []
    return list(ORDERS.values())


class RecordsAgent(Agent):
    """Turns `answer` into A2A messages, and listings into tasks; says what was planted."""

    def __init__(self, planted: Planted) -> None:
        self._planted = planted

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        question = context.get_user_input()
        planted = self._planted.called_up(question)
        if planted is None and _LISTING.search(question) and context.message:
            await self._list(question, context, event_queue)
            return
        parts = [new_text_part(answer(question))] if planted is None else list(planted)
        await event_queue.enqueue_event(new_message(parts, context_id=context.context_id))

    async def _list(self, question: str, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message
        task = context.current_task or new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        pace_s = _EXPORT_PACE_S if "export" in question.lower() else 0.0
        orders = _listed(question)
        for number, order in enumerate(orders):
            await asyncio.sleep(pace_s)
            await updater.add_artifact(
                [new_text_part(_tell(order) + "\n")],
                artifact_id="orders",
                name="orders",
                append=number > 0,
                last_chunk=number == len(orders) - 1,
            )
        told = f"{len(orders)} orders."
        await updater.complete(new_text_message(told, context_id=task.context_id, task_id=task.id))


def create_app(port: int) -> Starlette:
    """The agent as an ASGI app; `port` is what its card says."""
    planted = Planted()
    return agent_app(
        RecordsAgent(planted),
        name="records",
        description="Customer records of a shop that does not exist.",
        skill=AgentSkill(
            id="customer-records",
            name="Customer records",
            description="Answers questions about synthetic customers and their orders.",
            tags=["records", "orders"],
            examples=["What is the status of order O-2001?", "email of customer C-1002"],
        ),
        port=port,
        more=[
            Route("/datasets/customers", _get_customers, methods=["GET"]),
            Route("/plant", planted.take, methods=["POST"]),
        ],
    )


async def _get_customers(request: Request) -> JSONResponse:
    return JSONResponse({"rows": customers(request.query_params.get("tenant", ""))})


if __name__ == "__main__":
    serve(create_app)
