"""`python -m mc_platform`: what it refuses before it serves, and how it says so."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import mc_platform.__main__ as program
import mc_platform.administration

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def _run(*args, **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MC_", "AUDIT_"))}
    return subprocess.run(
        [sys.executable, "-m", "mc_platform", *args],
        env={**kept, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_a_taken_port_is_refused_rather_than_shared():
    """Two processes on one port would share its traffic; the second does not start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = _run("serve", MC_DATABASE_URL="x", MC_LEDGER_KEY_FILE="x", MC_PORT=port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_replica_that_starts_ends_at_once_when_told_to(tmp_path):
    """As the first process of a container too, where a signal without a handler is ignored."""
    key = tmp_path / "ledger.pem"
    made = Ed25519PrivateKey.generate()
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with socket.socket() as database, socket.socket() as free:
        for one in (database, free):
            one.bind(("127.0.0.1", 0))
        database.listen()  # connects, and never says a word
        env = {
            "MC_DATABASE_URL": f"postgresql://u:p@127.0.0.1:{database.getsockname()[1]}/mc",
            "MC_LEDGER_KEY_FILE": str(key),
            "MC_PORT": str(free.getsockname()[1]),
            "MC_RECORDS_AGENT_URL": "http://127.0.0.1:9",
            "MC_FULFILMENT_AGENT_URL": "http://127.0.0.1:9",
        }
        env |= {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        free.close()
        with subprocess.Popen(
            [sys.executable, "-m", "mc_platform", "serve"], env=env, cwd=ROOT
        ) as replica:
            database.settimeout(60)
            with database.accept()[0]:
                replica.terminate()
                assert replica.wait(30) == 128 + signal.SIGTERM


def test_unknown_verbs_and_missing_settings_exit_2():
    """Usage is told; so is every variable that is missing."""
    assert _run("bogus").returncode == 2
    serve = _run("serve")
    assert serve.returncode == 2
    assert "MC_DATABASE_URL" in serve.stderr
    assert "MC_LEDGER_KEY_FILE" in serve.stderr
    archive = _run("archive", "--older-than", "30", "--to", "/nowhere")
    assert archive.returncode == 2
    assert "MC_DATABASE_ADMIN_URL, MC_DATABASE_URL" in archive.stderr
    assert _run("archive", "--older-than", "30").returncode == 2
    assert _run("archive", "--older-than", "0", "--to", "x").returncode == 2
    assert _run("serve", "more").returncode == 2
    migrate = _run("migrate")
    assert migrate.returncode == 2
    assert "MC_DATABASE_ADMIN_URL" in migrate.stderr


def test_settings_and_catalogue_are_checked_without_a_database(tmp_path):
    """`settings` says what `serve` would, and needs neither its port nor its database."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text("[tenant.Z]\n")
    given = {"MC_DATABASE_URL": "x", "MC_LEDGER_KEY_FILE": "x"}
    assert "MC_RATE_LIMIT_PER_S" in _run("settings", **given, MC_RATE_LIMIT_PER_S="nan").stderr
    strange = _run("settings", **given, MC_RATE_LIMIT_PERS="3")
    assert strange.returncode == 2
    assert "did you mean MC_RATE_LIMIT_PER_S?" in strange.stderr
    broken = _run("settings", **given, MC_CATALOGUE=str(catalogue))
    assert broken.returncode == 2
    assert "tenant is unknown; did you mean tenants?" in broken.stderr
    table = 'residency = "eu"\npurposes = ["support"]\n'
    agent = f'[agents.a]\n{table}url = "http://h"\n'
    catalogue.write_text(f'[tenants.T]\n{table}agents = ["a"]\n{agent}')
    fine = _run("settings", **given, MC_CATALOGUE=str(catalogue))
    assert (fine.returncode, fine.stderr) == (0, "")


@pytest.mark.parametrize(
    ("settings", "configured"),
    [
        ({}, False),
        ({"AUDIT_SIEM_URL": "", "AUDIT_FILE_ENABLED": "false"}, False),
        ({"AUDIT_SIEM_URL": "https://siem.example.com"}, True),
        ({"AUDIT_FILE_ENABLED": "true"}, True),
    ],
)
async def test_archive_tells_whether_any_sink_is_configured(monkeypatch, settings, configured):
    """Either sink's setting keeps what no sink has begun with."""
    asked = {}

    async def archive(**given):
        asked.update(given)
        return {}

    monkeypatch.setattr(mc_platform.administration, "archive", archive)
    monkeypatch.setattr(sys, "argv", ["x", "archive", "--older-than", "30", "--to", "x"])
    for name in ("AUDIT_SIEM_URL", "AUDIT_FILE_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MC_DATABASE_ADMIN_URL", "MC_DATABASE_URL"):
        monkeypatch.setenv(name, "postgresql://x")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    await program._archive()
    assert asked["delivery_configured"] is configured
