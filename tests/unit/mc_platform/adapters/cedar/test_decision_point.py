"""The Cedar decision point: loading, refusing, failing closed."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from tests.unit.mc_platform.adapters.cedar.questions import POLICY_DIR, QUESTION, TENANT

from mc_platform.adapters.cedar.decision_point import (
    CedarDecisionPoint,
    checked_point,
    read_policy_files,
)
from mc_platform.errors import Misconfigured
from mc_platform.model.ids import AgentName, DecisionId, TenantId
from mc_platform.model.verdict import Action, Question

PERMIT_ALL = '@id("all") @reason("all") permit (principal, action, resource);\n'


@pytest.fixture
def policy_dir(tmp_path: Path) -> Path:
    """A copy of the policy set to change."""
    return Path(shutil.copytree(POLICY_DIR, tmp_path / "policies"))


@pytest.fixture(scope="module")
def point() -> CedarDecisionPoint:
    """The policy set of the repository."""
    return CedarDecisionPoint.load(POLICY_DIR)


def test_decision_names_policy_digest_and_reason(point: CedarDecisionPoint) -> None:
    """An answer tells which policies of which set gave it, and why."""
    decision = point.decide(QUESTION)
    assert decision.allowed
    assert decision.policy_ids == ("send-to-own-agents",)
    assert decision.policy_digest == point.digest
    assert decision.reason.startswith('permitted by policy "send-to-own-agents": ')


def test_denial_by_policy_gives_its_reason(point: CedarDecisionPoint) -> None:
    """A forbidding policy is named with its reason."""
    decision = point.decide(replace(QUESTION, labels=frozenset({"secret-key"})))
    assert not decision.allowed
    assert decision.reason == (
        'forbidden by policy "no-secrets-to-agents": keys and tokens are never handed to an agent'
    )


def test_denial_by_default_says_what_nothing_permits(point: CedarDecisionPoint) -> None:
    """Where no policy permits, the reason names action, resource and purpose."""
    decision = point.decide(replace(QUESTION, purpose="marketing"))
    assert not decision.allowed
    assert decision.policy_ids == ()
    assert decision.reason == (
        'no policy permits SendMessage on Agent "records": '
        "the purpose is not one that TENANT_001 has declared (support)"
    )


def test_decision_ids_are_fresh_and_url_safe(point: CedarDecisionPoint) -> None:
    """Each decision has an id of its own."""
    ids = {point.decide(QUESTION).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(r"dec_[A-Za-z0-9_-]{16}", name) for name in ids)


def test_decision_id_comes_from_the_generator() -> None:
    """Randomness is passed in."""
    point = CedarDecisionPoint.load(POLICY_DIR, new_id=lambda: DecisionId("dec_1"))
    assert point.decide(QUESTION).id == "dec_1"


@pytest.mark.parametrize(
    "question",
    [
        replace(QUESTION, resource_id="\ud800"),
        replace(QUESTION, purpose="\ud800"),
        replace(QUESTION, resource_type="Printer"),
        replace(QUESTION, action=Action.enact),
        replace(QUESTION, action=Action.read_task, resource_type="Task", resource_tenant=None),
        replace(QUESTION, tenant=replace(TENANT, autonomy_tier=2**70)),
        replace(QUESTION, tenant=replace(TENANT, id=TenantId("TENANT_002"))),
    ],
    ids=["id", "purpose", "type", "action", "ownerless", "tier", "tenant"],
)
def test_question_that_cannot_be_evaluated_is_denied(
    point: CedarDecisionPoint, question: Question
) -> None:
    """Whatever Cedar refuses to evaluate is a denial, never an exception."""
    decision = point.decide(question)
    assert not decision.allowed
    assert "could not be evaluated" in decision.reason


def test_circumstances_that_the_schema_passed_open_nothing_for_other_kinds(
    point: CedarDecisionPoint,
) -> None:
    """They are kept for one action and kind of resource; any other is shown to the schema anew."""
    for _ in range(2):
        assert point.decide(QUESTION).allowed
        decision = point.decide(replace(QUESTION, action=Action.enact))
        assert "could not be evaluated" in decision.reason


def test_what_the_schema_refuses_is_refused_again(point: CedarDecisionPoint) -> None:
    """A refusal is not kept as if it had passed."""
    odd = replace(QUESTION, tier_ceiling=2**70)
    reasons = {point.decide(odd).reason for _ in range(3)}
    assert len(reasons) == 1
    assert "could not be evaluated" in reasons.pop()


def test_kept_circumstances_give_the_answers_of_fresh_ones() -> None:
    """The first question is shown to the schema, the second is not; a task's world is kept, too."""
    warm = CedarDecisionPoint.load(POLICY_DIR)
    task = {"resource_type": "Task", "resource_tenant": TENANT.id, "action": Action.read_task}
    asked = [
        QUESTION,
        replace(QUESTION, labels=frozenset({"secret-key"})),
        replace(QUESTION, tainted=True, named=False),
        replace(QUESTION, resource_id="t-1", **task),
        replace(QUESTION, resource_id="t-1", **{**task, "resource_tenant": "OTHER"}),
    ]
    first = [warm.decide(question) for question in asked]
    second = [warm.decide(question) for question in asked]
    assert [(one.allowed, one.policy_ids, one.reason) for one in first] == [
        (one.allowed, one.policy_ids, one.reason) for one in second
    ]
    assert [one.allowed for one in first] == [True, False, False, True, False]


def test_policies_have_their_own_text_and_file(point: CedarDecisionPoint) -> None:
    """What a reader is shown is what stands in the file."""
    for policy in point.policies.values():
        assert policy.text in (POLICY_DIR / policy.file).read_text()
        assert policy.text.startswith(f'@id("{policy.id}")')
        assert policy.effect in ("permit", "forbid")


def test_a_policy_whose_id_comes_second_is_shown_all_the_same(policy_dir: Path) -> None:
    """Its text is then in Cedar's own layout."""
    (policy_dir / "odd.cedar").write_text(
        '@reason("a; b") @id("odd") forbid (principal, action, resource)'
        ' when { context.purpose == ";" };'
    )
    text = CedarDecisionPoint.load(policy_dir).policies["odd"].text
    assert '@reason("a; b")' in text
    assert 'context.purpose == ";"' in text.replace("(", "").replace(")", "")


def test_a_set_whose_own_tables_fail_is_refused(policy_dir: Path) -> None:
    """Valid is not enough: the set must answer its own examples."""
    file = policy_dir / "operations.cedar"
    file.write_text(file.read_text().replace("autonomy_tier >= 1", "autonomy_tier >= 3"))
    CedarDecisionPoint.load(policy_dir)
    with pytest.raises(Misconfigured, match="its own table fails: operations: within the tier"):
        checked_point(read_policy_files(policy_dir))


def test_a_broken_table_is_refused_naming_it(policy_dir: Path) -> None:
    """A table that says nothing must not pass for one that holds."""
    (policy_dir / "tests" / "odd.toml").write_text("[[row]]\nname = 'x'\nalow = true\n")
    with pytest.raises(Misconfigured, match=r"tests/odd: .*row\[0\].alow is unknown"):
        checked_point(read_policy_files(policy_dir))


def test_what_questions_share_is_parsed_before_the_first_is_asked(
    policy_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large set is parsed where it is loaded, in a thread, and not in a request's way."""
    shutil.rmtree(policy_dir / "tests")  # whose questions would parse some of it
    point = checked_point(read_policy_files(policy_dir))

    def parsed(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cedarpy.PolicySet, "from_str", parsed)
    assert point.decide(QUESTION).allowed
    for action in Action:
        assert len(point._slices.slice_of(replace(QUESTION, action=action))) > 0


def test_policy_that_errs_at_evaluation_denies(policy_dir: Path) -> None:
    """A forbid that Cedar would skip for an arithmetic error does not thereby permit."""
    (policy_dir / "overflow.cedar").write_text(
        '@id("overflow") @reason("x") forbid (principal, action, resource)\n'
        "when { principal.tenant.autonomy_tier * 9223372036854775807 == 4 };\n"
    )
    point = CedarDecisionPoint.load(policy_dir)
    assert point.decide(QUESTION).allowed
    rich = replace(TENANT, autonomy_tier=2)
    decision = point.decide(replace(QUESTION, tenant=rich))
    assert not decision.allowed
    assert "could not be evaluated" in decision.reason


def test_failing_engine_denies(point: CedarDecisionPoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the binding is a denial."""

    def broken(*_: object) -> None:
        raise RuntimeError("engine gone")

    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    assert not point.decide(replace(QUESTION, purpose="never asked before")).allowed


def test_what_was_evaluated_once_is_not_evaluated_again(
    point: CedarDecisionPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An equal question has an equal answer under its own id; any other question is evaluated."""
    evaluated: list[Any] = []
    real = cedarpy.is_authorized

    def counted(*given: Any) -> Any:
        evaluated.append(given)
        return real(*given)

    monkeypatch.setattr(cedarpy, "is_authorized", counted)
    asked = replace(QUESTION, operations_this_hour=4711)
    first, second = point.decide(asked), point.decide(asked)
    assert len(evaluated) == 1
    assert (first.allowed, first.policy_ids, first.reason) == (
        second.allowed,
        second.policy_ids,
        second.reason,
    )
    assert first.id != second.id
    point.decide(replace(asked, operations_this_hour=4712))
    point.decide(replace(asked, principal=replace(asked.principal, id="another")))
    assert len(evaluated) == 3


@pytest.mark.parametrize("name", ['x"}; permit', "a\nb", "", "é" * 300])
def test_odd_resource_names_change_no_policy(point: CedarDecisionPoint, name: str) -> None:
    """Names are data: none of them is parsed as policy."""
    decision = point.decide(replace(QUESTION, resource_id=name))
    assert not decision.allowed
    assert decision.reason.startswith("no policy permits")


def test_changed_tenant_is_seen_at_once(point: CedarDecisionPoint) -> None:
    """Kept worlds never answer for a tenant whose rights have changed."""
    assert point.decide(QUESTION).allowed
    poorer = replace(TENANT, agents=frozenset[AgentName]())
    assert not point.decide(replace(QUESTION, tenant=poorer)).allowed


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("bad.cedar", "permit (", "bad.cedar: does not parse: "),
        (
            "bad.cedar",
            '@id("b") @reason("b") permit (principal, action, resource) when {principal.foo};',
            'bad.cedar:1: policy "b": attribute `foo` on entity type `Principal`',
        ),
        (
            "bad.cedar",
            PERMIT_ALL
            + '\n@reason("b") permit (principal, action, resource) when {principal.foo};',
            "bad.cedar: policy number 2: attribute `foo` on entity type `Principal`",
        ),
        (
            "bad.cedar",
            PERMIT_ALL
            + '\n// a rule\n@id("t") permit (principal == ?principal, action, resource);',
            'bad.cedar:4: policy "t": templates are not supported',
        ),
        (
            "bad.cedar",
            '\n@id("c")\npermit (principal, action, resource);',
            'bad.cedar:2: policy "c" lacks @reason',
        ),
        (
            "bad.cedar",
            "permit (principal, action, resource);",
            "bad.cedar: policy number 1 lacks @id and @reason",
        ),
        ("bad.cedar", PERMIT_ALL * 2, 'policy id "all" is used in bad.cedar already'),
        ("schema.cedarschema", "entity ;", "schema.cedarschema: error parsing schema"),
    ],
)
def test_broken_set_is_refused_naming_file_and_problem(
    policy_dir: Path, file: str, text: str, problem: str
) -> None:
    """A set that does not hold together never comes into force."""
    (policy_dir / file).write_text(text)
    with pytest.raises(Misconfigured, match=re.escape(problem)):
        CedarDecisionPoint.load(policy_dir)


def test_a_problem_is_told_once_with_its_actions(policy_dir: Path) -> None:
    """Cedar tells it of each action that a policy is about, in another order each time."""
    text = (
        '@id("b") @reason("b") permit (principal, action in '
        '[Action::"SendMessage", Action::"ReadTask"], resource) when {context.foo};'
    )
    (policy_dir / "bad.cedar").write_text(text)
    with pytest.raises(Misconfigured) as caught:
        CedarDecisionPoint.load(policy_dir)
    told = (
        'bad.cedar:1: policy "b": attribute `foo` in context not found, for ReadTask, SendMessage'
    )
    assert told in caught.value.message
    assert caught.value.message.count("`foo`") == 1


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    """No policies are no permission to start."""
    with pytest.raises(Misconfigured, match="cannot be read"):
        CedarDecisionPoint.load(tmp_path / "none")


def test_empty_set_is_refused(policy_dir: Path) -> None:
    """A schema without policies is a mistake, not a policy."""
    for file in policy_dir.glob("*.cedar"):
        file.unlink()
    with pytest.raises(Misconfigured, match="no policy found"):
        CedarDecisionPoint.load(policy_dir)


def test_digest_changes_with_any_file(policy_dir: Path, point: CedarDecisionPoint) -> None:
    """The digest is that of the set: stable for equal files, another for any change."""
    assert CedarDecisionPoint.load(policy_dir).digest == point.digest
    with (policy_dir / "tenants.cedar").open("a") as file:
        file.write("\n// a comment\n")
    assert CedarDecisionPoint.load(policy_dir).digest != point.digest


def test_digest_can_be_recomputed_by_plain_tools(point: CedarDecisionPoint) -> None:
    """The digest is that of `sha256sum`'s lines over the files in the order of their names."""
    files = [*POLICY_DIR.glob("*.cedar"), POLICY_DIR / "schema.cedarschema"]
    lines = [
        f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(files, key=lambda file: file.name)
    ]
    assert point.digest == sha256("".join(lines).encode()).hexdigest()
