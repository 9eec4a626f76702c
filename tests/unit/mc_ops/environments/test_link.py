"""The link between two regions carries what comes, also when one side has gone."""

from __future__ import annotations

import asyncio
import gc

from mc_ops.environments.local import link

HOST = "127.0.0.1"


def test_a_connection_whose_client_has_gone_is_led_to_its_end(caplog):
    """What a region still has to say is read until it closes; the connection was collected before, with an error."""

    async def course():
        ended = asyncio.get_running_loop().create_future()
        let_go = asyncio.Event()

        async def slow(reader, writer):
            await reader.read()
            await let_go.wait()
            writer.close()

        target = await asyncio.start_server(slow, HOST, 0)
        port = target.sockets[0].getsockname()[1]

        async def led(here, back):
            await link._lead(port, here, back)
            ended.set_result(None)

        way = await asyncio.start_server(led, HOST, 0)
        _, writer = await asyncio.open_connection(HOST, way.sockets[0].getsockname()[1])
        writer.write(b"x")
        writer.transport.abort()
        for _ in range(20):
            await asyncio.sleep(0.01)
            gc.collect()
        let_go.set()
        await asyncio.wait_for(ended, 10)
        target.close()
        way.close()

    asyncio.run(course())
    assert "destroyed" not in caplog.text
