"""Names that an entity recogniser finds beside the rules; here one that knows a few names."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence

import pytest

from mc_platform.screen import LibraryScreener
from mc_platform.screen.cost import CAP_S, estimate, model_work
from mc_platform.screen.explain import explain


class KnownNames:
    """A `ports.EntityRecogniser` that takes what a pattern matches for names."""

    name = "known"
    identity = "known 1"

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.read: list[str] = []

    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        self.read += texts
        return [[match.span() for match in re.finditer(self.pattern, text)] for text in texts]


def found(text: str, pattern: str) -> list[tuple[str, str, str]]:
    screener = LibraryScreener(entities=KnownNames(pattern))
    labels = screener.screen(({"text": text},)).labels
    return [(label.type, text[label.start : label.end], label.detector) for label in labels]


def test_a_name_counts_wherever_it_stands_and_only_as_possible() -> None:
    """No rule finds it; what finds it is told, and how sure that is."""
    text = "Yesterday Ann Lee went home."
    assert LibraryScreener().screen(({"text": text},)).labels == ()
    screener = LibraryScreener(entities=KnownNames("Ann Lee"))
    (label,) = screener.screen(({"text": text},)).labels
    assert (label.type, label.detector, label.confidence) == ("person-name", "ner.known", 0.6)
    assert text[label.start : label.end] == "Ann Lee"
    (explained,) = explain(screener, text)
    assert (explained.label, explained.rules) == (label, ())


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        # Whole, whatever the recogniser cuts off or takes along
        ("Then Ann Leeds came", "Ann Lee", [("person-name", "Ann Leeds", "ner.known")]),
        ("Then (Ann L.), came", r"\(Ann L\.\),", [("person-name", "Ann L.", "ner.known")]),
        # In the place where it was sent
        (
            "Then \u200bA\u200bnn Lee came",
            "Ann Lee",
            [("person-name", "A\u200bnn Lee", "ner.known")],
        ),
        # A rule that has found it wins, and what it left is taken
        ("My name is Ann Lee.", "Ann Lee", [("person-name", "Ann Lee", "context.name-told")]),
        (
            "See Bo ann@example.com now",
            "Bo ann@example.com",
            [("person-name", "Bo", "ner.known"), ("email", "ann@example.com", "email-validator")],
        ),
        # No letter, no name; a word alone is not asked about
        ("Then 12345 came", "12345", []),
        ("Ann", "Ann", []),
    ],
)
def test_the_whole_name_and_nothing_but_the_name(text, pattern, expected) -> None:
    """Spans are those of the text that was sent."""
    assert found(text, pattern) == expected


def test_what_is_redacted_holds_no_name_when_it_is_read_again() -> None:
    """A placeholder is no name, though a model may take it for one."""
    screener = LibraryScreener(entities=KnownNames(r"Ann Lee|Bo Fry|\[[^\]]*\]"))
    parts = ({"text": "Ann Lee, ann@example.com, met Bo Fry"},)
    redacted = screener.redact(parts, screener.screen(parts))
    assert redacted == ({"text": "[person-name], [email], met [person-name]"},)
    assert screener.screen(redacted).labels == ()


def test_what_a_replacement_makes_a_name_of_is_replaced_in_turn() -> None:
    """A model reads in context: another context, another name."""
    screener = LibraryScreener(entities=KnownNames(r"Ann Lee|(?<=\] met )Bo Fry"))
    parts = ({"text": "Ann Lee met Bo Fry"},)
    screening = screener.screen(parts)
    assert len(screening.labels) == 1
    assert screener.redact(parts, screening) == ({"text": "[person-name] met [person-name]"},)


def test_what_costs_more_than_may_be_spent_is_not_read_and_labelled_as_a_whole() -> None:
    """The recogniser is paid before it is asked; the same text passes without it."""
    names = KnownNames("Ann Lee")
    parts = ({"text": "so it is said " * 6_000 + "Ann Lee"},)
    assert model_work([parts[0]["text"]]) > CAP_S * 1e6
    assert LibraryScreener().screen(parts).labels == ()
    (label,) = LibraryScreener(entities=names).screen(parts).labels
    assert (label.type, label.start, label.end) == ("screening-limit", 0, len(parts[0]["text"]))
    assert names.read == []


def test_what_it_costs_is_estimated_and_covers_the_price() -> None:
    """So that the choice of a worker process, and the budget, know of it."""
    for text in ("where is my order of last week? thanks, ann", "Dear Ann, it is so. " * 400):
        parts = ({"text": text},)
        assert estimate(parts, modelled=True) >= estimate(parts) + model_work([text]) / 1e6


def test_many_strings_are_read_in_one_call_and_each_once() -> None:
    """Numbers, single words and what was read before cost nothing."""
    names = KnownNames("Ann Lee")
    rows = [{"note": "Ann Lee called", "city": "Rome", "count": n} for n in range(40)]
    screening = LibraryScreener(entities=names).screen(({"data": {"rows": rows}},))
    assert names.read == ["Ann Lee called"]
    assert [label.detector for label in screening.labels] == ["ner.known"] * 40


def test_it_goes_along_to_another_process() -> None:
    """A pickled screener asks the recogniser as well."""
    there = pickle.loads(pickle.dumps(LibraryScreener(entities=KnownNames("Ann Lee"))))
    assert there.screen(({"text": "Then Ann Lee came"},)).types == {"person-name"}
