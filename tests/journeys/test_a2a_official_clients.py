"""The official clients of other versions and languages find the gateway by its card and talk to it.

`test_a2a_client.py` is that of this version. Each is a program of its own: two versions of `a2a-sdk` fit
into no environment together.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_CLIENTS = Path(__file__).parent / "clients"
_OLD_PYTHON = Path(__file__).parents[2] / ".venv-a2a03" / "bin" / "python"
_NODE = shutil.which("node")
_SHIPPED = "Order O-2001 is shipped"


def _told(platform, *command):
    environ = {**os.environ, "TEST_TOKEN": platform.token("TENANT_001")}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(
    not _OLD_PYTHON.exists(), reason="no a2a-sdk 0.3: make .venv-a2a03/.locked installs it"
)
def test_the_python_client_of_0_3(platform):
    """It asks, reads again, streams, and meets the platform's own codes."""
    told = _told(platform, _OLD_PYTHON, _CLIENTS / "a2a_0_3.py", platform.url)
    assert told.pop("text").startswith(_SHIPPED)
    assert told == {
        "version": "0.3",
        "state": "completed",
        "read again": True,
        "streamed": [None, "artifact-update", "status-update"],
        "ended": "completed",
        "denied": -32050,
        "conflict": -32053,
        "absent": -32001,
        "not cancelable": -32002,
    }


@pytest.mark.skipif(
    _NODE is None or not (_CLIENTS / "node_modules" / "@a2a-js").exists(),
    reason="no Node, or no @a2a-js/sdk: npm ci --prefix tests/journeys/clients installs it",
)
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_the_javascript_client_of_1_0(platform, binding):
    """By both bindings of the card it asks, reads again, streams, and is told why it is refused."""
    told = _told(platform, _NODE, _CLIENTS / "a2a.mjs", platform.url, binding)
    [part] = told["sent"]["artifacts"][0]["parts"]
    assert part["content"]["value"].startswith(_SHIPPED)
    assert told["again"] == told["sent"]
    kinds = [event["payload"]["$case"] for event in told["streamed"]]
    assert kinds == ["task", "artifactUpdate", "statusUpdate"]
    assert told["denied"].startswith("policy denied: ")
    assert told["conflict"].startswith("this message id was used for a different request")
    assert told["absent"] == "no such task"
