"""An override of a HOLD that the metrics gave: judged, recorded, drawn and packed with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.canary_ledger import SmallLedger, held

from mc_contract.evidence import Release, verify
from mc_contract.metric_judgement.verdict import FORMAT, parse_config, rejudge_metrics
from mc_ops.canary import metrics_run
from mc_ops.canary.override import judge_again, override_in, run_name
from mc_ops.canary_folder import find_canary
from mc_ops.cli.canary_report import write_report
from mc_ops.errors import UnusableInput
from mc_ops.evidence import build, canary_part, ensure_key, trusted_keys

WINDOW = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:20:00+00:00"}
RULE = {
    "name": "errors",
    "query": "x{$side}",
    "direction": "increase",
    "allowed_change": {"relative": 0.1},
    "critical": True,
}


def _held_by_metrics(folder: Path) -> Path:
    """Samples alone would promote; a critical metric is half as high again."""
    held(folder, slower=1.0)
    random = np.random.default_rng(11)
    times = [1_767_225_600 + 15 * at for at in range(60)]
    document: dict[str, Any] = {
        "format": FORMAT,
        "window": {"baseline": WINDOW, "candidate": WINDOW},
        "config": parse_config({"metric": [RULE]}).as_dict(),
        "series": {
            "errors": {
                side: {"times": times, "values": (scale * random.normal(100, 5, 60)).tolist()}
                for side, scale in (("baseline", 1.0), ("candidate", 1.5))
            }
        },
    }
    found = rejudge_metrics(document)
    (folder / "metrics.json").write_text(json.dumps(document | {"result": found.as_dict()}))
    told = json.loads((folder / "verdict.json").read_text())
    told |= {"metrics": found.summary(), "verdict": "HOLD", "kind": "metrics"}
    told |= {"started_at": WINDOW["start"], "ended_at": WINDOW["end"], "reason": found.reason}
    (folder / "verdict.json").write_text(json.dumps(told))
    return folder


def test_a_hold_by_metrics_is_overridden_and_packed_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metrics are judged again each time; the pack says HOLD, kind metrics, and who and why."""
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    folder = _held_by_metrics(tmp_path / "run-9" / "canary")
    ledger = SmallLedger()
    judged = judge_again(folder)
    assert (judged.run, judged.kind, judged.promote) == ("run-9", "metrics", False)
    (folder / "override.json").write_bytes(ledger.override_bytes(folder))
    found = override_in(judge_again(folder), ledger.key.public_key())
    assert found is not None
    assert (found.kind, found.by) == ("metrics", "operator@platform")

    key_file = tmp_path / "ledger.pub"
    key_file.write_bytes(ledger.pem)
    built = build(
        [canary_part(folder, key_file)],
        release=Release("v1", None, "0"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        environment="test",
        run_id="run-9",
        key=ensure_key(tmp_path),
    )
    report = verify(built.raw, trusted_keys([], tmp_path))
    assert report.reasons == ()
    assert "does not record what it measured" in report.unbound[0]
    assert isinstance(report.verdict, dict)
    assert isinstance(report.override, dict)
    assert (report.verdict["verdict"], report.verdict["kind"]) == ("HOLD", "metrics")
    assert report.override["by"] == "operator@platform"

    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "errors (critical)" in page
    assert "score 0, " in page


def test_other_metrics_than_were_judged_are_refused(tmp_path: Path) -> None:
    """Without the metrics' file, or with another, nothing can be judged again."""
    folder = _held_by_metrics(tmp_path / "r")
    (folder / "metrics.json").unlink()
    with pytest.raises(UnusableInput, match=r"metrics\.json cannot be read"):
        judge_again(folder)
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(UnusableInput, match="does not follow from its samples"):
        judge_again(folder)


@pytest.mark.parametrize("slower", [1.0, 2.0])
def test_the_reason_is_told_in_the_words_of_this_release(tmp_path: Path, slower: float) -> None:
    """Another release worded it otherwise, and a changed file could say anything: neither counts."""
    folder = held(tmp_path / "run-3", slower=slower)
    path = folder / "verdict.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"reason": "p95 +0.0%: less than 25% worse is shown"}))
    judged = judge_again(folder)
    assert (judged.promote, judged.told["reason"]) == (slower == 1, told["reason"])
    (folder / "override.json").write_text("{}")
    write_report(folder)
    assert "is shown" not in (folder / "report.html").read_text()
    path.write_text(json.dumps(told | {"reason": None}))
    with pytest.raises(UnusableInput, match="does not follow from its samples: reason"):
        judge_again(folder)


def test_a_canary_is_found_by_folder_or_by_name(tmp_path: Path) -> None:
    """A folder, a run's name, a run's folder above it; nothing outside of the runs by a name."""
    runs = tmp_path / "runs"
    own, below = held(runs / "c-1"), held(runs / "day-0-x" / "canary")
    assert find_canary("c-1", runs) == own.resolve()
    assert find_canary("day-0-x", runs) == below.resolve()
    assert find_canary(str(below), tmp_path / "other") == below.resolve()
    assert (run_name(own), run_name(below)) == ("c-1", "day-0-x")
    assert run_name(tmp_path / "a b;c") == "a-b-c"
    held(tmp_path / "outside")
    for name in ("../outside", "..", ".", "absent"):
        with pytest.raises(UnusableInput, match="is no run with a canary"):
            find_canary(name, runs)


def test_other_parameters_than_were_judged_by_are_refused(tmp_path: Path) -> None:
    """The report shows them beside the figures, and `again by` repeats them."""
    folder = held(tmp_path / "run-1")
    told = json.loads((folder / "verdict.json").read_text())
    declared = {name: told[name] for name in ("margin", "planned_pairs", "instances")}
    (folder / "verdict.json").write_text(json.dumps(told | {"parameters": declared}))
    assert judge_again(folder).kind
    other = declared | {"margin": told["margin"] / 2}
    (folder / "verdict.json").write_text(json.dumps(told | {"parameters": other}))
    with pytest.raises(UnusableInput, match=r"parameters\.margin"):
        judge_again(folder)


def test_a_run_that_ended_before_its_metrics_were_judged_is_called_so(tmp_path: Path) -> None:
    """Its verdict is HOLD while the samples give PROMOTE; nobody changed a file."""
    folder = held(tmp_path / "run-1", slower=1.0)
    told = json.loads((folder / "verdict.json").read_text())
    (folder / "verdict.json").write_text(json.dumps(metrics_run.pending(told)))
    with pytest.raises(UnusableInput, match="were not judged"):
        judge_again(folder)
