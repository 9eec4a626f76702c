"""The probes from a pod: by the real curl, which here has no pod around it."""

from __future__ import annotations

import shutil
import subprocess
from http.server import BaseHTTPRequestHandler

import pytest
from tests.loopback import serving

from mc_contract.siem import SiemFormat
from mc_ops.errors import UnusableInput
from mc_ops.incidents import CURL, FromPod, SiemTarget, Status, probe_siem

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
KEY = 'quoted " and \\ backslash, 20'


class Siem(BaseHTTPRequestHandler):
    """Takes what comes with the key."""

    busy = False

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        allowed = self.headers.get("Authorization") == f"Bearer {KEY}"
        self.send_response(503 if self.busy else 200 if allowed else 401)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def probed(url, key=KEY, **more):
    commands = []

    def curl(text):
        commands.append(CURL)
        return subprocess.run(CURL, input=text, capture_output=True, text=True, check=False)

    target = SiemTarget(url=url, key=key, insecure=True, **more)
    found = list(probe_siem(target, FromPod("blue-0", curl)))
    assert not any(key in word for command in commands for word in command)
    assert not any(key in one.detail + one.remedy for one in found)
    return {one.step: (one.status, one.detail) for one in found}


def test_the_layers_are_those_of_the_pod():
    """Whatever signs a key has, it is the same in curl's settings."""
    with serving(Siem) as here:
        url = f"{here}/ingest"
        found = probed(url)
        assert [status for status, _ in found.values()] == [Status.ok] * 4
        assert found["tcp"][1] == f"blue-0 reaches 127.0.0.1 at {here.removeprefix('http://')}"
        assert "HTTP 401 without a key" in found["http"][1]
        wrong = probed(url, key="another-key-of-20-signs")
        assert wrong["authentication"] == (Status.failed, "HTTP 401: the key is not accepted")
        Siem.busy = True
        try:
            busy = probed(url)
        finally:
            Siem.busy = False
        assert busy["http"] == (Status.failed, "HTTP 503: the SIEM takes nothing, asks to wait 7")


@pytest.mark.parametrize(
    ("url", "step"),
    [
        ("http://127.0.0.1:1/ingest", "tcp"),
        ("http://siem.invalid/ingest", "dns"),
    ],
)
def test_the_layer_that_fails_is_named(url, step):
    found = probed(url)
    assert list(found) == ["settings", step]
    assert found[step][0] is Status.failed


def test_a_port_without_tls_is_told():
    with serving(Siem) as here:
        found = probed(f"{here.replace('http', 'https')}/ingest")
    assert list(found) == ["settings", "tls"]


def test_what_cannot_be_run_is_unknown():
    """Without curl, or without the right to exec, nothing is known of the SIEM."""
    refused = subprocess.CompletedProcess((), 1, "", "Error from server (Forbidden): pods/exec")
    target = SiemTarget(url="http://127.0.0.1:1/ingest", key=KEY, insecure=True)
    *_, last = probe_siem(target, FromPod("blue-0", lambda _: refused))
    assert (last.step, last.status) == ("tcp", Status.unknown)
    assert "Forbidden" in last.detail


def test_syslog_is_not_tried():
    target = SiemTarget(url="syslog+tls://siem.example", siem_format=SiemFormat.cef)
    *_, last = probe_siem(target, FromPod("blue-0", lambda _: pytest.fail("curl was run")))
    assert last.status is Status.unknown


def test_a_line_end_in_a_setting_is_refused():
    """It would begin a setting of curl's."""
    with pytest.raises(UnusableInput, match="line end"):
        FromPod("blue-0", lambda _: pytest.fail("curl was run")).send(
            SiemTarget(url="http://siem"), "GET", "http://siem", {"A": "b\noutput = /etc/x"}, b""
        )
