"""What others wrote, as `mcctl` prints it: whole for a program, without commands for a terminal."""

from __future__ import annotations

import os
import pty
import sys

import pytest

from mc_ops.cli.output import emit_line

LINE = "alive\x1b[2K\x1b]0;title\x07\rready\u202e"


def test_a_line_of_a_log_sends_a_terminal_no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wipe what stands there, or write over it."""
    leader, follower = pty.openpty()
    try:
        with os.fdopen(follower, "w", encoding="utf-8") as terminal:
            monkeypatch.setattr(sys, "stdout", terminal)
            emit_line(LINE)
            terminal.flush()
            shown = os.read(leader, 1000).decode()
    finally:
        os.close(leader)
    assert shown == "alive\ufffd[2K\ufffd]0;title\ufffd\ufffdready\ufffd\r\n"


def test_a_program_gets_a_line_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    """What reads a pipe needs the bytes that were logged."""
    emit_line(LINE)
    assert capsys.readouterr().out == LINE + "\n"
