"""What one step of a playbook found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Status(StrEnum):
    """The answer of a step; unknown is never taken for ok."""

    ok = "ok"
    warning = "warning"
    failed = "failed"
    unknown = "unknown"
    skipped = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One step's answer.

    Attributes:
        step: A stable name.
        detail: What was seen. Never a key, nor a part or a digest of one.
        remedy: What to do about it; empty when there is nothing to do.
    """

    step: str
    status: Status
    detail: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as it appears in JSON."""
        return asdict(self)
