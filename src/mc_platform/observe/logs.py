"""Structured logs: one JSON object a line, on stdout.

Two greps of the runbook are contracts: `policy.*deny` finds denials and nothing else,
`siem.*success` finds delivered batches and nothing else. A value of another event that would
match is written with one letter as a JSON escape: the same JSON, invisible to the grep.
"""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

from mc_contract import log_lines

DENIAL = "policy_decision"
DELIVERY = "siem_delivery"

_CONTRACTS = (
    (re.compile(r"policy.*deny"), DENIAL, "deny", "den\\u0079"),
    (re.compile(r"siem.*success"), DELIVERY, "success", "succes\\u0073"),
)


def render(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    """Encode one event; `event` comes first, other keys in the order given."""
    event = str(fields.get("event", ""))
    line = log_lines.render(_logger, _method, fields)
    for pattern, owner, word, escaped in _CONTRACTS:
        if event != owner and pattern.search(line):
            line = line.replace(word, escaped)
    return line


def configure(level: str) -> None:
    """Log through `render` to standard output.

    The A2A SDK's own loggers are silenced below CRITICAL: they quote request data.
    """
    log_lines.configure(level, render)
    logging.getLogger("a2a").setLevel(logging.CRITICAL)


def get(room: str) -> Any:
    """A logger that names the room of its lines."""
    return structlog.get_logger().bind(room=room)
