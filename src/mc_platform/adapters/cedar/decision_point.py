"""The decision point: Cedar policies from a directory, evaluated in this process.

Policies and schema are parsed and validated once, when they are loaded; a set that does not
validate never comes into force. Evaluation fails closed: whatever Cedar cannot evaluate is denied,
also when other policies would have permitted it.

A question is evaluated by the policies that can apply to it (`slices`): what a decision costs does
not grow with the policies of other tenants.

What is kept between questions, within bounds by the number of tenants: the entities of a world, and
what the policies said of a question about something catalogued. The latter is no shortcut, since an
evaluation depends on the question and the set alone: one point is one set, so a new set begins with
nothing. The key is the question itself, never a digest. Each answer is a decision of its own, with
its own id.

Left to others: the question's translation and the wording of reasons (`decide`), the meaning of
labels (`screen` finds them, `policies/` judges them), changing sets (`policy_reloader`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import cedarpy

from mc_contract.configuration import MOST_BYTES, FileProblems, text_of, toml_of
from mc_contract.keepable import json_bytes
from mc_contract.rule_changes import value_digest
from mc_platform.adapters.cedar.kept import Kept
from mc_platform.adapters.cedar.slices import PolicySlices
from mc_platform.decide import (
    BrokenTable,
    Row,
    context_key,
    describe_request,
    describe_world,
    explain,
    failing,
    parse_table,
    world_key,
)
from mc_platform.errors import Misconfigured
from mc_platform.model.ids import DecisionId
from mc_platform.model.made_ids import timed_token
from mc_platform.model.verdict import Action, Decision, Question

SCHEMA_FILE = "schema.cedarschema"
TABLES = "tests"
_PASSING_KEPT = 128
# A world takes about 16 KB, a slice 30 KB where many tenants have policies of their own, an answer 1 KB
_WORLDS_KEPT, _MOST_WORLDS = 1024, 4096
_SLICES_KEPT, _MOST_SLICES = 256, 2048
_ANSWERS_KEPT, _MOST_ANSWERS = 4096, 65_536
_ANSWERS_PER_TENANT = 4  # a question and its reply, each with one set of circumstances and another
_NOT_EVALUATED = "the policies could not be evaluated for this question, and so it is denied"
_CATALOGUED = frozenset({"Agent", "Operation", "Platform"})
_ID = re.compile(r'@id\("([^"\\]*)"\)')
_FOR_ACTION = re.compile(r' for Action::"(\w+)"')
_Answer = tuple[bool, tuple[str, ...], str]
"""Whether it is allowed, the ids of the policies that determined it, sorted, and the reason in words."""


def new_decision_id() -> DecisionId:
    """A fresh id: `dec_` and 16 URL-safe characters, from the second in which it is made and 64 random bits.

    By the second the ledger finds the event that tells the decision, without an index that each request pays.
    """
    return DecisionId("dec_" + timed_token(int(time.time())))


class PolicySetRefused(Misconfigured):
    """A set cannot come into force; `problems` lists every finding."""

    def __init__(self, name: str, problems: list[str]) -> None:
        super().__init__(
            f"policy set {name!r} is refused: " + "; ".join(problems),
            hint="mend the named files; a broken policy set never comes into force",
        )
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy of the set.

    Attributes:
        id: Its `@id`.
        effect: `permit` or `forbid`.
        reason: Its `@reason`, for readers.
        file: The file it stands in.
        text: The policy as it is written.
        meaning: The policy in one form, whatever its layout and comments are.
    """

    id: str
    effect: str
    reason: str
    file: str
    text: str
    meaning: str


@dataclass(frozen=True)
class PolicyFiles:
    """The files of a set, as they were read at one moment.

    Attributes:
        name: The directory's name, for messages.
        schema: Text of the schema.
        sources: Texts of `*.cedar` by name.
        tables: Texts of `tests/*.toml` by name; they are not in force, and not in the digest.
    """

    name: str
    schema: str
    sources: Mapping[str, str]
    tables: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over names and contents of policies and schema, in the order of names."""
        return _digest({SCHEMA_FILE: self.schema, **self.sources})

    def rows(self) -> list[Row]:
        """The example questions of all tables.

        Raises:
            Misconfigured: naming each table that does not parse.
        """
        rows: list[Row] = []
        problems: list[str] = []
        for name, text in sorted(self.tables.items()):
            try:
                rows += parse_table(Path(name).stem, toml_of(text.encode()))
            except FileProblems as error:
                problems.append(f"{TABLES}/{name}: {error}")
            except BrokenTable as error:
                problems.append(f"{TABLES}/{error}")
        if problems:
            raise PolicySetRefused(self.name, problems)
        return rows


def read_policy_files(policy_dir: Path) -> PolicyFiles:
    """Read `*.cedar`, `schema.cedarschema` and `tests/*.toml`; other files are left alone.

    Raises:
        Misconfigured: a file cannot be read, or a policy stands in a folder below.
    """
    # Hidden folders are how a volume of Kubernetes keeps its versions
    deeper = [
        f"{file.parent.name}/{file.name}"
        for file in policy_dir.glob("[!.]*/**/*.cedar")
        if file.is_file()
    ]
    if deeper:
        problem = f"{min(deeper)} would not be in force: policies stand in the folder itself"
        raise PolicySetRefused(policy_dir.name, [problem])
    try:
        return PolicyFiles(
            name=policy_dir.name,
            schema=_text(policy_dir / SCHEMA_FILE),
            sources=_texts(policy_dir, "*.cedar"),
            tables=_texts(policy_dir / TABLES, "*.toml"),
        )
    except OSError as error:
        # Without its folder: the message is for anyone who asks for `/health`
        file = Path(str(error.filename)).name
        problem = f"{file} cannot be read: {error.strerror}"
        raise PolicySetRefused(policy_dir.name, [problem]) from error
    except FileProblems as error:
        raise PolicySetRefused(policy_dir.name, error.problems) from error


def checked_point(
    files: PolicyFiles, *, new_id: Callable[[], DecisionId] = new_decision_id, tenants: int = 0
) -> CedarDecisionPoint:
    """The decision point of a set whose own tables all hold; without tables, of any valid set.

    Raises:
        Misconfigured: it does not validate, or a row of its tables gets another answer.
    """
    point = CedarDecisionPoint.from_files(files, new_id=new_id, tenants=tenants)
    wrong = failing(files.rows(), point.decide)
    if wrong:
        more = f"; and {len(wrong) - 1} more rows" if len(wrong) > 1 else ""
        raise PolicySetRefused(files.name, [f"its own table fails: {wrong[0]}{more}"])
    point.prepare()
    return point


class CedarDecisionPoint:
    """A `ports.DecisionPoint` over one validated policy set; safe to share between threads.

    Build it with `load` or `from_files`.
    """

    def __init__(
        self,
        *,
        bodies: Mapping[str, Any],
        schema: cedarpy.Schema,
        texts: Mapping[str, PolicyText],
        digest: str,
        new_id: Callable[[], DecisionId] = new_decision_id,
        tenants: int = 0,
    ) -> None:
        self._bodies = dict(bodies)
        self._schema = schema
        self._texts = dict(texts)
        self._reasons = {text.id: text.reason for text in texts.values()}
        self._digest = digest
        self._new_id = new_id
        self._slices = PolicySlices(
            bodies,
            {text.id: text.text for text in texts.values()},
            schema,
            kept=_bounded(_SLICES_KEPT, tenants, _MOST_SLICES),
        )
        self._worlds: Kept[cedarpy.Entities] = Kept(_bounded(_WORLDS_KEPT, tenants, _MOST_WORLDS))
        self._passing: Kept[cedarpy.Entities] = Kept(_PASSING_KEPT)
        self._answers: Kept[_Answer] = Kept(
            _bounded(_ANSWERS_KEPT, _ANSWERS_PER_TENANT * tenants, _MOST_ANSWERS)
        )

    @classmethod
    def load(
        cls, policy_dir: Path, *, new_id: Callable[[], DecisionId] = new_decision_id
    ) -> CedarDecisionPoint:
        """Read `*.cedar` and `schema.cedarschema` from a directory, validate and parse them.

        Args:
            policy_dir: The directory; its tables are read, and not asked.
            new_id: Makes the id of each decision.

        Raises:
            Misconfigured: with every file that cannot be read, does not parse, does not
                validate, lacks `@id` or `@reason`, or repeats another policy's id.
        """
        return cls.from_files(read_policy_files(policy_dir), new_id=new_id)

    @classmethod
    def from_files(
        cls,
        files: PolicyFiles,
        *,
        new_id: Callable[[], DecisionId] = new_decision_id,
        tenants: int = 0,
    ) -> CedarDecisionPoint:
        """Validate and parse a set that was read already.

        Args:
            files: The set.
            new_id: Makes the id of each decision.
            tenants: How many the catalogue has, by which what is kept is bounded.

        Raises:
            Misconfigured: as for `load`.
        """
        try:
            schema = cedarpy.Schema.from_str(files.schema)
        except ValueError as error:
            raise PolicySetRefused(files.name, [f"{SCHEMA_FILE}: {error}"]) from error
        problems: list[str] = []
        bodies: dict[str, Any] = {}
        texts: dict[str, PolicyText] = {}
        for name, source in files.sources.items():
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
            raise PolicySetRefused(files.name, problems)
        return cls(
            bodies=bodies,
            schema=schema,
            texts=texts,
            digest=files.digest,
            new_id=new_id,
            tenants=tenants,
        )

    def prepare(self) -> None:
        """Parse what can be parsed before the first question, which is asked on the event loop."""
        self._slices.prepare(action.value for action in Action)

    def without(self, policy_id: str) -> CedarDecisionPoint:
        """The same set with one policy taken away, to see whether its tables miss it."""
        return CedarDecisionPoint(
            bodies={name: body for name, body in self._bodies.items() if name != policy_id},
            schema=self._schema,
            texts={name: text for name, text in self._texts.items() if name != policy_id},
            digest="",
            new_id=self._new_id,
        )

    @property
    def digest(self) -> str:
        """sha256 (hex) over names and contents of the files, in the order of their names."""
        return self._digest

    @property
    def policies(self) -> Mapping[str, PolicyText]:
        """The policies in force by id."""
        return dict(self._texts)

    def held(self) -> dict[str, dict[str, str]]:
        """The policies by id, each with digests of what it means and says."""
        return {
            f"policy {text.id}": {
                "meaning": value_digest(text.meaning),
                "reason": value_digest(text.reason),
            }
            for text in self._texts.values()
        }

    def decide(self, question: Question) -> Decision:
        """Answer one question; what cannot be evaluated is denied."""
        try:
            answer = self._evaluated(question)
        except Exception:  # noqa: BLE001 - fail closed: a binding's failure must not permit
            answer = None
        if answer is None:
            # Cedar skips a policy that errs; a skipped `forbid` would permit. Its message is
            # not shown: it can quote values of the request.
            return self._answer(question, allowed=False, policy_ids=(), reason=_NOT_EVALUATED)
        allowed, policy_ids, reason = answer
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

    def _evaluated(self, question: Question) -> _Answer | None:
        """What the policies say; None if one of them could not be evaluated."""
        world, context = world_key(question), context_key(question)
        key = (question.action, world, context)
        known = self._answers.get(key)
        if known is not None:
            return known
        request = describe_request(question)
        request["context"] = json_bytes(
            request["context"]
        ).decode()  # cedarpy would by `json.dumps`
        result = cedarpy.is_authorized(
            request,
            self._slices.slice_of(question),
            self._world(question, world),
            self._schema,
        )
        told, decision = result.diagnostics, result.decision
        if told.errors:
            return None
        named = told.id_annotations_by_reason
        policy_ids = tuple(sorted([named[one] for one in told.reasons]))
        allowed = decision is cedarpy.Decision.Allow
        reason = explain(question, allowed=allowed, policy_ids=policy_ids, reasons=self._reasons)
        answer = (allowed, policy_ids, reason)
        if decision is not cedarpy.Decision.NoDecision and question.resource_type in _CATALOGUED:
            self._answers.put(key, answer)
        return answer

    def _world(self, question: Question, key: Hashable) -> cedarpy.Entities:
        # Most questions are about few agents and operations: their parsed worlds are kept,
        # which halves the cost of a decision. Tasks come and go, though a client that waits asks
        # for one again and again: they are kept apart, so that they drive nothing else out.
        kept = self._worlds if question.resource_type in _CATALOGUED else self._passing
        world = kept.get(key)
        if world is None:
            described = json.dumps(describe_world(question))
            world = cedarpy.Entities.from_json_str(described, self._schema)
            kept.put(key, world)
        return world


def _bounded(least: int, wanted: int, most: int) -> int:
    return min(max(least, wanted), most)


def _texts(folder: Path, pattern: str) -> dict[str, str]:
    return {file.name: _text(file) for file in sorted(folder.glob(pattern))}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        try:
            return text_of(file.read(MOST_BYTES + 1))
        except FileProblems as error:
            raise FileProblems([f"{path.name}: {error}"]) from error


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
    bodies = {**parsed.get("staticPolicies", {}), **parsed.get("templates", {})}

    def whose(position: str) -> str:
        body = bodies.get(position)
        return name if body is None else _place(name, source, position, body)

    problems = _once(
        f"{whose(e.policy_id)}: {e.error.removeprefix(f'for policy `{e.policy_id}`, ')}"
        for e in cedarpy.validate_policies(source, schema).errors
    )
    problems += [
        f"{whose(one)}: templates are not supported" for one in parsed.get("templates", ())
    ]
    starts: dict[str, int] = {}
    for match in _ID.finditer(source):
        starts.setdefault(match[1], match.start())
    found = []
    for position, body in parsed["staticPolicies"].items():
        annotations = body.get("annotations", {})
        missing = [f"@{key}" for key in ("id", "reason") if not annotations.get(key)]
        if missing:
            problems.append(f"{whose(position)} lacks {' and '.join(missing)}")
            continue
        text = PolicyText(
            id=annotations["id"],
            effect=body["effect"],
            reason=annotations["reason"],
            file=name,
            text=_as_written(starts.get(annotations["id"], -1), source, body),
            meaning=json.dumps(body, sort_keys=True),
        )
        found.append((text, body))
    return found, problems


def _once(problems: Iterable[str]) -> list[str]:
    """Each problem as one line: Cedar tells the same one of every action that a policy is about."""
    actions: dict[str, list[str]] = {}
    for problem in problems:
        found = _FOR_ACTION.search(problem)
        actions.setdefault(_FOR_ACTION.sub("", problem), []).extend(found.groups() if found else ())
    return [
        f"{problem}, for {', '.join(sorted(names))}" if names else problem
        for problem, names in actions.items()
    ]


def _place(name: str, source: str, position: str, body: Any) -> str:
    """Which policy of a file, as a person finds it: by line and `@id`, or else by its number.

    Args:
        position: `policy3` for the fourth, as Cedar calls it.
    """
    policy_id = body.get("annotations", {}).get("id")
    if not policy_id:
        return f"{name}: policy number {int(position.removeprefix('policy')) + 1}"
    at = source.find(f'@id("{policy_id}")')
    line = f":{source.count(chr(10), 0, at) + 1}" if at >= 0 else ""
    return f'{name}{line}: policy "{policy_id}"'


def _as_written(start: int, source: str, body: Any) -> str:
    """One policy's own lines; in Cedar's layout if they do not begin with its `@id`.

    Args:
        start: Where its `@id` stands; -1 if that is written in another way.
    """
    end = source.find(";", start) if start >= 0 else -1
    while end >= 0:  # a semicolon may stand in a string: only a parser knows which one ends it
        text = source[start : end + 1]
        try:
            parsed = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
        except ValueError:
            parsed = {}
        if list(parsed.values()) == [body]:
            return text
        end = source.find(";", end + 1)
    whole = {"staticPolicies": {"policy0": body}, "templates": {}, "templateLinks": []}
    return cedarpy.format_policies(cedarpy.policies_from_json_str(json.dumps(whole))).strip()
