"""What the morning check makes of each replica's /health."""

from __future__ import annotations

import json

import pytest
from tests.raw_peer import answer, raw_peer

from mc_ops.slo.health import replicas_health

OURS = {"status": "ok", "service": "agent-workbench"}
STARTING = {"dependencies": {"agents": {"state": "ok"}, "siem": {"state": "down"}}}


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (OURS, "met"),
        ({**OURS, "status": "degraded", **STARTING}, "missed"),
        ({**OURS, "faults": {"slow_factor": 2}}, "missed"),
        ({"status": "ok"}, "unknown"),
        ({"status": "ok", "service": "another"}, "unknown"),
        ({**OURS, "dependencies": ["siem"]}, "unknown"),
        ([], "unknown"),
    ],
)
def test_a_replica_is_well_by_its_own_word_and_only_the_workbench_is_one(body, verdict):
    """Another program that answers at the address is neither well nor ill: could not tell."""
    with raw_peer(answer(json.dumps(body).encode())) as peer:
        [told] = replicas_health({"blue-1": peer.by_address})
    assert told.verdict == verdict


def test_a_replica_that_nobody_answers_for_is_down():
    """Nothing listens, or it refuses to say."""
    with raw_peer(answer(b"{}", status="401 Unauthorized")) as peer:
        [refused] = replicas_health({"blue-1": peer.by_address})
    [gone] = replicas_health({"blue-1": "http://127.0.0.1:9"})
    assert (refused.verdict, gone.verdict) == ("unknown", "missed")
