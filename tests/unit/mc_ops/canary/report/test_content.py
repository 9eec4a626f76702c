"""The report: what it shows, that it stands alone, and that nothing it is told can break out."""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_contract.judgement.verdict import Samples, judge
from mc_ops.canary.report import files as room
from mc_ops.canary.report.content import content_of
from mc_ops.canary.report.files import make_report, write_files
from mc_ops.canary.report.page import page
from mc_ops.canary.report.summary import summary
from mc_ops.errors import CouldNotTell

EVIL = "<script>alert(1)</script>\"'|`![x](http://evil.example/x)`$\\frac$ @team"
OVERRIDE = {
    "by": "ann@platform",
    "reason": EVIL,
    "at": "2026-05-06T12:00:00+00:00",
    "index": 7,
    "region": "local-1",
    "decision": "dec_1",
}


def _samples(n: int, *, slower: float = 1.0, errors: float = 0.0, seed: int = 1) -> Samples:
    random = np.random.default_rng(seed)
    values = 0.01 * slower * random.lognormal(0, 0.3, n)
    return Samples(np.where(random.random(n) < errors, np.nan, values))


def _verdict(base: Samples, cand: Samples, **more: Any) -> dict[str, Any]:
    judged = judge(base, cand, margin=0.25, planned_pairs=max(base.n, cand.n)).as_dict()
    return judged | {"urls": {"baseline": ["http://a/"], "candidate": ["http://b/"]}} | more


BASE, CAND = _samples(3000), _samples(3000, slower=1.4, errors=0.02, seed=2)
HOLD = _verdict(BASE, CAND, failures={"baseline": {}, "candidate": {"HTTP 500": 60}})


def _metrics(reason: str, **changed: Any) -> dict[str, Any]:
    one = {
        "name": "autonomy",
        "outcome": "fail",
        "critical": True,
        "reason": reason,
        "baseline_level": 0.991234,
        "change": -0.02,
        "interval": [-0.03, -0.01],
        "allowed": 0.01,
    }
    told = {"outcome": "fail", "reason": "score too low", "score": 62.5, "pass": 80}
    return told | {"metrics": [one | changed]}


class _Page(HTMLParser):
    """The tags, the attributes that could fetch something, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetches: list[str] = []
        self.policy = self.style = self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attrs)
        self.fetches += [str(told[name]) for name in ("src", "href", "action") if name in told]
        if told.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(told["content"])

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "style" and not self.style:
            self.style = data
        self.text += data


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_report_is_a_picture_a_page_and_a_summary(tmp_path: Path) -> None:
    """Figures of both sides, the comparison and the verdict stand in page and summary alike."""
    report = make_report(HOLD, BASE, CAND, link="https://github.example.com/o/r/actions/runs/1")
    files = write_files(report, tmp_path / "out")
    assert [path.name for path in files] == ["report.png", "report.html", "summary.md"]
    width, height = _size(files[0].read_bytes())
    assert (width, height > 1000) == (1728, True)
    told = _Page(report.page)
    for text in (told.text, report.summary):
        assert "HOLD (regressed, rehearsal, margin 25 %)" in text
        assert f"{1000 * np.nanquantile(BASE.latencies_s, 0.95, method='inverted_cdf'):.2f} ms" in (
            text
        )
        assert "not the full verdict" in text
        assert "HTTP 500" in text
        assert f"{CAND.errors} ({100 * CAND.errors / CAND.n:.2f} %)" in text
    encoded = base64.b64encode(report.picture).decode()
    assert told.fetches == [f"data:image/png;base64,{encoded}"]


def test_the_page_stands_alone_and_may_run_nothing() -> None:
    """No script, no link, no other file; its policy allows its own style and data images only."""
    told = _Page(page(content_of(HOLD, BASE, CAND, override=OVERRIDE, link=EVIL), b"png"))
    assert {"script", "link", "iframe", "a", "form", "object"} & set(told.tags) == set()
    digest = base64.b64encode(hashlib.sha256(told.style.encode()).digest()).decode()
    assert "default-src 'none'" in told.policy
    assert f"style-src 'sha256-{digest}'" in told.policy
    assert told.fetches == ["data:image/png;base64," + base64.b64encode(b"png").decode()]


def test_an_override_is_shown_and_the_verdict_stays() -> None:
    """Who, why and where, escaped; the word PROMOTE is nowhere."""
    told = content_of(HOLD, BASE, CAND, override=OVERRIDE, link="")
    for text in (page(told, b""), summary(told)):
        assert "ann" in text
        assert "entry 7 of local-1" in text
        assert "verdict stays HOLD" in text
        assert "<script" not in text
        assert "PROMOTE" not in text.replace("rule, PROMOTE", "")


@settings(max_examples=50)
@given(st.text(max_size=80), st.sampled_from(["reason", "url", "failure", "metric", "override"]))
def test_no_text_breaks_out_of_page_or_summary(text: str, where: str) -> None:
    """Whatever a URL, reason, failure or metric says is text: no tag, no image, no table cell."""
    evil = EVIL + text
    more: dict[str, Any] = {"reason": {"reason": evil}}.get(where, {})
    if where == "url":
        more = {"urls": {"baseline": [evil], "candidate": [evil]}}
    if where == "failure":
        more = {"failures": {evil: {evil: 1}}}
    metrics = _metrics(evil, name=evil) if where == "metric" else None
    override = {**OVERRIDE, "reason": evil} if where == "override" else None
    told = content_of(HOLD | more, BASE, CAND, override=override, metrics=metrics)
    plain = content_of(HOLD, BASE, CAND, override=OVERRIDE if override else None, link="")
    tags = _Page(page(told, b"")).tags
    assert "script" not in tags
    assert set(tags) <= {*_Page(page(plain, b"")).tags, "thead", "section", "h2", "table"}
    marked = summary(told)
    assert "<script" not in marked
    assert re.search(r"(?<!\\)!?(?<!\\)\[x", marked) is None
    assert "http://evil" not in marked
    for line in marked.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_metrics_are_shown_if_there_are_any() -> None:
    """Name, outcome, figures and reason; what could not be compared is not measured."""
    told = content_of(HOLD, BASE, CAND, metrics=_metrics("too few", change=None, interval=None))
    head, row, together = told.metrics
    assert head[:2] == ("metric", "outcome")
    assert row == (
        *("autonomy (critical)", "fail", "0.9912", "not measured", "not measured", "0.01"),
        "too few",
    )
    assert together == (
        "all together",
        "fail",
        "",
        "",
        "",
        "",
        "score too low (score 62.5, 80 passes)",
    )
    assert "autonomy" in page(told, b"")
    assert "### Metrics" in summary(told)
    assert content_of(HOLD, BASE, CAND).metrics == ()


def test_a_failed_smoke_check_has_a_report_without_samples() -> None:
    """Nothing was compared: said, and nothing drawn from nothing."""
    nothing = {"n": 0, "errors": 0, "p95_ms": None}
    verdict = {
        "verdict": "HOLD",
        "kind": "smoke",
        "reason": "candidate http://b/: no agent card",
        "rehearsal": False,
        "baseline": nothing,
        "candidate": nothing,
        "regression": None,
        "interval": None,
        "margin": 0.05,
        "looks": 0,
        "pairs_needed": None,
        "method": "smoke check",
        "runbook": None,
        "lateness": None,
    }
    report = make_report(verdict, None, None)
    _size(report.picture)
    assert "no request was compared" in report.page
    assert "not measured" in report.summary


@pytest.mark.parametrize(
    ("base", "cand"),
    [
        (_samples(1), _samples(1)),
        (_samples(40, errors=1.0), _samples(40)),
        (Samples(np.full(500, 0.01)), Samples(np.full(500, 0.01))),
        (_samples(900), _samples(1200, slower=30)),
    ],
    ids=["one", "all failed", "all equal", "unequal lengths"],
)
def test_odd_samples_are_drawn(base: Samples, cand: Samples) -> None:
    """One sample, a side that only failed, no spread at all, sides of unequal length."""
    with np.errstate(all="raise"):
        report = make_report(_verdict(base, cand), base, cand)
    _size(report.picture)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file stands in the way: told, by the folder's name."""
    (tmp_path / "out").write_text("")
    report = room.Report(b"", "", "")
    with pytest.raises(CouldNotTell, match="cannot be written"):
        write_files(report, tmp_path / "out")
