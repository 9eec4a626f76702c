"""The journey's rules are the delivered ones, but for their durations."""

from __future__ import annotations

import re

import pytest
import yaml
from tests.deploy.shorten import (
    FLOOR_S,
    seconds,
    shorten_expression,
    shorten_routes,
    shorten_rules,
)
from tests.deploy.test_rules import ROOT, RULES

_DURATION = re.compile(r"(?:\d+(?:ms|[smhdw]))+")
_FIELDS = ("for", "keep_firing_for", "interval")


def _blank(document):
    """The document with every duration taken out, where durations may stand."""
    for group in document["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            for name in _FIELDS:
                rule.pop(name, None)
            rule["expr"] = re.sub(
                rf"\[{_DURATION.pattern}\]|(?<=offset ){_DURATION.pattern}", "[]", rule["expr"]
            )
    return document


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yml")), ids=lambda path: path.name)
def test_nothing_but_durations_is_changed(path):
    """With the durations taken out of both, long and short are the same."""
    long = yaml.safe_load(path.read_text())
    short = shorten_rules(long, 45.0)
    assert short != long
    assert _blank(short) == _blank(yaml.safe_load(path.read_text()))


def test_windows_are_divided_and_no_shorter_than_the_floor():
    """15 min are 20 s; 2 min would be 2.7 s, and are the floor; a name's own digits stay."""
    assert shorten_expression("mc:x:ratio_rate15m - rate(a_5m[15m] offset 1d)", 45.0) == (
        "mc:x:ratio_rate15m - rate(a_5m[20000ms] offset 1920000ms)"
    )
    assert shorten_expression("max_over_time(a[2m])", 45.0) == (
        f"max_over_time(a[{FLOOR_S * 1000:.0f}ms])"
    )
    assert seconds("1h30m") == 5400
    with pytest.raises(ValueError, match="no duration"):
        seconds("soon")


def test_routes_wait_shorter_and_stay_the_same_otherwise():
    """Receivers, matchers and inhibitions are the delivered ones."""
    long = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text())
    short = shorten_routes(long, 45.0)
    assert short["receivers"] == long["receivers"]
    assert short["inhibit_rules"] == long["inhibit_rules"]
    assert seconds(short["route"]["group_interval"]) == pytest.approx(300 / 45, abs=0.001)
    assert short["route"]["routes"][0]["group_wait"] == "0s"
    assert [route["matchers"] for route in short["route"]["routes"]] == [
        route["matchers"] for route in long["route"]["routes"]
    ]
