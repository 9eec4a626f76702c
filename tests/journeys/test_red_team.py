"""Day-7 as it stands: the privacy red-team against the default platform, the delta, the evidence."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SEED = "20261125"

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class Slack(BaseHTTPRequestHandler):
    """Takes what is posted, and says what Slack says."""

    posted: list[bytes] = []  # noqa: RUF012 - one server a test

    def do_POST(self) -> None:
        self.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[Path]:
    """A file with the webhook of a Slack on this machine."""
    server = HTTPServer(("127.0.0.1", 0), Slack)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = tmp_path / "webhook.txt"
    file.write_text(f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret-of-slack\n")
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_day_7_finds_the_platform_closed_and_signs_it(start_platform, tmp_path, webhook):
    """Attacks are blocked by named controls, honest work passes; the week is posted once approved.

    A platform of its own: others' aggregates would spend the budget that some attacks need.
    """
    platform = start_platform()
    platform.cwd = tmp_path
    for name in ("runbooks", "scripts", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    sizes = {
        "ATTACKS": "720",
        "BENIGN": "210",
        "WORDINGS": "20",
        "SEED": SEED,
        "SLACK": "1",
        "DRILL": "none",
    }
    given = [f"--set={name}={value}" for name, value in sizes.items()]
    secret = f"--set=WEBHOOK=file:{webhook}"
    done = platform.mcctl(
        "runbook", "run", "day-7", *given, secret, "--yes", "--as", "OPERATOR", check=False
    )
    assert done.returncode == 8, done.stdout + done.stderr
    run_id = re.search(r"mcctl runbook approve (\S+) --gate publish", done.stderr)[1]
    assert Slack.posted == []

    folder = platform.home / "runs" / run_id
    told = json.loads((folder / "redteam" / "redteam.json").read_text())
    assert told["missed"] == []
    assert told["invalid"] == []
    tried = told["figures"]["attacks"]
    assert tried["blocked"] == tried["n"] > 640
    assert told["met"] is True
    assert {"SIEM", "logs", "metrics", "effects", "graphql TENANT_002"} <= set(told["channels"])
    acted = set(told["figures"]["controls"])
    assert {"redacted", "policy", "tenant isolation", "credential"} <= acted

    platform.mcctl("runbook", "approve", run_id, "--as", "ADMINISTRATOR", "--reason", "fit")
    done = platform.mcctl("runbook", "run", "day-7", "--resume", run_id, secret)
    [posted] = Slack.posted
    delta = json.loads((tmp_path / "out" / "operations-delta-day7.json").read_text())
    assert delta["metrics"]["privacy_block_rate"] == 1.0
    assert b"privacy" in posted
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"secret-of-slack" in path.read_bytes()]
    assert "secret-of-slack" not in done.stdout + done.stderr

    [pack] = (tmp_path / "dist").glob("evidence-*.json")
    report = json.loads(platform.mcctl("evidence", "verify", str(pack)).stdout)
    claims = {one["id"]: one["recomputed"] for one in report["claims"]}
    assert claims["redteam.figures"]["attacks"] == tried
    approved = claims["runbook.course"]["gates"]["publish"]
    assert (approved["by"]["principal"], approved["reason"]) == ("administrator@platform", "fit")
    assert report["ok"]
