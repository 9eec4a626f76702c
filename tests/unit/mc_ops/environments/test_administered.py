"""What a command of the service printed, as it is read by everybody who runs one."""

from __future__ import annotations

import json
from subprocess import CompletedProcess

from mc_ops.environments.administered import report_of, said_by


def test_a_report_is_the_last_line_whatever_its_texts_hold():
    """U+2028 within a text ends no line: the report behind it would be no JSON."""
    report = {"reason": "one\u2028two"}
    out = f"earlier\n{json.dumps(report, ensure_ascii=False)}\n"
    assert report_of(CompletedProcess([], 0, out, "")) == report


def test_what_is_said_is_whole_and_never_nothing():
    """A line stays one line; a command that says nothing is known by its status."""
    assert said_by(CompletedProcess([], 3, "", "error: a\u2028b\nhint\n")) == [
        "error: a\u2028b",
        "hint",
    ]
    assert said_by(CompletedProcess([], 3, "", "")) == ["status 3"]
