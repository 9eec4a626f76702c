"""What runs: what a replica tells of itself in `/health`, as it is recorded beside a measurement.

    {"replica", "colour", "version", "commit", "instance", "started_at", "pid", "pod_uid",
     "code", "policy_set", "catalogue", "configuration"}

`instance` is made anew by every process; the last four are SHA-256 digests of what the process runs
with. A record has the replicas of each group twice, when the measurement began and when it ended:

    {"at_start": {"candidate": [...]}, "at_end": {"candidate": [...]}}

A name is no binding: two records are of the same thing only if these agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mc_contract.canonical import Json
from mc_contract.errors import McError

RELEASE_FACTS = ("code", "policy_set", "catalogue", "configuration")
_TOLD = ("version", "commit", "instance", "started_at", "pid", "pod_uid")
FACTS = ("replica", "colour", *_TOLD, *RELEASE_FACTS)
_NEEDED = ("instance", *RELEASE_FACTS)
_LONGEST = 200
_MOST_REPLICAS = 1000
_SHOWN = 12

Facts = Mapping[str, str | None]
Groups = Mapping[str, Sequence[Facts]]


class NotRecorded(McError):
    """A measurement does not say what it measured: it was made before that was recorded."""

    code = "running-not-recorded"


class MalformedRecord(McError):
    """What should be a record of what runs is none."""

    code = "running-malformed"


@dataclass(frozen=True, slots=True)
class Record:
    """What a measurement measured, when it began and when it ended."""

    at_start: Groups
    at_end: Groups

    def changed(self) -> list[str]:
        """What was exchanged while it was measured; empty when nothing was."""
        return [
            f"{group}: {change}"
            for group, before in self.at_start.items()
            for change in changes(before, self.at_end.get(group, ()))
        ]

    def as_dict(self) -> dict[str, Json]:
        """As it is written down."""
        looks = {"at_start": self.at_start, "at_end": self.at_end}
        return {
            name: {group: [dict(one) for one in found] for group, found in look.items()}
            for name, look in looks.items()
        }


def code_digest(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over the names and contents of a release's files, in hex.

    Args:
        files: Relative names with `/`, and contents, in the order of the names.
    """
    digest = hashlib.sha256()
    for name, data in files:
        raw = name.encode()
        digest.update(b"%d:%s%d:" % (len(raw), raw, len(data)))
        digest.update(data)
    return digest.hexdigest()


def facts_of(health: object) -> dict[str, str | None]:
    """What a `/health` answer tells; what it does not tell, or not as a text, is None."""
    body = health if isinstance(health, Mapping) else {}
    running = body.get("running")
    told = {**body, **(running if isinstance(running, Mapping) else {})}
    return {name: _text(told.get(name)) for name in FACTS}


def read_record(document: Mapping[str, Json], what: str) -> Record:
    """The record in a document's `running`.

    Args:
        document: A verdict, a report, ...
        what: Its name, for messages.

    Raises:
        NotRecorded: it has none.
        MalformedRecord: it has something else.
    """
    told = document.get("running")
    if told is None:
        raise NotRecorded(f"{what} does not record what it measured")
    if not isinstance(told, dict) or set(told) != {"at_start", "at_end"}:
        raise MalformedRecord(f"{what}: 'running' is not an object of at_start and at_end")
    start, end = (_groups(told[name], f"{what}: {name}") for name in ("at_start", "at_end"))
    if set(start) != set(end):
        raise MalformedRecord(f"{what}: at_start and at_end name different groups")
    return Record(start, end)


def untold(replicas: Iterable[Facts]) -> list[str]:
    """What is needed to know what runs and was not told, such as `green-1: code`."""
    return [
        f"{_name(one)}: {', '.join(missing)}"
        for one in replicas
        if (missing := [name for name in _NEEDED if not one.get(name)])
    ]


def changes(before: Iterable[Facts], now: Iterable[Facts]) -> list[str]:
    """How the replicas differ from what they were, process by process; empty when they do not."""
    known = {one.get("instance") or _name(one): one for one in before}
    seen = {one.get("instance") or _name(one): one for one in now}
    told = [
        f"{_name(one)}: {', '.join(other)}"
        for key, one in known.items()
        if key in seen and (other := release_changes(one, seen[key]))
    ]
    gone = [one for key, one in known.items() if key not in seen]
    added = [one for key, one in seen.items() if key not in known]
    for one in gone:
        same = next((other for other in added if _name(other) == _name(one)), None)
        if same is None:
            told.append(f"{_name(one)} is gone")
            continue
        added.remove(same)
        other = [_then_now("instance", one, same), *release_changes(one, same)]
        told.append(f"{_name(one)} is another process: {', '.join(other)}")
    return told + [f"{_name(one)} was added" for one in added]


def release_changes(before: Facts, now: Facts) -> list[str]:
    """Which digests differ, whatever the process; empty when both run the same."""
    return [
        _then_now(name, before, now) for name in RELEASE_FACTS if before.get(name) != now.get(name)
    ]


def _then_now(name: str, before: Facts, now: Facts) -> str:
    then, later = ((one.get(name) or "not told")[:_SHOWN] for one in (before, now))
    return f"{name.replace('_', ' ')} was {then}, is {later}"


def _name(one: Facts) -> str:
    return one.get("replica") or "a replica without a name"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None


def _groups(value: Json, what: str) -> dict[str, list[Facts]]:
    if not isinstance(value, dict):
        raise MalformedRecord(f"{what} is not an object")
    return {name: _replicas(found, f"{what} {name[:40]!r}") for name, found in value.items()}


def _replicas(value: Json, what: str) -> list[Facts]:
    if not isinstance(value, list) or len(value) > _MOST_REPLICAS:
        raise MalformedRecord(f"{what} is not a list of at most {_MOST_REPLICAS} replicas")
    found: list[Facts] = []
    for one in value:
        if not isinstance(one, dict) or set(one) != set(FACTS):
            raise MalformedRecord(f"{what}: a replica has not the fields {', '.join(FACTS)}")
        if any(told is not None and _text(told) is None for told in one.values()):
            raise MalformedRecord(f"{what}: a field is neither a text nor null")
        found.append({name: _text(told) for name, told in one.items()})
    return found
