"""Pre-flight checks against real files, sockets and HTTP servers on loopback."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from tests import loopback
from tests.fake_replica import replica

from mc_ops.environments import Colour, Instance
from mc_ops.outgoing.clients import open_client
from mc_ops.preflight.edge import check_edge, without_faults
from mc_ops.preflight.egress import declared, outbound_declared
from mc_ops.preflight.local import replicas_minimum
from mc_ops.preflight.platform_database import check_database
from mc_ops.preflight.platform_http import (
    METRICS,
    admits,
    health_ok,
    metrics_present,
    refuses,
    siem_refuses,
    wrong_secret,
)
from mc_ops.preflight.pod_security import listeners_loopback, secrets_private, state_private
from mc_ops.preflight.processes import Running, is_loopback, sockets_of
from mc_ops.preflight.result import CheckResult, Status, exit_of, unknown

SELF = Running("blue-1", os.getpid())
TOKEN = "mc_0123456789ab_" + "s" * 43
Answer = Callable[[str, str, str, bytes], tuple[int, str]]


def serving(answer: Answer) -> AbstractContextManager[str]:
    """A real HTTP server; `answer(method, path, authorization, body)` gives status and text."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = self.headers.get("Authorization", "")
            status, text = answer(self.command, self.path, given, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = _any  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            return

    return loopback.serving(Handler)


class Workbench:
    """A stand-in replica: routes that check the token, counters that count, a health."""

    def __init__(self, colour: str = "blue", *, guarded: bool = True, delivers: bool = True):
        self.colour, self.guarded, self.delivers = colour, guarded, delivers
        self.health, self.missing, self.answered = "ok", "", 0
        self.faults: dict[str, float] = {}
        self.open_route_checks: tuple[str, ...] = ()
        self.knocked: list[str] = []

    def __call__(self, method: str, path: str, given: str, body: bytes) -> tuple[int, str]:
        if path == "/health":
            code = 503 if self.health == "unavailable" else 200
            said = {"status": self.health, "colour": self.colour, "replica": f"{self.colour}-1"}
            said |= {"service": "agent-workbench", "version": "1"}
            return code, json.dumps({**said, "faults": self.faults})
        if path == "/metrics":
            names = [name for name in METRICS if name != self.missing]
            lines = [f"# TYPE {name} counter" for name in names]
            counted = 'mc_a2a_requests_total{status="success",tenant='
            lines.append(f'{counted}"CANARY"}} {self.answered}.0')
            lines.append(f'{counted}"TENANT_001"}} {self.answered + 1000}.0')
            sent = self.answered if self.delivers else 0
            lines.append(f'mc_siem_requests_total{{status="success"}} {sent}.0')
            return 200, "\n".join(lines) + "\n"
        self.knocked.append(path)
        if path in self.open_route_checks:
            return 200, "{}"
        if self.guarded and given != f"Bearer {TOKEN}":
            return 401, "{}"
        if b"SendMessage" in body:
            self.answered += 1
            task = {"task": {"status": {"state": "TASK_STATE_COMPLETED"}}}
            return 200, json.dumps({"jsonrpc": "2.0", "id": 1, "result": task})
        return 200, "{}"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with open_client(timeout_s=5.0) as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))


def test_secrets_readable_by_others_fail(tmp_path: Path) -> None:
    """One file that others may read is named with its mode."""
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "siem.key").write_text("x")
    (folder / "siem.key").chmod(0o600)
    assert secrets_private(folder).status is Status.passed
    (folder / "siem.key").chmod(0o640)
    result = secrets_private(folder)
    assert (result.status, "siem.key has mode 0640" in result.detail) == (Status.failed, True)


def test_state_open_to_all_fails(tmp_path: Path) -> None:
    """A state directory that others may list fails; one they may pass through does not."""
    tmp_path.chmod(0o711)
    assert state_private(tmp_path).status is Status.passed
    tmp_path.chmod(0o755)
    assert state_private(tmp_path).status is Status.failed
    assert state_private(tmp_path / "none").status is Status.unknown


def test_listeners_on_every_interface_fail() -> None:
    """A socket bound to all interfaces is found, by its address; loopback ones are fine."""
    with socket.create_server(("127.0.0.1", 0)):
        assert listeners_loopback([SELF]).status is Status.passed
        with socket.create_server(("0.0.0.0", 0)) as wide:
            result = listeners_loopback([SELF])
            assert result.status is Status.failed
            assert f"blue-1 listens on 0.0.0.0:{wide.getsockname()[1]}" in result.detail


def test_nothing_running_is_unknown() -> None:
    """Without processes there is nothing to tell, and that is no pass."""
    assert listeners_loopback([]).status is Status.unknown
    assert outbound_declared([]).status is Status.unknown
    gone = Running("blue-1", 2**22 + 1)
    assert listeners_loopback([gone]).status is Status.unknown


def test_outbound_connections_told_apart_from_inbound() -> None:
    """A connection that was made to us is not outbound; one that we made is."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as made,
    ):
        accepted, _ = server.accept()
        with accepted:
            sockets = sockets_of(SELF)
            assert server.getsockname() in sockets.outbound
            assert made.getsockname() not in sockets.outbound
            assert outbound_declared([SELF]).status is Status.passed


def test_declared_destinations_are_resolved() -> None:
    """Hosts that settings name are allowed by their addresses; nonsense allows nothing."""
    allowed = declared({"AUDIT_SIEM_URL": "https://127.0.0.2/x", "MC_DATABASE_URL": "nonsense"})
    assert allowed == {"127.0.0.2"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_is_loopback(address: str, expected: bool) -> None:
    """Only what never leaves the machine is loopback."""
    assert is_loopback(address) is expected


@pytest.mark.parametrize(
    ("running", "minimum", "status"),
    [(3, 3, Status.passed), (2, 3, Status.failed)],
)
def test_replicas_minimum(running: int, minimum: int, status: Status) -> None:
    """Fewer replicas than the minimum fail; no serving colour is unknown."""
    assert replicas_minimum("blue", running, minimum).status is status
    assert replicas_minimum(None, running, minimum).status is Status.unknown


def test_routes_that_let_strangers_in_fail(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """401 to strangers passes; a route that answers them fails; a good token must be let in."""
    safe, unsafe = (
        Instance(name, Colour(name.split("-")[0]), serve(Workbench(guarded=guarded)))
        for name, guarded in (("blue-1", True), ("blue-2", False))
    )
    wrong = {"Authorization": f"Bearer {wrong_secret(TOKEN)}"}
    assert refuses(client, safe, "no-token", {}).status is Status.passed
    assert refuses(client, safe, "wrong-secret", wrong).status is Status.passed
    assert refuses(client, unsafe, "no-token", {}).status is Status.failed
    assert admits(client, safe, TOKEN).status is Status.passed
    assert admits(client, safe, wrong_secret(TOKEN)).status is Status.failed


@pytest.mark.parametrize("route", ["/", "/a2a", "/v1/message:send", "/graphql"])
def test_one_open_door_fails(
    client: httpx.Client, serve: Callable[[Answer], str], route: str
) -> None:
    """Each way in is knocked on, and the one that is open is named."""
    bench = Workbench()
    bench.open_route_checks = (route,)
    result = refuses(client, Instance("blue-1", Colour.blue, serve(bench)), "no-token", {})
    assert set(bench.knocked) == {"/", "/a2a", "/v1/message:send", "/graphql"}
    assert (result.status, result.detail) == (
        Status.failed,
        f"{route} answered 200, expected 401",
    )


def test_door_that_is_unavailable_is_knocked_on_again(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """A 503 now and then says nothing about who is let in; one that stays is a failure."""
    bench, turns = Workbench(), iter(range(1000))

    def shaky(method: str, path: str, given: str, body: bytes) -> tuple[int, str]:
        return (503, "{}") if next(turns) % 2 == 0 else bench(method, path, given, body)

    target = Instance("blue-1", Colour.blue, serve(shaky))
    assert refuses(client, target, "no-token", {}).status is Status.passed
    assert admits(client, target, TOKEN).status is Status.passed
    down = Instance("blue-2", Colour.blue, serve(lambda *_: (503, "{}")))
    assert refuses(client, down, "no-token", {}).status is Status.failed
    assert admits(client, down, TOKEN).detail == "answered 503, expected 200"


def test_good_token_is_tried_where_clients_go(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """The admitted knock goes to /a2a."""
    bench = Workbench()
    assert (
        admits(client, Instance("blue-1", Colour.blue, serve(bench)), TOKEN).status is Status.passed
    )
    assert bench.knocked == ["/a2a"]


def test_health_and_metrics(client: httpx.Client, serve: Callable[[Answer], str]) -> None:
    """A status that is not ok and a missing metric fail by name; silence is unknown."""
    bench = Workbench()
    target = Instance("blue-1", Colour.blue, serve(bench))
    assert health_ok(target, 0).status is Status.passed
    assert metrics_present(client, target).status is Status.passed
    bench.health, bench.missing = "degraded", "mc_siem_requests_total"
    assert health_ok(target, 0).detail == "status is degraded"
    assert metrics_present(client, target).detail == "missing: mc_siem_requests_total"
    nowhere = Instance("blue-1", Colour.blue, "http://127.0.0.1:9")
    assert health_ok(nowhere, 0).status is Status.unknown
    assert metrics_present(client, nowhere).status is Status.unknown


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        '{"status": "ok"}',
        '{"status": "ok", "service": "another"}',
        "[" * 200_000,
    ],
)
def test_what_is_not_the_workbench_has_no_health(
    client: httpx.Client, serve: Callable[[Answer], str], body: str
) -> None:
    """Another program at the address, though it says ok: could not tell, and no check breaks."""
    target = Instance("blue-1", Colour.blue, serve(lambda *_: (200, body)))
    result = health_ok(target, 0)
    assert result.status is Status.unknown
    assert "does not answer as the workbench does" in result.detail
    assert exit_of(_edge_by(client, target)) == 1


def test_metrics_of_another_program_are_read_or_left(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """Lines that are no samples count as nothing."""
    sample = 'mc_siem_requests_total{status="success"}'
    text = f"# TYPE \n# TYPE mc_x counter\n{sample} many\n{sample} 1.2.3\n{sample} NaN\n"
    target = Instance("blue-1", Colour.blue, serve(lambda *_: (200, text)))
    assert metrics_present(client, target).status is Status.failed
    assert exit_of(_edge_by(client, target)) == 1


def _edge_by(client: httpx.Client, target: Instance) -> list[CheckResult]:
    """The checks of an edge, where one program is the edge and the only replica."""
    return check_edge(
        client,
        edge_url=target.url,
        colour="blue",
        replicas=[target],
        token=TOKEN,
        tenant="CANARY",
        patience_s=0,
    )


def test_a_replica_that_is_broken_on_purpose_serves_only_where_that_is_allowed() -> None:
    """Whoever overrode its HOLD wants to see it serve, and what it has is told either way."""
    with replica("blue-1") as blue:
        blue.health["faults"] = {"slow_factor": 2}
        own = [Instance("blue-1", Colour.blue, blue.url)]
        refused = without_faults("blue", own)
        allowed = without_faults("blue", own, allowed=True)
    assert (refused.status, allowed.status) == (Status.failed, Status.passed)
    assert "slow_factor 2" in refused.detail
    assert "slow_factor 2: on purpose, and allowed" in allowed.detail


def test_siem_that_takes_anything_fails(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """A SIEM that answers 200 to a wrong key fails; 401 and 403 pass; none is unknown."""
    assert siem_refuses(client, serve(lambda *_: (403, ""))).status is Status.passed
    assert siem_refuses(client, serve(lambda *_: (200, ""))).status is Status.failed
    assert siem_refuses(client, None).status is Status.unknown
    nowhere = "http://127.0.0.1:9"
    assert siem_refuses(client, nowhere).status is Status.unknown
    assert siem_refuses(client, nowhere, elsewhere=True).status is Status.not_applicable


def test_metrics_of_another_machine_are_read_with_the_scrape_credential(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """Replicas there tell strangers nothing, and a stranger's check would find all of it missing."""
    bench = Workbench()

    def careful(method: str, path: str, given: str, body: bytes) -> tuple[int, str]:
        if path == "/metrics" and given != "Bearer scrape":
            return 401, ""
        return bench(method, path, given, body)

    target = Instance("agent-workbench-x", Colour.blue, serve(careful))
    assert metrics_present(client, target).status is Status.failed
    assert (
        metrics_present(client, target, {"Authorization": "Bearer scrape"}).status is Status.passed
    )


def test_edge_served_by_the_colour(client: httpx.Client, serve: Callable[[Answer], str]) -> None:
    """The right colour passes every check; the wrong one, or a silent SIEM, fails."""
    blue, green = Workbench("blue"), Workbench("green", delivers=False)
    urls = {"blue": serve(blue), "green": serve(green)}
    replicas = [Instance(f"{colour}-1", Colour(colour), url) for colour, url in urls.items()]

    def check(edge: str, colour: str) -> dict[str, Status]:
        results = check_edge(
            client,
            edge_url=urls[edge],
            colour=colour,
            replicas=replicas,
            token=TOKEN,
            tenant="CANARY",
            patience_s=0.3,
        )
        return {result.name: result.status for result in results}

    assert set(check("blue", "blue").values()) == {Status.passed}
    wrong = check("blue", "green")
    assert wrong["edge-serves-colour"] is Status.failed
    assert wrong["answered-by-green"] is Status.failed
    assert check("green", "green")["siem-delivered"] is Status.failed
    blue.faults = {"slow_factor": 1.01}
    assert check("blue", "blue")["no-faults-blue"] is Status.failed
    assert check("green", "green")["no-faults-green"] is Status.passed


def test_edge_that_sends_some_elsewhere_fails(
    client: httpx.Client, serve: Callable[[Answer], str]
) -> None:
    """One request in ten that another colour answers is found out, and counted."""
    blue, green = Workbench("blue"), Workbench("green")
    turns = iter(range(10_000))

    def edge(method: str, path: str, given: str, body: bytes) -> tuple[int, str]:
        stray = b"SendMessage" in body and next(turns) % 10 == 9
        return (green if stray else blue)(method, path, given, body)

    results = check_edge(
        client,
        edge_url=serve(edge),
        colour="blue",
        replicas=[
            Instance("blue-1", Colour.blue, serve(blue)),
            Instance("green-1", Colour.green, serve(green)),
        ],
        token=TOKEN,
        tenant="CANARY",
        patience_s=0.3,
    )
    said = {result.name: result for result in results}
    assert said["requests-answered"].status is Status.passed
    assert said["answered-by-blue"].detail == "blue answered 18 of 20 requests"


async def test_database_unreachable_is_unknown_and_quotes_no_password() -> None:
    """A database that does not answer is unknown, and its URL is not told."""
    results = await check_database("postgresql://u:very-secret@127.0.0.1:9/x", ["blue-1"])
    assert {result.status for result in results} == {Status.unknown}
    assert "very-secret" not in str(results)


def test_exit_of_worst_result() -> None:
    """A failure is 1, else an unknown is 3, no checks at all are no pass."""
    passed = CheckResult("a", Status.passed, "")
    failed = CheckResult("b", Status.failed, "")
    assert exit_of([passed]) == 0
    assert exit_of([passed, unknown("c", "")]) == 3
    assert exit_of([passed, unknown("c", ""), failed]) == 1
    assert exit_of([]) == 3
