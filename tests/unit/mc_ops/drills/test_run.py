"""A drill of what does not answer: it measures nothing, so nothing is broken."""

from __future__ import annotations

import pytest
from tests.loopback import serving_json
from tests.recording_environment import Recorded, RecordingEnvironment

from mc_ops.drills import Plan, run, run_drill
from mc_ops.drills.faults import OneRegion
from mc_ops.errors import CouldNotTell


class Platform(RecordingEnvironment):
    """It has no `signal` and no `up`: a drill that called them would fail otherwise than it must."""

    def region(self):
        return "local-1"


@pytest.fixture
def asked(monkeypatch):
    """What a platform was asked that refuses every token."""
    monkeypatch.setattr(run, "_ANSWERED_WITHIN_S", 0.5)
    asked = []

    def answer(method, path, body, authorization):
        asked.append((path, authorization))
        return (200, {"status": "ok"}) if path == "/health" else (401, {"error": {}})

    with serving_json(answer) as url:
        monkeypatch.setattr(Platform, "url", url)
        yield asked


def _drilled(folder):
    platform = Platform(Recorded(home=folder, replicas={"blue-1": {}}))
    plan = Plan("region-kill", {"TENANT_001": "a token"}, rate_per_s=20, before_s=0.2)
    with pytest.raises(CouldNotTell) as raised:
        run_drill([platform], plan, folder / "drill", lambda _: None)
    return raised.value.message


def test_a_platform_that_does_not_answer_is_not_broken_further(asked, tmp_path):
    """A token that is refused leaves nothing to measure: no process gets a signal, and the rows are kept."""
    message = _drilled(tmp_path)
    assert "questions of TENANT_001 before the fault 0 were answered" in message
    assert message.endswith("nothing was broken")
    assert ("/a2a", "Bearer a token") in asked
    assert (tmp_path / "drill" / "drill-clients.jsonl").stat().st_size > 0
    assert [path.name for path in (tmp_path / "drill").iterdir()] == ["drill-clients.jsonl"]


def test_what_is_broken_is_mended_although_the_rows_cannot_be_written(asked, tmp_path, monkeypatch):
    """A full disk, or a folder that somebody removed, leaves no region dead."""

    def full(_folder, _rows):
        raise CouldNotTell("the disk is full")

    async def mend(_self):
        asked.append("mended")

    monkeypatch.setattr(run, "write_rows", full)
    monkeypatch.setattr(OneRegion, "mend", mend)
    assert _drilled(tmp_path) == "the disk is full"
    assert "mended" in asked
