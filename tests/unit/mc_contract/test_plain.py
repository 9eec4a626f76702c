"""A value that is called plain is good by every careful check, and both ways of writing it agree."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract import canonical, keepable
from mc_contract.canonical import canonical_json
from mc_contract.keepable import MOST_VALUES, NotKeepable, check_keepable, checked_text, read_json
from mc_contract.plain import plain_json


class _Word(StrEnum):
    one = "one"


class _Broken(dict[str, int]):
    """Equal to an object, and read otherwise by whoever goes through it."""

    def items(self) -> NoReturn:
        raise RuntimeError


class _List(list[int]): ...


class _Text(str):
    __slots__ = ()


class _Number(IntEnum):
    one = 1


_ODD = st.sampled_from(
    [1.5, -0.0, float("nan"), 2**53, -(2**53), 10**308, Decimal(1), _Word.one, _Number.one, _Broken(a=1),
     _List([1]), _Text("a"), b"x", {1}, object(), "\0",
     "\ud800", "\udc00", "é", "\U0001f600", "\x7f", "\u2028", MappingProxyType({"a": 1}), range(2)]
)  # fmt: skip
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters())
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
_KEYS = (
    st.text(st.characters(max_codepoint=127))
    | st.text(max_size=3)
    | st.sampled_from([1, None, "\0", _Text("a"), _Word.one])
)


def _trees(
    scalars: st.SearchStrategy[object], keys: st.SearchStrategy[object]
) -> st.SearchStrategy:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
        max_leaves=12,
    )


_GOOD = _trees(
    _SCALARS.filter(lambda it: it not in (2**53, -(2**53)) and not _unkeepable(it)),
    st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"])),
)
_ANY = _trees(_SCALARS | _ODD, _KEYS)


def _unkeepable(value: object) -> bool:
    try:
        check_keepable([value])
    except NotKeepable:
        return True
    return False


def _plain(value: object) -> bool:
    encode = keepable.json_bytes
    return plain_json(value, encode, most_depth=32, most_values=MOST_VALUES) is not None


def _deeper_than_looked(value: object, depth: int = 0) -> bool:
    """Whether it is nested deeper than the type is, or has a tuple within."""
    if isinstance(value, tuple) and depth:
        return True
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return False
    return depth == 7 or any(_deeper_than_looked(item, depth + 1) for item in value)


def _carefully(value: object) -> bytes:
    out: list[str] = []
    canonical._write(value, out, None)
    return "".join(out).encode()


@given(_ANY | _GOOD)
def test_what_is_plain_is_good_however_it_is_checked_or_written(value: object) -> None:
    """The careful ways are the oracle: they keep it, and write the same bytes."""
    if _plain(value):
        keepable._check(value, (), 32)
        assert canonical_json(value) == _carefully(value)
        text = checked_text(value)
        assert read_json(text) == json.loads(text) == json.loads(_carefully(value))


@given(_GOOD)
def test_what_is_good_and_without_floats_is_plain(value: object) -> None:
    """So the quick way is the usual one."""
    assert _plain(value) is (
        isinstance(value, list | tuple | dict) and not _deeper_than_looked(value)
    )


@pytest.mark.parametrize("point", range(0, 0x110000, 0x10000))
def test_every_character_is_spelled_alike(point: int) -> None:
    """Both ways of writing escape the same characters in the same form."""
    text = "".join(chr(n) for n in range(point, point + 0x10000) if not 0xD800 <= n < 0xE000)
    assert canonical._encode_plain([text]) == _carefully([text])


def _nested(depth: int) -> object:
    value: object = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (_nested(7), True),
        (_nested(8), False),
        ([None] * MOST_VALUES, True),
        ([None] * (MOST_VALUES + 1), False),
        (["\ud83d", "\ude00"], False),
        ({"é": 1}, True),
        ({"\ud83d": 1}, False),
        ({"a": {1}}, False),
        ({"a": (1,)}, False),
        ((1,), True),
        ({"a": 1.0}, False),
        ({"a": 2**53}, False),
        ({"a": True}, True),
        ("text", False),
    ],
    ids=["deep", "deeper", "many", "more", "halves", "key", "half", "set", "tuple",
         "outermost", "float", "long", "bool", "scalar"],
)  # fmt: skip
def test_limits_of_what_is_plain(value: object, plain: bool) -> None:
    """Each limit on both of its sides; what is not plain is for the careful way."""
    assert _plain(value) is plain


def test_what_has_no_end_is_left_to_the_careful_way() -> None:
    """A value within itself is not followed for ever."""
    value: list[object] = []
    value.append(value)
    assert not _plain(value)


def test_keys_above_the_first_plane_are_sorted_by_utf_16() -> None:
    """RFC 8785 sorts so, and not by code points as the encoder does."""
    assert canonical_json({"\ufffd": 1, "\U0001f600": 2}).decode() == '{"\U0001f600":2,"\ufffd":1}'


def test_a_text_that_could_not_be_read_back_is_not_taken() -> None:
    """Reading counts commas before it makes anything, so writing has to as well."""
    with pytest.raises(NotKeepable, match="more than 250000 values"):
        checked_text(["," * (MOST_VALUES + 1)])


@pytest.mark.parametrize(
    "odd", [_Broken(a=1), _List([1]), _Text("a"), _Number.one, _Word.one, {_Text("a"): 1}]
)
def test_what_derives_from_a_built_in_type_is_not_plain(odd: object) -> None:
    """It is equal to one that is, but others may read it otherwise than its own methods tell."""
    assert not _plain({"a": [odd]})
    assert not _plain([odd])
