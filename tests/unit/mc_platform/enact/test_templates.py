"""Templates in the bodies of declared calls."""

from __future__ import annotations

import pytest

from mc_platform.enact.templates import Scope, TemplateAbsent, problems, render

SCOPE = Scope(
    input={"n": 2, "deep": {"list": [1, None]}, "text": "x"}, result={"id": "r-1"}, effect_key="k"
)


def test_whole_template_keeps_its_type() -> None:
    """A string that is one template becomes the value, whatever its JSON type."""
    body = {"a": "{input.n}", "b": ["{input.deep}"], "c": {"d": "{result.id}"}, "e": "{effect_key}"}
    assert render(body, SCOPE) == {"a": 2, "b": [{"list": [1, None]}], "c": {"d": "r-1"}, "e": "k"}


def test_template_within_text_is_spelled_out() -> None:
    """Within longer text values are written as text, and other braces stay."""
    assert render({"a": "n={input.n}, {input.text}, {}", "b": 7}, SCOPE) == {
        "a": "n=2, x, {}",
        "b": 7,
    }


def test_absent_input_takes_its_key_away() -> None:
    """An optional input that was not given is not sent; within a list it is null."""
    assert render({"a": "{input.none}", "b": ["{input.none}"]}, SCOPE) == {"b": [None]}


def test_unknown_result_is_null() -> None:
    """A compensation whose effect's answer is unknown sends null."""
    assert render({"id": "{result.id}"}, Scope(input={}, result=None)) == {"id": None}


def test_absent_value_within_text_is_an_error() -> None:
    """Half a sentence is never sent."""
    with pytest.raises(TemplateAbsent, match=r"input\.none"):
        render({"a": "for {input.none}"}, SCOPE)


def test_values_are_not_templates_themselves() -> None:
    """A value that looks like a template is data: it is not filled again."""
    scope = Scope(input={"evil": "{effect_key} {input.secret}", "secret": "s"}, effect_key="k")
    assert render({"a": "{input.evil}", "b": "x {input.evil}"}, scope) == {
        "a": "{effect_key} {input.secret}",
        "b": "x {effect_key} {input.secret}",
    }


def test_problems_are_all_told() -> None:
    """Unknown names, and results where there are none yet, are told before anything runs."""
    body = {"a": "{result.id}", "b": ["{wrong}"], "c": {"d": "{effect_key}"}, "e": "{input.x}"}
    assert problems(body, undo=False) == [
        "template {result.id} has a meaning in `undo` only",
        "unknown template {wrong}; known: input.x, result.x, effect_key",
        "template {effect_key} has a meaning in `undo` only",
    ]
    assert problems({"a": "{result.id} {effect_key}"}, undo=True) == []
