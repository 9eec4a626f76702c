"""Does a pack verify? The plan, in order; every reason against it is collected.

    (0) read it strictly
    (1) the signature is a trusted key's, over exactly the payload
    (2) the payload is a statement of our kind
    (3) each artefact has its subject and digest, and each subject its artefact
    (4) it is about the expected release
    (5) every claim recomputes to its value
    (6) what was measured, what serves, and what it is named for are one thing (`binding`)
    (7) every control leans on claims that recompute, or says why it is not measured

What was not recorded, so that (6) can't be told, is no reason against a pack, and it does not
verify: `unbound` has it.

A pack verifies if what it says follows from what it holds, and a trusted key said it. That is
origin and arithmetic: not that the samples are true, and not that the verdict is PROMOTE, unless
that is required. A pack with a HOLD inside verifies, and the report shows the HOLD, and who overrode it if somebody did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mc_contract.canonical import Json, same_value
from mc_contract.evidence.binding import check_binding
from mc_contract.evidence.claim_inputs import NotRecomputable
from mc_contract.evidence.claims import REGISTRY, recompute
from mc_contract.evidence.dsse import TrustedKey, signature_problem
from mc_contract.evidence.pack import Pack, PackError, read_pack
from mc_contract.evidence.statement import Claim, Control, Statement, Status, parse_statement
from mc_contract.evidence.strict import PACK_LIMITS, Malformed, parse_json


@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A claim, and what recomputing it gave; `problem` is empty when they are the same."""

    claim: Claim
    computed: Json
    problem: str

    def as_dict(self) -> dict[str, Json]:
        """`{id, ok, fn, from, value, recomputed, proves, problem}`."""
        known = REGISTRY.get(self.claim.fn)
        return {
            "id": self.claim.id,
            "ok": not self.problem,
            "fn": self.claim.fn,
            "from": list(self.claim.sources),
            "value": self.claim.value,
            "recomputed": self.computed,
            "proves": known.proves if known else "",
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of `verify`.

    Attributes:
        ok: Whether the pack verifies; False whenever there is a reason, or something unbound.
        reasons: Everything against it, empty when it verifies.
        unbound: What ran was not recorded, so that it can't be told whether the pack is about it.
        notes: What the reader should know beside that.
        signed_by: Id of the trusted key that signed, or None.
        statement: What the pack says, when that could be read; unproven unless `ok`.
        claims: Each claim with its recomputed value.
    """

    ok: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    signed_by: str | None = None
    statement: Statement | None = None
    claims: tuple[CheckedClaim, ...] = field(default=())
    unbound: tuple[str, ...] = ()

    @property
    def verdict(self) -> Json:
        """The canary verdict as recomputed, or None without one or if the pack does not verify.

        With several, one that is not PROMOTE comes first, before it one that nobody overrode.
        """
        decisive = self._decisive()
        return decisive.computed if decisive else None

    @property
    def override(self) -> Json:
        """Who promoted that verdict by hand, and why, as the ledger has it; None if nobody did.

        It changes nothing about the verdict, which stays HOLD.
        """
        decisive = self._decisive()
        found = self._override_of(decisive) if decisive else None
        return found.computed if found else None

    def _decisive(self) -> CheckedClaim | None:
        found = [item for item in self.claims if item.claim.fn == "canary.verdict"]
        if self.reasons or not found:
            return None

        def rank(item: CheckedClaim) -> tuple[bool, bool]:
            value = item.computed
            promote = isinstance(value, dict) and value["verdict"] == "PROMOTE"
            return promote, self._override_of(item) is not None

        return min(found, key=rank)

    def _override_of(self, verdict: CheckedClaim) -> CheckedClaim | None:
        """The override of the very artefacts that a verdict is claimed from."""
        for item in self.claims:
            sources = item.claim.sources
            about = (*sources[1:4], *sources[5:])  # but for the override and the ledger's key
            if item.claim.fn == "canary.override" and about == verdict.claim.sources:
                return item
        return None

    def as_dict(self) -> dict[str, Json]:
        """The report as JSON, `ok` first."""
        said = self.statement
        predicate: Json = said.as_dict()["predicate"] if said else {}
        told = predicate if isinstance(predicate, dict) else {}
        return {
            "ok": self.ok,
            "reasons": list(self.reasons),
            "unbound": list(self.unbound),
            "notes": list(self.notes),
            "verdict": self.verdict,
            "override": self.override,
            "release": told.get("release"),
            "created_at": told.get("created_at"),
            "environment": told.get("environment"),
            "run_id": told.get("run_id"),
            "signed_by": self.signed_by,
            "claims": [checked.as_dict() for checked in self.claims],
            "controls": told.get("controls", []),
            "subjects": dict(said.subjects) if said else {},
        }


def verify(
    pack_bytes: bytes,
    trusted_keys: Sequence[TrustedKey],
    *,
    expect_release: str | None = None,
    expect_commit: str | None = None,
    require_promote: bool = False,
) -> Report:
    """Check a pack against keys and a release name that did not come with it.

    Args:
        pack_bytes: The file.
        trusted_keys: Who may sign; with none, nothing verifies.
        expect_release: The release that the pack must be about; None leaves that unchecked, and
            the report notes it.
        expect_commit: The commit that must have run, or at least seven digits of one.
        require_promote: Whether the canary must say PROMOTE; an overridden HOLD does not.

    Returns:
        A report; malformed input is a reason in it, never an exception.
    """
    # Longer than other functions, as the order of the steps is what a reader looks for here.
    # step 0: read it strictly
    try:
        pack = read_pack(pack_bytes)
    except PackError as error:
        return Report(ok=False, reasons=tuple(error.problems))
    reasons: list[str] = []
    # step 1: is the signature a trusted key's?
    signed_by = _signer(pack, trusted_keys, reasons)
    # step 2: is the payload a statement of ours?
    statement = _statement(pack, reasons)
    if statement is None:
        return Report(ok=False, reasons=tuple(reasons), signed_by=signed_by)
    # step 3: do artefacts and subjects match?
    reasons.extend(_subject_problems(statement.subjects, pack.artifacts))
    # step 4: is it about the expected release?
    notes: list[str] = []
    if expect_release is None:
        notes.append("no release was expected from outside: the pack's own name is taken as told")
    elif statement.release.name != expect_release:
        reasons.append(
            f"the pack is about release {statement.release.name!r}, expected {expect_release!r}"
        )
    # step 5: does every claim recompute?
    claims = tuple(_check_claim(claim, pack.artifacts) for claim in statement.claims)
    reasons.extend(f"claim {item.claim.id!r}: {item.problem}" for item in claims if item.problem)
    if require_promote:
        reasons.extend(_not_promoted(claims))
    # step 6: is it all about one thing, and that the one that it is named for?
    recomputed = [(item.claim, item.computed) for item in claims if not item.problem]
    binding = check_binding(
        statement.release, recomputed, pack.artifacts, expect_commit=expect_commit
    )
    reasons.extend(binding.reasons)
    # step 7: does every control lean on such claims?
    sound = {claim.id for claim, _ in recomputed}
    known = {item.claim.id for item in claims}
    for control in statement.controls:
        reasons.extend(_control_problems(control, known, sound))
    return Report(
        ok=not (reasons or binding.unbound),
        reasons=tuple(reasons),
        notes=tuple(notes),
        signed_by=signed_by,
        statement=statement,
        claims=claims,
        unbound=tuple(binding.unbound),
    )


def _not_promoted(claims: Sequence[CheckedClaim]) -> list[str]:
    verdicts = [item.computed for item in claims if item.claim.fn == "canary.verdict"]
    told = [
        str(value["verdict"]) if isinstance(value, dict) else "not recomputable"
        for value in verdicts
    ]
    if told and all(one == "PROMOTE" for one in told):
        return []
    return [f"the canary must say PROMOTE, and says {', '.join(told) or 'nothing: there is none'}"]


def _signer(pack: Pack, trusted_keys: Sequence[TrustedKey], reasons: list[str]) -> str | None:
    named = [key for key in trusted_keys if key.key_id == pack.key_id]
    if not named:
        reasons.append(
            f"signed by key {pack.key_id[:64]!r}, which is not among the {len(trusted_keys)} "
            "trusted"
        )
        return None
    problem = signature_problem(named[0].public_key, pack.signature, pack.signed_bytes())
    if problem:
        reasons.append(f"the signature is refused: {problem}")
        return None
    return named[0].key_id


def _statement(pack: Pack, reasons: list[str]) -> Statement | None:
    try:
        said = parse_json(pack.payload, PACK_LIMITS)
    except Malformed as error:
        reasons.append(f"payload: {error.message}")
        return None
    statement, problems = parse_statement(said)
    reasons.extend(problems)
    return statement


def _subject_problems(subjects: Mapping[str, str], artifacts: Mapping[str, bytes]) -> list[str]:
    problems = []
    for name in sorted(subjects.keys() | artifacts.keys()):
        if name not in artifacts:
            problems.append(f"subject {name!r} has no artefact in the pack")
        elif name not in subjects:
            problems.append(f"artefact {name!r} is not a subject of the statement")
        elif hashlib.sha256(artifacts[name]).hexdigest() != subjects[name]:
            problems.append(f"artefact {name!r} differs from its signed digest")
    return problems


def _check_claim(claim: Claim, artifacts: Mapping[str, bytes]) -> CheckedClaim:
    try:
        computed = recompute(claim.fn, claim.sources, claim.params, artifacts)
    except NotRecomputable as error:
        return CheckedClaim(claim, None, error.message)
    if same_value(claim.value, computed):
        return CheckedClaim(claim, computed, "")
    return CheckedClaim(claim, computed, "recomputing gives another value than the claimed one")


def _control_problems(control: Control, known: set[str], sound: set[str]) -> list[str]:
    problems = [
        f"control {control.id!r} leans on claim {name!r}, which does not exist"
        if name not in known
        else f"control {control.id!r} leans on claim {name!r}, which does not recompute"
        for name in control.claims
        if name not in sound
    ]
    if (control.status is Status.measured) != bool(control.claims):
        problems.append(
            f"control {control.id!r} is {control.status.value!r} with {len(control.claims)} "
            "claims: measured takes claims, anything else takes none"
        )
    return problems
