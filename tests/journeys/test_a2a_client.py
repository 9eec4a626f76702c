"""The official A2A client of `a2a-sdk` talks to the gateway as to any agent."""

from __future__ import annotations

import uuid

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as pb
from a2a.utils.constants import TransportProtocol

GOVERNANCE = "urn:mc-platform:a2a:governance:1"


def _message(text=None, data=None, **governance):
    message = pb.Message(message_id=str(uuid.uuid4()), role=pb.ROLE_USER)
    part = message.parts.add()
    if text is not None:
        part.text = text
    else:
        part.data.struct_value.update(data)
    if governance:
        message.metadata.update({GOVERNANCE: governance})
    return pb.SendMessageRequest(message=message)


ORDER = {
    "item": "widget",
    "quantity": 1,
    "customer": "C-1001",
    "amount_cents": 500,
    "address_ref": "A-1",
}


@pytest.fixture(params=[TransportProtocol.JSONRPC, TransportProtocol.HTTP_JSON], ids=str)
async def connect(platform, request):
    """Makes clients of one transport; `streaming` is the client's own choice."""
    opened = []

    async def make(*, streaming=False):
        http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {platform.token('TENANT_001')}"}, timeout=60
        )
        opened.append(http)
        card = await A2ACardResolver(http, platform.url).get_agent_card()
        config = ClientConfig(
            streaming=streaming,
            httpx_client=http,
            supported_protocol_bindings=[request.param],
        )
        return ClientFactory(config).create(card)

    yield make
    for http in opened:
        await http.aclose()


async def test_send_and_get_task(connect):
    """A sent message gives a completed task, and the task can be read again."""
    client = await connect()
    [reply] = [event async for event in client.send_message(_message("status of order O-2001?"))]
    assert reply.task.status.state == pb.TASK_STATE_COMPLETED
    assert "O-2001" in reply.task.artifacts[0].parts[0].text

    again = await client.get_task(pb.GetTaskRequest(id=reply.task.id))
    assert again.artifacts == reply.task.artifacts


async def test_stream_tells_the_states_in_order(connect):
    """A stream begins with the task, brings the reply, and ends with the terminal state."""
    client = await connect(streaming=True)
    events = [event async for event in client.send_message(_message("status of order O-2002?"))]
    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds == ["task", "artifact_update", "status_update"]
    assert events[-1].status_update.status.state == pb.TASK_STATE_COMPLETED


async def test_cancel_compensates_a_running_operation(connect, platform, wait_until):
    """Cancelling between steps undoes what was done; the answer is the canceled task."""
    client = await connect()
    send = _message(data={**ORDER, "delay_s": 2}, operation="place-order", purpose="fulfilment")
    send.configuration.return_immediately = True
    [reply] = [event async for event in client.send_message(send)]
    assert reply.task.status.state == pb.TASK_STATE_WORKING

    canceled = await client.cancel_task(pb.CancelTaskRequest(id=reply.task.id))
    assert canceled.status.state == pb.TASK_STATE_CANCELED
    assert canceled.metadata[GOVERNANCE]["outcome"] == "compensated"


async def test_a_finished_task_cannot_be_cancelled(connect):
    """Cancelling what has ended is refused by the protocol's own error."""
    client = await connect()
    [reply] = [event async for event in client.send_message(_message("status of order O-2003?"))]
    with pytest.raises(Exception, match=r"already|cannot be cancel"):
        await client.cancel_task(pb.CancelTaskRequest(id=reply.task.id))


async def test_subscribe_follows_a_running_operation(connect):
    """A second client that subscribes sees the operation's end."""
    client = await connect(streaming=True)
    send = _message(data={**ORDER, "delay_s": 2}, operation="place-order", purpose="fulfilment")
    send.configuration.return_immediately = True
    stream = client.send_message(send)
    first = await anext(stream)
    seen = [event async for event in client.subscribe(pb.SubscribeToTaskRequest(id=first.task.id))]
    assert seen[-1].status_update.status.state == pb.TASK_STATE_COMPLETED
