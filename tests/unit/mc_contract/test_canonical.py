"""Canonical JSON: RFC 8785's own examples, and the law that one value has one spelling."""

from __future__ import annotations

import base64
import json
import struct
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.canonical import NotCanonical, canonical_json, decode_base64

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
TEXT_KEYS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("bits", "spelled"),
    [
        # RFC 8785 appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_float_is_spelled_as_rfc_8785_says(bits: str, spelled: str) -> None:
    """Floats print as ECMAScript prints them: the RFC's own table."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(value).decode() == spelled


def test_keys_sort_by_utf16_units() -> None:
    """RFC 8785 section 3.2.3: the example whose order differs from code points."""
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(value)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def test_strings_of_rfc_8785_example() -> None:
    """RFC 8785 section 3.2.2: escapes are the shortest ones, everything else is UTF-8."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_json(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_integers_are_exact() -> None:
    """Integers beyond a double's reach keep every digit; enums are their number."""

    class Port(IntEnum):
        edge = 8080

    assert (
        canonical_json([2**64 + 1, -1, Port.edge, True]) == b"[18446744073709551617,-1,8080,true]"
    )


@given(VALUES)
def test_value_comes_back_and_has_one_spelling(value: object) -> None:
    """Parsing gives the value back, and spelling that again gives the same bytes."""
    try:
        spelled = canonical_json(value)
    except NotCanonical:
        return  # a lone surrogate: covered below
    assert json.loads(spelled, parse_int=float) == value  # as a reader with doubles has it
    assert canonical_json(json.loads(spelled)) == spelled


@given(st.dictionaries(TEXT_KEYS, st.integers(0, 9)))
def test_key_order_does_not_matter(value: dict[str, int]) -> None:
    """Two dicts that are equal have the same spelling."""
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), {1: "x"}, {"a": {None: 1}}, b"bytes", {"s"}, "\ud800", object()],
)
def test_value_without_a_spelling_is_refused(value: object) -> None:
    """Nothing is coerced: what JSON does not know is refused."""
    with pytest.raises(NotCanonical):
        canonical_json(value)


@given(st.binary(max_size=64))
def test_base64_has_one_spelling(raw: bytes) -> None:
    """Only the canonical spelling decodes."""
    text = base64.b64encode(raw).decode()
    assert decode_base64(text) == raw
    for lax in (text + "\n", " " + text, text.rstrip("=") + "===", text.replace("=", "")):
        if lax != text:
            with pytest.raises(NotCanonical):
                decode_base64(lax)


@pytest.mark.parametrize("text", ["QQ=", "QR==", "Q_-=", "QQ==QQ==", "QQ\u0661=", "====", "Q Q=="])
def test_base64_lax_forms_are_refused(text: str) -> None:
    """Stray bits, other alphabets, white space and inner padding are refused."""
    with pytest.raises(NotCanonical):
        decode_base64(text)
