"""The sample agents as true A2A servers, and the actions, over their ASGI apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_message_text, get_stream_response_text, new_text_message
from a2a.types import CancelTaskRequest, Role, SendMessageRequest, TaskState
from stdnum import luhn
from stdnum.es import dni
from stdnum.pl import pesel

from mc_samples import fulfilment_agent, records_agent
from mc_samples.customers import CUSTOMERS, ORDERS
from mc_samples.world import World


@pytest.fixture
async def records() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the records agent."""
    transport = httpx.ASGITransport(records_agent.create_app(8091))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8091") as client:
        yield client


@pytest.fixture
async def fulfilment(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the fulfilment agent."""
    world = World(tmp_path / "journal.jsonl")
    transport = httpx.ASGITransport(fulfilment_agent.create_app(8092, world))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8092") as client:
        yield client
    world.close()


async def ask(http: httpx.AsyncClient, text: str, *, streaming: bool = False) -> list[str]:
    """Ask by the official client; the text of each event."""
    config = ClientConfig(httpx_client=http, streaming=streaming)
    client = await create_client(str(http.base_url), config)
    request = SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))
    return [get_stream_response_text(event) async for event in client.send_message(request)]


def test_synthetic_customers_pass_the_checks_of_real_numbers() -> None:
    """Cards pass Luhn and national ids their check digits, or no validator would find them."""
    assert len(CUSTOMERS) == 20
    assert len({c.card for c in CUSTOMERS.values()}) == 20
    for customer in CUSTOMERS.values():
        assert luhn.is_valid(customer.card.replace(" ", ""))
        assert dni.is_valid(customer.national_id) or pesel.is_valid(customer.national_id)
        assert customer.email.endswith("@example.com")
    assert {order.customer_id for order in ORDERS.values()} == set(CUSTOMERS)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (
            "What is the status of order O-2001?",
            "Order O-2001 is shipped, expected 2026-12-01.",
        ),
        ("email of customer C-1002", CUSTOMERS["C-1002"].email),
        ("card of customer c-1003", CUSTOMERS["C-1003"].card),
        ("national id of customer C-1004", CUSTOMERS["C-1004"].national_id),
        ("the whole record of customer C-1005, all of it", CUSTOMERS["C-1005"].phone),
        ("order status of customer C-1002", "Order O-2002 is being packed"),
        ("email of customer C-9999", "There is no customer C-9999."),
        ("order O-9999", "There is no order O-9999."),
        ("what is the meaning of life?", "I can't answer that."),
    ],
)
def test_questions_get_true_answers(question: str, told: str) -> None:
    """Known intents are answered from the data; anything else is declined honestly."""
    assert told in records_agent.answer(question)


def test_an_order_question_tells_nothing_personal() -> None:
    """The benign question's answer has no customer's data in it."""
    told = " ".join(records_agent.answer(f"order status of customer {c}") for c in CUSTOMERS)
    for customer in CUSTOMERS.values():
        assert not any(v in told for v in (customer.email, customer.card, customer.name))


async def test_the_official_client_is_answered(records: httpx.AsyncClient) -> None:
    """The SDK's own client finds the card and gets the answer as one message."""
    told = await ask(records, "email of customer C-1002")
    assert told == [f"The email of customer C-1002 is {CUSTOMERS['C-1002'].email}."]


async def test_a_listing_streams_line_by_line(records: httpx.AsyncClient) -> None:
    """A listing is a task whose artifact grows; the client sees every part."""
    told = await ask(records, "list the orders of customer C-1001", streaming=True)
    assert [text for text in told if text.startswith("Order")] == [
        "Order O-2001 is shipped, expected 2026-12-01.\n",
        "Order O-2021 is shipped, expected 2026-12-01.\n",
    ]
    assert told[-1] == "2 orders."


async def test_an_export_can_be_cancelled(records: httpx.AsyncClient) -> None:
    """A slow export stops when its task is cancelled."""
    config = ClientConfig(httpx_client=records, streaming=False, polling=True)
    client = await create_client(str(records.base_url), config)
    request = SendMessageRequest(message=new_text_message("export all orders", role=Role.ROLE_USER))
    events = [event async for event in client.send_message(request)]
    task = await client.cancel_task(CancelTaskRequest(id=events[0].task.id))
    assert task.status.state == TaskState.TASK_STATE_CANCELED


async def test_actions_and_their_undos_meet_over_http(fulfilment: httpx.AsyncClient) -> None:
    """Each action has its path, its id, and an undo that restores the world."""
    before = (await fulfilment.get("/world")).json()
    made = []
    for path, body, undo, name in (
        ("/stock/reservations", {"item": "widget", "quantity": 1.0},
         "/stock/reservations/cancel", "reservation_id"),
        ("/payments/charges", {"customer": "C-1001", "amount_cents": 999},
         "/payments/refunds", "charge_id"),
        ("/courier/bookings", {"address_ref": "A", "item": "widget"},
         "/courier/bookings/cancel", "booking_id"),
    ):  # fmt: skip
        answer = await fulfilment.post(path, json=body, headers={"Idempotency-Key": path})
        assert answer.status_code == 201
        made.append((undo, {name: answer.json()[name]}))
    assert (await fulfilment.get("/world")).json() != before
    for undo, body in reversed(made):
        assert (await fulfilment.post(undo, json=body)).json()["cancelled"] is True
    assert (await fulfilment.get("/world")).json() == before
    effects = (await fulfilment.get("/effects")).json()["effects"]
    assert [e["verb"] for e in effects] == ["do"] * 3 + ["undo"] * 3


async def test_two_calls_with_one_key_at_once_have_one_effect(
    fulfilment: httpx.AsyncClient,
) -> None:
    """The second waits for the first and gets its result."""
    body = {"customer": "C-1001", "amount_cents": 999, "delay_s": 0.05}
    answers = await asyncio.gather(
        *(
            fulfilment.post("/payments/charges", json=body, headers={"Idempotency-Key": "k"})
            for _ in range(5)
        )
    )
    assert len({answer.text for answer in answers}) == 1
    assert len((await fulfilment.get("/effects")).json()["effects"]) == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"item": "widget", "quantity": 1, "delay_s": 6}', 400),
        (b'{"item": "widget", "quantity": 1, "delay_s": true}', 400),
        (b'{"item": "' + b"x" * 70_000 + b'"}', 413),
    ],
)
async def test_an_unusable_call_is_refused(
    content: bytes, status: int, fulfilment: httpx.AsyncClient
) -> None:
    """Bad JSON, a delay over five seconds or an oversized body: refused with its reason."""
    answer = await fulfilment.post("/stock/reservations", content=content)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_fulfilment_tells_a_bookings_state(fulfilment: httpx.AsyncClient) -> None:
    """Its A2A side knows what it can do and how a booking stands."""
    body = {"address_ref": "A", "item": "widget"}
    booking = (await fulfilment.post("/courier/bookings", json=body)).json()["booking_id"]
    assert await ask(fulfilment, f"status of {booking}") == [f"Booking {booking} is booked."]
    assert (await ask(fulfilment, "what can you do"))[0].startswith("I can reserve stock")
    assert (await ask(fulfilment, "sing"))[0].startswith("I can't answer that.")


def test_helpers_of_the_sdk_read_our_messages() -> None:
    """The agent's text survives the SDK's own reading."""
    assert get_message_text(new_text_message(records_agent.answer("hello"))).startswith("I can't")
