"""What this process is: its own id, and digests of what it runs with, as `/health` tells them.

Whoever measures this process records them (docs/how-to/evidence.md, "What is bound to what"). They are
computed by the process itself when it starts; only the policy set may change while it runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mc_contract.canonical import canonical_json
from mc_contract.running import code_digest
from mc_platform.settings import Settings

_PACKAGES = ("mc_contract", "mc_platform")
_COMPILED = "__pycache__"
COMMIT_FILE = "COMMIT"
_COMMIT = re.compile(r"([0-9a-f]{7,64})(-dirty)?(?: ([0-9a-f]{64}))?")
# What tells replicas of one release apart is no part of what they have in common
_OWN = frozenset({"colour", "replica", "host", "port", "pod_uid"})


class Running:
    """What runs here, and under which names."""

    def __init__(
        self,
        settings: Settings,
        *,
        version: str,
        catalogue: str,
        policy_set: Callable[[], str],
        keys: Callable[[], str],
        entities: str = "",
    ) -> None:
        """Compute the digests.

        Args:
            version: Of the package.
            catalogue: Digest of the catalogue in force.
            policy_set: Gives the digest of the set in force.
            keys: Tells which keys are in use, without a secret.
            entities: The identity of the entity recogniser, if there is one.
        """
        self._policy_set = policy_set
        self._keys = keys
        faults = {
            "slow_factor": (settings.fault_slow_factor, 1.0),
            "error_ratio": (settings.fault_error_ratio, 0.0),
        }
        self._names = {
            "service": "agent-workbench",
            "version": version,
            "colour": settings.colour,
            "replica": settings.replica,
            "region": settings.region,
            "faults": {name: now for name, (now, usual) in faults.items() if now != usual},
        }
        code = code_digest(_files(_root()))
        self._fixed = {
            "instance": str(uuid.uuid4()),
            "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "pid": str(os.getpid()),
            "pod_uid": settings.pod_uid or None,
            "commit": _commit(_root(), code),
            "code": code,
            "catalogue": catalogue,
            "configuration": configuration_digest(settings, entities),
        }

    def identity(self) -> dict[str, Any]:
        """What `/health` says of this process."""
        running = {**self._fixed, "policy_set": self._policy_set(), "keys": self._keys()}
        return {**self._names, "running": running}


def configuration_digest(settings: Settings, entities: str = "") -> str:
    """SHA-256 of the settings in force, defaults included; of a secret only whether it is set.

    The setting of the entity recogniser counts as what it loaded.
    """
    told = {
        name: _plain(value) for name, value in settings.model_dump().items() if name not in _OWN
    }
    told["ner_pipeline"] = entities
    return hashlib.sha256(canonical_json(told)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return {"secret": bool(value.get_secret_value())}
    return value if isinstance(value, bool | int | float | None) else str(value)


def _root() -> Path:
    """The folder that has the packages which this process runs."""
    return Path(__file__).resolve().parents[2]


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and _COMPILED not in path.parts:
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _commit(root: Path, code: str) -> str | None:
    """The commit that whoever made this release wrote beside its packages, if anyone did.

    Beside it may stand the digest of the code that it is of: other code is `-dirty`.
    """
    try:
        told = (root / COMMIT_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    found = _COMMIT.fullmatch(told)
    if found is None:
        return None
    commit, changed, digest = found.groups()
    return f"{commit}-dirty" if changed or digest not in (None, code) else commit
