"""What an operator reads of operations and of the autonomy switch: the service's JSON as lines.

Pure but for `follow`, which asks again and again what it is given to ask. Left to others: HTTP
(`service_client`), printing and exit codes (`cli`).

    for line in timeline_lines(client.operation(id)["timeline"]):
        print(line)
"""

from __future__ import annotations

from mc_ops.operations.follow import News, follow
from mc_ops.operations.switch import ScopeRow, scope_rows, unknown_tenant
from mc_ops.operations.text import (
    ENDED,
    ago,
    describe,
    engine_text,
    instant,
    since_text,
    timeline_lines,
)

__all__ = [
    "ENDED",
    "News",
    "ScopeRow",
    "ago",
    "describe",
    "engine_text",
    "follow",
    "instant",
    "scope_rows",
    "since_text",
    "timeline_lines",
    "unknown_tenant",
]
