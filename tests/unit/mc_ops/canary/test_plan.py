"""What a run is asked to do is checked before anything is sent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mc_ops.canary import make_plan, read_token
from mc_ops.errors import NotAllowed, UnusableInput

URL = ["http://127.0.0.1:1"]
OTHER = ["http://127.0.0.1:2"]


def test_plan_ten_minutes_by_default_is_full_verdict() -> None:
    """Ten minutes at the default rate judge against 5 %, and that is no rehearsal."""
    plan = make_plan(URL, OTHER, minutes=10)
    assert (plan.pairs, plan.margin, plan.rehearsal) == (30_000, 0.05, False)
    assert plan.lateness_limit_s == 0.005


def test_plan_one_minute_is_rehearsal() -> None:
    """One minute judges against the margin that its pairs can decide."""
    plan = make_plan(URL, OTHER, minutes=1)
    assert (plan.pairs, plan.margin, plan.rehearsal) == (3_000, 0.25, True)
    assert plan.parameters()["rehearsal"] is True


def test_plan_wide_margin_is_rehearsal_however_long() -> None:
    """A margin above 5 % is never the full verdict."""
    assert make_plan(URL, OTHER, minutes=10, margin=0.06).rehearsal


def test_plan_too_few_pairs_refused_with_pairs_needed() -> None:
    """Pairs that decide no margin are refused, with how many it takes."""
    with pytest.raises(UnusableInput, match=r"600 pairs cannot decide .* it takes 2137 pairs"):
        make_plan(URL, OTHER, minutes=1, rate=10)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host", "not an http"),
        ("localhost:8080", "not an http"),
        ("http://", "not an http"),
        ("http://[::1", "not an http"),
        ("http://host:99999", "not an http"),
        ("http://user:pw@host", "no user, password"),
        ("http://host/?token=x", "no user, password"),
    ],
)
def test_plan_bad_url_refused(url: str, message: str) -> None:
    """A URL that cannot be used, or may hold a secret, is refused, naming its side."""
    with pytest.raises(UnusableInput, match=message) as caught:
        make_plan(URL, [url], minutes=1)
    assert "candidate" in caught.value.message
    assert "pw" not in caught.value.message


@pytest.mark.parametrize(
    ("minutes", "rate", "margin"),
    [
        (0, 50, None),
        (-1, 50, None),
        (math.nan, 50, None),
        (math.inf, 50, None),
        (1, 0, None),
        (1, 1e9, None),
        (1, math.nan, None),
        (1, 50, 0),
        (1, 50, -0.1),
        (1, 50, math.nan),
        (1, 50, 5),
        (1e-9, 1, 0.25),
    ],
)
def test_plan_bad_number_refused(minutes: float, rate: float, margin: float | None) -> None:
    """Lengths, rates and margins that make no sense are refused."""
    with pytest.raises(UnusableInput):
        make_plan(URL, OTHER, minutes=minutes, rate=rate, margin=margin)


def test_token_from_env_wins_over_file(tmp_path: Path) -> None:
    """MC_CANARY_TOKEN comes first, the local platform's credentials second."""
    (tmp_path / "secrets").mkdir()
    credentials = {"CANARY": {"principal": "p", "token": "mc_file"}}
    (tmp_path / "secrets" / "credentials.json").write_text(json.dumps(credentials))
    assert read_token({"MC_CANARY_TOKEN": "mc_env"}, tmp_path) == "mc_env"
    assert read_token({}, tmp_path) == "mc_file"


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"CANARY": {}}', '{"CANARY": 1}'])
def test_token_missing_not_allowed(tmp_path: Path, content: str | None) -> None:
    """Without a token the run ends as not-allowed, with what to do."""
    if content is not None:
        (tmp_path / "secrets").mkdir()
        (tmp_path / "secrets" / "credentials.json").write_text(content)
    with pytest.raises(NotAllowed, match="no token") as caught:
        read_token({}, tmp_path)
    assert "MC_CANARY_TOKEN" in caught.value.hint


def test_token_with_newline_refused_without_being_shown(tmp_path: Path) -> None:
    """A token that would break the header is refused and not printed."""
    with pytest.raises(NotAllowed) as caught:
        read_token({"MC_CANARY_TOKEN": "mc_a\nX-Evil: 1"}, tmp_path)
    assert "Evil" not in caught.value.message


@pytest.mark.parametrize("same", ["http://127.0.0.1:1/", "HTTP://127.0.0.1:1"])
def test_make_plan_same_url_on_both_sides_refused(same: str) -> None:
    """Compared with itself everything is equal, however the URL is written."""
    with pytest.raises(UnusableInput, match="baseline and candidate at once"):
        make_plan(URL, ["http://127.0.0.1:2", same], minutes=1)
