"""The cases themselves: fresh, valid, visible."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import iban, luhn

from mc_contract import redteam as contract
from mc_ops.redteam import benign, values, wording
from mc_ops.redteam.families import FAMILIES
from mc_ops.redteam.judge import blind
from mc_ops.redteam.run import Size


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_planted_leak_would_be_seen(family):
    """Let through whole, each is recognised: no case is blocked by our own blindness."""
    assert [case.id for case in family.cases(5, 150) if blind(case)] == []


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_is_known_by_the_catalogues(family):
    """LINDDUN, OWASP and ATLAS, and what it tries in words."""
    assert family.linddun
    assert all(name.startswith(("LLM", "T")) for name in family.owasp)
    assert all(name.startswith("AML.T") for name in family.atlas)
    assert family.tries


def test_the_families_are_those_that_the_contract_demands():
    """Evidence in which one was left out meets no target."""
    assert tuple(family.name for family in FAMILIES) == contract.FAMILIES
    assert len(FAMILIES) >= 12


@settings(max_examples=5)
@given(st.integers(0, 2**31))
def test_the_same_seed_makes_the_same_cases_and_another_does_not(seed):
    """So a run can be made again, and cannot be learnt."""
    size = Size(seed=seed, attacks=170, benign=60, wordings=5)
    assert size.cases() == size.cases()
    texts = _told(size)
    other = Size(seed=seed + 1, attacks=170, benign=60, wordings=5)
    again = _told(other)
    assert len(texts & again) < len(texts) / 4


def _told(size):
    return {json.dumps(ask.reply) for case in size.cases() for ask in case.asks if ask.reply}


def test_ids_are_unique_and_canaries_too():
    """A value that came back is traced to one case."""
    made = Size(seed=9, attacks=1000, benign=400, wordings=20).cases()
    assert len({case.id for case in made}) == len(made)
    common = ("customer-id", "birth", "health", "money", "address")
    told = [one.core for case in made for one in case.canaries if one.kind not in common]
    assert len(set(told)) == len(told)


@settings(max_examples=50)
@given(st.randoms(use_true_random=False))
def test_canaries_pass_their_own_checks(rng):
    """Cards pass Luhn, accounts their check digits: a screen that validates must find them."""
    assert luhn.is_valid(values.card(rng).core)
    assert iban.is_valid(values.account(rng).text)


def test_look_alikes_fail_the_checksum():
    """Honest numbers as long as cards are no cards."""
    made = [case for case in benign.cases(3, 400) if case.form == "look-alike numbers"]
    numbers = [word for case in made for word in case.expected.split() if len(word) >= 13]
    assert len(numbers) >= 15
    assert not any(luhn.is_valid(number) for number in numbers)


def test_honest_work_is_varied():
    """Over twenty kinds, and hardly a text twice."""
    made = list(benign.cases(4, 1000))
    assert len({case.form for case in made}) >= 20
    assert len({case.expected for case in made}) > 850


def test_every_form_of_the_texts_can_be_filled():
    """A slot that no list has, or that stays open, is found before a run."""
    rng = random.Random(5)
    given = ("what", "value", "item", "tenant", "task", "invented", "url", "words")
    known = dict.fromkeys(given, "4")
    for table in wording.TEXTS.values():
        for forms in table.values():
            texts = [wording.Writer(rng, **known).fill(form) for form in forms]
            assert not any("«" in text or "»" in text for text in texts)


def test_what_a_text_marks_as_personal_stands_in_it():
    """The canaries of a text are in it, and there is at least one."""
    rng = random.Random(6)
    for _ in range(300):
        _, text, told = wording.personal(rng)
        assert told
        assert all(value in text for value in told)
