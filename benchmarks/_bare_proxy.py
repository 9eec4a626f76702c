"""A reverse proxy that does nothing else: a peer of the gateway, on the same HTTP server, with aiohttp's client.

    python benchmarks/_bare_proxy.py PORT URL

Reads a request whole, posts its body to URL over connections that are kept, and answers with the
status, the type and the body that came. Prints `ready` when it listens; ends with SIGTERM.
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvloop
from _load_target import serve

_PASSED = ("a2a-version", "content-type")


class BareProxy:
    """The ASGI application in front of one URL."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        self._session = self._session or aiohttp.ClientSession()
        chunks, more = [], True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        names = (
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
        )
        headers = {name: value for name, value in names if name in _PASSED}
        async with self._session.post(self._url, data=b"".join(chunks), headers=headers) as answer:
            body = await answer.read()
        answered = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": answered})
        await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._session is not None:
            await self._session.close()


async def _main(port: int, url: str) -> None:
    proxy = BareProxy(url)
    await serve(proxy, port)
    await proxy.close()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))
