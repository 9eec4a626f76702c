"""`mcctl doctor` on a machine without a platform: what it finds of the state folder and its port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests import forked


def _doctor(home: Path, port: int) -> tuple[int, dict[str, dict[str, Any]]]:
    env = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": str(port)}
    done = subprocess.run(
        [forked.MCCTL, "doctor", "--output", "json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return done.returncode, {one["name"]: one for one in report["checks"]}


@pytest.fixture
def taken() -> Any:
    """A port on which something else listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_a_machine_without_a_platform_passes(tmp_path, free_ports):
    """What is not there is no fault."""
    code, checks = _doctor(tmp_path / "none", free_ports)
    assert code == 0
    assert (checks["processes"]["status"], checks["port"]["status"]) == ("not-applicable", "pass")


def test_open_secrets_leftovers_and_a_taken_port_are_told(tmp_path, taken):
    """Each with its name and what to do."""
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True, mode=0o700)
    (home / "secrets" / "ledger.key").touch(mode=0o644)
    (home / "backups" / "b.unfinished").mkdir(parents=True)
    home.chmod(0o700)
    code, checks = _doctor(home, taken)
    assert code == 1
    failed = {name: one["detail"] for name, one in checks.items() if one["status"] == "fail"}
    assert "ledger.key has mode 0644" in failed.pop("secrets-private")
    assert failed.pop("leftovers").startswith("backups/b.unfinished is left of")
    assert f"port {taken} of the edge" in failed.pop("port")
    assert failed == {}
    assert all(one["remedy"] for one in checks.values() if one["status"] == "fail")
