"""What a pack says: an in-toto Statement v1 whose predicate is ours.

One sha256 subject for each artefact; claims that can be recomputed from artefacts; controls that
say how they are known. `parse_statement` collects every problem rather than stopping at the first,
and knows no optional or unknown fields: a field that nobody checks is a place to lie.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from mc_contract.canonical import Json
from mc_contract.configuration import FileProblems, Form, Several, Strict, among, check
from mc_contract.evidence.strict import artifact_name_problem

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://mc-platform.example.com/evidence/v1"
MAX_CLAIMS = 200
MAX_CONTROLS = 100
MAX_SUBJECTS = 64
MAX_TEXT_CHARS = 1000

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
    value: Any  # JSON; which, the function says
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


_Item = TypeVar("_Item", bound="_Claim | _Control")


def _artifact_name(name: str) -> str:
    if problem := artifact_name_problem(name):
        raise ValueError(problem)
    return name


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("")
    return datetime.fromisoformat(value)


def _once(names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands there twice")


def _named(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    _once([item.id for item in items])
    return items


def _apart(subjects: tuple[_Subject, ...]) -> tuple[_Subject, ...]:
    names = [subject.name for subject in subjects]
    _once(names)
    if colliding := colliding_names(names):
        raise ValueError(f"{', '.join(colliding)} collides with another on disk")
    return subjects


_Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TEXT_CHARS),
    Form(f"a text of 1 to {MAX_TEXT_CHARS} characters"),
]
_Id = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$"),
    Form("lower-case letters, digits, '.', '_', '-'"),
]
_Time = Annotated[
    datetime, BeforeValidator(_time), Form("a time in UTC such as 2026-01-31T12:00:00Z")
]


class _Digest(Strict):
    # exactly sha256: a weaker digest beside it would be a second, weaker promise
    sha256: Annotated[
        str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Form("sha256 in lower-case hex")
    ]


class _Subject(Strict):
    name: Annotated[str, AfterValidator(_artifact_name)]
    digest: _Digest


class _Release(Strict):
    name: _Text
    commit: _Text | None
    version: _Text


class _Claim(Strict):
    id: _Id
    value: Any
    fn: _Text
    sources: Annotated[Several[_Text], Field(alias="from")]
    params: dict[str, Any]


class _Control(Strict):
    id: _Id
    status: Annotated[Status, Field(strict=False)]
    reason: _Text
    claims: Several[_Text]


class _Predicate(Strict):
    release: _Release
    created_at: _Time
    environment: _Text
    run_id: _Text
    # A signature over nothing that recomputes would verify, and prove nothing
    claims: Annotated[
        Several[_Claim], Field(min_length=1, max_length=MAX_CLAIMS), AfterValidator(_named)
    ]
    controls: Annotated[Several[_Control], Field(max_length=MAX_CONTROLS), AfterValidator(_named)]


class _InToto(Strict):
    type: Annotated[str, among([STATEMENT_TYPE]), Field(alias="_type")]
    subject: Annotated[Several[_Subject], Field(max_length=MAX_SUBJECTS), AfterValidator(_apart)]
    predicate_type: Annotated[str, among([PREDICATE_TYPE]), Field(alias="predicateType")]
    predicate: _Predicate


def parse_statement(value: Json) -> tuple[Statement | None, list[str]]:
    """The statement that `value` spells, and everything that is wrong with it.

    Returns:
        `(statement, [])`, or `(None, problems)`.
    """
    try:
        said = check(_InToto, value)
    except FileProblems as error:
        return None, error.problems
    predicate = said.predicate
    found = Statement(
        {one.name: one.digest.sha256 for one in said.subject},
        Release(**dict(predicate.release)),
        predicate.created_at,
        predicate.environment,
        predicate.run_id,
        tuple(Claim(**dict(one)) for one in predicate.claims),
        tuple(Control(**dict(one)) for one in predicate.controls),
    )
    return found, []
