"""The probes, against the local receiver and against servers that are wrong on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading

import pytest
from aiohttp import web
from tests.loopback import certificate
from tests.raw_peer import answer, raw_peer

from mc_contract.siem import SiemFormat
from mc_ops.incidents import SiemTarget, Status, probe_siem
from mc_samples.siem_receiver import create_app
from mc_samples.siem_store import Behaviour, Receiver

KEY = "the-secret-key-itself"
PATHS = {SiemFormat.ocsf: "/ingest", SiemFormat.splunk_hec: "", SiemFormat.elastic: ""}


@contextlib.contextmanager
def serving(make_app, context=None):
    """Serve an app in a thread of its own; gives its port."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        runner = web.AppRunner(make_app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        ports.append(site._server.sockets[0].getsockname()[1])
        ready.set()
        return runner

    def run():
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@pytest.fixture
def receiver(tmp_path):
    made = []

    @contextlib.contextmanager
    def start(context=None, **behaviour):
        def app():
            made.append(Receiver(tmp_path / "events.jsonl", Behaviour(**behaviour)))
            return create_app(made[-1], KEY)

        with serving(app, context) as port:
            yield port
        made[-1].close()

    return start


def by_step(target):
    found = list(probe_siem(target))
    told = json.dumps([finding.as_dict() for finding in found]) + repr(target)
    assert KEY not in told
    return {finding.step: finding for finding in found}


def statuses(target):
    return {step: finding.status for step, finding in by_step(target).items()}


@pytest.mark.parametrize("spoken", list(PATHS))
def test_a_siem_that_works_is_ok_in_every_layer(receiver, spoken):
    """Settings, DNS, TCP, an answer that demands a key, a key that is accepted; nothing is sent."""
    with receiver() as port:
        target = SiemTarget(f"http://127.0.0.1:{port}{PATHS[spoken]}", KEY, spoken)
        found = by_step(target)
    assert {finding.status for finding in found.values()} == {Status.ok, Status.skipped}
    expected = ["settings", "dns", "tcp", "tls", "http", "authentication"]
    assert list(found)[:6] == expected
    assert ("acknowledgement" in found) is (spoken is SiemFormat.splunk_hec)
    assert found["http"].detail.startswith("HTTP 401 without a key")


@pytest.mark.parametrize("spoken", list(PATHS))
def test_a_wrong_key_is_found(receiver, spoken):
    """The server refuses the key; the finding says so without showing it."""
    with receiver() as port:
        url = f"http://127.0.0.1:{port}{PATHS[spoken]}"
        found = by_step(SiemTarget(url, "a-wrong-key", spoken))
    assert found["authentication"].status is Status.failed
    assert "not accepted" in found["authentication"].detail
    assert "a-wrong-key" not in str(found)


def test_a_failing_siem_is_told_from_a_wrong_key(receiver):
    """429 with Retry-After is the SIEM's trouble, not the key's."""
    with receiver(failing=True, retry_after_s=7) as port:
        found = by_step(SiemTarget(f"http://127.0.0.1:{port}/ingest", KEY))
    assert found["authentication"].status is Status.failed
    assert "HTTP 429: the SIEM takes nothing, asks to wait 7" in found["authentication"].detail


def test_a_collector_that_does_not_acknowledge_is_found(receiver):
    """What the service would refuse for ever is said, with what to do; waived, it is not asked."""
    with receiver(ack=False) as port:
        target = SiemTarget(f"http://127.0.0.1:{port}", KEY, SiemFormat.splunk_hec)
        found = by_step(target)
        waived = SiemTarget(
            f"http://127.0.0.1:{port}", KEY, SiemFormat.splunk_hec, hec_ack_required=False
        )
        assert "acknowledgement" not in by_step(waived)
    assert found["acknowledgement"].status is Status.failed
    assert "AUDIT_SIEM_HEC_ACK=off" in found["acknowledgement"].remedy


def test_nobody_listens(dead_port):
    """The connection is refused, and nothing above it is tried."""
    found = by_step(SiemTarget(f"http://127.0.0.1:{dead_port}/ingest", KEY))
    assert list(found) == ["settings", "dns", "tcp"]
    assert found["tcp"].status is Status.failed


def test_a_host_that_does_not_exist():
    """DNS says no."""
    found = by_step(SiemTarget("https://siem.invalid/ingest", KEY))
    assert list(found) == ["settings", "dns"]
    assert found["dns"].status is Status.failed


@pytest.mark.parametrize(
    ("url", "key", "spoken"),
    [
        ("http://siem.example/ingest", KEY, SiemFormat.ocsf),
        ("ftp://127.0.0.1/", KEY, SiemFormat.ocsf),
        ("https://user:pass@127.0.0.1/", KEY, SiemFormat.ocsf),
        ("http://127.0.0.1/ingest", "", SiemFormat.ocsf),
        ("syslog+tcp://siem.example", "", SiemFormat.cef),
        ("http://[", KEY, SiemFormat.ocsf),
    ],
)
def test_settings_that_the_service_would_refuse(url, key, spoken):
    """The service does not start with these; nothing is connected."""
    assert statuses(SiemTarget(url, key, spoken)) == {"settings": Status.failed}


def answering(status, headers=None):
    def app():
        async def answer(_):
            return web.Response(status=status, headers=headers)

        made = web.Application()
        made.router.add_route("*", "/{path:.*}", answer)
        return made

    return app


@pytest.mark.parametrize(
    ("status", "expected", "told"),
    [
        (302, Status.failed, "redirects are not followed"),
        (404, Status.failed, "no such path"),
        (500, Status.failed, "takes nothing"),
        (200, Status.warning, "anybody can write"),
    ],
)
def test_answers_without_a_key(status, expected, told):
    """What the first answer gives away before the key is shown."""
    headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else None
    with serving(answering(status, headers)) as port:
        finding = by_step(SiemTarget(f"http://127.0.0.1:{port}/ingest", KEY))["http"]
    assert finding.status is expected
    assert told in finding.detail


@pytest.mark.parametrize(
    ("days", "host", "trusted", "expected", "told"),
    [
        (90, "127.0.0.1", True, Status.ok, "expires in 90 days"),
        (3, "127.0.0.1", True, Status.warning, "expires in 3 days"),
        (-5, "127.0.0.1", True, Status.failed, "it expired 5 days ago"),
        (90, "127.0.0.1", False, Status.failed, "self-signed certificate"),
        (90, "127.0.0.9", True, Status.failed, "not valid for '127.0.0.1'"),
    ],
)
def test_what_tls_tells(tmp_path, receiver, days, host, trusted, expected, told):
    """Version, expiry and name; a certificate that is refused stops it before the key is shown."""
    context, ca = certificate(tmp_path, days=days, host=host)
    with receiver(context) as port:
        url = f"https://127.0.0.1:{port}/ingest"
        found = by_step(SiemTarget(url, KEY, ca_file=ca if trusted else None))
    assert found["tls"].status is expected
    assert told in found["tls"].detail
    if expected is Status.failed:
        assert "authentication" not in found
    else:
        assert found["tls"].detail.startswith("TLSv1.3")
        assert found["authentication"].status is Status.ok


def test_a_port_without_tls(receiver):
    """TLS was asked for and plain HTTP answers."""
    with receiver() as port:
        found = by_step(SiemTarget(f"https://127.0.0.1:{port}/ingest", KEY))
    assert found["tls"].status is Status.failed


def test_syslog_has_neither_answers_nor_a_key():
    """For CEF the layers end with the connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"syslog+tcp://127.0.0.1:{listener.getsockname()[1]}"
        found = statuses(SiemTarget(url, "", SiemFormat.cef))
    assert found["tcp"] is Status.ok
    assert found["http"] is found["authentication"] is Status.skipped


def test_an_answer_nested_beyond_reading_is_no_usable_one():
    """It ends no verb with a traceback: what it means is not known."""
    with raw_peer(answer(b"[" * 200_000, status="400 Bad Request")) as siem:
        target = SiemTarget(siem.by_address, KEY, SiemFormat.splunk_hec)
        *_, last = probe_siem(target)
    assert (last.step, last.status) == ("acknowledgement", Status.unknown)
