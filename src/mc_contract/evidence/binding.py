"""Is a pack about what ran? Its parts must be of one thing, and its names must be that thing's.

The canary, the pre-flight and the red-team each record what the replicas told of themselves
(`mc_contract.running`), and the pack has what served when it was packed. They agree, or the pack
is refused; a part that recorded nothing is told as not bound, which is no finding and no pass.

Parts are found by the claims that are made of them, so that no claim can be had without its part.
What is not shown: that a replica told the truth of itself. A name or a commit is whatever was told
when the code was released; the digests beside them are computed by the process that ran it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import NotRecomputable, json_object
from mc_contract.evidence.statement import Claim, Release
from mc_contract.running import (
    Facts,
    Groups,
    MalformedRecord,
    NotRecorded,
    Record,
    changes,
    read_record,
    release_changes,
    untold,
)

SERVING = "serving.json"
CANDIDATE, TARGET, SURVIVOR = "candidate", "target", "survivor"
SERVES, ANSWERS = "serving", "answering"  # all that serve, or whoever answered for them
_SHORTEST_COMMIT = 7
_FULL_COMMIT = (40, 64)
# Which artefact of a claim is the one that says what was measured
_PLACES = {
    "canary.verdict": 2,
    "preflight.passed": 0,
    "redteam.figures": 1,
    "drill.figures": 1,
    "running.serving": 0,
}
_BEHIND_THE_EDGE = ("redteam.figures", "drill.figures")  # which measured whatever served
_SERVING = (("running.serving", SERVES), ("running.serving", ANSWERS))
_NAMES = {
    "canary.verdict": "the canary",
    "preflight.passed": "the pre-flight",
    "redteam.figures": "the red-team",
    "drill.figures": "the drill",
    "running.serving": "what serves",
}


@dataclass(slots=True)
class Binding:
    """What was found.

    Attributes:
        reasons: What does not agree; the pack is about something else than it says.
        unbound: What was not recorded, so that it cannot be told.
        subject: What the pack is about, as recorded; empty if nothing was.
    """

    reasons: list[str] = field(default_factory=list)
    unbound: list[str] = field(default_factory=list)
    subject: Sequence[Facts] = ()


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    fn: str
    document: Mapping[str, Json]
    record: Record


def check_binding(
    release: Release,
    claims: Sequence[tuple[Claim, Json]],
    artifacts: Mapping[str, bytes],
    *,
    expect_commit: str | None = None,
) -> Binding:
    """Hold a pack's parts against each other, and its release against them.

    Args:
        release: What the pack says that it is about.
        claims: Each claim, and the value that it recomputes to; others are left out.
        artifacts: Bytes by name.
        expect_commit: The commit that must have run, or the beginning of one; None: any.
    """
    found = Binding()
    parts = list(_parts(claims, artifacts, found))
    canary = next((part for part in parts if part.fn == "canary.verdict"), None)
    promoted = canary is not None and _is_promoted(claims)
    found.subject = _subject(parts, canary)
    if not found.subject:
        if not (found.reasons or found.unbound):
            found.unbound.append("nothing in the pack says what ran")
    else:
        regions = _regions(parts, found.subject[0])
        for part in parts:
            _hold_part(part, found, regions, promoted=promoted, canary=canary)
    if promoted and not any(claim.fn == "running.serving" for claim, _ in claims):
        found.unbound.append("what served when this was packed was not asked")
    compared = any(claim.fn == "canary.verdict" for claim, _ in claims)
    canaries = [part for part in parts if part.fn == "canary.verdict"]
    _hold_release(release, canaries, found, compared=compared)
    _hold_commit(release, expect_commit, found)
    return found


def _parts(
    claims: Sequence[tuple[Claim, Json]], artifacts: Mapping[str, bytes], found: Binding
) -> Iterator[_Part]:
    for claim, _ in claims:
        if claim.fn not in _PLACES:
            continue
        artefact = claim.sources[_PLACES[claim.fn]]
        name = f"{_NAMES[claim.fn]} ({artefact})"
        try:
            document = json_object(artifacts[artefact], artefact)
            part = _Part(name, claim.fn, document, read_record(document, name))
        except NotRecorded as cause:
            found.unbound.append(f"{cause.message}: run it again with this version")
            continue
        except (NotRecomputable, MalformedRecord) as cause:
            found.reasons.append(cause.message)
            continue
        if missing := _untold(_needed(part)):
            found.unbound.append(f"{name}: it was not told what ran: {missing}")
        elif exchanged := _exchanged(part):
            found.reasons.append(
                f"{name}: a replica was replaced during the run: {'; '.join(exchanged)}"
            )
        else:
            yield part


def _needed(part: _Part) -> Sequence[Facts]:
    """The replicas that must tell all: what serves beside a candidate may be an older release."""
    groups = part.record.at_end
    if part.fn == "canary.verdict":
        return groups.get(CANDIDATE, ())
    every = [one for group in groups.values() for one in group]
    if part.fn == "preflight.passed":
        return [one for one in every if not untold([one])]
    return every


def _untold(replicas: Sequence[Facts]) -> str:
    """What is missing; also where no replica was asked at all."""
    return "; ".join(untold(replicas)) or ("" if replicas else "no replica said so")


def _exchanged(part: _Part) -> list[str]:
    if part.fn not in _BEHIND_THE_EDGE:
        return part.record.changed()
    # Behind the edge one replica answers, and then another, and an autoscaler may add some: only what
    # they run must be the same (those at the end are held against the subject)
    start, end = (look.get(TARGET, ()) for look in (part.record.at_start, part.record.at_end))
    return [change for before in start for change in release_changes(before, end[0])]


def _is_promoted(claims: Sequence[tuple[Claim, Json]]) -> bool:
    """Whether the candidate was to serve: PROMOTE, or a HOLD that somebody overrode."""
    verdicts = [value for claim, value in claims if claim.fn == "canary.verdict"]
    overridden = any(claim.fn == "canary.override" for claim, _ in claims)
    return overridden or any(
        isinstance(value, Mapping) and value.get("verdict") == "PROMOTE" for value in verdicts
    )


def _subject(parts: Sequence[_Part], canary: _Part | None) -> Sequence[Facts]:
    """The candidate; without a canary what the red-team or the drill met, or what serves."""
    if canary is not None:
        return canary.record.at_end[CANDIDATE]
    places = (*((fn, TARGET) for fn in _BEHIND_THE_EDGE), *_SERVING)
    for fn, group in places:
        for part in parts:
            if part.fn == fn and part.record.at_end.get(group):
                return part.record.at_end[group]
    return ()


def _regions(parts: Sequence[_Part], subject: Facts) -> set[str | None]:
    """The configurations of both regions of a drill, if what the pack is about is one of them.

    Another region has a name and addresses of its own, and else the same.
    """
    for part in parts:
        groups = part.record.at_end
        if part.fn == "drill.figures" and SURVIVOR in groups:
            told = {one["configuration"] for group in groups.values() for one in group}
            if subject["configuration"] in told:
                return told
    return set()


def _hold_part(
    part: _Part,
    found: Binding,
    regions: set[str | None],
    *,
    promoted: bool,
    canary: _Part | None,
) -> None:
    subject = found.subject[0]
    if part.fn == "canary.verdict":
        for one in part.record.at_end[CANDIDATE]:
            _disagree(found, part.name, f"{one['replica']} is another release", subject, one)
    elif part.fn == "preflight.passed":
        groups = part.record.at_end
        looked = groups.get(subject["colour"] or "", [])
        if not looked:
            found.reasons.append(
                f"{part.name}: it did not look at {subject['colour']}, which this is about"
            )
        for one in looked:
            _disagree(found, part.name, f"it looked at another {one['replica']}", subject, one)
    elif canary is not None and not promoted:
        return  # a candidate that was held does not serve, and nobody attacked it through the edge
    elif part.fn in _BEHIND_THE_EDGE or canary is None:
        for one in (one for group in part.record.at_end.values() for one in group):
            same = one["configuration"] in regions
            own = {"configuration": subject["configuration"]} if same else {}
            what = f"{one['replica']} is another release"
            _disagree(found, part.name, what, subject, {**one, **own})
    elif other := _other_serving(found.subject, part.record.at_end):
        found.reasons.append(
            f"{part.name}: what served when this was packed is not what was compared: "
            + "; ".join(other)
        )


def _other_serving(candidate: Sequence[Facts], groups: Groups) -> list[str]:
    if SERVES in groups:
        return changes(candidate, groups[SERVES])
    answered = groups.get(ANSWERS, ())
    seen = {one["instance"] for one in answered}
    return changes([one for one in candidate if one["instance"] in seen], answered)


def _disagree(found: Binding, part: str, what: str, subject: Facts, other: Facts) -> None:
    if told := release_changes(subject, other):
        found.reasons.append(f"{part}: {what}: {', '.join(told)}")


def _hold_release(
    release: Release, canaries: Sequence[_Part], found: Binding, *, compared: bool
) -> None:
    """The name is the one that the canary was declared for, or else the version that ran.

    A version's release into production is called `v1.2-mc-prod`, as by the operations runbook.
    """
    if not found.subject or (compared and not canaries):
        return  # that what was compared is not known was told already
    declared = {canary.document.get("release") for canary in canaries}
    names = {name for name in declared if isinstance(name, str) and name}
    if not names:
        versions = {version for one in found.subject if (version := one["version"])}
        names = {f"{v}{version}" for version in versions for v in ("", "v")}
        names |= {f"v{version}-mc-prod" for version in versions}
    if not names:
        found.unbound.append("nothing that ran told its version, and no release was declared")
    elif release.name not in names or (len(declared) > 1 and canaries):
        found.reasons.append(
            f"the pack is named for release {release.name!r}, and what ran is "
            f"{' or '.join(repr(name) for name in sorted(names))}"
        )


def _hold_commit(release: Release, expected: str | None, found: Binding) -> None:
    told = {one["commit"] for one in found.subject}
    if found.subject and release.commit is not None and told != {release.commit}:
        found.reasons.append(
            f"the pack names commit {release.commit}, and what ran told {_commits(told)}"
        )
    if expected is None:
        return
    wanted = expected.lower()
    if found.subject and told != {None}:
        if not all(commit and _is_commit(commit, wanted) for commit in told):
            found.reasons.append(f"what ran is of commit {_commits(told)}, expected {expected}")
    else:
        found.unbound.append(f"what ran did not tell its commit, expected {expected}")


def _is_commit(commit: str, wanted: str) -> bool:
    if len(wanted) in _FULL_COMMIT or len(wanted) < _SHORTEST_COMMIT:
        return commit == wanted
    return "-" not in commit and commit.startswith(wanted)


def _commits(told: set[str | None]) -> str:
    return ", ".join(sorted(commit or "none" for commit in told))


__all__ = ["ANSWERS", "CANDIDATE", "SERVES", "SERVING", "TARGET", "Binding", "check_binding"]
