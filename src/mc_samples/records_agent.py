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
import uuid
from collections.abc import Callable

from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import AgentSkill, Message, Role
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mc_samples.customers import (
    CUSTOMERS,
    ORDERS,
    Customer,
    Order,
)
from mc_samples.datasets import customers
from mc_samples.planting import Planted
from mc_samples.serving import (
    agent_app,
    card,
    port_from_env,
    run,
)

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
        (
            r"\b(national id|dni|pesel|identity)\b",
            "national id",
            lambda c: c.national_id,
        ),
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


class RecordsExecutor(AgentExecutor):
    """Turns `answer` into A2A messages, and listings into tasks; says what was planted."""

    def __init__(self, planted: Planted) -> None:
        self._planted = planted

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answer the request's text."""
        question = context.get_user_input()
        planted = self._planted.called_up(question)
        if planted is not None:
            reply = Message(
                message_id=str(uuid.uuid4()),
                role=Role.ROLE_AGENT,
                parts=planted,
                context_id=context.context_id or "",
            )
            await event_queue.enqueue_event(reply)
            return
        if _LISTING.search(question) and context.message:
            await self._list(question, context, event_queue)
            return
        reply = new_text_message(answer(question), context_id=context.context_id)
        await event_queue.enqueue_event(reply)

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
        done = new_text_message(
            f"{len(orders)} orders.", context_id=task.context_id, task_id=task.id
        )
        await updater.complete(done)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stop a listing; the SDK has already stopped `execute`."""
        updater = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await updater.cancel()


def create_app(port: int) -> Starlette:
    """The agent as an ASGI app; `port` is what its card says."""
    skill = AgentSkill(
        id="customer-records",
        name="Customer records",
        description="Answers questions about synthetic customers and their orders.",
        tags=["records", "orders"],
        examples=["What is the status of order O-2001?", "email of customer C-1002"],
    )
    described = card(
        name="records",
        description="Customer records of a shop that does not exist.",
        port=port,
        skills=[skill],
    )
    planted = Planted()
    return agent_app(
        described,
        RecordsExecutor(planted),
        [
            Route("/datasets/customers", _get_customers, methods=["GET"]),
            Route("/plant", planted.take, methods=["POST"]),
        ],
    )


async def _get_customers(request: Request) -> JSONResponse:
    return JSONResponse({"rows": customers(request.query_params.get("tenant", ""))})


if __name__ == "__main__":
    run(create_app(port_from_env()), port_from_env())
