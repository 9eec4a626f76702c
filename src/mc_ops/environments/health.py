"""What a process says of itself in its /health, wherever it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

NO_ANSWER = "does not answer"


@dataclass(frozen=True, slots=True)
class Health:
    """What a process says of itself: whether it can serve, the word for it, faults in it.

    Attributes:
        replica: Its name, as it knows it.
        code: The digest of the code that it runs.
        catalogue: The digest of the catalogue that it began with.
        ships: Whether it, and not another replica, ships to the SIEM (or there is none).
    """

    healthy: bool
    word: str
    faults: Mapping[str, Any] = field(default_factory=dict)
    replica: str = ""
    code: str = ""
    catalogue: str = ""
    ships: bool = False


def read_health(status: int, content: bytes) -> Health:
    """What an answer of /health says."""
    try:
        body = _object(json.loads(content))
    except (ValueError, RecursionError):
        return Health(healthy=False, word="answers no JSON")
    running, dependencies = _object(body.get("running")), body.get("dependencies")
    shipper = _object(_object(dependencies).get("siem")).get("shipper")
    return Health(
        healthy=status == HTTPStatus.OK,
        word=str(body.get("status", status)),
        faults=_object(body.get("faults")),
        replica=str(body.get("replica", "")),
        code=str(running.get("code") or ""),
        catalogue=str(running.get("catalogue") or ""),
        ships=isinstance(dependencies, dict) and shipper not in ("standby", "starting"),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
