"""The delta: figures or nulls with reasons, a trend, and files that are never lost or half-written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.slo import Figure, Verdict, Window, delta, delta_files, markdown

NOW = datetime(2026, 5, 6, 9, tzinfo=UTC)
SOURCE = {"kind": "replicas", "span": "since start, 9 min", "notes": []}


def figure(value, unit="ratio", reason=""):
    verdict = Verdict.met if value is not None else Verdict.unknown
    return Figure("n", "t", value, unit, "<= 1", verdict, "7d", "replicas", reason)


def document(previous=None, now=NOW, **values):
    units = {"p95_latency_ms": "ms", "cost_per_request": "EUR", "requests": "count"}
    figures = {
        name: figure(value, units.get(name, "ratio"), "" if value is not None else "why not")
        for name, value in values.items()
    }
    week = Window.parse("7d")
    return delta.document(
        figures, period="day-7", window=week, now=now, source=SOURCE, previous=previous
    )


def write(path, told):
    path.parent.mkdir(parents=True, exist_ok=True)
    delta_files.write(path, delta_files.encoded(told), markdown(told))
    return delta_files.read(path)


def test_metrics_are_numbers_or_null_and_every_null_has_a_reason():
    """What `jq .metrics.x` gives is a number or null; the reason is beside it."""
    told = document(p95_latency_ms=12.5, cost_per_request=None, privacy_block_rate=float("nan"))
    assert told["metrics"] == {
        "p95_latency_ms": 12.5,
        "cost_per_request": None,
        "privacy_block_rate": None,
    }
    assert told["timestamp"] == "2026-05-06T09:00:00Z"
    assert told["figures"]["cost_per_request"]["reason"] == "why not"


def test_a_trend_knows_which_way_is_better(tmp_path):
    """Lower latency is better, lower success is worse, more requests are neither."""
    before = write(
        tmp_path / "a.json",
        document(
            now=NOW - timedelta(days=7),
            p95_latency_ms=100,
            autonomy_success_rate=0.9994,
            requests=100,
            compensation_rate=0.001,
            cost_per_request=None,
        ),
    )
    told = document(
        before,
        p95_latency_ms=90,
        autonomy_success_rate=0.99,
        requests=200,
        compensation_rate=0.0010000001,
        cost_per_request=1,
    )["trend"]
    directions = {name: one["direction"] for name, one in told["metrics"].items()}
    assert directions == {
        "p95_latency_ms": "better",
        "autonomy_success_rate": "worse",
        "requests": "up",
        "compensation_rate": "unchanged",
        "cost_per_request": "unknown",
    }
    assert told["metrics"]["p95_latency_ms"]["difference"] == -10
    assert told["previous"]["sha256"] == before.sha256


def test_another_currency_is_not_compared(tmp_path):
    """A cost in dollars does not become worse by being told in euros."""
    told = document(now=NOW - timedelta(days=7), cost_per_request=1.0)
    told["figures"]["cost_per_request"]["unit"] = "USD"
    before = write(tmp_path / "a.json", told)
    moved = document(before, cost_per_request=2.0)["trend"]["metrics"]["cost_per_request"]
    assert moved == {"before": None, "difference": None, "direction": "unknown"}


def test_the_newest_earlier_delta_is_the_one_before(tmp_path):
    """By its own time; what is no delta, or of the future, is passed over, and so is another period's."""
    write(tmp_path / "z.json", document(now=NOW - timedelta(days=14), requests=1))
    write(tmp_path / "a.json", document(now=NOW - timedelta(days=7), requests=2))
    write(tmp_path / "f.json", document(now=NOW + timedelta(days=7), requests=3))
    (tmp_path / "other.json").write_text('{"timestamp": "2026-05-06T08:00:00Z"}')
    (tmp_path / "broken.json").write_text("{")
    write(
        tmp_path / "d.json", document(now=NOW - timedelta(days=1), requests=4) | {"period": "day-1"}
    )
    found = delta_files.newest_before(tmp_path, NOW, "day-7")
    assert found.path.name == "a.json"
    assert delta_files.newest_before(tmp_path / "none", NOW, "day-7") is None


def test_the_same_path_every_week_loses_none(tmp_path):
    """The one that lies there is kept under its own time, with its Markdown."""
    out = tmp_path / "delta.json"
    first = write(out, document(now=NOW - timedelta(days=7), requests=1))
    kept = delta_files.keep(out)
    write(out, document(requests=2))
    assert kept.name == "delta.20260429T090000Z.json"
    assert delta_files.read(kept).sha256 == first.sha256
    assert kept.with_suffix(".md").is_file()
    assert delta_files.read(out).told["metrics"] == {"requests": 2}
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"


def test_another_delta_of_the_same_second_is_kept_beside_it(tmp_path):
    """Two different ones of one second both stay; the same one is not kept twice."""
    out = tmp_path / "delta.json"
    write(out, document(requests=1))
    delta_files.keep(out)
    delta_files.keep(out)
    write(out, document(requests=2))
    delta_files.keep(out)
    names = sorted(path.name for path in tmp_path.glob("delta.*.json"))
    assert names == ["delta.20260506T090000Z.2.json", "delta.20260506T090000Z.json"]


def test_what_is_no_delta_is_not_replaced(tmp_path):
    """Somebody's other file is refused before anything is measured, unless that is forced."""
    out = tmp_path / "delta.json"
    out.write_text('{"mine": true}')
    with pytest.raises(UnusableInput, match="is no operations delta") as caught:
        delta_files.check_target(out, force=False)
    assert caught.value.hint == "another --out, or --force"
    delta_files.check_target(out, force=True)
    with pytest.raises(UnusableInput, match=r"does not end in \.json"):
        delta_files.check_target(tmp_path / "delta.md", force=True)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"[" * 99_999,
        b'{"kind": "operations-delta"}',
        b"\xff",
        (
            b'{"kind": "operations-delta", "metrics": {}, "period": "day-7",'
            b' "timestamp": "0001-01-01T00:00:00+14:00"}'
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, raw):
    """Empty, another shape, too deep, half a delta, no text, before all time."""
    path = tmp_path / "d.json"
    path.write_bytes(raw)
    with pytest.raises(UnusableInput, match="is no operations delta"):
        delta_files.read(path)


@pytest.mark.parametrize(("period", "text"), [("day-1", "1d"), ("day-7", "7d"), ("day-30", "30d")])
def test_a_period_tells_its_window(period, text):
    """`day-7` is a week."""
    assert delta.window_of(period).text == text


@pytest.mark.parametrize("period", ["day-0", "week", "day-999", "day-7x", "day--7"])
def test_other_periods_need_a_window(period):
    """No length is guessed."""
    with pytest.raises(UnusableInput, match="does not say how long"):
        delta.window_of(period)


def test_markdown_keeps_to_its_cells(tmp_path):
    """A reason with bars, tags and line ends makes no row and no tag of its own."""
    told = document(requests=None)
    told["figures"]["requests"] |= {
        "title": "requests",
        "reason": "a | b\n<script>alert(1)</script>",
    }
    text = markdown(told)
    assert "<script>" not in text
    assert "- requests: a \\| b &lt;script>" in text
    assert "| requests | - | <= 1 | unknown | 7d | - |" in text
    assert json.loads(delta_files.encoded(told))["metrics"] == {"requests": None}


def test_text_that_is_none_does_not_keep_the_markdown_from_being_written(tmp_path):
    """JSON from elsewhere may name half a character."""
    delta_files.write(tmp_path / "d.json", b"{}\n", "a\udc80b")
    assert (tmp_path / "d.md").read_text() == "a?b"
