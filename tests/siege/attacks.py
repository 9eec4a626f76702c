"""What the hostile tenant does: one attack a call, drawn at random; each is bounded in time and bytes."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.siege.agent import REPLIES
from tests.siege.shapes import SHAPES

GOVERNANCE = "urn:mc-platform:a2a:governance:1"
INTERNAL = -32603
_SIZES = (2_000, 30_000, 134_000, 600_000)
_REPLY_SIZES = (30_000, 600_000, 3_500_000)
_JSON = (b"null", b"1", b'"x"', b"[]", b"{}", b"[" * 5_000, b'{"query":"' + b"{a" * 3_000 + b'"}')


@dataclass(slots=True)
class Seen:
    """What answers told.

    Attributes:
        statuses: How often each HTTP status was answered, by who asked.
        bad: Answers that must not be: 5xx, internal errors, foreign markers.
        took_s: Durations of the honest tenant's questions.
    """

    statuses: dict[str, dict[int, int]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)

    def note(self, tenant: str, what: str, answer: httpx.Response) -> None:
        """Look at one answer of whoever asked."""
        counts = self.statuses.setdefault(tenant, {})
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        other = {"TENANT_001": "TENANT_002", "TENANT_002": "TENANT_001"}.get(tenant, "TENANT_")
        if answer.status_code >= 500 or f'"code":{INTERNAL}' in answer.text.replace(" ", ""):
            self.fault(f"{tenant} {what}: HTTP {answer.status_code} {answer.text[:200]}")
        if f"marker-of-{other}" in answer.text:
            self.fault(f"{tenant} {what}: was told a marker of {other}")

    def fault(self, what: str) -> None:
        """Keep one thing that must not be."""
        if len(self.bad) < 1_000:
            self.bad.append(what)


def message(parts: list[dict[str, Any]], *, context: str = "", **governance: Any) -> dict[str, Any]:
    """A JSON-RPC call that sends a message."""
    told = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": parts,
        "metadata": {GOVERNANCE: governance},
        **({"contextId": context} if context else {}),
    }
    return {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": told}}


class Hostile:
    """The hostile tenant.

    Args:
        client: Its HTTP client, with its credential, and with none.
    """

    def __init__(
        self, client: httpx.AsyncClient, stranger: httpx.AsyncClient, seen: Seen, seed: int
    ) -> None:
        self._client, self._stranger, self._seen = client, stranger, seen
        self._random = random.Random(seed)
        self._host, self._port = client.base_url.host, client.base_url.port or 80
        self._attacks: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (8, self._shape),
            (6, self._reply_shape),
            (6, self._reply),
            (1, self._many_slow),
            (3, self._bodies),
            (2, self._strangers),
            (1, self._slow_client),
            (2, self._lists),
            (1, self._files),
        )

    async def attack(self) -> None:
        """One attack; a broken connection is the platform's right."""
        weights, attacks = zip(*self._attacks, strict=True)
        [attack] = self._random.choices(attacks, weights)
        try:
            await attack()
        except (httpx.HTTPError, OSError, asyncio.IncompleteReadError):
            return

    async def _send(self, what: str, call: dict[str, Any]) -> None:
        self._seen.note("TENANT_001", what, await self._client.post("/a2a", json=call))

    async def _shape(self) -> None:
        name, size = self._random.choice(tuple(SHAPES)), self._random.choice(_SIZES)
        parts = [{"text": "marker-of-TENANT_001"}, *SHAPES[name](size)]
        await self._send(f"shape {name} {size}", message(parts, agent="hostile", purpose="support"))

    async def _reply_shape(self) -> None:
        name, size = self._random.choice(tuple(SHAPES)), self._random.choice(_REPLY_SIZES)
        await self._ask(f"shape:{name}:{size}")

    async def _reply(self) -> None:
        await self._ask(self._random.choice(REPLIES))

    async def _ask(self, word: str) -> None:
        parts = [{"text": f"{word} marker-of-TENANT_001"}]
        await self._send(word, message(parts, agent="hostile", purpose="support"))

    async def _many_slow(self) -> None:
        await asyncio.gather(*(self._ask("slow") for _ in range(260)), return_exceptions=True)

    async def _bodies(self) -> None:
        path = self._random.choice(("/graphql", "/a2a", "/v1/message:send", "/aggregates"))
        body = self._random.choice(_JSON)
        headers = {"Content-Type": "application/json"}
        answer = await self._client.post(path, content=body, headers=headers)
        self._seen.note("TENANT_001", f"{path} {body[:20]!r}", answer)

    async def _strangers(self) -> None:
        asked: list[tuple[str, dict[str, str]]] = [("/health", {}), ("/metrics", {})] * 20
        asked += [("/v1/tasks", {"Authorization": "Bearer mc_000000000000_" + "x" * 43})] * 20
        for path, headers in asked:
            answer = await self._stranger.get(path, headers=headers)
            self._seen.note("stranger", path, answer)

    async def _slow_client(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            for byte in b"POST /a2a HTTP/1.1\r\nHost: x\r\nX-A: "[: self._random.randrange(5, 36)]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
            await asyncio.wait_for(reader.read(1), 5)
        except TimeoutError:
            return
        finally:
            writer.close()

    async def _lists(self) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {"pageSize": 100}}
        await self._send("ListTasks", call)

    async def _files(self) -> None:
        url = self._random.choice(("file:///etc/passwd", "http://169.254.169.254/", "gopher://a/"))
        parts = [{"url": url, "mediaType": "text/plain"}, {"text": "marker-of-TENANT_001"}]
        await self._send(f"file {url}", message(parts, agent="hostile", purpose="support"))


@dataclass(frozen=True, slots=True)
class Attacks:
    """What the attackers' process does; it yields the machine's cores to everybody else."""

    url: str
    token: str
    seed: int
    attackers: int
    seconds: float
    pause_s: float

    def run(self) -> Seen:
        """Attack for the whole time; what was seen."""
        return asyncio.run(self._run())

    async def _run(self) -> Seen:
        seen = Seen()
        async with client(self.url, self.token) as own, client(self.url, None) as stranger:
            hostile = Hostile(own, stranger, seen, self.seed)
            until = time.monotonic() + self.seconds
            await asyncio.gather(*(self._attack(hostile, until) for _ in range(self.attackers)))
        return seen

    async def _attack(self, hostile: Hostile, until: float) -> None:
        while time.monotonic() < until:
            await hostile.attack()
            await asyncio.sleep(self.pause_s)


@asynccontextmanager
async def client(url: str, token: str | None) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the platform at `url`, with a credential or none."""
    headers = {"A2A-Version": "1.0"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=20)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=90, limits=limits, trust_env=False
    ) as client:
        yield client
