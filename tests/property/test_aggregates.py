"""Laws of aggregate queries: the canonical form means what was asked, and all wordings of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.aggregate_fakes import KEYS, dataset, table

from mc_platform.aggregate import read_query
from mc_platform.aggregate.select import Digests, least_apart, places
from mc_platform.errors import BadRequest

RULES = dataset()
TABLE = table(secrets=set(range(0, 400, 3)))
TOWNS = ("east", "north", "south", "west")
WORDS = st.lists(st.sampled_from(TOWNS), min_size=1, max_size=5)
BOUNDS = st.tuples(st.integers(-5, 405), st.integers(-5, 405)).map(sorted)
HALVES = st.tuples(st.integers(-8, 208), st.integers(-8, 208)).map(
    lambda pair: [one / 2 for one in sorted(pair)]
)
CONDITIONS = st.lists(
    st.one_of(
        WORDS.map(lambda words: {"column": "town", "op": "in", "value": words}),
        st.sampled_from(TOWNS).map(lambda word: {"column": "town", "op": "eq", "value": word}),
        BOUNDS.map(lambda pair: {"column": "place", "op": "between", "value": pair}),
        HALVES.map(lambda pair: {"column": "income", "op": "between", "value": pair}),
    ),
    max_size=5,
)


def _holds(row, place):
    value = TABLE.columns[row["column"]][place]
    if row["column"] == "income":
        value /= 2
    match row["op"]:
        case "in":
            return value in row["value"]
        case "eq":
            return value == row["value"]
        case _:
            return row["value"][0] <= value <= row["value"][1]


def _read(where):
    return read_query({"measure": "count", "where": where}, RULES).query


@given(CONDITIONS, st.randoms(use_true_random=False))
def test_a_query_selects_whom_its_conditions_name_in_whatever_order(where, draw):
    expected = [place for place in range(400) if all(_holds(row, place) for row in where)]
    shuffled = draw.sample(where + where[:2], len(where) + len(where[:2]))
    try:
        query = _read(where)
    except BadRequest:
        assert expected == []  # what can select nobody is told so, by the declaration alone
        with pytest.raises(BadRequest):
            _read(shuffled)
        return
    assert places(query, TABLE) == expected
    assert _read(shuffled).text() == query.text()


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_kept_selections_lie_as_far_apart_as_the_people_in_them(one, other):
    digests = Digests(KEYS)

    def kept(units):
        shuffled = random.Random(1).sample(sorted(units), len(units))
        [selection] = digests.of_units("T", "people", [f"person-{unit}" for unit in shuffled])
        return selection

    assert least_apart(kept(one), []) == len(one)
    assert least_apart(kept(one), [kept(other)]) == min(len(one), len(one ^ other))
