"""The decision point: Cedar policies from a directory, evaluated in this process.

Policies and schema are parsed and validated once, at start-up; a set that does not validate never
comes into force. Evaluation fails closed: whatever Cedar cannot evaluate is denied, also when
other policies would have permitted it.

Left to others: the question's translation and the wording of reasons (`decide`), the meaning of
labels (`screen` finds them, `policies/` judges them).
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import cedarpy

from mc_platform.decide import describe_request, describe_world, explain, world_key
from mc_platform.errors import Misconfigured
from mc_platform.model.ids import DecisionId
from mc_platform.model.verdict import Decision, Question

SCHEMA_FILE = "schema.cedarschema"
_WORLDS_KEPT = 1024
_NOT_EVALUATED = "the policies could not be evaluated for this question, and so it is denied"


def new_decision_id() -> DecisionId:
    """A fresh id: `dec_` and 16 URL-safe characters (96 random bits)."""
    return DecisionId("dec_" + secrets.token_urlsafe(12))


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy of the set: its id, its reason for readers, and the file it stands in."""

    id: str
    reason: str
    file: str


class CedarDecisionPoint:
    """A `ports.DecisionPoint` over one validated policy set; safe to share between threads.

    Build it with `load`.
    """

    def __init__(
        self,
        *,
        policies: cedarpy.PolicySet,
        schema: cedarpy.Schema,
        texts: Mapping[str, PolicyText],
        digest: str,
        new_id: Callable[[], DecisionId] = new_decision_id,
    ) -> None:
        self._policies = policies
        self._schema = schema
        self._texts = dict(texts)
        self._reasons = {text.id: text.reason for text in texts.values()}
        self._digest = digest
        self._new_id = new_id
        self._worlds: OrderedDict[Hashable, cedarpy.Entities] = OrderedDict()

    @classmethod
    def load(
        cls, policy_dir: Path, *, new_id: Callable[[], DecisionId] = new_decision_id
    ) -> CedarDecisionPoint:
        """Read `*.cedar` and `schema.cedarschema` from a directory, validate and parse them.

        Args:
            policy_dir: The directory; sub-directories are not read.
            new_id: Makes the id of each decision.

        Raises:
            Misconfigured: with every file that cannot be read, does not parse, does not
                validate, lacks `@id` or `@reason`, or repeats another policy's id.
        """
        sources, schema_text = _read(policy_dir)
        try:
            schema = cedarpy.Schema.from_str(schema_text)
        except ValueError as error:
            raise _refused(policy_dir, [f"{SCHEMA_FILE}: {error}"]) from error
        problems: list[str] = []
        bodies: dict[str, Any] = {}
        texts: dict[str, PolicyText] = {}
        for name, source in sources.items():
            found, wrong = _policies_of(name, source, schema)
            problems += wrong
            for text, body in found:
                if text.id in texts:
                    first = texts[text.id].file
                    problems.append(f'{name}: policy id "{text.id}" is used in {first} already')
                texts[text.id], bodies[text.id] = text, body
        if not bodies and not problems:
            problems.append("no policy found; deny by default would refuse every request")
        if problems:
            raise _refused(policy_dir, problems)
        # From JSON, since only there a policy's id can be its @id rather than its position.
        whole = {"staticPolicies": bodies, "templates": {}, "templateLinks": []}
        return cls(
            policies=cedarpy.PolicySet.from_json_str(json.dumps(whole)),
            schema=schema,
            texts=texts,
            digest=_digest({SCHEMA_FILE: schema_text, **sources}),
            new_id=new_id,
        )

    @property
    def digest(self) -> str:
        """sha256 (hex) over names and contents of the files, in the order of their names."""
        return self._digest

    @property
    def policies(self) -> Mapping[str, PolicyText]:
        """The policies in force by id."""
        return dict(self._texts)

    def decide(self, question: Question) -> Decision:
        """Answer one question; what cannot be evaluated is denied."""
        try:
            result = cedarpy.is_authorized(
                describe_request(question), self._policies, self._world(question), self._schema
            )
            failed = bool(result.diagnostics.errors)
        except Exception:  # noqa: BLE001 - fail closed: a binding's failure must not permit
            failed = True
        if failed:
            # Cedar skips a policy that errs; a skipped `forbid` would permit. Its message is
            # not shown: it can quote values of the request.
            return self._answer(question, allowed=False, policy_ids=(), reason=_NOT_EVALUATED)
        allowed = result.decision is cedarpy.Decision.Allow
        policy_ids = tuple(sorted(result.diagnostics.reasons))
        reason = explain(question, allowed=allowed, policy_ids=policy_ids, reasons=self._reasons)
        return self._answer(question, allowed=allowed, policy_ids=policy_ids, reason=reason)

    def _answer(
        self, question: Question, *, allowed: bool, policy_ids: tuple[str, ...], reason: str
    ) -> Decision:
        return Decision(
            id=self._new_id(),
            allowed=allowed,
            action=question.action,
            policy_ids=policy_ids,
            reason=reason,
            policy_digest=self._digest,
        )

    def _world(self, question: Question) -> cedarpy.Entities:
        # Most questions are about few agents and operations: their parsed worlds are kept,
        # which halves the cost of a decision. The oldest goes first, so memory is bounded.
        key = world_key(question)
        world = self._worlds.get(key)
        if world is None:
            described = json.dumps(describe_world(question))
            world = cedarpy.Entities.from_json_str(described, self._schema)
            if question.resource_type in ("Agent", "Operation"):
                self._worlds[key] = world
                if len(self._worlds) > _WORLDS_KEPT:
                    self._worlds.popitem(last=False)
        return world


def _refused(policy_dir: Path, problems: list[str]) -> Misconfigured:
    return Misconfigured(
        f"policy set {policy_dir.name!r} is refused: " + "; ".join(problems),
        hint="mend the named files; the service does not start with a broken policy set",
    )


def _read(policy_dir: Path) -> tuple[dict[str, str], str]:
    try:
        schema = (policy_dir / SCHEMA_FILE).read_bytes().decode()
        files = sorted(policy_dir.glob("*.cedar"))
        return {file.name: file.read_bytes().decode() for file in files}, schema
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(policy_dir, [f"cannot be read: {error}"]) from error


def _digest(files: Mapping[str, str]) -> str:
    # Each content is digested on its own, so that text cannot move between files unseen.
    lines = [f"{sha256(files[name].encode()).hexdigest()}  {name}\n" for name in sorted(files)]
    return sha256("".join(lines).encode()).hexdigest()


def _policies_of(
    name: str, source: str, schema: cedarpy.Schema
) -> tuple[list[tuple[PolicyText, Any]], list[str]]:
    """The policies of one file in Cedar's JSON form, and what is wrong with the file."""
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(source))
    except ValueError as error:
        return [], [f"{name}: does not parse: {error}"]
    problems = [f"{name}: {e.error}" for e in cedarpy.validate_policies(source, schema).errors]
    if parsed.get("templates"):
        problems.append(f"{name}: templates are not supported")
    found = []
    for position, body in parsed["staticPolicies"].items():
        annotations = body.get("annotations", {})
        missing = [f"@{key}" for key in ("id", "reason") if not annotations.get(key)]
        if missing:
            problems.append(f"{name}: {position} lacks {' and '.join(missing)}")
            continue
        found.append((PolicyText(annotations["id"], annotations["reason"], name), body))
    return found, problems
