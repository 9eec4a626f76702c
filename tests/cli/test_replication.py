"""`mcctl replication status` tells a direction that carries nothing from one that streams."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

import pytest
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.replication as verbs


def _report(region, peer, lag_s):
    told = {
        "region": region,
        "peer": peer,
        "lag_s": lag_s,
        "subscription": {"works": True},
        "slot": {"active": True},
        "problems": [],
        "digests": {"task": [1, "d"]},
    }
    return Recorded(answer=CompletedProcess((), 0, f"{json.dumps(told)}\n", ""))


@pytest.mark.parametrize(
    ("lags_s", "states", "code"),
    [
        ((0.1, 0.2), ["streaming"] * 4, 0),
        ((12.0, 11.0), ["silent"] * 4, 1),
        # What the first one does not get, the second one does not give
        ((12.0, 0.1), ["silent", "streaming", "streaming", "silent"], 1),
    ],
)
def test_a_connection_over_a_link_that_is_cut_does_not_stream(monkeypatch, lags_s, states, code):
    """It is open on both sides; what does not come is the heartbeat."""
    names = ("local-1", "local-2")
    made = [_report(*pair, lag) for pair, lag in zip((names, names[::-1]), lags_s, strict=True)]
    monkeypatch.setattr(
        verbs, "open_regions", lambda _: tuple(RecordingEnvironment(one) for one in made)
    )
    done = CliRunner().invoke(verbs.app, ["status"])
    assert [word for word in done.stdout.split() if word in ("silent", "streaming")] == states
    assert done.exit_code == code
    assert ("is the link cut?" in done.stderr) == bool(code)
