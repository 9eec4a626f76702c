"""Datasets as an operator declares them."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from mc_contract.configuration import FileProblems
from mc_platform.model.catalogue import parse_catalogue
from mc_platform.model.dataset import MICRO, epsilon_text, micro_epsilon

ROOT = Path(__file__).parents[4]
GOOD = {
    "url": "http://records/people",
    "tenants": ["T"],
    "unit": "id",
    "columns": {"plan": {"values": ["b", "a"]}, "spend": {"lower": 0, "upper": 10, "step": 0.01}},
}


def _found(**more):
    tenant = {"residency": "eu", "purposes": [], "agents": []}
    document = {"tenants": {"T": tenant}, "datasets": {"people": GOOD | more}}
    return parse_catalogue(document).datasets


def _problems(**more):
    with pytest.raises(FileProblems) as caught:
        _found(**more)
    return caught.value.problems


def test_the_local_catalogue_declares_one_that_its_source_serves():
    text = (ROOT / "deploy/local/catalogue.toml").read_text()
    filled = re.sub(r"\$\{MC_[A-Z_]+\}", "http://agents", text)
    declared = parse_catalogue(tomllib.loads(filled)).datasets["customers"]
    assert declared.minimum_group == 10
    assert declared.principal_epsilon == 10 * MICRO
    assert declared.columns["spend"].upper == 1000 * 100


def test_bounds_are_kept_in_steps():
    found = _found()
    spend, plan = (found["people"].columns[name] for name in ("spend", "plan"))
    assert (spend.lower, spend.upper, spend.step) == (0, 1000, Decimal("0.01"))
    assert [spend.clamped(value) for value in (-1, 0.07, 3.14, 99)] == [0, 7, 314, 1000]
    assert plan.values == ("a", "b")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"unit": "plan"}, "also a column"),
        ({"unit": ""}, 'unit is "", must be text'),
        ({"url": None}, "url is null, must be a URL"),
        ({"tenants": ["U"]}, "tenants[0]: unknown 'U'; known: T"),
        ({"tenants": "T"}, 'tenants is "T", must be a list'),
        ({"columns": {}}, "columns is a table, must be a table of 1 or more"),
        ({"columns": {"x": {"lower": 0}}}, "columns.x.upper is missing, must be a number"),
        ({"columns": {"x": {"lower": 3, "upper": 3}}}, "lower must be below upper"),
        (
            {"columns": {"x": {"lower": 0, "upper": 1, "step": 0}}},
            "columns.x.step is 0, must be a number above 0",
        ),
        ({"columns": {"x": {"lower": 0, "upper": 1, "step": 0.3}}}, "whole multiples"),
        ({"columns": {"x": {"lower": 0, "upper": float("inf")}}}, "upper is inf"),
        ({"columns": {"x": {"values": []}}}, "must be a list (each text) of 1 to 1000"),
        ({"columns": {"x": {"values": ["a"], "lower": 0}}}, "one or the other"),
        ({"columns": {"x": {"lower": 0, "upper": 1, "max": 1}}}, "columns.x.max is unknown"),
        ({"columns": {"X Y": {"values": ["a"]}}}, "must be a name"),
        ({"minimum_group": 1}, "minimum_group is 1, must be a whole number from 2 to 100000"),
        ({"minimum_group": True}, "minimum_group is true"),
        ({"query_epsilon": 3}, "above most_epsilon"),
        ({"principal_epsilon": 31}, "above tenant_epsilon"),
        ({"test_epsilon": 0}, "test_epsilon is 0"),
        ({"test_delta": 0.5}, "test_delta"),
        ({"period_days": 0}, "period_days"),
        ({"budget": 1}, "budget is unknown"),
    ],
)
def test_what_does_not_hold_together_is_named(more, why):
    problems = _problems(**more)
    assert any(why in problem and problem.startswith("datasets.people") for problem in problems)


def test_every_problem_is_told_at_once():
    assert len(_problems(unit="", minimum_group=0, test_delta=9)) == 3
    for table in (3, {"people": 3}, {"No Name": GOOD}):
        with pytest.raises(FileProblems):
            parse_catalogue({"datasets": table})


def test_epsilons_are_exact():
    assert micro_epsilon(0.1) * 3 == micro_epsilon(0.3)
    assert [epsilon_text(micro) for micro in (0, 500_000, 10 * MICRO)] == ["0", "0.5", "10"]
    assert [micro_epsilon(value) for value in (0, 0.001, "1", True, float("nan"))] == [None] * 5
