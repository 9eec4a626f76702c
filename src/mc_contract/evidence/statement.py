"""What a pack says: an in-toto Statement v1 whose predicate is ours.

One sha256 subject for each artefact; claims that can be recomputed from artefacts; controls that
say how they are known. `Statement.parse` collects every problem rather than stopping at the first,
and knows no optional or unknown fields: a field that nobody checks is a place to lie.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TypeVar

from mc_contract.canonical import Json
from mc_contract.evidence.strict import artifact_name_problem

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://mc-platform.example.com/evidence/v1"
MAX_CLAIMS = 200
MAX_CONTROLS = 100
MAX_SUBJECTS = 64
MAX_TEXT_CHARS = 1000

T = TypeVar("T")

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


class Status(StrEnum):
    """How a control is known; never a bare "passed"."""

    measured = "measured"
    declared = "declared, not measured"
    not_applicable = "not applicable"


@dataclass(frozen=True, slots=True)
class Release:
    """What the evidence is about; `commit` is None when it is not known."""

    name: str
    commit: str | None
    version: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A value, and how anyone recomputes it: `fn` over the artefacts `sources` with `params`."""

    id: str
    value: Json
    fn: str
    sources: tuple[str, ...]
    params: dict[str, Json]

    def as_dict(self) -> dict[str, Json]:
        """The claim as it stands in a predicate."""
        return {
            "id": self.id,
            "value": self.value,
            "fn": self.fn,
            "from": list(self.sources),
            "params": self.params,
        }


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that the release had to show, how that is known, and by which claims."""

    id: str
    status: Status
    reason: str
    claims: tuple[str, ...]

    def as_dict(self) -> dict[str, Json]:
        """The control as it stands in a predicate."""
        return {
            "id": self.id,
            "status": self.status.value,
            "reason": self.reason,
            "claims": list(self.claims),
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """All of it; `subjects` is artefact name to sha256 in hex."""

    subjects: dict[str, str]
    release: Release
    created_at: datetime
    environment: str
    run_id: str
    claims: tuple[Claim, ...]
    controls: tuple[Control, ...]

    def as_dict(self) -> dict[str, Json]:
        """The in-toto Statement v1."""
        created_at = self.created_at.astimezone(UTC).isoformat(timespec="seconds")
        return {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": digest}}
                for name, digest in sorted(self.subjects.items())
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "release": {
                    "name": self.release.name,
                    "commit": self.release.commit,
                    "version": self.release.version,
                },
                "created_at": created_at.replace("+00:00", "Z"),
                "environment": self.environment,
                "run_id": self.run_id,
                "claims": [claim.as_dict() for claim in self.claims],
                "controls": [control.as_dict() for control in self.controls],
            },
        }


def parse_statement(value: Json) -> tuple[Statement | None, list[str]]:
    """The statement that `value` spells, and everything that is wrong with it.

    Returns:
        `(statement, [])`, or `(None, problems)`.
    """
    check = _Check()
    top = check.fields(value, "statement", ("_type", "subject", "predicateType", "predicate"))
    check.equal(top.get("_type"), STATEMENT_TYPE, "statement _type")
    check.equal(top.get("predicateType"), PREDICATE_TYPE, "statement predicateType")
    subjects = _subjects(check, top.get("subject"))
    names = ("release", "created_at", "environment", "run_id", "claims", "controls")
    predicate = check.fields(top.get("predicate"), "predicate", names)
    release = _release(check, predicate.get("release"))
    created_at = _time(check, predicate.get("created_at"))
    environment = check.text(predicate.get("environment"), "predicate environment")
    run_id = check.text(predicate.get("run_id"), "predicate run_id")
    claims = check.each(predicate.get("claims"), "claims", MAX_CLAIMS, _claim)
    controls = check.each(predicate.get("controls"), "controls", MAX_CONTROLS, _control)
    if predicate.get("claims") == []:
        # A signature over nothing that recomputes would verify, and prove nothing.
        check.add("claims is empty, expected at least one")
    check.unique([claim.id for claim in claims], "claim")
    check.unique([control.id for control in controls], "control")
    if check.problems or created_at is None:
        return None, check.problems
    found = Statement(
        subjects, release, created_at, environment, run_id, tuple(claims), tuple(controls)
    )
    return found, []


def colliding_names(names: list[str]) -> list[str]:
    """Those of `names` that can't stand beside the others on a disk that may ignore case.

    That is a name which equals another but for case, or has another as one of its folders.
    """
    folded = [name.casefold() for name in names]
    taken = Counter(folded)
    return [
        name
        for name, plain in zip(names, folded, strict=True)
        if taken[plain] > 1 or any(str(folder) in taken for folder in PurePosixPath(plain).parents)
    ]


class _Check:
    """Collects problems; each method gives something usable back, so that checking goes on."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, problem: str) -> None:
        self.problems.append(problem)

    def equal(self, got: Json, expected: str, what: str) -> None:
        if got != expected:
            self.add(f"{what} is {_show(got)}, expected {expected!r}")

    def fields(self, value: Json, what: str, names: tuple[str, ...]) -> Mapping[str, Json]:
        if not isinstance(value, dict):
            self.add(f"{what} is {_show(value)}, expected an object")
            return {}
        for name in names:
            if name not in value:
                self.add(f"{what} has no {name!r}")
        for name in value:
            if name not in names:
                self.add(f"{what} has the unknown field {name[:80]!r}")
        return value

    def text(self, value: Json, what: str) -> str:
        if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS:
            return value
        self.add(f"{what} is {_show(value)}, expected a text of 1 to {MAX_TEXT_CHARS} characters")
        return ""

    def id(self, value: Json, what: str) -> str:
        if isinstance(value, str) and _ID.fullmatch(value):
            return value
        self.add(f"{what} is {_show(value)}, expected lower-case letters, digits, '.', '_', '-'")
        return ""

    def texts(self, value: Json, what: str) -> tuple[str, ...]:
        if isinstance(value, list):
            return tuple(self.text(item, what) for item in value)
        self.add(f"{what} is {_show(value)}, expected a list")
        return ()

    def each(
        self, value: Json, what: str, limit: int, parse: Callable[[_Check, Json], T]
    ) -> list[T]:
        if not isinstance(value, list):
            self.add(f"{what} is {_show(value)}, expected a list")
            return []
        if len(value) > limit:
            self.add(f"{what} has {len(value)} entries, limit {limit}")
            return []
        return [parse(self, item) for item in value]

    def unique(self, names: list[str], what: str) -> None:
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.add(f"{what} {name!r} stands there twice")


def _subjects(check: _Check, value: Json) -> dict[str, str]:
    pairs = check.each(value, "subject", MAX_SUBJECTS, _subject)
    check.unique([name for name, _ in pairs], "subject")
    for name in colliding_names(list(dict.fromkeys(name for name, _ in pairs))):
        check.add(f"subject {name!r} collides with another on disk")
    return dict(pairs)


def _subject(check: _Check, value: Json) -> tuple[str, str]:
    found = check.fields(value, "subject", ("name", "digest"))
    name = check.text(found.get("name"), "subject name")
    problem = artifact_name_problem(name) if name else None
    if problem:
        check.add(f"subject {name[:80]!r} {problem}")
    # exactly sha256: a weaker digest beside it would be a second, weaker promise
    digest = check.fields(found.get("digest"), f"digest of {name[:80]!r}", ("sha256",)).get(
        "sha256"
    )
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        check.add(f"digest of {name[:80]!r} is {_show(digest)}, expected sha256 in lower-case hex")
        digest = ""
    return name, digest


def _release(check: _Check, value: Json) -> Release:
    found = check.fields(value, "release", ("name", "commit", "version"))
    commit = found.get("commit")
    return Release(
        check.text(found.get("name"), "release name"),
        None if commit is None else check.text(commit, "release commit"),
        check.text(found.get("version"), "release version"),
    )


def _time(check: _Check, value: Json) -> datetime | None:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # such as month 13: told below
    check.add(f"created_at is {_show(value)}, expected a time in UTC such as 2026-01-31T12:00:00Z")
    return None


def _claim(check: _Check, value: Json) -> Claim:
    found = check.fields(value, "claim", ("id", "value", "fn", "from", "params"))
    name = check.id(found.get("id"), "claim id")
    params = found.get("params")
    if not isinstance(params, dict):
        check.add(f"params of claim {name!r} is {_show(params)}, expected an object")
        params = {}
    return Claim(
        name,
        found.get("value"),
        check.text(found.get("fn"), f"fn of claim {name!r}"),
        check.texts(found.get("from"), f"from of claim {name!r}"),
        params,
    )


def _control(check: _Check, value: Json) -> Control:
    found = check.fields(value, "control", ("id", "status", "reason", "claims"))
    name = check.id(found.get("id"), "control id")
    status = found.get("status")
    if status not in [known.value for known in Status]:
        check.add(f"status of control {name!r} is {_show(status)}, expected one of {_STATUSES}")
        status = Status.declared.value
    return Control(
        name,
        Status(str(status)),
        check.text(found.get("reason"), f"reason of control {name!r}"),
        check.texts(found.get("claims"), f"claims of control {name!r}"),
    )


_STATUSES = ", ".join(repr(status.value) for status in Status)


def _show(value: Json) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:60]
    if isinstance(value, str):
        return repr(value[:60])
    return "an object" if isinstance(value, dict) else "a list"
