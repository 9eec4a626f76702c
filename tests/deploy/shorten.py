"""Makes a rule file, or Alertmanager's settings, run in seconds: every duration, and nothing else.

A journey can't wait for fifteen minutes. It takes the rules that are delivered and divides, by one
factor, each duration in them:

- the windows of range selectors, `[15m]`, and offsets and subqueries, in `expr`;
- `for`, `keep_firing_for` and `interval` of rules and groups;
- `group_wait`, `group_interval`, `repeat_interval` and `resolve_timeout` of Alertmanager.

Names, labels, thresholds and operators stay, as a test proves by putting the durations back. Two
things are no longer what they were: a window below `FLOOR_S` is made `FLOOR_S`, for `rate` needs two
samples, and constants in seconds stay: the interval 60 in `mc:slo_bad:increase*`, the age of a process
that is young in `mc:tenant_counts:*`, and the day of a rate.
"""

from __future__ import annotations

import copy
import re
from typing import Any

FLOOR_S = 4.0  # with a scrape a second, a window has at least three samples
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_ONE = r"(?:\d+(?:ms|[smhdw]))+"
_WINDOW = re.compile(rf"\[({_ONE})(:{_ONE})?\]|\boffset ({_ONE})")
_RULE_FIELDS = ("for", "keep_firing_for", "interval")
_ROUTE_FIELDS = ("group_wait", "group_interval", "repeat_interval")


def seconds(text: str) -> float:
    """The seconds of a duration, `1h30m` for one.

    Raises:
        ValueError: it is no duration.
    """
    if not re.fullmatch(_ONE, text):
        raise ValueError(f'"{text}" is no duration')
    return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdw])", text))


def shorten_rules(document: dict[str, Any], factor: float) -> dict[str, Any]:
    """A copy of a rule file's content whose durations are `factor` times shorter."""
    short = copy.deepcopy(document)
    for group in short["groups"]:
        _shorten_fields(group, _RULE_FIELDS, factor, floor_s=1.0)
        for rule in group["rules"]:
            _shorten_fields(rule, _RULE_FIELDS, factor, floor_s=0.0)
            rule["expr"] = shorten_expression(rule["expr"], factor)
    return short


def shorten_expression(expression: str, factor: float) -> str:
    """An expression whose windows are `factor` times shorter, and at least `FLOOR_S`."""

    def shorter(found: re.Match[str]) -> str:
        window, step, offset = found.groups()
        if offset:
            return f"offset {_divided(offset, factor, FLOOR_S)}"
        return f"[{_divided(window, factor, FLOOR_S)}{step or ''}]"

    return _WINDOW.sub(shorter, expression)


def shorten_routes(settings: dict[str, Any], factor: float) -> dict[str, Any]:
    """A copy of Alertmanager's settings that waits `factor` times shorter, and at least a second."""
    short = copy.deepcopy(settings)
    _shorten_fields(short["global"], ("resolve_timeout",), factor, floor_s=10.0)
    for route in (short["route"], *short["route"].get("routes", [])):
        _shorten_fields(route, _ROUTE_FIELDS, factor, floor_s=1.0)
    return short


def _shorten_fields(
    where: dict[str, Any], names: tuple[str, ...], factor: float, *, floor_s: float
) -> None:
    for name in names:
        if name in where and seconds(where[name]) > 0:
            where[name] = _divided(where[name], factor, floor_s)


def _divided(text: str, factor: float, floor_s: float) -> str:
    return f"{max(1, round(1000 * max(floor_s, seconds(text) / factor)))}ms"
