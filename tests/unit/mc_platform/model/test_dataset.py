"""Datasets as an operator declares them."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from mc_platform.model.dataset import MICRO, epsilon_text, micro_epsilon, parse_datasets

ROOT = Path(__file__).parents[4]
GOOD = {
    "url": "http://records/people",
    "tenants": ["T"],
    "unit": "id",
    "columns": {"plan": {"values": ["b", "a"]}, "spend": {"lower": 0, "upper": 10, "step": 0.01}},
}


def _problems(**more):
    found, problems = parse_datasets({"datasets": {"people": GOOD | more}}, ["T"])
    assert bool(found) is not bool(problems)
    return problems


def test_the_local_catalogue_declares_one_that_its_source_serves():
    raw = tomllib.loads((ROOT / "deploy/local/catalogue.toml").read_text())
    found, problems = parse_datasets(raw, raw["tenants"])
    assert problems == []
    declared = found["customers"]
    assert declared.minimum_group == 10
    assert declared.principal_epsilon == 10 * MICRO
    assert declared.columns["spend"].upper == 1000 * 100


def test_bounds_are_kept_in_steps():
    found, _ = parse_datasets({"datasets": {"people": GOOD}}, ["T"])
    spend, plan = (found["people"].columns[name] for name in ("spend", "plan"))
    assert (spend.lower, spend.upper, spend.step) == (0, 1000, Decimal("0.01"))
    assert [spend.clamped(value) for value in (-1, 0.07, 3.14, 99)] == [0, 7, 314, 1000]
    assert plan.values == ("a", "b")
    assert parse_datasets({}) == ({}, [])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"unit": "plan"}, "also a column"),
        ({"unit": ""}, "unit is missing"),
        ({"url": None}, "url is missing"),
        ({"tenants": ["U"]}, "'U' is not in the catalogue"),
        ({"tenants": "T"}, "tenants must be a list"),
        ({"columns": {}}, "one column at least"),
        ({"columns": {"x": {"lower": 0}}}, "columns.x.upper is None"),
        ({"columns": {"x": {"lower": 3, "upper": 3}}}, "lower below upper"),
        ({"columns": {"x": {"lower": 0, "upper": 1, "step": 0}}}, "step must be above 0"),
        ({"columns": {"x": {"lower": 0, "upper": 1, "step": 0.3}}}, "whole multiples"),
        ({"columns": {"x": {"lower": 0, "upper": float("inf")}}}, "upper is inf"),
        ({"columns": {"x": {"values": []}}}, "list of 1 to 1000 words"),
        ({"columns": {"x": {"values": ["a"], "lower": 0}}}, "one or the other"),
        ({"columns": {"x": {"lower": 0, "upper": 1, "max": 1}}}, "unknown key 'max'"),
        ({"columns": {"X Y": {"values": ["a"]}}}, "a name must be"),
        ({"minimum_group": 1}, "from 2 to"),
        ({"minimum_group": True}, "minimum_group is True"),
        ({"query_epsilon": 3}, "above most_epsilon"),
        ({"principal_epsilon": 31}, "above tenant_epsilon"),
        ({"test_epsilon": 0}, "test_epsilon is 0"),
        ({"test_delta": 0.5}, "test_delta"),
        ({"period_days": 0}, "period_days"),
        ({"budget": 1}, "unknown key 'budget'"),
    ],
)
def test_what_does_not_hold_together_is_named(more, why):
    problems = _problems(**more)
    assert any(why in problem and problem.startswith("datasets.people") for problem in problems)


def test_every_problem_is_told_at_once():
    assert len(_problems(unit="", minimum_group=0, test_delta=9)) == 3
    assert parse_datasets({"datasets": 3})[1]
    assert parse_datasets({"datasets": {"people": 3}})[1]
    assert parse_datasets({"datasets": {"No Name": GOOD}})[1]


def test_epsilons_are_exact():
    assert micro_epsilon(0.1) * 3 == micro_epsilon(0.3)
    assert [epsilon_text(micro) for micro in (0, 500_000, 10 * MICRO)] == ["0", "0.5", "10"]
    assert [micro_epsilon(value) for value in (0, 0.001, "1", True, float("nan"))] == [None] * 5
