"""Outside cases: read whole, or refused with the line that is wrong."""

from __future__ import annotations

import json

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.redteam import read_corpus

GOOD = {"id": "a", "scenario": "Direct PII!", "text": "4111 1111 1111 1111", "expect": "block"}


def test_rows_become_cases_of_their_scenario(tmp_path):
    """The agent answers with the text; an honest one is the message, too."""
    file = tmp_path / "c.jsonl"
    honest = {"id": 2, "scenario": "", "text": "hello", "expect": "allow", "more": 1}
    file.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(honest)}\n")
    attack, benign = read_corpus(file)
    assert (attack.id, attack.family, attack.kind) == ("corpus-a", "corpus-direct-pii", "attack")
    assert attack.asks[0].reply == ({"text": GOOD["text"]},) != attack.asks[0].parts
    assert (attack.whole, attack.canaries) == (GOOD["text"], ())
    assert benign.asks[0].reply == benign.asks[0].parts == ({"text": "hello"},)
    assert (benign.family, benign.kind, benign.expected) == ("corpus-unnamed", "benign", "hello")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 1 is no JSON"),
        ("[]", "line 1 is no JSON object"),
        (json.dumps(GOOD | {"id": None}), "line 1: `id`"),
        (json.dumps(GOOD | {"text": " "}), "line 1: `text`"),
        (json.dumps(GOOD | {"expect": "maybe"}), "line 1: `expect`"),
        (json.dumps(GOOD | {"text": "a \ud800"}), "half a surrogate pair"),
        (json.dumps(GOOD | {"id": "x" * 121}), "over 120 characters"),
        (json.dumps(GOOD) + "\n" + json.dumps(GOOD), "'a' is there twice"),
        ("", "no rows"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, line, problem):
    """By line, and before anything is attacked."""
    file = tmp_path / "c.jsonl"
    file.write_text(line)
    with pytest.raises(UnusableInput, match=problem):
        read_corpus(file)
