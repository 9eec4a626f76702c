"""ContextForge as a peer of the gateway: its transparent A2A proxy in front of the same agent.

It runs in an environment of its own (`contextforge.lock`) as its documentation starts it, by uvicorn
with one worker over SQLite, without its pages and plugins. It authenticates and authorises each
request, and translates between versions of the protocol; it neither screens nor keeps a ledger.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = Path(__file__).parents[1] / ".venv-contextforge" / "bin" / "python"
NOT_THERE = "not measured: its environment is not installed (make bench installs it)"
_USER = "bench@example.com"
_AGENT = "records"
_READY_WITHIN_S = 90.0


@contextmanager
def contextforge(port: int, agent_url: str, home: Path) -> Iterator[tuple[str, str]]:
    """Run it in front of an agent; gives the URL that takes A2A calls, and a token for it.

    Raises:
        RuntimeError: it does not start, or does not take the agent; its log is quoted.
    """
    password = f"Aa-0{secrets.token_urlsafe(24)}"
    settings = {
        "DATABASE_URL": f"sqlite:///{home}/contextforge.db",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "PLATFORM_ADMIN_EMAIL": _USER,
        "PLATFORM_ADMIN_PASSWORD": password,
        "BASIC_AUTH_PASSWORD": password,
        "LOG_LEVEL": "ERROR",
        "MCPGATEWAY_UI_ENABLED": "false",
        "MCPGATEWAY_ADMIN_API_ENABLED": "false",
        "PLUGINS_ENABLED": "false",
        # These would only cap the measurement, or forbid the agent on this machine
        "RATE_LIMITING_ENABLED": "false",
        "SSRF_ALLOW_LOCALHOST": "true",
    }
    env = {**os.environ, **settings}
    base, log = f"http://127.0.0.1:{port}", home / "contextforge.log"
    serve = [str(PYTHON), "-m", "uvicorn", "mcpgateway.main:app", "--host", "127.0.0.1"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*serve, "--port", str(port), "--no-access-log"],
            env=env, cwd=home, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        _wait_until_up(f"{base}/health", process, log)
        make = [str(PYTHON), "-m", "mcpgateway.utils.create_jwt_token", "-u", _USER, "--admin"]
        made = subprocess.run(
            [*make, "-e", "600"], env=env, cwd=home, capture_output=True, text=True, check=True
        )
        token = made.stdout.split()[-1]
        agent = {
            "name": _AGENT,
            "endpoint_url": agent_url,
            "agent_type": "jsonrpc",
            "protocol_version": "1.0",
        }
        _post(f"{base}/v1/a2a", token, {"agent": agent, "visibility": "public"})
        yield f"{base}/v1/a2a/{_AGENT}/jsonrpc", token
    finally:
        process.terminate()
        process.wait()


def _post(url: str, token: str, body: object) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")[-2000:]) from error
            time.sleep(0.2)
        else:
            return
