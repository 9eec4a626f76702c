"""Files that people write: bounded, strict, every problem at once."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from mc_contract.configuration import (
    FileProblems,
    HttpUrl,
    SetOf,
    Several,
    Strict,
    Text,
    Word,
    check,
    json_of,
    known,
    text_of,
    toml_of,
)
from mc_contract.numbers import number, whole_number


class Item(Strict):
    name: Word
    size: Annotated[int, Field(ge=1, lt=5)] = 1
    api_key: Text = "none"


class File(Strict):
    kind: Literal["a", "b"] = Field(alias="class", default="a")
    items: Several[Item] = ()
    words: SetOf[Annotated[Word, known("things")]] = frozenset()
    by_name: dict[Word, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


def problems(document, **more):
    with pytest.raises(FileProblems) as caught:
        check(File, document, **more)
    return caught.value.problems


def test_a_file_becomes_its_form():
    """Lists become tuples and sets, a whole number is good where a fraction may stand."""
    document = {"class": "b", "items": [{"name": "x"}], "words": ["w"], "by_name": {"n": 2}}
    made = check(File, document)
    assert (made.kind, made.items[0].size, made.words, made.by_name) == ("b", 1, {"w"}, {"n": 2.0})


NO_NUMBERS = [
    "",
    "8_0",
    " 80",
    "80 ",
    "80\n",
    "+80",
    "٨٠",
    "8e",
    "0x10",
    "--1",
    "nan",
    "inf",
    "1e999",
]


@pytest.mark.parametrize("text", [*NO_NUMBERS, "80.0", "1e2", "1" * 31])
def test_a_whole_number_is_written_in_digits_and_nothing_else(text):
    """What `int` takes beside that is refused, and not quoted."""
    assert [whole_number(one) for one in ("0", "-7", "080", "9" * 20)] == [0, -7, 80, int("9" * 20)]
    with pytest.raises(ValueError, match=r"^must be a whole number, such as 12$"):
        whole_number(text)


@pytest.mark.parametrize("text", [*NO_NUMBERS, ".", "1,5", "1_0.5"])
def test_a_number_is_written_in_digits_with_a_point_and_an_exponent_at_most(text):
    """What `float` takes beside that is refused, and so is what is infinite."""
    read = [number(one) for one in ("80", "-0.5", ".5", "5.", "1e-3", "2E+2", repr(0.1 + 0.2))]
    assert read == [80, -0.5, 0.5, 5, 0.001, 200, 0.1 + 0.2]
    with pytest.raises(ValueError, match=r"^must be a number, such as 12 or 0\.5$"):
        number(text)


def test_every_problem_has_its_path_value_and_form():
    """Down into lists and tables; keys and enumerations tell what is known."""
    document = {
        "class": "c",
        "klass": "a",
        "items": [{"size": 5, "api_key": 7}, "x", {"name": "ok", "sise": 2}],
        "words": ["thing", "thong"],
        "by_name": {"n": 0, "m": float("-inf"), "a b": 1},
    }
    assert problems(document, names={"things": ["thing"]}) == [
        'class is "c", must be a or b',
        "items[0].name is missing, must be a word of letters, digits, . _ : or -",
        "items[0].size is 5, must be a whole number from 1 to less than 5",
        "items[0].api_key is a number, must be text",
        'items[1] is "x", must be a table',
        "items[2].sise is unknown; did you mean size? known: api_key, name, size",
        "words[1]: unknown 'thong'; did you mean thing? known: thing",
        "by_name.n is 0, must be a number above 0",
        "by_name.m is -inf, must be a number above 0",
        'by_name."a b" is "a b", must be a word of letters, digits, . _ : or -',
        "klass is unknown; did you mean class? known: by_name, class, items, words",
    ]


@pytest.mark.parametrize("document", [None, 3, "x", [], [{}]])
def test_a_file_is_a_table(document):
    """Whatever else it is, it is told so."""
    [problem] = problems(document)
    assert problem.endswith("must be a table")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:geheim@h/",
        "https://geheim@h/",
        "https://:geheim@h/",
        "http://@h/",
        "ftp://user:geheim@h/",
    ],
)
def test_a_url_holds_no_credentials(url: str):
    """They would be dropped, or sent for every tenant; and what is refused is not shown."""

    class Peer(Strict):
        url: HttpUrl

    with pytest.raises(FileProblems) as caught:
        check(Peer, {"url": url})
    told = str(caught.value)
    assert told.startswith("url: must hold no user or password" if "http" in url else "url is ")
    assert "geheim" not in told


class Scored(Strict):
    best: Annotated[int, Field(ge=0, le=9)] = 9
    least: int = Field(default_factory=lambda read: min(5, read["best"]))


def test_a_default_that_follows_from_a_wrong_value_is_no_problem():
    """It is in no file, and nobody could mend it."""
    assert check(Scored, {"best": 3}).least == 3
    with pytest.raises(FileProblems) as caught:
        check(Scored, {"best": 10})
    assert caught.value.problems == ["best is 10, must be a whole number from 0 to 9"]


def test_a_list_of_problems_ends():
    """Ten thousand mistakes make a hundred lines."""
    found = problems({"items": [3] * 10_000})
    assert len(found) == 101
    assert found[-1] == "and 9900 more"


def test_a_byte_order_mark_is_no_text():
    """As editors write it; carriage returns are TOML's and JSON's own business."""
    assert toml_of(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n") == {"a": 1, "b": 2}
    assert json_of(b'\xef\xbb\xbf{"a": 1}\r\n') == {"a": 1}


@pytest.mark.parametrize(
    ("read", "raw", "problem"),
    [
        (text_of, b"x" * 2_000_000, "more than 1048576 bytes"),
        (text_of, b"ab\xe4", "not UTF-8: byte 3"),
        (toml_of, b"a = ", "not TOML"),
        (toml_of, b"a = 1\na = 2", "not TOML"),
        (toml_of, b"a = " + b"[" * 100_000, "nested too deep"),
        (json_of, b"[" * 100_000, "nested too deep"),
        (json_of, b'{"a": NaN}', "NaN is no JSON number"),
        (json_of, b"[-Infinity]", "-Infinity is no JSON number"),
        (json_of, b'{"a": 1, "b": {"c": 1, "c": 2}}', 'key "c" stands twice'),
        (json_of, b"1" * 10_000, "too long to read"),
        (json_of, b"{", "not JSON: .*line 1, column 2"),
    ],
)
def test_what_cannot_be_read_is_told_why(read, raw, problem):
    """Too large, another encoding, another language, too deep, a number without end."""
    with pytest.raises(FileProblems, match=problem):
        read(raw)
