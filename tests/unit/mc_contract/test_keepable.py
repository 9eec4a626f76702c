"""What can be kept is read and written exactly; what some reader could not show is named."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.keepable import (
    MOST_DEPTH,
    MOST_DIGITS,
    MOST_VALUES,
    NotJson,
    NotKeepable,
    check_keepable,
    json_bytes,
    json_text,
    read_json,
)


def typed(value):
    """The value with its types, so that 5, 5.0 and True are three things."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return type(value).__name__, repr(value)


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXT),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_TEXT, inner, max_size=5),
    max_leaves=25,
)


@given(VALUES)
def test_every_value_comes_back_with_its_types(value):
    """Reading what was written, by us or by another encoder, gives the same value."""
    assert typed(read_json(json_bytes(value))) == typed(value)
    assert typed(read_json(json.dumps(value))) == typed(value)
    assert typed(json.loads(json_text(value))) == typed(value)
    check_keepable(value)


@given(VALUES)
def test_what_is_kept_the_official_sdk_can_read(value):
    """A client that puts the value into protobuf finds no number or nesting that breaks it."""
    ParseDict(json.loads(json_text(value)), Value())


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=25, min_value=-(10**9), max_value=10**9
    )
)
def test_a_decimal_keeps_every_digit(number):
    """A decimal that no double holds is neither rounded nor refused."""
    assert Decimal(json_text(read_json(format(number, "f")))) == number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.0", 5.0),
        ("-0", 0),
        ("-0.0", -0.0),
        ("9007199254740993", 9007199254740993),
        ("1234567890123456789012345678901", 1234567890123456789012345678901),
        ("0.1", 0.1),
        ("1E2", 100.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("1" + "0" * (MOST_DIGITS - 1), 10 ** (MOST_DIGITS - 1)),
        ("0.12345678901234567890", Decimal("0.12345678901234567890")),
        ("9007199254740993e0", Decimal(9007199254740993)),
        ("12345678901234567.89", Decimal("12345678901234567.89")),
        ('{"k":":\\":","\\u0041":1}', {"k": ':":', "A": 1}),
        ('"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_a_number_is_what_was_written(text, value):
    """Each keeps its value and its kind."""
    assert typed(read_json(text)) == typed(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"n": 1%s}' % ("0" * MOST_DIGITS), "n is a number of more than 308 digits"),
        ('{"n": -1%s}' % ("0" * 6000), "n is a number of more than 308 digits"),
        ('{"n": 0.1%s}' % ("1" * 400), "n is a number of more than 308 digits"),
        ('[1, {"x": 1e400}]', "[1].x is a number outside a double's range"),
        ("-1e-400", "the value is a number outside a double's range"),
        ("1e999999999999999999999", "the value is a number outside a double's range"),
        ('{"a": ["x", "x\\ud800y"]}', "a[1] holds half of a surrogate pair"),
        ('{"a": "\\udc00"}', "a holds half of a surrogate pair"),
        ('{"a": {"b": "x\\u0000"}}', "a.b holds a NUL character"),
        ('{"a\\u0000": 1}', "* has a key with a NUL character"),
        ('{"a": {"b": 1, "b": 2}}', "a.b stands twice in its object"),
        ('{"an e-mail, say": 1e400}', "* is a number outside a double's range"),
        ("[" * 33 + "]" * 33, "[0]" * 12 + "... is nested deeper than 32"),
        ('{"a":' * 33 + "1" + "}" * 33, "a" + ".a" * 11 + "... is nested deeper than 32"),
        ("[" * 100_000 + "]" * 100_000, "the value is nested deeper than 32"),
        ("[" + "1," * MOST_VALUES + "1]", "the value has more than 250000 values"),
        (
            "[" + "[]," * (MOST_VALUES // 2) + "[" + "1," * (MOST_VALUES // 2) + "1]]",
            "the value has more than 250000 values",
        ),
    ],
)
def test_what_is_not_kept_is_named_with_its_place(text, message):
    """So that its sender can mend it."""
    with pytest.raises(NotKeepable) as refused:
        read_json(text)
    assert refused.value.message == message
    assert not isinstance(refused.value, NotJson)


@pytest.mark.parametrize(
    "text", ["", "[1,", "NaN", "[-Infinity]", "{'a': 1}", b"\xff", b'"caf\xe9"', b"\xef\xbb\xbf1"]
)
def test_what_is_no_json_is_told_as_that(text):
    """Its own error, for the parse error that a protocol has."""
    with pytest.raises(NotJson, match=r"^the value is not (JSON|in UTF-8)"):
        read_json(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, math.nan]}, "a[1] is a number outside a double's range"),
        ({"a": math.inf}, "a is a number outside a double's range"),
        ({"a": 10**MOST_DIGITS}, "a is a number of more than 308 digits"),
        ({"a": Decimal("1e400")}, "a is a number outside a double's range"),
        ({"a": Decimal("NaN")}, "a is a number outside a double's range"),
        ({"a": "\ud800"}, "a holds half of a surrogate pair"),
        ({1: 2}, "the value has a key of type int, not a string"),
        ({"a": {"b": object()}}, "a.b is of type object, which JSON does not know"),
        ({"a": b"x"}, "a is of type bytes, which JSON does not know"),
    ],
)
def test_a_value_that_a_program_made_is_checked_alike(value, message):
    """What an action or our own code made has the same law."""
    with pytest.raises(NotKeepable) as refused:
        check_keepable(value)
    assert refused.value.message == message


def test_a_made_value_may_nest_as_deep_as_a_read_one():
    """One limit, whichever way a value came."""
    value: object = 1
    for _ in range(MOST_DEPTH):
        value = [value]
    check_keepable(value)
    assert typed(read_json(json_text(value))) == typed(value)
    with pytest.raises(NotKeepable, match="is nested too deep"):
        check_keepable([value])


def test_content_is_hidden_where_the_place_is_told_to_others():
    """A key of somebody's data is content: beyond the protocol's own it is a star."""
    with pytest.raises(NotKeepable) as refused:
        read_json('[{"data": {"anna": [1e400]}}]')
    assert refused.value.where({"data"}) == "[0].data.*[0]"


@given(VALUES, st.text(alphabet='\\"{}[]:,e0.u \n', max_size=30))
def test_strings_that_look_like_json_change_nothing(value, text):
    """Quotes, colons and digits within strings are no keys and no numbers."""
    whole = {text.replace("\0", ""): value, "t": [text, "1e999", "0" * 400]}
    assert typed(read_json(json_bytes(whole))) == typed(whole)


@given(_TEXT, VALUES, VALUES)
def test_a_key_that_stands_twice_is_always_found(key, first, second):
    """Whatever its values, and whatever quotes stand in them."""
    name = json.dumps(key)
    twice = f'[{{{name}: {json_text(first)}, "x y": ["\\":"], {name}: {json_text(second)}}}]'
    with pytest.raises(NotKeepable, match="stands twice"):
        read_json(twice)
