"""The official A2A client of version 0.3, in an environment of its own (`make .venv-a2a03/.locked`).

Asks the gateway at argv[1] and prints what it saw, as JSON; the credential is in `TEST_TOKEN`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientJSONRPCError
from a2a.types import Message, Part, Role, TaskIdParams, TaskQueryParams, TextPart

GOVERNANCE = "urn:mc-platform:a2a:governance:1"


def _message(text, message_id=None, **governance):
    return Message(
        message_id=message_id or str(uuid.uuid4()),
        role=Role.user,
        parts=[Part(root=TextPart(text=text))],
        metadata={GOVERNANCE: governance} if governance else None,
    )


async def _refused(work):
    try:
        await work
    except A2AClientJSONRPCError as error:
        return error.error.code
    return None


async def _all(client, message):
    return [event async for event in client.send_message(message)]


async def main(url):
    bearer = {"Authorization": f"Bearer {os.environ['TEST_TOKEN']}"}
    async with httpx.AsyncClient(headers=bearer, timeout=60) as http:
        card = await A2ACardResolver(http, url).get_agent_card()
        client, streaming = (
            ClientFactory(ClientConfig(httpx_client=http, streaming=one)).create(card)
            for one in (False, True)
        )
        [(task, _)] = await _all(client, _message("status of order O-2001?"))
        again = await client.get_task(TaskQueryParams(id=task.id))
        streamed = await _all(streaming, _message("status of order O-2002?"))
        used = str(uuid.uuid4())
        await _all(client, _message("status of order O-2003?", used))
        print(
            json.dumps(
                {
                    "version": card.protocol_version,
                    "state": task.status.state,
                    "text": task.artifacts[0].parts[0].root.text,
                    "read again": again == task,
                    "streamed": [update and update.kind for _, update in streamed],
                    "ended": streamed[-1][0].status.state,
                    "denied": await _refused(_all(client, _message("hello", purpose="marketing"))),
                    "conflict": await _refused(_all(client, _message("another", used))),
                    "absent": await _refused(client.get_task(TaskQueryParams(id="nope"))),
                    "not cancelable": await _refused(client.cancel_task(TaskIdParams(id=task.id))),
                }
            )
        )


asyncio.run(main(sys.argv[1]))
