"""Evidence of a canary with metrics: the verdict holds together with both, or does not verify."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import recompute
from mc_contract.judgement.verdict import rejudge
from mc_contract.metric_judgement.verdict import FORMAT, parse_config, rejudge_metrics

WINDOW = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:20:00+00:00"}
FILES = ("base.lat", "cand.lat", "verdict.json", "metrics.json")


def _latencies(factor: float = 1.0) -> bytes:
    values = np.random.default_rng(7).lognormal(-4, 0.2, 900) * factor
    return "".join(f"{value:.6f}\n" for value in values).encode()


def _metrics(factor: float = 1.0, **changed: Any) -> dict[str, Any]:
    """A `metrics.json` of one critical metric that is `factor` times as high in the candidate."""
    rule = {
        "name": "errors",
        "query": "x{$side}",
        "direction": "increase",
        "allowed_change": {"relative": 0.1},
        "critical": True,
    }
    random = np.random.default_rng(11)
    times = [1_767_225_600 + 15 * at for at in range(60)]
    document = {
        "format": FORMAT,
        "window": {"baseline": WINDOW, "candidate": WINDOW},
        "config": parse_config({"metric": [rule]}).as_dict(),
        "series": {
            "errors": {
                side: {"times": times, "values": (scale * random.normal(100, 5, 60)).tolist()}
                for side, scale in (("baseline", 1.0), ("candidate", factor))
            }
        },
    }
    document |= {"result": rejudge_metrics(document).as_dict()}
    return document | changed


def _claimed(
    document: dict[str, Any] | None,
    *,
    slower: float = 1.0,
    files: tuple[str, ...] = FILES,
    **changed: Any,
) -> Any:
    """The claim of a verdict file that tells what both give, then `changed`."""
    base, cand = _latencies(), _latencies(slower)
    told = rejudge(base, cand, {"margin": 0.25, "planned_pairs": 900}).as_dict()
    told |= {"started_at": WINDOW["start"], "ended_at": WINDOW["end"]}
    if document is not None:
        told |= {"metrics": rejudge_metrics(document).summary()}
    contents = (base, cand, json.dumps(told | changed).encode(), json.dumps(document).encode())
    return recompute("canary.verdict", files, {}, dict(zip(FILES, contents, strict=True)))


def test_promote_by_both_verifies() -> None:
    """Samples and metrics pass: the claim says PROMOTE, and what the metrics gave."""
    value = _claimed(_metrics())
    assert value["verdict"] == "PROMOTE"
    assert value["metrics"] == {"outcome": "pass", "score": 100.0}


def test_hold_by_metrics_verifies() -> None:
    """Samples alone would promote; a critical metric fails, and the file says HOLD for it."""
    value = _claimed(_metrics(1.5), verdict="HOLD", kind="metrics")
    assert (value["verdict"], value["kind"]) == ("HOLD", "metrics")
    assert value["metrics"] == {"outcome": "fail", "score": 0.0}


def test_promote_in_spite_of_a_critical_metric_does_not_verify() -> None:
    """The one thing that a pack must never say."""
    with pytest.raises(NotRecomputable, match="says verdict 'PROMOTE', the samples give 'HOLD'"):
        _claimed(_metrics(1.5))


def test_hold_by_samples_stays_what_it_is() -> None:
    """A slower candidate is regressed, whatever its metrics."""
    value = _claimed(_metrics(), slower=2.0)
    assert (value["verdict"], value["kind"]) == ("HOLD", "regressed")


def test_metrics_that_are_told_must_be_there() -> None:
    """A verdict with metrics can't be claimed by its samples alone, nor one without by metrics."""
    with pytest.raises(NotRecomputable, match="they are not among the files"):
        _claimed(_metrics(), files=FILES[:3])
    with pytest.raises(NotRecomputable, match="tells of other metrics"):
        _claimed(_metrics(), metrics=None)
    with pytest.raises(NotRecomputable, match="tells of other metrics"):
        _claimed(_metrics(1.5), metrics=rejudge_metrics(_metrics()).summary())
    with pytest.raises(NotRecomputable, match="takes 3 artefacts, and 1 more if wanted, got 2"):
        _claimed(_metrics(), files=FILES[:2])


def test_metrics_of_another_time_do_not_verify() -> None:
    """Good metrics of yesterday say nothing about this run."""
    with pytest.raises(NotRecomputable, match="not from within the run"):
        _claimed(_metrics(), ended_at="2026-01-01T00:19:00+00:00")
    with pytest.raises(NotRecomputable, match="start and end with a time zone"):
        _claimed(_metrics(), started_at=None)


def _of_metrics(document: Any) -> Any:
    raw = json.dumps(document).encode()
    return recompute("canary.metrics", ("m",), {}, {"m": raw})


def test_metrics_are_claimed_by_their_series() -> None:
    """Outcomes and score follow from the series; a result that does not is refused."""
    assert _of_metrics(_metrics()) == {
        "outcome": "pass",
        "score": 100.0,
        "metrics": {"errors": "pass"},
    }
    for wrong in (_metrics()["result"], None, {}, _metrics(1.5)["result"] | {"score": 50.0}):
        with pytest.raises(NotRecomputable, match="not what its series give"):
            _of_metrics(_metrics(1.5, result=wrong))


def test_wording_may_change() -> None:
    """Old packs verify after a reason is worded otherwise; figures may differ in the last digits."""
    result = json.loads(json.dumps(_metrics()["result"]))
    result["reason"] = "as we said in 2026"
    result["metrics"][0]["reason"] = "fine"
    result["metrics"][0]["change"] *= 1 + 1e-7
    assert _of_metrics(_metrics(result=result))["outcome"] == "pass"
    result["metrics"][0]["change"] *= 1.01
    with pytest.raises(NotRecomputable, match="not what its series give"):
        _of_metrics(_metrics(result=result))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"format": 1}', b'{"a": NaN}'])
def test_metrics_that_are_none_are_refused(raw: bytes) -> None:
    """A file from a stranger that is no metrics file gives no value."""
    with pytest.raises(NotRecomputable):
        recompute("canary.metrics", ("m",), {}, {"m": raw})
