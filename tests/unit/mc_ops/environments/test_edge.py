"""The edge, in front of real replicas on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from mc_ops.environments import Colour
from mc_ops.environments.local import edge_control
from mc_ops.environments.local.edge_control import Route
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell

FAKE = Path(__file__).parent / "fake_workbench.py"


@dataclass
class World:
    """An edge and its replicas, as child processes of the test."""

    layout: Layout
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The edge's URL."""
        return self.layout.url

    def replica(self, name: str) -> str:
        """Start a fake replica; returns its URL."""
        env = {"MC_COLOUR": name.partition("-")[0], "MC_REPLICA": name, "MC_REGION": "test-1"}
        env["MC_PORT"] = str(self.layout.port_of(name))
        self._start(name, [sys.executable, str(FAKE), "serve"], env)
        return self.layout.url_of(name)

    def edge(self, route: Route | None = None) -> None:
        """Start the edge, with a route in its state file if one is given."""
        state = self.layout.home / "edge.json"
        if route:
            edge_control.write_state(state, route)
        env = {
            "MC_PORT": str(self.layout.edge_port),
            "MC_EDGE_STATE_FILE": str(state),
            "MC_EDGE_CONTROL_SOCKET": str(self.layout.control_socket()),
        }
        self._start("edge", [sys.executable, "-m", "mc_ops.environments.local.edge"], env)

    def _start(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.children[name] = subprocess.Popen(argv, env={**os.environ, **env})

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one process and see it gone."""
        child = self.children.pop(name)
        child.send_signal(number)
        child.wait(20)

    async def change(self, active: Colour, **replicas: list[str]) -> None:
        """Tell the running edge its route."""
        route = Route(active, {Colour(c): tuple(urls) for c, urls in replicas.items()})
        await asyncio.to_thread(edge_control.change, self.layout.control_socket(), route)


@pytest.fixture
def world(layout: Layout) -> Iterator[World]:
    """An empty world; what was started is ended."""
    found = World(layout)
    yield found
    for name in list(found.children):
        found.kill(name)


async def until_answers(*urls: str) -> None:
    """Wait until each URL's /health answers, whatever it says."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(20):
        for url in urls:
            while True:
                try:
                    async with session.get(f"{url}/health"):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def both_colours(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """An edge over blue-1 (active) and green-1, and a client."""
    blue, green = world.replica("blue-1"), world.replica("green-1")
    await until_answers(blue, green)
    world.edge(Route(Colour.blue, {Colour.blue: (blue,), Colour.green: (green,)}))
    await until_answers(world.url)
    async with aiohttp.ClientSession(world.url) as session:
        yield session


async def test_twenty_switches_under_load_drop_nothing(world: World) -> None:
    """While clients send without pause, switching to and fro fails no request."""
    async with both_colours(world) as session:
        blue, green = world.layout.url_of("blue-1"), world.layout.url_of("green-1")
        served: dict[str, int] = {"blue": 0, "green": 0}
        failures: list[str] = []
        stop = asyncio.Event()

        async def client(number: int) -> None:
            while not stop.is_set():
                try:
                    query = "?sleep_s=0.02" if number % 2 else ""
                    async with session.post(f"/a2a{query}", data=b"x" * 2000) as answer:
                        body = await answer.json()
                        if answer.status == 200 and body["length"] == 2000:
                            served[body["colour"]] += 1
                        else:
                            failures.append(str(answer.status))
                except (aiohttp.ClientError, ValueError) as error:
                    failures.append(repr(error))

        clients = [asyncio.create_task(client(n)) for n in range(12)]
        for number in range(20):
            active = Colour.green if number % 2 == 0 else Colour.blue
            before = served[active.value]
            await world.change(active, blue=[blue], green=[green])
            async with asyncio.timeout(20):
                while served[active.value] < before + 10:
                    await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*clients)
        assert failures == []
        assert min(served.values()) >= 100


async def test_a_request_under_way_ends_where_it_began(world: World) -> None:
    """A stream begun on blue is blue to its end though green has become active meanwhile."""
    async with both_colours(world) as session:
        blue, green = world.layout.url_of("blue-1"), world.layout.url_of("green-1")
        async with session.get("/stream?count=30&pace_s=0.02") as stream:
            first = await stream.content.readuntil(b"\n\n")
            await world.change(Colour.green, blue=[blue], green=[green])
            async with session.get("/x") as answer:
                assert (await answer.json())["colour"] == "green"
            rest = await stream.read()
        events = (first + rest).split(b"\n\n")[:-1]
        assert len(events) == 30
        assert all(event.startswith(b"data: blue") for event in events)


async def test_events_are_passed_on_as_they_come(world: World) -> None:
    """The first event of a slow stream arrives long before the stream's end."""
    async with (
        both_colours(world) as session,
        session.get("/stream?count=2&pace_s=30") as stream,
    ):
        async with asyncio.timeout(15):
            assert await stream.content.readuntil(b"\n\n") == b"data: blue 0\n\n"
        assert stream.headers["Content-Type"] == "text/event-stream"


async def test_headers_hop_by_hop_and_untrusted_ones_stay_behind(world: World) -> None:
    """The client's word on where it comes from is not believed; its own headers go through."""
    sent = {
        "Authorization": "Bearer t",
        "Host": "gateway.example",
        "X-Forwarded-For": "10.1.1.1",
        "Forwarded": "for=10.1.1.1",
        "X-Real-IP": "10.1.1.1",
        "Connection": "keep-alive, X-Private",
        "X-Private": "1",
        "TE": "trailers",
    }
    target = URL(f"{world.url}/p%2Fq?a=%2Fb&c=d%20e", encoded=True)
    async with both_colours(world), aiohttp.request("GET", target, headers=sent) as answer:
        seen = await answer.json()
    headers = {name.lower(): value for name, value in seen["headers"].items()}
    assert headers["authorization"] == "Bearer t"
    assert headers["host"] == "gateway.example"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert not {"forwarded", "x-real-ip", "x-private", "te"} & set(headers)
    assert seen["path"] == "/p%2Fq?a=%2Fb&c=d%20e"


async def test_an_oversized_body_gets_the_services_own_error(world: World) -> None:
    """The edge has no limit of its own: 413 comes from the replica."""
    async with (
        both_colours(world) as session,
        session.post("/a2a", data=b"x" * 3_000_000) as answer,
    ):
        assert answer.status == 413


async def test_a_refusal_without_reading_the_body_is_passed_on(world: World) -> None:
    """A service that answers 413 and hangs up, the body unread, is heard every time."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", world.layout.port_of("blue-1")):
        world.edge(Route(Colour.blue, {Colour.blue: (world.layout.url_of("blue-1"),)}))
        await until_answers(world.url)
        async with aiohttp.ClientSession(world.url) as session:
            for _ in range(20):
                async with session.post("/a2a", data=b"x" * 5_000_000) as answer:
                    assert (answer.status, await answer.read()) == (413, b"{}")


async def test_expect_continue_is_answered(world: World) -> None:
    """A client that asks before it sends its body is told to go on."""
    async with (
        both_colours(world) as session,
        session.post("/a2a", data=b"x" * 500_000, expect100=True) as answer,
    ):
        assert (await answer.json())["length"] == 500_000


async def test_a_dead_replica_costs_no_request(world: World) -> None:
    """When one of two replicas is gone, the other serves what would have gone to it."""
    one, two = world.replica("blue-1"), world.replica("blue-2")
    await until_answers(one, two)
    world.edge(Route(Colour.blue, {Colour.blue: (one, two)}))
    await until_answers(world.url)
    async with aiohttp.ClientSession(world.url) as session:

        async def replica() -> str:
            async with session.post("/a2a", data=b"x") as answer:
                assert answer.status == 200
                return str((await answer.json())["replica"])

        assert {await replica() for _ in range(10)} == {"blue-1", "blue-2"}
        world.kill("blue-1")
        assert {await replica() for _ in range(20)} == {"blue-2"}


async def test_no_replica_is_a_503_in_json(world: World) -> None:
    """With nobody to serve the edge says so itself."""
    world.edge(Route(Colour.green, {}))
    await until_answers(world.url)
    async with aiohttp.ClientSession(world.url) as session, session.get("/x") as answer:
        assert answer.status == 503
        error = (await answer.json())["error"]
    assert error == {
        "code": "no-replica",
        "message": "no replica of green can be reached",
        "retryable": True,
    }


async def test_a_replica_that_breaks_off_before_answering_is_a_502(world: World) -> None:
    """A request that may have been carried out is not sent again; the client is told."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(await reader.readuntil(b"\r\n"))
        writer.close()

    calls: list[bytes] = []
    server = await asyncio.start_server(hang_up, "127.0.0.1", world.layout.port_of("blue-1"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        urls = tuple(world.layout.url_of(name) for name in ("blue-1", "blue-1"))
        world.edge(Route(Colour.blue, {Colour.blue: urls}))
        await until_answers(world.url)
        session = await stack.enter_async_context(aiohttp.ClientSession(world.url))
        async with session.post("/a2a", data=b"x") as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["code"] == "bad-gateway"
    assert sum(call.startswith(b"POST") for call in calls) == 1


async def test_a_cut_answer_is_not_passed_off_as_whole(world: World) -> None:
    """When a replica breaks off in the middle of a body, the client sees a broken body."""
    async with both_colours(world) as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get("/broken") as answer:
                await answer.read()


async def test_a_restarted_edge_remembers_its_route(world: World) -> None:
    """After kill -9 the edge serves the colour that was active."""
    async with both_colours(world) as session:
        blue, green = world.layout.url_of("blue-1"), world.layout.url_of("green-1")
        await world.change(Colour.green, blue=[blue], green=[green])
        world.kill("edge")
        world.edge()
        await until_answers(world.url)
        async with session.get("/x") as answer:
            assert (await answer.json())["colour"] == "green"


async def test_a_stopped_edge_lets_requests_finish(world: World) -> None:
    """SIGTERM refuses new connections, and answers what it had accepted."""
    async with both_colours(world) as session:
        request = asyncio.create_task(session.post("/a2a?sleep_s=0.5", data=b"x"))
        control = world.layout.control_socket()
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(edge_control.under_way, control):
                await asyncio.sleep(0.01)
        child = world.children["edge"]
        child.send_signal(signal.SIGTERM)
        assert (await request).status == 200
        assert await asyncio.to_thread(child.wait, 15) == 0


async def test_a_route_that_is_none_is_refused_and_changes_nothing(world: World) -> None:
    """The control socket is private to its user and refuses nonsense."""
    async with both_colours(world) as session:
        control = world.layout.control_socket()
        assert control.stat().st_mode & 0o777 == 0o600
        connector = aiohttp.UnixConnector(str(control))
        async with aiohttp.ClientSession("http://edge", connector=connector) as direct:
            for nonsense in ({"active": "red", "replicas": {}}, {"active": "blue"}, [1]):
                async with direct.put("/route", json=nonsense) as answer:
                    assert answer.status == 400
        async with session.get("/x") as answer:
            assert (await answer.json())["colour"] == "blue"
        assert json.loads((world.layout.home / "edge.json").read_text())["active"] == "blue"


def test_control_of_no_edge_is_an_error(layout: Layout) -> None:
    """Without an edge its control says so, and where to look."""
    with pytest.raises(CouldNotTell, match="control socket"):
        edge_control.change(layout.control_socket(), Route(Colour.blue, {}))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(layout.control_socket()))
        with pytest.raises(CouldNotTell, match="control socket"):
            edge_control.under_way(layout.control_socket())
