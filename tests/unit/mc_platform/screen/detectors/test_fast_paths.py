"""What is told by a quick look is what the slow one says, which stands here as it was."""

from __future__ import annotations

import re

import phonenumbers
import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from mc_platform.screen.detectors.digit_groups import digit_runs, windows
from mc_platform.screen.detectors.phone_plans import is_valid_beyond_doubt
from mc_platform.screen.findings import Budget
from mc_platform.screen.text import decoders, lookalikes
from mc_platform.screen.text.normalise import normalise

SIGNS = st.text(alphabet="DEGBPLATOolIiZSsxX0123789abcdef|! -.:/+=_\n", max_size=120)
TEXTS = st.one_of(SIGNS, st.text(max_size=60), st.lists(SIGNS, max_size=40).map(" é".join)).map(
    lambda text: normalise(text).text
)
CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)


def _library(digits: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}", None))
    except phonenumbers.NumberParseException:
        return False


@pytest.mark.parametrize("code", CODES)
def test_no_number_is_valid_beyond_doubt_that_the_library_does_not_know(code: int) -> None:
    """Examples of every plan and kind, and their neighbours; most of the examples need no parsing."""
    told = 0
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]:
        for kind in range(11):
            number = (
                phonenumbers.example_number_for_non_geo_entity(code)
                if region == "001"
                else phonenumbers.example_number_for_type(region, kind)
            )
            if number is None:
                continue
            digits = f"{code}{phonenumbers.national_significant_number(number)}"
            for spoilt in (digits, digits[:-1], digits + "0", f"{code}0{digits[len(str(code)) :]}"):
                if is_valid_beyond_doubt(spoilt):
                    told += 1
                    assert _library(spoilt), spoilt
    if code in (33, 44, 48, 49, 1, 34):
        assert told


@given(st.sampled_from(CODES), st.text(alphabet="0123456789", min_size=2, max_size=13))
def test_any_number_beyond_doubt_is_valid(code: int, national: str) -> None:
    """Whatever digits follow a country's code."""
    assert not is_valid_beyond_doubt(f"{code}{national}") or _library(f"{code}{national}")


@given(TEXTS)
@example("0x" + "a1" * 8 + " 0X" + "ff" * 5 + " x" + "00" * 6)
@example("a" * 12 + "==" + "b" * 13 + "_" * 11)
def test_runs_are_found_as_by_their_patterns(text: str) -> None:
    """Of base64 and of hexadecimal, in ASCII and beyond."""
    long_runs = [run.span() for run in decoders._long_runs(text)]
    assert long_runs == [run.span() for run in decoders._BASE64.finditer(text)]
    classes = text.encode("ascii", "replace").translate(decoders._HEX_CLASSES)
    runs = [run.span() for run in decoders._hexadecimal_runs(text, classes)]
    assert runs == [run.span() for run in decoders._HEX.finditer(text)]
    if classes.count(decoders._PAIR_AND_MARK) < decoders._LEAST_PAIRS:
        assert decoders._HEX_APART.search(text) is None


COUNTRY = re2.compile(rf"(?i)\b(?:{'|'.join(lookalikes.ACCOUNT_LAYOUTS)})[{lookalikes._LIKE}]{{2}}")


@given(TEXTS)
@example("AD|AE00 and " + "no is at " * 9 + "GB1 " + "x" * 40 + "DEll 9")
def test_accounts_and_words_are_found_as_by_their_patterns(text: str) -> None:
    """Where an account number in disguise may begin, and which words have digits or signs in them."""
    starts = [
        start
        for start in (match.start() for match in COUNTRY.finditer(text))
        if any(map(str.isdigit, text[start : start + lookalikes._ACCOUNT_CHARS]))
    ]
    assert list(lookalikes._account_starts(text)) == starts
    words = [word.span() for word in lookalikes._WORD.finditer(text) if lookalikes._mixed(word[0])]
    found = [
        word.span() for word in lookalikes._words_with_signs(text) if lookalikes._mixed(word[0])
    ]
    assert found == words


@given(TEXTS)
@example("DE89 3704 0044 0532 0130 00, GB82 WEST 1234 5698 7654 32, DE8937O4004405320l3000")
def test_an_account_as_it_stands_is_no_disguise(text: str) -> None:
    """What is passed over would have been read as nothing else."""
    for start in lookalikes._account_starts(text):
        layout = lookalikes.ACCOUNT_LAYOUTS[text[start : start + 2].upper()]
        until = start + 2 * len(layout)
        if lookalikes._as_it_stands(layout).match(text, start, until) is not None:
            for either in ({}, lookalikes._DIGITS):
                assert lookalikes._account(text, start, layout, either) == (start, "")


@given(st.from_regex(re.compile(r"[A-Za-z. ]?[0-9]{1,24}[A-Za-z. ]?", re.ASCII), fullmatch=True))
def test_a_run_of_one_group_has_the_window_of_any_other(text: str) -> None:
    """All of it, glued or not, if it is as long as an identifier."""
    budget = Budget(per_leaf=1000, per_message=1000)
    for start, end in digit_runs(text):
        cut = windows(text, start, end, budget, named=lambda: False)
        size = end - start
        assert len(cut) == (7 <= size <= 19)
        for window in cut:
            assert (window.start, window.end, window.digits) == (start, end, text[start:end])
            assert (window.sizes, window.layout, window.starts) == ((size,), str(size), (start,))
            assert window.glued == (len(text.strip(". ")) > size)
            flags = (window.fraction, window.cut, window.column, window.separators)
            assert not any(flags)
