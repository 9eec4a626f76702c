"""What the operation engine says of an operation: where it is now, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """Where the engine has an operation."""

    queued = "queued"
    """It waits for its turn."""
    running = "running"
    adopting = "adopting"
    """Its replica is gone; a living one takes it over."""
    waiting = "waiting"
    """It belongs to an application version that no living replica runs."""
    ended = "ended"


@dataclass(frozen=True, slots=True)
class EngineState:
    """One operation in the engine.

    Attributes:
        replica: Which replica runs it, or had it last; may be empty while it is queued.
        version: The application version that it belongs to.
    """

    phase: Phase
    replica: str = ""
    version: str = ""
