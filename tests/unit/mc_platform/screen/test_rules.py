"""The rule files: each row finds what it says, and what cannot be used is told by row and reason."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import re2

from mc_platform.errors import Misconfigured
from mc_platform.model.label import CLASSES
from mc_platform.screen import LibraryScreener, rules
from mc_platform.screen.detectors import registry
from mc_platform.screen.detectors.recogniser import recognisers
from mc_platform.screen.findings import BY_SEVERITY, Budget
from mc_platform.screen.rules import FOLDER, RuleFile, rule_file
from mc_platform.screen.text.normalise import normalise

SCREENER = LibraryScreener()
FILES = sorted(path.stem for path in FOLDER.glob("*.toml"))
LABELS = {"street": "postal-address", "key": "secret-key", "issuer": "payment-card"}


def _detector(table: str, row) -> str:
    """The name that labels give a row."""
    match table, row.name:
        case "street", _:
            return "context.address"
        case "key", name:
            return f"form.{name}"
        case "issuer", _:
            return "stdnum.luhn"
        case "digits" | "lettered", name:
            return "shape.gb.nino" if name == "gb.nino" else f"stdnum.{name}"
        case _:
            return row.name


def _rows() -> Iterator[tuple[str, str, object]]:
    for file in FILES:
        for table in rules.ROWS:
            for at, row in enumerate(getattr(rule_file(file).table, table)):
                yield pytest.param(file, table, row, id=f"{file}-{table}-{at}-{row.name}")


def _found(text: str) -> set[tuple[str, str]]:
    return {(label.detector, label.type) for label in SCREENER.screen(({"text": text},)).labels}


@pytest.mark.parametrize(("file", "table", "row"), _rows())
def test_row_finds_its_positive_example_and_not_its_negative_one(file, table, row) -> None:
    """The label is the row's own, and the row's own pattern occurs in its example."""
    label = getattr(row, "label", LABELS.get(table, "national-id"))
    sought = (_detector(table, row), label)
    assert sought in _found(row.positive)
    assert sought not in _found(row.negative)
    if table in ("recogniser", "street"):
        pattern = re2.compile(rule_file(file).expand(row.pattern))
        assert pattern.search(normalise(row.positive).text)


def test_every_label_has_a_class() -> None:
    """What screening can find, policies can speak of; and nothing else is listed."""
    assert set(BY_SEVERITY) == set(CLASSES)


ROW = """
[[recogniser]]
name = "context.sample"
label = "person-name"
pattern = '(?P<value>x)'
reason = "It is a sample."
positive = "x"
negative = "y"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW + "colour = 1", "'context.sample' colour is unknown"),
        (ROW.replace("person-name", "names"), "'context.sample' has the unknown label 'names'"),
        (ROW.replace("'(?P<value>x)'", "'(x'"), "'context.sample' pattern: is no RE2 pattern"),
        (
            ROW.replace("'(?P<value>x)'", "'%{gone}'"),
            "'context.sample' pattern: no fragment 'gone'",
        ),
        (ROW.replace('negative = "y"', ""), "'context.sample' negative is missing"),
        (ROW + 'confidence = "high"', "'context.sample' confidence"),
        (ROW + 'group = "gone"', "'context.sample' is of the unknown group 'gone'"),
        ("[fragments]\na = '%{b}'\nb = '%{a}'\n[groups.x]\nprefilter = '%{a}'", "one another"),
        (
            "[words]\nhealth-keys = 'blood_type'",
            "words.health-keys: write 'blood_type' as 'bloodtype'",
        ),
        ("[[recogniser]", "Expected"),
    ],
)
def test_what_is_wrong_is_told_with_file_row_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """A file that cannot be used is refused, and the message leads to the row."""
    shutil.copy(FOLDER / "common.toml", tmp_path)
    (tmp_path / "sample.toml").write_text(text)
    monkeypatch.setattr(rules, "FOLDER", tmp_path)
    with pytest.raises(Misconfigured) as raised:
        rules.rule_file.__wrapped__("sample")
    assert said in str(raised.value)
    assert str(tmp_path / "sample.toml") in str(raised.value)
    assert "add-a-screening-rule" in raised.value.hint


def test_a_validator_that_does_not_exist_is_told_with_those_that_do() -> None:
    """A row names its validator; a wrong name lists the known ones."""
    table = RuleFile.model_validate(
        {
            "recogniser": [
                {
                    "name": "context.sample",
                    "label": "person-name",
                    "pattern": "(?P<value>x)",
                    "reason": "It is a sample.",
                    "positive": "x",
                    "negative": "y",
                    "validator": "gone",
                }
            ]
        }
    )
    with pytest.raises(Misconfigured, match="unknown validator 'gone'; known: in-record"):
        list(recognisers(rules.Rules("sample", table, {}), {"in-record": lambda *_: True}))


@pytest.mark.parametrize("row", ["validator = 'stdnum.luhn'", "validator = 'stdnum.gone'"])
def test_a_row_may_name_a_check_of_the_library(row: str) -> None:
    """`stdnum.` and a module of python-stdnum is a validator; a module that is not there is told."""
    text = ROW.replace("(?P<value>x)", r"loyalty (?P<value>\d+)") + row
    sample = rules.Rules("sample", RuleFile.model_validate(tomllib.loads(text)), {})
    if "gone" in row:
        with pytest.raises(
            Misconfigured, match=r"context.sample: python-stdnum has no 'stdnum.gone'"
        ):
            list(recognisers(sample))
        return
    ((_, recognise),) = recognisers(sample)
    budget = Budget(per_leaf=100, per_message=100)
    text = "loyalty 18, loyalty 19"
    assert [text[f.start : f.end] for f in recognise(text, "", budget)] == ["18"]


def test_a_rule_file_that_no_module_reads_needs_no_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new topic is a new file: its recognisers are among the others."""
    shutil.copy(FOLDER / "common.toml", tmp_path)
    (tmp_path / "loyalty.toml").write_text(ROW)
    monkeypatch.setattr(rules, "FOLDER", tmp_path)
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    ((prefilter, recognise),) = registry.of_files_alone()
    assert prefilter == "(?P<value>x)"
    budget = Budget(per_leaf=100, per_message=100)
    assert [found.detector for found in recognise("x", "", budget)] == ["context.sample"]


def test_the_row_in_the_guide_works() -> None:
    """What the guide shows is a row that finds its own example."""
    guide = Path(__file__).parents[4] / "docs/how-to/add-a-screening-rule.md"
    (block,) = re.findall(r"```toml\n(.*?)```", guide.read_text(), re.DOTALL)
    table = RuleFile.model_validate(tomllib.loads(block))
    shown = rules.Rules("shown", table, rule_file("common").table.fragments)
    ((prefilter, recognise),) = recognisers(shown)
    (row,) = table.recogniser
    assert re2.search(prefilter, row.positive)
    budget = Budget(per_leaf=100, per_message=100)
    assert [row.positive[f.start : f.end] for f in recognise(row.positive, "", budget)] == [
        "M1234567"
    ]
    assert not list(recognise(row.negative, "", budget))


def test_what_code_asks_for_and_is_gone_is_told() -> None:
    """A list or a fragment that code reads cannot be deleted unnoticed, nor hold no pattern."""
    table = RuleFile.model_validate({"fragments": {"broken": "(x"}})
    sample = rules.Rules("sample", table, {})
    for ask, said in (
        (lambda: sample.words("gone"), "words: gone is missing"),
        (lambda: sample.pattern("gone"), "fragments: 'gone' is missing"),
        (lambda: sample.re2("broken"), "fragments broken: is no RE2 pattern"),
        (lambda: sample.re("broken"), "fragments broken: is no pattern"),
    ):
        with pytest.raises(Misconfigured, match=said):
            ask()
