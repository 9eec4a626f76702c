"""Why a canary is on HOLD: each end of the decision tree, from samples that lead there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.fake_replica import replica

from mc_contract.judgement.verdict import Samples, format_samples, judge
from mc_contract.running import FACTS
from mc_ops.canary_folder import find_canary
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.incidents.canary_hold.diagnosis import Conclusion, HoldDiagnosis
from mc_ops.incidents.canary_hold.files import newest_hold, read_files, require_canary
from mc_ops.incidents.canary_hold.next_steps import pairs_that_decide
from mc_ops.incidents.canary_hold.now import look_around
from mc_ops.incidents.canary_hold.playbook import diagnose_hold
from mc_ops.incidents.canary_hold.where import blocks_of, instances_of
from mc_ops.incidents.finding import Status

Series = NDArray[np.float64]
N = 20_000


def series(seed: int, n: int = N) -> Series:
    """Lognormal body, a slower mode, and a slow wave of load, in seconds."""
    rng = np.random.default_rng(seed)
    log = rng.normal(0, 0.35, n) + 0.3 * np.sin(np.arange(n) * 12 / n)
    log[rng.random(n) < 0.02] += np.log(3)
    return np.asarray(0.005 * np.exp(log))


def urls(count: int) -> dict[str, list[str]]:
    """So many instances a side."""
    return {
        "baseline": [f"http://127.0.0.1:{8101 + one}" for one in range(count)],
        "candidate": [f"http://127.0.0.1:{8121 + one}" for one in range(count)],
    }


def write(
    folder: Path, base: Series, cand: Series, *, planned: int | None = None, **more: Any
) -> Path:
    """A run's folder as `mcctl canary run` writes it; `more` replaces what its verdict says."""
    base, cand = (np.round(one, 6) for one in (base, cand))
    parameters = {
        "margin": 0.05,
        "planned_pairs": planned or base.size,
        "rate_pairs_per_s": 50.0,
    }
    judgement = judge(
        Samples(base), Samples(cand), margin=0.05, planned_pairs=parameters["planned_pairs"]
    )
    verdict = {
        **judgement.as_dict(),
        "stopped": "horizon",
        "failures": {"baseline": {}, "candidate": {}},
        "parameters": parameters,
        "urls": urls(2),
        "lateness": {"p99_ms": 1.0, "limit_ms": 5.0},
        "started_at": "2026-01-01T00:00:00.000+00:00",
        "ended_at": "2026-01-01T00:06:40.000+00:00",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.lat").write_bytes(format_samples(Samples(base)))
    (folder / "cand.lat").write_bytes(format_samples(Samples(cand)))
    (folder / "verdict.json").write_text(json.dumps(verdict | more))
    return folder


def diagnosed(folder: Path) -> HoldDiagnosis:
    """The playbook over one folder."""
    return diagnose_hold(read_files(folder), name=folder.name)


def test_a_reason_in_the_words_of_another_release_is_no_difference(tmp_path: Path) -> None:
    """What is told is this release's reason, of the samples."""
    told = "p95 +41.0%, allowed 5 %"
    found = diagnosed(write(tmp_path / "r", series(1), 1.4 * series(2), reason=told))
    assert found.conclusion is Conclusion.regression
    [verdict] = [one for one in found.findings if one.step == "verdict"]
    assert (verdict.status, told in verdict.detail) == (Status.ok, False), verdict
    assert "the candidate's p95 is" in verdict.detail


def detail(found: HoldDiagnosis, step: str) -> str:
    """What one step says."""
    return next(one.detail for one in found.findings if one.step == step)


def test_a_slower_candidate_is_a_regression(tmp_path: Path) -> None:
    """Everywhere and always 20 % slower: nothing excuses it, and nobody is invited to override."""
    found = diagnosed(write(tmp_path / "run", series(1), series(2) * 1.2))
    assert found.conclusion is Conclusion.regression
    assert "the samples give the same" in detail(found, "verdict")
    assert "the runbook's figure +" in detail(found, "regression")
    assert detail(found, "time").startswith("steady")
    assert "none of 2 candidate instances stands out" in detail(found, "instances")
    assert not any("override" in how for _, how in found.next)


def test_one_slow_instance_is_told_from_a_slow_candidate(tmp_path: Path) -> None:
    """Of three one is 60 % slower; without its pairs the same method promotes."""
    cand = series(4)
    cand[1::3] *= 1.6
    found = diagnosed(write(tmp_path / "run", series(3), cand, urls=urls(3)))
    assert found.conclusion is Conclusion.one_instance
    assert found.culprit is not None
    assert found.culprit.url == "http://127.0.0.1:8122"
    assert "without the candidate's: promoted" in detail(found, "instances")
    assert found.next[0][0].startswith("look at http://127.0.0.1:8122")


def test_a_slow_candidate_with_one_instance_even_slower_is_a_regression(tmp_path: Path) -> None:
    """The others alone are 20 % slower as well: the instance is no excuse."""
    cand = series(4) * 1.2
    cand[1::3] *= 1.6
    found = diagnosed(write(tmp_path / "run", series(3), cand, urls=urls(3)))
    assert found.culprit is not None
    assert found.conclusion is Conclusion.regression


def test_one_instance_alone_cannot_be_told_from_its_neighbours(tmp_path: Path) -> None:
    """With one a side it is said that nobody can tell."""
    found = diagnosed(write(tmp_path / "run", series(1), series(2) * 1.2, urls=urls(1)))
    assert "a noisy neighbour" in detail(found, "instances")
    assert any("several instances a side" in what for what, _ in found.next)


def test_errors_are_told_by_kind(tmp_path: Path) -> None:
    """Most frequent first, each with where to look."""
    cand = series(6)
    cand[::50] = np.nan
    cand[1::50] = np.nan
    kinds = {"baseline": {}, "candidate": {"timeout": 100, "http 503": 700}}
    found = diagnosed(write(tmp_path / "run", series(5), cand, failures=kinds))
    assert found.conclusion is Conclusion.errors
    assert "700 x http 503" in detail(found, "errors")
    assert [what for what, _ in found.next][:2] == ["700 x http 503", "100 x timeout"]


def test_inconclusive_gets_the_pairs_that_decide_and_the_risk_of_an_override(
    tmp_path: Path,
) -> None:
    """Never "may be a false positive": how many pairs, and how much slower it may be."""
    folder = write(tmp_path / "run", series(7), series(8) * 1.045)
    found = diagnosed(folder)
    assert found.conclusion is Conclusion.inconclusive
    assert found.judgement is not None
    assert found.judgement.interval is not None
    (what, again), (risk, override) = found.next
    needed = pairs_that_decide(found.judgement)
    assert needed is not None
    assert what.startswith(f"repeat with {needed[0]} pairs: they decide it in 99 of 100 cases")
    assert needed[0] > N
    assert "--minutes" in again
    assert f"up to {100 * found.judgement.interval[1]:+.3g} %" in risk
    assert override == "mcctl canary override run --reason 'WHY'"


def test_too_few_requests_for_the_error_bound_are_told_as_such(tmp_path: Path) -> None:
    """Latency is fine; what is open is the errors."""
    base, cand = series(101), series(102)
    base[::22] = np.nan
    cand[1::21] = np.nan
    found = diagnosed(write(tmp_path / "run", base, cand))
    assert found.conclusion is Conclusion.inconclusive
    [errors] = [one for one in found.findings if one.step == "errors"]
    assert (errors.status, "that it is within is not shown" in errors.detail) == (
        Status.warning,
        True,
    )
    assert "the bound on their difference falls below 0.50%" in found.next[0][0]


def test_a_burst_is_placed_in_time(tmp_path: Path) -> None:
    """A fifth of the run three times slower: the minutes are named, and the rest has its figure."""
    cand = series(10)
    cand[4000:6000] *= 3
    found = diagnosed(write(tmp_path / "run", series(9), cand))
    assert found.blocks is not None
    assert found.blocks.shape == "burst"
    assert found.blocks.worst == (3, 4)
    assert "about 00:01:20 to 00:02:13 UTC" in detail(found, "time")
    assert found.next[0][0].startswith("see what happened then (2 of 15 stretches make it")


def test_a_drift_is_told_from_a_steady_difference() -> None:
    """It grows from nothing to 30 %."""
    found = blocks_of(series(11), series(12) * np.linspace(1, 1.3, N), margin=0.05)
    assert found.shape == "drift"
    assert blocks_of(series(11), series(12) * 1.15, margin=0.05).shape == "steady"


@pytest.mark.parametrize("seed", range(20))
def test_equal_instances_do_not_stand_out(seed: int) -> None:
    """Chance alone accuses nobody."""
    found = instances_of("candidate", ("a", "b", "c"), series(1000 + seed), margin=0.05)
    assert not any(one.stands_out for one in found)


def test_few_samples_are_not_cut_into_stretches() -> None:
    """A p95 of a handful is a maximum."""
    found = blocks_of(series(1, 50), series(2, 50), margin=0.05)
    assert found.shape == "unknown"


def test_a_verdict_that_somebody_changed_is_found_out(tmp_path: Path) -> None:
    """PROMOTE written over HOLD; what differs is named."""
    folder = write(tmp_path / "run", series(1), series(2) * 1.2, verdict="PROMOTE", kind="promoted")
    found = diagnosed(folder)
    assert found.conclusion is Conclusion.altered
    assert "they differ in verdict, kind" in detail(found, "verdict")


def test_a_verdict_of_an_older_version_may_say_less(tmp_path: Path) -> None:
    """What it leaves out claims nothing; without its kind it claims nothing that can be checked."""
    folder = write(tmp_path / "run", series(1), series(2) * 1.2)
    told = json.loads((folder / "verdict.json").read_text())
    del told["looks"]
    (folder / "verdict.json").write_text(json.dumps(told))
    assert diagnosed(folder).conclusion is Conclusion.regression
    del told["kind"]
    (folder / "verdict.json").write_text(json.dumps(told))
    assert diagnosed(folder).conclusion is Conclusion.altered


def test_samples_that_somebody_changed_are_found_out(tmp_path: Path) -> None:
    """One line of one file."""
    folder = write(tmp_path / "run", series(1), series(2) * 1.2)
    lines = (folder / "cand.lat").read_text().splitlines()
    lines[100] = "error"
    (folder / "cand.lat").write_text("\n".join(lines) + "\n")
    assert diagnosed(folder).conclusion is Conclusion.altered


def test_a_void_run_is_void_though_its_samples_promote(tmp_path: Path) -> None:
    """The driver's lateness is in no sample."""
    void = {
        "verdict": "HOLD",
        "kind": "void",
        "reason": "the run is void",
        "lateness": {"p99_ms": 80.0, "limit_ms": 5.0},
    }
    found = diagnosed(write(tmp_path / "run", series(101), series(102), **void))
    assert found.conclusion is Conclusion.void
    assert found.next[0][1].endswith("--rate 25")
    void["verdict"] = "PROMOTE"
    found = diagnosed(write(tmp_path / "other", series(101), series(102), **void))
    assert found.conclusion is Conclusion.altered


def test_a_baseline_that_fails_leaves_nothing_to_compare(tmp_path: Path) -> None:
    """Every tenth request of what serves now fails."""
    base, cand = series(101), series(102)
    base[::10] = np.nan
    cand[::10] = np.nan
    found = diagnosed(write(tmp_path / "run", base, cand, stopped="baseline-failing"))
    assert found.conclusion is Conclusion.baseline_failing
    assert found.next[0][1] == "mcctl status"
    worse = cand.copy()
    worse[::2] = np.nan
    found = diagnosed(write(tmp_path / "worse", base, worse))
    assert found.judgement is not None
    assert found.judgement.kind == "errors"
    assert found.conclusion is Conclusion.baseline_failing
    refused = {"baseline": {"refused: json-rpc -32051": 2000}, "candidate": {}}
    found = diagnosed(write(tmp_path / "full", base, cand, failures=refused))
    assert found.conclusion is Conclusion.baseline_failing
    assert found.next[0][1].endswith("--rate 25")


@pytest.mark.parametrize(
    ("told", "conclusion"),
    [
        (True, Conclusion.refused),
        (False, Conclusion.one_instance),
        ("yes", Conclusion.one_instance),
    ],
)
def test_what_a_full_machine_refused_is_no_repair_of_the_candidate(
    tmp_path: Path, told: Any, conclusion: Conclusion
) -> None:
    """Where the run says that both sides were refused alike, half the rate is what comes next."""
    cand = series(102)
    cand[::60] = np.nan
    counted = {"baseline": 40, "candidate": 334, "by_the_machine": told}
    kinds = {"baseline": {}, "candidate": {"refused: http 429": 334}}
    folder = write(tmp_path / "run", series(101), cand, refused=counted, failures=kinds)
    found = diagnosed(folder)
    assert found.conclusion is conclusion
    assert found.next[0][1].endswith("--rate 25") == (told is True)


def test_a_promoted_run_is_no_hold(tmp_path: Path) -> None:
    """Nothing is to be done."""
    found = diagnosed(write(tmp_path / "run", series(101), series(102)))
    assert (found.conclusion, found.next) == (Conclusion.promoted, [])


def test_a_failed_smoke_check_has_no_samples(tmp_path: Path) -> None:
    """The verdict alone tells."""
    folder = tmp_path / "run"
    folder.mkdir()
    told = {"verdict": "HOLD", "kind": "smoke", "reason": "candidate http://x: no agent card"}
    (folder / "verdict.json").write_text(json.dumps(told))
    found = diagnosed(folder)
    assert found.conclusion is Conclusion.smoke
    assert detail(found, "smoke") == "candidate http://x: no agent card"
    (folder / "verdict.json").write_text(json.dumps(told | {"kind": "regressed"}))
    with pytest.raises(UnusableInput, match="has no samples"):
        diagnosed(folder)


def test_samples_alone_are_judged_and_said_to_be_alone(tmp_path: Path) -> None:
    """What GitHub's artefact may be: no verdict, no URLs."""
    folder = write(tmp_path / "run", series(1), series(2) * 1.2)
    (folder / "verdict.json").unlink()
    found = diagnosed(folder)
    assert found.conclusion is Conclusion.regression
    assert "no verdict.json" in detail(found, "verdict")
    assert "--candidate CANDIDATE_URL" in found.next[-2][1]


def test_a_url_from_the_file_does_not_get_into_a_command_unless_it_is_plain(
    tmp_path: Path,
) -> None:
    """The file may be from anywhere, and people copy what is printed."""
    evil = {"baseline": ["http://u:p@x"], "candidate": ["http://x/\x1b[2J"]}
    found = diagnosed(write(tmp_path / "run", series(1), series(2) * 1.2, urls=evil))
    commands = " ".join(how for _, how in found.next)
    assert "BASELINE_URL" in commands
    assert "u:p@x" not in commands
    assert "\x1b" not in commands


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("verdict.json", "{", "is not JSON"),
        ("verdict.json", "[" * 100_000, "is not JSON"),
        ("verdict.json", "[]", "is not a JSON object"),
        ("verdict.json", '{"verdict": "MAYBE"}', "is not a canary's verdict"),
        ("cand.lat", "0.001\nfast\n", "line 2"),
        ("cand.lat", None, "lacks cand.lat"),
        ("verdict.json", '{"verdict": "HOLD", "parameters": {"margin": "a lot"}}', "margin"),
        ("verdict.json", '{"verdict": "HOLD", "parameters": 3}', "margin"),
    ],
)
def test_files_that_are_none_are_told(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    """Exit 2, with the file's name."""
    folder = write(tmp_path / "run", series(1, 600), series(2, 600))
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(UnusableInput, match=said):
        diagnosed(folder)


def test_fields_of_other_types_do_not_break_the_playbook(tmp_path: Path) -> None:
    """A verdict of another hand; what cannot be read is unknown."""
    more: dict[str, Any] = {
        "urls": {"baseline": "x", "candidate": None},
        "failures": [1],
        "lateness": {"p99_ms": "late"},
        "ended_at": 7,
        "stopped": None,
    }
    found = diagnosed(write(tmp_path / "run", series(1), series(2) * 1.2, **more))
    assert found.conclusion is Conclusion.regression
    assert "does not tell how late" in detail(found, "driver")
    json.dumps(found.as_dict(), allow_nan=False)


def test_the_newest_hold_is_found_also_below_a_runbook_s_run(tmp_path: Path) -> None:
    """By when the verdict was written; PROMOTE does not count, nor does a broken file."""
    runs = tmp_path / "runs"
    for at, (name, verdict) in enumerate(
        [("canary-1", "HOLD"), ("day-0-1/canary", "HOLD"), ("canary-2", "PROMOTE"), ("x", None)]
    ):
        folder = runs / name
        folder.mkdir(parents=True)
        path = folder / "verdict.json"
        path.write_text(json.dumps({"verdict": verdict}) if verdict else "{")
        os.utime(path, (at, at))
    assert newest_hold(runs) == runs / "day-0-1" / "canary"
    assert find_canary("day-0-1", runs) == runs / "day-0-1" / "canary"
    with pytest.raises(CouldNotTell, match="no canary on HOLD"):
        newest_hold(tmp_path / "none")
    with pytest.raises(UnusableInput, match="holds no canary"):
        require_canary(tmp_path)


def test_a_hold_by_metrics_is_no_forgery(tmp_path: Path) -> None:
    """The samples would promote and the metrics did not: that is told, with where to look."""
    held = {"verdict": "HOLD", "kind": "metrics", "reason": "metrics fail: errors"}
    base = series(1)
    found = diagnosed(write(tmp_path / "run", base, 1.01 * base, **held))
    assert found.conclusion is Conclusion.metrics
    assert any("judge-metrics" in how for _, how in found.next)
    slow = diagnosed(write(tmp_path / "slow", series(1), series(2) * 1.2, **held))
    assert slow.conclusion is Conclusion.altered


def record(*names: str) -> dict[str, Any]:
    """What a verdict records of replicas of green."""
    facts = dict.fromkeys(FACTS) | {"colour": "green"}
    look = {"candidate": [facts | {"replica": name} for name in names], "baseline": []}
    return {"running": {"at_start": look, "at_end": look}}


def now_of(folder: Path, **more: Any) -> HoldDiagnosis:
    """The playbook over one folder, with what there is now."""
    files = read_files(folder)
    return diagnose_hold(files, name=folder.name, now=replace(look_around(files), **more))


def test_a_run_of_a_runbook_is_resumed_and_a_longer_one_is_new(tmp_path: Path) -> None:
    """Its baseline is stopped when it stops: no command compares with it by its address."""
    run = tmp_path / "day-0-1"
    folder = write(run / "canary", series(1), series(2) * 1.2, **record("green-1"))
    (run / "journal.jsonl").write_text(json.dumps({"runbook": "day-0", "run_id": "day-0-1"}))
    commands = [how for _, how in now_of(folder).next]
    assert commands[0] == "mcctl logs green-1 --lines 5000"
    assert "mcctl runbook run day-0 --resume day-0-1" in commands
    assert not any("canary run" in how for how in commands)
    write(folder, series(7), series(8) * 1.045, **record("green-1"))
    [(_, longer), (_, override)] = now_of(folder).next
    assert longer.startswith("mcctl runbook run day-0 --set MINUTES=")
    assert override.startswith("mcctl canary override canary ")


def test_a_baseline_that_was_stopped_is_started_first(tmp_path: Path) -> None:
    """Nobody listens at its address any more."""
    dead = {"baseline": ["http://127.0.0.1:9/"], "candidate": ["http://127.0.0.1:9/"]}
    names = record("green-1", "green-2")
    folder = write(tmp_path / "run", series(1), series(2) * 1.2, urls=dead, **names)
    first, *others = now_of(folder).next
    assert first[0].startswith("the baseline of then has been stopped")
    assert first[1] == (
        "mcctl scale agent-workbench --colour green --replicas 2 --restart --baseline"
    )
    assert any("mcctl canary run" in how for _, how in others)


def test_a_candidate_that_is_broken_on_purpose_is_named(tmp_path: Path) -> None:
    """By what it says of itself now: nobody has to look for what was injected."""
    with replica("green-1") as green:
        green.health["faults"] = {"slow_factor": 2}
        sides = {"baseline": ["http://[::1"], "candidate": [green.url]}
        folder = write(tmp_path / "run", series(1), series(2) * 2, urls=sides, **record("green-1"))
        found = now_of(folder)
    assert detail(found, "faults") == "green-1 runs with slow=2"
    assert found.next[0][1] == (
        "mcctl scale agent-workbench --colour green --replicas 1 --restart --fault none"
    )
