"""The edge, in front of real replicas on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
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
from aiohttp import web
from yarl import URL

from mc_ops.environments import Colour
from mc_ops.environments.local import edge_control
from mc_ops.environments.local.edge import Edge, make_server, only_own_words
from mc_ops.environments.local.edge_bounds import Bounds
from mc_ops.environments.local.edge_control import Route
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell

pytestmark = pytest.mark.slow

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
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
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
            async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
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
    assert headers["x-forwarded-for"] == "unknown, 127.0.0.1"
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
                    assert answer.headers["Server"] == "agent-workbench"  # and no version of ours


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
        assert answer.headers["Server"] == "agent-workbench"
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
    may_answer = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
            await reader.readexactly(1)
            await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", world.layout.port_of("blue-1")):
        world.edge(Route(Colour.blue, {Colour.blue: (world.layout.url_of("blue-1"),)}))
        await until_answers(world.url)
        async with aiohttp.ClientSession(world.url) as session:
            request = asyncio.create_task(session.post("/a2a", data=b"x"))
            control = world.layout.control_socket()
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(edge_control.under_way, control):
                    await asyncio.sleep(0.01)
            child = world.children["edge"]
            child.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                while await listens(world.layout.edge_port):
                    await asyncio.sleep(0.01)
            may_answer.set()
            assert (await request).status == 200
            assert await asyncio.to_thread(child.wait, 60) == 0


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


async def listens(port: int) -> bool:
    """Whether a new connection is taken."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:  # refused, or reset while it stopped listening
        return False
    writer.close()
    return True


async def raw(port: int, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; the answer's status, and all that came until it was whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            return int(head.split()[1]), head + await reader.readexactly(length)
    finally:
        writer.close()


@asynccontextmanager
async def counting_replica(port: int, at_once: int = 4) -> AsyncIterator[list[bytes]]:
    """A replica that serves few requests at once, and notes each request line it got."""
    lines: list[bytes] = []
    places = asyncio.Semaphore(at_once)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with places:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                lines.append(head.split(b"\r\n")[0])
                if b"100-continue" in head:
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split()[:1]
                await reader.readexactly(int(length[0]) if length else 0)
            except asyncio.IncompleteReadError:
                return
            finally:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
                writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield lines


@asynccontextmanager
async def edge_here(world: World, body_idle_s: float) -> AsyncIterator[list[bytes]]:
    """An edge in this process that waits `body_idle_s` for a body, over a counting replica."""
    url = world.layout.url_of("blue-1")
    edge = Edge(
        Route(Colour.blue, {Colour.blue: (url,)}),
        world.layout.home / "edge.json",
        bounds=Bounds(body_idle_s=body_idle_s),
    )
    runner = web.ServerRunner(make_server(edge), shutdown_timeout=1)
    async with counting_replica(world.layout.port_of("blue-1")) as lines:
        await edge.open()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", world.layout.edge_port).start()
        try:
            yield lines
        finally:
            await runner.cleanup()
            await edge.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET @127.0.0.1:%d/x", 400),
        (b"GET http://127.0.0.1:%d/x", 400),
        (b"POST http://127.0.0.1:%d/x", 400),
        (b"GET 127.0.0.1:%d", 400),
        (b"OPTIONS *", 400),
        (b"GET :%d@x/", 400),
        (b"GET x", 400),
        (b"GET /a#b", 400),
        (b"GET /\xff", 400),
        (b"CONNECT 127.0.0.1:%d", 405),
        (b"CONNECT /", 405),
    ],
)
async def test_a_target_that_is_no_path_goes_nowhere(
    world: World, line: bytes, status: int, port: int
) -> None:
    """Nothing in a request line makes the edge connect to another host than its replica."""
    async with (
        counting_replica(port) as elsewhere,
        edge_here(world, body_idle_s=15) as lines,
    ):
        target = line.replace(b"%d", str(port).encode())
        got, answer = await raw(
            world.layout.edge_port,
            target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        )
        assert got == status
        assert b"HTTP/1.1 500" not in answer
        assert (elsewhere, lines) == ([], [])


@pytest.mark.parametrize("path", ["//127.0.0.1:1/x", "/@127.0.0.1:1/", "/?@a:1/", "/a/../b?c=%2e"])
async def test_a_path_that_looks_like_an_authority_is_only_a_path(world: World, path: str) -> None:
    """What begins with a slash is the replica's to judge, as it was written."""
    async with edge_here(world, body_idle_s=15) as lines:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        assert (await raw(world.layout.edge_port, request))[0] == 200
        assert lines == [f"GET {path} HTTP/1.1".encode()]


@pytest.mark.parametrize(
    "headers",
    [
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        b"Authorization: Bearer a\r\nauthorization: Bearer a\r\n",
        b"Authorization: Bearer a, Bearer b\r\n",
        b"Authorization: Bearer a b\r\n",
        b"Authorization: \r\n",
        b"Authorization: Bearer \xff\r\n",
        b"Authorization: B\xc3\xa4r a\r\n",
        b"X-Other: \xff\r\n",
    ],
)
async def test_credentials_not_single_and_well_formed_are_a_400(
    world: World, headers: bytes
) -> None:
    """Which of two tokens counts is never left to whoever reads the request next."""
    async with edge_here(world, body_idle_s=15) as lines:
        request = b"GET /x HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"
        status, answer = await raw(world.layout.edge_port, request)
        assert status == 400
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert (error["code"], error["retryable"]) == ("bad-request", False)
        assert lines == []


@pytest.mark.parametrize("value", [b"Bearer", b"bearer mc_ab-1_x/y+z==", b"Basic YTpi"])
async def test_well_formed_credentials_are_the_services_to_judge(
    world: World, value: bytes
) -> None:
    """The edge knows the form of credentials, not whether they are good."""
    async with edge_here(world, body_idle_s=15):
        request = b"GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n"
        assert (await raw(world.layout.edge_port, request))[0] == 200


@pytest.mark.parametrize(
    "begin",
    [
        b"Content-Length: 5\r\n\r\n",
        b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"Content-Length: 900000\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_body_that_does_not_come_is_a_408_without_a_replica(
    world: World, begin: bytes
) -> None:
    """A client that announces a body and falls silent is told so, and nobody waits with it."""
    async with edge_here(world, body_idle_s=0.2) as lines:
        request = b"POST /a2a HTTP/1.1\r\nHost: x\r\n" + begin
        reader, writer = await asyncio.open_connection("127.0.0.1", world.layout.edge_port)
        writer.write(request)
        async with asyncio.timeout(60):
            line = await reader.readline()
            while line.startswith(b"HTTP/1.1 100") or line == b"\r\n":
                line = await reader.readline()
        writer.close()
        assert line.split()[1] == b"408"
        assert lines == []


async def test_a_large_body_that_stops_half_way_is_a_408_and_frees_the_replica(
    world: World,
) -> None:
    """What was begun upstream is broken off there, so that its place is free again."""
    async with edge_here(world, body_idle_s=0.2) as lines:
        begin = b"POST /a2a HTTP/1.1\r\nHost: x\r\nContent-Length: 65540\r\n\r\n"
        results = await asyncio.gather(
            *(raw(world.layout.edge_port, begin + b"x" * 65_537) for _ in range(8))
        )
        assert {status for status, _ in results} == {408}
        async with asyncio.timeout(60):
            while len(lines) < 8:  # the replica reads on when its places are free again
                await asyncio.sleep(0.01)
        assert len(lines) == 8
        assert (await raw(world.layout.edge_port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200


async def test_a_slow_upload_that_goes_on_is_carried(world: World) -> None:
    """Only silence ends an upload, not how long all of it takes."""
    async with edge_here(world, body_idle_s=2.0):

        async def slowly() -> AsyncIterator[bytes]:
            for _ in range(15):
                await asyncio.sleep(0.15)
                yield b"x" * 8

        async with (
            aiohttp.ClientSession(world.url) as session,
            session.post("/a2a", data=slowly(), headers={"Content-Length": "120"}) as answer,
        ):
            assert answer.status == 200


async def test_bodies_that_are_no_http_are_a_400(world: World) -> None:
    """A broken chunk is the client's fault, and no request of it reaches a replica."""
    async with edge_here(world, body_idle_s=15) as lines:
        begin = b"POST /a2a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", world.layout.edge_port)
        writer.write(begin)
        await asyncio.sleep(0)
        writer.write(b"zz\r\nabc\r\n")
        async with asyncio.timeout(60):
            assert (await reader.readline()).split()[1] == b"400"
        writer.close()
        assert lines == []


async def test_two_hundred_silent_clients_do_not_stop_health(world: World) -> None:
    """They hold no place of a replica, so others are served while they wait."""
    async with counting_replica(world.layout.port_of("blue-1")) as lines, AsyncExitStack() as stack:
        world.edge(Route(Colour.blue, {Colour.blue: (world.layout.url_of("blue-1"),)}))
        await until_answers(world.url)
        for number in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", world.layout.edge_port)
            stack.callback(writer.close)
            length = 5 if number % 2 else 900_000
            writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            await writer.drain()
        async with aiohttp.ClientSession(world.url) as session:
            for _ in range(20):
                async with asyncio.timeout(60), session.get("/health") as answer:
                    assert answer.status == 200
        assert not any(line.startswith(b"POST") for line in lines)


async def test_nothing_of_a_request_is_logged(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever a client sends, good or broken, its words are in no log."""
    url = world.replica("blue-1")
    await until_answers(url)
    world.edge(Route(Colour.blue, {Colour.blue: (url,)}))
    await until_answers(world.url)
    port = world.layout.edge_port
    start = b"POST /sesame HTTP/1.1\r\nHost: x\r\n"
    for request in (
        start + b"Authorization: Bearer sesame\x00\r\n\r\n",
        start + b"Authorization: Bearer sesame\r\nX\x01sesame: 1\r\n\r\n",
        start + b"Authorization: Bearer sesame\xff\r\nContent-Length: 0\r\n\r\n",
        b"SES\xffAME /sesame HTTP/1.1\r\n\r\n",
        b"GET sesame://sesame HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[sesame HTTP/1.1\r\nHost: x\r\n\r\n",
        start + b"Sesame: " + b"sesame" * 5000 + b"\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\n\r\nsesame\r\nsesame\r\n",
    ):
        status, _ = await raw(port, request)
        assert 400 <= status < 500, request
    world.kill("edge", signal.SIGTERM)
    told = "".join(capfd.readouterr())
    assert "edge_listens" in told
    assert "sesame" not in told.lower()
    assert "Traceback" not in told


def test_only_the_type_of_a_foreign_exception_is_logged() -> None:
    """Other libraries' words, and every traceback, may quote a request."""
    try:
        raise ValueError("sesame")
    except ValueError:
        info = sys.exc_info()
    for name in ("aiohttp.server", "asyncio"):
        args = (name, logging.ERROR, "", 1, "about %s", ("sesame",), info, None, "sesame")
        record = logging.LogRecord(*args)
        assert only_own_words(record)
        told = logging.Formatter("%(message)s").format(record)
        assert "sesame" not in told
        assert "ValueError" in told
