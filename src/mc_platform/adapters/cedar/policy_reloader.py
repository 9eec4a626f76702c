"""The policy set in force, and how another one comes in its place while the service runs.

A directory is looked at every few seconds. What stands there comes into force only if

- it was seen unchanged twice, so that a half-written set is never taken,
- a process of its own survived judging it (`validation_sandbox`),
- it parses and validates, and
- its own tables (`tests/*.toml`), if it has any, all hold.

Else the set in force stays, and the reason is kept for `/health`. The change is one assignment:
every decision is made by one whole set, and bears that set's digest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from mc_platform.adapters.cedar.decision_point import (
    CedarDecisionPoint,
    PolicyFiles,
    checked_point,
    new_decision_id,
    read_policy_files,
)
from mc_platform.adapters.cedar.validation_sandbox import validate_apart
from mc_platform.decide import outside_scopes
from mc_platform.errors import Misconfigured
from mc_platform.model.ids import DecisionId
from mc_platform.model.verdict import Decision, Question
from mc_platform.observe import metrics

_MOST_UNTOLD = 64
_MOST_REASON_CHARS = 500
_log = structlog.get_logger()

Told = Callable[[str, str, str], Awaitable[None]]
"""Is told (digest in force before, digest of the other set, reason); the reason of a change is
empty, and the digest of a set that cannot be read is, too."""


async def _nobody(_old: str, _new: str, _reason: str) -> None:
    """Nobody wants to be told."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stood in the directory at one look: `files`, or why they cannot be read."""

    key: str
    files: PolicyFiles | None
    problem: str = ""


class PolicyReloader:
    """A `ports.DecisionPoint` that asks the set in force; safe to share between threads.

    Build it with `load`; call `look` every few seconds.
    """

    def __init__(
        self,
        policy_dir: Path,
        point: CedarDecisionPoint,
        *,
        on_changed: Told = _nobody,
        on_refused: Told = _nobody,
        new_id: Callable[[], DecisionId] = new_decision_id,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        validate: Callable[[PolicyFiles], Awaitable[str]] = validate_apart,
        tenants: int = 0,
    ) -> None:
        self._dir = policy_dir
        self._point = point
        self._on_changed = on_changed
        self._on_refused = on_refused
        self._new_id = new_id
        self._tenants = tenants
        self._clock = clock
        self._validate = validate
        self._since_at = clock()
        self._refused: dict[str, str] | None = None
        self._seen = ""
        self._judged = ""
        self._untold: deque[tuple[Told, str, str, str]] = deque(maxlen=_MOST_UNTOLD)
        self._turn = asyncio.Lock()

    @classmethod
    def load(cls, policy_dir: Path, **options: Any) -> PolicyReloader:
        """Read and check the first set; options are those of the constructor.

        Raises:
            Misconfigured: the set is broken, or its own tables fail: nothing could be in force.
        """
        new_id = options.get("new_id", new_decision_id)
        files, tenants = read_policy_files(policy_dir), options.get("tenants", 0)
        return cls(policy_dir, checked_point(files, new_id=new_id, tenants=tenants), **options)

    def decide(self, question: Question) -> Decision:
        """Answer one question by the set in force, if the credential's scopes cover the action."""
        point = self._point
        return outside_scopes(question, self._new_id, point.digest) or point.decide(question)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the policy set in force."""
        return self._point.digest

    def held(self) -> dict[str, dict[str, str]]:
        """The policies in force by id, each with digests of what it says, and the schema."""
        return self._point.held()

    def state(self) -> dict[str, Any]:
        """`{"digest", "since", "refused": {"digest", "reason"} | None}`, fit for anyone to see."""
        return {
            "digest": self._point.digest,
            "since": self._since_at.isoformat(timespec="seconds"),
            "refused": None if self._refused is None else dict(self._refused),
        }

    async def look(self) -> None:
        """Look once; a set that was seen the last time, too, and not yet judged, is judged."""
        async with self._turn:
            seen = await asyncio.to_thread(_look_at, self._dir)
            unchanged, self._seen = seen.key == self._seen, seen.key
            if unchanged and seen.key != self._judged:
                await self._judge(seen)
                self._judged = seen.key
            await self._tell()

    async def _judge(self, seen: _Seen) -> None:
        old = self._point.digest
        if seen.files is None:
            self._refuse(old, "", seen.problem)
            return
        try:
            problem = "" if seen.files.digest == old else await self._validate(seen.files)
            if problem:
                self._refuse(old, seen.files.digest, problem)
                return
            point = await asyncio.to_thread(
                checked_point, seen.files, new_id=self._new_id, tenants=self._tenants
            )
        except Misconfigured as error:
            self._refuse(old, seen.files.digest, error.message)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the set in force stays
            self._refuse(old, seen.files.digest, f"it cannot be judged: {type(error).__name__}")
            return
        self._refused = None
        if point.digest == old:
            return  # back to the set in force, or only its tables are others
        self._point, self._since_at = point, self._clock()
        metrics.policy_reloads.labels("applied").inc()
        _log.warning("policy_set_changed", old=old, new=point.digest)
        self._untold.append((self._on_changed, old, point.digest, ""))

    def _refuse(self, old: str, new: str, reason: str) -> None:
        short = reason[:_MOST_REASON_CHARS]
        self._refused = {"digest": new, "reason": short}
        metrics.policy_reloads.labels("refused").inc()
        _log.error("policy_set_refused", in_force=old, refused=new, reason=short)
        self._untold.append((self._on_refused, old, new, short))

    async def _tell(self) -> None:
        # Who is told may be unable to record it now; it is told again at the next look.
        while self._untold:
            told, old, new, reason = self._untold[0]
            try:
                await told(old, new, reason)
            except Exception as error:  # noqa: BLE001 - policy must not depend on who is told of it
                _log.warning("policy_change_not_told", reason=type(error).__name__)
                return
            self._untold.popleft()


def _look_at(policy_dir: Path) -> _Seen:
    try:
        files = read_policy_files(policy_dir)
    except Misconfigured as error:
        return _Seen(key=f"unreadable: {error.message}", files=None, problem=error.message)
    tables = "".join(
        f"{sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.tables.items()
    )
    return _Seen(key=f"{files.digest} {sha256(tables.encode()).hexdigest()}", files=files)
