"""What each kind of event means to a SIEM: how it went, how bad it is, and whose doing it was.

The formats differ in words, not in this; so the table (`meanings.toml`) stands once and each format
translates it. A kind that is not in the table is delivered all the same, with an outcome that says
unknown. Nothing here reads more of a leaf than ids, names and reasons: a leaf holds no content.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mc_contract.configuration import Several, Strict, among, check, known, toml_of
from mc_platform.model.event import Kind

SERVICE = "agent-workbench"
VENDOR = "MC Platform"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Outcome(StrEnum):
    """How it went; an intent is recorded before anybody can know."""

    success = auto()
    failure = auto()
    unknown = auto()


class Group(StrEnum):
    """What sort of happening it is, by which a format chooses its class; see the table's head."""

    activity = auto()
    refusal = auto()
    withheld = auto()
    administration = auto()


class Severity(Strict):
    """How bad it is: OCSF's and ECS' number, syslog's (RFC 5424), and CEF's (0 to 10)."""

    ocsf: int
    syslog: int
    cef: int


class Meaning(Strict):
    """What one kind means; `text` is a sentence for people, `severity` a name in `SEVERITIES`."""

    text: str
    outcome: Annotated[Outcome, Field(strict=False)] = Outcome.success
    severity: Annotated[str, known("severities")] = "informational"
    group: Annotated[Group, Field(strict=False)] = Group.activity
    ecs_type: Several[str] = ()


class _Table(Strict):
    severities: dict[str, Severity]
    kinds: dict[Annotated[str, among(Kind)], Meaning]


def read_table(document: dict[str, Any]) -> tuple[dict[str, Meaning], dict[str, Severity]]:
    """Meanings by kind, and severities by name.

    Raises:
        FileProblems: with every row that is wrong.
    """
    names = {"severities": document.get("severities", {})}
    table = check(_Table, document, names=names)
    return table.kinds, table.severities


MEANINGS, SEVERITIES = read_table(toml_of(Path(__file__).with_name("meanings.toml").read_bytes()))
_UNKNOWN = Meaning(text="", outcome=Outcome.unknown, severity="unknown")


def meaning_of(kind: str) -> Meaning:
    """What a kind means; of one that is not known, that nothing is known."""
    return MEANINGS.get(kind, _UNKNOWN)


def milliseconds(at: datetime) -> int:
    """Since 1970 in UTC; exact, where a float would now and then be one off."""
    return (at - _EPOCH) // _MILLISECOND


def occurred_ms(leaf: dict[str, Any]) -> int:
    """When the event happened, in milliseconds since 1970."""
    return milliseconds(datetime.fromisoformat(leaf["occurred_at"]))


def text_of(detail: dict[str, Any], *names: str) -> str | None:
    """The first of these that is there and not empty, as text."""
    for name in names:
        value = detail.get(name)
        if value is not None and value != "":
            return value if isinstance(value, str) else str(value)
    return None
