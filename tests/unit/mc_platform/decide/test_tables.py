"""Policy tables: a row that says nothing, or something unknown, is no example."""

from __future__ import annotations

import tomllib

import pytest

from mc_platform.decide import BrokenTable, failing, parse_table
from mc_platform.model.ids import DecisionId
from mc_platform.model.verdict import Decision, Question

TABLE = """
[tenant]
residency = "eu"
purposes = ["support"]
agents = []
autonomy_tier = 0
[question]
action = "ReadOperations"
resource_type = "Platform"
resource_id = "platform"
[[row]]
name = "an operator"
principal = { role = "operator" }
allow = true
policies = ["b", "a"]
"""


def _deny(question: Question) -> Decision:
    return Decision(DecisionId("dec_1"), False, question.action, (), "no", "")


def test_a_failing_row_tells_what_it_expected_and_got() -> None:
    """The reader sees both answers and the policies of each."""
    rows = parse_table("platform", tomllib.loads(TABLE))
    assert rows[0].question.principal.role == "operator"
    assert failing(rows, _deny) == [
        "platform: an operator: expected allow by a, b, got deny by no policy"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("allow = true\n", "", r"platform: row\[0\].allow is missing"),
        ("allow = true", 'allow = "yes"', r'row\[0\].allow is "yes", must be true or false'),
        ('policies = ["b", "a"]', 'policies = "a"', r'row\[0\].policies is "a", must be a list'),
        ("allow = true", "allow = true\nalow = false", r"row\[0\].alow is unknown; did you mean"),
        ('{ role = "operator" }', '{ rank = "operator" }', r"row\[0\].principal.rank is unknown"),
        ("autonomy_tier = 0", "tier = 0", "platform: an operator: tenant.tier is unknown"),
        (
            "autonomy_tier = 0",
            "autonomy_tier = 2.9",
            "tenant.autonomy_tier is 2.9, must be a whole",
        ),
        ('residency = "eu"', "residency = 7", "tenant.residency is 7, must be text"),
        ('resource_id = "platform"', 'resource = "platform"', "question.resource is unknown"),
        (
            'resource_id = "platform"',
            'resource_id = "platform"\ntainted = "yes"',
            'question.tainted is "yes", must be true or false',
        ),
        (
            'resource_id = "platform"',
            'resource_id = "platform"\nlabels = "email"',
            'question.labels is "email", must be a list',
        ),
        ('"ReadOperations"', '"ReadOperation"', "unknown 'ReadOperation'; did you mean ReadOpera"),
        ('name = "an operator"\n', "", r"platform: row\[0\].name is missing"),
        ("[[row]]", "[row]", "platform: row is a table, must be a list"),
        ("[tenant]", "[tenants]\n[tenant]", "platform: tenants is unknown; did you mean tenant"),
    ],
)
def test_a_broken_table_is_refused(old: str, new: str, problem: str) -> None:
    """It names the table, the row and the problem."""
    assert TABLE.count(old) == 1
    with pytest.raises(BrokenTable, match=problem):
        parse_table("platform", tomllib.loads(TABLE.replace(old, new)))


def test_two_rows_of_one_name_are_refused() -> None:
    """A report that names a row must name one."""
    row = TABLE[TABLE.index("[[row]]") :]
    with pytest.raises(BrokenTable, match="two rows have this name"):
        parse_table("platform", tomllib.loads(TABLE + row))
