"""What a JSON text holds is counted as a parser would find it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.model.shape import ShapeLimits, shape_problem

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8) | st.just('\\",[]{}'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=30,
)


def _values(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    empty = isinstance(value, dict | list) and not value
    return 1 + empty + sum(map(_values, inner))


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(_depth, inner), default=0)


@given(JSON, st.booleans())
def test_values_and_depth_are_counted_exactly(value: Any, ascii_only: bool) -> None:
    """At the limit nothing is wrong; one below it, the figure is named."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
    values, depth = _values(value), _depth(value)
    assert shape_problem(text, ShapeLimits(values, depth)) == ""
    if values > 1:
        assert f"{values} JSON values" in shape_problem(text, ShapeLimits(values - 1, depth)) or (
            "strings" in shape_problem(text, ShapeLimits(values - 1, depth))
        )
    if depth:
        assert f"nested {depth} deep" in shape_problem(text, ShapeLimits(values, depth - 1))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"[" + b"[]," * 90_000 + b"1]", "180002 JSON values, the limit is 5000"),
        (b"[" * 70 + b"]" * 70, "nested 70 deep, the limit is 64"),
        (b"[" + b"1" * 1001 + b"]", "a number of more than 1000 characters"),
        (b'["' + b"1" * 9000 + b'"]', ""),
        (b'["' + b'\\",[{' * 9000 + b'"]', ""),
        (b"{" + b'"a":"b",' * 6000 + b'"a":1}', "more than 5000 JSON values"),
        (b'"' * 20_000, ""),  # no JSON: the parser says so at its third character
    ],
)
def test_what_exceeds_a_limit_is_named_with_the_limit(text: bytes, problem: str) -> None:
    """Brackets and commas within strings do not count."""
    found = shape_problem(text, ShapeLimits())
    assert problem in found if problem else not found
