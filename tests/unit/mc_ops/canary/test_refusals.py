"""Refused requests: what a full machine does to both sides, and what a candidate does alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mc_ops.canary import make_plan, run_canary
from mc_ops.canary.driver import Sampled
from mc_ops.canary.override import judge_again
from mc_ops.canary.refusals import refusals_of
from mc_ops.canary.run import CanaryResult, conclude
from mc_ops.errors import CouldNotTell
from mc_ops.service_client import exchange

PAIRS = 3000
BUSY = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32051,"message":"busy"}}'


def _heap(start: int, count: int) -> Any:
    return _at(range(start, start + count))


def _at(places: Any) -> Any:
    refused = np.zeros(PAIRS, dtype=bool)
    refused[list(places)] = True
    return refused


def _sampled(base: Any, cand: Any, *, slower: float = 1.0, failing: Any = ()) -> Sampled:
    latency_s = 0.01 + 0.001 * np.random.default_rng(3).random(PAIRS)
    base_s, cand_s = np.round(latency_s, 6), np.round(latency_s * slower, 6)
    base_s[base], cand_s[cand] = np.nan, np.nan
    cand_s[list(failing)] = np.nan
    return Sampled(
        base_s, cand_s, np.zeros(2 * PAIRS), "horizon", base_refused=base, cand_refused=cand
    )


def _conclude(sampled: Sampled, out: Path) -> CanaryResult:
    plan = make_plan(["http://a"], ["http://b"], minutes=1)
    return conclude(plan, sampled, datetime.now(UTC), out)


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "name"),
    [
        (429, b"", True, "refused: http 429"),
        (503, b"", True, "refused: http 503"),
        (200, BUSY, True, "refused: json-rpc -32051"),
        (429, b"", False, "http 429"),
        (503, b"", False, "http 503"),
        (200, BUSY, False, "json-rpc -32051"),
        (500, b"", True, "http 500"),
        (200, BUSY.replace(b"-32051", b"-32603"), True, "json-rpc -32603"),
    ],
)
def test_refused_is_what_may_come_again(
    status: int, body: bytes, retry_after: bool, name: str
) -> None:
    """A refusal says that it is none for good, and when to ask again; all else is a failure."""
    assert exchange.failure_of(status, body, retry_after=retry_after) == name


@pytest.mark.parametrize(
    ("base", "cand", "alike"),
    [
        (_heap(500, 12), _heap(800, 16), True),
        (_heap(500, 2), _heap(510, 16), True),
        (_at(range(0, PAIRS, 100)), _at(range(50, PAIRS, 100)), True),
        (_at([]), _heap(500, 16), False),
        (_heap(500, 1), _heap(500, 16), False),
        (_heap(500, 2), _at(range(0, PAIRS, 150)), False),
        (_at(range(0, PAIRS, 100)), _at(range(0, PAIRS, 40)), False),
        (_heap(500, 16), _at([]), False),
    ],
)
def test_alike_is_what_neither_time_nor_number_tells_apart(
    base: Any, cand: Any, alike: bool
) -> None:
    """A heap here and a heap there are; more all along, and ten times as many, are not."""
    assert refusals_of(_sampled(base, cand)).alike is alike


def test_a_machine_that_refused_both_sides_could_not_tell(tmp_path: Path) -> None:
    """16 of 3,000 of the candidate in a heap, 3 of the baseline in another: neither's fault."""
    sampled = _sampled(_heap(500, 3), _heap(800, 16))
    with pytest.raises(CouldNotTell, match=r"both sides alike: 3 of 3000 .* 16 of the candidate"):
        _conclude(sampled, tmp_path)
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["kind"]) == ("HOLD", "errors")
    assert verdict["refused"] == {"baseline": 3, "candidate": 16, "by_the_machine": True}
    assert judge_again(tmp_path).kind == "errors"


@pytest.mark.parametrize(
    "base", [_at([]), _heap(500, 2), _at(range(0, PAIRS, 300))], ids=["none", "heap", "few"]
)
def test_a_candidate_that_refuses_more_is_held(tmp_path: Path, base: Any) -> None:
    """Once in a hundred requests all along: less than it refuses is no excuse, nor is none."""
    result = _conclude(_sampled(base, _at(range(0, PAIRS, 100))), tmp_path)
    assert (result.promote, result.verdict["kind"]) == (False, "errors")
    assert result.verdict["refused"]["by_the_machine"] is False


@pytest.mark.parametrize(
    ("how", "kind"), [({"slower": 1.6}, "regressed"), ({"failing": range(7, PAIRS, 80)}, "errors")]
)
def test_refusals_on_both_sides_hide_nothing_else(
    tmp_path: Path, how: dict[str, Any], kind: str
) -> None:
    """A candidate that is slow, or that fails in other ways, is held for it."""
    result = _conclude(_sampled(_heap(500, 3), _heap(800, 16), **how), tmp_path)
    assert (result.promote, result.verdict["kind"]) == (False, kind)


def test_refusals_within_the_allowed_promote_as_before(tmp_path: Path) -> None:
    """As many on both sides make no difference, and what makes none needs no excuse."""
    assert _conclude(_sampled(_heap(500, 4), _heap(800, 4)), tmp_path).promote


def test_an_inconclusive_latency_is_not_the_refusals(tmp_path: Path) -> None:
    """What would be inconclusive without them stays so: the machine is not blamed for it."""
    noisy = _sampled(_heap(500, 1), _heap(800, 1))
    spread = np.where(np.arange(PAIRS) % 2000 < 1000, 1.0, 1.4)
    noisy = replace(noisy, cand_s=np.round(noisy.cand_s * spread, 6))
    result = _conclude(noisy, tmp_path)
    assert result.verdict["kind"] == "inconclusive"
    assert result.verdict["refused"]["by_the_machine"] is False


def _run(base: Any, cand: Any, out: Path, *, pairs: int = 1000) -> CanaryResult:
    rate = 200.0
    plan = make_plan([base.url], [cand.url], minutes=pairs / rate / 60, rate=rate, margin=1.0)
    return run_canary(plan, token="mc_test_canary", out_dir=out, progress=lambda *_: None)


@pytest.mark.parametrize("style", ["busy", "429"])
def test_run_candidate_that_refuses_alone_holds(
    edge: Callable[..., Any], tmp_path: Path, style: str
) -> None:
    """One refusal in ten with Retry-After, and the baseline refuses none: HOLD errors."""
    result = _run(edge(), edge(error_every=10, error_style=style), tmp_path)
    assert (result.verdict["verdict"], result.verdict["kind"]) == ("HOLD", "errors")
    [why] = result.verdict["failures"]["candidate"]
    assert why == {"busy": "refused: json-rpc -32051", "429": "refused: http 429"}[style]
    assert result.verdict["refused"]["candidate"] > 0
    assert result.verdict["refused"]["by_the_machine"] is False


def test_run_both_sides_refuse_in_heaps_could_not_tell(
    edge: Callable[..., Any], tmp_path: Path
) -> None:
    """A heap of the baseline's and a larger one of the candidate's: exit 3, with both figures."""
    base = edge(error_style="busy", error_heap=range(400, 408))
    cand = edge(error_style="busy", error_heap=range(600, 640))
    with pytest.raises(CouldNotTell, match="refused work on both sides alike: 8 of") as caught:
        _run(base, cand, tmp_path)
    assert caught.value.exit_code == 3
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["refused"]["by_the_machine"]) == ("HOLD", True)


def test_run_smoke_check_that_is_refused_asks_again(
    edge: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine's first refusal fails no smoke check; one that goes on refusing does."""
    monkeypatch.setattr("mc_ops.canary.smoke._AGAIN_AFTER_S", (0.01, 0.02, 0.04))
    cand = edge(probe_refusals=2)
    assert _run(edge(), cand, tmp_path / "a", pairs=300).verdict["kind"] != "smoke"
    assert cand.probes == 3
    result = _run(edge(), edge(probe_refusals=99), tmp_path / "b")
    assert result.verdict["kind"] == "smoke"
    assert "operation canary-probe: http 429" in result.verdict["reason"]
