"""Operations as lines to read, and following one to its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.operations import ago, engine_text, follow, since_text, timeline_lines

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


def _event(index, kind="step.done", after_s=0.0, **detail):
    at = (NOW + timedelta(seconds=after_s)).isoformat()
    return {"index": index, "kind": kind, "occurred_at": at, "detail": detail}


def _found(state, *events, engine=None):
    return {"operation": {"state": state, "engine": engine}, "timeline": list(events)}


@pytest.mark.parametrize(
    ("elapsed", "told"),
    [
        (timedelta(seconds=-5), "0 s ago"),
        (timedelta(seconds=119), "119 s ago"),
        (timedelta(minutes=2), "2 m ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2), "2 d ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(elapsed, told):
    """A clock that is behind shows zero, never a negative time."""
    assert ago(NOW - elapsed, NOW) == told


def test_since_is_a_duration_or_a_time_with_its_zone():
    """A time without a zone could mean two."""
    assert since_text("30m", NOW) == "2026-05-06T11:30:00+00:00"
    assert since_text("7d", NOW) == "2026-04-29T12:00:00+00:00"
    assert since_text("2026-01-02T03:04:05+02:00", NOW) == "2026-01-02T03:04:05+02:00"
    for text in ("", "5", "5w", "h", "2026-01-02T03:04:05"):
        with pytest.raises(UnusableInput, match="--since"):
            since_text(text, NOW)


@pytest.mark.parametrize(
    ("phase", "told"),
    [
        ("queued", "queued: waits for its turn"),
        ("running", "running on blue-1"),
        ("adopting", "blue-1 is gone; another replica takes it over"),
        ("waiting", "waiting for a replica of version 1.2"),
        ("levitating", "levitating"),
    ],
)
def test_the_engines_word_is_said_in_words(phase, told):
    """Also one that this version does not know."""
    assert engine_text({"phase": phase, "replica": "blue-1", "version": "1.2"}) == told
    assert engine_text(None) == ""


def test_offsets_count_from_the_first_event():
    """Seconds, minutes, hours."""
    lines = timeline_lines([_event(1), _event(2, after_s=61.4), _event(3, after_s=7260)])
    for line, offset in zip(lines, ("+0.000 s", "+1 m 1 s", "+2 h 1 m"), strict=True):
        assert f" {offset}  ✔ step.done" in line


@given(st.text())
def test_no_reason_breaks_a_line_or_steers_a_terminal(reason):
    """One event is one line of printable characters."""
    [line] = timeline_lines([_event(1, "step.failed", step=0, action="a", reason=reason)])
    assert line.isprintable()


def test_following_tells_each_event_once_and_ends_with_the_operation():
    """Events that come late to the log are told when they are there."""
    answers = iter(
        [
            _found("running", _event(4)),
            _found("running", _event(4), engine={"phase": "queued"}),
            _found("completed", _event(4), _event(9, "operation.completed", 2.0)),
        ]
    )
    told = list(follow(lambda: next(answers), sleep=lambda _: None))
    assert [len(news.lines) for news in told] == [1, 1, 1]
    assert [news.ended for news in told] == [False, False, True]
    assert "+2.000 s" in told[-1].lines[0]


def test_following_outlives_a_restart_of_the_service():
    """An answer that fails is asked for again; a service that stays away is told."""
    tries = []

    def restarting():
        tries.append(1)
        if len(tries) < 5:
            raise CouldNotTell("no answer")
        return _found("stuck")

    [news] = follow(restarting, sleep=lambda _: None)
    assert news.ended

    def gone():
        raise CouldNotTell("no answer")

    with pytest.raises(CouldNotTell):
        list(follow(gone, sleep=lambda _: None))
