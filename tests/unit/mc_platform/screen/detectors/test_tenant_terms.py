"""What a tenant declares is found as declared, and only that."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.customer_ids import CustomerIds
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Scope
from mc_platform.model.tenant import Tenant
from mc_platform.screen import LibraryScreener, prefilter, screener
from mc_platform.screen.detectors import tenant_terms
from mc_platform.screen.detectors.recogniser import Recogniser
from mc_platform.screen.detectors.tenant_terms import check_patterns, declared_in
from mc_platform.screen.findings import CROSS_TENANT_ID, CUSTOMER_ID, TENANT_TERM, Budget

SCOPE = Scope(
    customer_ids=(r"C-\d{4}",),
    dictionary=("Projekt Königsblau", "Blue Fin", "x+1"),
    all_ids=CustomerIds((r"C-\d{4}", r"ACME-\d+")),
)


def _found(scope: Scope, text: str) -> list[tuple[str, str]]:
    budget = Budget(per_leaf=1000, per_message=1000)
    return [
        (finding.type, text[finding.start : finding.end])
        for find in declared_in(text, scope)
        for finding in find(text, "", budget)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see C-1003.", [("customer-id", "C-1003")]),
        ("AC-1003 and C-10031 are others", []),
        ("ACME-33 is theirs", [("cross-tenant-id", "ACME-33")]),
        ("projekt konigsblau", [("tenant-term", "projekt konigsblau")]),
        ("PROJEKT-KÖNIGSBLAU", [("tenant-term", "PROJEKT-KÖNIGSBLAU")]),
        (
            "blue  fin, bluefin, bluefinch",
            [("tenant-term", "blue  fin"), ("tenant-term", "bluefin")],
        ),
        ("let x+1 be y", [("tenant-term", "x+1")]),
        ("nothing of it", []),
    ],
)
def test_declared_value_is_found_as_a_whole(text: str, found: list[tuple[str, str]]) -> None:
    """Ids stand alone; terms are found in any case, with any separator and diacritics."""
    assert _found(SCOPE, text) == found


def test_empty_scope_finds_nothing() -> None:
    """Who declares nothing gets no recognisers."""
    assert list(declared_in("C-1003", Scope())) == []


@pytest.mark.parametrize("pattern", ["(a", "(?=x)", r"(a)\1", "a*", "", "x" * 600])
def test_unusable_pattern_is_named(pattern: str) -> None:
    """What RE2 does not know, matches nothing at all, or is too long, is named in the problem."""
    (problem,) = check_patterns([r"C-\d+", pattern])
    assert repr(pattern[:60]) in problem
    with pytest.raises(Misconfigured, match="pattern"):
        list(declared_in("x" * 600, Scope(customer_ids=(pattern,))))


PLAIN_LETTERS = st.characters(categories=["Lu", "Ll"]).filter(
    lambda char: unicodedata.normalize("NFKC", char) == char
)


@given(st.text(alphabet=PLAIN_LETTERS, min_size=3, max_size=20))
def test_term_is_found_in_every_case(term: str) -> None:
    """A word of letters is found as it was declared, whatever the letters (texts come normalised)."""
    assert ("tenant-term", term) in _found(Scope(dictionary=(term,)), f"a {term} b")


# -- one automaton for the catalogue, beside one for each tenant as it was before -----------------

Declared = list[tuple[str, Recogniser]]


def _each_tenant_alone(catalogue: Catalogue, tenant: Tenant) -> Declared:
    """What was compiled for every tenant: its own patterns, those of all others, its words."""
    others = (other for other in catalogue.tenants.values() if other.id != tenant.id)
    foreign = {pattern for other in others for pattern in other.customer_ids}
    declared = [
        (pattern, tenant_terms._declared(kind, kind, re2.compile(pattern)))
        for kind, patterns in (
            (CUSTOMER_ID, tenant.customer_ids),
            (CROSS_TENANT_ID, sorted(foreign - set(tenant.customer_ids))),
        )
        for pattern in patterns
    ]
    terms = [term for term in map(tenant_terms._term_pattern, tenant.dictionary) if term]
    if terms:
        shape = "(?i)(?:" + "|".join(terms) + ")"
        find = tenant_terms._declared(TENANT_TERM, "dictionary", re2.compile(shape))
        declared.append((shape, find))
    return declared


def _as_before(declared: Declared) -> Callable[[str, Scope], Iterator[Recogniser]]:
    """In the place of `declared_in`: each pattern tried by itself."""

    def recognisers(text: str, _: Scope) -> Iterator[Recogniser]:
        for pattern, find in declared:
            if re2.search(pattern, text) is not None:
                yield find

    return recognisers


PATTERNS = (
    *(rf"T{number:03}-\d{{4}}" for number in range(40)),
    *(rf"\bK{number}[A-Z]{{2}}\d+\b" for number in range(20)),
    r"[A-Z]{2}-\d{5}",
    r"(?i)cust_\d{3,8}",
    r"\d{3}-\d{3}",
    r"\d{3}-\d+",
    r"Ä\d{3}",
    r"^ID\d+",
)
TERMS = ("Falcon", "Projekt Königsblau", "Blue Fin", "x+1", "ſtraße", "Ω mega", "…", "R.E.M.")
PIECES = (
    *(
        "T003-1234",
        "T017-4321",
        "T0171234",
        "K3AB77",
        "K19XY1 ",
        "AB-12345",
        "CUST_9999",
        "123-456",
    ),
    *("123-4567", "Ä123", "ID77", "falcon", "FALCON", "konigsblau", "Projekt ", "blue-fin", "x+1"),
    *("STRASSE", "straße", "ω Mega", "r e m", " ", ", ", "\n", "see", "K", "ann@example.com", "…"),
)
CATALOGUES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PATTERNS), max_size=3, unique=True),
        st.lists(st.sampled_from(TERMS), max_size=3, unique=True),
    ),
    min_size=1,
    max_size=30,
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join)
SCREENER = LibraryScreener()


def _catalogue(rows: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Catalogue:
    tenants: Mapping[TenantId, Tenant] = {
        (name := TenantId(f"T{number}")): Tenant(
            name,
            "eu",
            frozenset({"support"}),
            frozenset(),
            0,
            customer_ids=tuple(patterns),
            dictionary=tuple(words),
        )
        for number, (patterns, words) in enumerate(rows)
    }
    return Catalogue(tenants, {}, {}, {})


def _seen(parts: Any, scope: Scope) -> Any:
    screening = SCREENER.screen(parts, scope)
    return screening, SCREENER.redact(parts, screening, scope)


@settings(deadline=None)
@given(CATALOGUES, TEXTS, st.data())
def test_one_automaton_says_the_same_as_one_for_each_tenant(
    rows: Sequence[tuple[Sequence[str], Sequence[str]]], text: str, data: st.DataObject
) -> None:
    """The same labels, own or foreign, and the same redaction, for any tenant of any catalogue."""
    catalogue = _catalogue(rows)
    tenant = data.draw(st.sampled_from(list(catalogue.tenants.values())))
    scope = catalogue.scope_of(tenant)
    parts = ({"text": text}, {"data": {"id": text[:12], "n": 123}})
    now = _seen(parts, scope)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screener, "declared_in", _as_before(_each_tenant_alone(catalogue, tenant)))
        assert _seen(parts, scope) == now


@settings(deadline=None)
@given(st.lists(st.sampled_from(PATTERNS), unique=True), TEXTS)
def test_a_set_that_is_short_of_memory_hits_the_same(patterns: list[str], text: str) -> None:
    """Its halves are asked, and at last each pattern: never nothing at all."""
    whole = prefilter.ManyPatterns(patterns).hits(text.encode())
    assert list(whole) == [one for one in patterns if re2.search(one, text) is not None]
    with pytest.MonkeyPatch.context() as patch:
        for memory in (1 << 10, 1 << 13, 1 << 15, 1 << 17):
            patch.setattr(prefilter, "_SET_MEMORY_BYTES", memory)
            assert list(prefilter.ManyPatterns(patterns).hits(text.encode())) == list(whole)


def test_sets_that_are_short_of_memory_are_halved_before_the_first_text() -> None:
    """Else the first message of a replica with thousands of tenants held its event loop for it."""
    patterns = [rf"(?i)\b(?:cust|kunde) ?{n:05} ?[a-z0-9]{{2,10}}\b" for n in range(200)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefilter, "_SET_MEMORY_BYTES", 1 << 19)
        many = prefilter.ManyPatterns(patterns)
        assert many._set is None
        patch.setattr(prefilter, "_added", None)  # compiles nothing from here on
        assert list(many.hits(b"see KUNDE 00017 ab9, thanks")) == [patterns[17]]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x1c", "\u1680", "\u00a0", "\n", " "])
def test_a_term_is_found_whatever_separates_its_words_in_the_catalogue(separator: str) -> None:
    term = f"Project{separator}Falcon"
    pattern = tenant_terms._term_pattern(term)
    text = "about project falcon"
    assert re2.search(f"(?i){pattern}", text) is not None
    assert tenant_terms._may_hold(text, tenant_terms._skeletons((term,)))


@given(
    st.sampled_from(TERMS) | st.text(min_size=1, max_size=8),
    st.text(max_size=6),
    st.sampled_from((str.upper, str.lower, str.swapcase, str.title, str.casefold, str.strip)),
)
def test_no_term_is_missed_for_want_of_its_skeleton(
    term: str, around: str, spell: Callable[[str], str]
) -> None:
    """Where a term's pattern occurs, the look before it says that it may."""
    pattern = tenant_terms._term_pattern(term)
    text = around + spell(term) + around
    if pattern and re2.search(f"(?i){pattern}", text) is not None:
        assert tenant_terms._may_hold(text, tenant_terms._skeletons((term,)))


def test_a_scope_is_the_same_whatever_the_number_of_tenants() -> None:
    """All scopes of a catalogue share the patterns: ten thousand of them, held once."""
    catalogue = _catalogue([([rf"X{number:05}-\d+"], []) for number in range(300)])
    scopes = [catalogue.scope_of(tenant) for tenant in catalogue.tenants.values()]
    assert all(scope.all_ids is catalogue.customer_ids for scope in scopes)
    assert len(catalogue.customer_ids.patterns) == 300
    for number in (0, 299):
        found = _found(scopes[number], "X00000-1 and X00299-2")
        assert sorted(kind for kind, _ in found) == ["cross-tenant-id", "customer-id"]
        assert ("customer-id", f"X{number:05}-{1 if number == 0 else 2}") in found
