"""Ids are those of the standard library, and no two are alike, in threads and after a fork either."""

from __future__ import annotations

import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.model.made_ids import derived_id, random_id, second_of, timed_token

TOKEN = re.compile(r"[A-Za-z0-9_-]{16}")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(namespace=st.uuids(), name=TEXTS)
def test_a_derived_id_is_the_standard_librarys(namespace, name):
    """So tasks and events that earlier versions recorded keep theirs."""
    assert derived_id(namespace.bytes, name) == str(uuid.uuid5(namespace, name))


def test_random_ids_have_their_form_and_are_each_given_once():
    """Over many blocks, taken in several threads at once."""
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: random_id(), range(5000)))
        tokens = list(threads.map(lambda _: timed_token(1), range(5000)))
    assert len(set(ids)) == len(set(tokens)) == 5000
    assert all(str(uuid.UUID(one)) == one and uuid.UUID(one).version == 4 for one in ids)
    assert {uuid.UUID(one).variant for one in ids} == {uuid.RFC_4122}
    assert all(TOKEN.fullmatch(one) for one in tokens)


@pytest.mark.parametrize("make", [random_id, lambda: timed_token(0x5A5A5A5A)[6:]])
def test_every_bit_that_is_random_takes_both_values(make):
    """Of 2,000 ids each character that may vary has had nearly all the values that it may have."""
    made = [make() for _ in range(2000)]
    seen = [set(column) for column in zip(*made, strict=True)]
    least = {"-": 1, "4": 1}
    for column in seen:
        fixed = least.get(next(iter(column))) if len(column) == 1 else None
        assert fixed == 1 or column == set("89ab") or len(column) >= 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_gives_others():
    """What the parent had made and not yet given is the parent's alone."""
    random_id(), timed_token(1)  # so that some are left over
    told, tell = os.pipe()
    if not (child := os.fork()):
        os.write(tell, "\n".join([*(random_id() for _ in range(9)), timed_token(1)]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        others = pipe.read().split("\n")
    ours = chain((random_id() for _ in range(100)), (timed_token(1) for _ in range(100)))
    assert len(others) == 10
    assert set(others).isdisjoint(ours)


@given(second=st.integers(0, 2**32 - 1))
def test_a_timed_token_tells_its_second(second):
    """And what has another length tells none."""
    token = timed_token(second)
    assert TOKEN.fullmatch(token)
    assert second_of(token) == second
    assert second_of(token[1:]) is second_of("") is None
