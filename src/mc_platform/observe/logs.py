"""Structured logs: one JSON object a line, on stdout.

Two greps of the runbook are contracts: `policy.*deny` finds denials and nothing else,
`siem.*success` finds delivered batches and nothing else. A value of another event that would
match is written with one letter as a JSON escape: the same JSON, invisible to the grep.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

DENIAL = "policy_decision"
DELIVERY = "siem_delivery"

_CONTRACTS = (
    (re.compile(r"policy.*deny"), DENIAL, "deny", "den\\u0079"),
    (re.compile(r"siem.*success"), DELIVERY, "success", "succes\\u0073"),
)


def render(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    """Encode one event; `event` comes first, other keys in the order given."""
    event = str(fields.pop("event", ""))
    line = msgspec.json.encode({"event": event, **fields}, enc_hook=str).decode()
    for pattern, owner, word, escaped in _CONTRACTS:
        if event != owner and pattern.search(line):
            line = line.replace(word, escaped)
    return line


def configure(level: str) -> None:
    """Send structlog and the standard library's loggers through `render` to stdout.

    The A2A SDK's own loggers are silenced below CRITICAL: they quote request data.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("a2a").setLevel(logging.CRITICAL)


def get(room: str) -> Any:
    """A logger that names the room of its lines."""
    return structlog.get_logger().bind(room=room)
