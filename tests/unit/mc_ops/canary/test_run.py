"""Whole canary runs against real loopback servers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc_contract.judgement.verdict import rejudge
from mc_contract.running import Record, facts_of
from mc_ops.canary import CanaryResult, make_plan, run_canary
from mc_ops.canary.candidate import compared
from mc_ops.canary.driver import Sampled
from mc_ops.canary.override import judge_again
from mc_ops.canary.run import Measured, conclude
from mc_ops.errors import CouldNotTell, Declined, Finding, NotAllowed, UnusableInput

pytestmark = pytest.mark.slow

TOKEN = "mc_test_canary"
Edge = Callable[..., Any]


def _run(
    base: list[str], cand: list[str], out: Path, *, pairs: int = 400, margin: float = 0.25
) -> CanaryResult:
    rate = 200.0
    plan = make_plan(base, cand, minutes=pairs / rate / 60, rate=rate, margin=margin)
    return run_canary(plan, token=TOKEN, out_dir=out, progress=lambda *_: None)


def _rejudged(out: Path) -> dict[str, Any]:
    verdict = json.loads((out / "verdict.json").read_text())
    again = rejudge(
        (out / "base.lat").read_bytes(), (out / "cand.lat").read_bytes(), verdict["parameters"]
    )
    return again.as_dict()


def test_run_equal_sides_promotes(edge: Edge, tmp_path: Path) -> None:
    """Two equal sides end in PROMOTE, called a rehearsal, and the files give the same verdict."""
    # Slow enough that a busy test machine adds little to it.
    base, cand = edge(latency_s=0.2), edge(latency_s=0.2)
    result = _run([base.url], [cand.url], tmp_path, pairs=400, margin=1.0)
    assert result.promote, result.verdict["reason"]
    assert result.verdict["rehearsal"] is True
    again = _rejudged(tmp_path)
    assert again == {key: result.verdict[key] for key in again}
    assert len((tmp_path / "base.lat").read_text().splitlines()) == 400
    assert TOKEN not in (tmp_path / "verdict.json").read_text()


def test_run_slow_candidate_holds_early(edge: Edge, tmp_path: Path) -> None:
    """A much slower candidate is HOLD regressed before all pairs were sent."""
    base, cand = edge(latency_s=0.05), edge(latency_s=0.5)
    result = _run([base.url], [cand.url], tmp_path, pairs=2000)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "regressed")
    assert result.verdict["stopped"] == "hold"
    assert result.verdict["baseline"]["n"] < 2000
    assert _rejudged(tmp_path)["kind"] == "regressed"


@pytest.mark.parametrize("style", ["json-rpc", "http", "task"])
def test_run_failing_candidate_holds_on_errors(edge: Edge, tmp_path: Path, style: str) -> None:
    """One failed answer in ten is HOLD errors, however the failure looks."""
    base, cand = edge(), edge(error_every=10, error_style=style)
    result = _run([base.url], [cand.url], tmp_path, pairs=1000)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "errors")
    (why,) = result.verdict["failures"]["candidate"]
    assert why == {"json-rpc": "json-rpc -32603", "http": "http 503"}.get(
        style, "task TASK_STATE_FAILED"
    )
    assert b"error\n" in (tmp_path / "cand.lat").read_bytes()
    assert b"error\n" not in (tmp_path / "base.lat").read_bytes()


def test_run_candidate_dying_holds(edge: Edge, tmp_path: Path) -> None:
    """A candidate that dies during the run is HOLD errors."""
    base, cand = edge(), edge(die_after=120)
    result = _run([base.url], [cand.url], tmp_path, pairs=1000)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "errors")


def test_run_baseline_dying_could_not_tell(edge: Edge, tmp_path: Path) -> None:
    """A baseline that dies leaves nothing to compare with; what was sampled is written."""
    base, cand = edge(die_after=120), edge()
    with pytest.raises(CouldNotTell, match=r"the baseline failed \d+ of \d+ requests"):
        _run([base.url], [cand.url], tmp_path, pairs=1000)
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "HOLD"


def test_run_full_machine_goes_on_slower(edge: Edge, tmp_path: Path) -> None:
    """A baseline that cannot keep up gets fewer pairs a second, as many in all, and it is told."""
    base, cand = edge(latency_s=0.01, one_at_a_time=True), edge()
    plan = make_plan([base.url], [cand.url], minutes=0.025, rate=400.0, margin=1.0)
    told: list[float] = []
    result = run_canary(
        plan, token=TOKEN, out_dir=tmp_path, progress=lambda *_: None, slowed=told.append
    )
    assert result.verdict["failures"] == {"baseline": {}, "candidate": {}}
    assert told == [result.verdict["parameters"]["rate_pairs_per_s"]]
    assert told[0] < 400.0
    if result.verdict["stopped"] == "horizon":
        assert result.verdict["baseline"]["n"] == plan.pairs == 600


def test_run_unreachable_side_could_not_tell(edge: Edge, tmp_path: Path) -> None:
    """A side that never answered is could-not-tell, naming the side."""
    up, down = edge(), "http://127.0.0.1:9"
    with pytest.raises(CouldNotTell, match=r"baseline http://127.0.0.1:9/: cannot connect"):
        _run([down], [up.url], tmp_path / "a")
    with pytest.raises(CouldNotTell, match=r"candidate http://127.0.0.1:9/: cannot connect"):
        _run([up.url], [down], tmp_path / "b")
    assert list(tmp_path.iterdir()) == []  # a run that never began leaves no folder


def test_run_candidate_that_cannot_undo_holds_in_smoke(edge: Edge, tmp_path: Path) -> None:
    """A candidate whose probe operation is not compensated is HOLD before any pair is sent."""
    base, cand = edge(), edge(probe_outcome="stuck")
    result = _run([base.url], [cand.url], tmp_path)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "smoke")
    assert '"stuck"; expected outcome "compensated"' in result.verdict["reason"]
    assert cand.questions == []
    assert json.loads((tmp_path / "verdict.json").read_text())["kind"] == "smoke"


def test_run_baseline_failing_smoke_could_not_tell(edge: Edge, tmp_path: Path) -> None:
    """A baseline without an agent card is could-not-tell."""
    with pytest.raises(CouldNotTell, match="agent card: HTTP 500"):
        _run([edge(card_status=500).url], [edge().url], tmp_path)


def test_run_refused_token_not_allowed(edge: Edge, tmp_path: Path) -> None:
    """A baseline that refuses the token ends in not-allowed, and the token is not in the error."""
    with pytest.raises(NotAllowed, match="token was refused: HTTP 401") as caught:
        _run([edge(token="other").url], [edge().url], tmp_path)
    assert TOKEN not in str(caught.value)


def test_run_probe_still_working_is_polled(edge: Edge, tmp_path: Path) -> None:
    """A probe that has not ended at once is asked for until it has."""
    base, cand = edge(), edge(probe_polls=2)
    assert _run([base.url], [cand.url], tmp_path, pairs=300, margin=1.0).verdict["kind"] != "smoke"
    assert cand.probe_polls <= 0


def test_run_spreads_pairs_over_instances(edge: Edge, tmp_path: Path) -> None:
    """Every instance of a side gets its share of the pairs, every message an id of its own."""
    base, cands = edge(), [edge(), edge()]
    _run([base.url], [cand.url for cand in cands], tmp_path, pairs=300, margin=1.0)
    shares = [len(cand.questions) for cand in cands]
    assert shares[0] == shares[1]
    messages = [*base.questions, *cands[0].questions, *cands[1].questions]
    assert len({message["messageId"] for message in messages}) == len(messages)
    texts = {message["parts"][0]["text"] for message in messages}
    assert "What is the status of order O-2010?" in texts
    assert len(texts) == 10


def test_run_interrupted_writes_what_was_sampled(edge: Edge, tmp_path: Path) -> None:
    """Ctrl-C ends the sending, writes the samples, and raises declined."""
    base, cand = edge(), edge()
    started = threading.Event()
    plan = make_plan([base.url], [cand.url], minutes=0.1, rate=400.0, margin=0.25)

    def interrupt() -> None:
        started.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(Declined, match="interrupted after"):
        run_canary(plan, token=TOKEN, out_dir=tmp_path, progress=lambda *_: started.set())
    killer.join()
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["stopped"]) == ("HOLD", "interrupted")
    assert verdict["baseline"]["n"] == len((tmp_path / "base.lat").read_text().splitlines()) > 0


def test_run_into_used_folder_refused(edge: Edge, tmp_path: Path) -> None:
    """Samples of two runs never mix: a folder that has some is refused before anything is sent."""
    (tmp_path / "base.lat").write_text("0.1\n")
    base = edge()
    with pytest.raises(UnusableInput, match=r"already has base\.lat"):
        _run([base.url], [edge().url], tmp_path)
    assert base.probes == 0


def _late(cand_factor: float) -> Sampled:
    base = 0.01 + 0.001 * np.random.default_rng(3).random(3000)
    late = np.full(6000, 30.1)
    sides = (np.round(side, 6) for side in (base, base * cand_factor))  # as the driver tells them
    return Sampled(*sides, late, "horizon")


def test_conclude_late_driver_voids_promote(tmp_path: Path) -> None:
    """Samples that a late driver diluted give no PROMOTE: could not tell, nor in the file."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    with pytest.raises(CouldNotTell, match=r"void: the driver sent its requests 30100\.0 ms late"):
        conclude(plan, _late(1.0), datetime.now(UTC), tmp_path)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["kind"]) == ("HOLD", "void")


def test_conclude_late_driver_keeps_hold_by_evidence(tmp_path: Path) -> None:
    """A regression that shows in spite of a late driver is still a HOLD."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    result = conclude(plan, _late(2.0), datetime.now(UTC), tmp_path)
    assert (result.promote, result.verdict["kind"]) == (False, "regressed")


def _measured(**other: str) -> Measured:
    start = {side: [facts_of(_told(side))] for side in ("baseline", "candidate")}
    end = {side: [facts_of(_told(side) | other)] for side in start}
    return Measured("v9", Record(start, end))


def _told(name: str) -> dict[str, Any]:
    digests = ("instance", "code", "policy_set", "catalogue", "configuration")
    return {"replica": name, "colour": "green", **{one: f"{one} of {name}" for one in digests}}


@pytest.mark.parametrize("fact", ["instance", "code", "policy_set", "configuration"])
def test_conclude_a_side_exchanged_during_the_run_is_no_promote(tmp_path: Path, fact: str) -> None:
    """A restart, other code, other policies: HOLD that says what, and its file follows from it."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    sampled = replace(_late(1.0), lateness_s=np.zeros(6000))
    changed = _measured(**{fact: "new"})
    result = conclude(plan, sampled, datetime.now(UTC), tmp_path, None, changed)
    assert (result.promote, result.verdict["kind"]) == (False, "changed")
    assert "a replica was replaced during the run: baseline: " in result.verdict["reason"]
    judged = judge_again(tmp_path)
    assert (judged.promote, judged.kind) == (False, "changed")
    with pytest.raises(Finding, match="a replica was replaced during the run"):
        compared(judged)
    (tmp_path / "same").mkdir()
    whole = conclude(plan, sampled, datetime.now(UTC), tmp_path / "same", None, _measured())
    assert whole.promote
    assert compared(judge_again(tmp_path / "same"))[0]["instance"] == "instance of candidate"
    assert whole.verdict["release"] == "v9"


@pytest.mark.parametrize("cand_factor", [1.0, 2.0])
def test_conclude_a_baseline_that_lost_a_replica_compares_nothing(
    tmp_path: Path, cand_factor: float
) -> None:
    """Its node crashed, say: whatever the samples show, nobody can tell; no PROMOTE is written."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    sampled = replace(_late(cand_factor), lateness_s=np.zeros(6000))
    start = _measured().running.at_start
    lost = Measured("v9", Record(start, {**start, "baseline": []}))
    with pytest.raises(CouldNotTell, match="the baseline lost 1 of 1 replicas"):
        conclude(plan, sampled, datetime.now(UTC), tmp_path, None, lost)
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "HOLD"


@pytest.mark.parametrize("every", [16, 25])
def test_conclude_a_baseline_that_fails_is_no_measure_of_a_worse_candidate(
    tmp_path: Path, every: int
) -> None:
    """Over 5 % of its requests: could not tell, though the candidate fails more; under that, HOLD."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    sampled = replace(_late(1.0), lateness_s=np.zeros(6000))
    sampled.base_s[::every] = np.nan
    sampled.cand_s[::2] = np.nan
    if every < 20:
        with pytest.raises(CouldNotTell, match="the baseline failed 188 of 3000 requests"):
            conclude(plan, sampled, datetime.now(UTC), tmp_path)
    else:
        assert not conclude(plan, sampled, datetime.now(UTC), tmp_path).promote
    assert json.loads((tmp_path / "verdict.json").read_text())["kind"] == "errors"
    assert judge_again(tmp_path).kind == "errors"  # what the samples say, whoever asks them


def test_conclude_a_regression_stays_one_whatever_was_exchanged(tmp_path: Path) -> None:
    """What the samples show by themselves is not hidden by it, and does not serve either."""
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    result = conclude(
        plan, _late(2.0), datetime.now(UTC), tmp_path, None, _measured(instance="new")
    )
    assert result.verdict["kind"] == "regressed"
    with pytest.raises(Finding, match="a replica was replaced during the run"):
        compared(judge_again(tmp_path))
