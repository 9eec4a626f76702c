"""Flow labels: what a conversation has had in it, and so what may still go where.

Content from outside (an agent's reply, a tool's result, a document) may hold instructions. What it
says is not judged; it taints. A tainted conversation reaches only the agents that were named
before, enacts only what its tenant allows for that case, and never raises its tier: policy sees
all of it (`model.verdict.Question`). The labels are kept with each task, so they outlive a replica
and go with an operation to its results.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

AGENT_REPLY = "agent-reply"
TOOL_RESULT = "tool-result"
DOCUMENT = "document"
INJECTION_SIGN = "injection-sign"
DECLARED_ORIGINS = frozenset({AGENT_REPLY, TOOL_RESULT, DOCUMENT})
"""What a part may say of itself in `metadata.origin`."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What holds of a conversation up to some message.

    Attributes:
        origins: Where content from outside came from; empty: untainted.
        destinations: Agents that were named while it was untainted.
        hosts: Hosts of links that were named while it was untainted.
        tier: The highest autonomy tier that was used while it was untainted.
        classes: Data classes that were seen in it.
        tail: The end of its last message, sealed; see `record.Sealer`.
    """

    origins: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    tier: int = 0
    classes: frozenset[str] = frozenset()
    tail: str = ""

    @property
    def tainted(self) -> bool:
        """Whether content from outside is in it."""
        return bool(self.origins)

    def as_json(self) -> dict[str, Any]:
        """What is stored, and what `msgspec.convert` reads; empty attributes are left out."""
        told: dict[str, Any] = {}
        if self.origins:
            told["origins"] = sorted(self.origins)
        if self.destinations:
            told["destinations"] = sorted(self.destinations)
        if self.hosts:
            told["hosts"] = sorted(self.hosts)
        if self.tier:
            told["tier"] = self.tier
        if self.classes:
            told["classes"] = sorted(self.classes)
        if self.tail:
            told["tail"] = self.tail
        return told


UNTAINTED = Flow()


def joined(flows: Iterable[Flow]) -> Flow:
    """What holds after all of these, whatever their order; the first one's tail is kept.

    Taint and classes add up. So do destinations, hosts and tier: each was noted only while its own
    conversation was untainted.
    """
    every = list(flows)
    return Flow(
        origins=frozenset().union(*(flow.origins for flow in every)),
        destinations=frozenset().union(*(flow.destinations for flow in every)),
        hosts=frozenset().union(*(flow.hosts for flow in every)),
        tier=max((flow.tier for flow in every), default=0),
        classes=frozenset().union(*(flow.classes for flow in every)),
        tail=every[0].tail if every else "",
    )
