"""What slow, greedy and anonymous clients may take of a replica: real sockets, short limits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.loopback import until_answers
from tests.unit.mc_platform.receive.bounded_replica import TOKEN

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent / "bounded_replica.py"
BEARER = f"Authorization: Bearer {TOKEN}\r\n".encode()
WITHIN_S = 60.0  # far above each limit: how long a test waits before it calls a client held


@contextlib.contextmanager
def replica(port, *, pids=None, **settings):
    """A replica that answers, with short limits unless told otherwise; its pid is put into `pids`."""
    limits = {
        "MC_HEAD_TIMEOUT_S": "1",
        "MC_BODY_TIMEOUT_S": "1",
        "MC_WRITE_TIMEOUT_S": "1",
        "MC_PORT": str(port),
        "MC_DATABASE_URL": "postgresql://nobody@127.0.0.1/none",
        "MC_LEDGER_KEY_FILE": "none",
        **settings,
    }
    child = subprocess.Popen([sys.executable, str(PROGRAM)], env={**os.environ, **limits})
    url = f"http://127.0.0.1:{port}"
    if pids is not None:
        pids.append(child.pid)
    try:
        until_answers(f"{url}/v1/nothing", child)
        yield url
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def block(free_port_block):
    with free_port_block() as first:
        yield first


@pytest.fixture
def port(block):
    return block + 1  # that of `bounded`, which lives meanwhile, would be shared


@pytest.fixture(scope="module")
def bounded(block):
    with replica(block) as url:
        yield url


def connect(url):
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=WITHIN_S)


def drip(connection, piece=b"x", every_s=0.1):
    """Send a piece again and again until the other side has had enough, or the test has."""
    deadline = time.monotonic() + WITHIN_S
    connection.settimeout(every_s)
    answer = b""
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece)
            got = connection.recv(65_536)
            if not got:
                return answer
            answer += got
        except TimeoutError:
            continue
        except OSError:  # it was closed while a piece was sent: what was answered waits to be read
            return answer + read_to_end(connection)
    raise AssertionError("the client is held")


def read_to_end(connection):
    answer = b""
    with contextlib.suppress(ConnectionError):
        while got := connection.recv(65_536):
            answer += got
    return answer


def refusal(answer):
    """Status and error of a raw answer in JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"], head.lower()


HEADS = {
    "nothing": (b"", b""),
    "half a request line": (b"GET /health HT", b""),
    "dripped request line": (b"GET /", b"a"),
    "dripped header name": (b"GET /health HTTP/1.1\r\nHost: x\r\nX-", b"a"),
    "dripped headers": (b"GET /health HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "idle after an answer": (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}


@pytest.mark.parametrize("begun", HEADS)
def test_a_head_has_one_deadline_however_it_drips(bounded, begun):
    """Each form of a request that never begins is closed, and others are served meanwhile."""
    first, piece = HEADS[begun]
    with connect(bounded) as connection:
        connection.sendall(first)
        assert httpx.get(f"{bounded}/health", trust_env=False).status_code == 200
        if piece:
            drip(connection, piece)
        else:
            read_to_end(connection)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_one_deadline_however_it_drips(bounded, chunked):
    """A byte every tenth of a second is 408 in JSON after the limit, however long the body.

    Many at once, as the server lets most of them go by itself, but not all.
    """
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100000"
    head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\n" + BEARER + length + b"\r\n\r\n"

    def dripped(_):
        with connect(bounded) as connection:
            connection.sendall(head)
            return drip(connection, b"1\r\nx\r\n" if chunked else b"x")

    with ThreadPoolExecutor(40) as clients:
        for answer in clients.map(dripped, range(40)):
            status, error, _ = refusal(answer)
            assert (status, error["code"]) == (408, "request-timeout")


def test_nobody_buffers_the_body_of_whom_nobody_knows(bounded):
    """Without a credential 401 comes before the body does; then the connection ends."""
    with connect(bounded) as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000
        )
        status, error, _ = refusal(read_to_end(connection))
    assert (status, error["code"]) == (401, "not-authenticated")


def test_a_body_in_chunks_that_is_too_large_is_413_after_all_of_it(bounded):
    """A client that writes all before it reads gets the answer; one that never ends is cut off."""
    head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\n" + BEARER + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    for chunks in (17, 20, 60):  # the limit is 16 of them
        with connect(bounded) as connection:
            connection.sendall(head)
            for _ in range(chunks):  # to write on what was closed would be an error
                connection.sendall(chunk)
                time.sleep(0.005)
            connection.sendall(b"0\r\n\r\n")
            assert refusal(read_to_end(connection))[:1] == (413,)
    with connect(bounded) as connection, pytest.raises(ConnectionError):
        connection.sendall(head + 1_000 * chunk)


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_one_connection_are_each_read_whole(bounded, chunked):
    """Empty, short, and in many pieces: none ends early, and none leaves anything to the next one."""
    bodies = [b"", b"[1]", b'["' + b"x" * 200_000 + b'"]', b"[]", b"[12]"]

    def pieces(body):
        for at in range(0, len(body), 20_000):
            yield body[at : at + 20_000]

    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=bounded, headers=headers, timeout=WITHIN_S) as client:
        for body in bodies * 2:
            answer = client.post("/v1/echo", content=pieces(body) if chunked else body)
            assert (answer.status_code, answer.json()) == (200, {"length": len(body)})


def test_two_requests_that_come_together_are_two(bounded):
    """The second begins where the first one's declared length ends."""
    head = b"POST /v1/echo HTTP/1.1\r\nHost: x\r\n" + BEARER
    with connect(bounded) as connection:
        connection.sendall(
            head + b"Content-Length: 3\r\n\r\n[1]" + head + b"Content-Length: 4\r\n\r\n[12]"
        )
        told = b""
        while not told.endswith(b'{"length":4}'):
            piece = connection.recv(65_536)
            assert piece, told
            told += piece
    assert (told.count(b"200 OK"), told.count(b'{"length":3}')) == (2, 1)


def test_a_declared_body_that_is_too_large_is_413_at_once(bounded):
    """No byte of it needs to come."""
    with connect(bounded) as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\n" + BEARER + b"Content-Length: 9000000\r\n\r\n"
        )
        assert refusal(read_to_end(connection))[:1] == (413,)


@pytest.mark.parametrize(
    ("length", "status"), [(b"0" * 5_000 + b"3", 200), (b"0" * 5_000 + b"9" * 18, 413)]
)
def test_a_length_of_thousands_of_digits_is_read_as_any_other(bounded, length, status):
    """Python makes no number of them: anybody could have had 500, which counts as our failure."""
    with connect(bounded) as connection:
        connection.sendall(
            b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            + BEARER
            + b"Content-Length: "
            + length
            + b"\r\n\r\n[1]"
        )
        assert read_to_end(connection).split()[1] == str(status).encode()


def test_a_large_head_is_431(bounded):
    """Its headers are quoted nowhere."""
    answer = httpx.get(f"{bounded}/health", headers={"X-Own": "secret" * 7000}, trust_env=False)
    assert answer.status_code == 431
    assert answer.json()["error"]["code"] == "head-too-large"
    assert "secret" not in answer.text


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what waits")
@pytest.mark.parametrize("path", ["big", "stream"])
@pytest.mark.parametrize("reads", [0, 1])
def test_an_answer_that_nobody_reads_is_given_up(bounded, path, reads):
    """A client that takes nothing of an answer, or a byte now and then, does not keep it for ever."""
    size = 64 * 1024 * 1024  # more than the sockets' buffers hold
    with connect(bounded) as connection:
        connection.sendall(
            f"GET /v1/{path}?size={size} HTTP/1.1\r\nHost: x\r\n".encode() + BEARER + b"\r\n"
        )
        deadline = time.monotonic() + WITHIN_S
        while not _is_reset(connection):
            assert time.monotonic() < deadline, "the client is held"
            time.sleep(0.1)
            if reads:
                with contextlib.suppress(OSError):
                    connection.recv(reads)


def _is_reset(connection):
    # TCP_CLOSE is the state after a reset, whatever waits in the buffer
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return info[0] == 7


def test_a_long_answer_is_read_whole(bounded):
    """Honest clients take as long as they take: a stream outlives each of the limits."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = httpx.get(
        f"{bounded}/v1/ticks?count=20", headers=headers, timeout=WITHIN_S, trust_env=False
    )
    assert answer.text.count("data: ") == 20
    size = 64 * 1024 * 1024
    big = httpx.get(f"{bounded}/v1/big?size={size}", headers=headers, trust_env=False, timeout=60)
    assert len(big.content) == size


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-"])
def test_a_peer_has_so_many_connections_and_who_asks_is_served(port, begun):
    """Idle ones over the share are closed, the oldest first; a request in progress is not."""
    settings = {"MC_CONNECTIONS_PER_PEER": "20", "MC_HEAD_TIMEOUT_S": "60"}
    with replica(port, **settings) as url, contextlib.ExitStack() as stack:
        ticks: list[httpx.Response] = []

        def follow():
            headers = {"Authorization": f"Bearer {TOKEN}"}
            ticks.append(
                httpx.get(f"{url}/v1/ticks?count=15", headers=headers, timeout=60, trust_env=False)
            )

        follower = threading.Thread(target=follow)
        follower.start()
        idle = []
        for _ in range(100):
            connection = stack.enter_context(connect(url))
            connection.sendall(begun)
            idle.append(connection)
        # Those over the share are told why
        status, error, head = refusal(read_to_end(idle[0]))
        assert (status, error["code"]) == (429, "rate-limited")
        assert b"retry-after: 1" in head
        for connection in idle[1:70]:
            read_to_end(connection)
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        follower.join()
    assert ticks[0].text.count("data: ") == 15


def test_a_trusted_proxy_has_most_of_all_connections(port):
    """The edge is the only peer of a replica: the share of one client must not strangle it."""
    settings = {
        "MC_CONNECTIONS_PER_PEER": "2",
        "MC_CONNECTIONS": "100",
        "MC_TRUSTED_PROXIES": "127.0.0.1",
        "MC_HEAD_TIMEOUT_S": "60",
    }
    with replica(port, **settings) as url, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(connect(url)) for _ in range(70)]
        for _ in range(3):  # so that it has looked
            time.sleep(1)
            kept[0].sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept[0].recv(65_536).startswith(b"HTTP/1.1 200")


def test_health_is_looked_at_once_for_all_who_ask(bounded):
    """200 at once cause a look or two, not 200."""
    before = httpx.get(f"{bounded}/health", trust_env=False).json()["looks"]
    answers: list[int] = []
    with httpx.Client(limits=httpx.Limits(max_connections=None), trust_env=False) as client:

        def ask():
            answers.append(client.get(f"{bounded}/health", timeout=WITHIN_S).json()["looks"])

        began = time.monotonic()
        threads = [threading.Thread(target=ask) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 200
    assert max(answers) - before <= 2 + (time.monotonic() - began)


@pytest.mark.parametrize("path", ["/health", "/metrics"])
@pytest.mark.parametrize(
    ("headers", "local"),
    [
        ({}, True),
        ({"Host": "localhost:8080"}, True),
        ({"Host": "[::1]:8080"}, True),
        ({"Host": "workbench.example.com"}, False),
        ({"X-Forwarded-For": "127.0.0.1"}, False),
        ({"Forwarded": "for=127.0.0.1"}, False),
        ({"Via": "1.1 proxy"}, False),
        ({"X-Real-IP": "127.0.0.1"}, False),
        ({"X-Forwarded-Proto": "http"}, False),
    ],
)
def test_a_stranger_is_told_no_names(bounded, path, headers, local):
    """Who was forwarded, or asks for another host, is none of this machine."""
    answer = httpx.get(f"{bounded}{path}", headers=headers, trust_env=False)
    if path == "/metrics":
        assert answer.status_code == (200 if local else 401)
    else:
        body = answer.json()
        del body["looks"]
        assert (answer.status_code, body["status"]) == (200, "ok")
        strangers = {"status", "service", "version", "colour"}
        assert set(body) == strangers | ({"dependencies", "faults"} if local else set())


def test_the_scrape_credential_opens_figures_and_nothing_else(port, tmp_path):
    """It is read anew when its file changes; a short one is refused at the start."""
    file = tmp_path / "token"
    file.write_text("a" * 40 + "\n")
    with replica(port, MC_SCRAPE_TOKEN_FILE=str(file), MC_LOOPBACK_IS_LOCAL="false") as url:

        def status(path, token):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return httpx.get(url + path, headers=headers, trust_env=False).status_code

        assert status("/metrics", None) == 401
        assert status("/metrics", "a" * 40) == 200
        assert status("/metrics", "a" * 39) == 401
        assert status("/v1/big?size=1", "a" * 40) == 401
        assert status("/health", "b" * 40) == 401
        assert status("/health", None) == 200
        file.write_text("b" * 41 + "\n")
        assert status("/metrics", "a" * 40) == 401
        assert status("/metrics", "b" * 41) == 200
        file.unlink()
        assert status("/metrics", "b" * 41) == 401
        assert status("/metrics", "") == 401


def test_guessing_is_limited_and_a_valid_credential_is_not(port):
    """After the burst 401 becomes 429 with Retry-After, for this client; others go on."""
    settings = {
        "MC_AUTHENTICATION_FAILURES_BURST": "5",
        "MC_AUTHENTICATION_FAILURES_PER_MIN": "1",
        "MC_TRUSTED_PROXIES": "127.0.0.1",
        "MC_LOOPBACK_IS_LOCAL": "false",  # the test stands for a proxy
    }
    with replica(port, **settings) as url:

        def ask(token, client="198.51.100.1"):
            headers = {"X-Forwarded-For": client}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            return httpx.get(f"{url}/v1/big?size=1", headers=headers, trust_env=False)

        wrong = f"mc_{'0' * 12}_{'x' * 43}"
        found = [ask(token).status_code for token in (wrong, None, "rubbish", wrong, wrong, wrong)]
        assert found == [401] * 5 + [429]
        limited = ask(None)
        assert limited.status_code == 429
        assert limited.json()["error"]["code"] == "rate-limited"
        assert int(limited.headers["Retry-After"]) > 1
        assert ask(TOKEN).status_code == 200
        assert ask(wrong).status_code == 429
        assert ask(wrong, client="198.51.100.2").status_code == 401


SPOOFED = [
    [("X-Forwarded-For", "198.51.100.1")],
    [("X-Forwarded-For", "198.51.100.2, 198.51.100.3")],
    [("X-Forwarded-For", "198.51.100.4"), ("X-Forwarded-For", "198.51.100.5, 127.0.0.1")],
    [("x-forwarded-for", "2001:db8::1")],
    [("X-Forwarded-For", "[2001:db8::2]:443")],
    [("X-Forwarded-For", "::ffff:198.51.100.6")],
    [("X-Forwarded-For", "::1%one"), ("X-Forwarded-For", "127.0.0.2")],
    [("X-Forwarded-For", "rubbish"), ("Connection", "close, X-Forwarded-For")],
    [("X-Forwarded-For", "")],
    [("Forwarded", "for=198.51.100.7;proto=https;host=workbench.example.com")],
    [("X-Real-IP", "198.51.100.8"), ("True-Client-IP", "198.51.100.9")],
    [("X-Forwarded-Host", "workbench.example.com"), ("X-Forwarded-Proto", "https")],
]


@contextlib.contextmanager
def edge_before(replica_url, port):
    """The local edge, with one replica behind it."""
    folder = Path(tempfile.mkdtemp())  # a socket's path is short
    route = {"active": "blue", "replicas": {"blue": [replica_url]}}
    (folder / "edge.json").write_text(json.dumps(route))
    settings = {
        "MC_PORT": str(port),
        "MC_EDGE_STATE_FILE": str(folder / "edge.json"),
        "MC_EDGE_CONTROL_SOCKET": str(folder / "control"),
    }
    command = [sys.executable, "-m", "mc_ops.environments.local.edge"]
    child = subprocess.Popen(command, env={**os.environ, **settings})
    try:
        until_answers(f"http://127.0.0.1:{port}/health", child)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()
        shutil.rmtree(folder)


@pytest.mark.parametrize("by_the_edge", [True, False])
def test_a_client_of_this_machine_has_one_allowance_whatever_it_says_of_itself(
    block, port, by_the_edge
):
    """Behind the edge, and beside it, no header makes another client of who guesses."""
    settings = {
        "MC_AUTHENTICATION_FAILURES_BURST": str(len(SPOOFED) - 2),  # one was asked at the start
        "MC_AUTHENTICATION_FAILURES_PER_MIN": "0.1",
        "MC_TRUSTED_PROXIES": "127.0.0.1",  # as `mcctl up` has it
    }
    with replica(port, **settings) as url, edge_before(url, block + 2) as edge:
        asked = edge if by_the_edge else url

        def ask(headers, token="rubbish"):
            sent = [*headers, ("Authorization", f"Bearer {token}")]
            return httpx.get(f"{asked}/v1/big?size=1", headers=sent, trust_env=False).status_code

        assert {ask(headers) for headers in SPOOFED[:-3]} == {401}
        assert {ask(headers) for headers in SPOOFED} == {429}
        assert {ask(headers, TOKEN) for headers in SPOOFED} == {200}


def test_a_client_behind_a_tunnel_stays_a_stranger_whatever_it_calls_hop_by_hop(block, port):
    """It asks that the tunnel's own header be dropped; the edge tells of the tunnel all the same."""
    by_a_tunnel = ("Via", "True-Client-IP", "CF-Ray", "X-Envoy-Attempt-Count", "X-Forwarded-Port")
    with (
        replica(port, MC_TRUSTED_PROXIES="127.0.0.1") as url,
        edge_before(url, block + 2) as edge,
    ):

        def ask(**headers):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            return httpx.get(f"{edge}/metrics", headers=sent, trust_env=False).status_code

        assert ask() == 200
        for name in by_a_tunnel:
            assert ask(**{name: "1.1 tunnel", "Connection": f"close, {name}"}) == 401, name


def test_who_keeps_a_connection_to_a_replica_that_stops_is_answered_and_told_to_connect_anew(port):
    """The next answer ends the connection, so its client's next request goes to another replica."""
    pids = []
    ask = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    with replica(port, pids=pids, MC_HEAD_TIMEOUT_S="60") as url, connect(url) as kept:
        kept.sendall(ask)
        assert b"connection: close" not in kept.recv(65_536).lower()
        os.kill(pids[0], signal.SIGUSR1)
        with connect(url) as new:
            new.sendall(ask)
            assert refusal(read_to_end(new))[0] == 401  # it ends with its first answer
        kept.sendall(ask)
        status, _, head = refusal(read_to_end(kept))
        assert status == 401
        assert b"connection: close" in head


def test_whether_a_client_still_waits_is_known(port):
    """One that closed its connection has left; one that waits has not, however long it takes."""
    limits = {f"MC_{name}_TIMEOUT_S": "30" for name in ("HEAD", "BODY", "WRITE")}
    with replica(port, **limits) as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=WITHIN_S) as client:

            def told(name, nothing):
                deadline = time.monotonic() + WITHIN_S
                while time.monotonic() < deadline:
                    if (now := client.get("/v1/ends").json()[name]) != nothing:
                        return now
                    time.sleep(0.05)
                raise AssertionError(name)

            with connect(url) as leaving:
                leaving.sendall(
                    b"POST /v1/patience?work_s=0 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                    + BEARER
                    + b"\r\n{}"
                )
                assert told("begun", 0) == 1
            assert told("left", []) == [True]
            assert client.post("/v1/patience?work_s=0.6", json={}).status_code == 200
            assert told("left", [True]) == [True, False]
