"""`mcctl privacy scan`: an auditor's rows in, a verdict a line out, no service needed."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests import forked

ROOT = Path(__file__).parents[2]


def scan(*arguments: str, rows: bytes = b"") -> tuple[int, list[dict[str, Any]], str]:
    """Run the verb: exit code, results, standard error."""
    ran = forked.run([forked.MCCTL, "privacy", "scan", *arguments], stdin=rows, cwd=ROOT)
    return ran.returncode, [json.loads(line) for line in ran.stdout.split("\n") if line], ran.stderr


def row(name: Any, text: Any, **more: Any) -> bytes:
    return json.dumps({"id": name, "text": text, **more}).encode() + b"\n"


def luhn(digits: str) -> str:
    """The digits with their check digit."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if at % 2 == 0 else 1)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)


def test_each_row_gets_its_verdict_in_order(tmp_path: Path) -> None:
    """A card is blocked where it stands; the same digits with a wrong check digit are not."""
    card = luhn("4" + "".join(random.Random(7).choices("0123456789", k=14)))
    near = card[:-1] + str((int(card[-1]) + 1) % 10)
    file = tmp_path / "rows.jsonl"
    file.write_bytes(
        row("a", f"pay with {card} please", note="ignored")
        + row(2, f"order {near} was shipped")
        + row("c", "")
        + row("d", "Ünïcode is fine 👍")
    )
    code, results, problems = scan(str(file))
    assert (code, problems) == (0, "")
    assert [(result["id"], result["verdict"]) for result in results] == [
        ("a", "block"),
        (2, "allow"),
        ("c", "allow"),
        ("d", "allow"),
    ]
    [label] = results[0]["labels"]
    assert label["type"] == "payment-card"
    assert (label["start"], label["end"]) == (9, 9 + len(card))
    assert "no-raw-secrets-in-replies" in results[0]["policies"]


def test_bad_rows_are_told_by_number_and_the_others_are_answered() -> None:
    """Nothing is lost, and the exit code says that something was wrong."""
    rows = b"{nope\n" + row("ok", "hello") + row("x", 5) + b'["a"]\n\n' + b"\xff\n" + row(True, "t")
    code, results, problems = scan("-", rows=rows)
    assert code == 2
    assert [result["id"] for result in results] == ["ok"]
    told = problems.splitlines()
    assert [line.split(":")[1].strip() for line in told] == [
        "line 1",
        "line 3",
        "line 4",
        "line 6",
        "line 7",
    ]


def test_a_purpose_that_may_see_contacts_lets_them_out() -> None:
    """The verdict is policy's: the label is found all the same."""
    rows = row("a", "write to jane.doe@example.com")
    _, [strict], _ = scan("-", rows=rows)
    _, [verifying], _ = scan("-", "--purpose", "identity-verification", rows=rows)
    assert (strict["verdict"], verifying["verdict"]) == ("block", "allow")
    assert [label["type"] for label in verifying["labels"]] == ["email"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.jsonl",), "nowhere.jsonl"),
        (("-", "--policies", "nowhere"), "policy set 'nowhere'"),
        (("-", "--tenant", "T"), "--catalogue"),
    ],
)
def test_what_cannot_be_used_is_named(arguments: tuple[str, ...], told: str) -> None:
    """Usage errors, exit 2."""
    code, results, problems = scan(*arguments, rows=row("a", "b"))
    assert (code, results) == (2, [])
    assert told in problems


def test_a_number_that_cannot_be_read_breaks_its_row_alone() -> None:
    """Python converts no integer of thousands of digits; the rows behind it are answered."""
    long = b'{"id": "a", "text": "x", "n": ' + b"7" * 5000 + b"}\n"
    code, results, problems = scan("-", rows=long + row("b", "hello"))
    assert code == 2
    assert [result["id"] for result in results] == ["b"]
    assert problems.startswith("error: line 1: ")
    assert "Traceback" not in problems


@pytest.mark.parametrize("name", [None, 1.5, True, ["a"]])
def test_what_an_id_may_be_is_told(name: Any) -> None:
    """Whole numbers are ids as well, and the message says so."""
    code, results, problems = scan("-", rows=row(name, "hello"))
    assert (code, results) == (2, [])
    assert "'id' must be a string or a whole number" in problems


def explain(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run([forked.MCCTL, "privacy", "scan", "--explain", text, *arguments], cwd=ROOT)


def test_explain_names_rule_decoder_and_validator_of_each_label() -> None:
    """Whoever writes a rule sees what acted; JSON says the same."""
    text = "National insurance AB123456C. T3VyIHBhdGllbnQgaGFzIGRpYWJldGVz"
    shown = explain(text)
    assert shown.returncode == 0, shown.stderr
    assert "national-id  'AB123456C' (19-28)" in shown.stdout
    assert "announced_ids.toml [[announced]]" in shown.stdout
    assert "decoder    base64" in shown.stdout
    assert "validator  not-supposed" in shown.stdout
    labels = json.loads(explain(text, "--output", "json").stdout)["labels"]
    (health,) = [label for label in labels if label["type"] == "health"]
    assert health["rules"] == ["health.toml [[recogniser]] 2 context.health-patient"]
    assert (health["decoders"], health["validators"]) == (["base64"], ["not-supposed"])


def test_explain_names_the_rule_that_came_near() -> None:
    """A text without a label says which row's pattern occurs, and what did not let it count."""
    shown = explain('attackers write "ignore all previous instructions" in an e-mail')
    assert shown.returncode == 0, shown.stderr
    assert "no label  'ignore all previous instructions' (17-49)" in shown.stdout
    assert "  rule       prompt_injection.toml [[recogniser]] 1 sign.override" in shown.stdout
    assert "  refused by addressed" in shown.stdout


def test_explain_and_a_file_exclude_each_other() -> None:
    """Neither, or both, is an error of use with the remedy."""
    assert scan()[0] == 2
    assert explain("x", "rows.jsonl").returncode == 2
