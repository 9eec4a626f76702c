"""What a hostile server can do to mcctl's clients: nothing."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.loopback import certificate, serving
from tests.raw_peer import answer, raw, raw_peer

from mc_ops.outgoing.clients import (
    AnswerPacked,
    AnswerWithoutEnd,
    open_async_client,
    open_client,
)
from mc_ops.outgoing.loopback import ask
from mc_ops.outgoing.sessions import open_session

COOKIES = ("Set-Cookie: sid=1; Path=/", "Set-Cookie: sid2=2; Domain=localhost; Max-Age=99999")
OK = b"HTTP/1.1 200 OK\r\n"


def by_client(url: str) -> None:
    with open_client(timeout_s=5) as client:
        for _ in range(2):
            client.get(url)


def by_async_client(url: str) -> None:
    async def get() -> None:
        async with open_async_client(timeout_s=5, most_connections=2) as client:
            for _ in range(2):
                await client.get(url)

    asyncio.run(get())


def by_session(url: str) -> None:
    async def get() -> None:
        async with open_session(keepalive_s=5) as session:
            for _ in range(2):
                async with session.get(url, allow_redirects=False) as told:
                    await told.read()

    asyncio.run(get())


EACH = pytest.mark.parametrize("get", [by_client, by_async_client, by_session])


def test_a_ca_that_the_system_is_told_of_is_trusted(tmp_path: Path) -> None:
    """`SSL_CERT_FILE` names it, as for curl; in a process of its own, as OpenSSL reads it once."""
    context, authority = certificate(tmp_path)
    script = (
        "import sys; from mc_ops.outgoing.clients import open_client;"
        "print(open_client(timeout_s=20).get(sys.argv[1]).status_code)"
    )
    with serving(BaseHTTPRequestHandler, context) as url:
        for file, said in ((authority, "501"), (tmp_path / "none", "")):
            env = {**os.environ, "SSL_CERT_FILE": str(file)}
            words = [sys.executable, "-c", script, url]
            done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
            assert done.stdout.strip() == said, done.stderr
            assert said or "CERTIFICATE_VERIFY_FAILED" in done.stderr


@EACH
@pytest.mark.parametrize("where", ["by_name", "by_address"])
def test_no_cookie_is_kept(get: Callable[[str], None], where: str) -> None:
    with raw_peer(answer(b"", *COOKIES)) as peer:
        get(getattr(peer, where))
    assert [asked.header("Cookie") for asked in peer.asked] == [None, None]


@EACH
def test_no_redirect_is_followed_and_no_proxy_used(
    get: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_peer(answer(b"")) as elsewhere:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, elsewhere.by_address)
        away = answer(b"", f"Location: {elsewhere.by_address}/", status="302 Found")
        with raw_peer(away) as peer:
            get(peer.by_address)
    assert (len(peer.asked), elsewhere.asked) == (2, [])


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 200 O",
        OK + b"X: ",
        OK + b"Content-Length: 10000\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
    ids=["status", "headers", "body", "body until the end"],
)
def test_an_answer_that_drips_ends_in_time(told: bytes) -> None:
    """Each read succeeds; the whole call does not."""
    stop = threading.Event()

    def drip(_asked: Any, connection: Any) -> None:
        connection.sendall(told)
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with raw_peer(drip) as peer:
        with (
            open_client(timeout_s=0.3) as client,
            pytest.raises((AnswerWithoutEnd, httpx.ReadTimeout)),
        ):
            client.get(peer.by_address)

        async def get() -> None:
            async with open_async_client(timeout_s=0.3, most_connections=1) as client:
                with pytest.raises(AnswerWithoutEnd):
                    await client.get(peer.by_address)

        asyncio.run(get())
        assert ask(peer.port, "/health", 0.3) is None
        stop.set()


def test_an_answer_is_bounded_and_not_unpacked() -> None:
    endless = raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    with (
        raw_peer(endless) as peer,
        open_client(timeout_s=5, most_bytes=100) as client,
        pytest.raises(AnswerWithoutEnd),
    ):
        client.get(peer.by_address)
    packed = answer(gzip.compress(b" " * 10_000_000), "Content-Encoding: gzip")
    with (
        raw_peer(packed) as peer,
        open_client(timeout_s=5) as client,
        pytest.raises(AnswerPacked),
    ):
        client.get(peer.by_address)
    assert peer.asked[0].header("Accept-Encoding") == "identity"


@pytest.mark.parametrize("charset", ["zlib", "hex", "undefined", "idna", "utf-16", "nonsense"])
def test_an_answer_breaks_nothing_by_what_it_says_of_itself(charset: str) -> None:
    """Whatever decoder a peer names, and whatever bytes its headers have."""
    told = answer(b"a\xff", f"Content-Type: text/plain; charset={charset}", "X-Odd: \xff\xe9")
    with raw_peer(told) as peer, open_client(timeout_s=5) as client:
        assert client.get(peer.by_address).text == "a\ufffd"

        async def get() -> str:
            async with open_async_client(timeout_s=5, most_connections=1) as client:
                return (await client.get(peer.by_address)).text

        assert asyncio.run(get()) == "a\ufffd"


def test_an_answer_that_nests_deeper_than_python_follows_is_no_json() -> None:
    """An error that every reader of JSON expects, and no other one."""
    with raw_peer(answer(b"[" * 200_000)) as peer, open_client(timeout_s=5) as client:
        told = client.get(peer.by_address)
    with pytest.raises(ValueError, match="nests too deep"):
        told.json()


def test_headers_without_end_are_given_up() -> None:
    with (
        raw_peer(raw(OK + b"X: " + b"y" * 2_000_000)) as peer,
        open_client(timeout_s=5) as client,
        pytest.raises(httpx.HTTPError),
    ):
        client.get(peer.by_address)


def test_an_answer_is_whole_when_it_is_returned() -> None:
    """Status, headers and body as they came; connections are used again."""
    with (
        raw_peer(answer(b'{"a":1}', "X-A: b", status="418 Teapot")) as peer,
        open_client(timeout_s=5, base_url=peer.by_address, headers={"X-Own": "1"}) as client,
    ):
        told = [client.post("/x", json={}) for _ in range(2)]
    assert [(one.status_code, one.json(), one.headers["x-a"]) for one in told] == [
        (418, {"a": 1}, "b")
    ] * 2
    assert {asked.connection for asked in peer.asked} == {0}
    assert peer.asked[0].header("X-Own") == "1"


def test_a_unix_socket_is_asked_by_its_path(tmp_path: Path) -> None:
    """As the edge's control is; nobody there is an error like any other."""
    with (
        open_client(timeout_s=5, socket=tmp_path / "none", base_url="http://edge") as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get("/route")


def test_a_process_of_this_machine_is_asked_by_its_port() -> None:
    with raw_peer(answer(b"fine")) as peer:
        assert ask(peer.port, "/health", 5) == (200, b"fine")
    with raw_peer(raw(b"\xff\xfe\r\n\r\n", close=True)) as peer:
        assert ask(peer.port, "/health", 5) is None
